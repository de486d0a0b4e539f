"""Rerun: the last frame once more, on copies, stage by stage.

The compiled step itself runs the frame again, with the first 0, 1, 2 ... stages of its plan and with a life cycle that
neither ends nor starts a track: what it hands out with one stage more is what that stage did. So nothing of the step
is written here a second time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.association.backend import solve_outside
from tracker.association.cues import overlap
from tracker.association.given import row_ids, take_rows
from tracker.association.looks import Looks
from tracker.association.plan import PHASES, Plan
from tracker.association.stages import ASK_SOLVER
from tracker.association.state import (
    COASTING,
    DETECTION_BOX,
    DETECTION_SCORE,
    FRAME,
    HITS,
    ID,
    INTS,
    LIMIT,
    MISSES,
    PHASE,
    SOURCE,
    TENTATIVE,
    USABLE,
    State,
)
from tracker.association.step import step
from tracker.association.table import (
    BIRTH_IOU,
    BIRTH_SCORE,
    CLASS_BIRTH_SCORE,
    CLASSES_FROM,
    DETECTION_SHARE,
    DUPLICATE_IOU,
    FIRST_STAGE,
    LATE_EXPIRY,
    MAX_COAST_TIME,
    PIXEL,
    RULES,
    STAGES_END,
    SUPPRESS_IOU,
    TENTATIVE_COASTS,
)
from tracker.types import Detections
from tracker.types.tracks import BLOCK_BYTES

_PHASE_NAMES = {code: name for name, code in PHASES.items()}


@dataclass(frozen=True, slots=True)
class Kept:
    """A frame as it was before its step.

    Attributes:
        arrays: copies of the state (`State.dump`).
        detections: of the frame.
        dt: time since the frame before, nominal frames.
        past, looks: as `step.step` takes them; what a tracker changes in its looks is copied.
    """

    arrays: dict[str, NDArray[Any]]
    detections: Detections
    dt: float
    past: int | None
    looks: Looks | None

    @classmethod
    def of(cls, state: State, detections: Detections, dt: float, past: int | None, looks: Looks | None) -> Kept:
        """Copy what a step is about to change."""
        if looks is not None:
            looks = looks._replace(
                gallery=looks.gallery.copy(), kept_norms=looks.kept_norms.copy(),
                kept_frames=looks.kept_frames.copy(), kept=looks.kept.copy(),
            )  # fmt: skip
        return cls(state.dump(), detections, dt, past, looks)


class Rerun:
    """A kept frame that runs again. Columns of tracks are those before the frame throughout.

    Attributes:
        kept, plan, table, class_names: of the frame and its tracker.
        ids: (n,) of the tracks.
        m: number of detections.
        sources: (stages + 1, n) detection that each track had before the first stage, after the first, ...; or -1.
        state: as the stages see it: tracks predicted, detections read.
        frame: its number, from 0.
    """

    def __init__(self, kept: Kept, plan: Plan, table: NDArray[np.float64], class_names: Sequence[str]) -> None:
        self.kept, self.plan, self.table, self.class_names = kept, plan, table, class_names
        self.ids: NDArray[np.int64] = kept.arrays["ints"][ID]
        self.n, self.m = len(self.ids), len(kept.detections)
        still = _without_life_cycle(table)
        runs = []
        for k in range(len(plan.stages) + 1):
            still[RULES, STAGES_END] = FIRST_STAGE + k
            runs.append(self._run(still))
        self.sources = np.array([run.ints[SOURCE, : self.n] for run in runs])
        self.state = self._before_stages(runs[0])
        self.frame = int(self.state.counters[FRAME]) - 1

    @cached_property
    def own_rows(self) -> list[OwnRow | None]:
        """For each detection, what became of it as a row that a network searched for, or beside such rows.

        None for one that these rules left alone, and everywhere in plans without `suppress_iou`.
        """
        if self.plan.suppress_iou == 1:
            return [None] * self.m
        table = _without_life_cycle(self.table)
        table[RULES, SUPPRESS_IOU], table[RULES, STAGES_END] = 1.0, FIRST_STAGE
        return _follow_own_rows(self, self._run(table))

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

    def taken_in(self, t: int) -> int:
        """Number of the stage, from 1, in which track `t` got its detection; 0 where that was its own row."""
        return int(np.argmax(self.sources[:, t] >= 0))

    def class_name(self, label: int) -> str:
        """Name of a class, or its number."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)

    def iou(self, i: int, j: int) -> float:
        """Of two detections."""
        pixel = self.table[RULES, PIXEL]
        return float(uncompiled(overlap)(DETECTION_BOX, i, DETECTION_BOX, j, pixel, self.state.reals))

    def why_not_track(self, k: int, t: int) -> str:
        """Why stage `k` (from 0) is not about track `t`; empty if it is."""
        stage, ints = self.plan.stages[k], self.state.ints
        if (j := self.sources[k, t]) >= 0:
            return f"has detection {j} already ({stage_name(self.taken_in(t))})"
        phase = _PHASE_NAMES[int(ints[PHASE, t])]
        if phase not in stage.tracks:
            return f"{phase}, and the stage takes {' and '.join(stage.tracks)}"
        if 0 < stage.most_misses < ints[MISSES, t]:
            return f"unseen for {ints[MISSES, t]} frames, and the stage takes at most {stage.most_misses}"
        return f"{ints[HITS, t]} hits, fewer than {stage.least_hits}" if ints[HITS, t] < stage.least_hits else ""

    def why_not_detection(self, k: int, j: int) -> str:
        """Why stage `k` (from 0) is not offered detection `j`; empty if it is."""
        stage, score = self.plan.stages[k], self.state.reals[DETECTION_SCORE, j]
        if reason := self.why_unusable(j):
            return reason
        if (t := self.holder(k, j)) >= 0:
            return f"track {self.ids[t]} has it already ({stage_name(self.taken_in(t))})"
        if score <= stage.score_above:
            return f"score {score:.3f} not above {stage.score_above:g}"
        return f"score {score:.3f} not below {stage.score_below:g}" if score >= stage.score_below else ""

    def why_unusable(self, j: int) -> str:
        """Why no stage sees detection `j` and no track starts from it; empty if they may."""
        if self.state.ints[USABLE, j]:
            return ""
        ids = self.kept.detections.track_ids
        if self.plan.follows and ids is not None and ids[j] >= 0:
            return f"it says where track {ids[j]} is now, by learned motion"
        x1, y1, x2, y2 = self.kept.detections.boxes[j]
        score, least, looks = self.kept.detections.scores[j], self.state.reals[LIMIT, j], self.kept.looks
        if not (x2 > x1 and y2 > y1):
            return "its box has no area"
        if score < least:
            return f"score {score:.3f} below min_score {least:g}"
        if self.plan.min_mask_px and looks is not None and looks.mask_areas[j] <= self.plan.min_mask_px:
            return f"its mask has {looks.mask_areas[j]} px, not more than min_mask_px {self.plan.min_mask_px}"
        own = self.own_rows[j]
        return own.verdict if own is not None else "its box lies far outside any picture"

    def _run(self, table: NDArray[np.float64]) -> State:
        """The step, on a fresh copy of the state."""
        kept, d, state = self.kept, self.kept.detections, State()
        state.restore(kept.arrays)
        state.reserve(self.n + self.m)
        block = np.empty((self.n + self.m + 7 & -8) * BLOCK_BYTES, np.uint8)
        scores = d.scores
        if self.plan.follows:
            scores = take_rows(table, *state.arrays, d.boxes, scores, row_ids(d))
        frame_of = d.boxes, scores, d.labels, kept.dt, kept.past, kept.looks, block
        while (asked := int(step(table, *state.arrays, *frame_of)[0])) < 0:
            if asked == ASK_SOLVER:
                solve_outside(state)
            else:
                state.reserve_edges(-asked)
        return state

    def _before_stages(self, state: State) -> State:
        """Take back what a step without stages did to the tracks after their prediction."""
        n, misses = self.n, state.ints[MISSES, : self.n] - 1
        state.ints[:INTS, :n] = self.kept.arrays["ints"]
        state.ints[MISSES, :n] = misses
        return state


