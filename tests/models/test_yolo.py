from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models import graphs
from tests.models.graphs import letterboxed, ultralytics, v5_head, v8_head
from tests.reference.models import inside_box
from tracker.errors import DetectionsError, ModelError
from tracker.models import open_model
from tracker.models.decoding.boxes import suppress
from tracker.models.decoding.prototypes import _decode
from tracker.types import Detections, Frame

HEADS = {"columns": v8_head, "rows": v5_head}
NAMES = ["person", "bicycle", "car"]
SHARES = np.array([[0.1, 0.2, 0.4, 0.9], [0.5, 0.05, 0.96, 0.5], [0.55, 0.5, 0.9, 0.97], [0.2, 0.3, 0.3, 0.5]])
SCORES = np.array([[0.4, 0, 0], [0, 0, 0.45], [0.2, 0.3, 0.1], [0.05, 0, 0.35]])
CUT = 70.0  # network column at which object 1's mask begins
WEIGHTS = np.array([[1, 0], [-CUT, 1], [-1, 0], [1, 0]])  # whole box, right part, nothing, whole box
ASPECTS = [(256, 96), (90, 240), (128, 128), (1280, 720)]


def prototypes() -> np.ndarray:
    """[1, 2, 32, 32]: ones, and the network column of each cell's centre."""
    ramp = np.tile((np.arange(32) + 0.5) * 4, (32, 1))
    return np.stack([np.ones((32, 32)), ramp])[None].astype(np.float32)


def picture(size: tuple[int, int]) -> np.ndarray:
    return np.zeros((size[1], size[0], 3), np.uint8)


def segmenter(path: Path, layout: str, source: tuple[int, int], **metadata: str) -> Path:
    head = HEADS[layout](letterboxed(SHARES * (source * 2), source), SCORES, WEIGHTS)
    outputs = {"output0": head, "output1": prototypes()}
    return graphs.planted(path, outputs, metadata=ultralytics(NAMES, "segment", **metadata))


def in_order(detections: Detections) -> None:
    """The planted objects come back best first."""
    assert detections.labels.tolist() == [2, 0, 2, 1]
    np.testing.assert_allclose(detections.scores, [0.45, 0.4, 0.35, 0.3], rtol=1e-6)


@pytest.mark.parametrize("source", ASPECTS)
@pytest.mark.parametrize("layout", HEADS)
def test_planted_objects_come_back_in_source_pixels(tmp_path: Path, layout: str, source: tuple[int, int]) -> None:
    model = open_model(segmenter(tmp_path / "net.onnx", layout, source))
    found = model(Frame(3, 0.1, picture(source)))
    in_order(found)
    order = [1, 0, 3, 2]
    np.testing.assert_allclose(found.boxes, (SHARES * (source * 2))[order], atol=2e-3)
    assert found.masks is not None
    assert (found.masks.height, found.masks.width) == (source[1], source[0])
    at = letterboxed([[0, 0, 1, 1]], source)[0]  # of one source pixel
    column = (np.arange(source[0]) + 0.5) * (at[2] - at[0]) + at[0]
    for row, k in enumerate(order):
        wanted = inside_box(SHARES[k] * (source * 2), *source)
        if k == 1:
            wanted = wanted & (column > CUT)
        if k == 2:
            wanted = np.zeros_like(wanted)
        got = found.masks.to_dense()[row]
        assert got.sum() == wanted.sum() and (got == wanted).all()
    assert found.masks.areas[3] == 0  # an empty mask keeps its row


@pytest.mark.parametrize("layout", HEADS)
def test_detectors_have_no_masks(tmp_path: Path, layout: str) -> None:
    head = HEADS[layout](letterboxed(SHARES * 128, (128, 128)), SCORES)
    model = open_model(graphs.planted(tmp_path / "net.onnx", {"output0": head}, metadata=ultralytics(NAMES)))
    found = model(picture((128, 128)))
    in_order(found)
    assert found.masks is None and model.card.task == "detect" and model.card.class_names == tuple(NAMES)
    assert model.card.sha256 == model.session.sha256


