"""Resizing as Pillow's BILINEAR does it: a triangle filter that widens when the image shrinks, so nothing aliases.

OpenCV's INTER_LINEAR looks at four pixels however much it shrinks; networks whose authors resized with Pillow or with
torchvision see other pixels then (a factor of 0.7: 2 grey levels on average, up to 65).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.errors import FrameError
from tracker.models.card import Size

_BITS = 22  # fixed-point weights, so that results equal Pillow's to the last bit


def resize_triangle(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize with a triangle filter, first rows, then columns, each rounded to whole grey levels.

    Args:
        image: (H, W, C) uint8.
        size: (width, height) of the result.

    Returns:
        (height, width, C) uint8; `image` itself where the size is already right.

    Raises:
        FrameError: not such an image, or one without pixels.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or image.size == 0 or min(size) < 1:
        raise FrameError(f"expected an image (H, W, C) uint8 with pixels and a size, got {image.shape} to {size}")
    height, width, channels = image.shape
    image = np.ascontiguousarray(image)
    if width != size[0]:
        out = np.empty((height, size[0], channels), np.uint8)
        _resize_rows(image, *triangle_weights(width, size[0]), out)
        image = out
    if height != size[1]:
        out = np.empty((size[1], size[0], channels), np.uint8)
        _resize_columns(image, *triangle_weights(height, size[1]), out)
        image = out
    return image


def triangle_weights(count: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """What each of `wanted` pixels of a row takes from a row of `count`.

    Returns:
        first (wanted,), taken (wanted,): the pixels first ... first + taken - 1.
        weights (wanted, most): fixed point with 22 bits, 0 beyond `taken`.
    """
    scale = count / wanted
    reach = max(scale, 1.0)
    middle = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((middle - reach + 0.5).astype(np.int64), 0)  # cut, not rounded down: below zero is zero anyway
    taken = np.minimum((middle + reach + 0.5).astype(np.int64), count) - first
    at = np.arange(int(taken.max()))
    weights = np.maximum(1 - np.abs((at + first[:, None] - middle[:, None] + 0.5) / reach), 0)
    weights *= at < taken[:, None]
    weights /= weights.sum(1, keepdims=True)
    return first, taken, np.floor(weights * (1 << _BITS) + 0.5).astype(np.int32)


@kernel
def _resize_rows(image, first, taken, weights, out):  # type: ignore[no-untyped-def]
    """out[y, x] = weighted pixels of image[y]."""
    height, width, channels = out.shape
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                total = 1 << (_BITS - 1)
                for k in range(taken[x]):
                    total += np.int64(image[y, first[x] + k, c]) * weights[x, k]
                out[y, x, c] = min(total >> _BITS, 255)


@kernel
def _resize_columns(image, first, taken, weights, out):  # type: ignore[no-untyped-def]
    """out[y, x] = weighted pixels of image[:, x]."""
    height, width, channels = out.shape
    total = np.empty((width, channels), np.int32)
    for y in range(height):
        total[:] = 1 << (_BITS - 1)
        for k in range(taken[y]):
            row, weight = image[first[y] + k], weights[y, k]
            for x in range(width):
                for c in range(channels):
                    total[x, c] += np.int32(row[x, c]) * weight
        for x in range(width):
            for c in range(channels):
                out[y, x, c] = min(total[x, c] >> _BITS, 255)
