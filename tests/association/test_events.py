"""Life-cycle events: told by snapshots, exactly once, and reasons that hold."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.association.test_tracker import scenes
from tests.reference.association import CLASS_NAMES, Follower, crowd, make, same_tracks
from tracker.association import Plan, Stage, Tracker
from tracker.association.events import COASTED, DUPLICATE, KINDS, MISSED, NEVER_CONFIRMED, OLDER, RESET, EventLog
from tracker.association.events import _ends_are_known as ends_are_known
from tracker.errors import DetectionsError
from tracker.systems import SYSTEMS, create, plan
from tracker.types import Detections, TrackState

NAMES = list(SYSTEMS)
REASONS = {NEVER_CONFIRMED, COASTED, MISSED, DUPLICATE, RESET, None}


class Replay:
    """Who is alive and who coasts, from events alone; refuses an order that makes no sense."""

    def __init__(self):
        self.alive, self.coasting, self.born, self.confirmed, self.ended = set(), set(), set(), set(), set()

    def take(self, event):
        assert event.kind in KINDS and event.reason in (REASONS if event.kind == "ended" else {None})
        if event.kind == "born":
            assert event.id not in self.born
            assert (event.hits, event.age_frames, event.age_s) == (1, 0, 0.0)
            self.born.add(event.id)
            self.alive.add(event.id)
        elif event.kind == "confirmed":
            assert event.id in self.alive - self.coasting - self.confirmed and event.state == TrackState.CONFIRMED
            self.confirmed.add(event.id)
        elif event.kind == "lost":
            assert event.id in self.alive - self.coasting and event.state == TrackState.COASTING
            self.coasting.add(event.id)
        elif event.kind == "recovered":
            assert event.id in self.coasting and event.state != TrackState.COASTING
            self.coasting.remove(event.id)
        else:
            assert event.kind == "ended" and event.id in self.alive
            if event.reason == NEVER_CONFIRMED:
                assert event.id not in self.confirmed
            if event.reason in (COASTED, MISSED):
                assert event.id in self.confirmed
            self.alive.remove(event.id)
            self.coasting.discard(event.id)
            self.ended.add(event.id)

    def check(self, tracks):
        assert self.alive == set(tracks.ids.tolist())
        assert self.coasting == set(tracks.coasting.ids.tolist())
        assert set(tracks.confirmed.ids.tolist()) <= self.confirmed


def with_log(name, log=None, **options):
    """A tracker of a system whose events go into the list `told`."""
    told = []
    return make(name, on_event=told.append, **options), told


@settings(max_examples=100)
@given(scene=scenes(25), name=st.sampled_from(NAMES), short=st.booleans())
def test_replayed_events_are_the_snapshots(scene, name, short):
    tracker, told = with_log(name, **({"max_coast_frames": 2} if short else {}))
    replayed, plain = Replay(), EventLog()
    for k, detections in enumerate(scene):
        before = len(told)
        tracks = tracker.update(detections)
        news = told[before:]
        for event in news:
            replayed.take(event)
            assert event.frame == k and event.time_s == tracks.time_s
            assert math.isfinite(event.score) and event.box[2] > event.box[0] and event.box[3] > event.box[1]
        replayed.check(tracks)
        bare = plain.observe(tracks)
        assert [(e.kind, e.id, e.box) for e in bare] == [(e.kind, e.id, e.box) for e in news]
        for with_plan, without in zip(news, bare, strict=True):
            assert without.reason in (None, NEVER_CONFIRMED)
            assert without.reason is None or with_plan.reason in (NEVER_CONFIRMED, DUPLICATE)
    assert replayed.born >= replayed.ended


@settings(max_examples=60)
@given(scene=scenes(25), name=st.sampled_from(NAMES), data=st.data())
def test_resets_end_everything(scene, name, data):
    """Told by the tracker or seen from the ids alone, an id that begins anew is another track."""
    tracker, told = with_log(name)
    replayed, log, seen = Replay(), EventLog(), []
    for detections in scene:
        if data.draw(st.booleans()) and data.draw(st.booleans()):
            before = len(told)
            tracker.reset()
            for event in told[before:]:
                assert event.kind == "ended" and event.reason == RESET
                replayed.take(event)
            assert not replayed.alive
            replayed = Replay()
        before = len(told)
        tracks = tracker.update(detections)
        for event in told[before:]:
            replayed.take(event)
        replayed.check(tracks)
        seen += log.observe(tracks)
    living = set()
    for event in seen:
        if event.kind == "born":
            assert event.id not in living
            living.add(event.id)
        elif event.kind == "ended":
            living.remove(event.id)


@settings(max_examples=40)
@given(scene=scenes(20), name=st.sampled_from(NAMES), data=st.data())
def test_events_go_on_after_a_restart(tmp_path, scene, name, data):
    cut = data.draw(st.integers(0, len(scene)))
    through, expected = with_log(name)
    before, told = with_log(name)
    for detections in scene:
        through.update(detections)
    for detections in scene[:cut]:
        before.update(detections)
    before.save(tmp_path / "t")
    after = Follower.load(tmp_path / "t", on_event=told.append)
    for detections in scene[cut:]:
        after.update(detections)
    assert told == expected


def test_a_log_that_begins_later_says_so(tmp_path):
    tracker = create("bytetrack")
    box = Detections([[0, 0, 40, 80], [100, 0, 140, 80]], [0.9, 0.9])
    tracker.update(box)
    tracker.update(box.select([0]))
    tracker.save(tmp_path / "t")
    told = []
    later = Follower.load(tmp_path / "t", on_event=told.append)
    later.update(Detections.empty())
    assert [(e.kind, e.id, e.reason) for e in told] == [
        ("born", 1, OLDER),
        ("lost", 1, None),
        ("born", 2, OLDER),
        ("lost", 2, None),
    ]
    for _ in range(40):
        later.update(Detections.empty())
    assert [(e.kind, e.reason) for e in told[4:]] == [("ended", NEVER_CONFIRMED)] * 2


def test_a_life_in_order():
    tracker, told = with_log("bytetrack", max_coast_frames=3)
    tracker.update(Detections.empty(), time_s=10.0)
    for k in range(1, 30):
        seen = k < 6 or 8 <= k < 12
        box = Detections([[10 * k, 0, 10 * k + 60, 100]], [0.9], [2])
        tracker.update(box if seen else Detections.empty(), time_s=10.0 + 0.1 * k)
    assert [(e.kind, e.frame, e.state.name, e.reason) for e in told] == [
        ("born", 1, "TENTATIVE", None),
        ("confirmed", 2, "CONFIRMED", None),
        ("lost", 6, "COASTING", None),
        ("recovered", 8, "CONFIRMED", None),
        ("lost", 12, "COASTING", None),
        ("ended", 16, "COASTING", COASTED),
    ]
    assert [e.hits for e in told] == [1, 2, 5, 6, 9, 9] and [e.age_frames for e in told] == [0, 1, 5, 7, 11, 15]
    last = told[-1]
    assert last.time_s == 11.6 and last.age_s == pytest.approx(1.5) and last.label == 2
    assert last.score == pytest.approx(0.9)
    assert last.box == told[4].box and last.box[0] == pytest.approx(110, abs=8), "where it was last seen"


def test_frame_numbers_are_those_of_the_frames():
    from tracker.types import Frame

    tracker, told = with_log("bytetrack")
    image = np.zeros((4, 4, 3), np.uint8)
    tracker.update(Detections([[0, 0, 9, 9]], [0.9]), Frame(17, 1.0, image))
    tracker.update(Detections([[0, 0, 9, 9], [50, 0, 59, 9]], [0.9, 0.9]))
    assert [(e.kind, e.id, e.frame) for e in told] == [("born", 1, 17), ("confirmed", 1, 17), ("born", 2, 18)]


def walk(tracker, boxes):
    for row in boxes:
        tracker.update(Detections(np.reshape(row, (-1, 4)), np.full(len(np.reshape(row, (-1, 4))), 0.9)))


def test_reasons_of_each_rule():
    box, none = [0, 0, 40, 80], []
    tracker, told = with_log("bytetrack")
    walk(tracker, [none, box, none])
    assert told[-1].reason == NEVER_CONFIRMED
    for late_expiry, frames in ((True, 3), (False, 2)):
        tracker, told = with_log("bytetrack", max_coast_frames=1, late_expiry=late_expiry)
        walk(tracker, [box, box, *[none] * frames])
        assert (told[-1].kind, told[-1].reason, told[-1].frame) == ("ended", COASTED, 1 + frames)
    tracker, told = with_log("sort", max_coast_frames=0, grace_frames=0)
    walk(tracker, [box, none])
    assert told[-1].reason == NEVER_CONFIRMED
    tracker, told = with_log("sort", max_coast_frames=0)
    walk(tracker, [box, none])
    assert told[-1].reason == COASTED
    tracker, told = with_log("sort", grace_frames=0, confirm_hits=1, tentative_coasts=False, max_coast_frames=5)
    walk(tracker, [none, box, box, none, box])
    assert [e.kind for e in told] == ["born", "confirmed", "lost", "recovered"]


def test_missed_while_tentative_after_it_was_confirmed():
    tracker, told = with_log("sort", grace_frames=0, confirm_hits=2, tentative_coasts=False, max_coast_frames=5)
    walk(tracker, [[0, 0, 40, 80]] * 3)
    walk(tracker, [[], [0, 0, 40, 80], []])
    assert [e.kind for e in told] == ["born", "confirmed", "lost", "recovered", "ended"]
    assert told[-1].reason == MISSED


def test_a_duplicate_is_named_where_nothing_else_can_be():
    """A younger track walks onto the place of one that coasts there, and ends in plain sight."""
    tracker, told = with_log("bytetrack")
    walk(tracker, [[0, 0, 100, 100]] * 20)
    walk(tracker, [[x, 0, x + 100, 100] for x in range(80, -1, -8)])
    ended = [e for e in told if e.kind == "ended"]
    assert [(e.id, e.state, e.reason) for e in ended[:1]] == [(2, TrackState.CONFIRMED, DUPLICATE)]


@pytest.mark.parametrize("name", NAMES)
def test_reasons_hold_in_a_crowd(name):
    """With the tracker's own arrays as witness: who died of which rule."""
    tracker, told = with_log(name, max_coast_frames=3)
    limits = limits_of(tracker.plan)
    for detections in crowd(9, 60, 150, size=(700, 400)):
        before = len(told)
        misses = dict(zip(*last_misses(tracker), strict=True))
        tracks = tracker.update(detections)
        for event in told[before:]:
            if event.kind == "ended" and event.reason == COASTED:
                assert misses[event.id] >= limits.get(event.label, 3), "it was at its limit"
            if event.kind == "ended" and event.reason == DUPLICATE:
                assert misses[event.id] <= 3 and tracker.plan.duplicate_iou < 1
        assert len(tracks) > 0
    reasons = [e.reason for e in told if e.kind == "ended"]
    assert reasons.count(COASTED) > 5
    assert (reasons.count(NEVER_CONFIRMED) > 5) == (tracker.plan.confirm_hits > 0)
    share = reasons.count(None) / len(reasons)
    # where a spare detection hides who was a duplicate
    most = {"bytetrack": 0.1, "botsort": 0.18, "botsort+": 0.22}.get(name, 0.2)
    assert share <= (most if tracker.plan.duplicate_iou < 1 else 0), "most reasons follow even among duplicates"


