"""Kernels of the association core against the packages that others use for the same: lap, scipy, filterpy.

Pairs and matching see what a tracker sees: the boxes of one frame of a crowd and the detections of the next, pairs
with IoU above the gate. A kernel's time includes its call from Python, which inside the compiled step is not there.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.flags import at_least_one
from bench.peers import open_installed
from bench.result import BenchError, Row, ratios, summary
from bench.scenes import crowd
from bench.timing import time_calls
from tracker.association.matching import match_exact, match_greedy
from tracker.association.motion import MOTIONS, correct, predict
from tracker.association.pairs import find_pairs
from tracker.association.plan import Plan, Stage
from tracker.association.state import (
    BOX,
    COLUMNS,
    DETECTION_BOX,
    FACTOR,
    MATE_OF_ROW,
    MEASURED,
    P00,
    P11,
    ROWS,
    SEEN,
    STARTS,
    STEP,
    State,
    X,
)

GATE = 0.2
PEERS = ("lap", "scipy.optimize", "filterpy.kalman")
_FILTERPY_MOST = 300


class Problem:
    """The boxes of one frame against those of the next, in the core's state.

    Attributes:
        state: with `ROWS`, `COLUMNS`, boxes and factors filled in.
        weights, columns: buffers for every pair; the first entries hold the pairs after `search`.
        before, after: (N, 4) and (M, 4) float64 boxes.
    """

    def __init__(self, count: int) -> None:
        first, second = crowd(count, 2).frames
        self.before, self.after = first.boxes.astype(np.float64), second.boxes.astype(np.float64)
        n, m = len(first), len(second)
        self.state = State()
        self.state.reserve(n + m)
        reals, ints = self.state.reals, self.state.ints
        reals[BOX : BOX + 4, :n], reals[DETECTION_BOX : DETECTION_BOX + 4, :m] = self.before.T, self.after.T
        reals[FACTOR, :m] = 1.0
        ints[ROWS, :n], ints[COLUMNS, :m] = np.arange(n), np.arange(m)
        self.weights, self.columns = np.zeros(n * m + 1), np.zeros(n * m + 1, np.int64)
        self.search()

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.before), len(self.after)

    def search(self) -> int:
        """Find the pairs; returns how many."""
        reals, ints = self.state.reals, self.state.ints
        pixel = 0.0
        return int(find_pairs(*self.sizes, BOX, DETECTION_BOX, GATE, pixel, reals, ints, self.weights, self.columns))

    def match(self, kernel: Callable[..., Any]) -> NDArray[np.int64]:
        """Partner of each row by one of our solvers."""
        kernel(*self.sizes, self.state.reals, self.state.ints, self.weights, self.columns)
        return self.state.ints[MATE_OF_ROW, : len(self.before)]

    def matrix(self) -> NDArray[np.float64]:
        """(N, M) weights of the pairs, 0 where there is none."""
        out = np.zeros(self.sizes)
        starts = self.state.ints[STARTS]
        for i in range(len(out)):
            pairs = slice(starts[i], starts[i + 1])
            out[i, self.columns[pairs]] = self.weights[pairs]
        return out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--sizes", type=at_least_one, nargs="*", default=[10, 100, 300, 1000], help="objects")
    parser.add_argument("--rounds", type=at_least_one, default=200, help="at most so many measurements of each")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure; returns rows and notes."""
    modules, notes = open_installed({name: partial(importlib.import_module, name) for name in PEERS}, PEERS)
    rows: list[Row] = []
    for count in arguments.sizes:
        problem = Problem(count)
        cases = {
            "pairs": _pairs(problem),
            "matching": _matching(problem, modules),
            "greedy": _greedy(problem),
            "kalman": _kalman(count, modules.get("filterpy.kalman")),
        }
        for mode, calls in cases.items():
            times = time_calls(calls, arguments.rounds, 3.0)
            _, ours = next(iter(times.values()))
            for name, (measured, cost) in times.items():
                row: Row = {"scene": f"crowd-{count}", "objects": count, "mode": mode, "competitor": name}
                row["us"] = summary(measured)
                if cost is not ours:
                    row["times_ours"] = ratios(ours, cost)
                rows.append(row)
    return rows, notes


def _pairs(problem: Problem) -> dict[str, Callable[[], Any]]:
    """Pairs above the gate, from the grid or from the whole matrix."""

    def whole() -> tuple[NDArray[np.int64], ...]:
        a, b = problem.before[:, None], problem.after[None]
        low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
        inter = np.clip(high - low, 0, None).prod(2)
        areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (problem.before, problem.after)]
        return np.nonzero(inter / (areas[0][:, None] + areas[1] - inter) > GATE)

    if len(whole()[0]) != problem.search():
        raise BenchError("find_pairs and the numpy matrix found different pairs: nothing is timed")
    return {"trackstream find_pairs": problem.search, "numpy IoU matrix": whole}


