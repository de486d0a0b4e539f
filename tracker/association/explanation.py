"""Explanation: why one track or one detection came out of a frame as it did, as values and as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tracker.association.plan import Stage

_MOST_ROWS = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """One pair of the asked track or detection and another one, as a stage saw it.

    Attributes:
        other: detection row, or track id where a detection is explained.
        values: what each cue says, by its name in `CUES` ("iou", then "iou 2" for a second term of that cue), in the
            cue's own unit, times the score where the stage fuses it; NaN where there is nothing to compare. Stages
            with a height power have "height_iou". Stages with a direction have "direction" and those of solver
            "claim" have "claim": what these add to the total.
        total: what competes: weighted terms, "direction" and "claim". NaN where a term that it needs is missing.
        gate: what the weighted terms, without "direction" and "claim", must exceed.
        competed: it was offered and within all limits and the gate, so that only other matches stood in its way.
        verdict: "taken", "refused: ...", "lost to ...", "passed over for ..." or "not offered: ...".
    """

    other: int
    values: Mapping[str, float]
    total: float
    gate: float
    competed: bool
    verdict: str

    @property
    def near(self) -> bool:
        """False where boxes or masks are compared, do not overlap, and the pair did not compete."""
        overlaps = [value for name, value in self.values.items() if name in ("iou", "mask_iou")]
        return self.competed or not overlaps or any(value > 0 for value in overlaps)


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage, for the asked track or detection.

    Attributes:
        number: of the stage, from 1; 0 for the round before the first stage in which tracks get the rows that a
            network searched for them (`Plan.suppress_iou`).
        stage: the plan's stage, with weights and limits of its terms; None for number 0.
        skipped: why it was not part of this stage; empty if it was.
        candidates: all detections (or tracks) of the frame, best first; empty where it was skipped.
    """

    number: int
    stage: Stage | None
    skipped: str
    candidates: tuple[Candidate, ...]

    @property
    def taken(self) -> Candidate | None:
        """The match that this stage made, if it did."""
        return next((c for c in self.candidates if c.verdict == "taken"), None)

    @property
    def runner_up(self) -> Candidate | None:
        """Best of the candidates that competed and were not taken."""
        return next((c for c in self.candidates if c.competed and c.verdict != "taken"), None)

    @property
    def title(self) -> str:
        """The stage's rules in one line."""
        if self.stage is None:
            return "own rows: what a network searched for, best first, without what overlaps it"
        return f"stage {self.number}: {rules(self.stage)}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happened to one track or one detection in one frame, and why. `print` shows it as a table.

    Attributes:
        subject: "track 5" or "detection 3".
        frame: number of the frame since the tracker's reset, from 0.
        time_s: time of the frame.
        outcome: what came out, in a sentence.
        match: the detection row that the track took, or the id of the track that took the detection or was born from
            it; None for none.
        stages: every stage, in the order in which they ran.
    """

    subject: str
    frame: int
    time_s: float
    outcome: str
    match: int | None
    stages: tuple[StageReport, ...]

    def text(self, most: int = _MOST_ROWS) -> str:
        """The outcome, then every stage with its `most` best candidates that came near."""
        other = "track" if self.subject.startswith("detection") else "detection"
        lines = [f"frame {self.frame} ({self.time_s:.3f} s): {self.outcome}"]
        for report in self.stages:
            lines.append(f"  {report.title}")
            lines += [f"    {line}" for line in _lines(report, other, most)]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def rules(stage: Stage) -> str:
    """Tracks, scores, cues, gate and solver of a stage, in one line."""
    parts = [f"{', '.join(stage.tracks)} tracks"]
    if math.isfinite(stage.score_above):
        parts.append(f"scores above {stage.score_above:g}")
    if math.isfinite(stage.score_below):
        parts.append(f"scores below {stage.score_below:g}")
    if stage.least_hits > 1:
        parts.append(f"from {stage.least_hits} hits")
    if stage.most_misses > 0:
        parts.append(f"unseen for at most {stage.most_misses} frames")
    cues = [_term(t.cue, t.weight, t.bias, stage.fuse_score and t.cue == "iou") for t in stage.terms]
    if stage.height_power > 0:
        cues.append(f"height_iou^{stage.height_power:g}")
    joined = " * " if stage.height_power > 0 else " + "
    total = f"best of {', '.join(cues)}" if stage.combine == "best" else joined.join(cues)
    when = "before they compete" if stage.gate_when == "before" else "after they competed"
    parts.append(f"{total} over {stage.gate:g} {when}")
    parts.append(stage.solver)
    return "; ".join(parts)


def number(value: float) -> str:
    """Short form of a value, as verdicts have it."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def _term(cue: str, weight: float, bias: float, fused: bool) -> str:
    name = f"{cue} * score" if fused else cue
    name = name if weight == 1 else f"{weight:g} * {name}"
    return name if bias == 0 else f"({name} + {bias:g})"


def _lines(report: StageReport, other: str, most: int) -> list[str]:
    if report.skipped:
        return [f"not part of it: {report.skipped}"]
    if not report.candidates:
        return [f"no {other}s"]
    shown = [c for c in report.candidates if c.near][:most]
    if not shown:
        return [f"none of {len(report.candidates)} {other}s came near"]
    names = list(report.candidates[0].values)
    total = ["total"] if names != ["iou"] and names else []
    table = [[other, *names, *total, ""]]
    for c in shown:
        last = [number(c.total)] if total else []
        table.append([str(c.other), *(number(c.values[name]) for name in names), *last, c.verdict])
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]) - 1)]
    lines = [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]).rstrip()
        for row in table
    ]
    rest, competed = len(report.candidates) - len(shown), sum(c.competed for c in report.candidates[len(shown) :])
    if rest:
        lines.append(f"and {rest} more" + (f", {competed} of which competed" if competed else ""))
    return lines
