"""PTQ and sPTQ: panoptic quality with a price for identity switches.

Source: Hurtado, Mohan and Valada, MOPT, arXiv:2004.08189, section 4; to the bit as the nuScenes development kit
computes it with a minimum of one point per segment. The kit's IoUs are float32, and those of one frame and class are
added as float32 in the order of the true ids; so are they here. In float64 a class' PTQ differs by up to 2e-7.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from tracker.evaluation.segments import Segments, compare_segments, split_key
from tracker.formats.class_set import ClassSet

_IOU, _TP, _FP, _FN, _IDS, _SOFT, _SUMS = range(7)


class Ptq:
    """PTQ, sPTQ and what belongs to them, of one or more sequences; memory holds the matches of one frame.

    Pixels on true void are taken out of both sides first. A true segment and one of the result match if they have the
    same class and an IoU over 0.5; id 0 of a thing is a segment like any other. A switch is a true thing that is
    matched in two consecutive frames with different ids; its soft count is the IoU of the later match. Switches over
    a gap are not counted.
    """

    def __init__(self, class_set: ClassSet) -> None:
        self._set = class_set
        self._thing = class_set.thing_table()
        self._sums = np.zeros((_SUMS, 256))
        self._begin()

    def _begin(self) -> None:
        self._before: dict[int, int] = {}

    def update(self, truth_classes: ArrayLike, truth_ids: ArrayLike, classes: ArrayLike, ids: ArrayLike) -> None:
        """Take the next frame of the sequence: four (H, W) integer maps, as in `compare_segments`.

        Raises:
            DetectionsError: as in `compare_segments`; nothing is counted then.
        """
        self.add(compare_segments(truth_classes, truth_ids, classes, ids, self._set))

    def add(self, segments: Segments) -> None:
        """Take a frame that was compared already."""
        labelled = split_key(segments.truth)[0] != self._set.void
        pixels = segments.pixels[labelled]
        truth, g = np.unique(segments.truth[labelled], return_inverse=True)
        results, p = np.unique(segments.results[labelled], return_inverse=True)
        g, p = g.reshape(-1), p.reshape(-1)
        true_class, result_class = split_key(truth)[0], split_key(results)[0]
        truth_area, result_area = np.bincount(g, pixels, len(truth)), np.bincount(p, pixels, len(results))
        iou = pixels / (truth_area[g] + result_area[p] - pixels)
        match = (true_class[g] == result_class[p]) & (iou > 0.5)
        order = np.flatnonzero(match)[np.argsort(g[match])]
        g, p, iou = g[order], p[order], iou[order].astype(np.float32)
        missed, extra = np.ones(len(truth), np.bool_), result_class != self._set.void
        missed[g] = extra[p] = False
        matched_class = true_class[g]
        for number in np.unique(matched_class):
            self._sums[_IOU, number] += iou[matched_class == number].sum()
        np.add.at(self._sums[_TP], matched_class, 1)
        np.add.at(self._sums[_FN], true_class[missed], 1)
        np.add.at(self._sums[_FP], result_class[extra], 1)

        now = {}
        for key, other, overlap in zip(truth[g].tolist(), results[p].tolist(), iou.tolist(), strict=True):
            if self._thing[key >> 32]:
                now[key] = other
                if self._before.get(key, other) != other:
                    self._sums[_IDS, key >> 32] += 1
                    self._sums[_SOFT, key >> 32] += overlap
        self._before = now

    def merge(self, other: Ptq) -> None:
        """Add the sequences of `other`, which stays as it was; the own one is over."""
        self._sums += other._sums
        self._begin()

    def result(self) -> dict[str, float]:
        """`PTQ`, `sPTQ` and `PQ`: means over classes of the truth, NaN without one; `IDS` and `sIDS`: sums."""
        table = self._table()
        known = self._sums[_TP] + self._sums[_FN] > 0
        out = {
            name: float(of[known].mean()) if known.any() else math.nan
            for name, of in zip(("PTQ", "sPTQ", "PQ"), table, strict=True)
        }
        return {**out, "IDS": int(self._sums[_IDS].sum()), "sIDS": float(self._sums[_SOFT].sum())}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Class name -> `PTQ`, `sPTQ`, `PQ`, `IoU` (of all matches), `TP`, `FP`, `FN`, `IDS`, `sIDS`."""
        names = ("PTQ", "sPTQ", "PQ", "IoU", "TP", "FP", "FN", "IDS", "sIDS")
        columns = np.vstack([self._table(), self._sums])
        return {
            name: dict(zip(names, columns[:, number].tolist(), strict=True))
            for number, name in enumerate(self._set.names)
            if number != self._set.void
        }

    def _table(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """(3, 256) PTQ, sPTQ and PQ of every class; 0 where there is nothing to count."""
        iou, tp, fp, fn, switches, soft = self._sums
        weight = tp + 0.5 * fp + 0.5 * fn
        return np.stack([iou - switches, iou - soft, iou]) / np.where(weight > 0, weight, 1.0)
