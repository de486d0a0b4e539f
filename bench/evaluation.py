"""Time of HOTA, CLEAR and Identity of one sequence, arrays in memory: ours against TrackEval and motrics.

Two ways in: ids and boxes of every frame (`boxes`); similarities that somebody computed before (`overlaps`). Everybody
gets them in his own form, made beforehand. Scores are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.flags import at_least_one
from bench.peers import open_installed
from bench.result import BenchError, Row, ratios, summary
from bench.timing import time_calls
from tracker.evaluation import Clear, Hota, Identity, Objects, compare_boxes
from tracker.evaluation.mot_rules import PEDESTRIAN
from tracker.formats.mot import read_mot

FIGURES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDSW", "CLR_TP", "IDTP")
OURS = "trackstream"
COUNTS = ("IDSW", "CLR_TP", "IDTP")
EQUAL = 1e-9
NEAR = {"motrics": 0.01}
"""How far the shares of a peer may be from ours where they are not equal: motrics' CLEAR matches in another way."""

Scores = dict[str, float]
Calls = dict[str, Callable[[], Scores]]


@dataclass(frozen=True)
class Case:
    """A sequence: `Objects` and (N, 4) float64 xyxy boxes of both sides."""

    name: str
    truth: Objects
    truth_boxes: NDArray[np.float64]
    results: Objects
    result_boxes: NDArray[np.float64]

    @property
    def frames(self) -> int:
        """Frames of it."""
        return len(self.truth.starts) - 1

    @property
    def sides(self) -> tuple[tuple[Objects, NDArray[np.float64]], tuple[Objects, NDArray[np.float64]]]:
        """Truth and results."""
        return (self.truth, self.truth_boxes), (self.results, self.result_boxes)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--frames", type=at_least_one, default=1050, help="of the synthetic sequence")
    parser.add_argument("--objects", type=at_least_one, default=45, help="per frame of it")
    parser.add_argument("--gt", type=Path, help="a file of MOTChallenge ground truth, instead")
    parser.add_argument("--pred", type=Path, help="the results to score against it")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), help="packages to compare with; none: ours only")
    parser.add_argument("--rounds", type=at_least_one, default=40, help="at most so many measurements of each")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure; returns rows and notes."""
    if (arguments.gt is None) != (arguments.pred is None):
        raise BenchError("expected --gt and --pred together, or neither for the synthetic sequence")
    if arguments.gt is None:
        case = synthetic(arguments.frames, arguments.objects)
    else:
        case = recorded(arguments.gt, arguments.pred)
    peers, notes = open_installed({name: partial(opens, case) for name, opens in PEERS.items()}, arguments.peers)
    rows: list[Row] = []
    for mode, own in ours(case).items():
        calls = {OURS: own, **{name: calls[mode] for name, calls in peers.items()}}
        rows += _measure(case, mode, calls, arguments.rounds)
    if arguments.gt is not None:
        notes.append("true pedestrians that count against all results; results on distractors stay in")
    return rows, notes


def _measure(case: Case, mode: str, calls: Calls, rounds: int) -> list[Row]:
    scores = {name: call() for name, call in calls.items()}
    differ = {name: _differences(found, scores[OURS]) for name, found in scores.items()}
    for name, found in differ.items():
        if any(name not in NEAR or (key not in COUNTS and not abs(by) <= NEAR[name]) for key, by in found.items()):
            raise BenchError(f"scores of {name} and ours differ on {case.name}: {found}; nothing is timed")
    times = time_calls(calls, rounds, budget_s=1.0 * rounds)
    rows = []
    for name, (measured, cost) in times.items():
        row: Row = {
            "scene": case.name,
            "objects": round(len(case.truth.ids) / case.frames, 1),
            "mode": mode,
            "competitor": name,
            "frames": case.frames,
            "us": summary(measured),
            "figures": {key: round(value, 12) for key, value in scores[name].items()},
        }
        if name != OURS:
            row |= {"times_ours": ratios(times[OURS][1], cost), "differs": differ[name]}
        rows.append(row)
    return rows


def _differences(found: Scores, expected: Scores) -> Scores:
    """Scores that are not equal, less the expected ones; NaN equals NaN."""
    by = {name: round(value - expected[name], 9) for name, value in found.items()}
    return {
        name: value
        for name, value in by.items()
        if abs(value) > EQUAL or math.isnan(found[name]) != math.isnan(expected[name])
    }


def ours(case: Case) -> Calls:
    """Mode -> HOTA, CLEAR and Identity by `tracker.evaluation`."""
    ready = compare_boxes(case.truth, case.truth_boxes, case.results, case.result_boxes)

    def score(overlaps: Any) -> Scores:
        found: Scores = {}
        for metric in (Hota(), Clear(), Identity()):
            metric.update(overlaps)
            found |= metric.result()
        return {name: float(found[name]) for name in FIGURES}

    return {
        "boxes": lambda: score(compare_boxes(case.truth, case.truth_boxes, case.results, case.result_boxes)),
        "overlaps": lambda: score(ready),
    }


def trackeval(case: Case) -> Calls:
    """TrackEval, whose own IoU is used with boxes; ids are numbered from 0 as it wants them."""
    module = importlib.import_module("trackeval")
    iou = module.datasets._base_dataset._BaseDataset._calculate_box_ious
    with contextlib.redirect_stdout(io.StringIO()):  # constructors print their settings
        metrics = [module.metrics.HOTA(), module.metrics.CLEAR(), module.metrics.Identity()]
    (true_ids, true_boxes), (ids, boxes) = (
        (_split(objects, np.unique(objects.ids, return_inverse=True)[1].reshape(-1)), _split(objects, places))
        for objects, places in case.sides
    )

    def compare() -> list[NDArray[np.float64]]:
        return [iou(a, b, box_format="x0y0x1y1") for a, b in zip(true_boxes, boxes, strict=True)]

    def score(similarity: list[NDArray[np.float64]]) -> Scores:
        data = {
            "gt_ids": true_ids,
            "tracker_ids": ids,
            "similarity_scores": similarity,
            "num_timesteps": case.frames,
            "num_gt_dets": len(case.truth.ids),
            "num_tracker_dets": len(case.results.ids),
            "num_gt_ids": len(np.unique(case.truth.ids)),
            "num_tracker_ids": len(np.unique(case.results.ids)),
        }
        found: dict[str, Any] = {}
        for metric in metrics:
            found |= metric.eval_sequence(data)
        return {name: float(np.mean(found[name])) for name in FIGURES}

    ready = compare()
    return {"boxes": lambda: score(compare()), "overlaps": lambda: score(ready)}


def motrics(case: Case) -> Calls:
    """Motrics, in Rust: with boxes its `evaluate`, which compares once for all, otherwise its three functions."""
    module = importlib.import_module("motrics")
    if module.is_debug_build():
        raise BenchError("expected a release build of motrics, got a debug build")
    true_ids, ids = ([part.tolist() for part in _split(objects, objects.ids)] for objects, _ in case.sides)
    true_boxes, boxes = (_split(*side) for side in case.sides)
    truth, results = module.Frames(true_ids, true_boxes), module.Frames(ids, boxes)
    similarity = [module.iou_matrix(a, b) for a, b in zip(true_boxes, boxes, strict=True)]

    def name_scores(clear: Any, identity: Any, hota: Any) -> Scores:
        return {
            "HOTA": hota.hota, "DetA": hota.deta, "AssA": hota.assa, "LocA": hota.loca, "MOTA": clear.mota,
            "MOTP": clear.motp, "IDF1": identity.idf1, "IDSW": clear.num_switches, "CLR_TP": clear.num_matches,
            "IDTP": identity.idtp,
        }  # fmt: skip

    def from_boxes() -> Scores:
        found = module.evaluate(truth, results)
        return name_scores(found.clear, found.identity, found.hota)

    def from_overlaps() -> Scores:
        given = (true_ids, ids, similarity)
        return name_scores(
            module.compute_clear_from_similarity(*given),
            module.compute_identity_from_similarity(*given),
            module.compute_hota_from_similarity(*given),
        )

    return {"boxes": from_boxes, "overlaps": from_overlaps}


PEERS: dict[str, Callable[[Case], Calls]] = {"trackeval": trackeval, "motrics": motrics}
"""Package -> mode -> what is timed; importing what is not installed raises ModuleNotFoundError."""


def synthetic(frames: int, objects: int, seed: int = 7) -> Case:
    """About as large and as hard as ByteTrack's tracks of MOT17-04: `objects` people at any time, twice as many in all.

    A tenth of the boxes is missed, others are some 2 % off. A result's id lasts for 1,000 frames on average. One false
    track for every twenty people stands somewhere for 100 frames, then another one elsewhere.
    """
    rng = np.random.default_rng([seed, frames, objects])
    numbers, places = (axis.reshape(-1) for axis in np.indices((frames, objects)))
    people = places + objects * (numbers >= rng.integers(1, frames, objects)[places])  # each place is handed over once
    height = rng.uniform(80, 250, 2 * objects)
    size = np.stack([0.4 * height, height], 1)[people]
    room = np.array([1920.0, 1080.0]) - size
    start, speed = rng.uniform(0, 1, (2 * objects, 2)), rng.normal(0, 1, (2 * objects, 2))
    away = (start[people] * room + speed[people] * numbers[:, None]) % (2 * room)
    corner = room - np.abs(away - room)  # they turn back at the border
    boxes = np.hstack([corner, corner + size])
    seen = rng.random(len(people)) > 0.1
    off = rng.normal(0, 0.02, (len(people), 4)) * height[people, None]
    changes = rng.poisson(1 / 1000, (2 * objects, frames)).cumsum(1)[people, numbers]
    wrong_when, wrong = (axis.reshape(-1) for axis in np.indices((frames, max(objects // 20, 1))))
    wrong += wrong_when // 100 * objects
    like = rng.choice(len(people), wrong.max() + 1)[wrong]  # of whose size a false track is
    stray = rng.uniform(0, 1, (wrong.max() + 1, 2))[wrong] * room[like]
    found = np.vstack([(boxes + off)[seen], np.hstack([stray, stray + size[like]])])
    when = np.concatenate([numbers[seen], wrong_when])
    who = np.concatenate([(people * frames + changes)[seen], 2 * objects * frames + wrong]) + 1
    return _case(f"synthetic-{objects}", (numbers, people + 1, boxes), (when, who, found), frames)


def recorded(truth: Path, results: Path) -> Case:
    """True pedestrians that count, and all results.

    Raises:
        FormatError: a file that cannot be used.
    """
    true, found = read_mot(truth), read_mot(results)
    keep = (true.scores != 0) & ((true.rest[:, 0] == PEDESTRIAN) | np.isnan(true.rest[:, 0]))
    frames = int(max(true.frames.max(initial=-1), found.frames.max(initial=-1))) + 1
    name = truth.parent.parent.name if truth.stem == "gt" else truth.stem
    return _case(
        name, (true.frames[keep], true.ids[keep], true.boxes[keep]), (found.frames, found.ids, found.boxes), frames
    )


_Table = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]  # frames, ids, boxes


def _case(name: str, truth: _Table, results: _Table, frames: int) -> Case:
    sides: list[Any] = []
    for numbers, ids, boxes in (truth, results):
        objects, order = Objects.sort(numbers, ids, frames)
        sides += [objects, np.ascontiguousarray(boxes[order])]
    return Case(name, *sides)


def _split(objects: Objects, rows: NDArray[Any]) -> list[NDArray[Any]]:
    """Rows of each frame."""
    return [np.ascontiguousarray(part) for part in np.split(rows, objects.starts[1:-1])]
