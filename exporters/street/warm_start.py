"""Warm start: weights of an exported network back into a torch one, whose training goes on from there.

Exporting folded every batch normalisation into its convolution. Here they are taken apart again: the convolution keeps
the folded weights, and the normalisation is set to what leaves its input as it is (but for the bias). That alone would
not do for training, which normalises by the batch: `calibrate` makes it hold for the batch's statistics too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from exporters.street.network import StreetNet
from tracker.errors import ModelError


def load_weights(network: StreetNet, path: Path) -> None:
    """Take the weights of an ONNX file that `exporters.street` wrote; also one without `StreetNet.FRESH` modules.

    Args:
        network: gives the same outputs as the file in evaluation mode afterwards.
        path: ONNX file.

    Raises:
        ModelError: not such a file, or convolutions that the network has not or that the file lacks.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except (OSError, DecodeError) as reason:
        raise ModelError(f"{path} cannot be read as an ONNX model ({reason})") from None
    values = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    modules = dict(network.named_modules())
    left = {name for name, module in modules.items() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))}
    done = set()
    for node in graph.node:
        name = _module_name(node.name)
        if node.op_type not in ("Conv", "ConvTranspose") or name in done:  # some see both pictures
            continue
        conv, given = modules.get(name), [values.get(each) for each in node.input[1:]]
        if name not in left or conv is None or given[0] is None or given[0].shape != conv.weight.shape:
            raise ModelError(f"{path}: expected the convolutions of a StreetNet, got {node.name!r}")
        left.remove(name)
        done.add(name)
        bias = given[1] if len(given) > 1 else None
        _put(conv, modules.get(f"{name[:-2]}.1") if name.endswith(".0") else None, given[0], bias)
    missing = sorted(name for name in left if name.split(".")[0] not in StreetNet.FRESH)
    if missing:
        raise ModelError(f"{path}: expected the convolutions of a StreetNet, found none named {missing[0]}")


@torch.no_grad()
def _put(conv: Any, norm: nn.Module | None, weight: Tensor, bias: Tensor | None) -> None:
    conv.weight.copy_(weight)
    if isinstance(norm, nn.BatchNorm2d):
        norm.weight.fill_(1)
        norm.bias.copy_(torch.zeros_like(norm.bias) if bias is None else bias)
        norm.running_mean.zero_()  # type: ignore[union-attr]
        norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
    elif bias is not None:
        conv.bias.copy_(bias)


@torch.no_grad()
def calibrate(network: nn.Module, *inputs: Tensor) -> None:
    """Give every batch normalisation the statistics of its input, and undo by weight and bias what that would change.

    Args:
        network: the same function in evaluation mode before and after; in training mode nearly so afterwards, for
            batches that are like this one. Left in evaluation mode.
        inputs: a batch.
    """
    seen: dict[nn.BatchNorm2d, tuple[Tensor, Tensor]] = {}

    def note(norm: nn.Module, given: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        seen[norm] = given[0].mean((0, 2, 3)), given[0].var((0, 2, 3), unbiased=False)

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    network.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    for norm, (mean, variance) in seen.items():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(scale * torch.sqrt(variance + norm.eps))
        norm.bias.copy_(shift + mean * scale)


def _module_name(node: str) -> str:
    """`/centres/centres.0/conv/conv.0/conv.0.0_1/Conv` -> `centres.0.conv.0.0`, as torch's exporter names nodes."""
    parts = [re.sub(r"_\d+$", "", part) for part in node.strip("/").split("/")[:-1]]
    return ".".join(part for k, part in enumerate(parts) if not "".join(parts[k + 1 : k + 2]).startswith(f"{part}."))
