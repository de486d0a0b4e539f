"""Tracks for sink tests, made by hand."""

from __future__ import annotations

import numpy as np

from tracker.masks import Masks
from tracker.types import Detections, Frame, Tracks, TrackState

TENTATIVE, CONFIRMED, COASTING = TrackState.TENTATIVE, TrackState.CONFIRMED, TrackState.COASTING
HEIGHT, WIDTH = 48, 64


def frame(index=0, size=(WIDTH, HEIGHT), time_s=None):
    """A grey image."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    return Frame(index, index / 25 if time_s is None else time_s, image)


def tracks(rows, *, size=(WIDTH, HEIGHT), masks=True, time_s=0.0, stack=None):
    """Tracks from rows `id, state, (x0, y0, x1, y1), score, label`, confirmed first; masks are the boxes' pixels.

    Seen tracks take the detections in order; `stack` (N, H, W) gives the detections' masks instead.
    """
    order = {CONFIRMED: 0, TENTATIVE: 1, COASTING: 2}
    rows = sorted(rows, key=lambda row: order[row[1]])
    seen = [row for row in rows if row[1] != COASTING]
    if masks and stack is None:
        stack = np.zeros((len(seen), size[1], size[0]), bool)
        for mask, (_, _, (x0, y0, x1, y1), _, _) in zip(stack, seen):
            mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    detections = Detections(
        [row[2] for row in seen],
        [row[3] for row in seen],
        [row[4] for row in seen],
        masks=Masks.from_dense(stack) if masks else None,
    )
    n = len(rows)
    return Tracks(
        ids=np.array([row[0] for row in rows], np.int64),
        boxes=np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[3] for row in rows], np.float32),
        labels=np.array([row[4] for row in rows], np.int32),
        states=np.array([row[1] for row in rows], np.uint8),
        source=np.array([k if row[1] != COASTING else -1 for k, row in enumerate(rows)], np.int32),
        hits=np.full(n, 3, np.int32),
        misses=np.array([0 if row[1] != COASTING else 2 for row in rows], np.int32),
        unmatched=np.zeros(0, np.int32),
        detections=detections,
        time_s=time_s,
    )


NAMES = ("person", "car", "dog")

CROWD = [
    (1, CONFIRMED, (2, 3, 12, 33), 0.9, 0),
    (2, CONFIRMED, (20, 5, 40, 25), 0.8, 1),
    (3, CONFIRMED, (45, 5, 60, 25), 0.7, 2),
    (4, TENTATIVE, (5, 40, 15, 47), 0.6, 0),
    (5, COASTING, (30, 30, 44, 47), 0.5, 0),
]
"""Two classes that MOTS knows and one that it does not, one tentative and one coasting track."""
