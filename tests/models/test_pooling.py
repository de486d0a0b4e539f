"""Identity vectors from a model's own feature map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models import graphs
from tests.models.graphs import letterboxed, ultralytics, v8_head
from tests.reference import looks as slow
from tracker.errors import ConfigError, DetectionsError
from tracker.masks import Masks
from tracker.models import ModelCard, open_model, write_card
from tracker.models.decoding.pooling import Pooled, pool
from tracker.models.geometry import place

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("source", [(90, 40), (30, 77), (64, 64)])
@pytest.mark.parametrize("cells", [(16, 16), (5, 3), (100, 70)])
def test_pooling_equals_the_slow_twin(source: tuple[int, int], cells: tuple[int, int]) -> None:
    placement = place(source, (64, 64), "letterbox")
    features = RNG.normal(size=(4, cells[1], cells[0])).astype(np.float32)
    stack = RNG.random((6, source[1], source[0])) < np.array([0.5, 0.01, 0.9, 0.2, 0.0, 1.0])[:, None, None]
    masks = Masks.from_dense(stack)
    corners = RNG.integers(0, 20, (6, 2))
    boxes = np.concatenate([corners, corners + RNG.integers(1, 10, (6, 2))], 1).astype(np.float32)
    areas = np.zeros_like(stack)
    for area, (x1, y1, x2, y2) in zip(areas, boxes.astype(int), strict=True):
        area[y1:y2, x1:x2] = True
    over_boxes = [slow.pool(features, placement, area) for area in areas]
    over_masks = [slow.pool(features, placement, mask) for mask in stack]
    over_masks[4] = over_boxes[4]  # an empty mask
    np.testing.assert_allclose(pool(features, placement, boxes), over_boxes, atol=2e-5)
    np.testing.assert_allclose(pool(features, placement, boxes, masks), over_masks, atol=2e-5)


def test_nothing_has_no_feature() -> None:
    placement, features = place((64, 64), (64, 64), "stretch"), np.ones((3, 8, 8), np.float32)
    assert pool(features, placement, np.zeros((0, 4), np.float32)).shape == (0, 3)
    beside = np.array([[-20, 0, -5, 9], [4, 4, 4, 20], [64, 0, 90, 10]], np.float32)
    assert not pool(features, placement, beside).any()
    with pytest.raises(DetectionsError, match="finite features"):
        pool(features * np.nan, placement, np.array([[0, 0, 9, 9]], np.float32))


BOXES = np.array([[10, 10, 60, 90], [70, 20, 120, 100]], float)


def segmenter(path: Path, **more: np.ndarray) -> Path:
    """Two objects in a frame of 128 x 128 and two prototypes: the left and the right half of the picture."""
    prototypes = np.full((1, 2, 32, 32), -5, np.float32)
    prototypes[0, 0, :, :16] = prototypes[0, 1, :, 16:] = 5
    head = v8_head(letterboxed(BOXES, (128, 128)), [[0.9], [0.8]], [[1, -1], [-1, 1]])
    return graphs.planted(
        path, {"output0": head, "output1": prototypes, **more}, metadata=ultralytics(["thing"], "segment")
    )


def test_a_segmenter_pools_its_prototypes(tmp_path: Path) -> None:
    model = open_model(segmenter(tmp_path / "net.onnx"))
    image = np.zeros((128, 128, 3), np.uint8)
    assert model.card.outputs == {"features": "output1"}
    found = Pooled(model)(image)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found.embeddings, [[half, -half], [-half, half]], atol=1e-6)
    assert found.masks is not None and model(image).embeddings is None


def test_masks_and_boxes_pool_other_pixels(tmp_path: Path) -> None:
    """A map of its own, named by the card: the mask has one half of the box, the box both."""
    prototypes = np.full((1, 1, 32, 32), -5, np.float32)
    prototypes[:, :, :16] = 5
    features = np.zeros((1, 2, 16, 16), np.float32)
    features[0, 0, :8], features[0, 1, 8:] = 1, 1  # upper half, lower half
    path = tmp_path / "net.onnx"
    head = v8_head(letterboxed([[16, 32, 80, 96]], (128, 128)), [[0.9]], [[1]])
    graphs.planted(path, {"head": head, "maps": prototypes, "neck": features})
    outputs = {"head": "head", "prototypes": "maps", "features": "neck"}
    write_card(path, ModelCard("yolo", "segment", ("thing",), outputs=outputs))
    model, image = open_model(path), np.zeros((128, 128, 3), np.uint8)
    np.testing.assert_allclose(Pooled(model, "mask-pooling")(image).embeddings, [[1, 0]], atol=1e-6)
    np.testing.assert_allclose(Pooled(model, "box-pooling")(image).embeddings, [[np.sqrt(0.5)] * 2], atol=1e-6)


def test_a_model_without_features_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    graphs.planted(path, {"output0": v8_head(BOXES, [[0.9], [0.8]])}, metadata=ultralytics(["thing"]))
    model = open_model(path)
    with pytest.raises(ConfigError, match=r"mask-pooling needs a feature map .*it has output0 \[1, 5, 336\]"):
        Pooled(model)
    with pytest.raises(ConfigError, match="a pooling of mask-pooling, box-pooling, got 'mean'"):
        Pooled(model, "mean")
