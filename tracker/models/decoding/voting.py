"""Votes: from logits and offsets to the key of every pixel. Kernels of panoptic fusion.

A key is class + classes * instance; instance 0 is none. Maps are float32, (classes, h, w) or (h, w).
"""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined, kernel
from tracker.models.decoding.centres import join


@inlined
def _key_line(semantic, offset, things, targets, y, best, line):  # type: ignore[no-untyped-def]
    """Keys of one row of the network's map: line (w,) int32; `best` (w,) is to work in."""
    classes, _, width = semantic.shape
    best[:] = semantic[0, y]
    line[:] = 0
    for c in range(1, classes):
        values = semantic[c, y]
        for x in range(width):
            if values[x] > best[x]:
                best[x] = values[x]
                line[x] = c
    guess = 0
    for x in range(width):
        if things[line[x]]:
            guess = join(np.float32(y) + offset[0, y, x], np.float32(x) + offset[1, y, x], targets, guess)
            line[x] += classes * guess


@inlined
def _beats(a, b, lower):  # type: ignore[no-untyped-def]
    return a > b or (lower and a == b)


@inlined
def _contenders(semantic, winners, i, j, able, logits):  # type: ignore[no-untyped-def]
    """Classes that may win in a cell, able[:n], and their logits at its four corners; returns n.

    One that a corner's winner beats at every corner is smaller in any mean of them; equals go to the lower class.
    """
    below, right = min(i + 1, semantic.shape[1] - 1), min(j + 1, semantic.shape[2] - 1)
    enough = np.float32(-np.inf)  # some winner has this everywhere
    for g in winners:
        lowest = min(semantic[g, i, j], semantic[g, i, right])
        enough = max(enough, min(lowest, semantic[g, below, j], semantic[g, below, right]))
    n = 0
    for c in range(semantic.shape[0]):
        v = (semantic[c, i, j], semantic[c, i, right], semantic[c, below, j], semantic[c, below, right])
        if max(v[0], v[1], v[2], v[3]) < enough:
            continue
        beaten = False
        for g in winners:
            lower = g < c
            b = (semantic[g, i, j], semantic[g, i, right], semantic[g, below, j], semantic[g, below, right])
            above = _beats(b[0], v[0], lower) and _beats(b[1], v[1], lower)
            if above and _beats(b[2], v[2], lower) and _beats(b[3], v[3], lower):
                beaten = True
        if not beaten:
            able[n] = c
            logits[n, 0], logits[n, 1], logits[n, 2], logits[n, 3] = v
            n += 1
    return n


@kernel
def key_runs(semantic, offset, things, targets, rows, columns, counts):  # type: ignore[no-untyped-def]
    """Keys of the picture's pixels, from logits and votes interpolated bilinearly; counts[key] is incremented.

    Returns `starts`, `ends` and `keys` of `Runs`. Between four map corners of one key lies nothing else; only other
    cells are looked at, for classes that can win there. Logits go through the cache once, from top to bottom.
    """
    (classes, height, width), (tall, wide) = semantic.shape, (len(rows[0]), len(columns[0]))
    first, shares = np.searchsorted(columns[0], np.arange(width + 1)), columns[1]  # a cell's first pixel
    keys, done, best = np.empty((height, width), np.int32), 0, np.empty(width, np.float32)  # of the map
    pieces = np.empty((width, 2), np.int32)  # of a row of cells: key, or -1 - number of a mixed cell; end in pixels
    cells, many = np.empty((2, width), np.int32)  # of mixed cells: column; how many classes may win
    able, logits = np.empty((width, classes), np.int32), np.empty((width, classes, 4), np.float32)
    sides, votes = np.empty((width, classes, 2), np.float32), np.empty((width, 4), np.float32)
    starts, ends, found = np.zeros(tall + 1, np.int64), np.empty(32 * tall, np.int32), np.empty(32 * tall, np.int32)
    n, count, blurred, before, guess = 0, 0, 0, -1, 0
    for y in range(tall):
        i, south = rows[0][y], rows[1][y]
        if i != before:
            before = i
            for v in range(max(done, i), min(i + 2, height)):
                _key_line(semantic, offset, things, targets, v, best, keys[v])
                done = v + 1
            crowded = targets.shape[1] > 0
            count, blurred = _divide(keys, semantic, things, crowded, i, first, pieces, cells, many, able, logits)
        if len(ends) < n + wide:  # a line may have a run for every pixel
            ends, found = np.append(ends, np.empty(n + wide, np.int32)), np.append(found, np.empty(n + wide, np.int32))
        _face(offset, i, south, cells[:blurred], many, logits, sides, votes)
        n, guess = _trace(things, targets, pieces[:count], shares, many, able, sides, votes, guess, ends, found, n)
        starts[y + 1] = n
        x = 0
        for at in range(starts[y], n):
            counts[found[at]] += ends[at] - x
            x = ends[at]
    return starts, ends[:n].copy(), found[:n].copy()


