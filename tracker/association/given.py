"""Given motion: rows that say where a network found a track again, for plans that match detections of another one.

A row of `Detections` whose `track_ids` names a track, with a score of at least `follow_score`, is what the track's
filter measures before anything is matched: where motion is "none" the row's box simply becomes the predicted box, in
other motions filter and network are weighed as filter and detection are. Rows take part in no stage and start no track.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker._jit import inlined, kernel
from tracker.association.motion import coordinates, correct, write_boxes
from tracker.association.state import COUNT, DETECTION_BOX, MEASURED, SEEN, SOURCE, USABLE, carve
from tracker.association.suppression import column_of
from tracker.association.table import FOLLOW_SCORE, FORM, RULES
from tracker.types import Detections

FARTHEST_PX = 1e9
"""A corner beyond this is no place in a picture, and keeps every number of the filters finite."""

_carve = inlined(carve)


def row_ids(detections: Detections) -> NDArray[np.int64]:
    """Which track each row is about, -1 for a fresh detection."""
    ids = detections.track_ids
    return np.full(len(detections), -1, np.int64) if ids is None else ids


@kernel
def take_rows(plan, memory, boxes, scores, track_ids):  # type: ignore[no-untyped-def]
    """Note the rows of a frame for `follow_rows` in its step, which is to come.

    Args:
        plan: from `Plan.encode`.
        memory: `State.arrays` with room for the frame.
        boxes: (N, 4) float32 xyxy.
        scores: (N,) float32.
        track_ids: (N,) int64, -1 for a fresh detection.

    Returns:
        (N,) float32 scores with which the step sees fresh detections only: NaN, no score at all, for rows.
    """
    counters, reals, ints, _, _ = _carve(memory)
    note_rows(plan, plan[RULES, FOLLOW_SCORE], boxes, scores, track_ids, reals, ints, counters[COUNT])
    fresh = scores.copy()
    for j in range(len(fresh)):
        if track_ids[j] >= 0:
            fresh[j] = np.nan
    return fresh


@inlined
def note_rows(plan, least, boxes, scores, track_ids, reals, ints, n):  # type: ignore[no-untyped-def]
    """`MEASURED`, `SEEN` and `SOURCE` of live tracks that have a row with a score from `least` up."""
    form = int(plan[RULES, FORM])
    for i in range(n):
        reals[SEEN, i] = 0.0
        ints[SOURCE, i] = -1
    for j in range(len(track_ids)):
        i = column_of(track_ids[j], ints, n) if track_ids[j] >= 0 else -1
        if i < 0 or scores[j] < least:
            continue
        read_box(boxes, j, reals, ints)
        if ints[USABLE, j] == 0:
            continue
        x1, y1 = reals[DETECTION_BOX, j], reals[DETECTION_BOX + 1, j]
        x2, y2 = reals[DETECTION_BOX + 2, j], reals[DETECTION_BOX + 3, j]
        z = coordinates(form, x1, y1, x2, y2)
        reals[MEASURED, i], reals[MEASURED + 1, i], reals[MEASURED + 2, i], reals[MEASURED + 3, i] = z
        reals[SEEN, i] = 1.0
        ints[SOURCE, i] = j


@inlined
def follow_rows(plan, reals, n):  # type: ignore[no-untyped-def]
    """Take what was noted into the predicted tracks' filters and boxes."""
    correct(plan, reals, n)
    write_boxes(int(plan[RULES, FORM]), reals, n)


@inlined
def read_box(boxes, j, reals, ints):  # type: ignore[no-untyped-def]
    """Box `j` as `DETECTION_BOX`; it is `USABLE` if it has an area and is no further out than `FARTHEST_PX`."""
    x1, y1, x2, y2 = boxes[j, 0], boxes[j, 1], boxes[j, 2], boxes[j, 3]
    reals[DETECTION_BOX, j], reals[DETECTION_BOX + 1, j] = x1, y1
    reals[DETECTION_BOX + 2, j], reals[DETECTION_BOX + 3, j] = x2, y2
    near = (x1 > -FARTHEST_PX) & (y1 > -FARTHEST_PX) & (x2 < FARTHEST_PX) & (y2 < FARTHEST_PX)
    ints[USABLE, j] = near & (x2 > x1) & (y2 > y1)
