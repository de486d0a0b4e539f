"""The row `steady`, our own: against its slow twin frame by frame, and its rules one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.reference.association import box_iou, crowd, differing_frames, make, read_mot, recorded
from tests.reference.steady import Steady, height_iou
from tracker.association import Plan, Stage, Tracker
from tracker.association.motion import MOTIONS
from tracker.association.pairs import find_pairs, weigh_heights
from tracker.association.state import COLUMNS, DETECTION_BOX, FACTOR, ROWS, STARTS, State, X
from tracker.association.sway import median
from tracker.errors import ConfigError
from tracker.systems import create, plan
from tracker.types import Detections

BOX = 0  # any four rows of the state


def shaken(frames, seed=0, most_px=25.0):
    """The same scene before a camera that is carried: it swings and trembles."""
    r, out = np.random.default_rng(seed), []
    for k, (number, detections) in enumerate(frames):
        shift = most_px * np.array([np.sin(k / 9), np.cos(k / 7)]) + r.normal(0, 2, 2)
        boxes = (detections.boxes + np.tile(shift, 2)).astype(np.float32)
        out.append((number, replace(detections, boxes=boxes)))
    return out


def twin_rows(frames, **given):
    """Rows frame, x1, y1, x2, y2, id of the twin's tracks."""
    twin, rows = Steady(**given), [np.zeros((0, 6))]
    for number, detections in frames:
        found = twin.update(detections.boxes, detections.scores)
        rows.append(np.column_stack([np.full(len(found), number), found]))
    return np.concatenate(rows)


@pytest.fixture(scope="module")
def street(golden):
    return recorded(golden / "association" / "street.npz")


@pytest.mark.parametrize("camera", ["boxes", "none"])
@pytest.mark.parametrize("carried", [False, True])
def test_twin_agrees(street, carried, camera):
    frames = shaken(street) if carried else street
    expected = twin_rows(frames, camera=camera == "boxes")
    assert len(expected) > 1000
    assert differing_frames(create("steady", camera=camera), frames, expected) == []


@pytest.mark.parametrize("sequence", ["TUD-Campus", "TUD-Stadtmitte"])
def test_twin_agrees_on_real_detections(shared, sequence):
    frames = read_mot(shared / "data" / "detections" / "mot15" / sequence / "det" / "det.txt")
    assert differing_frames(create("steady"), frames, twin_rows(frames)) == []


def test_twin_agrees_in_a_heap():
    """Everybody overlaps everybody: the buffers for pairs grow in the middle of a frame, more than once."""
    r, frames = np.random.default_rng(5), []
    for k, n in enumerate([70, 70, 70, 110, 110, 110, 110]):
        corner = 100 + r.normal(0, 1, (n, 2)) + np.arange(n)[:, None] * 0.8
        boxes = np.hstack([corner, corner + np.array([150, 300])]).astype(np.float32)
        frames.append((k, Detections(boxes, r.uniform(0.55, 0.95, n).astype(np.float32))))
    tracker = create("steady", birth_iou=1.0)
    room = len(tracker._state.edge_weights)
    twin = Steady(birth_iou=1.0)
    for _, detections in frames:
        rows = twin.update(detections.boxes, detections.scores)
        tracks = tracker.update(detections).confirmed
        assert_allclose(np.sort(tracks.boxes, 0), np.sort(rows[:, :4], 0), atol=2e-3)
    assert len(tracks) > 60 and len(tracker._state.edge_weights) > 4 * room


def test_a_carried_camera_does_not_part_tracks(street):
    """Where the camera swings, as many tracks as where it stands still; without `camera` far more."""
    ids = {}
    for camera in ("boxes", "none"):
        for carried in (False, True):
            tracker, known = create("steady", camera=camera), set()
            for _, detections in shaken(street, most_px=60.0) if carried else street:
                known |= set(tracker.update(detections).confirmed.ids.tolist())
            ids[camera, carried] = len(known)
    assert ids["boxes", True] <= 1.15 * ids["boxes", False]
    assert ids["none", True] >= 1.5 * ids["boxes", True]


def walkers(x, n=4, score=0.9):
    """People in a row, 100 px apart, all moved by x."""
    left = 200.0 + 100 * np.arange(n) + x
    return Detections(np.stack([left, np.full(n, 50.0), left + 40, np.full(n, 150.0)], 1), np.full(n, score))


@pytest.mark.parametrize("motion", list(MOTIONS))
def test_the_camera_moves_everybody_unseen_ones_too(motion):
    """Five people stand, one of them is hidden; the camera turns by 12 px: all tracks have moved by it."""
    tracker = create("steady", motion=motion, detection_share=0.0)
    for _ in range(4):
        tracker.update(walkers(0.0, 5))
    tracks = tracker.update(walkers(12.0, 4))
    lost = tracks.coasting
    assert len(tracks.confirmed) == 4 and len(lost) == 1
    assert_allclose(lost.boxes[0], walkers(12.0, 5).boxes[4], atol=1e-2)
    after = tracker.update(Detections.empty()).coasting
    step = 0.0 if motion == "none" else 6.0  # a share of it goes on
    assert_allclose(after.boxes[after.ids == lost.ids[0]][0, ::2] - lost.boxes[0, ::2], step, atol=1e-2)


def test_few_pairs_say_nothing_about_the_camera():
    tracker = create("steady")
    for _ in range(4):
        tracker.update(walkers(0.0, 3))
    lost = tracker.update(walkers(12.0, 2)).coasting
    assert_allclose(lost.boxes[0], walkers(0.0, 3).boxes[2], atol=1e-2)


