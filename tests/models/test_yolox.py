from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models import graphs
from tests.models.graphs import centred, letterboxed
from tracker.errors import DetectionsError, ModelError
from tracker.models import open_model

SHARES = np.array([[0.1, 0.2, 0.4, 0.9], [0.5, 0.05, 0.95, 0.5], [0.55, 0.5, 0.9, 0.97]])
SCORES = np.array([[0.9, 0.1], [0.2, 0.6], [0.3, 0.1]])
CELLS = [(stride, x, y) for stride in (8, 16, 32) for y in range(128 // stride) for x in range(128 // stride)]
ASPECTS = [(256, 96), (90, 240), (128, 128)]


def head(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """[1, 336, 5 + classes]: each object stands raw at one cell of another stride; objectness is one half."""
    out = np.zeros((1, len(CELLS), 5 + scores.shape[1]), np.float32)
    for at, (cx, cy, w, h), row in zip((17, 256 + 33, 320 + 9), centred(boxes), scores, strict=True):
        stride, x, y = CELLS[at]
        out[0, at] = [cx / stride - x, cy / stride - y, np.log(w / stride), np.log(h / stride), 0.5, *(row * 2 * 0.5)]
    return out


@pytest.mark.parametrize("source", ASPECTS)
def test_planted_objects_come_back_in_source_pixels(tmp_path: Path, source: tuple[int, int]) -> None:
    boxes = SHARES * (source * 2)
    planted = head(letterboxed(boxes, source, corner=True), SCORES)
    model = open_model(graphs.planted(tmp_path / "net.onnx", {"output": planted}), "yolox", names=["person", "car"])
    found = model(np.zeros((source[1], source[0], 3), np.uint8))
    assert found.labels.tolist() == [0, 1, 0] and found.masks is None
    np.testing.assert_allclose(found.scores, [0.45, 0.3, 0.15], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, boxes, atol=2e-3)


def test_the_input_is_bgr_unscaled_and_in_the_corner(tmp_path: Path) -> None:
    planted = head(letterboxed(SHARES * 128, (128, 128), corner=True), SCORES)
    model = open_model(graphs.planted(tmp_path / "net.onnx", {"output": planted}), "yolox")
    image = np.zeros((64, 128, 3), np.uint8)
    image[:] = 10, 20, 30
    tensor = model.preprocess(image).tensors["images"]
    assert tensor[0, :, 0, 0].tolist() == [10, 20, 30] and (tensor[0, :, 64:] == 114).all()


def test_heads_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = graphs.planted(tmp_path / "net.onnx", {"output": np.zeros((1, 100, 7), np.float32)})
    with pytest.raises(
        ModelError, match=r"a yolox model needs an output \[1, 336, 5 \+ classes\].*output \[1, 100, 7\]"
    ):
        open_model(path, "yolox")
    path = graphs.planted(tmp_path / "net.onnx", {"output": np.zeros((1, 336, 7), np.float32)})
    with pytest.raises(ModelError, match="needs 80 classes, got 2 from output"):
        open_model(path, "yolox", names="coco")


def test_an_infinite_side_is_an_error(tmp_path: Path) -> None:
    planted = head(letterboxed(SHARES * 128, (128, 128), corner=True), SCORES)
    planted[0, 17, 2] = 200  # exp(200) is infinite in float32
    path = graphs.planted(tmp_path / "net.onnx", {"output": planted})
    with pytest.raises(DetectionsError, match="finite numbers from the network"):
        open_model(path, "yolox", warmup=False)(np.zeros((128, 128, 3), np.uint8))
