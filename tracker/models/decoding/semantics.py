"""A class for every pixel: logits and where they stand on a frame, stuff alone, and objects laid over it.

Source: Panoptic Segmentation, arXiv:1801.00868, section 4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.models.decoding.fusion import Axis, Fusion, frame_axes, fuse, paint
from tracker.models.geometry import Placement
from tracker.types import Detections, Panoptic

LEAST_SEEN = 0.5
"""Share of an instance's pixels that others leave it; one with less is not in a merged picture."""


class Semantics(NamedTuple):
    """Logits (C, h, w), and where the frame's rows and columns stand on them."""

    logits: NDArray[np.float32]
    rows: Axis
    columns: Axis


def stand_on(logits: NDArray[np.float32], placement: Placement, *, corners: bool = False) -> Semantics:
    """Logits (C, h, w) that cover a network's whole input, with the axes of the frame."""
    height, width = logits.shape[1:]
    return Semantics(logits, *frame_axes(placement, height, width, corners=corners))


def paint_stuff(semantics: Semantics, things: NDArray[np.bool_], fusion: Fusion | None = None) -> Panoptic:
    """The likeliest class of every pixel of the frame; where it is one of `things` (C,), void.

    `fusion` may ask for another class there, and for a least area of stuff.
    """
    logits, rows, columns = semantics
    fusion = Fusion() if fusion is None else fusion
    nothing = np.zeros((2, *logits.shape[1:]), np.float32)
    fused = fuse(logits, nothing[0], nothing, things, fusion, rows, columns)
    return paint(fused, [], logits, things, fusion, rows, columns)


def merge_instances(found: Detections, stuff: Panoptic) -> Panoptic:
    """Instances over stuff: a new picture, in which the earlier (better) detection keeps a pixel.

    One of which at most half is left by those before it is not in the picture.

    Args:
        found: with masks, best first; its labels are classes of the picture.
        stuff: what is seen where no instance is.
    """
    assert found.masks is not None
    picture = Panoptic(stuff.classes.copy(), stuff.rows.copy())
    for i, label in enumerate(found.labels):
        crop, (x0, y0, x1, y1) = found.masks.crop(i), found.masks.rects[i]
        taken = picture.rows[y0:y1, x0:x1]
        free = crop & (taken == 0)
        if free.sum() > LEAST_SEEN * crop.sum():
            taken[free] = i + 1
            picture.classes[y0:y1, x0:x1][free] = label
    return picture
