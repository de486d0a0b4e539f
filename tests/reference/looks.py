"""Slow, obvious twins of the kernels that make identity vectors."""

from __future__ import annotations

import math

import numpy as np


def cut(image, box, mask, size, spec):
    """(3, height, width) float64: a box of a frame, resized and normalised; 0 where a frame-sized mask is off."""
    width, height = size
    x1, y1, x2, y2 = (float(side) for side in box)
    out = np.zeros((3, height, width))
    for v in range(height):
        for u in range(width):
            x, y = x1 + (u + 0.5) * (x2 - x1) / width, y1 + (v + 0.5) * (y2 - y1) / height
            if mask is None or mask[int(y), int(x)]:
                bgr = _between(image, x - 0.5, y - 0.5, math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2))
                colour = bgr[::-1] if spec.colour == "rgb" else bgr
                out[:, v, u] = (colour * spec.scale - np.array(spec.mean)) / np.array(spec.std)
    return out


def _between(image, x, y, left, top, right, bottom):
    """Bilinear value at (x, y), pixels counted from their centres, of the pixels left ... right - 1 and so on."""
    total = np.zeros(3)
    for column, near in ((math.floor(x), 1 - (x - math.floor(x))), (math.floor(x) + 1, x - math.floor(x))):
        for row, close in ((math.floor(y), 1 - (y - math.floor(y))), (math.floor(y) + 1, y - math.floor(y))):
            pixel = image[min(max(row, top), bottom - 1), min(max(column, left), right - 1)]
            total += near * close * pixel.astype(float)
    return total


def pool(features, placement, mask):
    """(C,) float64 of length 1: the mean feature of the cells that the pixels of a frame-sized mask lie in."""
    channels, height, width = features.shape
    total = np.zeros(channels)
    for y, x in np.argwhere(mask):
        u = ((x + 0.5) * placement.scale[0] + placement.offset[0]) * width / placement.network[0]
        v = ((y + 0.5) * placement.scale[1] + placement.offset[1]) * height / placement.network[1]
        total += features[:, min(math.floor(v), height - 1), min(math.floor(u), width - 1)]
    return total / max(np.linalg.norm(total), 1e-12)
