"""SiamMOT's solver on cases of our own: rows of sleeping tracks, the score 1.0, who suppresses whom."""

import numpy as np
import pytest

from tests.reference.siammot import Solver
from tracker.systems import create
from tracker.types import Detections, TrackState

A, B = [0, 0, 40, 80], [200, 0, 240, 80]
NEAR_A = [4, 0, 44, 80]  # overlaps A by 0.8


def rows(*given):
    """Detections from (box, score, track id or -1)."""
    boxes, scores, ids = zip(*given, strict=True) if given else ([], [], [])
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores), track_ids=np.array(ids, np.int64))


def begin(**options):
    """A tracker with track 1 on A."""
    tracker = create("siammot", **{"keep_score": 0.4, "resume_score": 0.4, "max_coast_frames": 3, **options})
    assert tracker.update(rows((A, 0.9, -1))).ids.tolist() == [1]
    return tracker


def said(tracks):
    """Id -> state, row, misses."""
    columns = tracks.ids.tolist(), tracks.states.tolist(), tracks.source.tolist(), tracks.misses.tolist()
    return {i: (TrackState(state).name, row, misses) for i, state, row, misses in zip(*columns, strict=True)}


def test_a_track_follows_its_row():
    tracker = begin()
    tracks = tracker.update(rows((B, 0.9, -1), (NEAR_A, 0.8, 1)))
    assert said(tracks) == {1: ("CONFIRMED", 1, 0), 2: ("CONFIRMED", 0, 0)}
    assert tracks.boxes[tracks.ids == 1].tolist() == [NEAR_A] and len(tracks.unmatched) == 0


def test_too_weak_to_resume_but_strong_enough_to_keep():
    """The row stays with its sleeping track, shows its box, and its time runs out all the same."""
    tracker = begin(resume_score=0.6)
    assert said(tracker.update(rows())) == {1: ("COASTING", -1, 1)}
    for misses in (2, 3):
        tracks = tracker.update(rows((NEAR_A, 0.5, 1)))
        assert said(tracks) == {1: ("COASTING", 0, misses)} and len(tracks.unmatched) == 0
        assert tracks.boxes.tolist() == [NEAR_A]
    woken = create("siammot", resume_score=0.6, max_coast_frames=3)
    for frame in (rows((A, 0.9, -1)), rows(), rows((NEAR_A, 0.5, 1))):
        woken.update(frame)
    assert said(woken.update(rows((A, 0.6, 1)))) == {1: ("CONFIRMED", 0, 0)}
    tracks = tracker.update(rows((NEAR_A, 0.5, 1)))
    assert said(tracks) == {1: ("TENTATIVE", 0, 4)}, "its time is over; the row keeps its id as in the authors' code"
    tracks = tracker.update(rows((NEAR_A, 0.99, 1), (A, 0.7, -1)))
    assert said(tracks) == {2: ("CONFIRMED", 1, 0)} and tracks.unmatched.tolist() == [0], "nobody hides from the dead"


def test_strong_enough_to_resume_but_too_weak_to_keep():
    """Woken and put to sleep again in one frame: its time starts anew."""
    tracker = begin(resume_score=0.4, keep_score=0.6)
    tracker.update(rows())
    assert said(tracker.update(rows())) == {1: ("COASTING", -1, 2)}
    for _ in range(8):
        tracks = tracker.update(rows((NEAR_A, 0.5, 1)))
        assert said(tracks) == {1: ("COASTING", -1, 1)} and tracks.unmatched.tolist() == [0]
    lives = [len(tracker.update(rows((NEAR_A, 0.3, 1)))) for _ in range(3)]
    assert lives == [1, 1, 0], "below both its time runs on"


def test_exactly_one_counts_as_nothing():
    """As in the authors' code, where 1 and 2 mark what kind a row is."""
    tracker = begin()
    tracks = tracker.update(rows((A, 1.0, 1), (B, 1.0, -1)))
    assert said(tracks) == {1: ("COASTING", -1, 1)} and tracks.unmatched.tolist() == [0, 1]
    less = np.nextafter(np.float32(1), np.float32(0))
    assert said(create("siammot").update(rows((A, less, -1)))) == {1: ("CONFIRMED", 0, 0)}


def test_seen_tracks_come_before_sleeping_ones_and_these_before_detections():
    tracker = begin()
    tracker.update(rows((A, 0.9, 1), (B, 0.9, -1)))
    tracker.update(rows((A, 0.9, 1)))  # 2 falls asleep
    tracks = tracker.update(rows((NEAR_A, 0.95, -1), (NEAR_A, 0.9, 2), (A, 0.3, 1)))
    assert said(tracks) == {1: ("COASTING", -1, 1), 2: ("COASTING", -1, 2)}, "the weak row hides both, and then sleeps"
    tracks = tracker.update(rows((NEAR_A, 0.95, -1), (A, 0.45, 2)))
    assert said(tracks) == {1: ("COASTING", -1, 2), 2: ("CONFIRMED", 1, 0)} and tracks.unmatched.tolist() == [0]


def test_of_two_tracks_on_one_place_the_surer_stays():
    tracker = begin()
    tracker.update(rows((A, 0.9, 1), (B, 0.9, -1)))
    tracks = tracker.update(rows((A, 0.6, 1), (NEAR_A, 0.7, 2), (A, 0.99, -1)))
    assert said(tracks) == {1: ("COASTING", -1, 1), 2: ("CONFIRMED", 1, 0)}
    assert tracks.unmatched.tolist() == [0, 2]


