"""Slow, obvious twins of tracker/models/siammot/regions.py and resampling.py."""

from __future__ import annotations

import math

import numpy as np


def iou_inclusive(a, b):
    """IoU of two boxes whose last pixel belongs to them."""
    w = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    area = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return w * h / (sum(area) - w * h)


def suppress_inclusive(boxes, scores, max_iou, limit):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if len(kept) < limit and all(iou_inclusive(boxes[i], boxes[j]) < max_iou for j in kept):
            kept.append(i)
    return kept


def level_of(box):
    width, height = float(box[2]) - float(box[0]) + 1, float(box[3]) - float(box[1]) + 1
    if width <= 0 or height <= 0:
        return 0
    return min(max(math.floor(4 + math.log2(math.sqrt(width * height) / 224 + 1e-6)), 2), 5) - 2


def resize_triangle(image, size):
    """Weighted means in float64, each axis rounded to whole grey levels."""
    for axis, wanted in ((1, size[0]), (0, size[1])):
        count = image.shape[axis]
        if count == wanted:
            continue
        pixels = np.moveaxis(image.astype(float), axis, 0)
        reach = max(count / wanted, 1)
        rows = []
        for i in range(wanted):
            middle = (i + 0.5) * count / wanted
            weights = np.maximum(1 - np.abs(np.arange(count) + 0.5 - middle) / reach, 0)
            rows.append(np.tensordot(weights / weights.sum(), pixels, 1))
        image = np.moveaxis(np.floor(np.array(rows) + 0.5), 0, axis)
    return image
