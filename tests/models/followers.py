"""A siamese network small enough to know what it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.models.graphs import save


def constant(name: str, value: object) -> object:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name))


def value(name: str, *shape: int) -> object:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def colour_network(folder: Path) -> Path:
    """A network with NanoTrack's contract that looks for the colour in the middle of the template.

    Cell j of a map is the mean of 64 px around 16 * j, boxes are 64 px wide. Both files have a batch of 1 and their
    sizes written into them, in Reshape nodes too. Returns the backbone's path.
    """
    pooling = {"kernel_shape": [64, 64], "strides": [16, 16], "pads": [32] * 4}
    nodes = [helper.make_node("AveragePool", ["input"], ["output"], **pooling)]
    save(folder / "nanotrack_backbone.onnx", nodes, [value("input", 1, 3, 255, 255)], [value("output", 1, 3, 16, 16)])
    shape = numpy_helper.from_array(np.array([1, 3, 1, 1]), "shape")
    nodes = [
        constant("from", np.array([4, 4])), constant("to", np.array([5, 5])), constant("sides", np.array([2, 3])),
        constant("distance", np.float32(32)), constant("steep", np.float32(-0.1)), constant("sure", np.float32(6)),
        constant("one", np.array([1])),
        helper.make_node("Slice", ["input1", "from", "to", "sides"], ["middle"]),
        helper.make_node("ReduceMean", ["middle"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["colour"]),
        helper.make_node("Sub", ["input2", "colour"], ["other"]),
        helper.make_node("Abs", ["other"], ["far"]),
        helper.make_node("ReduceSum", ["far", "one"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "steep"], ["near"]),
        helper.make_node("Add", ["near", "sure"], ["object"]),
        helper.make_node("Sub", ["object", "object"], ["nothing"]),
        helper.make_node("Concat", ["nothing", "object"], ["output1"], axis=1),
        helper.make_node("Add", ["nothing", "distance"], ["side"]),
        helper.make_node("Concat", ["side", "side", "side", "side"], ["output2"], axis=1),
    ]  # fmt: skip
    starts = [value("input1", 1, 3, 8, 8), value("input2", 1, 3, 16, 16)]
    ends = [value("output1", 1, 2, 16, 16), value("output2", 1, 4, 16, 16)]
    path = save(folder / "nanotrack_head.onnx", nodes, starts, ends)
    model = onnx.load(path)
    model.graph.initializer.append(shape)
    onnx.save(model, path)
    return folder / "nanotrack_backbone.onnx"
