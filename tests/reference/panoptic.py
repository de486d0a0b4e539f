"""Slow, obvious twins of the kernels in tracker/models/decoding/{centres,voting,runs}.py and motion_deeplab.py."""

from __future__ import annotations

import numpy as np


def find_centres(heat, threshold, window, limit):
    """Threshold, non-maximum suppression in a zero-padded window, top K with ties in raster order."""
    kept = np.where(heat > threshold, heat, 0)
    reach = window // 2
    padded = np.pad(kept, reach)
    peaks = []
    for y, x in np.ndindex(heat.shape):
        if kept[y, x] > 0 and kept[y, x] == padded[y : y + window, x : x + window].max():
            peaks.append((y, x))
    best = sorted(peaks, key=lambda p: -heat[p])[:limit]  # stable
    return np.array(sorted(best), np.int64).reshape(-1, 2)


def upsample(planes, ys, xs):
    """Bilinear samples of (C, h, w) at rows `ys` and columns `xs` (float), clamped at the border: (C, H, W) float64."""
    planes = planes.astype(np.float64)
    ys, xs = np.clip(ys, 0, planes.shape[1] - 1), np.clip(xs, 0, planes.shape[2] - 1)
    y0, x0 = np.floor(ys).astype(int), np.floor(xs).astype(int)
    y1, x1 = np.minimum(y0 + 1, planes.shape[1] - 1), np.minimum(x0 + 1, planes.shape[2] - 1)
    wy, wx = (ys - y0)[:, None], (xs - x0)[None]
    top = planes[:, y0][:, :, x0] * (1 - wx) + planes[:, y0][:, :, x1] * wx
    bottom = planes[:, y1][:, :, x0] * (1 - wx) + planes[:, y1][:, :, x1] * wx
    return top * (1 - wy) + bottom * wy


def decide(semantic, offset, things, centres, ys, xs, reach=np.inf):
    """Class (argmax) and instance (1 + nearest centre, 0 for none) of every pixel after upsampling everything.

    Also a margin: how far the pixel is from another decision; float32 and float64 may differ where it is about 0.
    """
    logits = upsample(semantic, ys, xs)
    classes = logits.argmax(0)
    ordered = np.sort(logits, 0)
    margin = ordered[-1] - ordered[-2] if len(logits) > 1 else np.full(classes.shape, np.inf)
    grid = np.stack(np.meshgrid(np.arange(semantic.shape[1]), np.arange(semantic.shape[2]), indexing="ij"))
    votes = upsample(offset + grid, ys, xs)
    instances = np.zeros(classes.shape, np.int64)
    if len(centres):
        distance = np.sqrt(((votes[:, None] - centres.T[:, :, None, None]) ** 2).sum(0))
        instances = np.where(distance.min(0) <= reach, distance.argmin(0) + 1, 0)
        near = np.sort(distance, 0)
        gap = near[1] - near[0] if len(centres) > 1 else np.inf
        margin = np.minimum(margin, np.where(things[classes], np.minimum(gap, abs(near[0] - reach)), np.inf))
    return classes, np.where(things[classes], instances, 0), margin


def majority(classes, instances, count):
    """Most frequent class of instances 1..count, the smallest on ties, and their areas."""
    labels, areas = [], []
    for k in range(1, count + 1):
        values, counts = np.unique(classes[instances == k], return_counts=True)
        labels.append(int(values[counts.argmax()]) if len(values) else 0)
        areas.append(int(counts.sum()))
    return labels, areas


def enlarge(heat, parts):
    """Bilinear upsampling of (h, w), corners on corners, to `parts` pixels for each step between two."""
    height, width = heat.shape
    ys, xs = np.arange((height - 1) * parts + 1) / parts, np.arange((width - 1) * parts + 1) / parts
    return upsample(heat[None], ys, xs)[0]


def measure(keys, step, count):
    """Pixels, sums of rows and columns, first place in raster order, and box of each number key // step, but for 0."""
    out, rects = np.zeros((count, 4)), np.zeros((count, 4), np.int64)
    out[:, 3] = keys.size
    for number in range(1, count):
        ys, xs = np.nonzero(keys // step == number)
        if len(ys):
            out[number] = len(ys), ys.sum(), xs.sum(), ys[0] * keys.shape[1] + xs[0]
            rects[number] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    return out, rects


def runs_of(keys):
    """`starts`, `ends` and `keys` of a picture's runs, from a map of its keys (H, W)."""
    starts, ends, found = [0], [], []
    for line in keys:
        for x, key in enumerate(line):
            if x == 0 or key != line[x - 1]:
                ends.append(x)
                found.append(key)
            ends[-1] = x + 1
        starts.append(len(ends))
    return np.array(starts, np.int64), np.array(ends, np.int32), np.array(found, np.int32)


def draw_spots(centres, spread, height, width):
    """The largest of Gaussians around the centres, each cut to a square of 6 * spread + 3 pixels."""
    out = np.zeros((height, width), np.float32)
    yy, xx = np.mgrid[:height, :width]
    for y, x in centres:
        inside = np.maximum(abs(yy - y), abs(xx - x)) <= 3 * spread + 1
        spot = np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * spread**2))
        out = np.maximum(out, np.where(inside, spot, 0).astype(np.float32))
    return out
