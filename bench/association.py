"""Time of one tracker update: ours through the public `Tracker.update(Detections)`, peers with the same detections.

All competitors run interleaved in one process (see bench/timing.py); a ratio compares with ours of the same method.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.competitors import Competitor, Digest, box_systems, ours, prototype, reading
from bench.flags import at_least_one
from bench.peers import PEERS, installed_peers
from bench.result import BenchError, Row, ratios, summary
from bench.scenes import Scene, crowd, heap, recorded
from bench.timing import CHUNK, COLD_MEGABYTES, SETTLE, Lane, clock_ns, run_cold, run_warm

FRAMES = {10: 440, 50: 330, 100: 330, 300: 154, 1000: 66}
"""Frames of a crowd by its size: enough for a median, short enough for the slowest peer."""
COLD_FRAMES = 80
FIRST = CHUNK
"""Frames of a run, rounded up to chunks, that are not counted: caches, allocators and the scene itself settle."""
CHECK_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument(
        "--sizes", type=at_least_one, nargs="*", default=list(FRAMES), help="objects of the synthetic crowds"
    )
    parser.add_argument(
        "--noisy", type=at_least_one, nargs="*", default=[10, 100, 300], help="objects of crowds with ghosts"
    )
    parser.add_argument("--heaps", type=at_least_one, nargs="*", default=[100], help="objects of the heaps; ours only")
    parser.add_argument("--detections", type=Path, help="folder of MOTChallenge detections, or one file")
    parser.add_argument("--sequences", nargs="*", help="names of those to run; by default all")
    parser.add_argument("--trackers", nargs="*", default=box_systems(), help="systems of ours")
    parser.add_argument("--prototype", type=Path, help="folder with the hand-written floor (floor2.py)")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), help="packages to compare with; none: ours only")
    parser.add_argument("--modes", nargs="*", default=["warm", "cold"], choices=["warm", "cold"])
    parser.add_argument("--frames", type=at_least_one, help="at most so many per scene")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure; returns rows and notes."""
    mine = [ours(name) for name in arguments.trackers]
    mine += [reading(competitor) for competitor in mine]
    peers, notes = installed_peers(arguments.peers)
    if arguments.prototype is not None:
        peers.append(prototype(arguments.prototype))
    rows: list[Row] = []
    for scene, competitors in _scenes(arguments, mine, peers):
        print(f"{scene.name} ...", file=sys.stderr, flush=True)
        checks = {competitor.name: _check(competitor, scene) for competitor in competitors}
        for mode in arguments.modes:
            rows += _measure(scene, competitors, mode, checks)
    warm = f"warm: chunks of {CHUNK} consecutive frames, {SETTLE} more before each not counted"
    cold = f"cold: {COLD_MEGABYTES} MB touched and other code run before every frame"
    return rows, [*notes, f"{warm}; {cold}; reading the clock is {clock_ns():.0f} ns of every figure"]


def _scenes(
    arguments: argparse.Namespace, mine: list[Competitor], peers: list[Competitor]
) -> list[tuple[Scene, list[Competitor]]]:
    """Each scene with those who run on it: heaps are for ours only, the others would take minutes or break."""
    most = arguments.frames or 10**9
    scenes = [(crowd(n, min(most, FRAMES.get(n, 220))), mine + peers) for n in arguments.sizes]
    scenes += [(crowd(n, min(most, FRAMES.get(n, 220)), noisy=True), mine + peers) for n in arguments.noisy]
    scenes += [(heap(n, min(most, 220)), mine) for n in arguments.heaps]
    if arguments.detections is not None:
        found = recorded(arguments.detections, arguments.sequences, min(most, 440))
        scenes += [(scene, mine + peers) for scene in found]
    short = [scene.name for scene, _ in scenes if len(scene.frames) < CHUNK + SETTLE]
    if short:
        raise BenchError(f"expected scenes of at least {CHUNK + SETTLE} frames, {short[0]} has fewer")
    return scenes


def _check(competitor: Competitor, scene: Scene) -> dict[str, Any]:
    """An untimed run: warms up, and says what the competitor finds. A slow peer is stopped after some seconds."""
    update, digest = competitor.make(), Digest(competitor, scene)
    end = time.monotonic() + CHECK_S
    for number, given in enumerate(competitor.prepare(scene)):
        digest.add(update(*given), given)
        if not competitor.own and number >= CHUNK and time.monotonic() > end:
            break
    figures = digest.figures()
    if figures["reported"] == 0:
        raise BenchError(f"{competitor.name} reported nothing on {scene.name}: there is nothing to compare")
    return figures


def _measure(scene: Scene, competitors: list[Competitor], mode: str, checks: dict[str, dict[str, Any]]) -> list[Row]:
    lanes = [Lane(competitor.name, competitor.make(), competitor.prepare(scene)) for competitor in competitors]
    if mode == "cold":
        for lane in lanes:
            lane.inputs = lane.inputs[:COLD_FRAMES]
    frames = len(lanes[0].inputs)
    first = FIRST if frames >= 3 * FIRST else 0
    (run_warm if mode == "warm" else run_cold)(lanes, first)
    chunks: dict[str, NDArray[np.float64]] = {}
    for competitor, lane in zip(competitors, lanes, strict=True):
        if competitor.own:  # the first one of ours is `update` alone
            chunks.setdefault(competitor.like, np.array(lane.chunks_ns))
    rows = []
    for competitor, lane in zip(competitors, lanes, strict=True):
        row: Row = {
            "scene": scene.name,
            "objects": round(scene.objects, 1),
            "mode": mode,
            "competitor": competitor.name,
            "like": competitor.like,
            "frames": frames,
            "us": summary(lane.frames_ns),
            **checks[competitor.name],
        }
        if not competitor.own and competitor.like in chunks:
            row["times_ours"] = ratios(chunks[competitor.like][: len(lane.chunks_ns)], np.array(lane.chunks_ns))
        rows.append(row)
    return rows
