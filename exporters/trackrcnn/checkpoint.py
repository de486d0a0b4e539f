"""Numpy dumps of TrackR-CNN's TensorFlow weights: which network they are of, which tensor goes where.

With TensorFlow at hand, a checkpoint becomes a dump by

    reader = tf.train.load_checkpoint("conv3d_sep2-00000005")
    np.savez("weights.npz", **{name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})

Names are those of the authors' configurations conv3d_sep, conv3d_sep2, lstm, lstm_stacked2 and non_recurrent:

    resnetconv4/conv0/W   resnetconv4/group0/block0/conv1/W   .../conv1/bn/{gamma,beta,mean_ema,var_ema}
    conv3d_1/channel_7/W   conv3d_1/W   (and conv3d_2)
    lstm0/{W_lstm,b_lstm}   conv0/W   linear_combination/linear_combination_weights
    frcnn/rpn/{conv0,class,box}/{W,b}   frcnn/group3/block0/conv1/W ...
    frcnn/fastrcnn/{class,box,reid}/{W,b}   frcnn/maskrcnn/{deconv,conv}/{W,b}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporters.checkpoint import count_parts, load_state, read_arrays, require
from exporters.trackrcnn.network import Layout, TrackRcnn
from tracker.errors import ConfigError

_TRAINING = re.compile(r"(^|/)(global_step|beta[12]_power|Adam(_\d+)?|Momentum|ExponentialMovingAverage)$")
_NORM = {"gamma": "weight", "beta": "bias", "mean_ema": "running_mean", "var_ema": "running_var"}
_CHANNEL = re.compile(r"^(conv3d_\d+)/channel_(\d+)/W$")
_LSTM = re.compile(r"^lstm(\d*)/(W|b)_lstm$")
_ORDERS = {2: (1, 0), 4: (3, 2, 0, 1), 5: (4, 3, 0, 1, 2)}  # TensorFlow's axes, as torch has them


def load_checkpoint(path: Path) -> tuple[TrackRcnn, str]:
    """The network of a dump (.npz, one array a tensor), and the SHA-256 of the file.

    Raises:
        ConfigError: no such dump, or tensors that are missing, unknown or of another shape: all are named.
    """
    arrays, digest = read_arrays(path)
    try:
        layout = layout_of(arrays)
        network = TrackRcnn(layout)
        load_state(translate(arrays), network)
    except ConfigError as reason:
        raise ConfigError(f"{path} does not hold a TrackR-CNN of its authors' names: {reason}") from None
    return network, digest


def translate(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """TensorFlow's tensors under this network's names; what only training needs is left out, unknown names stay.

    Raises:
        ConfigError: channels of a depthwise convolution that are missing.
    """
    out: dict[str, Tensor] = {}
    channels: dict[str, dict[int, NDArray[Any]]] = {}
    for full_name, array in arrays.items():
        name = full_name.removesuffix(":0")
        if _TRAINING.search(name):
            continue
        depthwise = _CHANNEL.match(name)
        if depthwise is not None:
            channels.setdefault(depthwise[1], {})[int(depthwise[2])] = array
            continue
        order = _ORDERS.get(array.ndim)
        value = array if order is None else array.transpose(order)
        out[_renamed(name)] = torch.from_numpy(np.ascontiguousarray(value, np.float32))
    for layer, parts in channels.items():
        if sorted(parts) != list(range(len(parts))):
            raise ConfigError(f"expected {layer}/channel_0 ... {max(parts)} without gaps, got {len(parts)} of them")
        stacked = np.stack([parts[i][..., 0, 0] for i in range(len(parts))])[:, None]
        out[f"temporal.{layer}.depthwise.weight"] = torch.from_numpy(np.ascontiguousarray(stacked, np.float32))
    return out


def _renamed(name: str) -> str:
    """A tensor's name here, but for those of depthwise convolutions, which are many."""
    if name == "linear_combination/linear_combination_weights":
        return "temporal.weights"
    lstm = _LSTM.match(name)
    if lstm is not None:
        return f"temporal.cells.{lstm[1] or 0}.gates.{'weight' if lstm[2] == 'W' else 'bias'}"
    scope, _, last = name.rpartition("/")
    place = scope.replace("/", ".")
    if last in _NORM:
        return f"{place}.{_NORM[last]}"
    if last == "b":
        return f"{place}.bias"
    if last != "W":
        return name
    if scope.startswith("conv3d_"):
        return f"temporal.{place}.pointwise.weight"
    if scope == "conv0":
        return "temporal.conv0.weight"
    inside = scope.startswith(("resnetconv4/", "frcnn/group3/"))  # convolutions with a normalisation
    return f"{place}.W.weight" if inside else f"{place}.weight"


def layout_of(arrays: Mapping[str, NDArray[Any]]) -> Layout:
    """The network whose tensors these are, by their names and shapes.

    Raises:
        ConfigError: one of the tensors that say it is not there.
    """
    shapes = {name.removesuffix(":0"): array.shape for name, array in arrays.items()}
    telling = {
        "width": "resnetconv4/conv0/W", "probes": "frcnn/rpn/conv0/W", "classes": "frcnn/fastrcnn/class/W",
        "agnostic": "frcnn/maskrcnn/conv/W", "masking": "frcnn/maskrcnn/deconv/b",
    }  # fmt: skip
    groups = ("resnetconv4/group0/", "resnetconv4/group1/", "resnetconv4/group2/", "frcnn/group3/")
    require([*telling.values(), *(f"{group}block0/conv1/W" for group in groups)], shapes)
    blocks = tuple(count_parts(shapes, group, "/") for group in groups)
    sizes: dict[str, Any] = {key: shapes[name][-1] for key, name in telling.items()}
    sizes["agnostic"] = sizes["agnostic"] == 1
    sizes["vector"] = shapes.get("frcnn/fastrcnn/reid/b", (0,))[0]
    lstms = [name for name in shapes if name.endswith("/b_lstm")]
    if any(name.startswith("conv3d_") for name in shapes):
        return Layout(blocks, temporal="convolutions", **sizes)
    if lstms:
        return Layout(blocks, temporal="lstm", lstm=shapes[lstms[0]][0] // 4, depth=len(lstms), **sizes)
    return Layout(blocks, temporal="still", **sizes)
