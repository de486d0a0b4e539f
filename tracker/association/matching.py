"""Matching: from weighted pairs to one-to-one matches.

Input are sparse rows as `cues.find_pairs` leaves them: each pair has a weight above 0, and staying alone is worth 0.
`exact` gives the matching of greatest total weight, the same optimum as `lap.lapjv` with `cost_limit` (cost = gate -
weight); `greedy` takes the heaviest pair again and again.

Ties are decided alike in every run, whatever order the pairs come in. `greedy`: the lower row wins (the older track),
then the lower column. `exact`: rows are added one by one in ascending order, and every search step prefers the lower
of equally good columns; an equally good rearrangement of earlier matches is not made.
"""

from __future__ import annotations

from tracker._jit import inlined, kernel
from tracker.association.state import DISTANCE, DUAL, MATE_OF_COLUMN, MATE_OF_ROW, PARENT, STARTS, TOUCHED

_FAR = 1e300
_DONE = -2  # PARENT of a finished column is stored as _DONE - parent, that is below -1


@kernel
def match_exact(n_rows, n_columns, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Matching of greatest total weight, by shortest augmenting paths on the given pairs only.

    Takes the sizes of the two sides (either may be 0), the pairs in `weights`, `columns` and `STARTS`, and writes
    `MATE_OF_ROW` and `MATE_OF_COLUMN`: the partner, or -1.

    Source: Jonker and Volgenant, Computing 38 (1987), with a free "alone" end for every row.
    """
    for j in range(n_columns):
        ints[MATE_OF_COLUMN, j] = -1
        reals[DUAL, j] = 0.0
        reals[DISTANCE, j] = _FAR
    for i in range(n_rows):
        cost, j = 0.0, -1
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            c = -weights[e] - reals[DUAL, columns[e]]
            if c < cost or (c == cost and columns[e] < j):
                cost, j = c, columns[e]
        ints[MATE_OF_ROW, i] = j
        if j < 0:
            continue
        if ints[MATE_OF_COLUMN, j] < 0:
            ints[MATE_OF_COLUMN, j] = i
            continue
        ints[MATE_OF_ROW, i] = -1
        end, loser = _search(i, cost, reals, ints, weights, columns)
        _augment(i, end, loser, ints)


@kernel
def match_certain(n_rows, n_columns, spread, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Only those matches that every best full matching has, however the pairs without an entry are weighed.

    A full matching leaves no row and no column alone that could still be matched. All entries weigh at least
    -`spread`; pairs without an entry weigh between -`spread` and `spread`. If a full matching gives row i to column b
    and column j to row a instead, then i with j and a with b is better by at least w(i, j) - spread - w(i, b) -
    w(a, j). So (i, j) is certain where its weight exceeds the best others of its row and of its column together by
    more than `spread`. Takes and writes what `match_exact` does.
    """
    for j in range(n_columns):
        ints[MATE_OF_COLUMN, j] = -1
        reals[DUAL, j] = reals[DISTANCE, j] = spread  # greatest and second greatest weight of the column
    for i in range(n_rows):
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            j = columns[e]
            if weights[e] > reals[DUAL, j]:
                reals[DUAL, j], reals[DISTANCE, j] = weights[e], reals[DUAL, j]
            elif weights[e] > reals[DISTANCE, j]:
                reals[DISTANCE, j] = weights[e]
    for i in range(n_rows):
        ints[MATE_OF_ROW, i] = -1
        best, most, other = -1, spread, spread
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            if weights[e] > most:
                best, most, other = columns[e], weights[e], most
            elif weights[e] > other:
                other = weights[e]
        if best >= 0 and most >= reals[DUAL, best] and most > other + reals[DISTANCE, best] + spread:
            ints[MATE_OF_ROW, i] = best
            ints[MATE_OF_COLUMN, best] = i


@kernel
def match_greedy(n_rows, n_columns, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Heaviest pair first, then the heaviest of what is left; takes and writes what `match_exact` does.

    Needs no sorting: a pair that is the best choice of both its row and its column is taken by the greedy rule
    whatever happens elsewhere, so all such pairs are taken at once, pass by pass.
    """
    for i in range(n_rows):
        ints[MATE_OF_ROW, i] = -1
    for j in range(n_columns):
        ints[MATE_OF_COLUMN, j] = -1
    found = True
    while found:
        found = False
        for j in range(n_columns):
            ints[PARENT, j] = -1
            reals[DISTANCE, j] = 0.0
        for i in range(n_rows):
            if ints[MATE_OF_ROW, i] < 0:
                for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
                    j = columns[e]
                    if weights[e] > reals[DISTANCE, j]:
                        reals[DISTANCE, j] = weights[e]
                        ints[PARENT, j] = i
        for i in range(n_rows):
            if ints[MATE_OF_ROW, i] >= 0:
                continue
            best, most = -1, 0.0
            for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
                j, weight = columns[e], weights[e]
                if ints[MATE_OF_COLUMN, j] < 0 and (weight > most or (weight == most and j < best)):
                    best, most = j, weight
            if best >= 0 and ints[PARENT, best] == i:
                ints[MATE_OF_ROW, i] = best
                ints[MATE_OF_COLUMN, best] = i
                found = True


@inlined
def _search(first, first_cost, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Shortest way from row `first` to a free column or to a row that had better stay alone; updates the duals.

    Returns the free column or -1, and the row that ends alone (it may be `first`).
    """
    n = 0  # columns reached so far
    row, so_far, row_dual = first, 0.0, first_cost
    alone, alone_row = _FAR, -1
    while True:
        if so_far - row_dual < alone:
            alone, alone_row = so_far - row_dual, row
        for e in range(ints[STARTS, row], ints[STARTS, row + 1]):
            j = columns[e]
            known = reals[DISTANCE, j]
            if known != _FAR and ints[PARENT, j] < -1:
                continue
            d = so_far - weights[e] - reals[DUAL, j] - row_dual
            if d < known:
                if known == _FAR:
                    ints[TOUCHED, n] = j
                    n += 1
                reals[DISTANCE, j] = d
                ints[PARENT, j] = row
        nearest, column = alone, -1
        for k in range(n):
            j = ints[TOUCHED, k]
            d = reals[DISTANCE, j]
            if ints[PARENT, j] >= 0 and (d < nearest or (d == nearest and j < column)):
                nearest, column = d, j
        if column < 0 or ints[MATE_OF_COLUMN, column] < 0:
            break
        row, so_far = ints[MATE_OF_COLUMN, column], nearest
        ints[PARENT, column] = _DONE - ints[PARENT, column]
        for e in range(ints[STARTS, row], ints[STARTS, row + 1]):
            if columns[e] == column:
                row_dual = -weights[e] - reals[DUAL, column]
                break
    for k in range(n):
        j = ints[TOUCHED, k]
        if ints[PARENT, j] < -1:
            reals[DUAL, j] += reals[DISTANCE, j] - nearest
            ints[PARENT, j] = _DONE - ints[PARENT, j]
        reals[DISTANCE, j] = _FAR
    return column, alone_row


@inlined
def _augment(first, end, loser, ints):  # type: ignore[no-untyped-def]
    """Swap partners along the way that `_search` found."""
    if end < 0:
        if loser == first:
            return
        end = ints[MATE_OF_ROW, loser]
        ints[MATE_OF_ROW, loser] = -1
    row = -1
    while row != first:
        row = ints[PARENT, end]
        ints[MATE_OF_COLUMN, end] = row
        end, ints[MATE_OF_ROW, row] = ints[MATE_OF_ROW, row], end
