"""deeplab2's checkpoints, as numpy files: which variable goes where, and a clear word about those that go nowhere.

TensorFlow is needed once, by whoever has the checkpoint, to turn it into an `.npz` file of the same names:

    import numpy, tensorflow
    reader = tensorflow.train.load_checkpoint("ckpt-50000")
    names = [n for n in reader.get_variable_to_shape_map() if n.endswith("VARIABLE_VALUE") and "SLOT" not in n]
    numpy.savez("motion_deeplab.npz", **{name: reader.get_tensor(name) for name in names})

A variable's name is the way to it through deeplab2's objects, each step an attribute, such as
`encoder/_stage2/_block1/_conv1_bn_act/_conv/kernel/.ATTRIBUTES/VARIABLE_VALUE`. Ours is the same way:
`encoder.stage2.block1.conv1_bn_act.conv.weight`. The first step has no underscore there, and kernels are stored height,
width, in, out (depthwise ones height, width, channels, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from exporters.checkpoint import COUNTER, list_misfits, read_arrays
from exporters.deeplab.network import DeepLab, Layout
from tracker.errors import ConfigError
from tracker.models.card import Size

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_NOT_OURS = ("save_counter", "global_step", "optimizer", "step", "_CHECKPOINTABLE_OBJECT_GRAPH")  # first steps
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_STEM, _CLASSES = "encoder/_stem/_conv/kernel", "semantic_last_layer/kernel"


def official_names(network: DeepLab) -> dict[str, str]:
    """Our name of every tensor -> deeplab2's, without `SUFFIX`."""
    modules, out = dict(network.named_modules()), {}
    for name in network.state_dict():
        if name.endswith(COUNTER):
            continue
        way, _, kind = name.rpartition(".")
        module = modules[way]
        if isinstance(module, nn.BatchNorm2d):
            kind = _NORM[kind]
        elif kind == "weight":
            kind = "depthwise_kernel" if way.endswith("depthwise_conv") else "kernel"
        first, *steps = way.split(".")
        out[name] = "/".join([first, *(f"_{step}" for step in steps), kind])
    return out


def load_checkpoint(path: Path, *, motion: bool, crop: Size) -> tuple[DeepLab, str]:
    """The network of an `.npz` file, in evaluation mode, and the file's SHA-256.

    Args:
        path: of the file, see above.
        motion: it should be a Motion-DeepLab.
        crop: (width, height) of the training crops.

    Raises:
        ConfigError: no such file, or variables that are missing, unknown or of another shape: all are named.
    """
    given, digest = read_arrays(path)
    try:
        variables = wanted_variables(given)
        network = DeepLab(layout_of(variables, motion=motion), crop)
        load_state(variables, network)
    except ConfigError as reason:
        raise ConfigError(f"{path} does not hold this network with deeplab2's names: {reason}") from None
    return network.eval(), digest


def wanted_variables(given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The variables of the network by name without `SUFFIX`; counters and what the optimiser kept are left out."""
    out = {}
    for name, values in given.items():
        short = name.removesuffix(SUFFIX)
        if short.split("/")[0] not in _NOT_OURS and ".OPTIMIZER_SLOT" not in short:
            out[short] = values
    return out


def layout_of(variables: Mapping[str, NDArray[Any]], *, motion: bool) -> Layout:
    """The network whose variables these are, by two shapes.

    Raises:
        ConfigError: one of these is not there, or it is the other kind of network.
    """
    for name in (_STEM, _CLASSES):
        if name not in variables or variables[name].ndim != 4:
            raise ConfigError(f"missing 1: {name}")
    inputs, stem = variables[_STEM].shape[2:]
    if inputs != (7 if motion else 3):
        raise ConfigError(f"expected {7 if motion else 3} input channels, got {inputs}; is it the other network?")
    return Layout(int(variables[_CLASSES].shape[3]), motion, stem / 64)


def load_state(variables: Mapping[str, NDArray[Any]], network: DeepLab) -> None:
    """Fill a network. Nothing is changed where it raises.

    Raises:
        ConfigError: variables that are missing, unknown or of another shape.
    """
    names, own = official_names(network), network.state_dict()
    placed = {name: _as_torch(variables[known], known) for name, known in names.items() if known in variables}
    misshapen = [
        f"{names[name]} {list(variables[names[name]].shape)}"
        for name, tensor in placed.items()
        if tensor.shape != own[name].shape
    ]
    missing, unknown = set(names.values()) - set(variables), set(variables) - set(names.values())
    misfits = list_misfits({"missing": missing, "unknown": unknown, "of another shape": misshapen})
    if misfits:
        raise ConfigError(misfits)
    network.load_state_dict(placed, strict=False)  # the counters are not there, everything else was compared


def _as_torch(values: NDArray[Any], name: str) -> Tensor:
    """Kernels (h, w, in, out) become (out, in, h, w); depthwise ones (h, w, channels, 1) become (channels, 1, h, w)."""
    array = np.asarray(values, np.float32)
    if array.ndim == 4:
        array = array.transpose((2, 3, 0, 1) if name.endswith("depthwise_kernel") else (3, 2, 0, 1))
    return torch.from_numpy(np.ascontiguousarray(array))
