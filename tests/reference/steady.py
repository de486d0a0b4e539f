"""The row `steady` as slow, obvious Python: full matrices, filterpy's filters, scipy's matching."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from tests.reference.association import Kalman, box_iou

TENTATIVE, CONFIRMED, COASTING = range(3)
STAGES = (  # phases, score above and below, gate, times score
    ((CONFIRMED, COASTING), 0.3, np.inf, 0.2, True),
    ((CONFIRMED,), 0.1, 0.5, 0.4, False),
    ((TENTATIVE,), 0.5, np.inf, 0.2, True),
)


def height_iou(a, b, pixel=0.0):
    """(N, M) shared height of xyxy boxes over their hull's."""
    shared = np.minimum.outer(a[:, 3], b[:, 3]) - np.maximum.outer(a[:, 1], b[:, 1]) + pixel
    return np.maximum(shared, 0) / (np.maximum.outer(a[:, 3], b[:, 3]) - np.minimum.outer(a[:, 1], b[:, 1]) + pixel)


def centre_of(box):
    """Centre of one box."""
    return (box[:2] + box[2:]) / 2


class Track:
    """One track; `box` is the predicted or filtered one."""

    def __init__(self, number, box, score, phase):
        self.id, self.phase, self.hits, self.misses, self.source = number, phase, 1, 0, None
        self.kalman = Kalman("steady", self.measure(box))
        self.last = box

    @staticmethod
    def measure(box):
        """Centre, width / height, height."""
        w, h = box[2:] - box[:2]
        return np.array([*centre_of(box), w / h, h])

    @property
    def box(self):
        x, y, ratio, h = self.kalman.filter.x[:4, 0]
        return np.array([x - ratio * h / 2, y - h / 2, x + ratio * h / 2, y + h / 2])


class Steady:
    """Takes boxes (N, 4) xyxy and scores (N,) of one frame after the other."""

    def __init__(self, camera=True, birth_iou=0.6):
        self.tracks, self.frame, self.last_id = [], 0, 0
        self.camera, self.birth_iou = camera, birth_iou

    def update(self, boxes, scores):
        """Rows x1, y1, x2, y2, id of what is reported."""
        boxes, scores = np.asarray(boxes, float).reshape(-1, 4), np.asarray(scores, float)
        self.frame += 1
        for track in self.tracks:
            track.source = None
            if track.phase == COASTING:
                track.kalman.filter.x[7, 0] = 0.0
            track.kalman.predict(1.0)
        if self.camera:
            self._follow_camera(boxes[scores >= 0.5])
        taken = self._match(boxes, scores)
        for track in self.tracks:
            if track.source is None:
                track.misses += 1
                track.phase = COASTING if track.phase != TENTATIVE and track.misses <= 30 else None
            else:
                track.last = boxes[track.source]
                track.kalman.update(track.measure(track.last))
                track.phase, track.misses, track.hits = CONFIRMED, 0, track.hits + 1
        self.tracks = [track for track in self.tracks if track.phase is not None]
        crowded = box_iou(boxes, boxes[taken]).max(1, initial=0.0) > self.birth_iou
        for j in range(len(boxes)):
            if j not in taken and scores[j] >= 0.6 and not crowded[j]:
                self.last_id += 1
                phase = CONFIRMED if self.frame == 1 else TENTATIVE
                self.tracks.append(Track(self.last_id, boxes[j], scores[j], phase))
        rows = [(*(t.box + t.last) / 2, t.id) for t in self.tracks if t.phase == CONFIRMED]
        return np.reshape(rows, (-1, 5))

    def _follow_camera(self, boxes):
        tracks = [track for track in self.tracks if track.misses == 0 and track.hits >= 2]
        iou = box_iou([track.box for track in tracks], boxes)
        moves = [
            centre_of(boxes[j]) - centre_of(track.box)
            for i, track in enumerate(tracks)
            for j in range(len(boxes))
            if iou[i, j] > 0.3 and iou[i, j] == iou[i].max() == iou[:, j].max()
        ]
        if len(moves) >= 3:
            shift = np.median(moves, axis=0)
            for track in self.tracks:
                track.kalman.filter.x[:2, 0] += shift
                track.kalman.filter.x[4:6, 0] += shift / 2

    def _match(self, boxes, scores):
        taken = []
        predicted = {track.id: track.box for track in self.tracks}
        for phases, above, below, gate, fuse in STAGES:
            tracks = [track for track in self.tracks if track.source is None and track.phase in phases]
            columns = [j for j in range(len(boxes)) if j not in taken and above < scores[j] < below]
            if not tracks or not columns:
                continue
            a, b = np.array([predicted[track.id] for track in tracks]), boxes[columns]
            weights = box_iou(a, b) * height_iou(a, b) ** 1.5 * (scores[columns] if fuse else 1.0) - gate
            for i, k in zip(*linear_sum_assignment(np.maximum(weights, 0.0), maximize=True), strict=True):
                if weights[i, k] > 0:
                    tracks[i].source = columns[k]
                    taken.append(columns[k])
        return taken
