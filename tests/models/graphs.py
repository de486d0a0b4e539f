"""Tiny ONNX files for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16,
         np.dtype(np.int64): TensorProto.INT64}  # fmt: skip


def planted(
    path: Path,
    outputs: Mapping[str, NDArray[Any]],
    *,
    image: Sequence[int | str] = (1, 3, 128, 128),
    dtype: type = np.float32,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A file with one image input that always gives these outputs."""
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in outputs.items()
    ]
    ends = [helper.make_tensor_value_info(n, TYPES[v.dtype], v.shape) for n, v in outputs.items()]
    return save(path, nodes, [helper.make_tensor_value_info("images", TYPES[np.dtype(dtype)], image)], ends, metadata)


def save(path: Path, nodes: list[Any], starts: list[Any], ends: list[Any], metadata: Any = None) -> Path:
    model = helper.make_model(
        helper.make_graph(nodes, "test", starts, ends), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(path))
    return path


def free_size(path: Path, head: NDArray[Any], axis: int, metadata: Mapping[str, str] | None = None) -> Path:
    """A file of any input size: one anchor (axis 2) or three (axis 1) per cell, those of `head` again and again."""
    per_cell = 1 if axis == 2 else 3

    def number(name: str, value: Any) -> Any:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name))

    nodes = [
        number("head", head), number("sides_at", np.array([2, 3])), number("cells", 21 * per_cell),
        number("pixels", 1024), number("zero", 0), number("one", 1), number("planted", head.shape[axis]),
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Gather", ["shape", "sides_at"], ["sides"]),
        helper.make_node("ReduceProd", ["sides"], ["area"], keepdims=0),
        helper.make_node("Mul", ["area", "cells"], ["scaled"]),
        helper.make_node("Div", ["scaled", "pixels"], ["anchors"]),
        helper.make_node("Range", ["zero", "anchors", "one"], ["each"]),
        helper.make_node("Mod", ["each", "planted"], ["index"]),
        helper.make_node("Gather", ["head", "index"], ["output0"], axis=axis),
    ]  # fmt: skip
    shape = [*head.shape[:axis], "anchors", *head.shape[axis + 1 :]]
    start = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    return save(path, nodes, [start], [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)], metadata)


def doubler(path: Path, shape: Sequence[int | str] = (2, 3)) -> Path:
    """y = x + x."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy"]
    return save(path, [helper.make_node("Add", ["x", "x"], ["y"])], ends[:1], ends[1:])


def ultralytics(names: Sequence[str], task: str = "detect", size: int = 128, **more: str) -> dict[str, str]:
    """The metadata that Ultralytics' exporter writes."""
    return {
        "description": "Ultralytics model trained on street.yaml", "author": "Ultralytics", "stride": "32",
        "task": task, "imgsz": f"[{size}, {size}]", "names": str(dict(enumerate(names))),
        "license": "a licence", "channels": "3", **more,
    }  # fmt: skip


def letterboxed(boxes: Any, source: tuple[int, int], size: int = 128, corner: bool = False) -> NDArray[np.float64]:
    """Where source boxes (xyxy) stand in a square letterbox, worked out by hand."""
    ratio = size / max(source)
    inside = [int(side * ratio + 1e-6) if corner else round(side * ratio) for side in source]
    offset = [0 if corner else (size - side) // 2 for side in inside]
    factors = [i / s for i, s in zip(inside, source, strict=True)]
    return np.asarray(boxes, float).reshape(-1, 4) * (factors * 2) + offset * 2


def centred(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """xyxy to cx cy w h."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def v8_head(boxes: Any, scores: Any, weights: Any = None, anchors: int = 336) -> NDArray[np.float32]:
    """[1, 4 + classes + M, anchors]: objects at scattered anchors, zeros elsewhere."""
    rows = np.concatenate([centred(np.asarray(boxes)), np.asarray(scores, float)], axis=1)
    if weights is not None:
        rows = np.concatenate([rows, np.asarray(weights, float)], axis=1)
    head = np.zeros((1, rows.shape[1], anchors), np.float32)
    head[0, :, 5 : 5 + 7 * len(rows) : 7] = rows.T
    return head


def v5_head(boxes: Any, scores: Any, weights: Any = None, anchors: int = 1008) -> NDArray[np.float32]:
    """[1, anchors, 5 + classes + M] with objectness 0.5: class scores are doubled to make up for it."""
    columns = v8_head(boxes, np.asarray(scores, float) * 2, weights, anchors)[0].T
    objectness = np.where(columns[:, 2:3] > 0, 0.5, 0)
    return np.concatenate([columns[:, :4], objectness, columns[:, 4:]], axis=1, dtype=np.float32)[None]
