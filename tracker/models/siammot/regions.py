"""Host side of two-stage networks: proposals, suppression, the pyramid level of a region, search regions.

Boxes are xyxy network pixels in the legacy convention of maskrcnn-benchmark: the last pixel belongs to the box, so it
is x2 - x1 + 1 wide.

Source: Feature Pyramid Networks, arXiv:1612.03144, equation 1 (levels); SiamMOT, arXiv:2105.11595, section 3.2, and
its authors' code (search regions).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel

LEVELS = 4
"""Pyramid levels that regions are pooled from: P2 ... P5."""


class Regions(NamedTuple):
    """Regions sorted by pyramid level, as graphs that pool from several levels want them.

    Attributes:
        rois: for each of `LEVELS` levels (n, 4) float32; n may be 0.
        order: (N,) int64: region i is row `order[i]` of the concatenated `rois`.
    """

    rois: tuple[NDArray[np.float32], ...]
    order: NDArray[np.int64]


def by_level(boxes: NDArray[np.float32], levels: NDArray[np.int64]) -> Regions:
    """Sort regions (N, 4) by `levels` (N,), 0 for P2; regions of one level keep their order."""
    rows = np.argsort(levels, kind="stable")
    order = np.empty(len(rows), np.int64)
    order[rows] = np.arange(len(rows))
    ends = np.searchsorted(levels[rows], np.arange(LEVELS + 1))
    parts = tuple(np.ascontiguousarray(boxes[rows[a:b]]) for a, b in itertools.pairwise(ends))
    return Regions(parts, order)


@kernel
def levels_of(boxes):  # type: ignore[no-untyped-def]
    """Pyramid level of each box (N, 4) float32: (N,) int64, 0 for P2 ... 3 for P5; 224 px a side is P4.

    A box without area (w + 1 <= 0), which no network makes, is at P2.
    """
    out = np.empty(len(boxes), np.int64)
    for i in range(len(boxes)):
        width, height = boxes[i, 2] - boxes[i, 0] + np.float32(1), boxes[i, 3] - boxes[i, 1] + np.float32(1)
        side = np.sqrt(max(width, np.float32(0)) * max(height, np.float32(0)))
        level = math.floor(np.float32(4) + np.log2(side / np.float32(224) + np.float32(1e-6)))
        out[i] = min(max(int(level), 2), 5) - 2
    return out


def search_regions(boxes: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Where to look for tracks: boxes (N, 4) `scale` times as wide and high (and a pixel), same middle; not clipped."""
    half = (boxes[:, 2:] - boxes[:, :2] + np.float32(1)) * np.float32((scale - 1) / 2)
    return np.concatenate([boxes[:, :2] - half, boxes[:, 2:] + half], 1)


def choose_proposals(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], counts: Sequence[int], max_iou: float, limit: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Suppress each level by itself, keep its best, then the best of all levels.

    Args:
        boxes: (K, 4) float32, level after level.
        scores: (K,) float32.
        counts: rows of each level, K in all.
        max_iou: a box that overlaps a better one of its level as much as this or more is dropped.
        limit: boxes kept of each level, and in all.

    Returns:
        Boxes (n, 4) and scores (n,), best first; equal scores keep their order.
    """
    kept, begin = [], 0
    for count in counts:
        rows = slice(begin, begin + count)
        kept.append(begin + suppress_inclusive(boxes[rows], scores[rows], np.float32(max_iou), limit))
        begin += count
    chosen = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")[:limit]]
    return boxes[chosen], scores[chosen]


@kernel
def suppress_inclusive(boxes, scores, max_iou, limit):  # type: ignore[no-untyped-def]
    """Greedy non-maximum suppression of boxes whose last pixel belongs to them.

    Args:
        boxes: (K, 4) float32 xyxy, finite.
        scores: (K,) float32.
        max_iou: float32; a box that overlaps a kept one as much as this or more is dropped.
        limit: stop when so many are kept.

    Returns:
        (at most limit,) int64 rows, best score first; equal scores keep their order.
    """
    one = np.float32(1)
    kept = np.empty(min(limit, len(boxes)), np.int64)
    n = 0
    for i in np.argsort(-scores, kind="mergesort"):
        if n == len(kept):
            break
        x0, y0, x1, y1 = boxes[i]
        area = (x1 - x0 + one) * (y1 - y0 + one)
        free = True
        for j in kept[:n]:
            b = boxes[j]
            w = max(min(x1, b[2]) - max(x0, b[0]) + one, np.float32(0))
            h = max(min(y1, b[3]) - max(y0, b[1]) + one, np.float32(0))
            shared = w * h
            if shared / (area + (b[2] - b[0] + one) * (b[3] - b[1] + one) - shared) >= max_iou:
                free = False
                break
        if free:
            kept[n] = i
            n += 1
    return kept[:n]