@pytest.mark.parametrize("layout", HEADS)
def test_files_without_metadata_open_by_family(tmp_path: Path, layout: str) -> None:
    path = segmenter(tmp_path / "net.onnx", layout, (128, 128))
    outputs = {"a": HEADS[layout](letterboxed(SHARES * 128, (128, 128)), SCORES, WEIGHTS), "b": prototypes()}
    bare = open_model(graphs.planted(tmp_path / "bare.onnx", outputs), "yolo")
    assert bare.card.task == "segment" and bare.card.class_names == ()
    full, found = open_model(path)(picture((128, 128))), bare(picture((128, 128)))
    np.testing.assert_array_equal(found.boxes, full.boxes)
    assert found.masks is not None and full.masks is not None
    np.testing.assert_array_equal(found.masks.words, full.masks.words)


def test_a_layout_is_not_chosen_where_both_fit(tmp_path: Path) -> None:
    """At 32 x 32 there are 21 anchors: [1, 63, 21] is 63 rows of 16 classes or 21 columns of 59 classes."""
    path = graphs.planted(tmp_path / "net.onnx", {"o": np.zeros((1, 63, 21), np.float32)}, image=(1, 3, 32, 32))
    with pytest.raises(ModelError, match="both layouts fit, so name the classes"):
        open_model(path, "yolo")
    assert open_model(path, "yolo", names=[str(i) for i in range(16)]).rows  # type: ignore[attr-defined]
    assert not open_model(path, "yolo", names=[str(i) for i in range(59)]).rows  # type: ignore[attr-defined]


def test_scores_overlaps_and_counts_are_settings(tmp_path: Path) -> None:
    boxes = [(10, 10, 60, 90), (10, 10, 60, 98), (10, 10, 60, 120), (12, 10, 62, 90), (70, 10, 90, 30)]
    scores = np.array([[0.9, 0], [0.8, 0], [0.7, 0], [0, 0.6], [0.05, 0.04]])
    path = graphs.planted(tmp_path / "net.onnx", {"o": v8_head(boxes, scores)}, metadata=ultralytics(["person", "car"]))
    frame = picture((128, 128))

    def kept(**settings: Any) -> list[float]:
        return [round(float(s), 2) for s in open_model(path, **settings)(frame).scores]

    assert kept() == [0.9, 0.6]  # the car overlaps a person, which another class may
    assert kept(nms_iou=0.8) == [0.9, 0.7, 0.6]
    assert kept(nms_iou=1.0) == [0.9, 0.8, 0.7, 0.6]
    assert kept(min_score=0.65) == [0.9]
    assert kept(min_score=0.01) == [0.9, 0.6, 0.05]
    assert kept(min_score=0.01, multi_label=True) == [0.9, 0.6, 0.05, 0.04]
    assert kept(max_detections=1) == [0.9]
    assert kept(classes=["car"]) == [0.6] and kept(classes=[0]) == [0.9] and kept(classes=["1", "person"]) == [0.9, 0.6]
    assert kept(classes=[]) == []


def test_nothing_seen_is_an_empty_frame(tmp_path: Path) -> None:
    path = segmenter(tmp_path / "net.onnx", "columns", (128, 128))
    found = open_model(path, min_score=0.99)(picture((100, 50)))
    assert len(found) == 0 and found.boxes.shape == (0, 4)
    assert found.masks is not None and (found.masks.height, found.masks.width) == (50, 100)


def test_boxes_outside_the_frame_go_with_their_masks(tmp_path: Path) -> None:
    """Object 0 lies wholly in the letterbox's border; the others' masks must stay with their boxes."""
    boxes = letterboxed(SHARES * (256, 96, 256, 96), (256, 96))
    boxes[0] = 20, 2, 60, 30
    outputs = {"output0": v8_head(boxes, SCORES, WEIGHTS), "output1": prototypes()}
    path = graphs.planted(tmp_path / "net.onnx", outputs, metadata=ultralytics(NAMES, "segment"))
    found = open_model(path)(picture((256, 96)))
    np.testing.assert_allclose(found.scores, [0.45, 0.35, 0.3], rtol=1e-6)
    assert found.masks is not None
    assert [area > 0 for area in found.masks.areas] == [True, True, False]
    assert found.masks.areas[1] == inside_box(SHARES[3] * (256, 96, 256, 96), 256, 96).sum()


@pytest.mark.parametrize("layout", HEADS)
def test_half_precision_files(tmp_path: Path, layout: str) -> None:
    outputs = {
        "output0": HEADS[layout](letterboxed(SHARES * 128, (128, 128)), SCORES, WEIGHTS),
        "output1": prototypes(),
    }
    halves = {name: value.astype(np.float16) for name, value in outputs.items()}
    path = graphs.planted(tmp_path / "net.onnx", halves, dtype=np.float16, metadata=ultralytics(NAMES, "segment"))
    found = open_model(path)(picture((128, 128)))
    assert found.labels.tolist() == [2, 0, 2, 1]
    np.testing.assert_allclose(found.boxes, (SHARES * 128)[[1, 0, 3, 2]], atol=0.1)


