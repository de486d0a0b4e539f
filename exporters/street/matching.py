"""Which detection is which object of a rendered scene: where their masks overlap by more than half."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.types import Detections


def overlaps(scene: Any, rows: NDArray[np.int32], count: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Shared pixels of objects and detections (row and column 0: neither), and the areas of both."""
    objects = len(scene.object_ids)
    index = np.where(scene.ids > 0, np.searchsorted(scene.object_ids, scene.ids) + 1, 0)
    cells = index * (count + 1) + rows
    overlap = np.bincount(cells.ravel(), minlength=(objects + 1) * (count + 1)).reshape(objects + 1, count + 1)
    return overlap, overlap.sum(1), overlap.sum(0)


def ious(overlap: NDArray[Any], area: NDArray[Any], found: NDArray[Any]) -> NDArray[np.float64]:
    """(objects, detections) IoU of what `overlaps` gives."""
    iou: NDArray[np.float64] = overlap[1:, 1:] / np.maximum(area[1:, None] + found[None, 1:] - overlap[1:, 1:], 1)
    return iou


def matches(iou: NDArray[np.float64], scene: Any, detections: Detections) -> NDArray[np.bool_]:
    """(objects, detections): which detection is which object: of its class, and an IoU above 0.5 leaves no choice."""
    match: NDArray[np.bool_] = (iou > 0.5) & (np.asarray(scene.labels)[:, None] == detections.labels[None])
    return match
