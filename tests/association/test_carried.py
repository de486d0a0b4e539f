"""Masks that optical flow carries from frame to frame."""

from dataclasses import replace

import numpy as np
import pytest

from tests.association.test_published import NAMES, detections_of, load, painted, renamed, rules_of, things
from tracker.association import Tracker
from tracker.errors import FrameError
from tracker.masks import Masks
from tracker.systems import create
from tracker.types import Detections, Flow


def test_step_b3_paints_every_pixel_like_deeplab2(golden):
    """0 wrong pixels, and the very ids."""
    data, expected = load(golden, "iou_tracker")
    case, e = "b3_flow", expected["b3_flow"]
    tracker = create("step-b3", match_iou=e["iou_threshold"], max_coast_frames=e["sigma"])
    plain = create("step-b1", match_iou=e["iou_threshold"], max_coast_frames=e["sigma"])
    divisor, differs = e["label_divisor"], 0
    frames = zip(*(data[f"{case}/{name}"] for name in ("pred", "out", "flow", "occ")), strict=True)
    for picture, wanted, flow, occlusion in frames:
        detections, values = things(picture, divisor, e["things"])
        tracks = tracker.update(detections, flow=Flow(flow.astype(np.float32), occluded=occlusion == 1)).confirmed
        other = plain.update(detections).confirmed
        differs += dict(zip(tracks.source.tolist(), tracks.ids.tolist(), strict=True)) != dict(
            zip(other.source.tolist(), other.ids.tolist(), strict=True)
        )
        np.testing.assert_array_equal(painted(picture, values, tracks, divisor), wanted)
    assert differs > 0, "without flow the ids are other ones"


def test_track_rcnn_gives_the_ids_of_its_authors_with_masks_carried(golden):
    data, expected = load(golden, "trackrcnn_assoc")
    case, e = "mask_flow", expected["mask_flow"]
    row = create("trackrcnn-mask", class_names=NAMES).plan
    rules = rules_of(e["options"], "mask")
    tracker = Tracker(replace(row, classes=rules, min_score=0.0), class_names=NAMES)
    pairs = []
    for k in range(e["frames"]):
        vectors = data[f"{case}/flow/{k - 1}"] if k else np.zeros_like(data[f"{case}/flow/0"])
        tracks = tracker.update(detections_of(data, case, k), flow=Flow(vectors)).confirmed
        mine = dict(zip(tracks.source.tolist(), tracks.ids.tolist(), strict=True))
        wanted = {row: track for row, track, _ in e["tracks_detidx_id_class"][k]}
        assert set(mine) == set(wanted), k
        pairs += [(mine[r], wanted[r]) for r in wanted]
    assert len(renamed(pairs)) > 3 and len(pairs) > 2 * len(renamed(pairs))


SIZE = (40, 200)


def square(x, label=0):
    """A square of 14 px, x px from the left."""
    dense = np.zeros((1, *SIZE), bool)
    dense[0, 10:24, x : x + 14] = True
    return Detections([[x, 10, x + 14, 24]], [0.9], [label], Masks.from_dense(dense))


def stream(speed, hidden=None):
    """Everything moves to the right."""
    ahead = np.zeros((*SIZE, 2), np.float32)
    ahead[..., 0] = speed
    covered = np.zeros(SIZE, np.bool_) if hidden is None else hidden
    return Flow(ahead, -ahead, covered, covered)


@pytest.mark.parametrize("flow", ["none", "cur_to_prev", "prev_to_cur", "forward"])
def test_a_square_that_outruns_itself(flow):
    """It moves by 10 of its 14 px: without flow nothing overlaps enough."""
    tracker = create("step-b3", flow=flow)
    ids = [tracker.update(square(10 * k), flow=stream(10)).confirmed.ids.tolist() for k in range(8)]
    assert ids == ([[k + 1] for k in range(8)] if flow == "none" else [[1]] * 8)


@pytest.mark.parametrize("chain", [False, True])
def test_unseen_masks_are_carried_on(chain):
    """Missed for three frames: flow spans one, unless the mask was moved in every frame."""
    tracker = create("step-b3", flow="prev_to_cur", chain_masks=chain)
    tracker.update(square(0), flow=stream(10))
    tracker.update(square(10), flow=stream(10))
    for k in (2, 3, 4):
        tracker.update(Detections.empty(), flow=stream(10))
        assert tracker._wardrobe.masks.boxes[0, 0] == (10 * k if chain else 10)
    ids = tracker.update(square(50), flow=stream(10)).confirmed.ids.tolist()
    assert ids == ([1] if chain else [2])


def test_what_is_occluded_is_not_carried():
    tracker = create("step-b3", flow="prev_to_cur")
    tracker.update(square(0), flow=stream(10))
    hidden = np.zeros(SIZE, np.bool_)
    hidden[:, 10:30] = True
    assert tracker.update(square(10), flow=stream(10, hidden)).confirmed.ids.tolist() == [2]


def test_a_frame_that_is_refused_carries_nothing():
    """Neither a bad time nor missing flow moves a chained mask."""
    tracker = create("step-b3", flow="prev_to_cur", chain_masks=True)
    tracker.update(square(0), flow=stream(10), time_s=1.0)
    for bad in (
        {"time_s": 0.5, "flow": stream(10)},
        {"time_s": 2.0},
        {"time_s": 2.0, "flow": Flow(stream(10).forward)},
    ):
        with pytest.raises(FrameError):
            tracker.update(square(10), **bad)
    assert tracker._wardrobe.masks.boxes[0, 0] == 0
    assert tracker.update(square(10), flow=stream(10), time_s=2.0).confirmed.ids.tolist() == [1]


@pytest.mark.parametrize("name", ["step-b3", "trackrcnn-mask"])
def test_empty_frames_need_no_flow(name):
    """Nothing was seen, so nothing is compared."""
    tracker = create(name)
    assert len(tracker.update(square(0), flow=stream(0))) == 1
    tracks = tracker.update(Detections.empty())
    assert tracks.misses.tolist() == ([1] if name == "step-b3" else [])
    seen = create(name)
    seen.update(square(0))
    with pytest.raises(FrameError, match="expected optical flow"):
        seen.update(square(0))
