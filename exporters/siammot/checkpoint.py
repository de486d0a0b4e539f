"""Official checkpoints: which tensor goes where, and a clear word about those that go nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from exporters.checkpoint import read_checkpoint
from exporters.siammot.network import SiamMot
from tracker.errors import ConfigError

PREFIXES = {
    "body": ("backbone.body",),
    "fpn": ("backbone.fpn",),
    "rpn": ("rpn.head",),
    "anchors": ("rpn.anchor_generator.cell_anchors",),
    "box": ("roi_heads.box.feature_extractor", "roi_heads.box.predictor"),
    "track": ("roi_heads.track.tracker.predictor",),
}
"""Part of `SiamMot` -> prefixes of the official names; the second one belongs to the layers of `_PREDICTOR`."""

_PREDICTOR = ("cls_score", "bbox_pred")
_DEAD = ("backbone.body.level3.project.", "backbone.body.level4.project.")  # computed by nobody but the authors' code
_LISTED = 8


def official_names(network: SiamMot) -> dict[str, str]:
    """Our name of every tensor -> the official one."""
    out = {}
    for name in network.state_dict():
        part, rest = name.split(".", 1)
        prefixes = PREFIXES[part]
        out[name] = f"{prefixes[-1 if rest.split('.')[0] in _PREDICTOR else 0]}.{rest}"
    return out


def load_checkpoint(path: Path, network: SiamMot) -> str:
    """Fill a network from an official `.pth` file.

    Args:
        path: a dict of tensors, or one under the key "model"; names may begin with "module.".
        network: filled in place.

    Returns:
        SHA-256 of the file.

    Raises:
        ConfigError: no such checkpoint, or tensors that are missing, unknown or of another shape: all are named.
    """
    data, digest = read_checkpoint(path)
    try:
        load_state(data, network)
    except ConfigError as reason:
        raise ConfigError(
            f"{path} does not hold a SiamMOT with DLA-34 and {network.motion.upper()}: {reason}"
        ) from None
    return digest


def load_state(data: Any, network: SiamMot) -> None:
    """As `load_checkpoint`, from what the file holds. Nothing is changed where it raises."""
    given = data.get("model", data) if isinstance(data, Mapping) else data
    if not isinstance(given, Mapping) or not all(isinstance(tensor, Tensor) for tensor in given.values()):
        raise ConfigError("expected a dict of tensors, or one under the key 'model'")
    tensors = {name.removeprefix("module."): tensor for name, tensor in given.items()}
    own, found, missing, misshapen = network.state_dict(), {}, [], []
    for name, official in official_names(network).items():
        key = _longest_suffix(official, tensors)
        if key is None:
            missing.append(official)
        elif tensors[key].shape != own[name].shape:
            misshapen.append(f"{key} {list(tensors[key].shape)} instead of {list(own[name].shape)}")
        else:
            found[name] = key
    unknown = sorted(
        key for key in set(tensors) - set(found.values()) if not any(_ends(dead, key) for dead in _dead(tensors))
    )
    unknown = [key for key in unknown if not any(text.startswith(f"{key} ") for text in misshapen)]
    complaints = [
        f"{what} {len(names)}: {', '.join(names[:_LISTED])}{' ...' if len(names) > _LISTED else ''}"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", misshapen))
        if names
    ]
    if complaints:
        raise ConfigError("; ".join(complaints))
    network.load_state_dict({name: tensors[key] for name, key in found.items()})


def _longest_suffix(official: str, tensors: Mapping[str, Tensor]) -> str | None:
    """The checkpoint's name of an official tensor: the whole name, or the longest end of it that is there."""
    parts = official.split(".")
    for i in range(len(parts) - 1):
        key = ".".join(parts[i:])
        if key in tensors:
            return key
    return None


def _dead(tensors: Mapping[str, Tensor]) -> list[str]:
    """Full official names of tensors that a checkpoint may hold and nobody needs."""
    leaves = ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    return [prefix + leaf for prefix in _DEAD for leaf in leaves]


def _ends(official: str, key: str) -> bool:
    return official == key or official.endswith(f".{key}")
