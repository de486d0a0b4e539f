"""Minimum length: what reaches a file is the offline filter's result, to the byte, and buffers stay bounded."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sinks.scenes import COASTING, CONFIRMED, TENTATIVE, frame, tracks
from tracker.errors import ConfigError, FrameError, SinkError
from tracker.formats.recording import BareFrame
from tracker.sinks import SINKS, RunInfo
from tracker.sinks.length import POLICIES, Delay, Flag, LengthSink, Settle, Suppress, length_filter

INFO = RunInfo("clip.mp4", 25.0, (64, 48), ("person", "car", "dog"), "net.onnx", "sort")
GAP = 3  # frames that a track of these scenes may be unseen


def random_run(seed: int, frames: int = 60, alive: int = 4) -> list:
    """Snapshots of tracks that come, coast over gaps of up to GAP frames, are tentative at times, and end for ever."""
    rng = np.random.default_rng(seed)
    live: dict[int, list[int]] = {}  # id -> [hits, misses]
    next_id, run = 1, []
    for _ in range(frames):
        while len(live) < alive and rng.random() < 0.5:
            live[next_id] = [0, 0]
            next_id += 1
        for track in list(live):
            if live[track][0] == 0 or rng.random() < 0.55:
                live[track] = [live[track][0] + 1, 0]
            else:
                live[track][1] += 1
            if live[track][1] > GAP or rng.random() < 0.08:
                del live[track]
        rows = []
        for track, (_, misses) in live.items():
            x = 3 * (track % 17)
            state = COASTING if misses else TENTATIVE if rng.random() < 0.2 else CONFIRMED
            rows.append((track, state, (x, 5, x + 12, 30), 0.5 + 0.001 * (track % 400), track % 3))
        scene = tracks(rows)
        hits = np.array([live[track][0] for track in scene.ids.tolist()], np.int32)
        run.append(dataclasses.replace(scene, hits=hits))
    return run


def offline(run: list, n: int) -> list:
    """The filter over a whole run, as simple as can be: tracks that never took n detections go."""
    most: dict[int, int] = {}
    for scene in run:
        for track, hits in zip(scene.ids.tolist(), scene.hits.tolist(), strict=True):
            most[track] = max(most.get(track, 0), hits)
    return [scene.select(np.array([most[t] >= n for t in scene.ids.tolist()], bool)) for scene in run]


def through(gate, run: list) -> list:
    out = [item for index, scene in enumerate(run) for item in gate.push(frame(index), scene)]
    out += gate.finish()
    assert gate.finish() == []
    assert [head.index for head, _ in out] == list(range(len(run)))
    return [scene for _, scene in out]


def shown(run: list) -> list:
    return [(scene.ids.tolist(), scene.states.tolist(), scene.source.tolist()) for scene in run]


def written(folder, name: str, run: list, n: int = 1, policy: str = "none", lag: int | None = None) -> bytes:
    path = folder / f"{name}-{n}-{policy}"
    sink = SINKS[name][0](path, INFO)
    with LengthSink(sink, length_filter(n, policy, lag), images=False) as sink:
        for index, scene in enumerate(run):
            sink.write(frame(index), scene)
    return path.read_bytes()


# ---------------------------------------------------------------------- exactness


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 7))
def test_retract_and_a_long_delay_are_the_offline_filter(seed: int, n: int) -> None:
    run = random_run(seed)
    wanted = shown(offline(run, n))
    assert shown(through(Settle(n), run)) == wanted
    assert shown(through(Delay(n, (n - 1) * (GAP + 1)), run)) == wanted


@pytest.mark.parametrize("name", ["mot", "mots", "jsonl"])
@pytest.mark.parametrize("policy", ["retract", "delay"])
def test_files_are_those_of_the_offline_filter_to_the_byte(tmp_path, name: str, policy: str) -> None:
    for seed in range(3):
        run = random_run(seed)
        wanted = written(tmp_path, name, offline(run, 5))
        assert written(tmp_path, name, run, 5, policy, 4 * (GAP + 1) if policy == "delay" else None) == wanted
        assert wanted != written(tmp_path, name, run)  # there was something to leave out


def test_a_delay_of_n_minus_1_is_exact_without_gaps_and_only_then() -> None:
    def track(track_id: int, seen: list[bool]) -> list:
        box, hits, run = (5, 5, 20, 30), 0, []
        for took in seen:
            hits += took
            scene = tracks([(track_id, CONFIRMED if took else COASTING, box, 0.9, 0)])
            run.append(dataclasses.replace(scene, hits=np.array([hits], np.int32)))
        return run

    steady, gappy = track(1, [True] * 6), track(1, [True, True, False, True, True])
    assert shown(through(Delay(4, 3), steady)) == shown(offline(steady, 4))
    late = through(Delay(4, 3), gappy)
    assert [len(scene) for scene in late] == [0, 1, 1, 1, 1] and [len(scene) for scene in offline(gappy, 4)] == [1] * 5


def test_detections_count_and_not_the_frames_spanned() -> None:
    """Six frames long, three detections: too short for four."""
    scenes = []
    for k, hits in enumerate([1, 1, 2, 2, 2, 3]):
        state = CONFIRMED if k in (0, 2, 5) else COASTING
        scenes.append(dataclasses.replace(tracks([(1, state, (5, 5, 9, 9), 0.9, 0)]), hits=np.array([hits], np.int32)))
    assert not any(map(len, through(Settle(4), scenes))) and all(map(len, through(Settle(3), scenes)))


def test_suppress_begins_with_the_nth_detection() -> None:
    for seed in range(5):
        run = random_run(seed)
        found = through(Suppress(4), run)
        for scene, kept in zip(run, found, strict=True):
            assert kept.ids.tolist() == scene.ids[scene.hits >= 4].tolist()
        assert shown(through(Delay(4, 0), run)) == shown(found)


def test_none_and_a_length_of_one_change_nothing(tmp_path) -> None:
    run = random_run(1)
    for gate in (length_filter(9, "none"), *(length_filter(1, policy) for policy in POLICIES)):
        assert all(a is b for a, b in zip(through(gate, run), run, strict=True))


@pytest.mark.parametrize("gate", [Suppress(4), Delay(4, 5), Settle(4), Flag(4)])
def test_every_detection_still_comes_back_once_in_the_order_of_tracks(gate) -> None:
    for scene in through(gate, random_run(3)):
        taken = scene.source[scene.source >= 0].tolist()
        assert sorted(taken + scene.unmatched.tolist()) == list(range(len(scene.detections)))
        assert scene.unmatched.tolist() == sorted(scene.unmatched.tolist())
        parts = (scene.confirmed, scene.tentative, scene.coasting)
        assert [part.ids.tolist() for part in parts] == [
            scene.ids[scene.states == state].tolist() for state in (CONFIRMED, TENTATIVE, COASTING)
        ]


# ---------------------------------------------------------------------- shown at once


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 6))
def test_at_once_with_events_adds_up_to_the_offline_filter(seed: int, n: int) -> None:
    """Who takes the flags back where a confirm event says so has what the offline filter reports."""
    run, events = random_run(seed), []
    found = through(Flag(n, events.append), run)
    reported = {(k, t) for k, scene in enumerate(found) for t in scene.confirmed.ids.tolist()}
    assert len({event.track_id for event in events}) == len(events)
    for event in events:
        assert event.kind in ("confirm", "retract") and 0 < len(event.frames) < n
        assert max(event.frames) <= event.frame and event.time_s == event.frame / 25
        assert all(event.track_id in found[k].tentative.ids for k in event.frames)
        if event.kind == "confirm":
            reported |= {(k, event.track_id) for k in event.frames}
    wanted = {(k, t) for k, scene in enumerate(offline(run, n)) for t in scene.confirmed.ids.tolist()}
    assert reported == wanted


def test_events_come_when_they_are_known() -> None:
    events = []
    gate = Flag(3, events.append)
    for index, (hits, ids) in enumerate([(1, (1, 2)), (2, (1, 2)), (3, (1,)), (1, (3,))]):
        rows = [(track, CONFIRMED, (5 * track, 5, 5 * track + 4, 9), 0.9, 0) for track in ids]
        scene = dataclasses.replace(tracks(rows), hits=np.full(len(ids), hits, np.int32))
        ((_, now),) = gate.push(frame(index), scene)
        assert len(now.confirmed) == (hits == 3) and len(now) == len(ids)
    assert [(e.kind, e.track_id, e.frames, e.frame) for e in events] == [
        ("confirm", 1, (0, 1), 2),
        ("retract", 2, (0, 1), 2),
    ]
    gate.finish()
    assert [(e.kind, e.track_id, e.frames, e.frame) for e in events[2:]] == [("retract", 3, (3,), 3)]


# ---------------------------------------------------------------------- buffers


def test_buffers_stay_bounded() -> None:
    """Frames wait at most until the oldest undecided track is decided; nothing grows over 1000 frames."""
    run = random_run(0, frames=1000)
    settle, delay, flag = Settle(5), Delay(5, 16), Flag(5)
    for index, scene in enumerate(run):
        for gate in (settle, delay, flag):
            gate.push(frame(index, size=(2, 2)), scene)
        assert len(settle._held) <= 4 * (GAP + 1) and len(delay._held) <= 16
        assert len(settle._short) <= 4 * (GAP + 1) * 4 and len(settle._open) <= 4
        assert len(delay._long) <= 17 * 4 and len(flag._shown) <= 4


def test_held_frames_hold_no_images(tmp_path) -> None:
    class Memory:
        def __init__(self) -> None:
            self.frames, self.closed = [], 0

        def write(self, head, scene) -> None:
            self.frames.append(head)

        def close(self) -> None:
            self.closed += 1

    for images in (True, False):
        memory = Memory()
        with LengthSink(memory, Delay(3, 2), images=images) as sink:
            for index, scene in enumerate(random_run(2, frames=5)):
                sink.write(frame(index), scene)
                assert len(memory.frames) == max(0, index - 1)
        assert [head.index for head in memory.frames] == list(range(5)) and memory.closed == 1
        head = memory.frames[0]
        assert (head.width, head.height, head.time_s) == (64, 48, 0.0) and isinstance(head, BareFrame) is not images
        if not images:
            with pytest.raises(FrameError, match="without its image"):
                _ = head.image


# ---------------------------------------------------------------------- the sink behind it


@pytest.mark.parametrize("policy", ["retract", "delay", "suppress"])
def test_after_an_error_the_files_are_those_of_a_run_that_ended_there(tmp_path, policy: str) -> None:
    run = random_run(7)[:31]
    path = tmp_path / "crash.jsonl"
    with pytest.raises(ZeroDivisionError):  # noqa: SIM117
        with LengthSink(SINKS["jsonl"][0](path, INFO), length_filter(4, policy)) as sink:
            for index, scene in enumerate(run):
                sink.write(frame(index), scene)
            _ = 1 / 0
    assert path.read_bytes() == written(tmp_path, "jsonl", run, 4, policy)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["frame"] for line in lines[1:]] == list(range(31))


def test_a_sink_that_failed_gets_nothing_more(tmp_path) -> None:
    class Broken:
        def __init__(self) -> None:
            self.asked, self.closed = 0, 0

        def write(self, head, scene) -> None:
            self.asked += 1
            raise SinkError("disk full")

        def close(self) -> None:
            self.closed += 1

    broken = Broken()
    sink = LengthSink(broken, Delay(3, 2))
    with pytest.raises(SinkError, match="disk full"):
        for index, scene in enumerate(random_run(2, frames=9)):
            sink.write(frame(index), scene)
    sink.close()
    assert (broken.asked, broken.closed) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((5, "wait"), "expected a minimum length policy of none, suppress, delay, retract, got 'wait'"),
        ((0, "delay"), "at least 1 detection, got 0"),
        ((5, "delay", -1), "lag of 0 or more"),
        ((5, "retract", 4), "with the policy delay, got 4 with retract"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments, words) -> None:
    with pytest.raises(ConfigError, match=words):
        length_filter(*arguments)


def test_the_default_lag_suits_systems_that_bridge_no_gaps() -> None:
    assert length_filter(5, "delay")._lag_frames == 4
