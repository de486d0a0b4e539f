"""The kernels of panoptic fusion: peaks of heat, votes for them, and the key of every pixel.

A key is class + classes * instance; instance 0 is none. Maps are float32, (classes, h, w) or (h, w).
"""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined, kernel

STUFF_THERE = -1  # in `settle`'s class table: the likeliest stuff class of the nearest map pixel


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
    """1 + index of the centre nearest to a vote, the lowest on ties; 0: none within reach. `guess` is tried first."""
    if guess > 0:
        dy, dx = y - targets[0, guess - 1], x - targets[1, guess - 1]
        if dy * dy + dx * dx < targets[3, guess - 1]:
            return guess
    best = 0
    shortest = np.float32(np.inf)
    for i in range(targets.shape[1]):
        dy, dx = y - targets[0, i], x - targets[1, i]
        distance = dy * dy + dx * dx
        if distance < shortest:
            shortest = distance
            best = i + 1
    return best if best > 0 and shortest <= targets[2, best - 1] else 0


@kernel
def key_map(semantic, offset, things, targets, out):  # type: ignore[no-untyped-def]
    """Key of every pixel of the network's map: out (h, w) int32."""
    classes, height, width = semantic.shape
    best = np.empty(width, np.float32)
    for y in range(height):
        line = out[y]
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
def _bilinear(plane, i, j, below, right, w):  # type: ignore[no-untyped-def]
    return w[0] * plane[i, j] + w[1] * plane[i, right] + w[2] * plane[below, j] + w[3] * plane[below, right]


@inlined
def _beats(a, b, lower):  # type: ignore[no-untyped-def]
    return a > b or (lower and a == b)


@inlined
def _contenders(semantic, winners, i, j, below, right, out):  # type: ignore[no-untyped-def]
    """Classes that may win between four map pixels: out[:n]; returns n.

    One that a corner's winner beats at every corner is smaller in any mean of them; equals go to the lower class.
    """
    n = 0
    for c in range(semantic.shape[0]):
        v = (semantic[c, i, j], semantic[c, i, right], semantic[c, below, j], semantic[c, below, right])
        beaten = False
        for g in winners:
            lower = g < c
            b = (semantic[g, i, j], semantic[g, i, right], semantic[g, below, j], semantic[g, below, right])
            above = _beats(b[0], v[0], lower) and _beats(b[1], v[1], lower)
            if above and _beats(b[2], v[2], lower) and _beats(b[3], v[3], lower):
                beaten = True
        if not beaten:
            out[n] = c
            n += 1
    return n


@kernel
def key_pixels(keys, semantic, offset, things, targets, rows, columns, out, counts):  # type: ignore[no-untyped-def]
    """Key of every pixel of the picture, from logits and votes interpolated bilinearly; counts[key] is incremented.

    Runs of pixels whose four map corners have one key are filled; only the others are computed, for classes that can
    win there.
    """
    classes = len(things)
    height, width = keys.shape
    agreed = np.empty(width, np.int32)  # the key of the four corners of a cell, -1 where they differ
    able = np.empty((width, classes), np.int32)  # where they differ: classes that may win, and how many
    many = np.zeros(width, np.int32)
    starts = np.searchsorted(columns[0], np.arange(width + 1))  # a cell's first pixel
    before, guess = -1, 0
    for y in range(len(rows[0])):
        i, south = rows[0][y], rows[1][y]
        below = min(i + 1, height - 1)
        if i != before:
            before = i
            for j in range(width):
                k, right = keys[i, j], min(j + 1, width - 1)
                same = k == keys[i, right] and k == keys[below, j] and k == keys[below, right]
                lone = targets.shape[1] > 0 and k < classes and things[k]  # between four far votes one may be near
                agreed[j] = k if same and not lone else -1
                if agreed[j] < 0:
                    corners = (
                        k % classes,
                        keys[i, right] % classes,
                        keys[below, j] % classes,
                        keys[below, right] % classes,
                    )
                    many[j] = _contenders(semantic, corners, i, j, below, right, able[j])
        x = 0
        while x < len(columns[0]):
            j = columns[0][x]
            k = agreed[j]
            if k >= 0:
                first = x
                while j < width and agreed[j] == k:
                    j += 1
                x = starts[j]
                out[y, first:x] = k
                counts[k] += x - first
                continue
            right, east = min(j + 1, width - 1), columns[1][x]
            north, west = np.float32(1) - south, np.float32(1) - east
            w = (north * west, north * east, south * west, south * east)
            key = able[j, 0]
            best = _bilinear(semantic[key], i, j, below, right, w)
            for n in range(1, many[j]):
                value = _bilinear(semantic[able[j, n]], i, j, below, right, w)
                if value > best:
                    key, best = able[j, n], value
            if things[key]:
                vote_y = np.float32(i) + south + _bilinear(offset[0], i, j, below, right, w)
                vote_x = np.float32(j) + east + _bilinear(offset[1], i, j, below, right, w)
                guess = _join(vote_y, vote_x, targets, guess)
                key += classes * guess
            out[y, x] = key
            counts[key] += 1
            x += 1


@kernel
def settle(keys, class_of, row_of, semantic, things, rows, columns, classes_out, rows_out):  # type: ignore[no-untyped-def]
    """Keys (H, W) -> class map and row map by table; `STUFF_THERE` is looked up at the nearest map pixel."""
    width = keys.shape[1]
    for y in range(keys.shape[0]):
        line, x = keys[y], 0
        while x < width:
            first, k = x, line[x]
            while x < width and line[x] == k:
                x += 1
            rows_out[y, first:x] = row_of[k]
            if class_of[k] != STUFF_THERE:
                classes_out[y, first:x] = class_of[k]
                continue
            for place in range(first, x):
                c = STUFF_THERE
                v = rows[0][y] + (1 if rows[1][y] > 0.5 else 0)
                u = columns[0][place] + (1 if columns[1][place] > 0.5 else 0)
                for stuff in range(len(things)):
                    if not things[stuff] and (c < 0 or semantic[stuff, v, u] > semantic[c, v, u]):
                        c = stuff
                classes_out[y, place] = c
