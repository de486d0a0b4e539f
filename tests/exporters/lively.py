"""Small networks with random weights say nothing; these say much."""

import torch

from exporters.maskrcnn import agreement
from tracker.onnx.session import Session


@torch.no_grad()
def spread_logits(detector, layers):
    """Give each output channel of some layers mean 0 and a deviation, on what they see of an example.

    Args:
        detector: changed in place.
        layers: pairs of a layer and the deviation, in the order in which they run.
    """
    given = [torch.from_numpy(array) for array in next(agreement.examples(detector)).values()]
    for layer, spread in layers:
        seen = []
        handle = layer.register_forward_hook(
            lambda module, x, out, seen=seen: seen.append(out.transpose(0, 1).flatten(1))
        )
        detector(*given)
        handle.remove()
        mean, scale = seen[0].mean(1), spread / seen[0].std(1)
        layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.copy_((layer.bias - mean) * scale)


def run_example(path, detector):
    """What ONNX Runtime finds in the first example, and how many of the rows are no padding."""
    found = Session(path).run(next(agreement.examples(detector)))
    return found, int((found["scores"] > 0).sum())


def shake_norm(norm):
    """Recorded statistics as of a trained network."""
    norm.running_mean.normal_(0, 0.1)
    norm.running_var.uniform_(0.5, 1.5)
