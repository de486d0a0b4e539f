"""Slow, obvious twins of the mask kernels that have none in numpy or pycocotools."""

from __future__ import annotations

import numpy as np


def label_map_overlaps(a, b, count_a, count_b):
    """Joint histogram of two label maps, one pair of objects at a time; row and column 0 are what no object has."""
    out = np.zeros((count_a + 1, count_b + 1), np.int64)
    for i in range(count_a + 1):
        mine = a == i if i else (a < 1) | (a > count_a)
        for j in range(count_b + 1):
            theirs = b == j if j else (b < 1) | (b > count_b)
            out[i, j] = (mine & theirs).sum()
    return out


def label_map_iou(a, b, count_a, count_b):
    """IoU of every pair of objects; 0 where both are empty."""
    out = np.zeros((count_a, count_b))
    for i in range(count_a):
        for j in range(count_b):
            mine, theirs = a == i + 1, b == j + 1
            if (mine | theirs).any():
                out[i, j] = (mine & theirs).sum() / (mine | theirs).sum()
    return out
