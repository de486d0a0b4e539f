"""J and F, the measures of DAVIS: how well regions (J) and contours (F) of objects are found through a video.

Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016; DAVIS
2017, arXiv:1704.00675, and its unsupervised challenge, arXiv:1905.00737; numbers as TrackEval 1.3.0 gives them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker._jit import kernel
from tracker.association.mining import link_segments
from tracker.errors import DetectionsError
from tracker.masks import Masks

REACH = 0.008  # of the picture's diagonal: so far may contours be apart, rounded up to pixels

_BINS = 4
_STATISTICS = ("J_mean", "J_recall", "J_decay", "F_mean", "F_recall", "F_decay")


@dataclass(frozen=True, slots=True, eq=False)
class _Moment:
    """One frame: objects that have a pixel, and the IoU of each true one (row) with each result (column)."""

    truth_ids: NDArray[np.int64]
    truth: Masks
    ids: NDArray[np.int64]
    masks: Masks
    iou: NDArray[np.float64]


class Jf:
    """J&F of one or more sequences. Memory holds the running sequence's masks, packed.

    Each true object is given at most one result for the whole sequence, so that the sum of mean IoUs is greatest. J of
    a frame is the IoU of the two, F the harmonic mean of the shares of each contour that lie near the other; both are 1
    where neither is seen, and 0 where one is. Where no result overlaps an object at any time, both are 0 (TrackEval
    takes any result that is left, whose contour may be near). Mean over frames; recall is the share of frames above one
    half; decay the mean of the first quarter less that of the last. All are then means over the objects of all
    sequences.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(len(_STATISTICS))
        self._objects = 0
        self._begin()

    def _begin(self) -> None:
        self._moments: list[_Moment] = []

    def update(self, truth_ids: ArrayLike, truth: Masks, ids: ArrayLike, masks: Masks) -> None:
        """Take the next frame of the sequence.

        Args:
            truth_ids: (N,) ids of the true objects, unique.
            truth: their masks.
            ids: (M,) likewise, of the results.
            masks: likewise.

        Raises:
            DetectionsError: an id twice, or not one for each mask.
            MasksError: masks of two sizes.
        """
        sides = []
        for numbers, of_side in ((truth_ids, truth), (ids, masks)):
            own = np.asarray(numbers, np.int64).reshape(-1)
            if len(own) != len(of_side) or len(np.unique(own)) != len(own):
                raise DetectionsError(f"expected an id for each of {len(of_side)} masks, each once, got {own.tolist()}")
            rows = np.flatnonzero(of_side.areas > 0)
            sides.append((own[rows], of_side.select(rows)))
        (true_ids, true_masks), (own_ids, own_masks) = sides
        self._moments.append(_Moment(true_ids, true_masks, own_ids, own_masks, true_masks.iou(own_masks)))

    def merge(self, other: Jf) -> None:
        """Add the sequences of `other`, which stays as it was; the own one is over."""
        mine, theirs = self._total(), other._total()
        self._sums, self._objects = mine[0] + theirs[0], mine[1] + theirs[1]
        self._begin()

    def result(self) -> dict[str, float]:
        """`J&F`, the mean of `J_mean` and `F_mean`, then `J_mean`, `J_recall`, `J_decay`, `F_mean`, ... and `objects`.

        NaN where there is no true object.
        """
        sums, objects = self._total()
        means = dict(
            zip(_STATISTICS, (sums / objects if objects else np.full(len(sums), math.nan)).tolist(), strict=True)
        )
        return {"J&F": (means["J_mean"] + means["F_mean"]) / 2, **means, "objects": objects}

    def _total(self) -> tuple[NDArray[np.float64], int]:
        """Statistics summed over objects, and the objects, the running sequence included."""
        regions, contours = self._judge()
        both = [np.concatenate([_describe(j), _describe(f)]) for j, f in zip(regions, contours, strict=True)]
        return self._sums + np.sum(both, 0) if both else self._sums, self._objects + len(both)

    def _judge(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """J and F (G, T) of every true object in every frame of the running sequence."""
        truth_ids, seen = _presence([moment.truth_ids for moment in self._moments])
        ids, found = _presence([moment.ids for moment in self._moments])
        if len(ids) < len(truth_ids):  # objects without a result get one that is never seen
            found = np.vstack([found, np.zeros((len(truth_ids) - len(ids), found.shape[1]), np.bool_)])
        total = (~seen).astype(np.float64) @ (~found).T.astype(np.float64)
        for moment in self._moments:
            rows, columns = np.searchsorted(truth_ids, moment.truth_ids), np.searchsorted(ids, moment.ids)
            total[np.ix_(rows, columns)] += moment.iou
        mates = link_segments(total / max(1, seen.shape[1]))
        regions = np.zeros(seen.shape)
        for g in np.flatnonzero(mates >= 0):
            regions[g] = ~seen[g] & ~found[mates[g]]
        contours = regions.copy()
        for t, moment in enumerate(self._moments):
            radius = math.ceil(REACH * math.hypot(moment.masks.height, moment.masks.width))
            for i, g in enumerate(np.searchsorted(truth_ids, moment.truth_ids).tolist()):
                if 0 <= mates[g] < len(ids) and found[mates[g], t]:
                    j = int(np.flatnonzero(moment.ids == ids[mates[g]])[0])
                    regions[g, t] = moment.iou[i, j]
                    contours[g, t] = contour_score(moment.truth, i, moment.masks, j, radius)
        return regions, contours


def contour_score(truth: Masks, row: int, masks: Masks, other: int, radius: int) -> float:
    """F of two masks, both with pixels: harmonic mean of the shares of each contour within `radius` of the other.

    A pixel is on a contour if it differs from the one to the right, below, or right below.
    """
    rects = np.stack([truth.rects[row], masks.rects[other]]).astype(np.int64)
    x0, y0 = np.maximum(rects[:, :2].min(0) - 1, 0).tolist()
    x1, y1 = np.minimum(rects[:, 2:].max(0) + 1, [truth.width, truth.height]).tolist()
    contours = []
    for of_side, k, (left, top, right, bottom) in ((truth, row, rects[0]), (masks, other, rects[1])):
        region = np.zeros((y1 - y0, x1 - x0), np.bool_)
        region[top - y0 : bottom - y0, left - x0 : right - x0] = of_side.crop(k)
        contours.append(_find_contour(region, y1 == truth.height, x1 == truth.width))
    sizes = [int(contour.sum()) for contour in contours]
    if min(sizes) == 0:  # only a mask of the picture's last pixel, or of all pixels, has none
        return float(max(sizes) == 0)
    near = [_count_near(contours[k], contours[1 - k], radius) for k in (0, 1)]
    recall, precision = near[0] / sizes[0], near[1] / sizes[1]
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _presence(ids: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(N,) all ids, ascending, and (N, T) in which frames they are."""
    known = np.unique(np.concatenate([np.zeros(0, np.int64), *ids]))
    present = np.zeros((len(known), len(ids)), np.bool_)
    for t, own in enumerate(ids):
        present[np.searchsorted(known, own), t] = True
    return known, present


def _describe(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean, recall and decay of one object's frames."""
    ends = (np.round(np.linspace(1, len(values), _BINS + 1) + 1e-10) - 1).astype(np.int64)
    first, last = values[ends[0] : ends[1] + 1], values[ends[-2] : ends[-1] + 1]
    recall = (values > 0.5 + np.finfo(np.float64).eps).mean()
    return np.array([values.mean(), recall, first.mean() - last.mean()])


@kernel
def _find_contour(mask, at_bottom, at_right):  # type: ignore[no-untyped-def]
    """(h, w) bool: pixels that differ from the next one to the right, below, or right below.

    Beyond the mask nothing is set. In the picture's last row only the pixel to the right counts, in its last column
    only the one below, and the last pixel of all is on no contour.
    """
    height, width = mask.shape
    out = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            here = mask[y, x]
            last_row, last_column = y == height - 1, x == width - 1
            right = here != (not last_column and mask[y, x + 1])
            below = here != (not last_row and mask[y + 1, x])
            beyond = here != (not last_row and not last_column and mask[y + 1, x + 1])
            on_row, on_column = last_row and at_bottom, last_column and at_right
            if on_row and on_column:
                continue
            if on_row:
                out[y, x] = right
            elif on_column:
                out[y, x] = below
            else:
                out[y, x] = right or below or beyond
    return out


@kernel
def _count_near(contour, other, radius):  # type: ignore[no-untyped-def]
    """Pixels of a contour that have one of the other within `radius` (Euclid's)."""
    height, width = contour.shape
    reach = np.empty(radius + 1, np.int64)
    for dy in range(radius + 1):
        reach[dy] = np.int64(math.sqrt(float(radius * radius - dy * dy)))
    count = 0
    for y in range(height):
        for x in range(width):
            if not contour[y, x]:
                continue
            near = False
            for step in range(2 * radius + 1):  # rows from the middle outwards: contours are mostly close
                dy = (step + 1) // 2 if step % 2 else -(step // 2)
                if near or y + dy < 0 or y + dy >= height:
                    continue
                across = reach[abs(dy)]
                for k in range(max(0, x - across), min(width, x + across + 1)):
                    if other[y + dy, k]:
                        near = True
                        break
            count += near
    return count
