"""Time: real stamps, jitter, gaps, and stamps that no clock gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.association.test_tracker import check, scenes
from tests.reference.association import crowd, make, same_tracks, sure
from tracker.association.tracker import Clock
from tracker.errors import FrameError
from tracker.systems import SYSTEMS, create
from tracker.types import Detections, Flow, Frame

NAMES = list(SYSTEMS)


@settings(max_examples=40)
@given(scene=scenes(), name=st.sampled_from(NAMES), data=st.data())
def test_irregular_times_keep_everything_sound(scene, name, data):
    gap = st.sampled_from([0.0, 1e-6, 0.01, 1 / 30, 0.3, 60.0, 1e7])
    tracker, seen, now = make(name), set(), 1e9
    for detections in scene:
        now += data.draw(gap)
        tracks = tracker.update(detections, time_s=now)
        assert tracks.time_s == now
        check(tracks, seen)


@pytest.mark.parametrize("name", NAMES)
def test_jitter_of_the_clock_changes_nothing(name):
    scene, r = crowd(0, 15, 60), np.random.default_rng(0)
    plain, stamped = make(name), make(name)
    now = 1234.5
    for detections in scene:
        now += (1 + r.uniform(-0.045, 0.045)) / 30
        assert same_tracks(plain.update(detections), stamped.update(detections, time_s=now))


def test_clock():
    clock = Clock(10.0)
    assert [clock.advance(None), clock.time_s, clock.advance(None), clock.time_s] == [1.0, 0.0, 1.0, 0.1]
    assert clock.advance(1.7e9) == 1.0, "the first stamp is no gap"
    assert clock.advance(1.7e9) == 0.0, "an equal stamp moves nothing"
    assert clock.advance(1.7e9 + 0.25) == 2.5
    assert clock.advance(1.7e9 + 0.25 + 0.302) == 3.0, "a whole number of frames but for jitter"
    assert clock.advance(None) == 1.0, "an unstamped frame comes one frame later"
    assert clock.time_s == pytest.approx(1.7e9 + 0.652, abs=1e-6)
    assert clock.advance(1.7e9 + 0.6) == 0.0, "after the last stamp, before the extrapolated time: no step back"
    assert clock.advance(1.8e9) == 10_000.0, "a gap of years is a long one"


@pytest.mark.parametrize("name", NAMES)
def test_bad_times_change_nothing(name):
    scene = [sure(detections) for detections in crowd(1, 8, 20)]
    for chain in {False, "flow" in SYSTEMS[name].needs}:
        given = {"flow": "prev_to_cur", "chain_masks": True} if chain else {}
        plain, disturbed = make(name, **given), make(name, **given)
        for k, detections in enumerate(scene):
            expected = plain.update(detections, time_s=100 + k / 30)
            for bad in (np.nan, np.inf, 99.0):
                if k or bad != 99.0:
                    with pytest.raises(FrameError, match="time"):
                        disturbed.update(detections, time_s=bad, **moving(detections, chain))
            assert same_tracks(expected, disturbed.update(detections, time_s=100 + k / 30))


def moving(detections, given):
    """Optical flow of a picture that moves by 5 px."""
    size = (detections.masks.height, detections.masks.width)
    hidden = np.zeros(size, np.bool_)
    field = np.full((*size, 2), 5, np.float32)
    return {"flow": Flow(field, field, hidden, hidden)} if given else {}


def test_time_comes_from_the_frame_unless_given():
    image = np.zeros((4, 4, 3), np.uint8)
    tracker = create("sort")
    assert tracker.update(Detections.empty(), Frame(0, 7.0, image)).time_s == 7.0
    assert tracker.update(Detections.empty(), Frame(1, 8.0, image), time_s=9.0).time_s == 9.0
    with pytest.raises(FrameError, match=r"from 9.0 s, got 8.0 s; reset"):
        tracker.update(Detections.empty(), Frame(1, 8.0, image))


@pytest.mark.parametrize("name", NAMES)
def test_half_the_frames_with_real_time_keep_the_ids(name):
    """Dropping every other frame of a steady walk: the real dt makes up for it, where there is motion."""
    tracker = make(name)
    ids, speed = set(), 4.0 if tracker.plan.motion == "none" else 9.0
    for k in range(0, 60, 2):
        x = 100 + speed * k
        box = Detections([[x, 50, x + 40, 150]], [0.95])
        ids.update(tracker.update(box, time_s=k / 30).ids.tolist())
    assert ids == {1}
