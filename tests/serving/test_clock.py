"""Latencies of the last frames."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

from tracker.serving import RecentClock


def test_percentiles_of_the_last_frames_and_counts_of_all():
    clock = RecentClock(window=100)
    rng = np.random.default_rng(0)
    durations = rng.integers(1, 10**8, 250)
    for duration in durations.tolist():
        clock.add("session", duration)
    figures = clock.recent()["session"]
    last = sorted(durations[-100:].tolist())
    for share, got in ((0.5, figures.p50), (0.95, figures.p95), (0.99, figures.p99), (1.0, figures.max)):
        at_most = [d for d in last if d <= got * 1e6 * (1 + 1e-12)]
        assert len(at_most) == math.ceil(share * 100)
    assert figures.count == 250
    assert figures.total_s == pytest.approx(durations.sum() / 1e9)


def test_it_forgets_what_was_slow_long_ago():
    clock = RecentClock(window=8)
    clock.add("decode", 10**9)
    for _ in range(8):
        clock.add("decode", 10**6)
    assert clock.recent()["decode"].max == 1.0
    assert clock.latencies()["decode"].max == 1000.0


def test_one_frame_and_none():
    clock = RecentClock()
    assert clock.recent() == {}
    with clock.time("associate"):
        pass
    figures = clock.recent()["associate"]
    assert figures.count == 1 and 0 < figures.p50 == figures.p99 == figures.max < 100
    assert clock.latencies()["associate"].count == 1


def test_stages_come_in_the_order_of_the_run():
    clock = RecentClock()
    for stage in ("sink", "end_to_end", "source", "session"):
        clock.add(stage, 1)
    assert list(clock.recent()) == ["source", "session", "sink", "end_to_end"]


def test_it_may_be_read_while_it_is_written():
    clock = RecentClock(window=16)
    stop = threading.Event()

    def read():
        while not stop.is_set():
            for figures in clock.recent().values():
                assert figures.p50 <= figures.p99 <= figures.max <= 5.0

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for k in range(20_000):
            clock.add(f"stage {k % 40}", 5_000_000)
    finally:
        stop.set()
        reader.join()
    assert sum(figures.count for figures in clock.recent().values()) == 20_000
