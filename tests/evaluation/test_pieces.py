"""Pieces: painting by numbers gives what painting the pixels gives."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.panoptic_videos import SMALL
from tracker.errors import DetectionsError
from tracker.evaluation.pieces import Pieces
from tracker.evaluation.segments import Segments, compare_segments
from tracker.formats.class_set import ClassSet
from tracker.masks import Masks

HEIGHT, WIDTH = 24, 70


def table(segments: Segments) -> dict[tuple[int, int], int]:
    keys = zip(segments.truth.tolist(), segments.results.tolist(), strict=True)
    out = dict(zip(keys, segments.pixels.tolist(), strict=True))
    assert len(out) == len(segments.pixels)  # each pair once
    return out


def random_truth(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    blocks = (HEIGHT // 4, WIDTH // 10)
    classes, ids = rng.choice(np.array([0, 1, 2, 255], np.uint8), blocks), rng.integers(0, 4, blocks, np.int32)
    return tuple(np.kron(values, np.ones((4, 10), values.dtype)) for values in (classes, ids))


def random_masks(rng: np.random.Generator, count: int) -> np.ndarray:
    stack = np.zeros((count, HEIGHT, WIDTH), bool)
    for mask in stack:
        x, y = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
        mask[y : y + rng.integers(0, 14), x : x + rng.integers(0, 30)] = True
    return stack


@pytest.mark.parametrize("seed", range(8))
def test_masks_painted_one_by_one(seed: int) -> None:
    """The twin paints whole pictures, the lowest score first."""
    rng = np.random.default_rng(seed)
    truth, count = random_truth(rng), int(rng.integers(0, 9))
    stack, scores = random_masks(rng, count), rng.integers(0, 3, count) / 2  # with equal scores
    pieces = Pieces.of_masks(*truth, Masks.from_dense(stack), scores, SMALL)
    assert pieces.pixels.sum() == HEIGHT * WIDTH
    for _ in range(4):
        ids = np.where(rng.random(count) < 0.6, rng.permutation(count) + 1, 0)
        numbers = rng.integers(0, 3, count)
        classes, painted = np.full(truth[0].shape, SMALL.void), np.zeros(truth[0].shape, np.int64)
        for row in np.argsort(-scores, kind="stable")[::-1]:
            if ids[row]:
                classes[stack[row]], painted[stack[row]] = numbers[row], ids[row]
        assert table(pieces.paint(ids, numbers)) == table(compare_segments(*truth, classes, painted, SMALL))


@pytest.mark.parametrize("seed", range(4))
def test_a_panoptic_picture_keeps_its_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, (classes, rows) = random_truth(rng), random_truth(rng)
    pieces = Pieces.of_picture(*truth, classes, rows, SMALL)
    for _ in range(4):
        ids = np.where(rng.random(3) < 0.6, rng.permutation(3) + 70_000, 0)
        painted = np.concatenate([[0], ids])[rows]
        wanted = table(compare_segments(*truth, classes, painted, SMALL))
        assert table(pieces.paint(ids, np.full(3, -1))) == wanted


def test_no_detection_at_all_is_void() -> None:
    truth = random_truth(np.random.default_rng(0))
    pieces = Pieces.of_masks(*truth, Masks.empty(HEIGHT, WIDTH), [], SMALL)
    void = np.full(truth[0].shape, SMALL.void)
    assert table(pieces.paint([], [])) == table(compare_segments(*truth, void, np.zeros_like(void), SMALL))


def test_ids_of_too_few_detections() -> None:
    truth = random_truth(np.random.default_rng(0))
    masks = Masks.from_dense(np.ones((2, HEIGHT, WIDTH), bool))
    with pytest.raises(DetectionsError, match="ids and classes of 2 detections or more, got 1"):
        Pieces.of_masks(*truth, masks, [0.5, 0.6], SMALL).paint([1], [1])


def test_masks_of_another_size() -> None:
    truth = random_truth(np.random.default_rng(0))
    with pytest.raises(DetectionsError, match="of one size"):
        Pieces.of_masks(*truth, Masks.empty(5, 5), [], ClassSet(("car",), (0,)))
