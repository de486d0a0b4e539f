"""Frames that nobody looked at, and rows of learned motion that say where tracks are before they are matched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.reference.association import Kalman, crowd, make, same_tracks
from tracker.association import Tracker
from tracker.errors import DetectionsError, FrameError
from tracker.formats.recording import Header, Recorder, Recording
from tracker.systems import create
from tracker.types import Detections, Frame, Tracks, TrackState


def walk(frame: float, *starts: float) -> Detections:
    """People of 40 x 100 px who go 4 px right in every frame, one for each start."""
    boxes = [[x + 4 * frame, 50, x + 4 * frame + 40, 150] for x in starts]
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(starts), 0.9, np.float32))


def found(ids: list[int], boxes: list[list[float]], scores: list[float]) -> Detections:
    """Rows of learned motion on a frame that nobody looked at."""
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, track_ids=ids, looked=False)  # type: ignore[arg-type]


def told(tracks: Tracks) -> dict[int, tuple]:
    """What may not change where nobody looked."""
    columns = tracks.states, tracks.hits, tracks.misses, tracks.labels, tracks.scores
    return {int(k): tuple(row) for k, *row in zip(tracks.ids, *(c.tolist() for c in columns), strict=True)}


# ---------------------------------------------------------------------- the value


def test_only_rows_of_learned_motion_where_nobody_looked() -> None:
    none = Detections.unlooked()
    assert len(none) == 0 and not none.looked and Detections.empty().looked and not none.select([]).looked
    with pytest.raises(DetectionsError, match="fresh detections"):
        Detections(np.ones((1, 4), np.float32), np.ones(1, np.float32), looked=False)
    with pytest.raises(DetectionsError, match="fresh detections"):
        found([3, -1], [[0, 0, 1, 1], [0, 0, 1, 1]], [1, 1])
    assert found([3], [[0, 0, 1, 1]], [1]).track_ids.tolist() == [3]
    with pytest.raises(DetectionsError, match=r"unlooked\(\) is nobody looked"):
        create("sort").update(None)  # type: ignore[arg-type]


def test_recordings_keep_that_nobody_looked(tmp_path) -> None:
    tracker, said = create("bytetrack"), []
    with Recorder(tmp_path / "run.trk", Header()) as recorder:
        for k in range(7):
            detections = walk(k, 0, 300) if k % 3 == 0 else Detections.unlooked()
            frame = Frame(k, k / 30, np.zeros((2, 2, 3), np.uint8))
            said.append(tracker.update(detections, frame))
            recorder.write(frame, said[-1])
    again = create("bytetrack")
    for record, tracks in zip(Recording.open(tmp_path / "run.trk").records(), said, strict=True):
        assert record.detections.looked is (record.frame.index % 3 == 0)
        assert same_tracks(again.update(record.detections, time_s=record.frame.time_s), tracks)


# ---------------------------------------------------------------------- time passes and nothing else


@pytest.mark.parametrize("name", ["sort", "bytetrack", "ocsort"])
def test_nobody_is_seen_missed_born_or_ended(name: str) -> None:
    tracker = make(name)
    for k, detections in enumerate(crowd(5, 30, 30)):
        before = tracker.update(detections)
        assert {TrackState.CONFIRMED, TrackState.COASTING} <= set(before.states.tolist()) or k < 5
        for _ in range(k % 3):
            tracks = tracker.update(Detections.unlooked())
            assert told(tracks) == told(before) and (tracks.source == -1).all() and len(tracks.unmatched) == 0
            assert np.array_equal(tracks.ids, before.ids)  # in the same order


@pytest.mark.parametrize("steps", [(1.0, 1.0, 1.0), (0.5, 2.0, 0.0)])
def test_boxes_are_the_filters_predictions(steps: tuple[float, ...]) -> None:
    tracker, time_s = create("bytetrack", frame_rate=10.0), 0.0
    twin = None
    for k in range(5):
        box = walk(k, 0).boxes[0].astype(float)
        z = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, (box[2] - box[0]) / 100.0, 100.0])
        tracker.update(walk(k, 0), time_s=time_s)
        if twin is None:
            twin = Kalman("xyah", z)
        else:
            twin.predict(1.0)
            twin.update(z)
        time_s += 0.1
    time_s -= 0.1
    for dt in steps:
        time_s += dt / 10
        tracks = tracker.update(Detections.unlooked(), time_s=time_s)
        twin.predict(dt)
        x, y, ratio, height = twin.filter.x[:4, 0]
        half = ratio * height / 2
        assert np.allclose(tracks.boxes[0], [x - half, y - height / 2, x + half, y + height / 2])
        assert tracks.confirmed.ids.tolist() == [1] and tracks.time_s == pytest.approx(time_s)


def test_a_detector_on_every_fourth_frame_is_enough_for_sort() -> None:
    """It ends tracks after one missed frame, so the same frames as empty ones lose them all."""
    ids: dict[bool, set[int]] = {}
    for looked in (False, True):
        tracker = create("sort", confirm_hits=0)
        between = replace(Detections.unlooked(), looked=looked)
        for k in range(40):
            tracks = tracker.update(walk(k, 0, 300) if k % 4 == 0 else between)
            ids.setdefault(looked, set()).update(tracks.ids.tolist())
            if not looked:
                assert tracks.confirmed.ids.tolist() == [1, 2]
                assert k < 12 or np.abs(tracks.boxes - walk(k, 0, 300).boxes).max() < 2.0
    assert ids[False] == {1, 2} and len(ids[True]) == 20


def test_limits_in_frames_stand_still_and_those_in_seconds_go_on() -> None:
    for options, looks in (({"max_coast_frames": 2}, 3), ({"max_coast_s": 1.0}, 1)):
        tracker = create("ocsort", frame_rate=10.0, confirm_hits=0, **options)
        for k in range(4):
            tracker.update(walk(k, 0))
        missed = tracker.update(Detections.empty())
        assert missed.coasting.ids.tolist() == [1]
        for _ in range(10):
            assert tracker.update(Detections.unlooked()).coasting.misses.tolist() == [1]
        for left in range(looks - 1, -1, -1):
            assert len(tracker.update(Detections.empty())) == (left > 1 if "max_coast_frames" in options else 0)
            if left <= 2:
                break


def test_time_in_which_a_track_must_be_seen_counts_frames_in_between() -> None:
    tracker = create("bytetrack", frame_rate=10.0, confirm_s=0.5, grace_frames=0)
    states = []
    for k in range(9):
        tracks = tracker.update(walk(k, 0) if k % 3 == 0 else Detections.unlooked())
        states.append(int(tracks.states[0]))
    assert states == [TrackState.TENTATIVE] * 6 + [TrackState.CONFIRMED] * 3


def test_a_gap_with_such_frames_is_replayed_on_its_line() -> None:
    """OC-SORT filters the gap anew: frames between the looks belong to it, the first ones too."""
    tracker = create("ocsort", confirm_hits=0)
    for k in range(12):
        tracker.update(walk(k, 0) if k % 3 == 0 else Detections.unlooked())
    for k in range(12, 18):
        tracker.update(Detections.empty() if k % 3 == 0 else Detections.unlooked())
    tracker.update(walk(18, 0))
    ahead = tracker.at(19 / 30)
    assert ahead.velocities[0, 0] / 30 == pytest.approx(4.0, abs=0.1)


def test_a_saved_tracker_goes_on_between_two_looks(tmp_path) -> None:
    tracker = create("ocsort")
    frames = [d if k % 3 == 0 else Detections.unlooked() for k, d in enumerate(crowd(2, 20, 30))]
    for detections in frames[:14]:
        tracker.update(detections)
    tracker.save(tmp_path / "state")
    other = Tracker.load(tmp_path / "state")
    assert all(same_tracks(tracker.update(d), other.update(d)) for d in frames[14:])


def test_events_and_explanations_of_such_frames() -> None:
    events: list[str] = []
    tracker = create("bytetrack", on_event=lambda event: events.append(event.kind), explain=True)
    tracker.update(walk(0, 0))
    tracker.update(walk(1, 0))
    assert events == ["born", "confirmed"] and tracker.explain(1).match == 0
    tracker.update(Detections.unlooked())
    assert events == ["born", "confirmed"]
    with pytest.raises(FrameError, match="somebody looked at"):
        tracker.explain(1)


# ---------------------------------------------------------------------- rows of learned motion


def begin(**options) -> Tracker:
    """ByteTrack that follows learned motion, with tracks 1 and 2 on people who stand at 0 and 300."""
    tracker = create("bytetrack", **{"motion": "none", "follow_score": 0.5, **options})
    for _ in range(2):
        tracks = tracker.update(walk(0, 0, 300))
    assert tracks.confirmed.ids.tolist() == [1, 2]
    return tracker


def with_rows(detections: Detections, ids: list[int], xs: list[float], scores: list[float]) -> Detections:
    """Fresh detections, and rows behind them."""
    rows = np.array([[x, 50, x + 40, 150] for x in xs], np.float32).reshape(-1, 4)
    return Detections(
        np.concatenate([detections.boxes, rows]),
        np.concatenate([detections.scores, np.float32(scores)]),
        track_ids=np.array([-1] * len(detections) + ids),
    )


def test_a_track_is_matched_where_its_row_is() -> None:
    """Both jump by more than their width, past each other's way: boxes alone would not tell."""
    tracks = begin().update(with_rows(walk(0, 120, 390), [1, 2], [121, 391], [0.9, 0.9]))
    assert tracks.confirmed.ids.tolist() == [1, 2] and tracks.source.tolist() == [0, 1]
    assert np.array_equal(tracks.boxes, walk(0, 120, 390).boxes) and tracks.unmatched.tolist() == [2, 3]
    without = begin().update(walk(0, 120, 390))
    assert without.coasting.ids.tolist() == [1, 2]


