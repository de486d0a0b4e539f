"""The kernels of panoptic fusion: peaks of heat, votes for them, and the key of every pixel.

A key is class + classes * instance; instance 0 is none. Maps are float32, (classes, h, w) or (h, w).
"""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined, kernel


@kernel
def find_centres(heat, threshold, window, parts, limit):  # type: ignore[no-untyped-def]
    """Peaks of a heatmap (h, w) float32: (n, 2) int64 rows (y, x) in raster order, n <= limit.

    A peak is above `threshold`, and no pixel of the window around it is higher: a plateau keeps all its pixels. Of
    more than `limit` peaks the highest stay; among equals the first in raster order. With `parts` p > 1 the result is
    that of a map upsampled bilinearly p times, corners on corners, with the same window there: what is bilinear is
    highest at a map pixel or on the window's rim.
    """
    reach, rim = window // 2 // parts, np.float32(window // 2 % parts) / np.float32(parts)
    found = np.empty((heat.size, 2), np.int64)
    values = np.empty(heat.size, np.float32)
    n = 0
    for y in range(heat.shape[0]):
        for x in range(heat.shape[1]):
            if heat[y, x] > threshold and _is_peak(heat, y, x, reach, rim):
                found[n, 0], found[n, 1] = y, x
                values[n] = heat[y, x]
                n += 1
    if n <= limit:
        return found[:n].copy()
    order = np.argsort(-values[:n], kind="mergesort")  # stable
    return found[np.sort(order[:limit])]


@inlined
def _is_peak(heat, y, x, reach, rim):  # type: ignore[no-untyped-def]
    height, width = heat.shape
    for v in range(max(0, y - reach), min(height, y + reach + 1)):
        for u in range(max(0, x - reach), min(width, x + reach + 1)):
            if heat[v, u] > heat[y, x]:
                return False
    if rim > 0:
        for v in range(-reach - 1, reach + 2):
            for u in range(-reach - 1, reach + 2):
                beyond = (abs(v) > reach or abs(u) > reach) and 0 <= y + v < height and 0 <= x + u < width
                if beyond and _on_rim(heat, y, x, v, u, reach, rim) > heat[y, x]:
                    return False
    return True


@inlined
def _on_rim(heat, y, x, v, u, reach, rim):  # type: ignore[no-untyped-def]
    """Heat on the window's rim, where the line to the map pixel (y + v, x + u) beyond it crosses."""
    across = rim if abs(v) > reach else np.float32(1)
    along = rim if abs(u) > reach else np.float32(1)
    i = y + v - (1 if v > reach else -1 if v < -reach else 0)
    j = x + u - (1 if u > reach else -1 if u < -reach else 0)
    above = heat[i, j] + along * (heat[i, x + u] - heat[i, j])
    below = heat[y + v, j] + along * (heat[y + v, x + u] - heat[y + v, j])
    return above + across * (below - above)


@kernel
def spread_centres(centres, reach2):  # type: ignore[no-untyped-def]
    """Centres as `_join` wants them: (4, n) float32 rows y, x, squared reach, and the squared radius of a sure hit.

    Within half the distance to the next centre no other centre can be nearer, so one look is enough there.
    """
    n = len(centres)
    out = np.empty((4, n), np.float32)
    for i in range(n):
        nearest = np.inf
        for j in range(n):
            if j != i:
                dy, dx = centres[i, 0] - centres[j, 0], centres[i, 1] - centres[j, 1]
                nearest = min(nearest, float(dy * dy + dx * dx))
        out[0, i], out[1, i] = centres[i, 0], centres[i, 1]
        out[2, i] = reach2
        out[3, i] = min(np.float32(0.2499 * nearest), reach2)
    return out


@inlined
def _join(y, x, targets, guess):  # type: ignore[no-untyped-def]
    """1 + index of the centre nearest to a vote, the lowest on ties; 0: none within reach. `guess` is tried first.

    Centres are in raster order: from the guess up and down, until the next ones are too far away in y alone.
    """
    middle = max(guess - 1, 0)
    if guess > 0:
        dy, dx = y - targets[0, middle], x - targets[1, middle]
        if dy * dy + dx * dx < targets[3, middle]:
            return guess
    best = 0
    shortest = np.float32(np.inf)
    for i in range(middle, targets.shape[1]):
        dy, dx = y - targets[0, i], x - targets[1, i]
        distance = dy * dy + dx * dx
        if distance < shortest:
            shortest = distance
            best = i + 1
        if dy < 0 and dy * dy > shortest:
            break
    for i in range(middle - 1, -1, -1):
        dy, dx = y - targets[0, i], x - targets[1, i]
        distance = dy * dy + dx * dx
        if distance < shortest or (distance == shortest and i + 1 < best):
            shortest = distance
            best = i + 1
        if dy > 0 and dy * dy > shortest:
            break
    return best if best > 0 and shortest <= targets[2, best - 1] else 0


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
            guess = _join(np.float32(y) + offset[0, y, x], np.float32(x) + offset[1, y, x], targets, guess)
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
            guess = _join(votes[m, 0], votes[m, 1], targets, guess)
            if guess > 0 and _join(votes[m, 2], votes[m, 3], targets, guess) == guess:
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
                guess = _join(vote_y, vote_x, targets, guess)
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
