"""Centres of objects: peaks of a heatmap, and the nearest one to a vote. Kernels of panoptic fusion."""

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
    """Centres as `join` wants them: (4, n) float32 rows y, x, squared reach, and the squared radius of a sure hit.

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
def join(y, x, targets, guess):  # type: ignore[no-untyped-def]
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
