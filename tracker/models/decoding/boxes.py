"""From dense heads to kept boxes: the class of every anchor, then class-aware non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.errors import DetectionsError
from tracker.models.geometry import Placement
from tracker.models.model import ModelConfig


def keep_boxes(
    corners: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int32],
    config: ModelConfig,
    placement: Placement,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Suppress, go over to the frame, drop what lies outside it.

    Args:
        corners: (K, 4) float32 xyxy, network pixels.
        scores: (K,) float32.
        labels: (K,) int32.
        config: `nms_iou` and `max_detections`.
        placement: where the frame lies in the input.

    Returns:
        Rows kept (n,), best score first, and their boxes (n, 4) float32 in source pixels, inside the frame.

    Raises:
        DetectionsError: a score or a box is NaN or infinite.
    """
    broken = np.flatnonzero(~(np.isfinite(scores) & np.isfinite(corners).all(1)))
    if len(broken):
        what = f"score {scores[broken[0]]}, box {corners[broken[0]]}"
        raise DetectionsError(f"expected finite numbers from the network, got {what}; check its weights and precision")
    kept = suppress(corners, scores, labels, np.float32(config.nms_iou), config.max_detections)
    boxes = placement.to_source(corners[kept])
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return kept[inside], boxes[inside]


def every_class(
    scores: NDArray[np.float32], wanted: NDArray[np.bool_], min_score: np.float32
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Every class of every anchor whose score is above `min_score` or NaN, as COCO's protocol wants it.

    Args:
        scores: (A, classes) float32.
        wanted: (classes,) bool.
        min_score: limit.

    Returns:
        anchors (K,), labels (K,), scores (K,), by anchor, then by class.
    """
    anchors, labels = np.nonzero(~(scores <= min_score) & wanted)
    return anchors, labels.astype(np.int32), scores[anchors, labels]


@kernel
def best_columns(head, first, wanted, min_score):  # type: ignore[no-untyped-def]
    """Best class of every anchor of a head that has one anchor per column.

    Args:
        head: (C, N) float32; rows `first`, `first + 1`, ... are the class scores.
        first: row of class 0.
        wanted: (classes,) bool, classes to look at.
        min_score: an anchor without a score above it is left out; one with a NaN score is not.

    Returns:
        anchors (K,) int64 ascending, labels (K,) int32, scores (K,) float32. Equal scores take the lower class.
    """
    n = head.shape[1]
    best = np.full(n, min_score, np.float32)
    label = np.full(n, -1, np.int32)
    for c in range(len(wanted)):
        if not wanted[c]:
            continue
        row = head[first + c]
        for i in range(n):
            if row[i] > best[i] or np.isnan(row[i]):
                best[i] = row[i]
                label[i] = c
    anchors = np.flatnonzero(label >= 0)
    return anchors, label[anchors], best[anchors]


@kernel
def best_rows(head, objectness, first, wanted, min_score):  # type: ignore[no-untyped-def]
    """Best class of every anchor of a head that has one anchor per row; a score is objectness times class score.

    Args:
        head: (N, C) float32; column `objectness`, and `first`, `first + 1`, ... for the classes, all in 0..1.
        objectness: column.
        first: column of class 0.
        wanted: (classes,) bool, classes to look at.
        min_score: an anchor without a score above it is left out; one with a NaN score is not.

    Returns:
        As `best_columns`.
    """
    n = len(head)
    best = np.full(n, min_score, np.float32)
    label = np.full(n, -1, np.int32)
    for i in range(n):
        thing = head[i, objectness]
        if thing <= min_score:  # no class can lift it
            continue
        for c in range(len(wanted)):
            score = thing * head[i, first + c]
            if wanted[c] and (score > best[i] or np.isnan(score)):
                best[i] = score
                label[i] = c
    anchors = np.flatnonzero(label >= 0)
    return anchors, label[anchors], best[anchors]


@kernel
def suppress(boxes, scores, labels, max_iou, limit):  # type: ignore[no-untyped-def]
    """Greedy non-maximum suppression within each class, exact.

    Args:
        boxes: (K, 4) float32 xyxy, finite. One without area is dropped.
        scores: (K,) float32.
        labels: (K,) integers; boxes of different classes do not meet.
        max_iou: a box that overlaps a kept one by more is dropped.
        limit: stop when so many are kept.

    Returns:
        (at most limit,) int64 rows, best score first; equal scores keep their order.
    """
    kept = np.empty(min(limit, len(boxes)), np.int64)
    n = 0
    for i in np.argsort(-scores, kind="mergesort"):
        if n == len(kept):
            break
        x0, y0, x1, y1 = boxes[i]
        if x1 <= x0 or y1 <= y0:
            continue
        area = (x1 - x0) * (y1 - y0)
        free = True
        for j in kept[:n]:
            if labels[j] != labels[i]:
                continue
            b = boxes[j]
            w = min(x1, b[2]) - max(x0, b[0])
            h = min(y1, b[3]) - max(y0, b[1])
            if w > 0 and h > 0:
                shared = w * h
                if shared > max_iou * (area + (b[2] - b[0]) * (b[3] - b[1]) - shared):
                    free = False
                    break
        if free:
            kept[n] = i
            n += 1
    return kept[:n]