def test_rows_start_and_keep_nothing() -> None:
    tracks = begin().update(with_rows(walk(0), [1, 2, 77], [10, 310, 600], [0.9, 0.4, 0.9]))
    assert tracks.coasting.ids.tolist() == [1, 2] and len(tracks) == 2
    assert tracks.boxes[:, 0].tolist() == [10, 300]  # the second one's row is too weak to be believed
    assert tracks.unmatched.tolist() == [0, 1, 2] and tracks.source.tolist() == [-1, -1]


def test_rows_without_a_place_are_ignored() -> None:
    rows = with_rows(walk(0, 0, 300), [1, 2], [0, 0], [0.9, 0.9])
    boxes = rows.boxes.copy()
    boxes[2:] = [[5, 5, 5, 50], [2e9, 0, 3e9, 9]]
    tracks = begin().update(replace(rows, boxes=boxes))
    assert tracks.source.tolist() == [0, 1] and np.array_equal(tracks.boxes, walk(0, 0, 300).boxes)


def test_a_filter_weighs_the_row_as_a_measurement() -> None:
    """In a motion with a filter the row is what a detection would be: the twin takes both, one after the other."""
    tracker = begin(motion="xyah")
    z = np.array([20.0, 100.0, 0.4, 100.0])
    twin = Kalman("xyah", z)
    twin.predict(1.0)
    twin.update(z)
    tracks = tracker.update(with_rows(walk(0, 20), [1], [12], [0.9]))
    twin.predict(1.0)
    for x in (32.0, 40.0):
        twin.update(np.array([x, 100.0, 0.4, 100.0]))
    assert tracks.source.tolist()[0] == 0
    x, _, ratio, height = twin.filter.x[:4, 0]
    assert tracks.boxes[0, 0] == pytest.approx(x - ratio * height / 2, abs=1e-3)


