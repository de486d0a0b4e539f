"""A set of SiamMOT's graphs that knows red things which move two pixels to the right in every frame.

Written by hand in place of an exported network: what comes out can be said beforehand. The trunk's maps are the picture
in 1/4 ... 1/32 of its size, its proposals those that are planted. The box head's score of a region is how much redder
than blue it is (class `red`) or how much bluer (class `blue`), its box the region itself. A template is the region's
picture; motion moves a box by `STEP`, and visibility is how alike the template and the new place are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.models import graphs
from tracker.models import ImageInput, ModelCard, write_card

SIZE = (128, 64)
STEP = 2
CLASSES = ("red", "blue")
_SIDE = 15
_CHANNELS = 3
_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64


def write_set(
    folder: Path,
    proposals: Sequence[Sequence[float]],
    *,
    facts: Mapping[str, Any] | None = None,
    size: tuple[int, int] = SIZE,
    modal: bool = False,
    classes: tuple[str, str] = CLASSES,
) -> Path:
    """The four files.

    Args:
        folder: made if missing.
        proposals: xyxy network pixels, the last one included; the first is the best.
        facts: of the cards, where they are to be others.
        size: of the input.
        modal: boxes are clipped to the picture.
        classes: names of what is red and what is blue.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = np.array(proposals, np.float32).reshape(-1, 4)
    maps = {f"p{i}": _tensor(f"p{i}", (1, _CHANNELS, size[1] >> i, size[0] >> i)) for i in range(2, 6)}
    pooled = [
        *maps.values(), *(_tensor(f"rois{i}", (f"rois{i}", 4)) for i in range(2, 6)), _tensor("order", ("n",), _INT),
    ]  # fmt: skip
    templates = (_CHANNELS, _SIDE, _SIDE)
    write = {
        "trunk": (
            [_tensor("image", (1, 3, size[1], size[0]))],
            [*maps.values(), _tensor("candidates", places.shape), _tensor("objectness", (len(places),))],
            _trunk(places),
        ),
        "boxes": (pooled, [_tensor("scores", ("n", 3)), _tensor("boxes", ("n", 3, 4))], _boxes(size, modal)),
        "template": (
            [*pooled, _tensor("before", ("m", *templates)), _tensor("kept", ("k",), _INT)],
            [_tensor("templates", ("t", *templates))],
            _template(),
        ),
        "motion": (
            [
                *pooled, _tensor("templates", ("m", *templates)), _tensor("last_boxes", ("n", 4)),
                _tensor("rows", ("n",), _INT),
            ],
            [_tensor("boxes", ("n", 4)), _tensor("visibility", ("n",))],
            _motion(),
        ),
    }  # fmt: skip
    known = {
        "motion": "emm", "amodal": not modal, "level_counts": [len(places), 0, 0, 0, 0], "template": _SIDE,
        "search_scale": 2.0, "min_score": 0.05, "detection_nms": 0.5, "proposals": 300, "proposal_nms": 0.7,
    }  # fmt: skip
    image = ImageInput("image", size, resize="stretch")
    for name, (starts, ends, nodes) in write.items():
        path = graphs.save(folder / f"{name}.onnx", nodes, starts, ends)
        card = ModelCard(
            "siammot", name, classes, image=image, checkpoint_sha256="c" * 64, facts={**known, **(facts or {})}
        )
        write_card(path, card)
    return folder


def picture(
    things: Mapping[str, Sequence[Sequence[int]]], size: tuple[int, int] = SIZE, scale: int = 1
) -> NDArray[np.uint8]:
    """(H, W, 3) BGR of a black picture with boxes (half-open, network pixels) of each class."""
    image = np.zeros((size[1] * scale, size[0] * scale, 3), np.uint8)
    for name, boxes in things.items():
        for x0, y0, x1, y1 in np.array(boxes).reshape(-1, 4) * scale:
            image[y0:y1, x0:x1, {"red": 2, "blue": 0}[name]] = 255
    return image


def _trunk(places: NDArray[np.float32]) -> list[Any]:
    pools = [
        helper.make_node("AveragePool", ["image"], [f"p{i}"], kernel_shape=[1 << i] * 2, strides=[1 << i] * 2)
        for i in range(2, 6)
    ]
    score = np.linspace(0.9, 0.8, len(places), dtype=np.float32)
    return [*pools, _constant("candidates", places), _constant("objectness", score)]


