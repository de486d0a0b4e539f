"""Sway: how the camera moved since the last frame, from nothing but boxes, for plans with `camera="boxes"`.

Tracks that are each other's best with a detection are nearly always right, whoever they are; what they all miss their
predictions by is the camera's doing. The median of that moves every track, also those that nobody saw: between a
handful of pairs it is not led astray by a wrong one or by people who turn.
"""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined, kernel
from tracker.association.motion import XYXY
from tracker.association.pairs import find_pairs
from tracker.association.state import (
    BOX,
    CENTRE,
    COLUMNS,
    DETECTION_BOX,
    DETECTION_SCORE,
    DISTANCE,
    DUAL,
    FACTOR,
    FROZEN,
    HITS,
    LAST_BOX,
    MATE_OF_COLUMN,
    MATE_OF_ROW,
    MISSES,
    PAST,
    PAST_FRAMES,
    ROWS,
    STARTS,
    USABLE,
    V,
    X,
)
from tracker.association.table import FORM, PIXEL, RULES

_LEAST_SCORE = 0.5  # of a detection that says where the camera went
_LEAST_IOU = 0.3  # of a pair
_LEAST_PAIRS = 3
_INTO_VELOCITY = 0.5  # share of the motion that is expected to go on


@kernel
def follow_camera(plan, reals, ints, n, n_detections, dt, weights, columns):  # type: ignore[no-untyped-def]
    """Move all tracks, and what they remember, by the camera's motion; their boxes are predicted already.

    It is the median, for x and y apart, of (detection's centre - predicted centre) over pairs of a track that was seen
    in the frame before and at least once before that, and a detection that scores `_LEAST_SCORE`, that are each
    other's best by IoU and overlap by more than `_LEAST_IOU`. With less than `_LEAST_PAIRS` nothing moves.
    `_INTO_VELOCITY` of it goes into the velocities, per nominal frame or per the `dt` that passed if that was longer.

    Returns:
        Number of candidate pairs. Where it is greater than the buffers are long, nothing was changed.
    """
    n_rows, n_columns = 0, 0
    for i in range(n):
        if ints[MISSES, i] == 0 and ints[HITS, i] > 1:
            ints[ROWS, n_rows] = i
            n_rows += 1
    for j in range(n_detections):
        if ints[USABLE, j] != 0 and reals[DETECTION_SCORE, j] >= _LEAST_SCORE:
            ints[COLUMNS, n_columns] = j
            reals[FACTOR, n_columns] = 1.0
            n_columns += 1
    box, detection_box = np.int64(BOX), np.int64(DETECTION_BOX)  # not literals: the search is compiled already
    n_pairs = find_pairs(
        n_rows, n_columns, box, detection_box, _LEAST_IOU, plan[RULES, PIXEL], reals, ints, weights, columns
    )
    if n_pairs > len(weights):
        return n_pairs
    n_moves = _measure_moves(n_rows, n_columns, reals, ints, weights, columns)
    if n_moves >= _LEAST_PAIRS:
        dx, dy = median(reals[DUAL], n_moves), median(reals[DISTANCE], n_moves)
        _move(int(plan[RULES, FORM]), reals, n, dx, dy, _INTO_VELOCITY / max(dt, 1.0))
    return n_pairs


@inlined
def _measure_moves(n_rows, n_columns, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Way from prediction to detection, x in `DUAL` and y in `DISTANCE`, of all mutually best pairs; their number.

    Of equal overlaps the lower row or column is the better.
    """
    for k in range(n_columns):
        ints[MATE_OF_COLUMN, k] = -1
        reals[DISTANCE, k] = 0.0
    for i in range(n_rows):
        best, most = -1, 0.0
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            k, weight = columns[e], weights[e]
            if weight > most or (weight == most and k < best):
                best, most = k, weight
            if weight > reals[DISTANCE, k]:
                ints[MATE_OF_COLUMN, k], reals[DISTANCE, k] = i, weight
        ints[MATE_OF_ROW, i] = best
    n = 0
    for i in range(n_rows):
        k = ints[MATE_OF_ROW, i]
        if k >= 0 and ints[MATE_OF_COLUMN, k] == i:
            t, j = ints[ROWS, i], ints[COLUMNS, k]
            d = DETECTION_BOX
            reals[DUAL, n] = (reals[d, j] + reals[d + 2, j] - reals[BOX, t] - reals[BOX + 2, t]) / 2
            reals[DISTANCE, n] = (reals[d + 1, j] + reals[d + 3, j] - reals[BOX + 1, t] - reals[BOX + 3, t]) / 2
            n += 1
    return n


@kernel
def median(values, n):  # type: ignore[no-untyped-def]
    """Median of the first `n` values, n > 0, which change places; the mean of the middle two where n is even."""
    middle, low, high = n // 2, 0, n - 1
    while low < high:  # Hoare's search: afterwards nobody before `middle` is greater, nobody behind it is less
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < middle:
            low = i
        if i > middle:
            high = j
    if n % 2:
        return values[middle]
    below = values[0]
    for k in range(1, middle):
        below = max(below, values[k])
    return (below + values[middle]) / 2


@inlined
def _move(form, reals, n, dx, dy, into_velocity):  # type: ignore[no-untyped-def]
    """Move every place that a track has by (dx, dy), and add a share of it to its velocity."""
    for row in (X, FROZEN, BOX, BOX + 2, LAST_BOX, LAST_BOX + 2, CENTRE):
        _move_points(row, reals, n, dx, dy)
    for k in range(PAST_FRAMES):
        _move_points(PAST + 2 * k, reals, n, dx, dy)
    if form == XYXY:  # corners, and tracks that rest where they were
        _move_points(X + 2, reals, n, dx, dy)
        _move_points(FROZEN + 2, reals, n, dx, dy)
    else:
        _move_points(V, reals, n, into_velocity * dx, into_velocity * dy)


@inlined
def _move_points(row, reals, n, dx, dy):  # type: ignore[no-untyped-def]
    x, y = reals[row], reals[row + 1]
    for i in range(n):
        x[i] += dx
        y[i] += dy
