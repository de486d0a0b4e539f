"""Rectangular matching: the full matrix of every class, in which nobody who can have a partner stays alone.

Pairs without overlap are all worth the same, and which of them a solver returns is its own affair; but some published
code numbers its new tracks by that. This solver takes the ways of the one that Python code uses, scipy's.
"""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined, kernel
from tracker.association.state import MATE_OF_COLUMN, MATE_OF_ROW, STARTS


@kernel
def match_rectangular(n_rows, n_columns, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Matching of greatest total weight, like `matching.match_exact`, in which pairs of weight 0 are matched too.

    Tracks and detections that no pairs connect, such as those of two classes, are matched apart. Within such a part a
    pair without an entry weighs 0, and is taken out of the result again. Weights are at least 0. Among equally good
    matchings it returns that of `scipy.optimize.linear_sum_assignment` on the matrix (detections, tracks).
    """
    for i in range(n_rows):
        ints[MATE_OF_ROW, i] = -1
    for j in range(n_columns):
        ints[MATE_OF_COLUMN, j] = -1
    starts = ints[STARTS]
    part = _connect(n_rows, n_columns, starts, columns)
    ours, theirs, place = np.empty(n_rows, np.int64), np.empty(n_columns, np.int64), np.empty(n_columns, np.int64)
    for p in range(n_columns):
        n, m = 0, 0
        for i in range(n_rows):
            if starts[i] < starts[i + 1] and part[columns[starts[i]]] == p:
                ours[n] = i
                n += 1
        if n == 0:
            continue
        for j in range(n_columns):
            if part[j] == p:
                theirs[m], place[j] = j, m
                m += 1
        cost = np.zeros((m, n))
        offered = np.zeros((m, n), np.bool_)
        for k in range(n):
            for e in range(starts[ours[k]], starts[ours[k] + 1]):
                cost[place[columns[e]], k] = -weights[e]
                offered[place[columns[e]], k] = True
        mates = _solve(cost) if m <= n else _solve(np.ascontiguousarray(cost.T))
        for a in range(len(mates)):
            k, r = (mates[a], a) if m <= n else (a, mates[a])
            if offered[r, k]:
                ints[MATE_OF_ROW, ours[k]] = theirs[r]
                ints[MATE_OF_COLUMN, theirs[r]] = ours[k]


@inlined
def _connect(n_rows, n_columns, starts, columns):  # type: ignore[no-untyped-def]
    """For each column the first column of its part: those that share a row are in one."""
    part = np.empty(n_columns, np.int64)
    for j in range(n_columns):
        part[j] = j
    for i in range(n_rows):
        for e in range(starts[i] + 1, starts[i + 1]):
            a, b = columns[starts[i]], columns[e]
            while part[a] != a:
                a = part[a]
            while part[b] != b:
                b = part[b]
            part[max(a, b)] = min(a, b)
    for j in range(n_columns):
        part[j] = part[part[j]]  # its parent is an earlier column, and done
    return part


@kernel
def _solve(cost):  # type: ignore[no-untyped-def]
    """Column of each row in a matching of all rows of least total cost; (n, m) float64 with n <= m.

    Source: Crouse, "On implementing 2D rectangular assignment algorithms", IEEE TAES 52 (2016). Ties as in scipy: free
    columns first, then as in a list of the columns, last one first, whose last member takes the place of one that left.
    """
    n, m = cost.shape
    row_dual, column_dual = np.zeros(n), np.zeros(m)
    mate, owner = np.full(n, -1), np.full(m, -1)
    parent, left, length = np.empty(m, np.int64), np.empty(m, np.int64), np.empty(m)
    for row in range(n):
        for k in range(m):
            left[k], length[k] = m - 1 - k, np.inf
        n_left, reached, i, end = m, 0.0, row, -1
        while end < 0:
            best, least = -1, np.inf
            for k in range(n_left):
                j = left[k]
                way = reached + cost[i, j] - row_dual[i] - column_dual[j]
                if way < length[j]:
                    parent[j], length[j] = i, way
                if length[j] < least or (length[j] == least and owner[j] < 0):
                    best, least = k, length[j]
            reached, j = least, left[best]
            n_left -= 1
            left[best], left[n_left] = left[n_left], j  # what left the list stands behind it
            if owner[j] < 0:
                end = j
            else:
                i = owner[j]
        row_dual[row] += reached
        for k in range(n_left, m):
            j = left[k]
            column_dual[j] -= reached - length[j]
            if owner[j] >= 0:
                row_dual[owner[j]] += reached - length[j]
        i = -1
        while i != row:
            i = parent[end]
            owner[end] = i
            end, mate[i] = mate[i], end
    return mate
