"""The frame loop: order, overlap, errors, interruption, the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tracker import pipeline
from tracker.errors import ConfigError
from tracker.types import Detections, Frame, Tracks

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


class Frames:
    """A source of `count` numbered frames; may break or be interrupted."""

    live = False
    dropped = 0

    def __init__(self, count: int, fail_at: int = -1, error: BaseException | None = None) -> None:
        self.count, self.fail_at, self.error = count, fail_at, error
        self.delivered = 0

    def __iter__(self) -> Iterator[Frame]:
        for i in range(self.count):
            if i == self.fail_at and self.error is not None:
                raise self.error
            self.delivered = i + 1
            yield Frame(i, i / 30, np.full((4, 4, 3), i % 256, np.uint8))


class Echo:
    """A network whose one detection's score is the frame number; slow where asked."""

    def __init__(self, delay_s: float = 0.0, threads: set[str] | None = None) -> None:
        self.delay_s = delay_s
        self.threads = threads if threads is not None else set()

    def preprocess(self, image: np.ndarray) -> tuple[int, int]:
        return int(image[0, 0, 0]), 1

    def infer(self, tensors: int) -> int:
        self.threads.add(threading.current_thread().name)
        time.sleep(self.delay_s)
        return tensors

    def decode(self, outputs: int, placement: int) -> Detections:
        return Detections.from_array([[0, 0, 2, 2, outputs]])


class Following:
    """One track with id 1 + frame // 10."""

    def update(self, detections: Detections, frame: Frame | None = None, *, time_s: float | None = None) -> Tracks:
        assert frame is not None and detections.scores[0] == frame.index % 256
        one = np.ones(1, np.int32)
        return Tracks(
            np.array([1 + frame.index // 10]), detections.boxes, detections.scores, detections.labels,
            np.ones(1, np.uint8), 0 * one, one, 0 * one, one[:0], detections, frame.time_s,
        )  # fmt: skip


class Memory:
    """A sink that remembers, and may break."""

    def __init__(self, fail_at: int = -1, delay_s: float = 0.0) -> None:
        self.seen: list[int] = []
        self.closed = 0
        self.fail_at, self.delay_s = fail_at, delay_s

    def write(self, frame: Frame, tracks: Tracks) -> None:
        time.sleep(self.delay_s)
        if frame.index == self.fail_at:
            raise OSError("disk full")
        self.seen.append(frame.index)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("overlap", [False, True])
def test_every_frame_once_and_in_order(overlap: bool) -> None:
    sink = Memory()
    report = pipeline.run(Frames(250), Echo(), Following(), [sink], overlap=overlap)
    assert sink.seen == list(range(250)) and sink.closed == 1
    assert (report.frames, report.tracks, report.dropped) == (250, 25, 0)
    assert {name: latency.count for name, latency in report.stages.items()} == dict.fromkeys(
        (*pipeline.STAGES, "end_to_end"), 250
    )


def test_overlap_is_for_files_and_not_for_live_sources() -> None:
    for live, names in ((False, {"session"}), (True, {threading.current_thread().name})):
        source, threads = Frames(3), set()
        source.live = live
        pipeline.run(source, Echo(threads=threads), Following())
        assert threads == names


def test_memory_is_bounded_when_the_sink_is_slow() -> None:
    source, most = Frames(60), 0
    sink = Memory(delay_s=0.005)

    def watch(frame: Frame, tracks: Tracks) -> None:
        nonlocal most
        most = max(most, source.delivered - len(sink.seen))

    pipeline.run(source, Echo(), Following(), [sink], overlap=True, on_frame=watch)
    assert most <= 12


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("error", [ValueError("bad picture"), KeyboardInterrupt()])
def test_an_error_closes_the_sinks_after_the_frames_before_it(overlap: bool, error: BaseException) -> None:
    sink = Memory()
    with pytest.raises(type(error)):
        pipeline.run(Frames(50, 20, error), Echo(), Following(), [sink], overlap=overlap)
    assert sink.seen == list(range(20)) and sink.closed == 1


@pytest.mark.parametrize("overlap", [False, True])
def test_an_interrupt_in_the_callers_thread_keeps_what_was_tracked(overlap: bool) -> None:
    sink = Memory()

    def interrupt(frame: Frame, tracks: Tracks) -> None:
        if frame.index == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(Frames(1000), Echo(), Following(), [sink], overlap=overlap, on_frame=interrupt)
    assert sink.seen == list(range(11)) and sink.closed == 1


@pytest.mark.parametrize("overlap", [False, True])
def test_a_broken_sink_stops_the_run_and_all_sinks_are_closed(overlap: bool) -> None:
    good, bad = Memory(), Memory(fail_at=5)
    with pytest.raises(OSError, match="disk full"):
        pipeline.run(Frames(1000), Echo(), Following(), [good, bad], overlap=overlap)
    assert good.closed == bad.closed == 1 and bad.seen == list(range(5))


def test_ages_of_live_frames_and_a_clock_to_read_meanwhile() -> None:
    class Late(Frames):
        live = True

        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, arrived_s=time.monotonic() - 0.05)

    clock, counts = pipeline.StageClock(), []
    report = pipeline.run(
        Late(20), Echo(delay_s=0.01), Following(), clock=clock,
        on_frame=lambda frame, tracks: counts.append(clock.latencies()["age"].count),
    )  # fmt: skip
    assert counts == list(range(1, 21)) and report.stages["age"].count == 20
    assert report.stages["age"].p50 >= 60, "late by 50 ms, and 10 ms in the network"


def test_max_frames_stops_and_reads_no_further() -> None:
    source = Frames(100)
    assert pipeline.run(source, Echo(), Following(), max_frames=7).frames == 7
    assert source.delivered == 7


def test_an_empty_source_is_a_run_of_no_frames() -> None:
    report = pipeline.run(Frames(0), Echo(), Following(), [Memory()])
    assert report.frames == 0 and report.stages["session"].p99 == 0


def test_percentiles_are_within_the_bin_width() -> None:
    histogram = pipeline.Histogram()
    durations = np.random.default_rng(0).lognormal(13, 1, 20_000).astype(int)
    for duration in durations.tolist():
        histogram.add(duration)
    latency = histogram.latency()
    for share, value in ((50, latency.p50), (95, latency.p95), (99, latency.p99)):
        assert value == pytest.approx(np.percentile(durations, share) / 1e6, rel=0.023)
    assert latency.max == durations.max() / 1e6


@pytest.mark.parametrize("overlap", [False, True])
def test_the_network_runs_on_every_third_frame(overlap: bool) -> None:
    looked: list[bool] = []

    class Looking(Following):
        def update(self, detections: Detections, frame: Frame | None = None, *, time_s: float | None = None) -> Tracks:
            assert frame is not None and len(detections) == detections.looked
            looked.append(detections.looked)
            seen = Detections.from_array([[0, 0, 2, 2, frame.index % 256]])
            return super().update(seen, frame)

    memory = Memory()
    report = pipeline.run(Frames(8), Echo(), Looking(), [memory], overlap=overlap, look=pipeline.every(3))
    assert looked == [True, False, False] * 2 + [True, False] and memory.seen == list(range(8))
    assert report.frames == 8 and report.stages["associate"].count == 8
    assert [report.stages[name].count for name in ("preprocess", "session", "decode")] == [3, 3, 3]
    with pytest.raises(ConfigError, match="at least 1"):
        pipeline.every(0)
