"""Dense matching: Jonker and Volgenant's algorithm on a full matrix, for stages where most pairs are worth a look.

With embeddings nothing says beforehand which pairs can be left out; there the sparse search of matching.py takes up to
19 times as long as a dense solver (`spec/performance-facts.md`).
"""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined, kernel
from tracker.association.state import MATE_OF_COLUMN, MATE_OF_ROW, STARTS


@kernel
def match_dense(n_rows, n_columns, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Matching of greatest total weight, like `matching.match_exact`, by a dense solver.

    A pair without an entry costs 0, as much as two that stay alone, and is taken out of the result again; so the
    optimum is the one where staying alone is free. Ties: the order of the pairs does not matter, but among equally
    good matchings the one found may differ from `exact`'s.
    """
    for i in range(n_rows):
        ints[MATE_OF_ROW, i] = -1
    for j in range(n_columns):
        ints[MATE_OF_COLUMN, j] = -1
    if n_rows == 0 or n_columns == 0 or ints[STARTS, n_rows] == 0:
        return
    size = max(n_rows, n_columns)
    cost = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            cost[i, j] = 0.0
    for i in range(n_rows):
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            cost[i, columns[e]] = -weights[e]
    mate = solve_square(cost)
    for i in range(n_rows):
        j = mate[i]
        if cost[i, j] < 0:
            ints[MATE_OF_ROW, i] = j
            ints[MATE_OF_COLUMN, j] = i


@kernel
def solve_square(cost):  # type: ignore[no-untyped-def]
    """Column of each row in a full matching of least total cost; `cost` is (n, n) float64 and finite.

    Source: Jonker and Volgenant, Computing 38 (1987): column reduction, two rounds of row reduction, then shortest
    augmenting paths for the rows that are left.
    """
    n = len(cost)
    mate, back, potential = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    free, n_free = _reduce_columns(cost, mate, back, potential)
    for _ in range(2):
        n_free = _reduce_rows(cost, mate, back, potential, free, n_free)
    distance, parent, order = np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64)
    for f in range(n_free):
        end = _search(cost, free[f], back, potential, distance, parent, order)
        row = -1
        while row != free[f]:
            row = parent[end]
            back[end] = row
            end, mate[row] = mate[row], end
    return mate


@inlined
def _reduce_columns(cost, mate, back, potential):  # type: ignore[no-untyped-def]
    """Give each column to the row where it is cheapest, once per row; returns the rows left over."""
    n = len(cost)
    owner, times = np.empty(n, np.int64), np.empty(n, np.int64)
    for j in range(n):
        mate[j], back[j], potential[j], owner[j], times[j] = -1, -1, cost[0, j], 0, 0
    for i in range(1, n):  # row by row: memory is read in order
        for j in range(n):
            if cost[i, j] < potential[j]:
                potential[j] = cost[i, j]
                owner[j] = i
    for j in range(n - 1, -1, -1):
        i = owner[j]
        times[i] += 1
        if mate[i] < 0:
            mate[i] = j
            back[j] = i
    free, n_free = np.empty(n, np.int64), 0
    for i in range(n):
        if mate[i] < 0:
            free[n_free] = i
            n_free += 1
        elif times[i] == 1 and n > 1:
            least = np.inf
            for j in range(n):
                if j != mate[i]:
                    least = min(least, cost[i, j] - potential[j])
            potential[mate[i]] -= least
    return free, n_free


@inlined
def _reduce_rows(cost, mate, back, potential, free, n_free):  # type: ignore[no-untyped-def]
    """Let free rows take their best column, the row that had it becomes free; returns how many are left."""
    n = len(cost)
    k, left, tries = 0, 0, 0
    while k < n_free:
        i = free[k]
        k += 1
        tries += 1
        best, second, at, at_second = np.inf, np.inf, -1, -1
        for j in range(n):
            c = cost[i, j] - potential[j]
            if c < best:
                best, second, at, at_second = c, best, j, at
            elif c < second:
                second, at_second = c, j
        loser = back[at]
        lowered = n > 1 and best < second and potential[at] - (second - best) < potential[at]
        if lowered:
            potential[at] -= second - best
        elif loser >= 0 and at_second >= 0:
            at = at_second
            loser = back[at]
        mate[i] = at
        back[at] = i
        if loser >= 0:
            mate[loser] = -1
            if lowered and tries < 20 * n:  # at once; rounding must not let this go round for ever
                k -= 1
                free[k] = loser
            else:
                free[left] = loser
                left += 1
    return left


@inlined
def _search(cost, row, back, potential, distance, parent, order):  # type: ignore[no-untyped-def]
    """Shortest way from a free row to a free column, which it returns; `parent` says how; updates the potentials.

    `order` lists the columns: [0, done) are finished, [done, ready) are as near as can be, the rest lies farther.
    """
    n = len(cost)
    for j in range(n):
        distance[j] = cost[row, j] - potential[j]
        parent[j] = row
        order[j] = j
    done, ready, finished, reach = 0, 0, 0, 0.0
    while True:
        if done == ready:
            finished = done
            reach = distance[order[ready]]
            ready += 1
            for k in range(ready, n):
                j = order[k]
                if distance[j] <= reach:
                    if distance[j] < reach:
                        ready, reach = done, distance[j]
                    order[k], order[ready] = order[ready], j
                    ready += 1
            for k in range(done, ready):
                if back[order[k]] < 0:
                    _raise_potentials(order, finished, distance, potential, reach)
                    return order[k]
        j = order[done]
        done += 1
        i = back[j]
        base = cost[i, j] - potential[j] - reach
        for k in range(ready, n):
            j = order[k]
            d = cost[i, j] - potential[j] - base
            if d < distance[j]:
                distance[j] = d
                parent[j] = i
                if d <= reach:
                    if back[j] < 0:
                        _raise_potentials(order, finished, distance, potential, reach)
                        return j
                    order[k], order[ready] = order[ready], j
                    ready += 1


@inlined
def _raise_potentials(order, finished, distance, potential, reach):  # type: ignore[no-untyped-def]
    for k in range(finished):
        potential[order[k]] += distance[order[k]] - reach
