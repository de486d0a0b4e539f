"""Slow, obvious twins of the kernels in tracker/models."""

from __future__ import annotations

import numpy as np


def normalise(image, left, top, network, spec):
    """Network tensor (3, h, w) in float64 of an already resized BGR image."""
    width, height = network
    canvas = np.full((height, width, 3), spec.pad, np.float64)
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    if spec.colour == "rgb":
        canvas = canvas[:, :, ::-1]
    return ((canvas * spec.scale - np.array(spec.mean)) / np.array(spec.std)).transpose(2, 0, 1)


def best_class(scores, wanted, min_score):
    """Rows, labels and scores of (A, classes) scores; the first of equal classes."""
    found = []
    for i, row in enumerate(scores):
        allowed = [c for c in range(len(row)) if wanted[c]]
        broken = [c for c in allowed if np.isnan(row[c])]
        best = broken[0] if broken else max(allowed, key=lambda c: row[c], default=None)
        if best is not None and not row[best] <= min_score:
            found.append((i, best, row[best]))
    return found


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def suppress(boxes, scores, labels, max_iou, limit):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if boxes[i][2] <= boxes[i][0] or boxes[i][3] <= boxes[i][1] or len(kept) == limit:
            continue
        if all(labels[i] != labels[j] or iou(boxes[i], boxes[j]) <= max_iou for j in kept):
            kept.append(i)
    return kept


def prototype_values(weights, prototypes, placement):
    """(H, W) float64: the bilinear value of one object's weighted prototypes at every source pixel centre."""
    summed = np.tensordot(np.asarray(weights, float), np.asarray(prototypes, float), 1)
    cells_y, cells_x = summed.shape
    out = np.zeros((placement.source[1], placement.source[0]))
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            u = ((x + 0.5) * placement.scale[0] + placement.offset[0]) * cells_x / placement.network[0] - 0.5
            v = ((y + 0.5) * placement.scale[1] + placement.offset[1]) * cells_y / placement.network[1] - 0.5
            u, v = min(max(u, 0), cells_x - 1), min(max(v, 0), cells_y - 1)
            c, r = min(int(u), max(cells_x - 2, 0)), min(int(v), max(cells_y - 2, 0))
            c1, r1 = min(c + 1, cells_x - 1), min(r + 1, cells_y - 1)
            f, g = v - r, u - c
            above = summed[r, c] * (1 - g) + summed[r, c1] * g
            below = summed[r1, c] * (1 - g) + summed[r1, c1] * g
            out[y, x] = above * (1 - f) + below * f
    return out


def inside_box(box, width, height):
    """(H, W) bool: pixels whose centre is inside the box."""
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    return (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
