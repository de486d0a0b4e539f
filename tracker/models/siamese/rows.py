"""Rows of tracks among detections: where siamese networks found them, which are doubtful, what scores they have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.masks import Masks
from tracker.types import Detections

_LEAST_SIDE_PX = 2.0  # of a box that can be looked for; smaller ones count as this
_CLEARLY = 0.1  # by which the overlap of two tracks must grow to count


def meets(boxes: NDArray[np.float32], width: int, height: int) -> NDArray[np.bool_]:
    """Which boxes have a part in the picture."""
    x1, y1, x2, y2 = boxes.T
    met: NDArray[np.bool_] = (x1 < width) & (y1 < height) & (x2 > 0) & (y2 > 0)
    return met


def padded(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Boxes with sides that can be looked for, around the same centres."""
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2.0, boxes[:, 2:].astype(np.float64) - boxes[:, :2]
    half = np.maximum(sizes, _LEAST_SIDE_PX) / 2.0
    return np.concatenate([centres - half, centres + half], 1)


def contested(boxes: NDArray[np.float32], before: NDArray[np.float32], rival_iou: float) -> NDArray[np.bool_]:
    """Rows of tracks that were found where another one was, see `SiameseConfig.rival_iou`."""
    if rival_iou >= 1:
        return np.zeros(len(boxes), np.bool_)
    now = _iou(boxes, boxes)
    np.fill_diagonal(now, 0.0)
    rivals = (now >= rival_iou) & (now > _iou(before, before) + _CLEARLY)
    either: NDArray[np.bool_] = np.logical_or.reduce(rivals, axis=1)
    return either


def adopt(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int32],
    detections: Detections,
    least_iou: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows with the boxes of the detections that they overlap best, and the mean of both scores (see the config).

    Best pairs come first; each detection serves one row. A row that finds none keeps its box and half of its score.
    """
    boxes, scores = boxes.copy(), scores / np.float32(2)
    iou = _iou(boxes, detections.boxes)
    iou[labels[:, None] != detections.labels[None]] = 0.0
    while iou.size and iou.max() >= least_iou:
        i, j = np.unravel_index(int(iou.argmax()), iou.shape)
        boxes[i], scores[i] = detections.boxes[j], scores[i] + detections.scores[j] / np.float32(2)
        iou[i], iou[:, j] = 0.0, 0.0
    return boxes, scores


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, M) of boxes; 0 without area."""
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.prod(np.maximum(corner, 0.0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b)]
    iou: NDArray[np.float32] = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, np.float32(1e-9))
    return iou


def append(
    detections: Detections,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int32],
    ids: NDArray[np.int64],
) -> Detections:
    """Detections with the rows of tracks behind them."""
    n, k, masks = len(detections), len(ids), detections.masks
    before = np.full(n, -1) if detections.track_ids is None else detections.track_ids
    middle: NDArray[np.float32] = (boxes[:, :2] + boxes[:, 2:]) * np.float32(0.5)

    def lengthened(own: NDArray[np.float32] | None, rows: NDArray[np.float32] | None = None) -> Any:
        if own is None:
            return None
        return np.concatenate([own, np.zeros((k, own.shape[1]), np.float32) if rows is None else rows])

    return replace(
        detections,
        boxes=np.concatenate([detections.boxes, boxes]),
        scores=np.concatenate([detections.scores, scores]),
        labels=np.concatenate([detections.labels, labels]),
        track_ids=np.concatenate([before, ids]),
        masks=None if masks is None else Masks.join([masks, Masks.empty(masks.height, masks.width, k)]),
        embeddings=lengthened(detections.embeddings),
        centres=lengthened(detections.centres, middle),
        offsets=lengthened(detections.offsets),
    )
