"""Masks against dense numpy arrays and pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from tests.reference import masks as slow
from tracker.errors import MasksError
from tracker.masks import Masks, label_map_iou, label_map_overlaps


@st.composite
def stacks(draw: st.DrawFn, count: int | None = None) -> np.ndarray:
    """Dense stacks with boxes, noise, full frames and empty masks; widths cross the 64-pixel words."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 150))
    n = draw(st.integers(0, 4)) if count is None else count
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stack = np.zeros((n, height, width), bool)
    for mask in stack:
        y0, y1 = sorted(rng.integers(0, height + 1, 2))
        x0, x1 = sorted(rng.integers(0, width + 1, 2))
        mask[y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < rng.choice([0.0, 0.3, 0.9, 1.1])
    return stack


def encode(stack: np.ndarray) -> list[dict]:
    return [coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in stack]


@settings(max_examples=150)
@given(stacks())
def test_dense_and_rle_round_trip_as_pycocotools(stack: np.ndarray) -> None:
    masks = Masks.from_dense(stack)
    assert (masks.to_dense() == stack).all()
    assert (masks.areas == stack.sum((1, 2))).all()
    rles = masks.to_rle()
    assert [rle["counts"] for rle in rles] == [rle["counts"].decode() for rle in encode(stack)]
    assert (Masks.from_rle(rles, *stack.shape[1:]).to_dense() == stack).all()
    raw = [{"size": rle["size"], "counts": rle["counts"].encode()} for rle in rles]
    assert (Masks.from_rle(raw, *stack.shape[1:]).to_dense() == stack).all()


@settings(max_examples=100)
@given(stacks())
def test_iou_equals_pycocotools(stack: np.ndarray) -> None:
    half = len(stack) // 2
    a, b = Masks.from_dense(stack[:half]), Masks.from_dense(stack[half:])
    iou = a.iou(b)
    assert iou.shape == (half, len(stack) - half)
    if iou.size:
        expected = coco.iou(encode(stack[:half]), encode(stack[half:]), [0] * len(b))
        np.testing.assert_allclose(iou, np.nan_to_num(expected), atol=1e-12)


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of one shape with long runs, single pixels, negative labels and sizes that fill no word."""
    height, width = draw(st.integers(0, 6)), draw(st.integers(1, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    maps = []
    for dtype in draw(
        st.lists(st.sampled_from(["u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8"]), min_size=2, max_size=2)
    ):
        lengths = rng.geometric(rng.choice([0.02, 0.3, 1.0]), height * width)
        values = rng.integers(-2 if dtype[0] == "i" else 0, 6, height * width)
        maps.append(np.repeat(values, lengths)[: height * width].reshape(height, width).astype(dtype))
    return maps[0], maps[1]


@settings(max_examples=300)
@given(label_maps(), st.sampled_from([(3, 4), (5, 5), (0, 2), (300, 6)]))
def test_label_maps_overlap_as_counted_pixel_by_pixel(maps: tuple[np.ndarray, np.ndarray], counts) -> None:
    a, b = maps
    before = a.copy(), b.copy()
    shared = label_map_overlaps(a, b, *counts)
    assert shared.shape == (counts[0] + 1, counts[1] + 1) and shared.sum() == a.size
    assert (shared == slow.label_map_overlaps(a, b, *counts)).all()
    np.testing.assert_allclose(label_map_iou(a, b, *counts), slow.label_map_iou(a, b, *counts), atol=1e-12)
    sizes = max(int(a.max(initial=0)), 0), max(int(b.max(initial=0)), 0)
    assert (label_map_overlaps(a, b) == slow.label_map_overlaps(a, b, *sizes)).all()
    assert (a == before[0]).all() and (b == before[1]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_label_maps_need_not_be_aligned_nor_contiguous(dtype) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 4, (2, 20, 67)).astype(dtype)
    expected = slow.label_map_overlaps(a, b, 3, 3)
    shifted = np.empty(a.nbytes + 1, np.uint8)[1:].view(dtype).reshape(a.shape)
    shifted[:] = a
    assert (label_map_overlaps(shifted, b) == expected).all()
    assert (label_map_overlaps(a.T, b.T) == expected).all()
    assert (label_map_overlaps(np.repeat(a, 2, 1)[:, ::2], np.asfortranarray(b)) == expected).all()


@settings(max_examples=50)
@given(stacks(count=4))
def test_iou_of_label_maps_is_that_of_their_masks(stack: np.ndarray) -> None:
    a, b = Masks.from_dense(stack[:2]).disjoint(), Masks.from_dense(stack[2:]).disjoint()
    maps = a.to_label_map(), b.to_label_map()
    np.testing.assert_allclose(label_map_iou(*maps, 2, 2), a.iou(b), atol=1e-12)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_iou_of_crops_of_any_width_equals_dense(seed: int) -> None:
    """Crops that share one word column, several, or their whole layout take different ways through the kernel."""
    rng = np.random.default_rng(seed)
    crops = [rng.random((rng.integers(1, 30), rng.choice([3, 60, 130, 260]))) < 0.7 for _ in range(6)]
    corners = rng.choice([-5, 0, 40, 64, 100], (6, 2))
    masks = Masks.from_crops(crops, corners, 60, 320)
    dense = masks.to_dense().reshape(6, -1).astype(float)
    shared, sizes = dense @ dense.T, dense.sum(1)
    union = sizes[:, None] + sizes[None] - shared
    np.testing.assert_allclose(masks.iou(masks), shared / np.maximum(union, 1), atol=1e-12)
    assert masks.areas.tolist() == sizes.tolist()


@settings(max_examples=100)
@given(stacks(), st.integers(0, 2**32 - 1))
def test_disjoint_gives_every_pixel_to_its_highest_priority(stack: np.ndarray, seed: int) -> None:
    priority = np.random.default_rng(seed).integers(0, 3, len(stack))
    masks = Masks.from_dense(stack)
    before = masks.words.copy()
    dense = masks.disjoint(priority).to_dense()
    taken = np.zeros(stack.shape[1:], bool)
    for i in sorted(range(len(stack)), key=lambda i: -priority[i]):
        assert (dense[i] == (stack[i] & ~taken)).all()
        taken |= stack[i]
    assert (masks.words == before).all()
    labels = masks.disjoint(priority).to_label_map()
    assert (Masks.from_label_map(labels, len(stack)).to_dense() == dense).all()


@settings(max_examples=100)
@given(stacks(), st.data())
def test_select_boxes_and_label_maps(stack: np.ndarray, data: st.DataObject) -> None:
    masks = Masks.from_dense(stack)
    rows = data.draw(st.lists(st.integers(-1, len(stack) - 1), max_size=5))
    chosen = masks.select(rows).to_dense()
    for row, mask in zip(rows, chosen, strict=True):
        assert (mask == (stack[row] if row >= 0 else False)).all()
    for mask, box in zip(stack, masks.boxes, strict=True):
        ys, xs = np.nonzero(mask)
        expected = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else (0, 0, 0, 0)
        assert tuple(box) == expected
    painted = np.zeros(stack.shape[1:], np.int32)
    for i, mask in enumerate(stack):
        painted[mask] = 10 * i + 7
    assert (masks.to_label_map([10 * i + 7 for i in range(len(stack))]) == painted).all()


def test_crops_are_cut_at_the_frame() -> None:
    crop = np.ones((4, 6), np.uint8)
    masks = Masks.from_crops([crop, crop, crop], [(-2, -1), (97, 48), (200, 10)], 50, 100)
    expected = np.zeros((3, 50, 100), bool)
    expected[0, :3, :4] = True
    expected[1, 48:, 97:] = True
    assert (masks.to_dense() == expected).all()
    assert masks.areas.tolist() == [12, 6, 0]
    assert (masks.crop(0) == 1).all() and masks.crop(2).size == 0


def test_empty_masks_are_legal_everywhere() -> None:
    none = Masks.empty(20, 30)
    assert len(none) == 0 and none.to_dense().shape == (0, 20, 30) and none.to_rle() == []
    two = Masks.empty(20, 30, 2)
    assert two.areas.tolist() == [0, 0] and (two.iou(two) == 0).all()
    assert two.disjoint().to_label_map().sum() == 0
    assert [rle["counts"] for rle in two.to_rle()] == [encode(np.zeros((1, 20, 30)))[0]["counts"].decode()] * 2


def test_memory_follows_the_crops() -> None:
    crop = np.ones((80, 30), np.uint8)
    masks = Masks.from_crops([crop] * 500, np.random.default_rng(0).integers(0, 2000, (500, 2)), 2160, 3840)
    assert masks.nbytes < 1_000_000  # dense would be 4.1 GB


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint16])
@pytest.mark.parametrize("one", [1, 255])
def test_masks_of_segmenters_and_of_opencv_are_taken(dtype: type, one: int) -> None:
    stack = np.random.default_rng(one).random((3, 9, 70)) < 0.4
    assert (Masks.from_dense(stack.astype(dtype) * dtype(one)).to_dense() == stack).all()
    assert not Masks.from_dense(np.zeros((2, 9, 70), dtype)).areas.any()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Masks.from_dense(np.zeros((3, 4))), "expected masks of shape"),
        (lambda: Masks.from_dense(np.full((1, 3, 4), 0.1)), "got float64; compare scores, as masks > 0"),
        (lambda: Masks.from_dense(np.arange(12).reshape(1, 3, 4)), "got other values from 0 to 11"),
        (lambda: Masks.from_dense(np.array([[[0, 1, 255]]], np.uint8)), "other values from 0 to 255"),
        (lambda: Masks.from_dense(np.array([[[0, -1]]], np.int8)), "other values from -1 to 0"),
        (lambda: Masks.from_label_map(np.zeros((3, 4))), "expected an integer label map"),
        (lambda: Masks.from_rle([{"size": [3, 4], "counts": "~~"}]), "broken run lengths at row 0"),
        (lambda: Masks.from_rle([{"size": [3, 4], "counts": [5]}]), "do not fill 3 x 4"),
        (lambda: Masks.from_rle([{"size": [3, 4], "counts": [-1, 13]}]), "broken run lengths"),
        (lambda: Masks.from_rle([{"size": [3, 4], "counts": [12]}], 4, 3), "expected run lengths of size"),
        (lambda: Masks.from_crops([np.ones(3)], [(0, 0)], 5, 5), "expected crops of shape"),
        (lambda: Masks.from_crops([], [(0, 0)], 5, 5), "expected one corner per crop"),
        (lambda: Masks.empty(3, 4, 2).select([2]), "expected mask rows"),
        (lambda: Masks.empty(3, 4).iou(Masks.empty(4, 3)), "one frame size"),
        (lambda: label_map_overlaps(np.zeros((3, 4)), np.zeros((3, 4), int)), "expected an integer label map"),
        (lambda: label_map_iou(np.zeros((3, 4), int), np.zeros((4, 3), int)), "label maps of one shape"),
        (lambda: Masks.empty(3, 4, 2).disjoint([1]), "one priority per mask"),
        (lambda: Masks.empty(3, 4, 2).to_label_map([1]), "one value per mask"),
    ],
)
def test_errors_say_what_was_wanted(make, words: str) -> None:
    with pytest.raises(MasksError, match=words):
        make()
