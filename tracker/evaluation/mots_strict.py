"""sMOTSA as the MOTS authors' own tools compute it: a match needs an IoU above one half, not of one half.

`Mots` follows TrackEval (IoU of at least 0.5, its own fragments); the two differ where masks are small. Say which one
a number is.

Source: MOTS, arXiv:1902.03604, section 4; numbers as `mots_tools` gives them, MODSP, fragments and all.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DetectionsError
from tracker.evaluation.mots_rules import share_inside
from tracker.formats.mots import IGNORE, MotsFrame
from tracker.masks import Masks

_TP, _FP, _FN, _IDS, _FRAG, _MT, _PT, _ML, _IGNORED, _FRAMES, _LOCATED, _PRECISION, _SUMS = range(13)
_NAMES = ("TP", "FP", "FN", "IDS", "Frag", "MT", "PT", "ML", "ignored", "frames")


class MotsStrict:
    """MOTSA, sMOTSA and the rest of one class, of one or more sequences. Memory follows the length of true tracks."""

    def __init__(self) -> None:
        self._done = np.zeros(_SUMS)
        self._begin()

    def _begin(self) -> None:
        self._sums = np.zeros(_SUMS)
        self._mates: dict[int, list[int]] = {}  # true id -> id of the match in each frame that has it, -1 for none

    def update(self, truth: MotsFrame | None, result: MotsFrame | None, mots_class: int) -> None:
        """Take the next frame.

        A result that is unmatched, and lies with over half of its pixels in the frame's ignore regions, is left out.

        Args:
            truth: true objects and regions to ignore (class 10); None is a frame without any.
            result: likewise, of the result.
            mots_class: what is judged, 1 car or 2 pedestrian; objects of other classes are left out.

        Raises:
            MasksError: truth and result differ in size.
            DetectionsError: an id stands twice in a frame, or masks of one side overlap.
        """
        true_ids, true_masks = _of_class(truth, mots_class, "truth")
        ids, masks = _of_class(result, mots_class, "result")
        sums = self._sums
        sums[_FRAMES] += 1
        mates = np.full(len(true_ids), -1, np.int64)
        free = np.ones(len(ids), np.bool_)
        located = 0.0
        if true_masks is not None and masks is not None and len(true_ids) and len(ids):
            iou = true_masks.iou(masks)
            g, p = np.nonzero(iou > 0.5)  # at most one for each, since masks of a side share no pixel
            mates[g], free[p] = ids[p], False
            located = float(iou[g, p].sum())
        matches = int((mates >= 0).sum())
        if truth is not None and masks is not None and len(masks):
            regions = truth.masks.select(truth.classes == IGNORE)
            ignored = int((free & (share_inside(masks, regions) > 0.5)).sum())
        else:
            ignored = 0
        sums[_TP] += matches
        sums[_FN] += len(true_ids) - matches
        sums[_FP] += len(ids) - matches - ignored
        sums[_IGNORED] += ignored
        sums[_LOCATED] += located
        sums[_PRECISION] += located / matches if matches else 1.0
        for true_id, mate in zip(true_ids.tolist(), mates.tolist(), strict=True):
            self._mates.setdefault(true_id, []).append(mate)

    def merge(self, other: MotsStrict) -> None:
        """Add the sequences of `other`, which stays as it was; the own one is over."""
        self._done = self._total() + other._total()
        self._begin()

    def result(self) -> dict[str, float]:
        """Scores from the counts.

        Without a true object MOTSA, sMOTSA and MODSA are -inf, without a match MOTSP is inf, as in the original.
        `MODSP` is a mean over frames, in which a frame without a match counts as 1. MT, PT and ML are counts.
        """
        sums = self._total()
        tp, fp, fn, switches = sums[:4].tolist()
        truth = tp + fn
        counts: dict[str, float] = {name: int(count) for name, count in zip(_NAMES, sums, strict=False)}

        def rate(errors: float, won: float) -> float:
            return (won - errors) / truth if truth else -math.inf

        late = math.log10(switches) if switches > 0 else 0.0
        return {
            "sMOTSA": rate(fp + switches, float(sums[_LOCATED])),
            "MOTSA": rate(fp + switches, tp),
            "MOTSP": float(sums[_LOCATED] / tp) if tp else math.inf,
            "MODSA": rate(fp, tp),
            "MODSP": float(sums[_PRECISION] / sums[_FRAMES]) if sums[_FRAMES] else math.nan,
            "MOTSAL": rate(fp + late, tp),
            "recall": tp / truth if truth else 0.0,
            "precision": tp / (tp + fp) if tp + fp else 0.0,
            "F1": 2 * tp / (2 * tp + fp + fn) if tp else 0.0,
            **counts,
        }

    def _total(self) -> NDArray[np.float64]:
        """Sums over all sequences, the running one included."""
        sums = self._done + self._sums
        for mates in self._mates.values():
            switches, fragments, tracked = _follow(mates)
            sums[_IDS] += switches
            sums[_FRAG] += fragments
            sums[_MT if tracked > 0.8 else _ML if tracked < 0.2 else _PT] += 1
        return sums


def _follow(mates: list[int]) -> tuple[int, int, float]:
    """Identity switches, fragments and the matched share of one true track.

    A fragment begins where the mate differs from the one before, in a track that was matched at some time up to then,
    and lasts for another frame or is the track's last one.
    """
    switches = fragments = 0
    last = mates[0]
    for k in range(1, len(mates)):
        mate = mates[k]
        if mate < 0:
            continue
        at_end = k == len(mates) - 1
        switches += last >= 0 and last != mate
        fragments += mates[k - 1] != mate and (at_end or (last >= 0 and mates[k + 1] >= 0))
        last = mate
    return switches, fragments, sum(mate >= 0 for mate in mates) / len(mates)


def _of_class(frame: MotsFrame | None, mots_class: int, side: str) -> tuple[NDArray[np.int64], Masks | None]:
    if frame is None:
        return np.zeros(0, np.int64), None
    rows = np.flatnonzero(frame.classes == mots_class)
    ids, masks = frame.ids[rows], frame.masks.select(rows)
    if len(np.unique(ids)) != len(ids):
        raise DetectionsError(f"expected each id once in a frame of the {side}, got {ids.tolist()}")
    if masks.disjoint().areas.sum() != masks.areas.sum():
        raise DetectionsError(f"expected masks without a shared pixel in a frame of the {side}")
    return ids, masks
