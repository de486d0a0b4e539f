"""Cues: reasons to match. Each is one function that gives a pair of a track and a detection a number.

All take the same arguments: `box`, the four rows of `reals` where the track's box is; `t` and `j`, the columns of track
and detection; `pixel`, added to widths and heights (0.0, or 1.0 for boxes that include their last pixel); `frame`;
`longest`, frames to look back; the encoded plan and the arrays of the state; and `looks`, None or what a frame shows
beside boxes (`looks.Looks`). NaN means that there is nothing to compare, as without an embedding. A new cue is one
function, one row in `CUES` and one line in `value`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tracker._bits import count_shared
from tracker._jit import inlined, summing
from tracker.association.history import direction, look_back
from tracker.association.motion import MEASUREMENT, MOTION, SCALE, coordinates
from tracker.association.state import (
    CENTRE,
    DETECTION_BOX,
    DETECTION_SCORE,
    GROUP,
    HEADING,
    HITS,
    KIND,
    LAST_BOX,
    MISSES,
    P00,
    X,
)
from tracker.association.table import FORM, GALLERY_FRAMES, RULES


@dataclass(frozen=True, slots=True)
class Cue:
    """One reason to match.

    Attributes:
        code: its number in an encoded plan.
        kernel: its function.
        needs: parts of `Detections` that it compares beside boxes.
        source: where it comes from.
    """

    code: int
    kernel: Callable[..., Any]
    needs: frozenset[str]
    source: str

    @property
    def unit(self) -> str:
        """What its numbers say, and in what range."""
        return str(self.kernel.__doc__)


@inlined
def overlap(row_box, t, column_box, j, pixel, reals):  # type: ignore[no-untyped-def]
    """IoU of one pair of boxes, to the bit what `pairs.find_pairs` computes."""
    x1, y1 = reals[row_box, t], reals[row_box + 1, t]
    x2, y2 = reals[row_box + 2, t] + pixel, reals[row_box + 3, t] + pixel
    a1, b1 = reals[column_box, j], reals[column_box + 1, j]
    a2, b2 = reals[column_box + 2, j] + pixel, reals[column_box + 3, j] + pixel
    inter = max(min(x2, a2) - max(x1, a1), 0.0) * max(min(y2, b2) - max(y1, b1), 0.0)
    return inter / ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - inter)


@inlined
def _corners(box, t, j, pixel, reals):  # type: ignore[no-untyped-def]
    """x1, y1, x2, y2 of the track's box, then of the detection's."""
    d = DETECTION_BOX
    return (
        reals[box, t], reals[box + 1, t], reals[box + 2, t] + pixel, reals[box + 3, t] + pixel,
        reals[d, j], reals[d + 1, j], reals[d + 2, j] + pixel, reals[d + 3, j] + pixel,
    )  # fmt: skip


@inlined
def iou(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Intersection over union of two boxes, 0..1."""
    return overlap(box, t, DETECTION_BOX, j, pixel, reals)


