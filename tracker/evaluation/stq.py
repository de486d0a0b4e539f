"""STQ: segmentation and tracking quality of panoptic videos, with its halves AQ (association) and SQ (segmentation).

Source: STEP, arXiv:2102.11859, section 4; to the number as deeplab2's `segmentation_and_tracking_quality`, except
that areas are whole numbers here (theirs are float32, which is wrong from 2**24 pixels on).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.errors import ConfigError
from tracker.evaluation.segments import Segments, compare_segments, split_key
from tracker.formats.class_set import ClassSet

_Areas = dict[int, int]
_MODES = ("deeplab2", "paper")


class Stq:
    """STQ = sqrt(AQ * SQ) of one or more sequences. Memory follows the number of tubes, not of frames.

    AQ: mean over all true tubes of all sequences, 0 where there is none. True thing pixels of id 0 are a crowd: they
    belong to no tube and nothing on them is counted. Thing pixels of the result with id 0 form one tube per class.
    SQ: mean IoU of the classes that truth or result has, over all frames of all sequences; NaN where no pixel is
    labelled. Result pixels that say void where the truth does not are a class of their own, with IoU 0.
    """

    def __init__(self, class_set: ClassSet, *, mode: str = "deeplab2") -> None:
        """Begin without a frame.

        Args:
            class_set: of the dataset.
            mode: `deeplab2` (what papers and servers report): a tube of the result is a class and an id, so a track
                that changes its class is split. `paper` (the text of STEP): it is an id whatever its class; results
                must then not use one id for two objects of different classes. Id 0 stays one tube per class.

        Raises:
            ConfigError: another mode.
        """
        if mode not in _MODES:
            raise ConfigError(f"expected mode {' or '.join(_MODES)}, got {mode!r}")
        self._set = class_set
        self._by_id = mode == "paper"
        self._thing = class_set.thing_table()
        count = len(class_set.names)
        self._void = class_set.void if class_set.void < count else count
        self._size = max(count, self._void + 1)
        self._quality = np.zeros(self._size)  # sum over true tubes of each class
        self._tubes = np.zeros(self._size, np.int64)
        self._confusion = np.zeros((self._size, self._size), np.int64)
        self._begin()

    def _begin(self) -> None:
        self._truth: _Areas = {}
        self._results: _Areas = {}
        self._shared: dict[tuple[int, int], int] = {}

    def update(self, truth_classes: ArrayLike, truth_ids: ArrayLike, classes: ArrayLike, ids: ArrayLike) -> None:
        """Take the next frame of the sequence: four (H, W) integer maps, as in `compare_segments`.

        Raises:
            DetectionsError: as in `compare_segments`; nothing is counted then.
        """
        self.add(compare_segments(truth_classes, truth_ids, classes, ids, self._set))

    def add(self, segments: Segments) -> None:
        """Take a frame that was compared already."""
        true_class, true_id = split_key(segments.truth)
        result_class, result_id = split_key(segments.results)
        pixels = segments.pixels
        rows = np.where(true_class == self._set.void, self._void, true_class)
        columns = np.where(result_class == self._set.void, self._void, result_class)
        np.add.at(self._confusion, (rows, columns), pixels)

        thing, crowd = self._thing[true_class], self._thing[true_class] & (true_id == 0)
        of_truth, of_result = thing & ~crowd, self._thing[result_class] & ~crowd
        results = np.where(self._by_id & (result_id > 0), result_id, segments.results)
        _collect(self._truth, segments.truth[of_truth], pixels[of_truth])
        _collect(self._results, results[of_result], pixels[of_result])
        both = of_truth & of_result
        for first, second, count in zip(
            segments.truth[both].tolist(), results[both].tolist(), pixels[both].tolist(), strict=True
        ):
            self._shared[first, second] = self._shared.get((first, second), 0) + count

    def merge(self, other: Stq) -> None:
        """Add the sequences of `other`, which stays as it was; the own one is over."""
        mine, theirs = self._totals(), other._totals()
        self._quality, self._tubes = mine[0] + theirs[0], mine[1] + theirs[1]
        self._confusion += other._confusion
        self._begin()

    def result(self) -> dict[str, float]:
        """`STQ`, `AQ`, `SQ`, and `tubes`, the number of true tubes."""
        quality, tubes = self._totals()
        iou = self._class_iou()
        known = ~np.isnan(iou)
        aq = float(quality.sum() / max(1, tubes.sum()))
        sq = float(iou[known].mean()) if known.any() else math.nan
        return {"STQ": math.sqrt(aq * sq), "AQ": aq, "SQ": sq, "tubes": int(tubes.sum())}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Class name -> `SQ` (its IoU; NaN where it never occurs) and, of things, `AQ` (NaN without a true tube)."""
        quality, tubes = self._totals()
        iou = self._class_iou()
        out = {}
        for number, name in enumerate(self._set.names):
            if number == self._set.void:
                continue
            scores = {"SQ": float(iou[number])}
            if self._thing[number]:
                scores["AQ"] = float(quality[number] / tubes[number]) if tubes[number] else math.nan
            out[name] = scores
        return out

    def _class_iou(self) -> NDArray[np.float64]:
        """(C + 1,) IoU of every class, NaN where neither side has it; void's own is 0 where the result says it."""
        confusion = self._confusion.copy()
        confusion[self._void] = 0
        shared = np.diag(confusion)
        union = confusion.sum(0) + confusion.sum(1) - shared
        return np.where(union > 0, shared / np.maximum(union, 1), np.nan)

    def _totals(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Quality and number of true tubes per class, the running sequence included."""
        quality, tubes = self._quality.copy(), self._tubes.copy()
        for key in self._truth:
            tubes[key >> 32] += 1
        for (truth, result), shared in self._shared.items():
            area = self._truth[truth]
            quality[truth >> 32] += shared * (shared / (area + self._results[result] - shared)) / area
        return quality, tubes


def _collect(areas: _Areas, keys: NDArray[np.int64], pixels: NDArray[np.int64]) -> None:
    for key, count in zip(keys.tolist(), pixels.tolist(), strict=True):
        areas[key] = areas.get(key, 0) + count
