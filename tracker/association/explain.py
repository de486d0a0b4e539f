"""Explain: the last frame once more, on copies, to see why each match was made or not.

Nothing is decided here a second time. The compiled step itself runs the frame again with the first 0, 1, 2 ... stages
of its plan and with a life cycle that neither ends nor starts a track; what it hands out with one stage more is what
this stage did. `terms.add_terms` gives every pair's cues, and the stage's own solver says who won before a gate "after"
dissolved it. All of that is done on request: a tracker that keeps explanations only copies its tracks before a frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.association.backend import solve_outside
from tracker.association.cues import CUES, overlap
from tracker.association.explanation import Candidate, Explanation, StageReport, number
from tracker.association.lifecycle import rule_of
from tracker.association.looks import Looks
from tracker.association.motion import MOTION, SCALE
from tracker.association.plan import PHASES, Plan, Stage
from tracker.association.solvers import CLAIM, NEAREST, SOLVERS
from tracker.association.state import (
    BOX,
    COASTING,
    COLUMNS,
    CONFIRMED,
    COUNT,
    DEAD,
    DETECTION_BOX,
    DETECTION_SCORE,
    FACTOR,
    FRAME,
    GROUP,
    HITS,
    ID,
    INTS,
    KIND,
    LABEL,
    LAST_BOX,
    LIMIT,
    MATE_OF_ROW,
    MISSES,
    PHASE,
    ROWS,
    SOURCE,
    SQUARE,
    STARTS,
    TENTATIVE,
    USABLE,
    WAS,
    State,
    X,
)
from tracker.association.step import ASK_SOLVER, step
from tracker.association.table import (
    BEST_TERM,
    BIAS,
    BIRTH_SCORE,
    CLASS_BIRTH_SCORE,
    CLASSES_FROM,
    CUE,
    DUPLICATE_IOU,
    FIRST_STAGE,
    GATE,
    GATE_AFTER,
    LATE_EXPIRY,
    LEAST,
    LEAST_OVERLAP,
    MAX_COAST_TIME,
    MOST,
    ON_LAST,
    PER_CLASS,
    PIXEL,
    RULES,
    SHOW_LAST,
    STAGES_END,
    SUPPRESS_IOU,
    TENTATIVE_COASTS,
    TERMS_END,
    TERMS_FROM,
    WEIGHT,
    WIDTH,
)
from tracker.association.terms import add_terms, gate_of, set_claims
from tracker.errors import ConfigError
from tracker.types import BLOCK_BYTES, Detections

_LEAST_WEIGHT = 0.01  # above 0, so that where all pairs compete nobody prefers to stay alone
_NAMES = {code: name for name, code in PHASES.items()}


@dataclass(frozen=True, slots=True)
class Kept:
    """A frame as it was before its step.

    Attributes:
        arrays: copies of the state (`State.dump`).
        detections: of the frame.
        dt: time since the frame before, nominal frames.
        past, looks: as `step.step` takes them; what a tracker changes in its looks is copied.
    """

    arrays: dict[str, NDArray[np.float64] | NDArray[np.int64]]
    detections: Detections
    dt: float
    past: int | None
    looks: Looks | None


def keep(state: State, detections: Detections, dt: float, past: int | None, looks: Looks | None) -> Kept:
    """Copy what a step is about to change."""
    if looks is not None:
        looks = looks._replace(
            gallery=looks.gallery.copy(), kept_norms=looks.kept_norms.copy(), kept_frames=looks.kept_frames.copy(),
            kept=looks.kept.copy(),
        )  # fmt: skip
    return Kept(state.dump(), detections, dt, past, looks)


@kernel
def weigh_all(plan, s, n, m, n_rows, n_columns, frame, reals, ints, looks, totals, fits):  # type: ignore[no-untyped-def]
    """`add_terms` of all tracks and detections into (n, m) arrays, and `FACTOR` of those in `ROWS` and `COLUMNS`."""
    box = LAST_BOX if plan[s, ON_LAST] != 0 else BOX
    for t in range(n):
        for j in range(m):
            totals[t, j], fits[t, j] = add_terms(plan, s, box, t, j, frame, reals, ints, looks)
    set_claims(plan, s, box, n_rows, n_columns, frame, reals, ints, looks)


class Rerun:
    """A kept frame that runs again, stage by stage.

    Columns of tracks are those before the frame throughout.

    Attributes:
        ids: (n,) of the tracks.
        sources: (stages + 1, n), what each had taken before the first stage, after the first, ...
        state: as the stages see it: tracks predicted, detections read.
        frame: its number, from 1.
    """

    def __init__(self, kept: Kept, plan: Plan, table: NDArray[np.float64], class_names: Sequence[str]) -> None:
        self.kept, self.plan, self.table, self.class_names = kept, plan, table, class_names
        self.ids = kept.arrays["ints"][ID]
        self.n, self.m = len(self.ids), len(kept.detections)
        still = _without_life_cycle(table)
        runs = []
        for k in range(len(plan.stages) + 1):
            still[RULES, STAGES_END] = FIRST_STAGE + k
            runs.append(self._run(still))
        self.sources = np.array([run.ints[SOURCE, : self.n] for run in runs])
        self.state = self._before_stages(runs[0])
        self.frame = int(self.state.counters[FRAME])

    @cached_property
    def rounds(self) -> list[Round]:
        """What each stage saw."""
        return [Round(self, k) for k in range(len(self.plan.stages))]

    @cached_property
    def own(self) -> OwnRows:
        """What became of rows that a network searched for."""
        unmatched = self.table.copy()
        unmatched[RULES, SUPPRESS_IOU], unmatched[RULES, STAGES_END] = 1.0, FIRST_STAGE
        return OwnRows(self, self._run(_without_life_cycle(unmatched)))

    @cached_property
    def with_duplicates(self) -> State:
        """The state after the frame, if duplicates did not end."""
        table = self.table.copy()
        table[RULES, DUPLICATE_IOU] = 1.0
        return self._run(table)

    def holder(self, k: int, j: int) -> int:
        """Track that has detection `j` after `k` stages, -1 for none."""
        found = np.flatnonzero(self.sources[k] == j)
        return int(found[0]) if len(found) else -1

    def label(self, label: int) -> str:
        """Name of a class, or its number."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)

    def why_not_track(self, k: int, t: int) -> str:
        """Why stage `k` does not take track `t`; empty if it does."""
        stage, ints = self.plan.stages[k], self.state.ints
        if (j := self.sources[k, t]) >= 0:
            return f"has detection {j} already ({_stage_name(self._taken_in(t))})"
        phase = _NAMES[int(ints[PHASE, t])]
        if phase not in stage.tracks:
            return f"{phase}; the stage takes {' and '.join(stage.tracks)}"
        return f"{ints[HITS, t]} hits, fewer than {stage.least_hits}" if ints[HITS, t] < stage.least_hits else ""

    def why_not_detection(self, k: int, j: int) -> str:
        """Why stage `k` is not offered detection `j`; empty if it is."""
        stage, score = self.plan.stages[k], self.state.reals[DETECTION_SCORE, j]
        if reason := self.why_unusable(j):
            return reason
        if (t := self.holder(k, j)) >= 0:
            return f"track {self.ids[t]} has it already ({_stage_name(self._taken_in(t))})"
        if score <= stage.score_above:
            return f"score {score:.3f} not above {stage.score_above:g}"
        return f"score {score:.3f} not below {stage.score_below:g}" if score >= stage.score_below else ""

    def why_unusable(self, j: int) -> str:
        """Why no stage sees detection `j` and no track starts from it; empty if they may."""
        if self.state.ints[USABLE, j]:
            return ""
        x1, y1, x2, y2 = self.kept.detections.boxes[j]
        score, least, looks = self.kept.detections.scores[j], self.state.reals[LIMIT, j], self.kept.looks
        if not (x2 > x1 and y2 > y1):
            return "its box has no area"
        if score < least:
            return f"score {score:.3f} below min_score {least:g}"
        if self.plan.min_mask_px and looks is not None and looks.mask_areas[j] <= self.plan.min_mask_px:
            return f"its mask has {looks.mask_areas[j]} px, not above min_mask_px {self.plan.min_mask_px}"
        if self.plan.suppress_iou < 1 and self.own.losses[j]:
            return self.own.losses[j]
        return "its box lies far outside any picture"

    def _taken_in(self, t: int) -> int:
        """Number of the stage in which track `t` got its detection, 0 for its own row."""
        return int(np.argmax(self.sources[:, t] >= 0))

    def _run(self, table: NDArray[np.float64]) -> State:
        """The step, on a fresh copy of the state."""
        kept, state = self.kept, State()
        state.restore(kept.arrays)
        state.reserve(self.n + self.m)
        block = np.empty((self.n + self.m + 7 & -8) * BLOCK_BYTES, np.uint8)
        d = kept.detections
        frame_of = d.boxes, d.scores, d.labels, kept.dt, kept.past, kept.looks, block
        while (asked := int(step(table, *state.arrays, *frame_of)[0])) < 0:
            if asked == ASK_SOLVER:
                solve_outside(state)
            else:
                state.reserve_edges(-asked)
        return state

    def _before_stages(self, state: State) -> State:
        """Take back what a step without stages did to the tracks after its prediction."""
        misses, n = state.ints[MISSES, : self.n] - 1, self.n
        state.ints[:INTS, :n] = self.kept.arrays["ints"]
        state.ints[MISSES, :n] = misses
        for k in range(4):
            scale = int(self.table[MOTION + k, SCALE])
            state.reals[SQUARE + k, :n] = 1.0 if scale < 0 else self.kept.arrays["reals"][X + scale] ** 2
        return state


