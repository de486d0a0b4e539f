"""Plan: a published tracker as data, checked once and encoded as the small table that the compiled step reads."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.association.cues import CUES
from tracker.association.matching import SOLVERS
from tracker.association.motion import FORMS, MOTIONS
from tracker.association.state import COASTING, CONFIRMED, PAST_FRAMES, TENTATIVE
from tracker.errors import ConfigError

# An encoded plan is one float64 table: a row of rules, four rows of motion (`MOTION`, see motion.py), a row per stage.
RULES, FIRST_STAGE = 0, 5

# columns of the rules
(
    FORM, PIXEL, PER_CLASS, MIN_SCORE, BIRTH_SCORE, CONFIRM_HITS, CONFIRM_ONCE, GRACE_FRAMES, MAX_COAST_FRAMES,
    LATE_EXPIRY, TENTATIVE_COASTS, TENTATIVE_MOVES, DUPLICATE_IOU, SHOW_LAST, REPLAY, LOOK_BACK_FRAMES,
    MEMORY, WIDTH,
) = range(18)  # fmt: skip

# columns of a stage
(
    TRACKS,
    SCORE_ABOVE,
    SCORE_BELOW,
    ON_LAST,
    GATE,
    GATE_AFTER,
    SHORTCUT,
    FUSE_SCORE,
    SOLVER,
    DIRECTION,
    ALL_PAIRS,
    LEAST_HITS,
) = range(12)

BOXES = ("predicted", "last")
PHASES = {"tentative": TENTATIVE, "confirmed": CONFIRMED, "coasting": COASTING}


def _help(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Stage:
    """One round of matching: which tracks meet which detections, on what grounds.

    Stages run in order; each gets the tracks and detections that the ones before left over. Which phase a track has
    was decided in the frame before.

    Attributes:
        tracks: any of "tentative", "confirmed", "coasting".
        score_above, score_below: detections with a score strictly between, compared as float64. (A float32 score of
            0.1 is 0.10000000149 and so lies above 0.1; the authors' ByteTrack tracks need that.)
        cue: key of `CUES`.
        box: the track's "predicted" or "last" box.
        gate: in the cue's unit; for "iou" a pair needs more than this.
        gate_when: "before": refused pairs never compete. "after": all overlapping pairs compete, then matches worse
            than the gate are dissolved (one exactly at the gate stays), as SORT does.
        shortcut: where the pairs beyond the gate are one-to-one already, take them without solving (SORT).
        fuse_score: multiply the cue by the detection's score (ByteTrack).
        solver: key of `SOLVERS`.
        direction: weight of the direction's consistency, added to what competes but not to what the gate sees: from
            -weight / 2 (turns back) to weight / 2 (goes straight on), times the detection's score (OC-SORT). Needs
            a gate "after".
        all_pairs: pairs without overlap compete too, and nobody stays alone who need not, before the gate dissolves
            what does not fit: what solvers of full matrices do (OC-SORT). Needs a gate "after"; takes time N x M.
        least_hits: tracks with fewer detections so far, the one of their birth included, stay out.

    Raises:
        ConfigError: an unknown name or an impossible range.
    """

    tracks: tuple[str, ...] = ("tentative", "confirmed", "coasting")
    score_above: float = -math.inf
    score_below: float = math.inf
    cue: str = "iou"
    box: str = "predicted"
    gate: float = 0.3
    gate_when: str = "before"
    shortcut: bool = False
    fuse_score: bool = False
    solver: str = "exact"
    direction: float = 0.0
    all_pairs: bool = False
    least_hits: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.tracks, tuple) or not self.tracks:
            raise ConfigError(f"expected tracks as a tuple of {_listed(PHASES)}, got {self.tracks!r}")
        for name in self.tracks:
            _known("tracks", name, PHASES)
        _known("cue", self.cue, CUES)
        _known("box", self.box, BOXES)
        _known("gate_when", self.gate_when, ("before", "after"))
        _known("solver", self.solver, SOLVERS)
        _flags(self, "shortcut", "fuse_score", "all_pairs")
        _number("score_above", self.score_above, -math.inf, math.inf)
        _number("score_below", self.score_below, -math.inf, math.inf)
        if not self.score_above < self.score_below:
            raise ConfigError(f"expected score_above < score_below, got {self.score_above} and {self.score_below}")
        cue = CUES[self.cue]
        _number("gate", self.gate, cue.low, cue.high)
        _number("direction", self.direction, 0.0, 1.0)
        _count("least_hits", self.least_hits)
        if self.gate_when != "after" and (self.direction > 0 or self.all_pairs):
            raise ConfigError('expected gate_when="after" for a stage with direction or all_pairs, got "before"')

    def _encode(self) -> tuple[float, ...]:
        tracks = sum(1 << phase for name, phase in PHASES.items() if name in self.tracks)
        return (
            tracks, self.score_above, self.score_below, self.box == "last",
            self.gate, self.gate_when == "after", self.shortcut, self.fuse_score, SOLVERS[self.solver].code,
            self.direction, self.all_pairs, self.least_hits,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """Motion, stages and life-cycle rules of a tracker. Everything counted in frames counts calls of `update`.

    A detection below `min_score` is left alone: no stage sees it and it starts no track. One that no stage matched
    starts a track from `birth_score` up. These two are compared as float32, the scores' own type: 0.7 meets 0.7.

    Raises:
        ConfigError: an unknown name, a number of the wrong type or out of range.
    """

    stages: tuple[Stage, ...]
    motion: str = _help("xysr", f"motion model: {', '.join(MOTIONS)}")
    per_class: bool = _help(False, "match only detections of the track's own class")
    inclusive_boxes: bool = _help(False, "overlaps count a box's last pixel too (x2 - x1 + 1), as cython_bbox does")
    min_score: float = _help(0.0, "detections with a lower score are ignored")
    birth_score: float = _help(0.0, "least score of a detection that starts a track")
    confirm_hits: int = _help(1, "detections in a row, after the first, that make a track reported")
    confirm_once: bool = _help(True, "a track that was confirmed is reported whenever it is seen again")
    grace_frames: int = _help(0, "in this many first frames every seen track is reported")
    max_coast_frames: int = _help(30, "frames that a track outlives unseen")
    late_expiry: bool = _help(False, "a track that coasted too long can still be matched in one last frame (ByteTrack)")
    tentative_coasts: bool = _help(False, "a tentative track that is missed coasts; otherwise it ends")
    tentative_moves: bool = _help(True, "tentative tracks are predicted; otherwise their first box is compared")
    duplicate_iou: float = _help(1.0, "of a seen and a coasting track that overlap more, one ends; 1 for never")
    show_last: bool = _help(False, "seen tracks are reported with the detection's own box, not the filtered one")
    replay: bool = _help(False, "a track that comes back is filtered anew along a straight line over its gap (OC-SORT)")
    look_back_frames: int = _help(3, f"frames, up to {PAST_FRAMES}, over which a track's direction is taken")

    def __post_init__(self) -> None:
        if not isinstance(self.stages, tuple) or not all(isinstance(stage, Stage) for stage in self.stages):
            raise ConfigError(f"expected stages as a tuple of Stage, got {self.stages!r}")
        if not self.stages:
            raise ConfigError("expected at least one stage, got none")
        _known("motion", self.motion, MOTIONS)
        _flags(self, *(f.name for f in fields(self) if isinstance(f.default, bool)))
        _number("min_score", self.min_score, -math.inf, math.inf)
        _number("birth_score", self.birth_score, -math.inf, math.inf)
        _number("duplicate_iou", self.duplicate_iou, 0.0, 1.0)
        for name in ("confirm_hits", "grace_frames", "max_coast_frames"):
            _count(name, getattr(self, name))
        _count("look_back_frames", self.look_back_frames, 1, PAST_FRAMES)

    def encode(self) -> NDArray[np.float64]:
        """The plan as one (5 + stages, WIDTH) float64 table."""
        motion = MOTIONS[self.motion]
        rules = (
            FORMS[motion.form], 1.0 if self.inclusive_boxes else 0.0, self.per_class, _float32(self.min_score),
            _float32(self.birth_score), self.confirm_hits, self.confirm_once, self.grace_frames, self.max_coast_frames,
            self.late_expiry, self.tentative_coasts, self.tentative_moves, self.duplicate_iou,
            self.show_last, self.replay, self.look_back_frames,
            self.replay or any(stage.direction > 0 for stage in self.stages),
        )  # fmt: skip
        rows = [rules, *motion.encode(), *(stage._encode() for stage in self.stages)]
        table = np.zeros((len(rows), WIDTH))
        for row, values in zip(table, rows, strict=True):
            row[: len(values)] = values
        return table


def _float32(score: float) -> float:
    """A threshold as the float32 that scores are."""
    return float(np.float32(score))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _known(name: str, value: object, names: Iterable[str]) -> None:
    if value not in tuple(names):
        raise ConfigError(f"expected {name} to be one of {_listed(names)}, got {value!r}")


def _flags(owner: object, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(owner, name), bool):
            raise ConfigError(f"expected {name} to be true or false, got {getattr(owner, name)!r}")


def _number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        limits = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
        raise ConfigError(f"expected {name} as a number{limits}, got {value!r}")


def _count(name: str, value: object, low: int = 0, high: int = 2**31 - 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"expected {name} as a whole number from {low} to {high}, got {value!r}")
