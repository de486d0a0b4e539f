"""SOLVERS: the ways from weighted pairs to one-to-one matches, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tracker.association.backend import match_with_lap
from tracker.association.choosing import match_by_claim, match_nearest
from tracker.association.dense import match_dense
from tracker.association.matching import match_exact, match_greedy
from tracker.association.rectangular import match_rectangular


@dataclass(frozen=True, slots=True)
class Solver:
    """One way to match.

    Attributes:
        code: its number in an encoded plan.
        kernel: its function: sizes of both sides, `reals`, `ints`, weights and columns of the pairs.
        short: it belongs to the step's short way, for plans that only compare overlaps.
        best: it finds the greatest total weight.
        rule: what it does, in a few words.
    """

    code: int
    kernel: Callable[..., Any]
    short: bool
    best: bool
    rule: str


EXACT, GREEDY, DENSE, NEAREST, CLAIM, LAP, RECTANGULAR = range(7)

SOLVERS: dict[str, Solver] = {
    "exact": Solver(EXACT, match_exact, True, True, "greatest total weight, on the given pairs only"),
    "greedy": Solver(GREEDY, match_greedy, True, False, "heaviest pair first"),
    "dense": Solver(DENSE, match_dense, False, True, "greatest total weight, by a full matrix"),
    "nearest": Solver(NEAREST, match_nearest, False, False, "each detection in turn takes its best track that is left"),
    "claim": Solver(CLAIM, match_by_claim, False, False, "each detection claims its best track; the best claim wins"),
    "lap": Solver(LAP, match_with_lap, False, True, "greatest total weight, by the package lap (slow; an oracle)"),
    "rectangular": Solver(RECTANGULAR, match_rectangular, False, True, "greatest total weight, by scipy's full matrix"),
}
