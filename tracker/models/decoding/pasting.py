"""Instance masks from small maps, one over each box: bilinear, above one half is object.

Source: Mask R-CNN, arXiv:1703.06870, with torchvision's rules.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker._jit import inlined, kernel
from tracker.masks import Masks
from tracker.models.decoding.painting import paint_map, place_crop


def paste_masks(maps: NDArray[np.float32], boxes: NDArray[np.float32], height: int, width: int) -> Masks:
    """Masks of N objects, each from a small map over its box: bilinear, above one half is object.

    As torchvision pastes them: a border of zeros goes around the map and widens the box, whose corners are then cut to
    whole pixels, the last one included.

    Args:
        maps: (N, m, m) float32 in 0..1.
        boxes: (N, 4) float32 xyxy, source pixels.
        height: rows of the frame.
        width: columns of the frame.
    """
    half, growth = np.float32(0.5), np.float32((maps.shape[1] + 2) / maps.shape[1])
    near, far = boxes[:, :2], boxes[:, 2:]
    reach, middle = (far - near) * half * growth, (far + near) * half
    first, last = (middle - reach).astype(np.int64), (middle + reach).astype(np.int64)  # towards zero
    return stretch_masks(np.pad(maps, ((0, 0), (1, 1), (1, 1))), first, last, height, width)


def stretch_masks(
    maps: NDArray[np.float32], first: NDArray[np.int64], last: NDArray[np.int64], height: int, width: int
) -> Masks:
    """Masks of N objects, each from a small map over whole pixels: bilinear, above one half is object.

    Args:
        maps: (N, m, m) float32 in 0..1, m at least 2.
        first: (N, 2) x, y of the first pixel of each; may lie outside the frame.
        last: (N, 2) of the last one, which is included; no mask is thinner than a pixel.
        height: rows of the frame.
        width: columns of the frame.
    """
    placed = np.concatenate([first, np.maximum(last - first + 1, 1)], 1)
    return Masks(height, width, *_stretch(maps, placed, height, width))


@kernel
def _stretch(maps, placed, height, width):  # type: ignore[no-untyped-def]
    """Rects, starts and words of `Masks`; `placed` is x, y, width, height of the whole maps."""
    n, side = len(placed), maps.shape[1]
    rects = np.zeros((n, 4), np.int32)
    starts = np.zeros(n + 1, np.int64)
    for i in range(n):
        x, y, wide, high = placed[i]
        starts[i + 1] = starts[i] + place_crop(rects[i], x, y, x + wide, y + high, width, height)
    words, half = np.zeros(starts[n], np.uint64), np.float32(0.5)
    for i in range(n):
        if starts[i + 1] > starts[i]:
            columns, right = _axis(rects[i, 0] - placed[i, 0], rects[i, 2] - placed[i, 0], placed[i, 2], side)
            rows, down = _axis(rects[i, 1] - placed[i, 1], rects[i, 3] - placed[i, 1], placed[i, 3], side)
            paint_map(maps[i], half, rows, down, columns, right, rects[i, 0], words[starts[i] : starts[i + 1]])
    return rects, starts, words


@inlined
def _axis(first, last, pixels, cells):  # type: ignore[no-untyped-def]
    """For pixels first..last-1 of a side of `pixels`: the cell before each, and how far it is towards the next cell."""
    cell = np.empty(last - first, np.int64)
    share = np.empty(last - first, np.float32)
    half, scale = np.float32(0.5), np.float32(cells) / np.float32(pixels)
    for k in range(last - first):
        at = max(scale * (np.float32(first + k) + half) - half, np.float32(0))
        cell[k] = min(int(at), cells - 2)
        share[k] = min(at - np.float32(cell[k]), np.float32(1))
    return cell, share
