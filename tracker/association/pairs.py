"""Pairs: the search for tracks and detections that are worth a look.

Pairs come from a grid, never from an N x M matrix (unless a plan wants all of them), and leave as sparse rows: the
pairs of row i are entries starts[i] to starts[i + 1] of `columns` and `weights`. A weight is by how much a pair beats
its gate; only pairs with a weight above 0 are worth matching.
"""

from __future__ import annotations

import math

import numpy as np

from tracker._jit import inlined, kernel
from tracker.association.history import direction, look_back
from tracker.association.state import (
    ALL_INTS,
    CELLS,
    COLUMNS,
    DETECTION_BOX,
    DETECTION_SCORE,
    DISTANCE,
    FACTOR,
    GATHERED,
    GROUP,
    HEADING,
    HITS,
    KIND,
    ORDER,
    ROWS,
    STARTS,
)

_SLACK = 1e-6  # windows are this much wider than the exact bound, so that rounding never hides a pair


@kernel
def find_pairs(n_rows, n_columns, row_box, column_box, gate, pixel, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Find the pairs of boxes with `iou * factor > gate`.

    Rows are the first `n_rows` entries of `ROWS`, columns the first `n_columns` of `COLUMNS`; these say which column
    of the state's `reals` has the box, and `row_box`, `column_box` in which four rows it is (x1, y1, x2, y2).
    `FACTOR` holds a factor > 0 for each column, by its place in `COLUMNS`. `gate` is at least 0; `pixel` is added to
    every width and height: 0.0, or 1.0 for boxes that include their last pixel.

    `STARTS`, `weights` and `columns` get the pairs, `columns` as places in `COLUMNS`, in no particular order within a
    row. `GATHERED`, `ORDER` and `CELLS` are used.

    Returns:
        Number of pairs. Where it is greater than the buffers are long, the rest was counted but not stored.
    """
    ints[STARTS, 0] = 0
    if n_rows == 0 or n_columns == 0:
        for i in range(n_rows):
            ints[STARTS, i + 1] = 0
        return 0
    cells = ints[CELLS:ALL_INTS].reshape(-1)
    left, top, across, down, nx, ny, widest, highest, best = _fill_grid(
        n_columns, column_box, pixel, reals, ints, cells
    )
    least = gate / max(best, 1.0) * (1.0 - _SLACK)  # the plain IoU that a pair needs whatever its factor
    rest = 1.0 - least
    n, room = 0, len(weights)
    for i in range(n_rows):
        t = ints[ROWS, i]
        x1, y1 = reals[row_box, t], reals[row_box + 1, t]
        x2, y2 = reals[row_box + 2, t] + pixel, reals[row_box + 3, t] + pixel
        w, h = x2 - x1, y2 - y1
        # iou > least needs an overlap wider than `least` times either width, so the corner x1 of a partner lies
        # between x1 - (1 - least) * its width and x1 + (1 - least) * w, and its width is below w / least
        reach_x = min(widest, w / least) if least > 0 else widest
        reach_y = min(highest, h / least) if least > 0 else highest
        from_x, to_x = (x1 - rest * reach_x - left) * across, (x1 + rest * w - left) * across
        from_y, to_y = (y1 - rest * reach_y - top) * down, (y1 + rest * h - top) * down
        if to_x >= 0 and to_y >= 0 and from_x < nx and from_y < ny:
            low, high = int(max(from_x, 0.0)), int(min(to_x, nx - 1.0))
            for r in range(int(max(from_y, 0.0)), int(min(to_y, ny - 1.0)) + 1):
                for p in range(cells[r * nx + low], cells[r * nx + high + 1]):
                    a1, b1 = reals[GATHERED, p], reals[GATHERED + 1, p]
                    a2, b2 = reals[GATHERED + 2, p], reals[GATHERED + 3, p]
                    if (a1 >= x2) | (a2 <= x1) | (b1 >= y2) | (b2 <= y1):
                        continue
                    inter = (min(x2, a2) - max(x1, a1)) * (min(y2, b2) - max(y1, b1))
                    weight = inter / (w * h + reals[GATHERED + 4, p] - inter) * reals[GATHERED + 5, p] - gate
                    if weight > 0:
                        if n < room:
                            weights[n] = weight
                            columns[n] = ints[ORDER, p]
                        n += 1
        ints[STARTS, i + 1] = n
    return n


@kernel
def add_direction(longest, weight, frame, n_rows, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Add to every pair how well the detection lies ahead of the track.

    With the angle between the way that the track went (`HEADING`) and the way from its detection up to `longest`
    frames ago to this one: weight * score * (pi / 2 - angle) / pi. A track that has no heading yet gets nothing.

    Source: OC-SORT, arXiv:2203.14360, section 4.2 (observation-centric momentum); times score as in the authors' code.
    """
    for i in range(n_rows):
        t = ints[ROWS, i]
        if ints[HITS, t] < 2 or (reals[HEADING, t] == 0 and reals[HEADING + 1, t] == 0):
            continue
        x, y = look_back(longest, reals, ints, t, frame)
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            j = ints[COLUMNS, columns[e]]
            to_x = (reals[DETECTION_BOX, j] + reals[DETECTION_BOX + 2, j]) / 2
            to_y = (reals[DETECTION_BOX + 1, j] + reals[DETECTION_BOX + 3, j]) / 2
            dx, dy = direction(x, y, to_x, to_y)
            cosine = min(max(dx * reals[HEADING, t] + dy * reals[HEADING + 1, t], -1.0), 1.0)
            weights[e] += weight * reals[DETECTION_SCORE, j] * (0.5 - math.acos(cosine) / math.pi)


@inlined
def weigh_heights(power, gate, box, n_rows, pixel, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Multiply what `find_pairs` found by the shared height to a power, and drop what does not beat the gate any more.

    The shared height is cue "height_iou": at most 1, so that no pair is missed. Returns how many are left.

    Source: Hybrid-SORT, arXiv:2308.00783, section 3.2 (height modulated IoU).
    """
    d, n, first = DETECTION_BOX, 0, 0
    for i in range(n_rows):
        t, end = ints[ROWS, i], ints[STARTS, i + 1]
        y1, y2 = reals[box + 1, t], reals[box + 3, t] + pixel
        for e in range(first, end):
            j = ints[COLUMNS, columns[e]]
            b1, b2 = reals[d + 1, j], reals[d + 3, j] + pixel
            shared = (min(y2, b2) - max(y1, b1)) / (max(y2, b2) - min(y1, b1))
            weight = (weights[e] + gate) * shared**power - gate
            if weight > 0:
                weights[n] = weight
                columns[n] = columns[e]
                n += 1
        first = end
        ints[STARTS, i + 1] = n
    return n


@kernel
def fill_pairs(bonus, n_rows, n_columns, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Add the pairs that are missing, with weight 0, and then `bonus` to all. `DISTANCE` is used.

    With a bonus that makes every weight positive nobody stays alone who need not: the best matching of these pairs is
    then what a solver of the full matrix returns.

    Returns:
        Number of pairs. Where it is greater than the buffers are long, nothing was changed.
    """
    if n_rows * n_columns > len(weights):
        return n_rows * n_columns
    for i in range(n_rows - 1, -1, -1):  # from the last row on: no row grows over one that was not moved yet
        for j in range(n_columns):
            reals[DISTANCE, j] = 0.0
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            reals[DISTANCE, columns[e]] = weights[e]
        first = i * n_columns
        for j in range(n_columns):
            weights[first + j] = reals[DISTANCE, j] + bonus
            columns[first + j] = j
        ints[STARTS, i + 1] = first + n_columns
    return n_rows * n_columns


@inlined
def drop_other_groups(n_rows, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Keep only the pairs of a track and a detection of one class, or group of classes; returns how many are left."""
    n, first = 0, 0
    for i in range(n_rows):
        end = ints[STARTS, i + 1]
        for e in range(first, end):
            if ints[KIND, ints[COLUMNS, columns[e]]] == ints[GROUP, ints[ROWS, i]]:
                columns[n] = columns[e]
                weights[n] = weights[e]
                n += 1
        first = end
        ints[STARTS, i + 1] = n
    return n


@inlined
def _fill_grid(n, box, pixel, reals, ints, cells):  # type: ignore[no-untyped-def]
    """Sort the boxes of `COLUMNS` into cells by their first corner; gathers boxes, areas and factors in that order.

    Afterwards cell c holds entries cells[c] to cells[c + 1]. Returns the grid's origin, cells per pixel, cells across
    and down, the greatest width and height and the greatest factor.
    """
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    widest, highest, all_widths, all_heights, best = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(n):
        j = ints[COLUMNS, k]
        x, y = reals[box, j], reals[box + 1, j]
        w, h = reals[box + 2, j] - x + pixel, reals[box + 3, j] - y + pixel
        left, right = min(left, x), max(right, x)
        top, bottom = min(top, y), max(bottom, y)
        widest, highest = max(widest, w), max(highest, h)
        all_widths += w
        all_heights += h
        best = max(best, reals[FACTOR, k])
    nx, ny = 1, 1
    if n > 12:  # about one mean box per cell; below this a single cell is quicker
        nx = int(max(1.0, min(64.0, (right - left) * n / all_widths)))
        ny = int(max(1.0, min(64.0, (bottom - top) * n / all_heights)))
        while nx * ny > 4 * n:
            nx = (nx + 1) // 2
            ny = (ny + 1) // 2
    across = nx * (1 - 1e-9) / (right - left + 1e-9)
    down = ny * (1 - 1e-9) / (bottom - top + 1e-9)
    for c in range(nx * ny + 2):
        cells[c] = 0
    for k in range(n):
        j = ints[COLUMNS, k]
        cells[_cell(reals[box, j], reals[box + 1, j], left, top, across, down, nx) + 2] += 1
    for c in range(2, nx * ny + 2):
        cells[c] += cells[c - 1]
    for k in range(n):
        j = ints[COLUMNS, k]
        x1, y1, x2, y2 = reals[box, j], reals[box + 1, j], reals[box + 2, j] + pixel, reals[box + 3, j] + pixel
        c = _cell(x1, y1, left, top, across, down, nx) + 1
        p = cells[c]
        cells[c] += 1
        ints[ORDER, p] = k
        reals[GATHERED, p], reals[GATHERED + 1, p], reals[GATHERED + 2, p], reals[GATHERED + 3, p] = x1, y1, x2, y2
        reals[GATHERED + 4, p] = (x2 - x1) * (y2 - y1)
        reals[GATHERED + 5, p] = reals[FACTOR, k]
    return left, top, across, down, nx, ny, widest, highest, best


@inlined
def _cell(x, y, left, top, across, down, nx):  # type: ignore[no-untyped-def]
    return int((y - top) * down) * nx + int((x - left) * across)
