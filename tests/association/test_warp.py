"""Masks, label maps and boxes along flow, and the forward-backward check, against dense twins and golden values."""

import numpy as np
import pytest

from tests.reference import flow as reference
from tracker.association.warp import (
    find_occluded,
    warp_by_forward,
    warp_labels,
    warp_to_current,
    warp_to_previous,
)
from tracker.errors import MasksError
from tracker.masks import Masks

SIZES = [(1, 1), (5, 64), (9, 65), (33, 130)]


def scene(seed, height, width, reach):
    """Overlapping masks, a flow with a few broken vectors, and dropped pixels."""
    r = np.random.default_rng(seed)
    field = reference.smooth_flow(r, height, width, reach)
    broken = r.random((height, width)) < 0.02
    field[broken] = r.choice([np.nan, np.inf, -np.inf, 1e30, -1e30], (broken.sum(), 2))
    return reference.discs(r, 6, height, width, 0.4 * width), field, r.random((height, width)) < 0.1


@pytest.mark.parametrize("reach", [0.0, 3.0, 60.0])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_warped_masks_equal_dense_ones(height, width, reach):
    dense, field, dropped = scene(height + width, height, width, reach)
    masks = Masks.from_dense(dense)
    for drop in (None, dropped):
        back = warp_to_previous(masks, field, drop)
        np.testing.assert_array_equal(back.to_dense(), [reference.warp(m, field, drop, spread=True) for m in dense])
        on = warp_to_current(masks, field, drop)
        np.testing.assert_array_equal(on.to_dense(), [reference.warp(m, field, drop) for m in dense])
    along = warp_by_forward(masks, field)
    np.testing.assert_array_equal(along.to_dense(), [reference.warp(m, field, sign=-1) for m in dense])


def test_warped_masks_are_masks_like_others():
    """Crops stay inside the frame and hold every bit: areas, boxes, IoU and run lengths go the packed way."""
    dense, field, _ = scene(1, 40, 200, 20.0)
    warped = warp_to_current(Masks.from_dense(dense), field)
    again = Masks.from_dense(warped.to_dense())
    np.testing.assert_array_equal(warped.areas, again.areas)
    np.testing.assert_array_equal(warped.boxes, again.boxes)
    np.testing.assert_array_equal(warped.iou(again), again.iou(again))
    assert warped.to_rle() == again.to_rle()
    assert (warped.rects >= 0).all() and (warped.rects[:, [2, 3]] <= [200, 40]).all()


def test_still_flow_keeps_every_mask():
    dense = reference.discs(np.random.default_rng(0), 8, 50, 150, 30)
    masks, still = Masks.from_dense(dense), np.zeros((50, 150, 2), np.float32)
    for warped in (warp_to_previous(masks, still), warp_to_current(masks, still), warp_by_forward(masks, still)):
        np.testing.assert_array_equal(warped.to_dense(), dense)


def test_a_shifted_mask_comes_back():
    """A square that moved by (7, -3): back to t-1 along the forward flow, on to t along the backward one."""
    before, after = np.zeros((2, 1, 40, 90), bool)
    before[0, 20:30, 10:30], after[0, 17:27, 17:37] = True, True
    forward = np.full((40, 90, 2), (7, -3), np.float32)
    np.testing.assert_array_equal(warp_to_previous(Masks.from_dense(after), forward).to_dense(), before)
    np.testing.assert_array_equal(warp_to_current(Masks.from_dense(before), -forward).to_dense(), after)
    np.testing.assert_array_equal(warp_by_forward(Masks.from_dense(before), forward).to_dense(), after)


def test_no_masks_and_gone_masks():
    away = np.full((20, 30, 2), 1000.0, np.float32)
    assert len(warp_to_previous(Masks.empty(20, 30), away)) == 0
    assert warp_to_current(Masks.empty(20, 30, 2), away).areas.tolist() == [0, 0]
    gone = warp_to_current(Masks.from_dense(np.ones((3, 20, 30), bool)), away)
    assert gone.areas.tolist() == [0, 0, 0] and not gone.rects.any() and gone.nbytes < 100