def limits_of(rules):
    """Frames that a track of a class with a rule of its own outlives unseen."""
    rows = {r.label: r.max_coast_frames for r in rules.classes if r.max_coast_frames is not None}
    return {CLASS_NAMES.index(label): frames for label, frames in rows.items()}


def last_misses(tracker):
    from tracker.association.state import COUNT, ID, MISSES

    alive = int(tracker._state.counters[COUNT])
    return tracker._state.ints[ID, :alive].tolist(), tracker._state.ints[MISSES, :alive].tolist()


@dataclass(frozen=True)
class Wider:
    """A plan with a rule that the log does not know."""

    stages: tuple[Stage, ...] = (Stage(),)
    max_coast_frames: int = 30
    life_s: float = field(default=0.0)


def test_rules_that_it_does_not_know_make_it_silent():
    assert all(ends_are_known(SYSTEMS[name].plan) for name in ("sort", "bytetrack", "ocsort"))
    assert ends_are_known(Wider()) and not ends_are_known(replace(Wider(), life_s=3.0))


def test_listening_changes_no_result_and_errors_are_the_callers():
    plain, (listened, told) = create("ocsort"), with_log("ocsort")
    for detections in crowd(1, 10, 40):
        assert same_tracks(plain.update(detections), listened.update(detections))
    with pytest.raises(DetectionsError):
        listened.update(None)
    assert told

    def fail(event):
        raise RuntimeError(event.kind)

    tracker = Tracker(Plan(stages=(Stage(),)), on_event=fail)
    with pytest.raises(RuntimeError, match="born"):
        tracker.update(Detections([[0, 0, 9, 9]], [0.9]))


def test_a_newborn_is_no_reset_where_nobody_looked():
    told = []
    tracker = create("sort", on_event=lambda event: told.append((event.kind, event.id)))
    tracker.update(Detections.from_array([[10, 10, 50, 90, 0.9, 0]]))
    for _ in range(2):
        tracker.update(Detections.unlooked())
    assert told == [("born", 1), ("confirmed", 1)]


def test_closing_opens():
    tracker, log = create("bytetrack"), EventLog()
    log.observe(tracker.update(Detections([[0, 0, 9, 9], [20, 0, 29, 9]], [0.9, 0.9])))
    assert [(e.kind, e.id, e.frame) for e in log.close()] == [("open", 1, 0), ("open", 2, 0)]
    assert log.close() == []


def test_nothing_is_kept_of_tracks_that_ended():
    tracker, log = create("bytetrack", max_coast_frames=2), EventLog(plan("bytetrack"))
    r = np.random.default_rng(0)
    for _ in range(500):
        corner = r.uniform(0, 1e6, (10, 2))
        tracks = tracker.update(Detections(np.concatenate([corner, corner + 20], 1), np.full(10, 0.9)))
        log.observe(tracks)
        assert len(log._lives) == len(tracks) <= 40