@inlined
def _divide(keys, semantic, things, crowded, i, first, pieces, cells, many, able, logits):  # type: ignore[no-untyped-def]
    """The cells below map row i as pieces of one key and mixed cells; returns how many there are of both."""
    classes, (height, width) = len(things), keys.shape
    below, n, m = min(i + 1, height - 1), 0, 0
    for j in range(width):
        if first[j] == first[j + 1]:
            continue  # none of the picture's pixels
        k, right = keys[i, j], min(j + 1, width - 1)
        same = k == keys[i, right] and k == keys[below, j] and k == keys[below, right]
        lone = crowded and k < classes and things[k]  # between four far votes one may be near
        if same and not lone:
            if n > 0 and pieces[n - 1, 0] == k:
                n -= 1
            pieces[n, 0] = k
        else:
            winners = k % classes, keys[i, right] % classes, keys[below, j] % classes, keys[below, right] % classes
            cells[m], many[m] = j, _contenders(semantic, winners, i, j, able[m], logits[m])
            pieces[n, 0] = -1 - m
            m += 1
        pieces[n, 1] = first[j + 1]
        n += 1
    return n, m


@inlined
def _face(offset, i, south, cells, many, logits, sides, votes):  # type: ignore[no-untyped-def]
    """Logits and votes (y, x, y, x) at the left and right side of mixed cells, `south` below their upper side."""
    north, height, width = np.float32(1) - south, offset.shape[1], offset.shape[2]
    below = min(i + 1, height - 1)
    for m in range(len(cells)):
        for n in range(many[m]):
            sides[m, n, 0] = north * logits[m, n, 0] + south * logits[m, n, 2]
            sides[m, n, 1] = north * logits[m, n, 1] + south * logits[m, n, 3]
        for side in range(2):
            place = cells[m] + side
            j = min(place, width - 1)
            votes[m, 2 * side] = np.float32(i) + south + (north * offset[0, i, j] + south * offset[0, below, j])
            votes[m, 2 * side + 1] = np.float32(place) + (north * offset[1, i, j] + south * offset[1, below, j])


@inlined
def _trace(things, targets, pieces, shares, many, able, sides, votes, guess, ends, keys, n):  # type: ignore[no-untyped-def]
    """Append the runs of a line to the n runs in `ends` and `keys`; returns how many there are, and the next guess."""
    zero, one, classes, start, x = np.float32(0), np.float32(1), len(things), n, 0
    for p in range(len(pieces)):
        end, m = pieces[p, 1], -1 - pieces[p, 0]
        if m < 0:
            n = _extend(ends, keys, start, n, pieces[p, 0], end)
            x = end
            continue
        near, far = _winner(sides, many[m], m, one, zero), _winner(sides, many[m], m, zero, one)
        key = able[m, near]
        if near == far and things[key]:
            guess = join(votes[m, 0], votes[m, 1], targets, guess)
            if guess > 0 and join(votes[m, 2], votes[m, 3], targets, guess) == guess:
                n = _extend(ends, keys, start, n, key + classes * guess, end)
                x = end
        elif near == far:
            n = _extend(ends, keys, start, n, key, end)
            x = end
        while x < end:
            east, west = shares[x], one - shares[x]
            if near != far:
                key = able[m, _winner(sides, many[m], m, west, east)]
            own = key
            if things[key]:
                vote_y, vote_x = west * votes[m, 0] + east * votes[m, 2], west * votes[m, 1] + east * votes[m, 3]
                guess = join(vote_y, vote_x, targets, guess)
                own += classes * guess
            x += 1
            n = _extend(ends, keys, start, n, own, x)
    return n, guess


@inlined
def _extend(ends, keys, first, n, key, end):  # type: ignore[no-untyped-def]
    """Append a run to a line whose runs begin at `first`, or prolong its last one; returns how many there are."""
    if n > first and keys[n - 1] == key:
        ends[n - 1] = end
        return n
    ends[n], keys[n] = end, key
    return n + 1


@inlined
def _winner(sides, count, m, west, east):  # type: ignore[no-untyped-def]
    """Which of a mixed cell's classes wins between its two sides, the first on ties."""
    best = 0
    most = west * sides[m, 0, 0] + east * sides[m, 0, 1]
    for n in range(1, count):
        value = west * sides[m, n, 0] + east * sides[m, n, 1]
        if value > most:
            best, most = n, value
    return best
