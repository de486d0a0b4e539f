"""Slow, obvious twins of J and F: whole pictures, every pair of contour pixels, every assignment."""

from __future__ import annotations

import itertools
import math

import numpy as np


def contour(mask):
    """Pixels that differ from a neighbour to the right, below or right below; the picture's edge by its own rules."""
    height, width = mask.shape
    out = np.zeros_like(mask)
    for y, x in itertools.product(range(height), range(width)):
        wanted = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
        if y == height - 1:
            wanted = [(y, x + 1)]
        if x == width - 1:
            wanted = [(y + 1, x)]
        if (y, x) == (height - 1, width - 1):
            wanted = []
        out[y, x] = any(mask[y, x] != mask[place] for place in wanted)
    return out


def f_score(truth, result):
    """F of two masks; nothing on both sides is perfect."""
    radius = math.ceil(0.008 * math.hypot(*truth.shape))
    points = [np.argwhere(contour(mask)) for mask in (truth, result)]
    if min(map(len, points)) == 0:
        return float(max(map(len, points)) == 0)
    near = ((points[0][:, None] - points[1][None]) ** 2).sum(2) <= radius**2
    recall, precision = near.any(1).mean(), near.any(0).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def j_score(truth, result):
    union = (truth | result).sum()
    return (truth & result).sum() / union if union else 1.0


def jf(truth, results):
    """J&F, J and F of one sequence; masks (G, T, H, W) and (K, T, H, W), few enough to try all assignments."""
    count, frames = truth.shape[:2]
    if len(results) < count:
        results = np.concatenate([results, np.zeros((count - len(results), *truth.shape[1:]), bool)])
    mean_j = np.array([[np.mean([j_score(g[t], k[t]) for t in range(frames)]) for k in results] for g in truth])
    best = max(
        itertools.permutations(range(len(results)), count),
        key=lambda mates: sum(mean_j[g, k] for g, k in enumerate(mates)),
    )
    j = np.mean([mean_j[g, k] for g, k in enumerate(best)])
    f = np.mean([f_score(truth[g, t], results[k, t]) for g, k in enumerate(best) for t in range(frames)])
    return {"J&F": (j + f) / 2, "J_mean": j, "F_mean": f}
