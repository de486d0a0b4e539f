"""A stage clock that also knows the latencies of the last frames, and may be read while the run goes on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from tracker.pipeline import StageClock


@dataclass(frozen=True, slots=True)
class StageFigures:
    """One stage: percentiles in milliseconds of its last frames; frames and seconds since the start."""

    p50: float
    p95: float
    p99: float
    max: float
    count: int
    total_s: float


class _Ring:
    """The last durations of a stage. One thread adds; whoever reads meanwhile may miss the newest one."""

    def __init__(self, window: int) -> None:
        self._last_ns = np.zeros(window, np.int64)
        self._count = 0
        self._total_ns = 0

    def add(self, duration_ns: int) -> None:
        self._last_ns[self._count % len(self._last_ns)] = duration_ns
        self._total_ns += duration_ns
        self._count += 1

    def figures(self) -> StageFigures:
        count, total_s = self._count, self._total_ns / 1e9
        last = np.sort(self._last_ns[: min(count, len(self._last_ns))]) / 1e6
        if not len(last):
            return StageFigures(0.0, 0.0, 0.0, 0.0, 0, 0.0)
        p50, p95, p99, most = (float(last[math.ceil(share * len(last)) - 1]) for share in (0.5, 0.95, 0.99, 1.0))
        return StageFigures(p50, p95, p99, most, count, total_s)


class RecentClock(StageClock):
    """A `StageClock` whose `recent` follows the run: a camera that became slow an hour ago shows within seconds.

    Args:
        window: frames per stage that `recent` is about.
    """

    def __init__(self, window: int = 512) -> None:
        super().__init__()
        self._window = window
        self._rings: dict[str, _Ring] = {}

    @contextlib.contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Measure the body as one frame's share of `stage`."""
        start = perf_counter_ns()
        yield
        self.add(stage, perf_counter_ns() - start)

    def add(self, stage: str, duration_ns: int) -> None:
        """Count a duration measured elsewhere."""
        super().add(stage, duration_ns)
        ring = self._rings.get(stage)
        if ring is None:
            ring = self._rings[stage] = _Ring(self._window)
        ring.add(duration_ns)

    def recent(self) -> dict[str, StageFigures]:
        """Every stage that was measured so far, in the clock's order; callable from any thread."""
        order = {name: place for place, name in enumerate(list(self._stages))}  # a copy: stages may be added
        rings = sorted(list(self._rings.items()), key=lambda item: order.get(item[0], len(order)))
        return {name: ring.figures() for name, ring in rings}
