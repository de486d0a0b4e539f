"""Suppression: SiamMOT's solver. Tracks come with rows of their own, searched for by a network, and compete for places.

A row of `Detections` whose `track_ids` names a track is where learned motion found it again, its score how surely.
Rows of seen tracks come before rows of coasting ones, these before fresh detections; what overlaps a better row is left
out, a track among them coasts on. The network's boxes replace a motion model (`motion="none"`).
"""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined, kernel
from tracker.association.cues import overlap
from tracker.association.state import (
    COASTING,
    DETECTION_BOX,
    DETECTION_SCORE,
    ID,
    MISSES,
    PHASE,
    SOURCE,
    TAKEN,
    TENTATIVE,
    USABLE,
)
from tracker.association.table import (
    KEEP_SCORE,
    PIXEL,
    RESUME_SCORE,
    RULES,
    SEARCH_FRAMES,
    SUPPRESS_APART,
    SUPPRESS_IOU,
)

TAKEN_WEAKLY = 2
"""`TAKEN` of a row that shows where a coasting track is but does not bring it back.

As in the authors' code the row keeps its id even in the frame in which the track's time is over: there the track is
`TENTATIVE`, with misses, and gone in the next frame.
"""

_FRESH = -1


@kernel
def match_known(plan, reals, ints, n, n_detections, looks):  # type: ignore[no-untyped-def]
    """Hand tracks the rows that were searched for them, unless these are suppressed or too weak.

    Rows that lost are no longer `USABLE`: they start no track. What is left of the scores is written back: as in the
    authors' code a score is added to 0, 1 or 2 as float32 and taken out again, so exactly 1 becomes 0.

    Source: SiamMOT, arXiv:2105.11595, the authors' `track_solver.py` (`spec/siammot.md` 1.10).
    """
    owner, rank = np.empty(n_detections, np.int64), np.empty(n_detections, np.float32)
    for j in range(n_detections):
        score = np.float32(reals[DETECTION_SCORE, j])
        owner[j], rank[j] = _FRESH, score
        if looks.track_ids[j] >= 0:
            owner[j] = column_of(looks.track_ids[j], ints, n)
            if owner[j] < 0 or is_over(owner[j], ints):
                ints[USABLE, j] = 0  # a track that lives no more
                continue
            if plan[RULES, SEARCH_FRAMES] > 0 and ints[MISSES, owner[j]] > plan[RULES, SEARCH_FRAMES]:
                ints[USABLE, j] = 0  # a track that nobody searches for any more
                continue
            score += np.float32(1)
            if ints[PHASE, owner[j]] != COASTING:
                score += np.float32(1)
        rank[j] = score
    if plan[RULES, SUPPRESS_APART] > 0:
        _suppress_apart(plan, reals, ints, owner)
    else:
        _suppress(plan, reals, ints, rank, np.ones(n_detections, np.uint8))
    for j in range(n_detections):
        if ints[USABLE, j] == 0:
            continue
        score = rank[j]
        if score >= 2:
            score -= np.float32(2)
        if score >= 1:
            score -= np.float32(1)
        reals[DETECTION_SCORE, j] = score
        t = owner[j]
        if t == _FRESH:
            continue
        resumed = ints[PHASE, t] != COASTING or score >= plan[RULES, RESUME_SCORE]
        if score < plan[RULES, KEEP_SCORE]:
            ints[USABLE, j] = 0
            if resumed:
                ints[MISSES, t] = 0  # its time starts anew
            continue
        ints[SOURCE, t] = j
        ints[TAKEN, j] = 1 if resumed else TAKEN_WEAKLY


@inlined
def is_over(t, ints):  # type: ignore[no-untyped-def]
    """Whether a track was in the last frame for the last time, see `TAKEN_WEAKLY`."""
    return ints[PHASE, t] == TENTATIVE and ints[MISSES, t] > 0


@inlined
def column_of(track_id, ints, n):  # type: ignore[no-untyped-def]
    """Column of a live track, -1 for none; ids ascend."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if ints[ID, middle] < track_id:
            low = middle + 1
        else:
            high = middle
    return low if low < n and ints[ID, low] == track_id else -1


@inlined
def _suppress_apart(plan, reals, ints, owner):  # type: ignore[no-untyped-def]
    """Rows of tracks among themselves, detections among themselves, then detections by rows of tracks.

    Source: SiamMOT, arXiv:2105.11595, section 3.3 "Inference", where it differs from the authors' code.
    """
    n = len(owner)
    score, fresh = np.empty(n, np.float32), np.empty(n, np.uint8)
    for j in range(n):
        score[j], fresh[j] = reals[DETECTION_SCORE, j], owner[j] == _FRESH
    _suppress(plan, reals, ints, score, fresh)
    _suppress(plan, reals, ints, score, 1 - fresh)
    for i in range(n):
        if fresh[i] != 0 or ints[USABLE, i] == 0:
            continue
        for j in range(n):
            iou = overlap(DETECTION_BOX, i, DETECTION_BOX, j, plan[RULES, PIXEL], reals)
            if fresh[j] != 0 and iou >= plan[RULES, SUPPRESS_IOU]:
                ints[USABLE, j] = 0


@inlined
def _suppress(plan, reals, ints, rank, among):  # type: ignore[no-untyped-def]
    """Of rows that overlap as much as `SUPPRESS_IOU` or more only the best stays `USABLE`; ties: the earlier row.

    Only rows with a mark in `among` take part.
    """
    n = len(rank)
    done = np.empty(n, np.uint8)
    for i in range(n):
        done[i] = ints[USABLE, i] == 0 or among[i] == 0
    while True:
        i = -1
        for j in range(n):
            if done[j] == 0 and (i < 0 or rank[j] > rank[i]):
                i = j
        if i < 0:
            return
        done[i] = 1
        for j in range(n):
            if done[j] != 0:
                continue
            iou = overlap(DETECTION_BOX, i, DETECTION_BOX, j, plan[RULES, PIXEL], reals)
            if iou >= plan[RULES, SUPPRESS_IOU]:
                ints[USABLE, j] = 0
                done[j] = 1