def test_inputs_are_left_alone():
    dense, field, dropped = scene(3, 20, 100, 9.0)
    masks = Masks.from_dense(dense)
    kept = [a.copy() for a in (masks.words, masks.rects, field, dropped)]
    warp_to_previous(masks, field, dropped)
    for a, b in zip(kept, (masks.words, masks.rects, field, dropped), strict=True):
        np.testing.assert_array_equal(a, b)


def test_sizes_are_checked():
    masks = Masks.empty(20, 30, 1)
    with pytest.raises(MasksError, match=r"expected flow of shape \(20, 30, 2\).*got \(10, 15, 2\)"):
        warp_to_previous(masks, np.zeros((10, 15, 2), np.float32))
    with pytest.raises(MasksError, match="bool map of shape"):
        warp_to_current(masks, np.zeros((20, 30, 2), np.float32), np.zeros((20, 29), bool))
    with pytest.raises(MasksError, match="int32 label map"):
        warp_labels(np.zeros((20, 30)), np.zeros((20, 30, 2), np.float32))
    with pytest.raises(MasksError, match="expected flow of shape"):
        find_occluded(np.zeros((20, 30, 2), np.float32), np.zeros((20, 31, 2), np.float32))


@pytest.mark.parametrize("reach", [0.0, 4.0, 60.0])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_label_map_equals_masks(height, width, reach):
    dense, field, dropped = scene(height * width, height, width, reach)
    masks = Masks.from_dense(dense).disjoint()
    labels = masks.to_label_map()
    for drop in (None, dropped):
        warped = warp_labels(labels, field, drop)
        np.testing.assert_array_equal(warped, warp_to_current(masks, field, drop).to_label_map())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", range(3))
def test_golden_flow_check(golden, case, dtype):
    """0 wrong pixels, and equation 5 alone: what leaves the image was never tested for it."""
    data = np.load(golden / "flow" / "flow_check.npz")
    forward, backward = (data[f"{case}/{name}"].astype(dtype) for name in ("fwd", "bwd"))
    wanted = data[f"{case}/occluded"]
    assert wanted.any() and not wanted.all()
    np.testing.assert_array_equal(find_occluded(forward, backward), wanted)


@pytest.mark.parametrize(("height", "width"), [*SIZES, (2, 7)])
def test_flow_checks_equal_their_twins(height, width):
    r = np.random.default_rng(height)
    forward, backward = (reference.smooth_flow(r, height, width, 3.0) for _ in range(2))
    near = (-forward + r.normal(0, 0.6, forward.shape)).astype(np.float32)
    near[r.random((height, width)) < 0.02] = np.nan
    for back in (backward, near):
        for slope, offset in ((0.01, 0.5), (0.0, 0.3)):
            found = find_occluded(forward, back, slope=slope, offset=offset)
            np.testing.assert_array_equal(found, reference.occluded(forward, back, slope, offset))


def test_golden_step_b3(golden):
    """deeplab2's own run of B3 on masks warped here: 0 wrong pixels."""
    data = np.load(golden / "flow" / "step_b3.npz")
    tracker = reference.StepB3(warp_to_previous, things=(11, 13))
    plain = reference.StepB3(lambda masks, flow, occluded: masks, things=(11, 13))
    differs = 0
    for picture, wanted, flow, occlusion in zip(*(data[name] for name in ("pred", "out", "flow", "occ")), strict=True):
        out = tracker.update(picture, flow.astype(np.float32), occlusion == 1)
        np.testing.assert_array_equal(out, wanted)
        differs += (plain.update(picture, None, None) != wanted).sum()
    assert tracker.next_id == 20
    assert differs > 0, "without flow the ids are other ones, so the case tests the warp"
