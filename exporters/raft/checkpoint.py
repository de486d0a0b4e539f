"""Checkpoints of RAFT: which tensor goes where, and a clear word about those that go nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exporters.checkpoint import list_misfits, read_checkpoint
from exporters.raft.network import Raft
from tracker.errors import ConfigError

_TORCHVISION = (
    (r"^fnet\.", r"feature_encoder."),
    (r"^cnet\.", r"context_encoder."),
    (r"^(\w+_encoder)\.conv1\.", r"\1.convnormrelu.0."),
    (r"^(\w+_encoder)\.norm1\.", r"\1.convnormrelu.1."),
    (r"^(\w+_encoder)\.conv2\.", r"\1.conv."),
    (r"(\.layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(\.layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"\.encoder\.convc(\d)\.", r".motion_encoder.convcorr\1.0."),
    (r"\.encoder\.convf(\d)\.", r".motion_encoder.convflow\1.0."),
    (r"\.encoder\.conv\.", r".motion_encoder.conv.0."),
    (r"\.gru\.conv([zrq])\.", r".recurrent_block.convgru1.conv\1."),
    (r"\.gru\.conv([zrq])(\d)\.", r".recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.mask\.0\.", r"mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", r"mask_predictor.conv."),
)
"""What torchvision calls what the authors call otherwise, applied in this order."""

_TWICE = re.compile(r"(layer\d\.0)\.norm3\.")  # the authors' blocks hold the norm of their short cut under two names


def official_names(network: Raft, layout: str) -> dict[str, str]:
    """Our name of every tensor -> its name in a checkpoint of the layout "authors" or "torchvision"."""
    out = {}
    for name in network.state_dict():
        official = name
        for pattern, replacement in _TORCHVISION if layout == "torchvision" else ():
            official = re.sub(pattern, replacement, official)
        out[name] = official
    return out


def load_checkpoint(path: Path, iterations: int) -> tuple[Raft, str, str]:
    """The network of a checkpoint.

    Args:
        path: a dict of tensors with the names of the authors (with or without "module." in front) or of torchvision.
        iterations: of the network.

    Returns:
        The network in evaluation mode, row of `VARIANTS`, SHA-256 of the file.

    Raises:
        ConfigError: no such checkpoint, or tensors that are missing, unknown or of another shape: all are named.
    """
    data, digest = read_checkpoint(path)
    try:
        network, variant = load_state(data, iterations)
    except ConfigError as reason:
        raise ConfigError(f"{path} does not hold a RAFT: {reason}") from None
    return network, variant, digest


def load_state(data: Any, iterations: int = 12) -> tuple[Raft, str]:
    """As `load_checkpoint`, from what the file holds."""
    if not isinstance(data, Mapping) or not data or not all(isinstance(tensor, Tensor) for tensor in data.values()):
        raise ConfigError("expected a dict of tensors")
    given = {str(name).removeprefix("module."): tensor for name, tensor in data.items()}
    layout = "torchvision" if any(name.startswith("feature_encoder.") for name in given) else "authors"
    variant = "large" if any(name.startswith(("update_block.mask.", "mask_predictor.")) for name in given) else "small"
    network = Raft(variant, iterations).eval()
    own, names = network.state_dict(), official_names(network, layout)
    missing, misshapen, aliases = [], [], _aliases(given) if layout == "authors" else {}
    for name, official in names.items():
        if official not in given:
            missing.append(official)
        elif given[official].shape != own[name].shape:
            misshapen.append(f"{official} {list(given[official].shape)} instead of {list(own[name].shape)}")
    torn = [alias for alias, name in aliases.items() if name in given and not torch.equal(given[alias], given[name])]
    unknown = set(given) - set(names.values()) - set(aliases)
    misfits = list_misfits(
        {"missing": missing, "unknown": unknown, "of another shape": misshapen, "not as its twin": torn}
    )
    if misfits:
        raise ConfigError(f"taken as {variant!r} with the names of {layout}; {misfits}")
    network.load_state_dict({name: given[official] for name, official in names.items()})
    return network, variant


def _aliases(names: Iterable[str]) -> dict[str, str]:
    """Second names of tensors -> the first ones."""
    return {name: _TWICE.sub(r"\1.downsample.1.", name) for name in names if _TWICE.search(name)}
