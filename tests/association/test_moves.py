"""Camera motion: a moving camera that says how it moves gives the tracks of one that stands still."""

from dataclasses import replace

import numpy as np
import pytest

from tests.reference.association import crowd, make, same_tracks, sure
from tracker.association import Plan, Stage
from tracker.association.camera import move_tracks
from tracker.association.motion import FORMS, MOTIONS, coordinates
from tracker.association.state import BOX, CENTRE, FROZEN, HEADING, LAST_BOX, P00, P01, P11, PAST, State, V, X
from tracker.errors import FrameError
from tracker.systems import SYSTEMS, create
from tracker.types import Detections


def turned(angle, scale, shift):
    """(2, 3) map that turns, grows and shifts."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def moved(boxes, affine):
    """Boxes under a map of the picture: centres go with it, sides grow with the root of its determinant."""
    boxes = np.asarray(boxes, float)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 @ affine[:, :2].T + affine[:, 2]
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * np.sqrt(np.linalg.det(affine[:, :2]))
    return np.concatenate([centre - half, centre + half], 1)


def after(second, first):
    """Both maps, one after the other."""
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def undone(affine):
    inverse = np.linalg.inv(affine[:, :2])
    return np.column_stack([inverse, -inverse @ affine[:, 2]])


@pytest.mark.parametrize("motion", list(MOTIONS))
def test_every_row_moves_like_its_twin(motion):
    """Full matrices, and 2x2 blocks of them kept; both the filter and the one frozen at the first missed frame."""
    r, n = np.random.default_rng(1), 12
    form, table = MOTIONS[motion].form, Plan((Stage(),), motion=motion).encode()
    for affine in (
        turned(0, 1, (30, -7)),
        turned(0, 1.1, (0, 0)),
        turned(0.2, 0.95, (3, 40)),
        turned(np.pi / 2, 1, (0, 0)),
    ):
        state, turn, scale = State(), affine[:, :2], np.sqrt(np.linalg.det(affine[:, :2]))
        state.reals[:] = r.uniform(1, 9, state.reals.shape)
        corner = r.uniform(0, 500, (2, n, 2))
        boxes = np.concatenate([corner, corner + r.uniform(5, 90, corner.shape)], 2)
        for first, rows in ((X, boxes[0]), (FROZEN, boxes[1])):
            state.reals[first : first + 4, :n] = np.transpose([coordinates(FORMS[form], *row) for row in rows])
        state.reals[BOX : BOX + 4, :n], state.reals[LAST_BOX : LAST_BOX + 4, :n] = boxes[0].T, boxes[1].T
        old = state.reals.copy()
        move_tracks(table, state.reals, n, affine)
        new = state.reals
        np.testing.assert_array_equal(new[:, n:], old[:, n:])
        for row, rows in ((BOX, boxes[0]), (LAST_BOX, boxes[1])):
            np.testing.assert_allclose(new[row : row + 4, :n].T, moved(rows, affine), rtol=1e-9)
        for place in (CENTRE, *range(PAST, PAST + 12, 2)):
            np.testing.assert_allclose(new[place : place + 2, :n], turn @ old[place : place + 2, :n] + affine[:, 2:])
        np.testing.assert_allclose(new[HEADING : HEADING + 2, :n], turn @ old[HEADING : HEADING + 2, :n] / scale)
        growth = {"xysr": (scale**2, 1), "xyah": (1, scale), "xywh": (scale, scale), "xyxy": (1, 1)}[form]
        for first, rows in ((X, boxes[0]), (FROZEN, boxes[1])):
            wanted = [coordinates(FORMS[form], *row) for row in moved(rows, affine)]
            np.testing.assert_allclose(new[first : first + 4, :n].T, wanted, rtol=1e-9)
            if form == "xyxy":
                continue  # nothing that moves by itself
            v = first + V - X
            np.testing.assert_allclose(new[v : v + 2, :n], turn @ old[v : v + 2, :n])
            np.testing.assert_allclose(new[v + 2 : v + 4, :n], old[v + 2 : v + 4, :n] * np.reshape(growth, (2, 1)))
            for block in (first + P00 - X, first + P01 - X, first + P11 - X):
                for i in range(n):
                    full = turn @ np.diag(old[block : block + 2, i]) @ turn.T
                    np.testing.assert_allclose(new[block : block + 2, i], full.diagonal())
                sizes = old[block + 2 : block + 4, :n] * np.square(growth).reshape(2, 1)
                np.testing.assert_allclose(new[block + 2 : block + 4, :n], sizes)


def journey(r, count, zoom):
    """Where a camera looks in each frame, as maps from the first picture."""
    views = [turned(0, 1, (0, 0))]
    for _ in range(count - 1):
        step = turned(0, 1 + zoom * r.uniform(-1, 1), r.integers(-60, 61, 2))
        views.append(after(step, views[-1]))
    return views


# masks stay where they were seen, and who searches for tracks has to see the camera move himself
NAMES = [name for name in SYSTEMS if not SYSTEMS[name].plan.needs & {"masks", "track_ids"}]
CASES = [(name, None) for name in NAMES] + [(name, m) for name in ("bytetrack", "ocsort") for m in MOTIONS]


@pytest.mark.parametrize(("name", "motion"), CASES)
@pytest.mark.parametrize("zoom", [0.0, 0.01])
def test_a_scene_seen_by_a_moving_camera(name, motion, zoom):
    given = {} if motion is None else {"motion": motion}
    still, moving, blind = (make(name, **given) for _ in range(3))
    scene = [sure(detections, 0.9) for detections in crowd(4, 25, 40)]
    views = journey(np.random.default_rng(2), len(scene), zoom)
    same = lost = 0
    for k, (detections, view) in enumerate(zip(scene, views, strict=True)):
        seen = replace(detections, boxes=moved(detections.boxes, view).astype(np.float32))
        step = None if k == 0 else after(view, undone(views[k - 1]))
        a, b = still.update(detections), moving.update(seen, camera=step)
        agree = len(a) == len(b) and np.array_equal(np.sort(a.ids), np.sort(b.ids)) and same_sources(a, b)
        same += agree
        lost += not same_sources(a, blind.update(seen))
        if zoom == 0:
            assert agree, k
            np.testing.assert_allclose(b.boxes, moved(a.boxes, view), atol=0.05)
    faces_only = all(t.cue in ("embedding_l2", "time_gap") for stage in still.plan.stages for t in stage.terms)
    assert same >= 0.9 * len(scene) and (lost == 0 if faces_only else lost > 15)


def same_sources(a, b):
    """The same detections have the same ids."""
    return {(i, s) for i, s in zip(a.ids.tolist(), a.source.tolist(), strict=True) if s >= 0} == {
        (i, s) for i, s in zip(b.ids.tolist(), b.source.tolist(), strict=True) if s >= 0
    }


@pytest.mark.parametrize(
    "camera",
    [np.eye(3), [[1, 0, np.nan], [0, 1, 0]], [[1, 0, 0], [0, -1, 0]], [[0, 0, 0], [0, 0, 0]], [[99, 0, 0], [0, 99, 0]]],
)
def test_what_is_no_camera_motion_changes_nothing(camera):
    scene = crowd(2, 8, 12)
    plain, disturbed = create("ocsort"), create("ocsort")
    for detections in scene:
        with pytest.raises(FrameError, match="camera motion"):
            disturbed.update(detections, camera=camera)
        assert same_tracks(plain.update(detections), disturbed.update(detections))


def test_identity_and_empty_trackers():
    one = np.eye(2, 3)
    plain, told = create("bytetrack"), create("bytetrack")
    assert len(told.update(Detections.empty(), camera=one)) == 0
    plain.update(Detections.empty())
    for detections in crowd(1, 10, 20):
        a, b = plain.update(detections), told.update(detections, camera=one)
        assert np.array_equal(a.ids, b.ids)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-3)
