"""Masks from small maps: bilinear values, object where they are above a level, set straight into packed words.

Kernels that the families' own call; the words are those of `Masks`, zero at first.
"""

from __future__ import annotations

import numpy as np

from tracker._bits import set_run
from tracker._jit import inlined


@inlined
def place_crop(rect, x0, y0, x1, y1, width, height):  # type: ignore[no-untyped-def]
    """Write a crop, cut at the frame, into `rect`, and return its words; nothing and 0 where no pixel is left."""
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if x1 <= x0 or y1 <= y0:
        return 0
    rect[0], rect[1], rect[2], rect[3] = x0, y0, x1, y1
    return ((x1 - 1) // 64 - x0 // 64 + 1) * (y1 - y0)


@inlined
def paint_map(values, level, rows, down, columns, right, x0, words):  # type: ignore[no-untyped-def]
    """Set the bits of one crop where the bilinear value is above a level.

    Pixel (k, j) lies in cell `columns[k]`, `rows[j]` of the map, shares `right[k]`, `down[j]` towards the next one; x0
    is the crop's first column. Between two cells on one side of the level the value stays there, so only the others are
    looked at by pixel.
    """
    one = np.float32(1)
    n, cells = len(columns), values.shape[1] - 1
    first = x0 // 64
    across = (x0 + n - 1) // 64 - first + 1
    spans = np.searchsorted(columns, np.arange(cells + 1))  # pixels of each cell
    line = np.empty(cells + 1, np.float32)
    for y in range(len(rows)):
        above, below, f = values[rows[y]], values[rows[y] + 1], down[y]
        for c in range(cells + 1):
            line[c] = above[c] * (one - f) + below[c] * f
        start = y * across - first
        for c in range(cells):
            a, b = line[c], line[c + 1]
            if a > level and b > level:
                if spans[c + 1] > spans[c]:
                    set_run(words, start, x0 + spans[c], x0 + spans[c + 1])
            elif a > level or b > level:
                for k in range(spans[c], spans[c + 1]):
                    if a * (one - right[k]) + b * right[k] > level:
                        x = x0 + k
                        words[start + x // 64] |= np.uint64(1) << np.uint64(x & 63)
