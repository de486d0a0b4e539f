"""Slow, obvious twins of region pooling and of the kernels in tracker/models/decoding/pasting.py."""

from __future__ import annotations

import math

import numpy as np


def bilinear(feature, y, x):
    """(C,) values of a map (C, H, W) at one place; edges go on for one cell, then zeros."""
    height, width = feature.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(feature))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    r, c = int(y), int(x)
    r1, c1 = min(r + 1, height - 1), min(c + 1, width - 1)
    f, g = y - r, x - c
    top = feature[:, r, c] * (1 - g) + feature[:, r, c1] * g
    return top * (1 - f) + (feature[:, r1, c] * (1 - g) + feature[:, r1, c1] * g) * f


def roi_align(feature, box, size, scale, *, aligned):
    """(C, size, size): the mean of 2x2 samples a cell. Unaligned ones are at least one cell of the map wide."""
    shift = 0.5 if aligned else 0.0
    x0, y0, x1, y1 = (float(v) * scale - shift for v in box)
    width, height = x1 - x0, y1 - y0
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    out = np.zeros((len(feature), size, size))
    for r in range(size):
        for c in range(size):
            for dy in (0.25, 0.75):
                for dx in (0.25, 0.75):
                    y, x = y0 + (r + dy) * height / size, x0 + (c + dx) * width / size
                    out[:, r, c] += bilinear(feature, y, x) / 4
    return out


def paste_values(small, box, height, width):
    """(height, width): a small map over its box, pixel by pixel, 0 outside of it."""
    side = small.shape[0] + 2
    framed = np.zeros((side, side))
    framed[1:-1, 1:-1] = small
    growth, half = np.float32(side / (side - 2)), np.float32(0.5)
    ends = []
    for near, far in ((box[0], box[2]), (box[1], box[3])):
        reach, middle = (far - near) * half * growth, (far + near) * half
        ends.append((math.trunc(float(middle - reach)), math.trunc(float(middle + reach))))
    (x0, x1), (y0, y1) = ends
    w, h = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
    out = np.zeros((height, width))
    for y in range(max(y0, 0), min(y0 + h, height)):
        for x in range(max(x0, 0), min(x0 + w, width)):
            v, u = max((y - y0 + 0.5) * side / h - 0.5, 0), max((x - x0 + 0.5) * side / w - 0.5, 0)
            out[y, x] = bilinear(framed[None], v, u)[0]
    return out
