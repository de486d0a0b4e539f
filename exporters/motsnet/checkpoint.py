"""seamseg's snapshots: which network they are of, which tensor goes where, and which go nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from exporters.checkpoint import COUNTER, count_parts, load_state, read_checkpoint, require
from exporters.motsnet.network import Abn, Layout, Motsnet
from tracker.errors import ConfigError

PASSED_OVER = ("sem_head.",)
"""Parts of a snapshot that MOTSNet has not: the semantic head of a panoptic network."""

_EPS = 1e-5  # that in-place ABN adds to |weight|


def load_checkpoint(path: Path, *, inplace: bool = True) -> tuple[Motsnet, str, int]:
    """The network of a snapshot, the SHA-256 of the file, and how many tensors were passed over (`PASSED_OVER`).

    Args:
        path: what seamseg's `save_snapshot` writes, or a flat dict of tensors; names may begin with "module.".
        inplace: trained with InPlaceABN, which scales with |weight| + 1e-5; plain ABN takes the weight as it is.

    Raises:
        ConfigError: no such checkpoint, or tensors that are missing, unknown or of another shape: all are named.
    """
    data, digest = read_checkpoint(path)
    try:
        state = flatten(data)
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(PASSED_OVER)}
        network = Motsnet(layout_of(kept))
        load_state(kept, network)
    except ConfigError as reason:
        raise ConfigError(f"{path} does not hold a network of seamseg's names: {reason}") from None
    if inplace:
        for module in network.modules():
            if isinstance(module, Abn):
                module.weight.data = module.weight.data.abs() + _EPS
    return network, digest, len(state) - len(kept)


def flatten(data: Any) -> dict[str, Tensor]:
    """The tensors of a snapshot by "part.name".

    Raises:
        ConfigError: not tensors, or dicts of tensors, by name.
    """
    given = data.get("state_dict", data) if isinstance(data, Mapping) else data
    if not isinstance(given, Mapping):
        raise ConfigError("expected a dict of tensors, or one of them for each part under the key 'state_dict'")
    out: dict[str, Tensor] = {}
    for name, value in given.items():
        parts = {f"{name}.{key}": tensor for key, tensor in value.items()} if isinstance(value, Mapping) else {}
        for key, tensor in (parts or {name: value}).items():
            if not isinstance(tensor, Tensor):
                raise ConfigError(f"expected tensors, got {type(tensor).__name__} as {key}")
            if not key.endswith(COUNTER):
                out[key.removeprefix("module.").replace(".module.", ".")] = tensor
    return out


def layout_of(state: Mapping[str, Tensor]) -> Layout:
    """The network whose tensors these are, by their names and shapes.

    Raises:
        ConfigError: one of the tensors that say it is not there.
    """
    telling = {
        "width": "body.backbone.mod1.conv1.weight", "features": "body.fpn.lateral.0.conv.weight",
        "probes": "rpn_head.conv1.weight", "ratios": "rpn_head.conv_obj.weight", "hidden": "roi_head.fc.fc1.weight",
        "masking": "roi_head.conv.conv1.weight", "classes": "roi_head.roi_msk.weight",
    }  # fmt: skip
    modules = [f"body.backbone.mod{i}." for i in range(2, 6)]
    require([*telling.values(), *(f"{module}block1.convs.conv1.weight" for module in modules)], state)
    blocks = tuple(count_parts(state, module) for module in modules)
    sizes = {key: len(state[name]) for key, name in telling.items()}
    tracking, vector = 0, 0
    if "track_head.fc1.weight" in state and "track_head.fc2.weight" in state:
        tracking, vector = len(state["track_head.fc1.weight"]), len(state["track_head.fc2.weight"]) // sizes["classes"]
    return Layout(blocks, extra=count_parts(state, "body.fpn.extra."), tracking=tracking, vector=vector, **sizes)