@inlined
def giou(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """IoU less the empty share of the hull, -1..1."""
    x1, y1, x2, y2, a1, b1, a2, b2 = _corners(box, t, j, pixel, reals)
    inter = max(min(x2, a2) - max(x1, a1), 0.0) * max(min(y2, b2) - max(y1, b1), 0.0)
    union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - inter
    hull = (max(x2, a2) - min(x1, a1)) * (max(y2, b2) - min(y1, b1))
    return inter / union - (hull - union) / hull


@inlined
def signed_iou(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """IoU that falls below 0 with the area between boxes, -1..1."""
    x1, y1, x2, y2, a1, b1, a2, b2 = _corners(box, t, j, pixel, reals)
    return signed_overlap(x1, y1, x2, y2, a1, b1, a2, b2)


@inlined
def signed_overlap(x1, y1, x2, y2, a1, b1, a2, b2):  # type: ignore[no-untyped-def]
    """Signed IoU of two boxes: below 0 where they lie apart; 0 for boxes without area."""
    w, h = min(x2, a2) - max(x1, a1), min(y2, b2) - max(y1, b1)
    inter = w * h if w > 0 and h > 0 else -abs(w) * abs(h)
    union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - inter
    return inter / union if union != 0 else 0.0


@inlined
def hull_iou(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Shared area over the hull's, 0..1."""
    x1, y1, x2, y2, a1, b1, a2, b2 = _corners(box, t, j, pixel, reals)
    inter = max(min(x2, a2) - max(x1, a1), 0.0) * max(min(y2, b2) - max(y1, b1), 0.0)
    return inter / ((max(x2, a2) - min(x1, a1)) * (max(y2, b2) - min(y1, b1)))


@inlined
def height_iou(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Shared height over the hull's, 0..1."""
    _, y1, _, y2, _, b1, _, b2 = _corners(box, t, j, pixel, reals)
    return max(min(y2, b2) - max(y1, b1), 0.0) / (max(y2, b2) - min(y1, b1))


@inlined
def centre_distance(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Px between the centres."""
    x1, y1, x2, y2, a1, b1, a2, b2 = _corners(box, t, j, pixel, reals)
    dx, dy = (a1 + a2 - x1 - x2) / 2, (b1 + b2 - y1 - y2) / 2
    return math.sqrt(dx * dx + dy * dy)


@inlined
def shifted_distance(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Px2 between a track's last centre and a detection's, moved by the detection's offset."""
    if looks is None:
        return math.nan
    dx = looks.centres[j, 0] + looks.offsets[j, 0] - reals[CENTRE, t]
    dy = looks.centres[j, 1] + looks.offsets[j, 1] - reals[CENTRE + 1, t]
    return dx * dx + dy * dy


@inlined
def shifted_reach(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Shifted_distance over (width - 1) * (height - 1) of the track."""
    w, h = reals[LAST_BOX + 2, t] - reals[LAST_BOX, t] - 1, reals[LAST_BOX + 3, t] - reals[LAST_BOX + 1, t] - 1
    if w * h <= 0:
        return math.inf
    return shifted_distance(box, t, j, pixel, frame, longest, plan, reals, ints, looks) / (w * h)


@inlined
def heading(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Score * (1/2 - angle / pi) between the ways before and to it, -0.5..0.5; 0 without one."""
    if ints[HITS, t] < 2 or (reals[HEADING, t] == 0 and reals[HEADING + 1, t] == 0):
        return 0.0
    x, y = look_back(longest, reals, ints, t, frame)
    _, _, _, _, a1, b1, a2, b2 = _corners(box, t, j, 0.0, reals)
    dx, dy = direction(x, y, (a1 + a2) / 2, (b1 + b2) / 2)
    cosine = min(max(dx * reals[HEADING, t] + dy * reals[HEADING + 1, t], -1.0), 1.0)
    return reals[DETECTION_SCORE, j] * (0.5 - math.acos(cosine) / math.pi)


@inlined
def mahalanobis(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Squared distance in the filter's own deviations, four degrees of freedom."""
    _, _, _, _, a1, b1, a2, b2 = _corners(box, t, j, 0.0, reals)
    z = coordinates(int(plan[RULES, FORM]), a1, b1, a2, b2)
    total = 0.0
    for k in range(4):
        scale = int(plan[MOTION + k, SCALE])
        square = reals[X + scale, t] * reals[X + scale, t] if scale >= 0 else 1.0  # `SQUARE` is from before predicting
        spread = reals[P00 + k, t] + plan[MOTION + k, MEASUREMENT] * square
        if spread <= 0:
            return math.nan
        y = z[k] - reals[X + k, t]
        total += y * y / spread
    return total


@inlined
def shape(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Likeness of widths and heights, 0..1."""
    x1, y1, x2, y2, a1, b1, a2, b2 = _corners(box, t, j, pixel, reals)
    w, h, u, v = x2 - x1, y2 - y1, a2 - a1, b2 - b1
    return math.exp(-abs(w - u) / max(w, u) - abs(h - v) / max(h, v))


@inlined
def time_gap(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Frames since the track's last detection, from 1."""
    return ints[MISSES, t] + 1.0


@inlined
def same_class(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """1 for one class or group of classes, else 0."""
    return 1.0 if ints[KIND, j] == ints[GROUP, t] else 0.0


@inlined
def mask_iou(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Intersection over union of two masks, 0..1."""
    if looks is None:
        return math.nan
    shared = count_shared(
        looks.track_words, looks.track_rects[t], looks.track_starts[t],
        looks.mask_words, looks.mask_rects[j], looks.mask_starts[j],
    )  # fmt: skip
    if shared == 0:
        return 0.0
    return shared / (looks.track_areas[t] + looks.mask_areas[j] - shared)


@summing
def _squared_distance(a, b):  # type: ignore[no-untyped-def]
    total = a[0] * a[0] * 0  # of the arrays' own type: an integer or float64 zero would cost the vector instructions
    for k in range(len(a)):
        d = a[k] - b[k]
        total += d * d
    return total


@summing
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = a[0] * a[0] * 0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@inlined
def _compare_looks(metric, t, j, frame, plan, looks):  # type: ignore[no-untyped-def]
    """Least L2 (0) or cosine (1) distance, or greatest dot product (2), of an embedding to those the track keeps."""
    slot = looks.slots[t]
    if slot < 0 or looks.norms[j] == 0:
        return math.nan
    oldest = frame - plan[RULES, GALLERY_FRAMES] if plan[RULES, GALLERY_FRAMES] > 0 else -math.inf
    best = math.nan
    for k in range(looks.kept[slot]):
        if looks.kept_frames[slot, k] < oldest:
            continue
        if metric == 0:
            value = math.sqrt(_squared_distance(looks.gallery[slot, k], looks.embeddings[j]))
        elif metric == 1:
            dot = _dot(looks.gallery[slot, k], looks.embeddings[j])
            value = 1.0 - dot / (looks.kept_norms[slot, k] * looks.norms[j])
        else:
            value = -_dot(looks.gallery[slot, k], looks.embeddings[j])
        if not value >= best:  # also where there is none yet
            best = value
    return -best if metric == 2 else best


@inlined
def embedding_l2(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Distance to the nearest kept embedding."""
    if looks is None:
        return math.nan
    return _compare_looks(0, t, j, frame, plan, looks)


@inlined
def embedding_cosine(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """1 - cosine to the nearest kept embedding, 0..2."""
    if looks is None:
        return math.nan
    return _compare_looks(1, t, j, frame, plan, looks)


@inlined
def embedding_dot(box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Greatest dot product with a kept one."""
    if looks is None:
        return math.nan
    return _compare_looks(2, t, j, frame, plan, looks)


(
    IOU, GIOU, SIGNED_IOU, HULL_IOU, HEIGHT_IOU, CENTRE_DISTANCE, SHIFTED_DISTANCE, SHIFTED_REACH, HEADING_CUE,
    MAHALANOBIS, SHAPE, TIME_GAP, SAME_CLASS, MASK_IOU, EMBEDDING_L2, EMBEDDING_COSINE, EMBEDDING_DOT,
) = range(17)  # fmt: skip

OVERLAP = "iou"
_NONE: frozenset[str] = frozenset()
_EMBEDDINGS = frozenset({"embeddings"})
_OFFSETS = frozenset({"offsets"})

CUES: dict[str, Cue] = {
    "iou": Cue(IOU, iou, _NONE, "SORT"),
    "giou": Cue(GIOU, giou, _NONE, "arXiv:1902.09630"),
    "signed_iou": Cue(
        SIGNED_IOU, signed_iou, _NONE, "MOTSNet, appendix C"
    ),
    "hull_iou": Cue(HULL_IOU, hull_iou, _NONE, "TrackR-CNN's code"),
    "height_iou": Cue(HEIGHT_IOU, height_iou, _NONE, "arXiv:2308.00783"),
    "centre_distance": Cue(CENTRE_DISTANCE, centre_distance, _NONE, "TrackR-CNN's code"),
    "shifted_distance": Cue(
        SHIFTED_DISTANCE, shifted_distance, _OFFSETS,
        "Motion-DeepLab",
    ),
    "shifted_reach": Cue(
        SHIFTED_REACH, shifted_reach, _OFFSETS,
        "Motion-DeepLab's code",
    ),
    "direction": Cue(
        HEADING_CUE, heading,
        _NONE, "OC-SORT, section 4.2",
    ),
    "mahalanobis": Cue(
        MAHALANOBIS, mahalanobis, _NONE,
        "DeepSORT",
    ),
    "shape": Cue(SHAPE, shape, _NONE, "arXiv:2408.13003"),
    "time_gap": Cue(TIME_GAP, time_gap, _NONE, "MOTSNet, eq. 6"),
    "same_class": Cue(SAME_CLASS, same_class, _NONE, "VPSNet"),
    "mask_iou": Cue(MASK_IOU, mask_iou, frozenset({"masks"}), "STEP, B1"),
    "embedding_l2": Cue(EMBEDDING_L2, embedding_l2, _EMBEDDINGS, "TrackR-CNN"),
    "embedding_cosine": Cue(
        EMBEDDING_COSINE, embedding_cosine, _EMBEDDINGS, "DeepSORT"
    ),
    "embedding_dot": Cue(EMBEDDING_DOT, embedding_dot, _EMBEDDINGS, "VPSNet"),
}  # fmt: skip


@inlined
def value(cue, box, t, j, pixel, frame, longest, plan, reals, ints, looks):  # type: ignore[no-untyped-def]
    """What a cue says about a pair."""
    if cue == IOU:
        return iou(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == GIOU:
        return giou(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == SIGNED_IOU:
        return signed_iou(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == HULL_IOU:
        return hull_iou(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == HEIGHT_IOU:
        return height_iou(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == CENTRE_DISTANCE:
        return centre_distance(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == HEADING_CUE:
        return heading(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == MAHALANOBIS:
        return mahalanobis(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == SHAPE:
        return shape(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == TIME_GAP:
        return time_gap(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == SAME_CLASS:
        return same_class(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == SHIFTED_DISTANCE:
        return shifted_distance(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == SHIFTED_REACH:
        return shifted_reach(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == MASK_IOU:
        return mask_iou(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == EMBEDDING_L2:
        return embedding_l2(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    if cue == EMBEDDING_COSINE:
        return embedding_cosine(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
    return embedding_dot(box, t, j, pixel, frame, longest, plan, reals, ints, looks)
