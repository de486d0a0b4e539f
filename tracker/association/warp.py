"""Masks carried along optical flow, and which pixels of a flow can be trusted.

A warped mask asks, for every pixel p of the frame it is warped to, whether the mask is set at p + F(p). Only stretches
of pixels whose vectors can reach a mask's crop are asked: a first pass notes, for every tile of 64 x 8 pixels (a word
wide, on the grid of `Masks`), the rectangle that its vectors point into. Overlapping masks are warped independently.

Arrays are float32 (H, W, 2) vectors (dx, dy) in pixels, as in `types.Flow`. A vector that is not finite points nowhere.
Sources: STEP, arXiv:2102.11859 (deeplab2's rule, `warp_to_previous`); MOTS, arXiv:1902.03604 (`warp_by_forward`);
Sundaram, Brox and Keutzer, ECCV 2010 (`find_occluded`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker._jit import inlined, kernel
from tracker.errors import MasksError
from tracker.masks import Masks

SLOPE, OFFSET = 0.01, 0.5
"""Sundaram's numbers for the forward-backward check: share of squared lengths, and squared pixels."""

_ROWS = 8  # of a tile; it is 64 columns wide
_NOTHING: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)


# ------------------------------------------------------------------ masks
def warp_to_previous(masks: Masks, forward: NDArray[np.float32], occluded: NDArray[np.bool_] | None = None) -> Masks:
    """Masks of frame t as they would lie in t-1, by deeplab2's rule.

    Bilinear, and any share counts: p is set where one of the up to four pixels around p + forward(p) is, so that a mask
    grows by up to a pixel. Disjoint masks may therefore meet in a pixel afterwards.

    Args:
        masks: N masks of frame t; N may be 0.
        forward: (H, W, 2) float32, flow from t-1 to t on the grid of t-1.
        occluded: (H, W) bool on the grid of t-1, pixels that no mask gets; None for none.

    Returns:
        N masks of frame t-1, empty where a mask came from nowhere.

    Raises:
        MasksError: masks, flow and occlusion differ in size.
    """
    return _warp(masks, forward, occluded, 1.0, True)


def warp_to_current(masks: Masks, backward: NDArray[np.float32], revealed: NDArray[np.bool_] | None = None) -> Masks:
    """Masks of frame t-1 as they would lie in t, the direction of STEP's text.

    Nearest: q is set where the pixel nearest to q + backward(q) is (halves go to the even pixel), so that disjoint
    masks stay disjoint.

    Args:
        masks: N masks of frame t-1; N may be 0.
        backward: (H, W, 2) float32, flow from t to t-1 on the grid of t.
        revealed: (H, W) bool on the grid of t, pixels that no mask gets; None for none.

    Returns:
        N masks of frame t, empty where a mask went out of sight.

    Raises:
        MasksError: masks, flow and `revealed` differ in size.
    """
    return _warp(masks, backward, revealed, 1.0, False)


def warp_by_forward(masks: Masks, forward: NDArray[np.float32]) -> Masks:
    """Masks of frame t-1 as they would lie in t, from the forward flow alone: TrackR-CNN's approximate inverse.

    q is set where the pixel nearest to q - forward(q) is; the vector is the one of t-1's pixel at the same place.

    Args:
        masks: N masks of frame t-1; N may be 0.
        forward: (H, W, 2) float32, flow from t-1 to t on the grid of t-1.

    Returns:
        N masks of frame t.

    Raises:
        MasksError: masks and flow differ in size.
    """
    return _warp(masks, forward, None, -1.0, False)


def _warp(
    masks: Masks, flow: NDArray[np.float32], dropped: NDArray[np.bool_] | None, sign: float, spread: bool
) -> Masks:
    size = (masks.height, masks.width)
    _check_size(size, flow, dropped)
    if len(masks) == 0 or masks.words.size == 0:
        return Masks.empty(*size, len(masks))
    flow = np.ascontiguousarray(flow)
    skip = _NOTHING if dropped is None else np.ascontiguousarray(dropped)
    reach = _find_reach(flow, sign, skip)
    rects, starts = _find_windows(reach, masks.rects, *size)
    words = np.zeros(starts[-1], np.uint64)
    _warp_bits(flow, sign, skip, spread, reach, masks.words, masks.rects, masks.starts, words, rects, starts)
    return Masks(*size, rects, starts, words)


