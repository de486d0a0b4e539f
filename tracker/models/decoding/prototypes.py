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
from tracker.models.decoding.painting import paint_map, place_crop
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
        x0, y0 = int(np.ceil(boxes[i, 0] - 0.5)), int(np.ceil(boxes[i, 1] - 0.5))
        x1, y1 = int(np.ceil(boxes[i, 2] - 0.5)), int(np.ceil(boxes[i, 3] - 0.5))
        starts[i + 1] = starts[i] + place_crop(rects[i], x0, y0, x1, y1, width, height)
    words, broken, level = np.zeros(starts[n], np.uint64), 0, np.float32(0)
    ax, bx, ay, by = along
    for i in range(n):
        if starts[i + 1] > starts[i]:
            columns, right = _axis(rects[i, 0], rects[i, 2], ax, bx, prototypes.shape[2])
            rows, down = _axis(rects[i, 1], rects[i, 3], ay, by, prototypes.shape[1])
            logits = _weigh(coefficients[i], prototypes, rows[0], rows[-1] + 2, columns[0], columns[-1] + 2)
            broken += not np.isfinite(logits).all()
            rows -= rows[0]
            columns -= columns[0]
            paint_map(logits, level, rows, down, columns, right, rects[i, 0], words[starts[i] : starts[i + 1]])
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
