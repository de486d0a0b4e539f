"""A million frames of detections that never match: memory must not grow, and the last frame costs what the first did.

Nothing is timed frame by frame but in blocks; drift compares the CPU time of the median block of the last tenth with
that of the first tenth after warm-up, so that a busy machine is no drift.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.competitors import box_systems
from bench.result import BenchError, Row, summary
from bench.scenes import strangers
from tracker.systems import create

COUNT = 10
PERIOD = 512
"""Frames made beforehand and used again and again, far longer apart than any track lives."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--trackers", nargs="*", default=box_systems(), help="systems of ours")
    parser.add_argument("--block", type=int, default=1000, help="frames that are timed together")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure; returns rows and notes."""
    rows = [soak(name, arguments.frames, arguments.block) for name in arguments.trackers]
    return rows, [f"{COUNT} detections per frame, none matches another; us are means of blocks"]


def soak(name: str, frames: int, block: int = 1000) -> Row:
    """Run one system and say what it cost.

    Raises:
        BenchError: fewer than 20 blocks, or a track took a second detection.
    """
    blocks = frames // block
    if blocks < 20:
        raise BenchError(f"expected at least 20 blocks of {block} frames, got {frames} frames")
    scene, associator = strangers(COUNT, PERIOD), create(name)
    tracks = [associator.update(detections) for detections in scene[:100]][-1]
    times, cpu, memory = np.ones((3, blocks))  # touched before the first look at memory
    at, most = 100, 0
    for number in range(blocks):
        begin, cpu_begin = time.perf_counter_ns(), time.process_time_ns()
        for _ in range(block):
            tracks = associator.update(scene[at % PERIOD])
            at += 1
        times[number] = (time.perf_counter_ns() - begin) / block
        cpu[number] = (time.process_time_ns() - cpu_begin) / block
        memory[number] = resident_bytes()
        most = max(most, len(tracks))
        if int(tracks.hits.max(initial=0)) > 1:
            raise BenchError(f"{name} matched detections that never match: the scene is not what it should be")
    tenth = blocks // 10
    warm = slice(tenth, 2 * tenth)  # the first tenth fills allocators and pools
    growth = float(np.median(memory[-tenth:]) - np.median(memory[warm])) / (block * (blocks - 2 * tenth))
    drift = float(np.median(cpu[-tenth:]) / np.median(cpu[warm]) - 1)
    figures: dict[str, Any] = {
        "frames": blocks * block,
        "live_tracks": most,
        "bytes_per_frame": round(growth, 2),
        "drift_percent": round(100 * drift, 1),
        "fastest_drift_percent": round(100 * float(cpu[-tenth:].min() / cpu[warm].min() - 1), 1),
        "resident_mb": round(float(memory[-1]) / 1e6, 1),
    }
    return {
        "scene": "strangers",
        "objects": COUNT,
        "competitor": f"trackstream {name}",
        "figures": figures,
        "block_us": summary(times),
    }


def resident_bytes() -> float:
    """Memory of this process that is in use now (Linux), else the most that it ever was."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return float(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most) * (1 if sys.platform == "darwin" else 1024)
