"""Crops: square pieces of a picture around given places, resized, as the siamese networks take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def cut_crops(
    image: NDArray[np.uint8],
    centres: ArrayLike,
    sides: ArrayLike,
    size: int,
    fill: Sequence[float],
    *,
    colour: str = "rgb",
) -> NDArray[np.float32]:
    """Square crops, bilinear, what lies outside the picture filled with one colour.

    Args:
        image: (H, W, 3) uint8 BGR.
        centres: (N, 2) x, y, source pixels (edges, not pixel centres, are whole numbers).
        sides: (N,) source pixels, above 0.
        size: side of the crops in pixels.
        fill: blue, green, red, 0..255.
        colour: order of the channels that come out, "rgb" or "bgr".

    Returns:
        (N, 3, size, size) float32, 0..255; N may be 0.
    """
    import cv2

    places, widths = np.asarray(centres, np.float64).reshape(-1, 2), np.asarray(sides, np.float64).reshape(-1)
    out = np.empty((len(places), 3, size, size), np.float32)
    order = (2, 1, 0) if colour == "rgb" else (0, 1, 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for i, ((x, y), side) in enumerate(zip(places, widths, strict=True)):
        scale = side / size  # source pixels per crop pixel; pixel centres at + 0.5 on both sides
        first_x, first_y = x - side / 2 + scale / 2 - 0.5, y - side / 2 + scale / 2 - 0.5
        affine = np.array([[scale, 0.0, first_x], [0.0, scale, first_y]])
        crop = cv2.warpAffine(
            image, affine, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=tuple(fill)
        )
        for k in range(3):
            out[i, k] = crop[:, :, order[k]]
    return out
