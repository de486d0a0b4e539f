"""Slow, obvious twins of the cues: one pair of plain Python objects at a time, and what tracks remember, as lists."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tests.reference.association import box_iou, direction_bonus, past_centre, unit


def _middle(box):
    return (box[:2].astype(float) + box[2:]) / 2


@dataclass
class Sight:
    """One detection, and the frame number in which it was seen."""

    frame: int
    box: np.ndarray
    score: float
    label: int
    centre: np.ndarray
    offset: np.ndarray
    embedding: np.ndarray | None
    mask: np.ndarray


@dataclass
class Subject:
    """One track: all that it was ever seen as, in order; and as it is predicted for the frame at hand."""

    sights: list[Sight] = field(default_factory=list)
    faces: list[tuple[int, np.ndarray]] = field(default_factory=list)
    heading: np.ndarray = field(default_factory=lambda: np.zeros(2))
    box: np.ndarray | None = None  # the one that cues compare
    estimate: np.ndarray | None = None  # four coordinates, and the deviations of detections from them
    spread: np.ndarray | None = None

    @property
    def centres(self):
        """Frame number -> middle of the box, the birth left out."""
        return {s.frame: _middle(s.box) for s in self.sights[1:]}

    def take(self, sight, rules):
        """Remember a detection."""
        if len(self.sights) > 1:
            start = past_centre(self.centres, sight.frame, rules.longest)
            self.heading = unit(start, _middle(sight.box))
        self.sights.append(sight)
        face = sight.embedding
        if face is None or not face.any():
            return
        if rules.momentum:
            face = face / np.linalg.norm(face)
            if self.faces:
                face = rules.momentum * self.faces[-1][1] + (1 - rules.momentum) * face
            self.faces = [(sight.frame, face / np.linalg.norm(face))]
        else:
            self.faces = [*self.faces, (sight.frame, face)][-rules.gallery :]


@dataclass
class Rules:
    """What of a plan the cues read."""

    pixel: float
    longest: int
    gallery: int
    momentum: float
    window: int
    groups: tuple
    measure: object  # box -> four coordinates


def _areas(track, sight, rules):
    """Shared area, union and hull of the boxes, and the shared height and the hull's."""
    a, b = track.box.astype(float), sight.box.astype(float)
    both = np.array([a, b])
    inner = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + rules.pixel
    outer = both[:, 2:].max(0) - both[:, :2].min(0) + rules.pixel
    shared = np.prod(np.maximum(inner, 0))
    union = np.prod(both[:, 2:] - both[:, :2] + rules.pixel, axis=1).sum() - shared
    return inner, outer, shared, union


def _signed(track, sight, rules):
    inner, _, shared, union = _areas(track, sight, rules)
    signed = shared if (inner > 0).all() else -abs(np.prod(inner))
    union += shared - signed
    return signed / union if union else 0.0


def _giou(track, sight, rules):
    _, outer, shared, union = _areas(track, sight, rules)
    return shared / union - (np.prod(outer) - union) / np.prod(outer)


def _shape(track, sight, rules):
    a, b = (box[2:] - box[:2] + rules.pixel for box in (track.box.astype(float), sight.box.astype(float)))
    return math.exp(-(np.abs(a - b) / np.maximum(a, b)).sum())


def _shifted(track, sight, rules):
    return float(((sight.centre.astype(float) + sight.offset - track.sights[-1].centre) ** 2).sum())


def _reach(track, sight, rules):
    w, h = track.sights[-1].box[2:].astype(float) - track.sights[-1].box[:2] - 1
    return _shifted(track, sight, rules) / (w * h) if w * h > 0 else math.inf


def _direction(track, sight, rules):
    if not track.heading.any():
        return 0.0
    start = past_centre(track.centres, sight.frame, rules.longest)
    return direction_bonus(track.heading, start, _middle(sight.box), sight.score, 1.0)


def _mahalanobis(track, sight, rules):
    y = np.array(rules.measure(sight.box)) - track.estimate
    return float(y @ np.linalg.inv(np.diag(track.spread)) @ y) if (track.spread > 0).all() else math.nan


def _kind(label, groups):
    return next((group for group in groups if label in group), label)


def _mask_iou(track, sight, rules):
    a, b = track.sights[-1].mask, sight.mask
    return (a & b).sum() / max((a | b).sum(), 1)


def _faces(compare, choose):
    def cue(track, sight, rules):
        faces = [face for frame, face in track.faces if not rules.window or frame >= sight.frame - rules.window]
        if sight.embedding is None or not sight.embedding.any() or not faces:
            return math.nan
        return choose(compare(face.astype(float), sight.embedding.astype(float)) for face in faces)

    return cue


TWINS = {
    "iou": lambda track, sight, rules: box_iou([track.box], [sight.box], rules.pixel)[0, 0],
    "giou": _giou,
    "signed_iou": _signed,
    "hull_iou": lambda *pair: _areas(*pair)[2] / np.prod(_areas(*pair)[1]),
    "height_iou": lambda *pair: max(_areas(*pair)[0][1], 0) / _areas(*pair)[1][1],
    "centre_distance": lambda track, sight, rules: np.linalg.norm(_middle(track.box) - _middle(sight.box)),
    "shifted_distance": _shifted,
    "shifted_reach": _reach,
    "direction": _direction,
    "mahalanobis": _mahalanobis,
    "shape": _shape,
    "time_gap": lambda track, sight, rules: sight.frame - track.sights[-1].frame,
    "same_class": lambda track, sight, rules: (
        _kind(track.sights[-1].label, rules.groups) == _kind(sight.label, rules.groups)
    ),
    "mask_iou": _mask_iou,
    "embedding_l2": _faces(lambda a, b: np.linalg.norm(a - b), min),
    "embedding_cosine": _faces(lambda a, b: 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b), min),
    "embedding_dot": _faces(lambda a, b: a @ b, max),
}
