"""Competitors measured side by side in one process, so that whatever slows the machine slows them all.

Warm: every competitor in turn runs a chunk of consecutive frames back to back; the first frames of a chunk, which
still pay for the competitor before, are fed but not counted. Cold: before every single frame of every competitor the
program does something else (`Disturbance`), as a real one does between two detections of its network. The order
changes from chunk to chunk. `perf_counter_ns` itself is in every figure (`clock_ns`, some 50 ns).

A busy machine pauses long calls and leaves short ones alone, which would flatter whoever is quick. Ratios therefore
compare costs: the lesser of elapsed time and of the process's CPU time, all its threads included.
"""

from __future__ import annotations

import gc
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 20
SETTLE = 2
COLD_MEGABYTES = 48
LANE_BUDGET_NS = 2_000_000_000
_LONG_NS = 5_000_000  # for a call as long as this it does not matter what ran before


@dataclass
class Lane:
    """One competitor in a comparison.

    Attributes:
        name: its name.
        call: what is timed, as `call(*inputs[k])`.
        inputs: arguments of every frame, made beforehand.
        frames_ns: times of the counted frames.
        chunks_ns: cost of a frame in each chunk; entry c of two lanes was measured side by side.
        spent_ns: time of all calls so far.
    """

    name: str
    call: Callable[..., Any]
    inputs: Sequence[tuple[Any, ...]]
    frames_ns: list[int] = field(default_factory=list)
    chunks_ns: list[float] = field(default_factory=list)
    spent_ns: int = 0

    @property
    def done(self) -> bool:
        """It had its share of the time: a slow lane stops early, with as many chunks as it got."""
        return self.spent_ns > LANE_BUDGET_NS and len(self.chunks_ns) >= 2


class Disturbance:
    """What else a program does between two frames: walks through tens of megabytes and runs other code."""

    def __init__(self, megabytes: int = COLD_MEGABYTES) -> None:
        self._memory = np.zeros(megabytes << 17, np.float64)
        self._words = [f"camera {k}: {k * 37 % 101} objects, {k % 7} of them new" for k in range(300)]

    def __call__(self) -> int:
        """Do it; returns something that depends on all of it."""
        self._memory += 1.0
        text = json.dumps({word: [len(word), word.upper()] for word in self._words})
        found = re.findall(r"(\d+) OBJECTS", text)
        return int(self._memory[::4096].sum()) + len(sorted(found, key=lambda word: word[::-1]))


def clock_ns() -> float:
    """What reading the clock adds to every figure."""
    clock, times = time.perf_counter_ns, []
    for _ in range(2000):
        begin = clock()
        times.append(clock() - begin)
    return float(np.median(times))


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Collect now and leave what exists out of later collections; the collector stays on, as for a user."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def run_warm(lanes: list[Lane], first: int = 0, chunk: int = CHUNK, settle: int = SETTLE) -> None:
    """Feed all frames to all lanes in chunks; frames before `first` are fed but not counted."""
    frames = len(lanes[0].inputs)
    with quiet_collector():
        for number, begin in enumerate(range(0, frames, chunk + settle)):
            turn = number % len(lanes)
            for lane in lanes[turn:] + lanes[:turn]:
                if lane.done:
                    continue
                measured, cpu = _time_frames(lane, begin, min(begin + chunk + settle, frames))
                times = measured[settle:]
                if begin >= first and len(times) == chunk:
                    lane.frames_ns += times
                    lane.chunks_ns.append(min(float(np.median(times)), cpu))


def run_cold(lanes: list[Lane], first: int = 0, chunk: int = CHUNK) -> None:
    """Feed all frames to all lanes, one frame at a time, after something else."""
    disturb, frames = Disturbance(), len(lanes[0].inputs)
    with quiet_collector():
        for begin in range(0, frames - chunk + 1, chunk):
            running = [lane for lane in lanes if not lane.done]
            times: list[list[int]] = [[] for _ in running]
            costs: list[list[float]] = [[] for _ in running]
            for k in range(begin, begin + chunk):
                for turn in range(len(running)):
                    at = (turn + k) % len(running)
                    disturb()
                    (elapsed,), cpu = _time_frames(running[at], k, k + 1)
                    times[at].append(elapsed)
                    costs[at].append(min(elapsed, cpu))
            for lane, measured, cost in zip(running, times, costs, strict=True):
                if begin >= first:
                    lane.frames_ns += measured
                    lane.chunks_ns.append(float(np.median(cost)))


def time_calls(
    calls: dict[str, Callable[[], Any]], rounds: int, budget_s: float = 6.0
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Times and costs in ns of functions without arguments, in turn, round by round; all have equal counts."""
    clock, cpu_clock = time.perf_counter_ns, time.process_time_ns
    for call in calls.values():
        call()
    times: dict[str, list[int]] = {name: [] for name in calls}
    costs: dict[str, list[int]] = {name: [] for name in calls}
    names, end = list(calls), time.monotonic() + budget_s
    with quiet_collector():
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                call, settled = calls[name], not times[name] or times[name][-1] > _LONG_NS
                if not settled:
                    call()  # what counts is the second call in a row
                cpu = cpu_clock()
                begin = clock()
                call()
                times[name].append(clock() - begin)
                costs[name].append(min(times[name][-1], cpu_clock() - cpu))
            if time.monotonic() > end and number >= 4:
                break
    return {name: (np.array(times[name], np.float64), np.array(costs[name], np.float64)) for name in names}


def _time_frames(lane: Lane, begin: int, end: int) -> tuple[list[int], float]:
    """Elapsed time of each frame, and CPU time per frame, in ns."""
    clock, call, times = time.perf_counter_ns, lane.call, []
    cpu = time.process_time_ns()
    for k in range(begin, end):
        arguments = lane.inputs[k]
        start = clock()
        call(*arguments)
        times.append(clock() - start)
    cpu = time.process_time_ns() - cpu
    lane.spent_ns += sum(times)
    return times, cpu / max(end - begin, 1)
