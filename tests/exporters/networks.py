"""A network small enough for tests, in the form of Ultralytics' exports: what it says depends on every pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

from tests.models import graphs

NAMES = ("person", "car")


def yolo(path: Path, size: int = 64, opset: int = 17, batch: int | str = 1, kind: type = np.float32) -> Path:
    """One convolution per stride 8, 16 and 32, reshaped to [1, 4 + classes, anchors] as Ultralytics does."""
    random, channels = np.random.default_rng(3), 4 + len(NAMES)
    nodes, weights, parts, anchors = [], [], [], 0
    for stride in (8, 16, 32):
        kernel = random.normal(size=(channels, 3, stride, stride)).astype(kind) / stride**2
        kernel[:4] = 40 * np.abs(kernel[:4])  # boxes with an area
        weights.append(numpy_helper.from_array(kernel, f"w{stride}"))
        weights.append(numpy_helper.from_array(np.array([1 if batch == 1 else 0, channels, -1]), f"s{stride}"))
        nodes.append(helper.make_node("Conv", ["images", f"w{stride}"], [f"c{stride}"], strides=[stride, stride]))
        nodes.append(helper.make_node("Reshape", [f"c{stride}", f"s{stride}"], [f"r{stride}"]))
        parts.append(f"r{stride}")
        anchors += (size // stride) ** 2
    nodes.append(helper.make_node("Concat", parts, ["joined"], axis=2))
    nodes.append(helper.make_node("Abs", ["joined"], ["output0"]))
    number = graphs.TYPES[np.dtype(kind)]
    start = helper.make_tensor_value_info("images", number, [batch, 3, size, size])
    end = helper.make_tensor_value_info("output0", number, [batch, channels, anchors])
    graph = helper.make_graph(nodes, "yolo", [start], [end], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    for key, value in graphs.ultralytics(NAMES, size=size).items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path
