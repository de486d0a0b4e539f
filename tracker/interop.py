"""To and from the value types of other libraries, without depending on them.

`Detections.from_array` and `Tracks.to_array` (plain rows) are methods of the types themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracker.errors import DetectionsError
from tracker.masks import Masks
from tracker.types import Detections, Tracks


def from_supervision(detections: Any) -> Detections:
    """From a `supervision.Detections`, or anything with its attributes `xyxy, confidence, class_id, mask`.

    A missing confidence counts as 1, a missing class as 0; dense (N, H, W) masks are packed. A tracker id is ignored:
    identity is what this engine is asked for.

    Raises:
        DetectionsError: it has no `xyxy`, or values that `Detections` refuses.
    """
    boxes = getattr(detections, "xyxy", None)
    if boxes is None:
        raise DetectionsError(f"expected an object like supervision.Detections, got {type(detections).__name__}")
    n = len(boxes)
    scores: Any = np.ones(n) if detections.confidence is None else detections.confidence
    labels: Any = np.zeros(n) if detections.class_id is None else detections.class_id
    dense = getattr(detections, "mask", None)
    return Detections(
        boxes, scores, np.asarray(labels, np.int32), masks=None if dense is None else Masks.from_dense(dense)
    )


def to_supervision(tracks: Tracks) -> Any:
    """To a `supervision.Detections` with `tracker_id`, masks included; the package must be installed.

    Rows keep their order, so `tracks.confirmed` gives what supervision's annotators expect.

    Raises:
        ModuleNotFoundError: supervision is not installed.
    """
    import supervision

    masks = tracks.masks
    return supervision.Detections(
        xyxy=tracks.boxes,
        mask=None if masks is None else masks.to_dense(),
        confidence=tracks.scores,
        class_id=tracks.labels.astype(int),
        tracker_id=tracks.ids.astype(int),
    )