def _matching(problem: Problem, modules: dict[str, ModuleType]) -> dict[str, Callable[[], Any]]:
    """Matching of greatest weight; others get the finished cost matrix."""
    calls: dict[str, Callable[[], Any]] = {"trackstream match_exact": lambda: problem.match(match_exact)}
    matrix = problem.matrix()
    cost = np.where(matrix > 0, 1 - GATE - matrix, 1.0)  # 1 - IoU, at most 1 - GATE
    if "lap" in modules:
        lapjv = modules["lap"].lapjv
        calls["lap.lapjv cost_limit"] = lambda: lapjv(cost, extend_cost=True, cost_limit=1 - GATE)[1]
    if "scipy.optimize" in modules:
        solve = modules["scipy.optimize"].linear_sum_assignment
        calls["scipy linear_sum_assignment"] = lambda: _spread(solve(matrix, maximize=True), len(matrix))
    totals = {name: _total(matrix, call()) for name, call in calls.items()}
    if max(totals.values()) - min(totals.values()) > 1e-9 * max(len(matrix), 1):
        raise BenchError(f"solvers disagree about the greatest weight: {totals}")
    return calls


def _greedy(problem: Problem) -> dict[str, Callable[[], Any]]:
    """Heaviest pair first; the other way sorts all pairs, as most trackers in Python do."""
    matrix = problem.matrix()

    def sort_all() -> NDArray[np.int64]:
        mate, taken = np.full(len(matrix), -1), set()
        rows, columns = np.nonzero(matrix)
        for k in np.argsort(-matrix[rows, columns], kind="stable").tolist():
            i, j = int(rows[k]), int(columns[k])
            if mate[i] < 0 and j not in taken:
                mate[i] = j
                taken.add(j)
        return mate

    if not np.array_equal(sort_all(), problem.match(match_greedy)):
        raise BenchError("match_greedy and sorting gave different matches: nothing is timed")
    return {"trackstream match_greedy": lambda: problem.match(match_greedy), "numpy sort and loop": sort_all}


def _kalman(count: int, filterpy: ModuleType | None) -> dict[str, Callable[[], Any]]:
    """Predict and correct every track once, in ByteTrack's form."""
    table, motion = Plan(stages=(Stage(),), motion="xyah").encode(), MOTIONS["xyah"]
    state, rng = State(), np.random.default_rng(3)
    state.reserve(count)
    reals, ints = state.reals, state.ints
    x = np.stack(
        [rng.uniform(50, 900, count), rng.uniform(50, 900, count), rng.uniform(0.3, 2, count), np.full(count, 90.0)]
    )
    reals[X : X + 4, :count] = reals[MEASURED : MEASURED + 4, :count] = x
    reals[P00 : P00 + 4, :count], reals[P11 : P11 + 4, :count] = 1.0, 0.1
    reals[STEP, :count] = reals[SEEN, :count] = 1.0
    start = reals.copy()

    def ours() -> None:
        predict(table, reals, ints, count)
        correct(table, reals, count)

    if filterpy is None or count > _FILTERPY_MOST:
        return {"trackstream predict + correct": ours}
    filters = [_textbook(filterpy, motion, x[:, i]) for i in range(count)]
    z = [x[:, i].reshape(4, 1) for i in range(count)]

    def theirs() -> None:
        for f, measured in zip(filters, z, strict=True):
            f.predict()
            f.update(measured)

    ours()
    theirs()
    apart = max(float(np.abs(f.P.diagonal()[:4] - reals[P00 : P00 + 4, i]).max()) for i, f in enumerate(filters))
    if not apart < 1e-9:
        raise BenchError(f"predict + correct and filterpy differ by {apart:.1e}: nothing is timed")
    reals[:] = start
    return {"trackstream predict + correct": ours, "filterpy, one per track": theirs}


def _textbook(filterpy: ModuleType, motion: Any, z: NDArray[np.float64]) -> Any:
    """The 8-state filter of filterpy with the numbers of one track; its noise is that of the first step."""
    f = filterpy.KalmanFilter(dim_x=8, dim_z=4)
    f.x = np.concatenate([z, np.zeros(4)]).reshape(8, 1)
    f.F, f.H = np.eye(8) + np.eye(8, k=4), np.eye(4, 8)
    squares = np.array([z[s] ** 2 if s >= 0 else 1.0 for s in motion.scale])
    f.P = np.diag([1.0] * 4 + [0.1] * 4)
    f.Q = np.diag(np.concatenate([motion.process * squares, motion.process_velocity * squares]))
    f.R = np.diag(motion.measurement * squares)
    return f


def _spread(pairs: tuple[NDArray[np.int64], NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    mate = np.full(count, -1)
    mate[pairs[0]] = pairs[1]
    return mate


def _total(matrix: NDArray[np.float64], mate: NDArray[np.int64]) -> float:
    rows = np.flatnonzero(np.asarray(mate) >= 0)
    return float(matrix[rows, np.asarray(mate)[rows]].sum())