def uncompiled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The plain function behind a kernel, for a few calls: compiling it for these would take longer."""
    return getattr(kernel, "py_func", kernel)  # numba without its compiler leaves functions as they are


def stage_name(number: int) -> str:
    """The stage as sentences call it."""
    return f"stage {number}" if number else "its own row"


@dataclass(frozen=True, slots=True)
class OwnRow:
    """What became of a detection where rows with `track_ids` come first (`suppression.match_known`).

    Attributes:
        owner: column of the track that the row is about; -1 for a fresh detection, or a track that lives no more.
        verdict: "taken", or why it was lost.
    """

    owner: int
    verdict: str


def _follow_own_rows(frame: Rerun, before: State) -> list[OwnRow | None]:
    """`before` is the state in which nothing was suppressed yet."""
    assert frame.kept.looks is not None
    plan, ids = frame.plan, frame.kept.looks.track_ids
    column = {int(number): t for t, number in enumerate(frame.ids)}
    phases, scores = frame.state.ints[PHASE], before.reals[DETECTION_SCORE]
    misses = frame.state.ints[MISSES]
    owners = [column.get(int(number), -1) for number in ids]
    usable = [bool(before.ints[USABLE, j]) for j in range(frame.m)]
    found: list[OwnRow | None] = [None] * frame.m
    ranks = {}
    for j, owner in enumerate(owners):
        over = owner >= 0 and phases[owner] == TENTATIVE and misses[owner] > 0
        if usable[j] and ids[j] >= 0 and (owner < 0 or over):
            found[j] = OwnRow(-1, f"it is about track {ids[j]}, which lives no more")
        elif usable[j] and owner >= 0 and 0 < plan.search_frames < misses[owner]:
            text = f"unseen for {misses[owner]} frames, more than search_frames {plan.search_frames}"
            found[j] = OwnRow(owner, text)
        elif usable[j]:
            ranks[j] = np.float32(scores[j]) + np.float32(0 if owner < 0 else 1 if phases[owner] == COASTING else 2)
    best_first = sorted(ranks, key=lambda j: (-ranks[j], j))
    standing: list[int] = []
    for j in best_first:
        overlaps = [(frame.iou(i, j), i) for i in standing]
        iou, by = next(((iou, i) for iou, i in overlaps if iou >= plan.suppress_iou), (0.0, -1))
        if by >= 0:
            found[j] = OwnRow(owners[j], f"suppressed by detection {by} (iou {iou:.3f} >= {plan.suppress_iou:g})")
            continue
        standing.append(j)
        if owners[j] >= 0 and frame.sources[0, owners[j]] == j:
            found[j] = OwnRow(owners[j], "taken")
        elif owners[j] >= 0:
            score = frame.state.reals[DETECTION_SCORE, j]
            found[j] = OwnRow(owners[j], f"score {score:.3f} below keep_score {plan.keep_score:g}")
    return found


def _without_life_cycle(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The plan with which no track ends or starts."""
    table = table.copy()
    rules = table[RULES]
    table[int(rules[CLASSES_FROM]) :, CLASS_BIRTH_SCORE] = math.nan
    rules[BIRTH_SCORE] = rules[MAX_COAST_TIME] = math.inf
    rules[DUPLICATE_IOU] = rules[BIRTH_IOU] = rules[TENTATIVE_COASTS] = 1.0
    rules[LATE_EXPIRY] = rules[DETECTION_SHARE] = 0.0
    return table
