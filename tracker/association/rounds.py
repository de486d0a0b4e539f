"""Rounds: every pair of one stage of a frame that ran again, its cues and total, who competed and who won.

The cues' values are those of `terms.add_terms`, and the stage's own solver says what it matched before a gate "after"
dissolved it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.association.cues import CUES
from tracker.association.explanation import number
from tracker.association.rerun import Rerun, uncompiled
from tracker.association.solvers import CLAIM, NEAREST, RECTANGULAR, SOLVERS
from tracker.association.state import (
    BOX,
    COLUMNS,
    FACTOR,
    GROUP,
    KIND,
    LABEL,
    LAST_BOX,
    MATE_OF_ROW,
    ROWS,
    STARTS,
)
from tracker.association.table import (
    BEST_TERM,
    BIAS,
    CUE,
    FIRST_STAGE,
    GATE_AFTER,
    LEAST,
    LEAST_OVERLAP,
    MOST,
    ON_LAST,
    PER_CLASS,
    RULES,
    TERMS_END,
    TERMS_FROM,
    WEIGHT,
)
from tracker.association.terms import add_terms, gate_of, set_claims

_LEAST_WEIGHT = 0.01  # above 0: where all pairs compete for overlap nobody prefers to stay alone


@kernel
def weigh_all(plan, s, n, m, n_rows, n_columns, frame, reals, ints, looks, totals, fits):  # type: ignore[no-untyped-def]
    """`add_terms` of all tracks and detections into (n, m) arrays, and `FACTOR` of those in `ROWS` and `COLUMNS`."""
    box = LAST_BOX if plan[s, ON_LAST] != 0 else BOX
    for t in range(n):
        for j in range(m):
            totals[t, j], fits[t, j] = add_terms(plan, s, box, t, j, frame, reals, ints, looks)
    set_claims(plan, s, box, n_rows, n_columns, frame, reals, ints, looks)


class Round:
    """One stage.

    Attributes:
        stage: of the plan.
        rows, columns: (n,) and (m,) bool, the tracks and detections that it is about.
        values: name of a cue -> (n, m), see `Candidate.values`.
        totals: (n, m) of the terms; -inf where one of them refuses the pair before it competes.
        worth: (n, m), what competes; NaN where it needs a value that is missing.
        gates: (n,) of the tracks.
        competing, good: (n, m) bool; the good ones are within limits and gate.
        matches: (n,) detection that each track took here, -1 for none.
        winners: (n,) what its solver matched, also what a gate "after" dissolved; None where that is not certain.
    """

    def __init__(self, frame: Rerun, k: int) -> None:
        self._frame, self._k, self.stage = frame, k, frame.plan.stages[k]
        self._solver = SOLVERS[self.stage.solver].code
        self._after = self.stage.gate_when == "after"
        self.rows = np.array([not frame.why_not_track(k, t) for t in range(frame.n)], bool)
        self.columns = np.array([not frame.why_not_detection(k, j) for j in range(frame.m)], bool)
        self.matches = np.where(frame.sources[k] < 0, frame.sources[k + 1], -1)
        self._row_list, self._column_list = np.flatnonzero(self.rows), np.flatnonzero(self.columns)
        frame.state.ints[ROWS, : len(self._row_list)] = self._row_list
        frame.state.ints[COLUMNS, : len(self._column_list)] = self._column_list
        self._weigh()
        self._compete()
        self.winners = self._solve()

    def _weigh(self) -> None:
        """Values, totals and what competes, of all tracks and detections."""
        frame, s = self._frame, FIRST_STAGE + self._k
        self._plain = frame.table[s, TERMS_FROM] == 0
        table = _with_term(frame.table, s, "iou") if self._plain else frame.table
        first, end = int(table[s, TERMS_FROM]), int(table[s, TERMS_END])
        self._terms = table[first:end]
        names = [term.cue for term in self.stage.terms]
        again = [names[:r].count(name) for r, name in enumerate(names)]
        self._names = [f"{name} {times + 1}" if times else name for name, times in zip(names, again, strict=True)]
        parts = [self._alone(table, s, r) for r in range(first, end)]
        self.values = dict(zip(self._names, parts, strict=True))
        self._overlap = self._alone(_with_term(frame.table, s, "iou"), s, len(frame.table))
        self.totals, self._fits = self._evaluate(table, s)
        if self.stage.height_power > 0:
            heights = self._alone(_with_term(frame.table, s, "height_iou"), s, len(frame.table))
            self.values["height_iou"] = heights
            self.totals *= heights**self.stage.height_power
        rule = [frame.plan.stages[self._k].gate if self._plain else self._gate(s, t) for t in range(frame.n)]
        self.gates = np.array(rule, float)
        self.worth = np.where(np.isfinite(self.totals), self.totals, self._refused_totals(parts))
        if self.stage.direction > 0:
            heading = self._alone(_with_term(frame.table, s, "direction"), s, len(frame.table))
            self.values["direction"] = self.stage.direction * heading
            self.worth = self.worth + self.values["direction"]
        elif self._solver == CLAIM:
            claims = np.full(frame.m, np.nan)
            claims[self._column_list] = frame.state.reals[FACTOR, : len(self._column_list)]
            self.values["claim"] = np.broadcast_to(claims, self.worth.shape)
            self.worth = self.worth + self.values["claim"]

    def _evaluate(self, table: NDArray[np.float64], s: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        frame = self._frame
        totals, fits = np.empty((frame.n, frame.m)), np.empty((frame.n, frame.m), bool)
        sizes = frame.n, frame.m, len(self._row_list), len(self._column_list)
        state, looks = frame.state, frame.kept.looks
        weigh_all(table, s, *sizes, frame.frame + 1, state.reals, state.ints, looks, totals, fits)
        return totals, fits

    def _alone(self, table: NDArray[np.float64], s: int, r: int) -> NDArray[np.float64]:
        """Values of the term in row `r`, NaN for none: totals of a stage that has no other term, and no limits."""
        table = table.copy()
        table[s, TERMS_FROM], table[s, TERMS_END], table[s, BEST_TERM], table[s, GATE_AFTER] = r, r + 1, 0, 1
        table[r, WEIGHT], table[r, BIAS], table[r, LEAST], table[r, MOST] = 1, 0, -math.inf, math.inf
        values, _ = self._evaluate(table, s)
        values[values == -math.inf] = np.nan
        return values

    def _refused_totals(self, parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        """What the terms come to if no limit counts."""
        best = self.stage.combine == "best"
        with np.errstate(invalid="ignore"):  # of infinite distances
            weighed = [
                np.where(np.isnan(values), np.nan, weight * values if weight != 0 else 0.0) + bias
                for values, (weight, bias) in zip(parts, self._terms[:, [WEIGHT, BIAS]], strict=True)
            ]
            totals: NDArray[np.float64] = np.fmax.reduce(weighed) if best else np.sum(weighed, 0)
            return totals

    def _gate(self, s: int, t: int) -> float:
        return float(uncompiled(gate_of)(self._frame.table, s, t, self._frame.state.ints))

    def _compete(self) -> None:
        frame, stage, ints = self._frame, self.stage, self._frame.state.ints
        self._same = np.ones((frame.n, frame.m), bool)
        if frame.table[RULES, PER_CLASS]:
            self._same = ints[GROUP, : frame.n, None] == ints[KIND, : frame.m]
        self._near = (self._overlap > 0) | stage.all_pairs
        allowed = self.rows[:, None] & self.columns & self._same & self._near & (self.totals > -math.inf)
        gates = self.gates[:, None]
        within = self.totals >= gates if self._plain and self._after else self.totals > gates
        self.good = allowed & within & self._fits
        self.competing = self.good
        if self._after:
            free = self._solver == NEAREST or (self._plain and stage.all_pairs)
            least = self.totals >= 0 if self._solver == RECTANGULAR else self.totals > 0
            self.competing = allowed if free else allowed & least
            self.good = self.good & self.competing

    def _solve(self) -> NDArray[np.int64] | None:
        """What the solver makes of the competing pairs."""
        frame, stage, ints = self._frame, self.stage, self._frame.state.ints
        winners = np.full(frame.n, -1)
        over = self.competing & (self.totals > self.gates[:, None])
        if not self.competing.any():
            return winners
        if stage.shortcut and (over.sum(0) <= 1).all() and (over.sum(1) <= 1).all():
            return np.where(over.any(1), over.argmax(1), -1)
        t, j = np.nonzero(self.competing)
        places, n_rows = np.cumsum(self.columns)[j] - 1, len(self._row_list)
        if self._solver == NEAREST:
            places = np.where(self.good[t, j], places, -1 - places)
        ints[STARTS, 0] = 0
        ints[STARTS, 1 : n_rows + 1] = np.cumsum(self.competing[self._row_list].sum(1))
        solve = SOLVERS[stage.solver].kernel
        solve(n_rows, len(self._column_list), frame.state.reals, ints, self._weights(t, j), places)
        mates = ints[MATE_OF_ROW, :n_rows]
        winners[self._row_list[mates >= 0]] = self._column_list[mates[mates >= 0]]
        kept = np.where((winners >= 0) & self.good[np.arange(frame.n), winners], winners, -1)
        return winners if np.array_equal(kept, self.matches) else None  # one of several equally good matchings

    def _weights(self, t: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the solver gets for these pairs."""
        weights = self.totals[t, j]
        if self.stage.direction > 0:
            weights = weights + self.values["direction"][t, j]
        if not self._after and self._solver != NEAREST:
            weights = weights - self.gates[t]
        if self._plain and self.stage.all_pairs:
            best = np.abs(self._frame.kept.detections.scores[self.columns]).max()
            weights = weights + 0.5 * self.stage.direction * float(best) + _LEAST_WEIGHT
        elif self.stage.full and not self._plain:
            weights = weights + (min(len(self._row_list), len(self._column_list)) + 1.0) * max(weights.max(), 0.0)
        return weights

    def verdict(self, t: int, j: int, *, of_track: bool) -> str:
        """What became of a pair, from the side of its track or of its detection."""
        frame, k = self._frame, self._k
        reason = frame.why_not_detection(k, j) if of_track else frame.why_not_track(k, t)
        if reason:
            return f"not offered: {reason}"
        if self.matches[t] == j:
            return "taken"
        if not self.good[t, j]:
            won = self.winners is not None and self.winners[t] == j
            return f"refused{' after it won' if won else ''}: {self._refusal(t, j)}"
        return self._loss(t, j, of_track=of_track)

    def _refusal(self, t: int, j: int) -> str:
        """The class, limit or gate that a pair does not meet."""
        frame, ints = self._frame, self._frame.state.ints
        if not self._same[t, j]:
            label = int(frame.kept.detections.labels[j])
            return f"class {frame.class_name(label)}, the track is {frame.class_name(int(ints[LABEL, t]))}"
        if not self._near[t, j]:
            return "no overlap"
        limits = [self._limit(r, t, j) for r in range(len(self._terms))]
        if self.totals[t, j] == -math.inf or not self._fits[t, j]:
            broken = [limit for limit in limits if limit]
            return "; ".join(broken) if self.stage.combine == "best" else broken[0]
        alone = len(self._names) == 1 and self._terms[0, WEIGHT] == 1 and self.stage.height_power == 0
        what = self._names[0] if alone else "total"
        total, gate = number(self.totals[t, j]), self.gates[t]
        if self.totals[t, j] > gate or (self._plain and self._after and self.totals[t, j] == gate):
            return f"{what} {total} not above 0, which competing takes"
        return f"{what} {total} {'<' if self._plain and self._after else '<='} gate {gate:g}"

    def _limit(self, r: int, t: int, j: int) -> str:
        """Which limit of a term a pair breaks; empty for none."""
        name, value, term = self._names[r], self.values[self._names[r]][t, j], self._terms[r]
        if math.isnan(value):
            if term[LEAST_OVERLAP] > 0:
                return f"overlap below {term[LEAST_OVERLAP]:g} for {name}, or nothing to compare"
            return f"no {name} to compare"
        if value < term[LEAST]:
            return f"{name} {number(value)} < least {term[LEAST]:g}"
        return f"{name} {number(value)} > most {term[MOST]:g}" if value > term[MOST] else ""

    def _loss(self, t: int, j: int, *, of_track: bool) -> str:
        """Who stood in the way of a good pair."""
        if (found := self._rival(self.matches, t, j, of_track=of_track)) is not None:
            return found
        if self._solver == NEAREST:
            left = self.competing[:, j] & ~((self.matches >= 0) & (self.matches < j))
            first = int(np.argmax(np.where(left, self.worth[:, j], -math.inf)))
            return f"passed over: the detection is nearer to {self._pair(first, j)}, which the gate refused"
        if self._solver == CLAIM:
            first = int(np.argmax(np.where(self.competing[:, j], self.worth[:, j], -math.inf)))
            return f"passed over: the detection claimed {self._pair(first, j)}"
        winners = self._rival(self.winners, t, j, of_track=of_track) if self.winners is not None else None
        return f"{winners or 'lost to other matches'}, which the gate then refused"

    def _rival(self, matches: NDArray[np.int64], t: int, j: int, *, of_track: bool) -> str | None:
        """The matches that the track or the detection have instead."""
        holders = np.flatnonzero(matches == j)
        pairs = [(t, int(matches[t]))] if matches[t] >= 0 else []
        mine, theirs = pairs, [(int(i), j) for i in holders]
        if not of_track:
            mine, theirs = theirs, mine
        if theirs and not (mine and self.worth[mine[0]] >= self.worth[t, j]):
            less = self.worth[theirs[0]] < self.worth[t, j]
            why = ", which makes the greater sum" if less and SOLVERS[self.stage.solver].best else ""
            why = ", which chose first" if less and self._solver == NEAREST else why
            return f"lost to {self._other(theirs[0], of_track)}{why}"
        return f"passed over for {self._other(mine[0], not of_track)}" if mine else None

    def _other(self, pair: tuple[int, int], track: bool) -> str:
        worth = number(self.worth[pair])
        return f"track {self._frame.ids[pair[0]]} ({worth})" if track else f"detection {pair[1]} ({worth})"

    def _pair(self, t: int, j: int) -> str:
        return f"track {self._frame.ids[t]} ({number(self.worth[t, j])})"


def _with_term(table: NDArray[np.float64], s: int, cue: str) -> NDArray[np.float64]:
    """The plan with one more row, the only term of stage `s`."""
    row = np.zeros((1, table.shape[1]))
    row[0, CUE], row[0, WEIGHT], row[0, LEAST], row[0, MOST] = CUES[cue].code, 1.0, -math.inf, math.inf
    table = np.concatenate([table, row])
    table[s, TERMS_FROM], table[s, TERMS_END] = len(table) - 1, len(table)
    return table
