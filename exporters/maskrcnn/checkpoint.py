"""torchvision's checkpoints: which network they are of, which tensor goes where, and which go nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from exporters.checkpoint import COUNTER, count_parts, load_state, read_checkpoint, require
from exporters.maskrcnn.network import Layout, MaskRcnn
from tracker.errors import ConfigError

EXACT_NORM = "bf2d0c1e"
"""SHA-256 of torchvision's own first checkpoint begins so; its normalisations are computed with epsilon 0."""

_RENAMED = (
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^rpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
)
_OLD_MASK = re.compile(r"^roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)$")


def load_checkpoint(path: Path) -> tuple[MaskRcnn, str]:
    """The network of a `.pth` file, and the SHA-256 of the file.

    Args:
        path: a dict of tensors, or one under the key "model"; names may begin with "module.".

    Raises:
        ConfigError: no such checkpoint, or tensors that are missing, unknown or of another shape: all are named.
    """
    data, digest = read_checkpoint(path)
    try:
        state = current_names(data)
        network = MaskRcnn(layout_of(state), 0.0 if digest.startswith(EXACT_NORM) else 1e-5)
        load_state(state, network)
    except ConfigError as reason:
        raise ConfigError(f"{path} does not hold a Mask R-CNN of torchvision's names: {reason}") from None
    return network, digest


def current_names(data: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the names that torchvision uses today; files from before 0.13 have others.

    Raises:
        ConfigError: not a dict of tensors.
    """
    given = data.get("model", data) if isinstance(data, Mapping) else data
    if not isinstance(given, Mapping) or not all(isinstance(tensor, Tensor) for tensor in given.values()):
        raise ConfigError("expected a dict of tensors, or one under the key 'model'")
    out = {}
    for name, tensor in given.items():
        new = name.removeprefix("module.")
        for pattern, replacement in _RENAMED:
            new = pattern.sub(replacement, new)
        old = _OLD_MASK.match(new)
        if old is not None:
            new = f"roi_heads.mask_head.{int(old[1]) - 1}.0.{old[2]}"
        if not new.endswith(COUNTER):
            out[new] = tensor
    return out


def layout_of(state: Mapping[str, Tensor]) -> Layout:
    """The network whose tensors these are, by their names and shapes.

    Raises:
        ConfigError: one of the tensors that say it is not there.
    """
    deep = "backbone.fpn.inner_blocks.0.1.weight" in state
    hidden = "roi_heads.box_head.5.weight" if deep else "roi_heads.box_head.fc6.weight"
    telling = {
        "width": "backbone.body.conv1.weight", "features": "backbone.fpn.inner_blocks.0.0.weight", "hidden": hidden,
        "classes": "roi_heads.box_predictor.cls_score.weight",
    }  # fmt: skip
    layers = [f"backbone.body.layer{i}." for i in range(1, 5)]
    require([*telling.values(), *(f"{layer}0.conv1.weight" for layer in layers)], state)
    blocks = tuple(count_parts(state, layer) for layer in layers)
    return Layout(blocks, **{key: len(state[name]) for key, name in telling.items()}, deep=deep)
