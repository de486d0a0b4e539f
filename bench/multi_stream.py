"""MLPerf's multi-stream: S streams in lock-step, the next frame of each when all have written theirs; read the p99.

Every stream decodes, tracks and writes for itself; one network serves them (`tracker.streams`), in micro-batches where
its graph takes them (`python -m exporters batch` frees a graph's first side) and one by one.
"""

from __future__ import annotations

import argparse
import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from time import perf_counter_ns
from typing import Any

import numpy as np

from bench.flags import at_least_one
from bench.result import BenchError, Row, summary
from bench.stages import Timed, Times
from bench.workload import Case, add_flags, cases, outputs, warm_up
from tracker.sources import Source, open_source
from tracker.streams import Stream, Streams, takes_batches
from tracker.types import Frame, Tracks

REPEATS = 5
_PATIENCE_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    add_flags(parser, frames=50)
    parser.add_argument("--streams", type=at_least_one, nargs="+", default=[1, 2, 4, 8])


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure every network on every source, with every number of streams."""
    rows, notes = [], ["`step` is from the moment all streams may go on to the moment all have written"]
    for case in cases(arguments):
        warm_up(case)
        batches = takes_batches(case.model)
        if not batches:
            notes.append(f"{case.name} takes no batches: streams go through it one by one")
        for count in arguments.streams:
            for most in (1, count) if batches and count > 1 else (1,):
                rows.append(measure(case, count, most))
    return rows, notes


def measure(case: Case, count: int, most: int) -> Row:
    """`count` streams, at most `most` frames through the network at once.

    Raises:
        BenchError: a stream failed, or the streams, which see the same, have different tracks.
    """
    frames = case.arguments.frames
    pace = LockStep(count)
    times = Times()
    network = Timed(case.model, times, bound=case.bound and most == 1)
    digests = []
    with ExitStack() as stack:
        streams = stack.enter_context(Streams(network, max_batch=most))
        sampler = stack.enter_context(case.measured())
        for k in range(count):
            source = Stepped(open_source(case.address), pace, frames)
            sinks = stack.enter_context(outputs(case, source))
            digests.append(sinks[-1])
            streams.add(f"{k}", Stream(source, case.tracker(source.fps), [*sinks, source.written]))
        outcomes = streams.run()
    for outcome in outcomes.values():
        if outcome.error is not None:
            raise BenchError(f"a stream of {case.scene} failed: {outcome.error}")
    if len({digest.sha256 for digest in digests}) > 1:
        raise BenchError(f"streams of the same {case.scene} have different tracks: {count} streams, batches of {most}")
    steps = np.diff(pace.marks_ns)
    how = "batched" if most > 1 else "one by one"
    return case.row(
        f"{count} {how}", summary(steps), objects=digests[0].objects, streams=count,
        figures={
            "fps": round(count * 1e9 / float(np.median(steps)), 2),
            "mean_batch": round(count * frames / len(times.ns["infer"]), 2),
            **sampler.figures(),
        },
        tracks_sha256=hashlib.sha256("".join(digest.sha256 for digest in digests).encode()).hexdigest(),
    )  # fmt: skip


class LockStep:
    """Lets `count` streams go on together, and notes when.

    Attributes:
        marks_ns: when each step began; the last entry is the end of the last step.
    """

    def __init__(self, count: int) -> None:
        self.marks_ns: list[int] = []
        self._barrier = threading.Barrier(count, lambda: self.marks_ns.append(perf_counter_ns()), _PATIENCE_S)

    def wait(self) -> None:
        """Wait for the others.

        Raises:
            BenchError: one of them has failed.
        """
        try:
            self._barrier.wait()
        except threading.BrokenBarrierError:
            raise BenchError("another stream has ended early") from None

    def give_up(self) -> None:
        """Nobody needs to wait any longer."""
        self._barrier.abort()


class Stepped(Source):
    """The beginning of a source, each frame decoded when the one before it is written in all streams.

    Args:
        source: read to `frames` frames.
        pace: of all streams.
        frames: that are delivered.

    Attributes:
        written: a sink that says when a frame is out; the last of the stream's.
    """

    live = False
    dropped = 0

    def __init__(self, source: Source, pace: LockStep, frames: int) -> None:
        self.name, self.fps, self.size, self.length = source.name, source.fps, source.size, frames
        self.written = _Written()
        self._source, self._pace, self._frames = source, pace, frames

    def __iter__(self) -> Iterator[Frame]:
        images = iter(self._source)
        try:
            for _ in range(self._frames):
                self._pace.wait()
                frame = next(images, None)
                if frame is None:
                    raise BenchError(f"{self.name} has fewer than {self._frames} frames; ask for fewer (--frames)")
                yield frame
                self.written.wait()
            self._pace.wait()
        except BaseException:
            self._pace.give_up()
            raise

    def close(self) -> None:
        """Close the source."""
        self._source.close()


class _Written:
    """A sink that only says that the sinks before it are done with a frame."""

    def __init__(self) -> None:
        self._done = threading.Semaphore(0)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        self._done.release()

    def close(self) -> None:
        self._done.release()

    def wait(self) -> Any:
        return self._done.acquire(timeout=_PATIENCE_S)
