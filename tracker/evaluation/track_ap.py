"""TrackAP: average precision of whole tracks with masks, the measure of YouTube-VIS.

Source: Video Instance Segmentation, arXiv:1905.04804, section 3; to the number as the dataset's own evaluation API.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.errors import DetectionsError
from tracker.formats.youtube_vis import VisTrack
from tracker.masks import Masks, Rle

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""(10,) IoU from which a track counts as found."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST = (1, 10, 100)  # tracks per video and category that are judged, best scores first
_AREAS = {"": (0.0, 1e10), "_small": (0.0, 128.0**2), "_medium": (128.0**2, 256.0**2), "_large": (256.0**2, 1e10)}


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One video, category and range of areas: which results found a true track, and how many of those there are."""

    scores: NDArray[np.float64]  # (D,) descending
    found: NDArray[np.bool_]  # (10, D)
    ignored: NDArray[np.bool_]  # (10, D)
    truths: int


class TrackAp:
    """AP and AR of one or more videos; keeps a score and 20 flags per result, no masks.

    The IoU of two tracks is the sum of shared pixels over the sum of united ones, frames in which one of them is
    absent included. Results take the true track of the highest IoU, in the order of their scores. Crowds are not judged.
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[int, str], list[_Part]] = defaultdict(list)

    def update(self, truth: Sequence[VisTrack], results: Sequence[VisTrack]) -> None:
        """Take the next video.

        Args:
            truth: its true tracks.
            results: what is judged; all tracks have one mask per frame, or None, and equally many.

        Raises:
            DetectionsError: tracks of different lengths.
            MasksError: masks of different sizes, or broken run lengths.
        """
        if len({len(track.masks) for track in (*truth, *results)}) > 1:
            raise DetectionsError("expected as many masks in each track as the video has frames")
        for category in sorted({track.category for track in (*truth, *results)}):
            true_tracks = [track for track in truth if track.category == category]
            judged = sorted((track for track in results if track.category == category), key=lambda track: -track.score)
            judged = judged[: _MOST[-1]]
            iou, true_areas, areas = _compare(true_tracks, judged)
            for row, track in enumerate(true_tracks):
                if track.areas is not None:
                    true_areas[row] = _mean([area for area in track.areas if area is not None])
            for name, (least, most) in _AREAS.items():
                crowd = np.array([track.crowd for track in true_tracks], np.bool_)
                ignore = crowd | (true_areas < least) | (true_areas > most)
                order = np.argsort(ignore, kind="stable")
                found, ignored = _match(iou[:, order], ignore[order], crowd[order], THRESHOLDS)
                outside = (areas < least) | (areas > most)
                ignored |= ~found & outside[None, :]
                scores = np.array([track.score for track in judged])
                self._parts[category, name].append(_Part(scores, found, ignored, int((~ignore).sum())))

    def merge(self, other: TrackAp) -> None:
        """Add the videos of `other`, which stays as it was."""
        for key, parts in other._parts.items():
            self._parts[key] += parts

    def result(self) -> dict[str, float]:
        """`AP` (over all thresholds), `AP50`, `AP75`, `AP_small`, ..., `AR1`, `AR10`, `AR100`, `AR_small`, ...

        Means over categories that have true tracks; NaN where none has (the API prints -1).
        """
        whole = [self._table(category, "") for category in self._categories()]
        out = {
            "AP": _mean([float(table[0].mean()) for table in whole]),
            "AP50": _mean([float(table[0, 0]) for table in whole]),
            "AP75": _mean([float(table[0, 5]) for table in whole]),
        }
        for most in _MOST:
            tables = [self._table(category, "", most) for category in self._categories()]
            out[f"AR{most}"] = _mean([float(table[1].mean()) for table in tables])
        for name in list(_AREAS)[1:]:
            tables = [self._table(category, name) for category in self._categories(name)]
            out[f"AP{name}"] = _mean([float(table[0].mean()) for table in tables])
            out[f"AR{name}"] = _mean([float(table[1].mean()) for table in tables])
        return out

    def per_class(self) -> dict[int, dict[str, float]]:
        """Number of each category that has true tracks -> its `AP`, `AP50`, `AP75` and `AR100`."""
        out = {}
        for category in self._categories():
            precision, recall = self._table(category, "")
            out[category] = {
                "AP": float(precision.mean()), "AP50": float(precision[0]), "AP75": float(precision[5]),
                "AR100": float(recall.mean()),
            }  # fmt: skip
        return out

    def _categories(self, area: str = "") -> list[int]:
        return sorted(
            category
            for (category, name), parts in self._parts.items()
            if name == area and any(part.truths for part in parts)
        )

    def _table(self, category: int, area: str, most: int = _MOST[-1]) -> NDArray[np.float64]:
        """(2, 10) average precision and highest recall at every threshold."""
        parts = self._parts[category, area]
        truths = sum(part.truths for part in parts)
        order = np.argsort(-np.concatenate([part.scores[:most] for part in parts]), kind="stable")
        found = np.concatenate([part.found[:, :most] for part in parts], 1)[:, order]
        ignored = np.concatenate([part.ignored[:, :most] for part in parts], 1)[:, order]
        out = np.zeros((2, len(THRESHOLDS)))
        if len(order) == 0:
            return out
        right = np.cumsum(found & ~ignored, 1, dtype=np.float64)
        wrong = np.cumsum(~found & ~ignored, 1, dtype=np.float64)
        recall = right / truths
        precision = right / (right + wrong + np.spacing(1.0))
        precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        for row in range(len(THRESHOLDS)):
            at = np.searchsorted(recall[row], _RECALLS)
            reached = at < len(order)
            out[0, row] = precision[row, at[reached]].sum() / len(_RECALLS)
            out[1, row] = recall[row, -1]
        return out


def _compare(
    truth: Sequence[VisTrack], results: Sequence[VisTrack]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """IoU in space and time (D, G), and the mean area of the true tracks (G,) and of the results (D,)."""
    shared, united = np.zeros((len(results), len(truth))), np.zeros((len(results), len(truth)))
    totals = [np.zeros((2, len(side))) for side in (truth, results)]
    length = max((len(track.masks) for track in (*truth, *results)), default=0)
    for frame in range(length):
        sides = [[track.masks[frame] for track in side] for side in (truth, results)]
        if not any(rle is not None for side in sides for rle in side):
            continue
        mine, theirs = _pack(sides)
        for total, masks, side in zip(totals, (mine, theirs), sides, strict=True):
            total[0] += masks.areas
            total[1] += [rle is not None for rle in side]
        both = theirs.areas[:, None] + mine.areas[None, :].astype(np.float64)
        iou = theirs.iou(mine)
        common = np.rint(iou * both / (1.0 + iou))
        shared += common
        united += both - common
    areas = [total[0] / np.maximum(total[1], 1) for total in totals]
    return np.where(united > 0, shared / np.maximum(united, 1), 0.0), areas[0], areas[1]


def _pack(sides: Sequence[Sequence[Rle | None]]) -> list[Masks]:
    """Masks of one frame, empty ones where a track is absent."""
    height, width = next(rle["size"] for side in sides for rle in side if rle is not None)
    packed = []
    for side in sides:
        present = [rle for rle in side if rle is not None]
        row = np.full(len(side), -1, np.int64)
        row[[k for k, rle in enumerate(side) if rle is not None]] = np.arange(len(present))
        packed.append(Masks.from_rle(present, height, width).select(row))
    return packed


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@kernel
def _match(iou, ignore, crowd, thresholds):  # type: ignore[no-untyped-def]
    """COCO's greedy rule: results in order, true tracks that count before those that are ignored."""
    n_results, n_truth = iou.shape
    found = np.zeros((len(thresholds), n_results), np.bool_)
    ignored = np.zeros((len(thresholds), n_results), np.bool_)
    for t in range(len(thresholds)):
        taken = np.zeros(n_truth, np.bool_)
        for d in range(n_results):
            best, mate = min(thresholds[t], 1.0 - 1e-10), -1
            for g in range(n_truth):
                if taken[g] and not crowd[g]:
                    continue
                if mate >= 0 and not ignore[mate] and ignore[g]:
                    break
                if iou[d, g] >= best:
                    best, mate = iou[d, g], g
            if mate >= 0:
                taken[mate] = True
                found[t, d], ignored[t, d] = True, ignore[mate]
    return found, ignored