class Round:
    """One stage of a frame: every pair's cues and total, who competed, and who won.

    Attributes:
        rows, columns: (n,) and (m,) bool, the tracks and detections that it is about.
        values: name of a cue -> (n, m), see `Candidate.values`.
        totals: (n, m) of the terms; -inf where one of them refuses the pair before it competes.
        worth: (n, m), what competes.
        gates: (n,) of the tracks.
        competing, good: (n, m) bool; the good ones are within limits and gate.
        matches: (n,) detection that each track took here, -1 for none.
        winners: (n,) that its solver matched, also those that a gate "after" dissolved; None where that is not known.
    """

    def __init__(self, frame: Rerun, k: int) -> None:
        self.frame, self.k, self.stage = frame, k, frame.plan.stages[k]
        self.solver = SOLVERS[self.stage.solver].code
        state, n, m = frame.state, frame.n, frame.m
        self.rows = np.array([not frame.why_not_track(k, t) for t in range(n)], bool)
        self.columns = np.array([not frame.why_not_detection(k, j) for j in range(m)], bool)
        self.matches = np.where(frame.sources[k] < 0, frame.sources[k + 1], -1)
        self._row_list, self._column_list = np.flatnonzero(self.rows), np.flatnonzero(self.columns)
        state.ints[ROWS, : len(self._row_list)] = self._row_list
        state.ints[COLUMNS, : len(self._column_list)] = self._column_list
        self._weigh()
        self._compete()
        self.winners = self._solve()

    def _weigh(self) -> None:
        frame, s = self.frame, FIRST_STAGE + self.k
        table = frame.table.copy()
        self.plain = table[s, TERMS_FROM] == 0
        if self.plain:
            table = _with_term(table, s, "iou")
        first, end = int(table[s, TERMS_FROM]), int(table[s, TERMS_END])
        self.values: dict[str, NDArray[np.float64]] = {}
        for r, term in enumerate(self.stage.terms, first):
            name, again = term.cue, sum(t.cue == term.cue for t in self.stage.terms[: r - first])
            self.values[f"{name} {again + 1}" if again else name] = self._alone(table, s, r)
        self.terms = table[first:end]
        self.totals, self.fits = self._evaluate(table, s)
        gates = [gate_of.py_func(frame.table, s, t, frame.state.ints) for t in range(frame.n)]
        self.gates = np.full(frame.n, table[s, GATE]) if self.plain else np.array(gates, float)
        self.iou = self._alone(_with_term(table, s, "iou"), s, len(table))
        self.extra = np.zeros((frame.n, frame.m))
        if self.stage.direction > 0:
            heading = self._alone(_with_term(table, s, "direction"), s, len(table))
            self.values["direction"] = self.extra = self.stage.direction * heading
        elif self.solver == CLAIM:
            claims = np.full(frame.m, np.nan)
            self._evaluate(table, s)
            claims[self.columns] = frame.state.reals[FACTOR, : len(self._column_list)]
            self.values["claim"] = np.broadcast_to(claims, (frame.n, frame.m))
            self.extra = np.nan_to_num(self.values["claim"])
        self.worth = self._shown() + self.extra

    def _evaluate(self, table: NDArray[np.float64], s: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        frame = self.frame
        totals, fits = np.empty((frame.n, frame.m)), np.empty((frame.n, frame.m), bool)
        sizes = frame.n, frame.m, len(self._row_list), len(self._column_list)
        looks, state = frame.kept.looks, frame.state
        weigh_all(table, s, *sizes, frame.frame, state.reals, state.ints, looks, totals, fits)
        return totals, fits

    def _alone(self, table: NDArray[np.float64], s: int, r: int) -> NDArray[np.float64]:
        """Values of the term in row `r`, NaN for none: the total of a stage with no other term and no limits."""
        table = table.copy()
        table[s, TERMS_FROM], table[s, TERMS_END], table[s, BEST_TERM], table[s, GATE_AFTER] = r, r + 1, 0, 1
        table[r, WEIGHT], table[r, BIAS], table[r, LEAST], table[r, MOST] = 1, 0, -math.inf, math.inf
        values, _ = self._evaluate(table, s)
        values[values == -math.inf] = np.nan
        return values

    def _shown(self) -> NDArray[np.float64]:
        """Totals, also of pairs that a limit refuses; NaN where a term is missing."""
        parts = []
        for values, (weight, bias) in zip(self.values.values(), self.terms[:, [WEIGHT, BIAS]], strict=False):
            parts.append((weight * values if weight != 0 else 0 * np.isnan(values)) + bias)
        if self.stage.combine == "best":
            rest = np.fmax.reduce(parts)
        else:
            rest = np.sum(parts, 0)
        return np.where(np.isfinite(self.totals), self.totals, rest)

    def _compete(self) -> None:
        frame, stage, gates = self.frame, self.stage, self.gates[:, None]
        offered = self.rows[:, None] & self.columns
        ints = frame.state.ints
        self.same = np.ones((frame.n, frame.m), bool)
        if frame.table[RULES, PER_CLASS]:
            self.same = ints[GROUP, : frame.n, None] == ints[KIND, : frame.m]
        self.near = np.full((frame.n, frame.m), stage.all_pairs) | (self.iou > 0)
        allowed = offered & self.same & self.near & (self.totals > -math.inf)
        after = stage.gate_when == "after"
        over = self.totals >= gates if self.plain and after else self.totals > gates
        self.good = allowed & over & self.fits
        if after:
            positive = np.full_like(allowed, True) if self.solver == NEAREST or stage.all_pairs else self.totals > 0
            self.competing = allowed & (positive | (self.plain & stage.all_pairs))
            if not self.plain and self.solver != NEAREST:
                self.competing &= self.totals > 0
        else:
            self.competing = self.good
        self.good &= self.competing

    def _solve(self) -> NDArray[np.int64] | None:
        """What the solver makes of the competing pairs."""
        frame, stage, after = self.frame, self.stage, self.stage.gate_when == "after"
        over = self.competing & (self.totals > self.gates[:, None])
        if stage.shortcut and (over.sum(0) <= 1).all() and (over.sum(1) <= 1).all():
            return np.where(over.any(1), over.argmax(1) if frame.m else -1, -1)
        if not self.competing.any():
            return np.full(frame.n, -1)
        t, j = np.nonzero(self.competing)
        weights = self.worth[t, j] - (0.0 if self.solver != CLAIM else self.extra[t, j])
        if not after and self.solver != NEAREST:
            weights = weights - self.gates[t]
        if self.plain and stage.all_pairs:
            scores = np.abs(frame.kept.detections.scores[self.columns])
            weights = weights + 0.5 * stage.direction * float(scores.max(initial=0.0)) + _LEAST_WEIGHT
        elif stage.full and not self.plain:
            weights = weights + (min(self.rows.sum(), self.columns.sum()) + 1.0) * max(weights.max(), 0.0)
        places = np.cumsum(self.columns)[j] - 1
        if self.solver == NEAREST:
            places = np.where(self.good[t, j], places, -1 - places)
        ints, n_rows = frame.state.ints, len(self._row_list)
        ints[STARTS, 0] = 0
        ints[STARTS, 1 : n_rows + 1] = np.cumsum(self.competing[self._row_list].sum(1))
        SOLVERS[stage.solver].kernel(n_rows, len(self._column_list), frame.state.reals, ints, weights, places)
        winners = np.full(frame.n, -1)
        mates = ints[MATE_OF_ROW, :n_rows]
        winners[self._row_list[mates >= 0]] = self._column_list[mates[mates >= 0]]
        kept = np.where(self.good[np.arange(frame.n), winners] & (winners >= 0), winners, -1)
        return winners if np.array_equal(kept, self.matches) else None  # another one of several best matchings