def test_a_long_step_puts_less_of_the_camera_into_velocities():
    """What happened over three frames is a third of it per frame; what happened in no time counts as one frame's."""
    for frames, step in ((1, 6.0), (3, 2.0), (0, 6.0)):
        tracker = create("steady", frame_rate=10.0)
        for k in range(4):
            tracker.update(walkers(0.0, 5), time_s=k / 10)
        lost = tracker.update(walkers(12.0, 4), time_s=(3 + frames) / 10).coasting
        after = tracker.update(Detections.empty(), time_s=(4 + frames) / 10).coasting
        assert_allclose(after.boxes[after.ids == lost.ids[0]][0, 0] - lost.boxes[0, 0], step, atol=1e-2)


def test_a_crowded_detection_starts_no_track():
    """A second box on somebody who was just seen is no newcomer, and comes back unmatched; off by default."""
    for birth_iou, born in ((1.0, 5), (0.6, 4)):
        tracker = create("steady", birth_iou=birth_iou)
        for _ in range(3):
            tracker.update(walkers(0.0))
        boxes = np.concatenate([walkers(0.0).boxes, walkers(6.0).boxes[:1]])
        tracks = tracker.update(Detections(boxes, [0.9] * 4 + [0.8]))
        assert len(tracks) == born and tracks.unmatched.tolist() == ([4] if born == 4 else [])


def test_detection_share_mixes_the_filter_and_the_detection():
    shown = {}
    for share in (0.0, 0.25, 1.0):
        tracker = make("sort", detection_share=share, confirm_hits=0)
        for detections in crowd(4, 10, 20):
            tracks = tracker.update(detections).confirmed
        shown[share] = tracks.boxes.astype(float)
    assert np.abs(shown[0.0] - shown[1.0]).max() > 0.5
    assert_allclose(shown[0.25], 0.75 * shown[0.0] + 0.25 * shown[1.0], atol=1e-3)
    np.testing.assert_array_equal(tracks.boxes, detections.boxes[tracks.source])


@pytest.mark.parametrize("pixel", [0.0, 1.0])
@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 3.0])
def test_heights_weigh_overlaps(power, pixel):
    r, state, n, m = np.random.default_rng(7), State(), 30, 40
    reals, ints = state.reals, state.ints
    corner = r.uniform(0, 80, (n + m, 2))
    boxes = np.hstack([corner, corner + r.uniform(20, 90, (n + m, 2))])
    factor = r.uniform(0.3, 1.0, m)
    reals[BOX : BOX + 4, :n], reals[DETECTION_BOX : DETECTION_BOX + 4, :m] = boxes[:n].T, boxes[n:].T
    ints[ROWS, :n], ints[COLUMNS, :m], reals[FACTOR, :m] = np.arange(n), np.arange(m), factor
    weights, columns = state.edge_weights, state.edge_columns
    find_pairs(n, m, np.int64(BOX), np.int64(DETECTION_BOX), 0.1, pixel, reals, ints, weights, columns)
    left = weigh_heights(power, 0.1, BOX, n, pixel, reals, ints, weights, columns)
    expected = box_iou(boxes[:n], boxes[n:], pixel) * factor * height_iou(boxes[:n], boxes[n:], pixel) ** power - 0.1
    found = np.zeros((n, m))
    for i in range(n):
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            found[i, columns[e]] = weights[e]
    assert left == (expected > 0).sum() > 20
    assert_allclose(found, np.maximum(expected, 0), atol=1e-12)


def test_median_is_numpys():
    r = np.random.default_rng(1)
    for n in [*range(1, 40), 301]:
        for values in (r.normal(size=n), r.integers(0, 3, n).astype(float), np.arange(n)[::-1].astype(float)):
            assert median(values.copy(), n) == np.median(values)


def test_the_row_pays_for_what_it_uses_and_others_do_not():
    assert plan("steady").looks_back and not plan("bytetrack").looks_back and not plan("sort").looks_back
    stages = tuple(replace(stage, height_power=0.0) for stage in plan("steady").stages)
    plain = replace(plan("steady"), stages=stages, camera="none", birth_iou=1.0, detection_share=0.0)
    assert not plain.looks_back
    for changed in ({"camera": "boxes"}, {"birth_iou": 0.5}, {"detection_share": 0.5}):
        assert replace(plain, **changed).looks_back


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"height_power": -1.0}, "height_power as a number from 0 to 10"),
        ({"height_power": 1.0, "gate_when": "after"}, 'gate_when="before" for a stage with height_power'),
    ],
)
def test_stages_that_make_no_sense(given, said):
    with pytest.raises(ConfigError, match=said):
        Stage(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"camera": "flow"}, "camera to be one of none, boxes"),
        ({"birth_iou": 1.5}, "birth_iou as a number from 0 to 1"),
        ({"detection_share": True}, "detection_share as a number from 0 to 1"),
    ],
)
def test_plans_that_make_no_sense(given, said):
    with pytest.raises(ConfigError, match=said):
        Plan(stages=(Stage(),), **given)


def test_a_fall_into_wide_steps_stays_finite():
    """A camera that jumps about at wild times changes nothing for good."""
    tracker = Tracker(plan("steady"), 30.0)
    for k in range(60):
        tracks = tracker.update(walkers(12.0 * (k % 2), 6), time_s=k**2 / 500)
    assert np.isfinite(tracker._state.reals[X : X + 20, : len(tracks)]).all() and len(tracks.confirmed) == 6
