"""Instance masks from prototypes: a mask is the sign of a weighted sum of prototype maps, inside its box.

Only the prototype cells under a box are summed, and only the pixels of the box are interpolated, straight into the
packed words of `Masks`; nothing of the size of the frame is made per object.

Source: YOLACT, arXiv:1904.02689, section 3.2 (prototypes and coefficients, crop by the box).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker._jit import inlined, kernel
from tracker.errors import DetectionsError
from tracker.masks import Masks
from tracker.models.geometry import Placement


def masks_from_prototypes(
    coefficients: NDArray[np.float32],
    prototypes: NDArray[np.float32],
    boxes: NDArray[np.float32],
    placement: Placement,
) -> Masks:
    """Masks of N objects, bilinear in source pixels, cut at their boxes.

    A pixel belongs to the object where its centre is inside the box and the interpolated sum is above 0 (a sigmoid
    above one half).

    Args:
        coefficients: (N, M) float32.
        prototypes: (M, h, w) float32, maps over the network's whole input.
        boxes: (N, 4) float32 xyxy, source pixels, inside the frame.
        placement: where the frame lies in the input.

    Raises:
        DetectionsError: a sum under a box is NaN or infinite.
    """
    width, height = placement.source
    along = placement.on_map(prototypes.shape[2], prototypes.shape[1])
    rects, starts, words, broken = _decode(coefficients, prototypes, boxes, along, height, width)
    if broken:
        raise DetectionsError(f"expected finite mask values from the network, got others under {broken} of its boxes")
    return Masks(height, width, rects, starts, words)


@kernel
def _decode(coefficients, prototypes, boxes, along, height, width):  # type: ignore[no-untyped-def]
    n = len(boxes)
    rects = np.zeros((n, 4), np.int32)
    starts = np.zeros(n + 1, np.int64)
    for i in range(n):
        x0 = max(int(np.ceil(boxes[i, 0] - 0.5)), 0)
        y0 = max(int(np.ceil(boxes[i, 1] - 0.5)), 0)
        x1 = min(int(np.ceil(boxes[i, 2] - 0.5)), width)
        y1 = min(int(np.ceil(boxes[i, 3] - 0.5)), height)
        size = 0
        if x1 > x0 and y1 > y0:
            rects[i, 0], rects[i, 1], rects[i, 2], rects[i, 3] = x0, y0, x1, y1
            size = ((x1 - 1) // 64 - x0 // 64 + 1) * (y1 - y0)
        starts[i + 1] = starts[i] + size
    words = np.zeros(starts[n], np.uint64)
    broken = 0
    ax, bx, ay, by = along
    for i in range(n):
        if starts[i + 1] > starts[i]:
            columns, right = _axis(rects[i, 0], rects[i, 2], ax, bx, prototypes.shape[2])
            rows, down = _axis(rects[i, 1], rects[i, 3], ay, by, prototypes.shape[1])
            logits = _weigh(coefficients[i], prototypes, rows[0], rows[-1] + 2, columns[0], columns[-1] + 2)
            broken += not np.isfinite(logits).all()
            rows -= rows[0]
            columns -= columns[0]
            _draw(logits, rows, down, columns, right, rects[i, 0], words[starts[i] : starts[i + 1]])
    return rects, starts, words, broken


@inlined
def _axis(first, last, a, b, cells):  # type: ignore[no-untyped-def]
    """For pixels first..last-1 of one axis: the map cell before each, and how far it is towards the next cell.

    The border cells go on outwards; the next cell of the last one is never read with a weight.
    """
    cell = np.empty(last - first, np.int64)
    share = np.empty(last - first, np.float32)
    for k in range(last - first):
        at = min(max(a * (first + k) + b, 0.0), cells - 1.0)
        cell[k] = min(int(at), max(cells - 2, 0))
        share[k] = at - cell[k]
    return cell, share


@inlined
def _weigh(weights, prototypes, r0, r1, c0, c1):  # type: ignore[no-untyped-def]
    """Weighted sum of the prototypes in rows r0..r1 and columns c0..c1; past the map's end zeros."""
    out = np.zeros((r1 - r0, c1 - c0), np.float32)
    high, wide = min(r1, prototypes.shape[1]) - r0, min(c1, prototypes.shape[2]) - c0
    for k in range(len(weights)):
        weight = weights[k]
        for r in range(high):
            source = prototypes[k, r0 + r]
            line = out[r]
            for c in range(wide):
                line[c] += weight * source[c0 + c]
    return out


@inlined
def _draw(logits, rows, down, columns, right, x0, words):  # type: ignore[no-untyped-def]
    """Set the bits where the bilinear value is positive.

    Between two cells of one sign the value keeps it, so only cells with a change of sign are looked at by pixel.
    """
    one = np.float32(1)
    n = len(columns)
    cells = logits.shape[1] - 1
    first = x0 // 64
    across = (x0 + n - 1) // 64 - first + 1
    spans = np.searchsorted(columns, np.arange(cells + 1))  # pixels of each cell
    line = np.empty(cells + 1, np.float32)
    for y in range(len(rows)):
        above, below, f = logits[rows[y]], logits[rows[y] + 1], down[y]
        for c in range(cells + 1):
            line[c] = above[c] * (one - f) + below[c] * f
        row = words[y * across : (y + 1) * across]
        for c in range(cells):
            a, b = line[c], line[c + 1]
            if a > 0 and b > 0:
                _fill(row, x0 + spans[c] - first * 64, x0 + spans[c + 1] - first * 64)
            elif a > 0 or b > 0:
                for k in range(spans[c], spans[c + 1]):
                    if a * (one - right[k]) + b * right[k] > 0:
                        x = x0 + k - first * 64
                        row[x // 64] |= np.uint64(1) << np.uint64(x & 63)


@inlined
def _fill(row, start, stop):  # type: ignore[no-untyped-def]
    """Set bits start..stop-1 of a row of words."""
    while start < stop:
        end = min(stop, (start // 64 + 1) * 64)
        bits = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - (end - start))
        row[start // 64] |= bits << np.uint64(start & 63)
        start = end
