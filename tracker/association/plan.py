"""Plan: a published tracker as data, checked once and encoded as the small table that the compiled step reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.association.checks import count, flags, known, listed, number, tuple_of
from tracker.association.cues import CUES, OVERLAP
from tracker.association.motion import FORMS, MOTIONS
from tracker.association.solvers import SOLVERS
from tracker.association.state import COASTING, CONFIRMED, PAST_FRAMES, TENTATIVE
from tracker.association.table import FIRST_STAGE, WIDTH
from tracker.errors import ConfigError

BOXES = ("predicted", "last")
PHASES = {"tentative": TENTATIVE, "confirmed": CONFIRMED, "coasting": COASTING}
COMBINATIONS = {"sum": 0.0, "best": 1.0}
FLOWS = ("none", "cur_to_prev", "prev_to_cur", "forward")
CAMERAS = {"none": 0.0, "boxes": 1.0}
NAMINGS = {"last": 0.0, "first": 1.0, "vote": 2.0}
BIRTHS = {"rows": 0.0, "classes": 1.0}


def _help(default: Any, text: str, *needs: str) -> Any:
    """A field with the text that `--set` and `tracker systems` show; only for plans that need these parts."""
    return field(default=default, metadata={"help": text, "needs": frozenset(needs)})


@dataclass(frozen=True, slots=True)
class Term:
    """One cue's part in a stage: `weight * value + bias`, for values from `least` to `most`.

    Attributes:
        cue: key of `CUES`; its unit is the unit of `least` and `most`.
        weight: negative for cues that are distances.
        bias: added to it.
        least, most: a pair with a value outside (or with no value, as of a missing embedding) is refused; where a stage
            takes the best of its terms, only this term is left out.
        least_overlap: the same for pairs whose boxes overlap less (IoU).

    Raises:
        ConfigError: an unknown cue, a number that is none, least > most.
    """

    cue: str
    weight: float = 1.0
    bias: float = 0.0
    least: float = -math.inf
    most: float = math.inf
    least_overlap: float = 0.0

    def __post_init__(self) -> None:
        known("cue", self.cue, CUES)
        for name in ("weight", "bias"):
            number(name, getattr(self, name), -1e9, 1e9)
        for name in ("least", "most"):
            number(name, getattr(self, name), -math.inf, math.inf)
        number("least_overlap", self.least_overlap, 0.0, 1.0)
        if not self.least <= self.most:
            raise ConfigError(f"expected least <= most, got {self.least} and {self.most}")

    def _encode(self) -> tuple[float, ...]:
        return CUES[self.cue].code, self.weight, self.bias, self.least, self.most, self.least_overlap


OVERLAP_ALONE = (Term(OVERLAP),)


@dataclass(frozen=True, slots=True)
class Stage:
    """One round of matching: which tracks meet which detections, on what grounds.

    Stages run in order; each gets the tracks and detections that the ones before left over. Which phase a track has
    was decided in the frame before.

    Attributes:
        tracks: any of "tentative", "confirmed", "coasting".
        score_above, score_below: detections with a score strictly between, compared as float64. (A float32 score of
            0.1 is 0.10000000149 and so lies above 0.1; the authors' ByteTrack tracks need that.)
        terms: what makes a pair good. Overlap alone, the default, has a shorter way through the step.
        combine: "sum" of the terms, or the "best" of them (BoT-SORT).
        box: the track's "predicted" or "last" box, for cues that compare boxes.
        gate: a pair needs more than this in all.
        gate_when: "before": refused pairs never compete. "after": all candidate pairs (of several terms: those with a
            total above 0) compete, then matches that are not good enough are dissolved, as SORT does. (Where overlap is
            the only term a match exactly at the gate stays.)
        shortcut: where the pairs beyond the gate are one-to-one already, take them unsolved (SORT); overlap only.
        fuse_score: multiply the overlap by the detection's score (ByteTrack).
        solver: key of `SOLVERS`.
        full: first as many matches as possible, then the best of these; otherwise a pair at the gate is worth as much
            as none.
        direction: weight of the direction's consistency, added to what competes but not to what the gate sees: from
            -weight / 2 (turns back) to weight / 2 (goes straight on), times the detection's score (OC-SORT). Needs
            a gate "after" and no other terms than overlap.
        all_pairs: pairs without overlap compete too; takes time N x M. For overlap alone (OC-SORT) this needs `full`
            and a gate "after".
        least_hits: tracks with fewer detections so far, the one of their birth included, stay out.
        most_misses: tracks unseen for more frames than this stay out; 0 for no limit. With `Plan.max_coast_frames`
            above it, later stages may still bring such tracks back, by their looks for example (SiamMOT+).
        height_power: multiply the overlap by this power of the shared height (cue "height_iou"): of two boxes that
            overlap alike, feet and heads that agree count. Needs a gate "before" and no other terms than overlap.

    Raises:
        ConfigError: an unknown name, an impossible range, or rules that do not go together.
    """

    tracks: tuple[str, ...] = ("tentative", "confirmed", "coasting")
    score_above: float = -math.inf
    score_below: float = math.inf
    terms: tuple[Term, ...] = OVERLAP_ALONE
    combine: str = "sum"
    box: str = "predicted"
    gate: float = 0.3
    gate_when: str = "before"
    shortcut: bool = False
    fuse_score: bool = False
    solver: str = "exact"
    full: bool = False
    direction: float = 0.0
    all_pairs: bool = False
    least_hits: int = 0
    most_misses: int = 0
    height_power: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.tracks, tuple) or not self.tracks:
            raise ConfigError(f"expected tracks as a tuple of {listed(PHASES)}, got {self.tracks!r}")
        for name in self.tracks:
            known("tracks", name, PHASES)
        tuple_of("terms", self.terms, Term)
        if not self.terms:
            raise ConfigError("expected at least one term, got none")
        known("combine", self.combine, COMBINATIONS)
        known("box", self.box, BOXES)
        known("gate_when", self.gate_when, ("before", "after"))
        known("solver", self.solver, SOLVERS)
        flags(self, "shortcut", "fuse_score", "full", "all_pairs")
        number("score_above", self.score_above, -math.inf, math.inf)
        number("score_below", self.score_below, -math.inf, math.inf)
        if not self.score_above < self.score_below:
            raise ConfigError(f"expected score_above < score_below, got {self.score_above} and {self.score_below}")
        number("direction", self.direction, 0.0, 1.0)
        number("height_power", self.height_power, 0.0, 10.0)
        count("least_hits", self.least_hits)
        count("most_misses", self.most_misses)
        if self.plain:
            number("gate", self.gate, 0.0, 1.0)
            if self.all_pairs and not (self.full and self.gate_when == "after"):
                raise ConfigError('expected full and gate_when="after" for all_pairs of overlap alone')
        else:
            number("gate", self.gate, -math.inf, math.inf)
            if self.shortcut or self.direction > 0 or self.height_power > 0:
                raise ConfigError(
                    "expected no terms but overlap beside shortcut, direction or height_power; there are cues for these"
                )
        if self.gate_when != "after" and self.direction > 0:
            raise ConfigError('expected gate_when="after" for a stage with direction, got "before"')
        if self.gate_when != "before" and self.height_power > 0:
            raise ConfigError('expected gate_when="before" for a stage with height_power, got "after"')

    @property
    def plain(self) -> bool:
        """Overlap is all that this stage looks at."""
        return self.terms == OVERLAP_ALONE and self.combine == "sum" and SOLVERS[self.solver].short

    @property
    def needs(self) -> frozenset[str]:
        """Parts of `Detections` that its terms compare, of "embeddings", "masks", "centres", "track_ids"."""
        return frozenset(need for term in self.terms for need in CUES[term.cue].needs)

    def _encode(self, terms_from: int, terms_end: int) -> tuple[float, ...]:
        tracks = sum(1 << phase for name, phase in PHASES.items() if name in self.tracks)
        return (
            tracks, self.score_above, self.score_below, self.box == "last",
            self.gate, self.gate_when == "after", self.shortcut, self.fuse_score, SOLVERS[self.solver].code,
            self.direction, self.all_pairs, self.least_hits, self.full, COMBINATIONS[self.combine],
            terms_from, terms_end, self.height_power, self.most_misses,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClassRule:
    """What is different for one class; None leaves the plan's own number.

    Attributes:
        label: class index, or its name if the tracker is told the names.
        min_score, birth_score, max_coast_frames: as in `Plan`.
        gate: of every stage.
    """

    label: int | str
    min_score: float | None = None
    birth_score: float | None = None
    max_coast_frames: int | None = None
    gate: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.label, bool) or not isinstance(self.label, (int, str)):
            raise ConfigError(f"expected a class index or name, got {self.label!r}")
        for name in ("min_score", "birth_score", "gate"):
            if getattr(self, name) is not None:
                number(name, getattr(self, name), -math.inf, math.inf)
        if self.max_coast_frames is not None:
            count("max_coast_frames", self.max_coast_frames)

    def _encode(self, label: int, group: int) -> tuple[float, ...]:
        scores = (math.nan if s is None else _float32(s) for s in (self.min_score, self.birth_score))
        coast = math.nan if self.max_coast_frames is None else self.max_coast_frames
        return label, group, *scores, coast, math.nan if self.gate is None else self.gate


@dataclass(frozen=True, slots=True)
class Plan:
    """Motion, stages and life-cycle rules of a tracker. What is counted in frames counts those that somebody looked at.

    A detection below `min_score` is left alone: no stage sees it and it starts no track. One that no stage matched
    starts a track from `birth_score` up. These two are compared as float32, the scores' own type: 0.7 meets 0.7.

    Attributes:
        stages: rounds of matching.
        classes: numbers that differ for some classes.
        groups: sets of classes (index or name) that count as one where `per_class` asks.

    Raises:
        ConfigError: an unknown name, a number of the wrong type or out of range.
    """

    stages: tuple[Stage, ...]
    motion: str = _help("xysr", f"motion model: {', '.join(MOTIONS)}")
    per_class: bool = _help(False, "match only detections of the track's own class")
    inclusive_boxes: bool = _help(False, "overlaps count a box's last pixel too (x2 - x1 + 1), as cython_bbox does")
    min_score: float = _help(0.0, "detections with a lower score are ignored")
    min_mask_px: int = _help(
        0, "detections whose mask has no more pixels are ignored (where masks are compared)", "masks"
    )
    birth_score: float = _help(0.0, "least score of a detection that starts a track")
    confirm_hits: int = _help(1, "detections in a row, after the first, that make a track reported")
    confirm_s: float = _help(0.0, "seconds that a track must have been seen in a row as well to be reported")
    confirm_once: bool = _help(True, "a track that was confirmed is reported whenever it is seen again")
    grace_frames: int = _help(0, "in this many first frames every seen track is reported")
    max_coast_frames: int = _help(30, "frames that a track outlives unseen")
    max_coast_s: float = _help(0.0, "seconds that a track outlives unseen, instead of frames; 0: frames count")
    late_expiry: bool = _help(False, "a track that coasted too long can still be matched in one last frame (ByteTrack)")
    tentative_coasts: bool = _help(False, "a tentative track that is missed coasts; otherwise it ends")
    tentative_moves: bool = _help(True, "tentative tracks are predicted; otherwise their first box is compared")
    duplicate_iou: float = _help(1.0, "of a seen and a coasting track that overlap more, one ends; 1 for never")
    birth_iou: float = _help(1.0, "who overlaps a detection that a track took more than this starts none; 1 for never")
    births: str = _help(
        "rows", "order in which detections get new ids: that of their rows, or class by class, and of a class first "
        "those that no track competed for (STEP's authors): rows, classes",
    )  # fmt: skip
    detection_share: float = _help(0.0, "a seen track's box: 0 as filtered, 1 the detection's own, or in between")
    camera: str = _help("none", f"motion of the picture that all tracks follow, beside any given: {', '.join(CAMERAS)}")
    replay: bool = _help(False, "a track that comes back is filtered anew along a straight line over its gap (OC-SORT)")
    look_back_frames: int = _help(3, f"frames, up to {PAST_FRAMES}, over which a track's direction is taken")
    label: str = _help("last", "class of a track: of its last detection, its first, or a vote (last, first, vote)")
    vote_margin: float = _help(0.25, "share by which another class must lead the vote before a track changes to it")
    gallery: int = _help(1, "embeddings that a track keeps; the nearest one counts", "embeddings")
    gallery_frames: int = _help(0, "frames after which a kept embedding is forgotten; 0 for never", "embeddings")
    gallery_momentum: float = _help(
        0.0, "share of the old in a running mean of unit embeddings (BoT-SORT: 0.9)", "embeddings"
    )
    flow: str = _help("none", f"optical flow that carries masks: {', '.join(FLOWS)}", "masks")
    chain_masks: bool = _help(
        False, "masks of unseen tracks are carried on in every frame (prev_to_cur, forward)", "masks"
    )
    suppress_iou: float = _help(
        1.0, "rows that overlap more with a better one are left out (SiamMOT); 1 for never", "track_ids"
    )
    suppress_apart: bool = _help(
        False, "rows of tracks suppress each other, seen or not, detections too, then tracks detections: SiamMOT's "
        "paper; otherwise all in one go", "track_ids",
    )  # fmt: skip
    resume_score: float = _help(
        0.0, "least score at which a coasting track's own row brings it back (SiamMOT)", "track_ids"
    )
    keep_score: float = _help(0.0, "least score at which a track's own row keeps it (SiamMOT)", "track_ids")
    follow_score: float = _help(
        math.inf, "least score at which learned motion says where a track is before it is matched; inf for none"
    )
    search_frames: int = _help(
        0, "frames unseen after which a track's own rows count no more (SiamMOT+); 0 for never", "track_ids"
    )
    classes: tuple[ClassRule, ...] = ()
    groups: tuple[tuple[int | str, ...], ...] = ()

    def __post_init__(self) -> None:
        tuple_of("stages", self.stages, Stage)
        if not self.stages and self.suppress_iou == 1:
            raise ConfigError("expected at least one stage, got none")
        known("motion", self.motion, MOTIONS)
        known("label", self.label, NAMINGS)
        known("births", self.births, BIRTHS)
        known("flow", self.flow, FLOWS)
        known("camera", self.camera, CAMERAS)
        if self.chain_masks and self.flow not in ("prev_to_cur", "forward"):
            raise ConfigError(f"expected flow prev_to_cur or forward for chain_masks, got {self.flow!r}")
        flags(self, *(f.name for f in fields(self) if isinstance(f.default, bool)))
        for name in ("min_score", "birth_score", "resume_score", "keep_score", "follow_score"):
            number(name, getattr(self, name), -math.inf, math.inf)
        for name in ("duplicate_iou", "birth_iou", "detection_share", "suppress_iou", "gallery_momentum"):
            number(name, getattr(self, name), 0.0, 1.0)
        for name in ("confirm_s", "max_coast_s", "vote_margin"):
            number(name, getattr(self, name), 0.0, 1e9)
        counts = "confirm_hits", "grace_frames", "max_coast_frames", "min_mask_px", "gallery_frames", "search_frames"
        for name in counts:
            count(name, getattr(self, name))
        count("look_back_frames", self.look_back_frames, 1, PAST_FRAMES)
        count("gallery", self.gallery, 1, 1000)
        tuple_of("classes", self.classes, ClassRule)
        labels = [rule.label for rule in self.classes]
        members = [label for group in self.groups for label in group]
        for what, names in (("classes", labels), ("groups", members)):
            if len(set(names)) != len(names):
                raise ConfigError(f"expected every class once in {what}, got {names}")

    @property
    def needs(self) -> frozenset[str]:
        """Parts of `Detections` beside the boxes that its stages look at."""
        needs = frozenset(need for stage in self.stages for need in stage.needs)
        needs |= {"masks"} if self.min_mask_px else set()
        return needs | {"track_ids"} if self.suppress_iou < 1 else needs

    @property
    def follows(self) -> bool:
        """Rows of learned motion say where its tracks are, before they are matched."""
        return self.follow_score < math.inf

    @property
    def looks_back(self) -> bool:
        """It needs more than the overlap and the filter of boxes, and so the longer form of the step."""
        stages = any(
            not stage.plain or stage.direction > 0 or stage.height_power > 0 or stage.all_pairs for stage in self.stages
        )
        gates = any(rule.gate is not None for rule in self.classes)
        rules = self.replay or self.label == "vote" or self.camera != "none"
        rules |= self.birth_iou < 1 or self.detection_share > 0 or self.births != "rows"
        return stages or gates or rules or bool(self.needs)

    def encode(self, frame_rate: float = 30.0, class_names: Sequence[str] = ()) -> NDArray[np.float64]:
        """The plan as one (rows, WIDTH) float64 table: rules, motion, stages, terms, classes.

        Raises:
            ConfigError: a class rule or group names a class that `class_names` does not have.
        """
        motion = MOTIONS[self.motion]
        stages_end = FIRST_STAGE + len(self.stages)
        gates = any(rule.gate is not None for rule in self.classes)
        stages: list[tuple[float, ...]] = []
        terms: list[tuple[float, ...]] = []
        for stage in self.stages:
            special = stage.direction > 0 or stage.height_power > 0 or stage.all_pairs
            weighed = not stage.plain or (gates and not special)
            first = stages_end + len(terms) if weighed else 0
            terms += [term._encode() for term in stage.terms] if first else []
            stages.append(stage._encode(first, stages_end + len(terms)))
        rules = (
            FORMS[motion.form], 1.0 if self.inclusive_boxes else 0.0, self.per_class, _float32(self.min_score),
            _float32(self.birth_score), self.confirm_hits, self.confirm_once, self.grace_frames, self.max_coast_frames,
            self.late_expiry, self.tentative_coasts, self.tentative_moves, self.duplicate_iou,
            self.detection_share, self.replay, self.look_back_frames,
            self.confirm_s * frame_rate, self.max_coast_s * frame_rate, stages_end, stages_end + len(terms),
            NAMINGS[self.label], self.vote_margin, self.min_mask_px, self.gallery_frames,
            self.suppress_iou, _float32(self.resume_score), _float32(self.keep_score),
            self.birth_iou, CAMERAS[self.camera], _float32(self.follow_score), self.search_frames,
            self.suppress_apart, BIRTHS[self.births],
        )  # fmt: skip
        rows = [rules, *motion.encode(), *stages, *terms, *self._encode_classes(class_names)]
        table = np.zeros((len(rows), WIDTH))
        for row, values in zip(table, rows, strict=True):
            row[: len(values)] = values
        return table

    def _encode_classes(self, class_names: Sequence[str]) -> list[tuple[float, ...]]:
        rules = {index: rule for rule in self.classes if (index := _index(rule.label, class_names)) is not None}
        groups: dict[int, int] = {}
        for k, group in enumerate(self.groups):
            groups |= {index: -1 - k for label in group if (index := _index(label, class_names)) is not None}
        return [
            rules.get(index, ClassRule(index))._encode(index, groups.get(index, index))
            for index in sorted(rules.keys() | groups.keys())
        ]


def _index(label: int | str, class_names: Sequence[str]) -> int | None:
    """Number of a class; None for one that this model does not have."""
    if isinstance(label, int):
        return label
    if not class_names:
        raise ConfigError(
            f"class {label!r} is given by name: tell the tracker the model's class_names, or use its index"
        )
    return list(class_names).index(label) if label in class_names else None


def _float32(score: float) -> float:
    """A threshold as the float32 that scores are."""
    return float(np.float32(score))
