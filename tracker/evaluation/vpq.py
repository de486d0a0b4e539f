"""VPQ: panoptic quality of short tubes, over windows of 1 to 4 consecutive frames.

Source: Video Panoptic Segmentation, arXiv:2006.11339, section 4, with the crowd and void rules of COCO panoptic; the
windows k = 1, 2, 3, 4 as STEP uses it (arXiv:2102.11859).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.errors import ConfigError
from tracker.evaluation.segments import Segments, compare_segments, split_key
from tracker.formats.class_set import ClassSet

_IOU, _TP, _FP, _FN, _SUMS = range(5)  # counted
_PQ, _SQ, _RQ = range(3)  # computed


class Vpq:
    """VPQ of one or more sequences; memory holds the segments of the last frames, never their pixels.

    A window of k frames is a little video: segments of one class and id over its frames are a tube. A true tube and a
    tube of the result match if they have the same class and an IoU over 0.5, where the result's pixels on true void do
    not count. True thing pixels of id 0 are a crowd, never matched nor missed. An unmatched tube of the result is
    forgiven if over half of it lies on void and crowd of its class. Windows of all sequences are counted together.
    """

    def __init__(self, class_set: ClassSet, *, windows: Sequence[int] = (1, 2, 3, 4)) -> None:
        """Begin without a frame.

        Args:
            class_set: of the dataset.
            windows: lengths in frames; the frames fed are taken as consecutive.

        Raises:
            ConfigError: no window, or one below 1.
        """
        if not windows or min(windows) < 1:
            raise ConfigError(f"expected windows of 1 frame or more, got {tuple(windows)}")
        self._set = class_set
        self._windows = tuple(windows)
        self._thing = class_set.thing_table()
        self._sums = np.zeros((len(self._windows), _SUMS, 256))
        self._begin()

    def _begin(self) -> None:
        self._last: deque[Segments] = deque(maxlen=max(self._windows))

    def update(self, truth_classes: ArrayLike, truth_ids: ArrayLike, classes: ArrayLike, ids: ArrayLike) -> None:
        """Take the next frame of the sequence: four (H, W) integer maps, as in `compare_segments`.

        Raises:
            DetectionsError: as in `compare_segments`; nothing is counted then.
        """
        self.add(compare_segments(truth_classes, truth_ids, classes, ids, self._set))

    def add(self, segments: Segments) -> None:
        """Take a frame that was compared already."""
        self._last.append(segments)
        for row, length in enumerate(self._windows):
            if len(self._last) >= length:
                self._count(list(self._last)[-length:], self._sums[row])

    def merge(self, other: Vpq) -> None:
        """Add the sequences of `other`, which stays as it was; the own one is over.

        Raises:
            ConfigError: it has other windows.
        """
        if other._windows != self._windows:
            raise ConfigError(f"expected windows {self._windows}, got {other._windows}")
        self._sums += other._sums
        self._begin()

    def result(self) -> dict[str, float]:
        """`VPQ`, the mean over windows; `VPQ_1`, ...; `VPQ_things`, `VPQ_stuff`; `SQ` and `RQ` likewise.

        NaN where sequences are shorter than a window, or truth and result have no class to count.
        """
        quality = np.stack([self._quality(row) for row in range(len(self._windows))])  # (K, 3, 256)
        means = _mean(quality)
        out = {"VPQ": float(means[:, _PQ].mean())}
        for row, length in enumerate(self._windows):
            out[f"VPQ_{length}"] = float(means[row, _PQ])
        out["VPQ_things"] = float(_mean(quality[:, _PQ, self._thing]).mean())
        out["VPQ_stuff"] = float(_mean(quality[:, _PQ, ~self._thing]).mean())
        out["SQ"], out["RQ"] = float(means[:, _SQ].mean()), float(means[:, _RQ].mean())
        return out

    def per_class(self) -> dict[str, dict[str, float]]:
        """Class name -> `VPQ_1`, ... of it; NaN where neither side has it."""
        quality = [self._quality(row)[_PQ] for row in range(len(self._windows))]
        return {
            name: {f"VPQ_{length}": float(of[number]) for length, of in zip(self._windows, quality, strict=True)}
            for number, name in enumerate(self._set.names)
            if number != self._set.void
        }

    def counts(self, window: int) -> dict[str, dict[str, float]]:
        """Class name -> `IoU` (of all matches together), `TP`, `FP` and `FN` of one window length."""
        sums = self._sums[self._windows.index(window)]
        names = ("IoU", "TP", "FP", "FN")
        return {
            name: dict(zip(names, sums[:, number].tolist(), strict=True)) for number, name in enumerate(self._set.names)
        }

    def _quality(self, row: int) -> NDArray[np.float64]:
        """(3, 256) PQ, SQ and RQ of every class; NaN where there is nothing to count."""
        iou, tp, fp, fn = self._sums[row]
        weight = tp + 0.5 * fp + 0.5 * fn
        weight = np.where(weight > 0, weight, math.nan)
        return np.stack([iou / weight, iou / np.maximum(tp, 1) + 0 * weight, tp / weight])

    def _count(self, frames: Sequence[Segments], sums: NDArray[np.float64]) -> None:
        """Match the tubes of one window and add to `sums` (_SUMS, 256)."""
        truth, of_truth = np.unique(np.concatenate([frame.truth for frame in frames]), return_inverse=True)
        results, of_result = np.unique(np.concatenate([frame.results for frame in frames]), return_inverse=True)
        pixels = np.concatenate([frame.pixels for frame in frames])
        pairs, of_pair = np.unique(of_truth.reshape(-1) * len(results) + of_result.reshape(-1), return_inverse=True)
        shared = np.bincount(of_pair.reshape(-1), pixels, len(pairs))
        g, p = pairs // max(1, len(results)), pairs % max(1, len(results))
        truth_area, result_area = np.bincount(g, shared, len(truth)), np.bincount(p, shared, len(results))

        true_class, true_id = split_key(truth)
        result_class, _ = split_key(results)
        void, crowd = true_class == self._set.void, self._thing[true_class] & (true_id == 0)
        on_void = np.bincount(p, shared * void[g], len(results))
        same = true_class[g] == result_class[p]
        union = truth_area[g] + result_area[p] - shared - on_void[p]
        iou = shared / np.maximum(union, 1)  # 0 only where a true void meets a result that lies on void alone
        match = same & ~void[g] & ~crowd[g] & (iou > 0.5)
        free_truth, free_result = ~void & ~crowd, result_class != self._set.void
        free_truth[g[match]] = False
        free_result[p[match]] = False
        forgiven = on_void + np.bincount(p, shared * (same & crowd[g]), len(results))
        free_result &= forgiven / result_area <= 0.5
        np.add.at(sums[_IOU], true_class[g[match]], iou[match])
        np.add.at(sums[_TP], true_class[g[match]], 1)
        np.add.at(sums[_FP], result_class[free_result], 1)
        np.add.at(sums[_FN], true_class[free_truth], 1)


def _mean(quality: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is a number; NaN where nothing is."""
    known = ~np.isnan(quality)
    total = np.where(known, quality, 0.0).sum(-1)
    return np.where(known.any(-1), total / np.maximum(known.sum(-1), 1), math.nan)
