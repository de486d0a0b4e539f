from __future__ import annotations

import numpy as np
import pytest

from tests.reference import models as slow
from tracker.errors import DetectionsError
from tracker.models.decoding.boxes import best_columns, best_rows, every_class, keep_boxes, suppress
from tracker.models.geometry import place
from tracker.models.model import ModelConfig

LEAST = np.float32(0.3)


def random_scores(seed: int, anchors: int = 200, classes: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random((anchors, classes)), 1).astype(np.float32)  # rounded: plenty of ties
    scores[rng.random(anchors) < 0.5] *= 0.1
    return scores


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wanted", [[1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]])
def test_best_class_equals_the_slow_twin(seed: int, wanted: list[int]) -> None:
    scores, allowed = random_scores(seed), np.array(wanted, np.bool_)
    scores[7, 2] = scores[8, 3] = np.nan
    expected = slow.best_class(scores, allowed, LEAST)
    head = np.concatenate([np.full((4, len(scores)), 9, np.float32), scores.T])
    found = best_columns(head, 4, allowed, LEAST)
    np.testing.assert_array_equal(
        np.array(list(zip(*found, strict=True))).reshape(-1, 3), np.reshape(expected, (-1, 3))
    )
    ones = np.ones((len(scores), 1), np.float32)
    found = best_rows(np.concatenate([ones, scores], axis=1), 0, 1, allowed, LEAST)
    np.testing.assert_array_equal(
        np.array(list(zip(*found, strict=True))).reshape(-1, 3), np.reshape(expected, (-1, 3))
    )


def test_objectness_scales_the_score() -> None:
    scores = random_scores(9)
    thing = np.random.default_rng(1).random((len(scores), 1)).astype(np.float32)
    allowed = np.ones(5, np.bool_)
    anchors, labels, values = best_rows(np.concatenate([scores, thing], axis=1), 5, 0, allowed, LEAST)
    expected = slow.best_class(thing * scores, allowed, LEAST)
    assert list(zip(anchors, labels, values, strict=True)) == expected
    assert 0 < len(anchors) < len(scores)


def test_every_class_lists_all_pairs() -> None:
    scores = np.array([[0.5, 0.2, 0.9], [0.1, 0.1, 0.1], [0.31, np.nan, 0.3]], np.float32)
    anchors, labels, values = every_class(scores, np.array([True, True, True]), LEAST)
    assert anchors.tolist() == [0, 0, 2, 2] and labels.tolist() == [0, 2, 0, 1]
    np.testing.assert_array_equal(values, scores[anchors, labels])
    assert every_class(scores, np.array([False, True, False]), LEAST)[0].tolist() == [2]


@pytest.mark.parametrize("seed", range(20))
def test_suppression_equals_the_slow_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 120))
    corners = rng.integers(0, 12, (n, 2))
    boxes = np.concatenate([corners, corners + rng.integers(-1, 9, (n, 2))], axis=1).astype(np.float32)
    scores = np.round(rng.random(n), 1).astype(np.float32)
    labels = rng.integers(0, 3, n).astype(np.int32)
    for max_iou, limit in ((0.0, 100), (0.5, 100), (0.7, 7), (1.0, 100)):
        kept = suppress(boxes, scores, labels, np.float32(max_iou), limit)
        assert kept.tolist() == slow.suppress(boxes, scores, labels, max_iou, limit)


def test_kept_boxes_lie_in_the_frame() -> None:
    where = place((200, 100), (128, 128), "letterbox")
    corners = np.array([[-10, 20, 30, 60], [5, 0, 20, 30], [0, 32, 128, 96], [200, 40, 300, 50]], np.float32)
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6], np.float32), np.zeros(4, np.int32)
    rows, boxes = keep_boxes(corners, scores, labels, ModelConfig(), where)
    assert rows.tolist() == [0, 2]  # row 1 lies in the border above the frame, row 3 beside it
    np.testing.assert_allclose(boxes, [[0, 0, 46.875, 43.75], [0, 0, 200, 100]], atol=1e-4)
    none = keep_boxes(corners[:0], scores[:0], labels[:0], ModelConfig(), where)
    assert none[0].shape == (0,) and none[1].shape == (0, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_an_error(bad: float) -> None:
    where = place((128, 128), (128, 128), "letterbox")
    boxes = np.array([[0, 0, 9, 9], [1, 1, 8, bad]], np.float32)
    with pytest.raises(DetectionsError, match=r"finite numbers from the network, got score 0\.5, box"):
        keep_boxes(boxes, np.full(2, 0.5, np.float32), np.zeros(2, np.int32), ModelConfig(), where)
    with pytest.raises(DetectionsError, match="finite numbers from the network"):
        keep_boxes(boxes[:1], np.array([bad], np.float32), np.zeros(1, np.int32), ModelConfig(), where)