def test_rows_move_tracks_where_nobody_looked() -> None:
    tracker = begin()
    tracks = tracker.update(found([2, 1, 9], [[340, 50, 380, 150], [8, 50, 48, 150], [0, 0, 9, 9]], [0.9, 0.4, 0.9]))
    assert tracks.confirmed.ids.tolist() == [1, 2] and tracks.boxes[:, 0].tolist() == [0, 340]
    assert tracks.source.tolist() == [-1, 0] and tracks.unmatched.tolist() == [1, 2]
    assert tracks.hits.tolist() == [2, 2] and tracks.misses.tolist() == [0, 0]
    after = tracker.update(walk(0, 0, 345))
    assert after.confirmed.ids.tolist() == [1, 2]


def test_plans_without_learned_motion_know_no_rows_there() -> None:
    tracker = create("bytetrack")
    for _ in range(2):
        tracker.update(walk(0, 0))
    tracks = tracker.update(found([1], [[60, 50, 100, 150]], [0.9]))
    assert tracks.boxes[0, 0] == pytest.approx(0, abs=1e-3) and tracks.unmatched.tolist() == [0]


def test_siammots_rows_move_tracks_where_nobody_looked() -> None:
    tracker = create("siammot")
    fresh = replace(walk(0, 0, 300), track_ids=np.array([-1, -1]))
    tracker.update(fresh)
    rows = found([1, 2], [[30, 50, 70, 150], [330, 50, 370, 150]], [0.41, 0.39])  # keep_score is 0.4
    tracks = tracker.update(rows)
    assert tracks.confirmed.ids.tolist() == [1, 2] and tracks.boxes[:, 0].tolist() == [30, 300]


def test_rows_are_explained() -> None:
    tracker = begin()
    tracker.keep_explanations()
    tracker.update(with_rows(walk(0, 120), [1], [121], [0.9]))
    assert tracker.explain(1).match == 0
    assert "where track 1 is now" in tracker.explain(detection=1).outcome