def _pool(side: int) -> list[Any]:
    """`pooled` (N, C, side, side) of all regions, in the order of the targets."""
    nodes = [_constant("front", np.array([0])), _constant("one", np.array([1]))]
    for i in range(2, 6):
        nodes += [
            helper.make_node("Shape", [f"rois{i}"], [f"count{i}"], start=0, end=1),
            helper.make_node(
                "ConstantOfShape", [f"count{i}"], [f"image{i}"], value=helper.make_tensor("zero", _INT, [1], [0])
            ),
            helper.make_node(
                "RoiAlign", [f"p{i}", f"rois{i}", f"image{i}"], [f"part{i}"], output_height=side, output_width=side,
                sampling_ratio=2, spatial_scale=1 / (1 << i), coordinate_transformation_mode="output_half_pixel",
            ),
        ]  # fmt: skip
    return [
        *nodes,
        helper.make_node("Concat", [f"part{i}" for i in range(2, 6)], ["parts"], axis=0),
        helper.make_node("Gather", ["parts", "order"], ["pooled"], axis=0),
        helper.make_node("Concat", [f"rois{i}" for i in range(2, 6)], ["sorted"], axis=0),
        helper.make_node("Gather", ["sorted", "order"], ["regions"], axis=0),
    ]


def _boxes(size: tuple[int, int], modal: bool) -> list[Any]:
    weights = np.array([[0, 1, -1], [0, 0, 0], [0, -1, 1]], np.float32)  # of red, green and blue, to each score
    last = np.array([size[0] - 1, size[1] - 1] * 2, np.float32)
    bounds = (np.zeros(4, np.float32), last) if modal else (np.full(4, -1e9, np.float32), np.full(4, 1e9, np.float32))
    return [
        *_pool(7),
        helper.make_node("ReduceMean", ["pooled"], ["colour"], axes=[2, 3], keepdims=0),
        _constant("weights", weights),
        helper.make_node("MatMul", ["colour", "weights"], ["difference"]),
        _constant("limits", np.float32(0)), _constant("most", np.float32(0.96)),
        helper.make_node("Clip", ["difference", "limits", "most"], ["scores"]),
        _constant("first", bounds[0]), _constant("final", bounds[1]),
        helper.make_node("Max", ["regions", "first"], ["inner"]),
        helper.make_node("Min", ["inner", "final"], ["clipped"]),
        helper.make_node("Unsqueeze", ["clipped", "one"], ["single"]),
        helper.make_node("Concat", ["single"] * 3, ["boxes"], axis=1),
    ]  # fmt: skip


def _template() -> list[Any]:
    return [
        *_pool(_SIDE),
        helper.make_node("Gather", ["before", "kept"], ["old"], axis=0),
        helper.make_node("Concat", ["pooled", "old"], ["templates"], axis=0),
    ]


def _motion() -> list[Any]:
    """The middle of the search region, as large as the last box, shows the track where it was; then it moves on."""
    step = np.array([STEP, 0, STEP, 0], np.float32)
    return [
        *_pool(2 * _SIDE),
        helper.make_node("Gather", ["templates", "rows"], ["own"], axis=0),
        _constant("step", step),
        helper.make_node("Add", ["last_boxes", "step"], ["boxes"]),
        _constant("starts", np.array([7, 7])), _constant("ends", np.array([22, 22])),
        _constant("axes", np.array([2, 3])),
        helper.make_node("Slice", ["pooled", "starts", "ends", "axes"], ["middle"]),
        helper.make_node("ReduceMean", ["middle"], ["now"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["own"], ["then"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["now", "then"], ["change"]),
        helper.make_node("Abs", ["change"], ["size"]),
        _constant("sure", np.float32(0.95)), _constant("thrice", np.float32(3)),
        helper.make_node("Mul", ["size", "thrice"], ["doubt"]),
        helper.make_node("Sub", ["sure", "doubt"], ["alike"]),
        _constant("nothing", np.float32(0)),
        helper.make_node("Max", ["alike", "nothing"], ["visibility"]),
    ]  # fmt: skip


def _constant(name: str, value: Any) -> Any:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name))


def _tensor(name: str, shape: Sequence[int | str], kind: int = _FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)
