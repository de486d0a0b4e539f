"""Explain: why a track took its detection or none, and why a detection started a track or none, in the last frame.

A tracker that keeps explanations copies its tracks before every frame (`rerun.Kept`). All else is done on request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tracker.association.cues import overlap
from tracker.association.explanation import Candidate, Explanation, StageReport, number
from tracker.association.lifecycle import rule_of
from tracker.association.looks import Looks
from tracker.association.plan import Plan
from tracker.association.rerun import Kept, Rerun, stage_name, uncompiled
from tracker.association.rounds import Round
from tracker.association.state import (
    BOX,
    COASTING,
    COUNT,
    HITS,
    ID,
    MISSES,
    PHASE,
    SOURCE,
    TENTATIVE,
    WAS,
    State,
)
from tracker.association.table import BIRTH_SCORE, CLASS_BIRTH_SCORE, PIXEL, RULES
from tracker.errors import ConfigError, FrameError
from tracker.types import Detections

_SHOWN_IDS = 10


class Explainer:
    """Keeps the last frame of one tracker, and explains it.

    Args:
        plan, table, class_names: the tracker's plan, the same encoded, and its names of classes.
    """

    def __init__(self, plan: Plan, table: NDArray[np.float64], class_names: Sequence[str]) -> None:
        self._plan, self._table, self._class_names = plan, table, class_names
        self.forget()

    def forget(self) -> None:
        """Back to before the first frame."""
        self._kept: Kept | None = None
        self._scene: _Scene | None = None

    def keep(self, state: State, detections: Detections, dt: float, past: int | None, looks: Looks | None) -> None:
        """Note a frame, right before its step."""
        self._kept = Kept.of(state, detections, dt, past, looks) if detections.looked else None
        self._scene = None

    def explain(self, state: State, time_s: float, track: int | None, detection: int | None) -> Explanation:
        """Explain one of both, after the step; raises what `Tracker.explain` says."""
        if (track is None) == (detection is None):
            raise ConfigError("expected either a track's id or a detection's row, explain(track=5) or (detection=3)")
        if self._kept is None:
            raise FrameError(
                "expected a frame since explanations are kept, one that somebody looked at; update() the tracker first"
            )
        if self._scene is None:
            self._scene = _Scene(Rerun(self._kept, self._plan, self._table, self._class_names), state)
        scene = self._scene
        if track is not None:
            return scene.of_track(track, time_s)
        assert detection is not None
        return scene.of_detection(detection, time_s)


class _Scene:
    """The last frame: how it ran again, and what came out."""

    def __init__(self, frame: Rerun, after: State) -> None:
        self._frame = frame
        self._rounds = [Round(frame, k) for k in range(len(frame.plan.stages))]
        alive = int(after.counters[COUNT])
        ints = after.ints[:, :alive]
        self._column = {int(number): i for i, number in enumerate(ints[ID])}
        self._born = {int(ints[ID, i]): int(ints[SOURCE, i]) for i in np.flatnonzero(ints[WAS] < 0)}
        self._after = ints

    def of_track(self, number: int, time_s: float) -> Explanation:
        """Explain the track of this id."""
        frame = self._frame
        known = dict.fromkeys([*frame.ids.tolist(), *self._born])
        if number not in known:
            some = ", ".join(str(k) for k in [*known][:_SHOWN_IDS]) + (" ..." if len(known) > _SHOWN_IDS else "")
            raise ConfigError(f"expected a track that lived before or after the last frame ({some}), got {number!r}")
        if number in self._born:
            j = self._born[number]
            outcome = f"track {number} was born from detection {j}, which {self._why_free(j)}"
            return Explanation(f"track {number}", frame.frame, time_s, outcome, j, self._reports_of_detection(j))
        t = int(np.flatnonzero(frame.ids == number)[0])
        reports = self._reports_of_track(t)
        taken = int(frame.sources[-1, t])
        match = taken if taken >= 0 else None
        return Explanation(f"track {number}", frame.frame, time_s, self._end_of_track(t, reports), match, reports)

    def of_detection(self, j: int, time_s: float) -> Explanation:
        """Explain the detection of this row."""
        frame = self._frame
        if isinstance(j, bool) or not isinstance(j, (int, np.integer)) or not 0 <= j < frame.m:
            raise ConfigError(f"expected a row of the last frame's {frame.m} detections, got {j!r}")
        reports = self._reports_of_detection(j)
        outcome, match = self._end_of_detection(j, reports)
        return Explanation(f"detection {j}", frame.frame, time_s, outcome, match, reports)

    def _reports_of_track(self, t: int) -> tuple[StageReport, ...]:
        frame = self._frame
        reports = []
        if frame.plan.suppress_iou < 1:
            own = [(j, row.verdict) for j, row in enumerate(frame.own_rows) if row is not None and row.owner == t]
            skipped = "" if own else "no row is about it"
            reports.append(StageReport(0, None, skipped, tuple(_bare(j, verdict) for j, verdict in own)))
        for k, found in enumerate(self._rounds):
            skipped = frame.why_not_track(k, t)
            pairs = [] if skipped else [(t, j) for j in range(frame.m)]
            reports.append(StageReport(k + 1, found.stage, skipped, _candidates(found, pairs, lambda _, j: j)))
        return tuple(reports)

    def _reports_of_detection(self, j: int) -> tuple[StageReport, ...]:
        frame = self._frame
        reports = []
        if frame.plan.suppress_iou < 1:
            own = frame.own_rows[j]
            skipped = "a fresh detection, which nothing better overlaps" if own is None else own.verdict
            if own is not None and own.owner >= 0:
                reports.append(StageReport(0, None, "", (_bare(int(frame.ids[own.owner]), own.verdict),)))
            else:
                reports.append(StageReport(0, None, skipped, ()))
        for k, found in enumerate(self._rounds):
            skipped = frame.why_not_detection(k, j)
            pairs = [] if skipped else [(t, j) for t in range(frame.n)]
            name: Callable[[int, int], int] = lambda t, _: int(frame.ids[t])  # noqa: E731
            candidates = _candidates(found, pairs, name, of_track=False)
            reports.append(StageReport(k + 1, found.stage, skipped, candidates))
        return tuple(reports)

    def _end_of_track(self, t: int, reports: tuple[StageReport, ...]) -> str:
        frame, subject = self._frame, f"track {self._frame.ids[t]}"
        column = self._column.get(int(frame.ids[t]))
        taken = int(frame.sources[-1, t])
        if taken >= 0:
            outcome = f"{subject} took detection {taken}{_where(frame.taken_in(t))}"
            outcome += _runner_up(reports, "detection")
            if column is None:
                return f"{outcome}; it then ended as {self._duplicate_of(int(frame.ids[t]))}"
            if self._after[PHASE, column] == TENTATIVE and self._after[MISSES, column] > 0:
                return f"{outcome}; too weak to bring it back, and its time is over"
            if self._after[PHASE, column] == TENTATIVE:
                outcome += f"; tentative, with {self._after[HITS, column]} hits"
            return outcome + ("; too weak to bring it back" if self._after[PHASE, column] == COASTING else "")
        if column is None:
            how = f"ended, {self._why_ended(t)}"
        else:
            misses = int(self._after[MISSES, column])
            how = f"coasts, unseen for {misses} frame{'s' if misses != 1 else ''}"
        return f"{subject} took no detection and {how}; {_nearest_miss(reports, 'detection')}"

    def _end_of_detection(self, j: int, reports: tuple[StageReport, ...]) -> tuple[str, int | None]:
        """The outcome, and the track that has it."""
        frame, subject = self._frame, f"detection {j}"
        if (t := frame.holder(-1, j)) >= 0:
            number = int(frame.ids[t])
            outcome = f"{subject} went to track {number}{_where(frame.taken_in(t))}" + _runner_up(reports, "track")
            if number not in self._column:
                outcome += f"; that track then ended as {self._duplicate_of(number)}"
            return outcome, number
        for number, row in self._born.items():
            if row == j:
                return f"{subject} started track {number}: it {self._why_free(j, reports)}", number
        if reason := self._why_no_birth(j):
            return f"{subject} went to no track and started none: {reason}", None
        ints = frame.with_duplicates.ints[:, : int(frame.with_duplicates.counters[COUNT])]
        number = int(ints[ID, np.flatnonzero((ints[SOURCE] == j) & (ints[WAS] < 0))[0]])
        return f"{subject} started track {number}, which ended at once as {self._duplicate_of(number)}", None

    def _why_free(self, j: int, reports: tuple[StageReport, ...] | None = None) -> str:
        reports = self._reports_of_detection(j) if reports is None else reports
        return f"went to no track; {_nearest_miss(reports, 'track')}"

    def _why_no_birth(self, j: int) -> str:
        """The rule that keeps a free detection from starting a track; empty if none does."""
        frame = self._frame
        if reason := frame.why_unusable(j):
            return reason
        score, label = frame.kept.detections.scores[j], int(frame.kept.detections.labels[j])
        least = uncompiled(rule_of)(frame.table, label, CLASS_BIRTH_SCORE, frame.table[RULES, BIRTH_SCORE])
        if score < least:
            return f"score {score:.3f} below birth_score {least:g}"
        taken = [int(k) for k in frame.sources[-1] if k >= 0]
        iou, k = max(((frame.iou(j, k), k) for k in taken), default=(0.0, -1))
        limit = frame.plan.birth_iou
        if iou > limit:
            return f"it overlaps detection {k}, which a track took (iou {iou:.3f} > birth_iou {limit:g})"
        return ""

    def _why_ended(self, t: int) -> str:
        """Why a track that took nothing ended."""
        frame, plan, ints = self._frame, self._frame.plan, self._frame.state.ints
        if ints[PHASE, t] == TENTATIVE and not plan.tentative_coasts:
            return "missed while tentative"
        number = int(frame.ids[t])
        if plan.duplicate_iou < 1:
            state = frame.with_duplicates
            if number in state.ints[ID, : int(state.counters[COUNT])]:
                return f"as {self._duplicate_of(number)}"
        return f"coasted too long ({ints[MISSES, t] + 1} frames)"

    def _duplicate_of(self, number: int) -> str:
        """The track that another one doubles, most of all."""
        frame, state = self._frame, self._frame.with_duplicates
        alive = int(state.counters[COUNT])
        ids, phases = state.ints[ID, :alive], state.ints[PHASE, :alive]
        i, pixel = int(np.flatnonzero(ids == number)[0]), frame.table[RULES, PIXEL]
        others = np.flatnonzero((phases == COASTING) != (phases[i] == COASTING))
        ious = [uncompiled(overlap)(BOX, i, BOX, k, pixel, state.reals) for k in others]
        best = int(np.argmax(ious))
        return f"a duplicate of track {ids[others[best]]} (iou {ious[best]:.3f})"


def _candidates(
    found: Round, pairs: list[tuple[int, int]], name: Callable[[int, int], int], *, of_track: bool = True
) -> tuple[Candidate, ...]:
    """Pairs of one stage as candidates, best first: what was taken, what competed, then by total."""
    out = []
    for t, j in pairs:
        verdict = found.verdict(t, j, of_track=of_track)
        values = {cue: float(numbers[t, j]) for cue, numbers in found.values.items()}
        total, gate, good = float(found.worth[t, j]), float(found.gates[t]), bool(found.good[t, j])
        out.append(Candidate(name(t, j), values, total, gate, good, verdict))
    return tuple(sorted(out, key=_rank))


def _rank(candidate: Candidate) -> tuple[bool, bool, float, int]:
    total = -math.inf if math.isnan(candidate.total) else candidate.total
    return candidate.verdict != "taken", not candidate.competed, -total, candidate.other


def _bare(other: int, verdict: str) -> Candidate:
    """A row that a network searched for: no cue is weighed."""
    return Candidate(other, {}, math.nan, math.nan, verdict == "taken", verdict)


def _where(stage: int) -> str:
    return f" in {stage_name(stage)}" if stage else ", its own row"


def _runner_up(reports: tuple[StageReport, ...], other: str) -> str:
    """Second best of the stage that made the match."""
    for report in reports:
        if report.taken is not None and report.runner_up is not None:
            return f"; runner-up {other} {report.runner_up.other} ({number(report.runner_up.total)})"
    return ""


def _nearest_miss(reports: tuple[StageReport, ...], other: str) -> str:
    """The best candidate of all stages, and why it was not taken."""
    near = [(c, report) for report in reports for c in report.candidates if c.near]
    if near:
        best, report = min(near, key=lambda entry: _rank(entry[0]))
        total = "" if math.isnan(best.total) else f" ({number(best.total)})"
        return f"nearest was {other} {best.other}{total} in {stage_name(report.number)}, {best.verdict}"
    if reports and all(report.skipped for report in reports):
        last = reports[-1]
        return f"no stage was about it ({last.skipped})" if last.number else last.skipped
    return f"no {other} came near"
