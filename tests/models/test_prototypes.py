from __future__ import annotations

import numpy as np
import pytest

from tests.reference import models as slow
from tracker.errors import DetectionsError
from tracker.models.decoding.prototypes import masks_from_prototypes
from tracker.models.geometry import place


@pytest.mark.parametrize("source", [(150, 80), (80, 150), (64, 64), (20, 30), (1, 40)])
@pytest.mark.parametrize("rule", ["letterbox", "letterbox-corner", "stretch"])
def test_masks_equal_the_slow_twin(source: tuple[int, int], rule: str) -> None:
    rng = np.random.default_rng(source[0])
    width, height = source
    where = place(source, (64, 64), rule)
    prototypes = rng.normal(size=(6, 16, 16)).astype(np.float32)
    weights = rng.normal(size=(9, 6)).astype(np.float32)
    boxes = np.sort(rng.random((9, 2, 2)), axis=1).reshape(9, 4) * (width, height, width, height)
    boxes[0] = 0, 0, width, height
    boxes[1] = width - 0.7, height - 0.7, width, height
    boxes[2] = 0.6, 0.6, 0.9, 0.9  # no pixel centre inside
    masks = masks_from_prototypes(weights, prototypes, boxes.astype(np.float32), where)
    assert (masks.height, masks.width, len(masks)) == (height, width, 9)
    dense = masks.to_dense()
    for i in range(9):
        values = slow.prototype_values(weights[i], prototypes, where)
        inside = slow.inside_box(boxes[i].astype(np.float32), width, height)
        doubtful = np.abs(values) < 1e-4
        assert doubtful.mean() < 0.05
        np.testing.assert_array_equal((dense[i] & ~doubtful), ((values > 0) & inside & ~doubtful))
        assert not (dense[i] & ~inside).any()
    assert masks.areas[2] == 0


def test_no_object_gives_no_mask() -> None:
    where = place((50, 40), (64, 64), "letterbox")
    none = np.zeros((0, 4), np.float32)
    masks = masks_from_prototypes(none, np.zeros((4, 16, 16), np.float32), none, where)
    assert len(masks) == 0 and (masks.height, masks.width) == (40, 50)


def test_a_map_of_one_cell_is_a_constant() -> None:
    where = place((50, 40), (64, 64), "stretch")
    box = np.array([[10, 10, 20, 15]], np.float32)
    for value, area in ((1.0, 50), (-1.0, 0)):
        masks = masks_from_prototypes(np.ones((1, 1), np.float32), np.full((1, 1, 1), value, np.float32), box, where)
        assert masks.areas.tolist() == [area]


def test_memory_follows_the_boxes() -> None:
    """500 people in a 4K frame: a dense stack would be 4 GB."""
    rng = np.random.default_rng(2)
    where = place((3840, 2160), (640, 640), "letterbox")
    corner = rng.random((500, 2)) * (3740, 1960)
    boxes = np.concatenate([corner, corner + np.array([100, 200])], axis=1).astype(np.float32)
    prototypes = rng.normal(size=(32, 160, 160)).astype(np.float32)
    masks = masks_from_prototypes(rng.normal(size=(500, 32)).astype(np.float32), prototypes, boxes, where)
    assert masks.nbytes < 3_000_000 and 1e6 < masks.areas.sum() < 500 * 20_301


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_an_error(bad: float) -> None:
    where = place((64, 64), (64, 64), "letterbox")
    prototypes = np.zeros((2, 16, 16), np.float32)
    prototypes[1, 3, 3] = bad
    boxes = np.array([[8, 8, 20, 20], [40, 40, 60, 60]], np.float32)
    with pytest.raises(DetectionsError, match="finite mask values from the network, got others under 1 of its boxes"):
        masks_from_prototypes(np.ones((2, 2), np.float32), prototypes, boxes, where)
    masks_from_prototypes(np.ones((1, 2), np.float32), prototypes, boxes[1:], where)
