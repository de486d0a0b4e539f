"""Choosing: detections pick their tracks themselves, as some systems' authors have it; no total is optimised."""

from __future__ import annotations

import numpy as np

from tracker._jit import kernel
from tracker.association.state import (
    DISTANCE,
    FACTOR,
    MATE_OF_COLUMN,
    MATE_OF_ROW,
    MISSES,
    PARENT,
    ROWS,
    STARTS,
)


@kernel
def match_nearest(n_rows, n_columns, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Each detection, in the order given, takes the track of greatest weight that is left.

    Ties go to the track that was seen last, then to the older one: where an object stands still, a track that was lost
    there and one that was not are equally far.

    An entry of column -1 - j instead of j is a pair that the gate refuses but that competes all the same: if it is
    the best one, the detection stays alone and the track remains for the ones that follow. Takes and writes what
    `matching.match_exact` does; weights may be negative.

    Source: Motion-DeepLab, STEP, arXiv:2102.11859, as in the authors' code.
    """
    for i in range(n_rows):
        ints[MATE_OF_ROW, i] = -1
    first, filled = np.empty(n_columns + 1, np.int64), np.empty(n_columns + 1, np.int64)  # the pairs by column
    for j in range(n_columns + 1):
        first[j] = 0
    for e in range(ints[STARTS, n_rows]):
        first[max(columns[e], -1 - columns[e]) + 1] += 1
    for j in range(n_columns):
        first[j + 1] += first[j]
        filled[j] = first[j]
        ints[MATE_OF_COLUMN, j] = -1
    row_of, entry = np.empty(first[n_columns], np.int64), np.empty(first[n_columns], np.int64)
    for i in range(n_rows):
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            j = max(columns[e], -1 - columns[e])
            row_of[filled[j]], entry[filled[j]] = i, e
            filled[j] += 1
    for j in range(n_columns):
        best, most, least_unseen = -1, -np.inf, 0
        for k in range(first[j], first[j + 1]):
            if ints[MATE_OF_ROW, row_of[k]] >= 0 or weights[entry[k]] < most:
                continue
            unseen = ints[MISSES, ints[ROWS, row_of[k]]]
            if weights[entry[k]] > most or unseen < least_unseen:
                best, most, least_unseen = k, weights[entry[k]], unseen
        if best >= 0 and columns[entry[best]] >= 0:
            ints[MATE_OF_ROW, row_of[best]] = j
            ints[MATE_OF_COLUMN, j] = row_of[best]


@kernel
def match_by_claim(n_rows, n_columns, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Each detection claims its heaviest track; of several claims on one the strongest wins, the others get nothing.

    A claim is as strong as its weight and the detection's `FACTOR` together. Ties: the older track is claimed, the
    earlier detection wins. Takes and writes what `matching.match_exact` does.

    Source: VPSNet and MaskTrack R-CNN (arXiv:1905.04804), `spec/mots-step.md` 1.12.
    """
    for j in range(n_columns):
        ints[MATE_OF_COLUMN, j] = -1
        ints[PARENT, j] = -1
        reals[DISTANCE, j] = 0.0
    for i in range(n_rows):
        ints[MATE_OF_ROW, i] = -1
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            j = columns[e]
            if weights[e] > reals[DISTANCE, j]:
                reals[DISTANCE, j] = weights[e]
                ints[PARENT, j] = i
    for j in range(n_columns):
        i = ints[PARENT, j]
        if i < 0:
            continue
        holder = ints[MATE_OF_ROW, i]
        if holder >= 0:
            if reals[DISTANCE, j] + reals[FACTOR, j] <= reals[DISTANCE, holder] + reals[FACTOR, holder]:
                continue
            ints[MATE_OF_COLUMN, holder] = -1
        ints[MATE_OF_ROW, i] = j
        ints[MATE_OF_COLUMN, j] = i
