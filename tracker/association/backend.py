"""The package `lap` as a solver: slow beside the compiled ones, but other people's work, and so an oracle."""

from __future__ import annotations

import lap
import numpy as np
from numpy.typing import NDArray

from tracker.association.state import MATE_OF_COLUMN, MATE_OF_ROW, N_COLUMNS, N_ROWS, STARTS, State


def match_with_lap(
    n_rows: int,
    n_columns: int,
    reals: NDArray[np.float64],
    ints: NDArray[np.int64],
    weights: NDArray[np.float64],
    columns: NDArray[np.int64],
) -> None:
    """Matching of greatest total weight, like `matching.match_exact`, by `lap.lapjv` with a cost limit.

    Not a kernel: the step stops before it and goes on afterwards (`step.SOLVED`).
    """
    ints[MATE_OF_ROW, :n_rows] = ints[MATE_OF_COLUMN, :n_columns] = -1
    starts = ints[STARTS, : n_rows + 1]
    count = int(starts[-1]) if n_rows else 0
    if not count or not n_columns:  # lap 0.5.13 corrupts memory on an empty matrix
        return
    most = float(weights[:count].max())
    if most <= 0:
        return
    cost = np.full((n_rows, n_columns), 2 * most + 1)
    cost[np.repeat(np.arange(n_rows), np.diff(starts)), columns[:count]] = most - weights[:count]
    _, mates, _ = lap.lapjv(cost, extend_cost=True, cost_limit=most)
    ints[MATE_OF_ROW, :n_rows] = mates
    rows = np.flatnonzero(mates >= 0)
    ints[MATE_OF_COLUMN, mates[rows]] = rows


def solve_outside(state: State) -> None:
    """Match the pairs over which the step stopped (`step.ASK_SOLVER`)."""
    counters = state.counters
    match_with_lap(
        int(counters[N_ROWS]), int(counters[N_COLUMNS]), state.reals, state.ints, state.edge_weights, state.edge_columns
    )
