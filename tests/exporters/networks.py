"""A network small enough for tests, in the form of Ultralytics' exports: what it says depends on every pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

from tests.models import graphs

NAMES = ("person", "car")


def yolo(
    path: Path,
    size: int = 64,
    opset: int = 17,
    batch: int | str = 1,
    kind: type = np.float32,
    masks: int = 0,
    rows: bool = False,
) -> Path:
    """One convolution per stride 8, 16 and 32, reshaped as Ultralytics does.

    Columns are [1, 4 + classes + masks, anchors], rows [1, 3 anchors, 5 + classes + masks]; `masks` prototypes are one
    more convolution, of stride 4.
    """
    random, channels, each = np.random.default_rng(3), (5 if rows else 4) + len(NAMES) + masks, 3 if rows else 1
    nodes, weights, parts, anchors, first = [], [], [], 0, 1 if batch == 1 else 0

    def add(kind: str, inputs: list[str], output: str, **attributes: object) -> None:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    for stride in (8, 16, 32):
        kernel = random.normal(size=(each * channels, 3, stride, stride)).astype(kind) / stride**2
        for k in range(each):
            kernel[k * channels : k * channels + 4] = 40 * np.abs(kernel[k * channels : k * channels + 4])  # with areas
            kernel[k * channels + 4] *= 10 if rows else 1  # objectness
        weights.append(numpy_helper.from_array(kernel, f"w{stride}"))
        shape = [first, each, channels, -1] if rows else [first, channels, -1]
        weights.append(numpy_helper.from_array(np.array(shape), f"s{stride}"))
        add("Conv", ["images", f"w{stride}"], f"c{stride}", strides=[stride, stride])
        add("Reshape", [f"c{stride}", f"s{stride}"], f"r{stride}")
        parts.append(f"r{stride}")
        if rows:
            weights.append(numpy_helper.from_array(np.array([first, -1, channels]), f"t{stride}"))
            add("Transpose", [f"r{stride}"], f"p{stride}", perm=[0, 1, 3, 2])
            add("Reshape", [f"p{stride}", f"t{stride}"], f"q{stride}")
            parts[-1] = f"q{stride}"
        anchors += each * (size // stride) ** 2
    add("Concat", parts, "joined", axis=1 if rows else 2)
    add("Abs", ["joined"], "output0")
    number = graphs.TYPES[np.dtype(kind)]
    start = helper.make_tensor_value_info("images", number, [batch, 3, size, size])
    head = [batch, anchors, channels] if rows else [batch, channels, anchors]
    ends = [helper.make_tensor_value_info("output0", number, head)]
    if masks:
        weights.append(numpy_helper.from_array(random.normal(size=(masks, 3, 4, 4)).astype(kind) / 16, "maps"))
        add("Conv", ["images", "maps"], "output1", strides=[4, 4])
        ends.append(helper.make_tensor_value_info("output1", number, [batch, masks, size // 4, size // 4]))
    graph = helper.make_graph(nodes, "yolo", [start], ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    for key, value in graphs.ultralytics(NAMES, "segment" if masks else "detect", size=size).items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path