@kernel
def _find_reach(flow, sign, dropped):  # type: ignore[no-untyped-def]
    """(rows of tiles, tiles across, 4) float64: least and greatest x and y that a tile's vectors point to."""
    height, width = flow.shape[:2]
    skips = dropped.size > 0
    out = np.empty(((height + _ROWS - 1) // _ROWS, (width + 63) // 64, 4))
    out[:, :, :2] = np.inf
    out[:, :, 2:] = -np.inf
    for y in range(height):
        for k in range(out.shape[1]):
            box = out[y // _ROWS, k]
            x0, y0, x1, y1 = box[0], box[1], box[2], box[3]
            for x in range(64 * k, min(64 * k + 64, width)):
                if skips and dropped[y, x]:
                    continue
                to_x, to_y = x + sign * flow[y, x, 0], y + sign * flow[y, x, 1]
                x0, y0 = min(x0, to_x), min(y0, to_y)  # in this order NaN never wins
                x1, y1 = max(x1, to_x), max(y1, to_y)
            box[0], box[1], box[2], box[3] = x0, y0, x1, y1
    return out


@inlined
def _reaches(tile, rect):  # type: ignore[no-untyped-def]
    """Whether a vector of the tile may end within a pixel of the crop."""
    return (
        rect[2] > rect[0]
        and tile[0] < rect[2]
        and tile[2] > rect[0] - 1
        and tile[1] < rect[3]
        and tile[3] > rect[1] - 1
    )


@kernel
def _find_windows(reach, rects, height, width):  # type: ignore[no-untyped-def]
    """Crops of the warped masks, in whole tiles cut off at the frame, and where their words start."""
    out = np.zeros((len(rects), 4), np.int32)
    starts = np.zeros(len(rects) + 1, np.int64)
    for i in range(len(rects)):
        x0, y0, x1, y1 = reach.shape[1], reach.shape[0], 0, 0
        for a in range(reach.shape[0]):
            for k in range(reach.shape[1]):
                if _reaches(reach[a, k], rects[i]):
                    x0, y0, x1, y1 = min(x0, k), min(y0, a), max(x1, k + 1), max(y1, a + 1)
        starts[i + 1] = starts[i]
        if x1 > 0:
            r = out[i]
            r[0], r[1], r[2], r[3] = 64 * x0, _ROWS * y0, min(64 * x1, width), min(_ROWS * y1, height)
            starts[i + 1] += (x1 - x0) * (r[3] - r[1])
    return out, starts


@inlined
def _is_set(words, rect, at, across, x, y):  # type: ignore[no-untyped-def]
    """Bit of a crop at the frame's pixel (x, y); outside the crop nothing is set."""
    if x < rect[0] or x >= rect[2] or y < rect[1] or y >= rect[3]:
        return False
    word = words[at + (y - rect[1]) * across + x // 64 - rect[0] // 64]
    return (word >> np.uint64(x & 63)) & np.uint64(1) != 0


@kernel
def _warp_bits(flow, sign, dropped, spread, reach, words, rects, starts, out, windows, out_starts):  # type: ignore[no-untyped-def]
    """Fill the words of the windows; one word is one tile's stretch of a row."""
    skips = dropped.size > 0
    for i in range(len(rects)):
        rect, window, at = rects[i], windows[i], starts[i]
        across = (rect[2] - 1) // 64 - rect[0] // 64 + 1
        out_across = (window[2] + 63) // 64 - window[0] // 64
        for y in range(window[1], window[3]):
            for k in range(out_across):
                left = window[0] + 64 * k
                if not _reaches(reach[y // _ROWS, left // 64], rect):
                    continue
                word = np.uint64(0)
                for x in range(left, min(left + 64, window[2])):
                    to_x, to_y = x + sign * flow[y, x, 0], y + sign * flow[y, x, 1]
                    near = rect[0] - 1 < to_x < rect[2] and rect[1] - 1 < to_y < rect[3]
                    if not near or (skips and dropped[y, x]):
                        continue
                    if spread:
                        px, py = math.floor(to_x), math.floor(to_y)
                        beside, below = to_x > px, to_y > py
                        hit = (
                            _is_set(words, rect, at, across, px, py)
                            or (beside and _is_set(words, rect, at, across, px + 1, py))
                            or (below and _is_set(words, rect, at, across, px, py + 1))
                            or (beside and below and _is_set(words, rect, at, across, px + 1, py + 1))
                        )
                    else:
                        hit = _is_set(words, rect, at, across, int(np.rint(to_x)), int(np.rint(to_y)))
                    word |= np.uint64(hit) << np.uint64(x & 63)
                out[out_starts[i] + (y - window[1]) * out_across + k] = word


# ------------------------------------------------------------------ label maps and boxes
def warp_labels(
    labels: NDArray[np.int32], backward: NDArray[np.float32], revealed: NDArray[np.bool_] | None = None
) -> NDArray[np.int32]:
    """A label map of frame t-1 as it would lie in t: `warp_to_current` for disjoint objects, in one pass.

    Args:
        labels: (H, W) int32 of frame t-1; 0 is background.
        backward: (H, W, 2) float32, flow from t to t-1 on the grid of t.
        revealed: (H, W) bool on the grid of t, pixels that become 0; None for none.

    Returns:
        (H, W) int32 of frame t; 0 where the flow comes from outside the frame.

    Raises:
        MasksError: sizes differ, or labels are not int32.
    """
    if labels.ndim != 2 or labels.dtype != np.int32:
        raise MasksError(f"expected an int32 label map of shape (H, W), got {labels.dtype} {labels.shape}")
    _check_size(labels.shape, backward, revealed)
    out = np.zeros(labels.shape, np.int32)
    skip = _NOTHING if revealed is None else np.ascontiguousarray(revealed)
    _sample_labels(np.ascontiguousarray(labels), np.ascontiguousarray(backward), skip, out)
    return out


@kernel
def _sample_labels(labels, flow, dropped, out):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    skips = dropped.size > 0
    for y in range(height):
        for x in range(width):
            to_x, to_y = np.rint(x + np.float64(flow[y, x, 0])), np.rint(y + np.float64(flow[y, x, 1]))
            inside = 0 <= to_x < width and 0 <= to_y < height
            if inside and not (skips and dropped[y, x]):
                out[y, x] = labels[int(to_y), int(to_x)]


def find_occluded(
    forward: NDArray[np.float32], backward: NDArray[np.float32], *, slope: float = SLOPE, offset: float = OFFSET
) -> NDArray[np.bool_]:
    """Pixels that the flow there and back does not return to (Sundaram's equation 5), and those that leave the image.

    p is occluded where |w(p) + v|^2 > slope * (|w(p)|^2 + |v|^2) + offset with w = forward and v = backward at
    p + w(p), bilinear. Exchange the two flows for the other frame's pixels.

    Args:
        forward: (H, W, 2) float32 (or float64), on the grid that is asked about.
        backward: (H, W, 2) of the same dtype, on the other frame's grid.
        slope: how much longer vectors may miss.
        offset: squared pixels that any vector may miss.

    Returns:
        (H, W) bool.

    Raises:
        MasksError: the flows differ in size.
    """
    _check_size(forward.shape[:2], backward, None)
    _check_size(backward.shape[:2], forward, None)
    occluded: NDArray[np.bool_] = _check_return(
        np.ascontiguousarray(forward), np.ascontiguousarray(backward), float(slope), float(offset)
    )
    return occluded


@kernel
def _check_return(forward, backward, slope, offset):  # type: ignore[no-untyped-def]
    height, width = forward.shape[:2]
    out = np.ones((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            u, v = np.float64(forward[y, x, 0]), np.float64(forward[y, x, 1])
            to_x, to_y = x + u, y + v
            if not (0 <= to_x <= width - 1 and 0 <= to_y <= height - 1):
                continue
            x0, y0 = int(to_x), int(to_y)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            a, b = to_x - x0, to_y - y0
            top_u = backward[y0, x0, 0] * (1 - a) + backward[y0, x1, 0] * a
            top_v = backward[y0, x0, 1] * (1 - a) + backward[y0, x1, 1] * a
            low_u = backward[y1, x0, 0] * (1 - a) + backward[y1, x1, 0] * a
            low_v = backward[y1, x0, 1] * (1 - a) + backward[y1, x1, 1] * a
            back_u, back_v = top_u * (1 - b) + low_u * b, top_v * (1 - b) + low_v * b
            missed = (u + back_u) ** 2 + (v + back_v) ** 2
            out[y, x] = not missed <= slope * (u * u + v * v + back_u * back_u + back_v * back_v) + offset
    return out


def _check_size(size: tuple[Any, ...], flow: NDArray[np.float32], dropped: NDArray[np.bool_] | None) -> None:
    if flow.shape != (*size, 2):
        raise MasksError(f"expected flow of shape {(*size, 2)} for a frame of {size[0]}x{size[1]}, got {flow.shape}")
    if dropped is not None and (dropped.shape != size or dropped.dtype != np.bool_):
        raise MasksError(f"expected a bool map of shape {size}, got {dropped.dtype} {dropped.shape}")
