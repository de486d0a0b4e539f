"""Runs of a picture against its map of pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import panoptic as slow
from tracker.masks import Masks
from tracker.models.decoding.fusion import Fusion, fuse
from tracker.models.decoding.runs import STUFF_THERE, Runs, cut_runs, measure_runs, paint_runs

THINGS = np.array([False, True, False])


def some_map(seed, most, wide=9):
    """Keys 0..most - 1 of a picture whose lines have short and long runs."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 9), rng.integers(1, wide)
    return np.repeat(rng.integers(0, most, (height, width)), rng.integers(1, 40, width), 1).astype(np.int32)


@given(st.integers(0, 10**6), st.integers(1, 20))
@settings(max_examples=60)
def test_runs_are_the_map(seed, most):
    keys = some_map(seed, most)
    runs = Runs(*slow.runs_of(keys))
    assert runs.shape == keys.shape
    np.testing.assert_array_equal(runs.to_map(), keys)


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=60)
def test_measures_equal_the_twin(seed, step):
    keys = some_map(seed, 20)
    count = 20 // step + 1
    wanted = slow.measure(keys, step, count)
    for got, want in zip(measure_runs(Runs(*slow.runs_of(keys)), step, count), wanted, strict=True):
        np.testing.assert_array_equal(got, want)


@given(st.integers(0, 10**6))
@settings(max_examples=60)
def test_pictures_and_masks_equal_tables_of_the_map(seed):
    rng = np.random.default_rng(seed)
    keys, step, count = some_map(seed, 15), 3, 5
    runs = Runs(*slow.runs_of(keys))
    row_of = np.append(0, rng.permutation(count - 1) - 1).clip(0)  # two numbers are left out
    rows = row_of[keys // step]
    classes = rng.integers(0, 255, count * step)
    got = np.empty(keys.shape, np.uint8), np.empty(keys.shape, np.int32)
    still = np.zeros(max(keys.shape), np.int32), np.zeros(max(keys.shape), np.float32)
    nothing = np.zeros((3, 1, 1), np.float32)
    paint_runs(runs, classes, np.repeat(row_of, step), nothing, THINGS, still, still, *got)
    np.testing.assert_array_equal(got[0], classes[keys])
    np.testing.assert_array_equal(got[1], rows)
    numbers = [int(np.flatnonzero(row_of == row + 1)[0]) for row in range(row_of.max())]
    rects = measure_runs(runs, step, count)[1][numbers]
    masks = Masks(*keys.shape, rects, *cut_runs(runs, step, row_of, rects))
    wanted = Masks.from_label_map(rows, len(numbers))
    for name in ("rects", "starts", "words"):
        np.testing.assert_array_equal(getattr(masks, name), getattr(wanted, name))


def test_stuff_is_looked_up_at_the_nearest_map_pixel():
    semantic = np.zeros((3, 2, 2), np.float32)
    semantic[2, 0, 1], semantic[0, 1, 0], semantic[1] = 1, 1, 9
    axis = np.zeros(3, np.int32), np.array([0, 0.4, 0.6], np.float32)
    classes, rows = np.empty((3, 3), np.uint8), np.empty((3, 3), np.int32)
    runs = Runs(*slow.runs_of(np.ones((3, 3), np.int32)))
    paint_runs(runs, np.full(6, STUFF_THERE), np.zeros(6, np.int64), semantic, THINGS, axis, axis, classes, rows)
    assert classes.tolist() == [[0, 0, 2], [0, 0, 2], [0, 0, 0]]


@pytest.mark.parametrize("keep", [[], [0], [1, 0]])
def test_instances_are_cut_out_in_the_order_asked_for(keep):
    semantic = np.zeros((3, 6, 10), np.float32)
    semantic[1, :, 2:9] = 1
    heat, offset = np.zeros((6, 10), np.float32), np.zeros((2, 6, 10), np.float32)
    heat[3, 3], heat[3, 7] = 0.5, 0.9
    fused = fuse(semantic, heat, offset, THINGS, Fusion(window=3))
    masks = fused.cut(keep)
    boxes = [[2, 0, 6, 6], [6, 0, 9, 6]]  # columns 5 and nearer to the left join the left one
    assert masks.boxes.tolist() == [boxes[i] for i in keep]
    assert masks.areas.tolist() == [[24, 18][i] for i in keep]
