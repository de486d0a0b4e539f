"""Track mining: which segments of two frames are one object, by optical flow alone, and only where that is certain.

The generator of automatic annotations of "Learning Multi-Object Tracking and Segmentation from Automatic Annotations"
(arXiv:1912.02096, section 3.2): offline it links the segments of a video into tracklets. A segment that flow explains
badly, or explains by two candidates, gets no partner at all: a shorter track costs less than a wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.association.warp import warp_labels
from tracker.errors import MasksError
from tracker.masks import label_map_overlaps


@dataclass(frozen=True, slots=True)
class Vetoes:
    """When a segment gets no partner; the paper's numbers.

    b1 and b2 are the most and the second most pixels that warped segments of its class share with it, r is how many of
    its pixels no warped segment of its class covers.

    Attributes:
        min_lead: pixels; vetoed where b1 - b2 is below.
        min_overlap: pixels; vetoed where b1 is below.
        min_ratio: vetoed where b1 / r is below; r = 0 always passes.
    """

    min_lead: float = 10.0
    min_overlap: float = 10.0
    min_ratio: float = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Payoff:
    """What linking two frames' segments is worth.

    Attributes:
        values: (N, M) float64, IoU of segment i of this frame with the warped segment j of the previous one; -inf where
            the classes differ or segment i is vetoed.
        best: (N,) int64, b1.
        second: (N,) int64, b2.
        rest: (N,) int64, r.
        vetoed: (N,) bool.
    """

    values: NDArray[np.float64]
    best: NDArray[np.int64]
    second: NDArray[np.int64]
    rest: NDArray[np.int64]
    vetoed: NDArray[np.bool_]


def find_payoff(
    segments: NDArray[np.int32],
    classes: NDArray[np.int32],
    previous_segments: NDArray[np.int32],
    previous_classes: NDArray[np.int32],
    backward: NDArray[np.float32],
    vetoes: Vetoes | None = None,
) -> Payoff:
    """What linking each segment of this frame to each one of the previous frame is worth.

    Args:
        segments: (H, W) int32 label map of frame t: 0 for none, k + 1 for segment k (`Panoptic.rows`, or
            `Masks.disjoint(...).to_label_map()`). A segment without a pixel is legal and vetoed.
        classes: (N,) int32, class of each segment; N may be 0.
        previous_segments: (H, W) int32, likewise of frame t-1.
        previous_classes: (M,) int32; M may be 0.
        backward: (H, W, 2) float32, flow from t to t-1 on the grid of t.
        vetoes: when a segment gets no partner.

    Raises:
        MasksError: sizes differ, or a map has a label without a class.
    """
    n, m = len(classes), len(previous_classes)
    for labels, count in ((segments, n), (previous_segments, m)):
        if int(labels.max(initial=0)) > count or int(labels.min(initial=0)) < 0:
            raise MasksError(f"expected labels 0..{count}, one per class, got {labels.min()}..{labels.max()}")
    warped = warp_labels(previous_segments, backward)
    counts = label_map_overlaps(segments, warped, n, m)
    shared = counts[1:, 1:]
    areas, warped_areas = counts[1:].sum(1), counts[:, 1:].sum(0)
    same = np.asarray(classes)[:, None] == np.asarray(previous_classes)
    of_class = np.where(same, shared, 0)
    ranked = np.sort(np.pad(of_class, ((0, 0), (0, 2))), axis=1)
    best, second, rest = ranked[:, -1], ranked[:, -2], areas - of_class.sum(1)
    limits = vetoes or Vetoes()
    vetoed = (best - second < limits.min_lead) | (best < limits.min_overlap) | (best < limits.min_ratio * rest)
    union = areas[:, None] + warped_areas - shared
    iou = shared / np.maximum(union, 1)
    return Payoff(np.where(same & ~vetoed[:, None], iou, -np.inf), best, second, rest, vetoed)


def link_segments(payoff: NDArray[np.float64]) -> NDArray[np.int64]:
    """The one-to-one links of greatest total payoff.

    Args:
        payoff: (N, M) float64, at most 1, -inf for forbidden; staying alone is worth 0. N or M may be 0.

    Returns:
        (N,) int64, for each segment of this frame its partner in the previous one, or -1.
    """
    partner = np.full(payoff.shape[0], -1, np.int64)
    if payoff.size == 0:
        return partner  # lap 0.5 corrupts memory on an empty matrix
    import lap

    cost = np.where(payoff > 0, 1.0 - payoff, 2.0)
    _, columns, _ = lap.lapjv(cost, extend_cost=True, cost_limit=1.0)  # a pair of cost 1 is worth two single ends
    rows = np.flatnonzero(columns >= 0)
    rows = rows[payoff[rows, columns[rows]] > 0]
    partner[rows] = columns[rows]
    return partner