def test_suppression_is_by_pairs_and_in_one_go():
    """A row that lost suppresses nobody itself."""
    boxes = [[0, 0, 40, 80], [12, 0, 52, 80], [24, 0, 64, 80]]  # neighbours overlap by 0.54 (pixels counted), ends not
    tracks = create("siammot").update(rows(*zip(boxes, (0.9, 0.8, 0.7), (-1, -1, -1), strict=True)))
    assert tracks.source.tolist() == [0, 2]
    tracks = create("siammot").update(rows(*zip(boxes, (0.8, 0.9, 0.7), (-1, -1, -1), strict=True)))
    assert tracks.source.tolist() == [1]


@pytest.mark.parametrize("other", [2, 99])
def test_rows_of_tracks_that_are_gone_start_nothing(other):
    tracker = begin()
    tracks = tracker.update(rows((B, 0.9, other), (A, 0.9, 1)))
    assert said(tracks) == {1: ("CONFIRMED", 1, 0)} and tracks.unmatched.tolist() == [0]


def test_in_the_paper_tracks_come_before_detections_and_not_before_each_other():
    """Two detections on one place: the better one is hidden by a track, and has hidden the other before."""
    tracker = begin(suppress_apart=True, max_coast_frames=9)
    tracker.update(rows((A, 0.9, 1), (B, 0.9, -1)))
    tracker.update(rows((A, 0.9, 1)))  # 2 falls asleep
    tracks = tracker.update(rows((A, 0.5, 1), (NEAR_A, 0.9, 2), (NEAR_A, 0.95, -1)))
    assert said(tracks) == {1: ("COASTING", -1, 1), 2: ("CONFIRMED", 1, 0)} and tracks.unmatched.tolist() == [0, 2]
    chain = [[0, 0, 40, 80], [12, 0, 52, 80], [24, 0, 64, 80]]
    alone = create("siammot", suppress_apart=True)
    alone.update(rows((chain[0], 0.9, -1)))
    given = rows((chain[0], 0.9, 1), (chain[1], 0.8, -1), (chain[2], 0.7, -1))
    assert alone.update(given).ids.tolist() == [1]
    together = create("siammot")
    together.update(rows((chain[0], 0.9, -1)))
    assert together.update(given).ids.tolist() == [1, 2]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("keep", "resume", "dormant", "classes"), [(0.4, 0.7, 4, 1), (0.6, 0.4, 4, 3), (0.4, 0.4, 1, 1), (0.5, 0.5, 9, 2)]
)
def test_equals_the_solver_as_it_is_written_down(keep, resume, dormant, classes, apart):
    """Crowds of rows with sleeping tracks, saturated scores, frames without rows, and several classes in one place."""
    rng = np.random.default_rng(int(100 * keep + resume))
    slow = Solver(0.6, keep, resume, dormant, apart)
    tracker = create(
        "siammot", keep_score=keep, resume_score=resume, max_coast_frames=dormant - 1, inclusive_boxes=True,
        suppress_apart=apart,
    )  # fmt: skip
    places = {}
    for frame in range(80):
        live = sorted(slow.active) + sorted(slow.dormant)
        boxes = [places[i] + rng.integers(-6, 7, 4) * [1, 1, 0, 0] for i in live]
        boxes = [np.array([x, y, max(x + 8, p), max(y + 8, q)], np.float32) for x, y, p, q in boxes]
        fresh = rng.integers(0, 6) if live or frame % 9 else 0
        corners = rng.integers(0, 150, (fresh, 2))
        boxes = [*np.hstack([corners, corners + rng.integers(20, 60, (fresh, 2))]).astype(np.float32), *boxes]
        ids = [-1] * fresh + live
        scores = rng.permutation(np.linspace(0.2, 0.98, max(len(ids), 1)) ** rng.choice([0.3, 1.0])).astype(np.float32)
        scores = np.where(rng.random(len(scores)) < 0.05, np.float32(1), scores)[: len(ids)]  # saturated ones tie
        if (scores == 1).sum() > 1:
            scores[np.flatnonzero(scores == 1)[1:]] = np.float32(0.99)
        out = slow.step(boxes, scores, ids)
        labels = rng.integers(0, classes, len(ids))
        tracks = tracker.update(
            Detections(np.reshape(boxes, (-1, 4)), scores, labels.astype(np.int32), track_ids=np.array(ids, np.int64))
        )
        places = {i: p for i, p in places.items() if i in slow.active or i in slow.dormant}
        places |= {i: boxes[r] for r, i in out.items()}
        if not len(ids):
            continue
        seen = tracks.source >= 0
        assert dict(zip(tracks.source[seen].tolist(), tracks.ids[seen].tolist(), strict=True)) == out, frame
        assert set(tracks.confirmed.ids.tolist()) == slow.active, frame
        asleep = {i: slow.frame - 1 - stamp for i, stamp in slow.dormant.items()}
        assert dict(zip(tracks.coasting.ids.tolist(), tracks.coasting.misses.tolist(), strict=True)) == asleep, frame
    assert slow.next_id > 20


def test_the_last_row_of_a_sleeping_track():
    """No recovery: it ends as one that coasted too long, a frame after its row was shown."""
    told = []
    tracker = create("siammot", resume_score=0.6, max_coast_frames=1, on_event=told.append, explain=True)
    for frame in (rows((A, 0.9, -1)), rows((A, 0.1, 1)), rows((NEAR_A, 0.5, 1))):
        tracker.update(frame)
    assert tracker.explain(1).outcome.endswith("too weak to bring it back, and its time is over")
    tracker.update(rows((NEAR_A, 0.9, 1)))
    assert "which lives no more" in str(tracker.explain(detection=0))
    assert [(event.kind, event.frame) for event in told] == [("born", 0), ("confirmed", 0), ("lost", 1), ("ended", 3)]
    assert told[-1].reason == "coasted too long"