@pytest.mark.parametrize("layout", HEADS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("channel", [2, 6])
def test_a_network_that_gives_nan_is_an_error(tmp_path: Path, layout: str, bad: float, channel: int) -> None:
    head = HEADS[layout](letterboxed(SHARES * 128, (128, 128)), SCORES)
    (head[0] if layout == "columns" else head[0].T)[channel, 12] = bad  # object 1: its width, or a class score
    path = graphs.planted(tmp_path / "net.onnx", {"o": head}, metadata=ultralytics(NAMES))
    with pytest.raises(DetectionsError, match="finite numbers from the network"):
        open_model(path, warmup=False)(picture((128, 128)))


def test_free_input_sizes(tmp_path: Path) -> None:
    boxes = letterboxed(SHARES * 128, (128, 128))
    path = graphs.free_size(tmp_path / "net.onnx", v8_head(boxes, SCORES), 2, ultralytics(NAMES))
    model = open_model(path)
    assert model.size == (128, 128)  # from imgsz
    in_order(model(picture((128, 128))))
    wide = open_model(path, size=(256, 160))
    prepared = wide.preprocess(picture((64, 64)))
    assert prepared.tensors["images"].shape == (1, 3, 160, 256)
    assert wide.infer(prepared.tensors)["output0"].shape == (1, 7, 840)
    np.testing.assert_allclose(wide(picture((256, 160))).boxes, (SHARES * 128)[[1, 0, 3, 2]], atol=1e-3)
    rows = graphs.free_size(tmp_path / "v5.onnx", v5_head(boxes, SCORES), 1)
    in_order(open_model(rows, "yolo", size=128)(picture((128, 128))))


@pytest.mark.parametrize(
    ("shapes", "task", "says"),
    [
        ({"strange": (3, 5)}, "detect", r"needs one output of 3 dimensions \(head\), got strange \[3, 5\]"),
        ({"a": (1, 7, 336)}, "segment", r"needs one output of 4 dimensions \(prototypes\), got a \[1, 7, 336\]"),
        (
            {"a": (1, 7, 100)},
            "detect",
            r"needs a head \[1, channels, 336\] or \[1, 1008, channels\] .*, got a \[1, 7, 100\]",
        ),
        ({"a": (1, 9, 336)}, "detect", r"needs 3 classes and 0 mask coefficients, got a \[1, 9, 336\]"),
        ({"a": (1, 1008, 9)}, "detect", r"needs 3 classes and 0 mask coefficients, got a \[1, 1008, 9\]"),
        ({"a": (1, 7, 336), "b": (1, 2, 32, 32)}, "segment", r"needs 3 classes and 2 mask coefficients"),
        (
            {"a": (1, 7, 336), "b": (1, 7, 336)},
            "detect",
            r"one output of 3 dimensions \(head\), got a .*, b \[1, 7, 336\]",
        ),
        ({"a": (1, 7, 336)}, "pose", r"needs the task detect or segment, got 'pose'"),
    ],
)
def test_outputs_that_do_not_fit_are_named(tmp_path: Path, shapes: dict[str, Any], task: str, says: str) -> None:
    outputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    path = graphs.planted(tmp_path / "net.onnx", outputs, metadata=ultralytics(NAMES, task))
    with pytest.raises(ModelError, match=says) as caught:
        open_model(path)
    assert "a yolo model" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("metadata", [{"args": "{'nms': True}"}, {"end2end": "True"}])
def test_exports_with_nms_inside_are_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    outputs = {"output0": np.zeros((1, 300, 6), np.float32)}
    path = graphs.planted(tmp_path / "net.onnx", outputs, metadata=ultralytics(NAMES, **metadata))
    with pytest.raises(ModelError, match="export with nms=False"):
        open_model(path)


def test_after_warmup_nothing_compiles(tmp_path: Path) -> None:
    for layout in HEADS:
        model = open_model(segmenter(tmp_path / f"{layout}.onnx", layout, (256, 96)), min_score=0.4)
        compiled = len(suppress.signatures), len(_decode.signatures)
        assert len(model(picture((256, 96)))) > 0
        assert (len(suppress.signatures), len(_decode.signatures)) == compiled
