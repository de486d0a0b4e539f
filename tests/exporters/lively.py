"""Small networks with random weights say nothing; these say much."""

import torch

from exporters.maskrcnn import agreement


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
