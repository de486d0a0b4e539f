"""Slow, obvious twins of the association core's kernels, and the scenes that its tests share."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from tracker.association import Tracker
from tracker.association.motion import MOTIONS
from tracker.masks import Masks
from tracker.systems import plan
from tracker.types import Detections, Flow, Tracks

CLASS_NAMES = ("person", "car", "pedestrian")
_GRID = 8  # px of a scene per pixel of its masks


class Follower(Tracker):
    """A tracker that gets still optical flow where its plan needs some: tests of all systems feed it detections only."""

    def update(self, detections, frame=None, **given):
        if self.plan.flow != "none" and detections.masks is not None:
            still = np.zeros((detections.masks.height, detections.masks.width, 2), np.float32)
            given.setdefault("flow", Flow(still, still))
        return super().update(detections, frame, **given)


def make(name, frame_rate=30.0, *, on_event=None, **options):
    """Like `create`, for any system and scenes with `dressed` detections."""
    return Follower(plan(name, **options), frame_rate, CLASS_NAMES, on_event=on_event)


def dressed(detections, looks=None, size=(1920, 1080)):
    """The same with masks as large as the boxes (1:8), embeddings (`looks`, or the place), offsets and claimed ids."""
    n, boxes = len(detections), detections.boxes
    corners = np.floor(boxes / _GRID).astype(int)
    crops = [np.ones((max(y2 - y1, 1), max(x2 - x1, 1)), np.uint8) for x1, y1, x2, y2 in corners]
    masks = Masks.from_crops(crops, corners[:, :2], size[1] // _GRID, size[0] // _GRID)
    looks = np.column_stack([boxes / 1000, np.ones(n)]) if looks is None else looks
    return Detections(
        boxes, detections.scores, detections.labels, masks, np.asarray(looks, np.float32),
        offsets=np.zeros((n, 2), np.float32), track_ids=np.full(n, -1),
    )  # fmt: skip


def box_iou(a, b, pixel=0.0):
    """(N, M) float64 IoU of xyxy boxes, one pair at a time."""
    out = np.zeros((len(a), len(b)))
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            w = min(p[2], q[2]) - max(p[0], q[0]) + pixel
            h = min(p[3], q[3]) - max(p[1], q[1]) + pixel
            if w > 0 and h > 0:
                areas = [(r[2] - r[0] + pixel) * (r[3] - r[1] + pixel) for r in (p, q)]
                out[i, j] = w * h / (areas[0] + areas[1] - w * h)
    return out


def match_exact(weights):
    """Greatest total weight of any one-to-one matching of positive pairs, by trying all of them."""
    rows, columns = weights.shape
    options = [*range(columns), *[-1] * rows]
    best = 0.0
    for choice in itertools.permutations(options, rows):
        total = sum(weights[i, j] for i, j in enumerate(choice) if j >= 0 and weights[i, j] > 0)
        best = max(best, total)
    return best


def match_greedy(weights):
    """Partner of each row or -1: heaviest pair first, ties to the lower row, then the lower column."""
    pairs = sorted((-w, i, j) for (i, j), w in np.ndenumerate(weights) if w > 0)
    mate, taken = [-1] * weights.shape[0], set()
    for _, i, j in pairs:
        if mate[i] < 0 and j not in taken:
            mate[i] = j
            taken.add(j)
    return mate


def full_matching(weights):
    """The pairs of a best full matching, by scipy on the whole matrix."""
    from scipy.optimize import linear_sum_assignment

    return set(zip(*(side.tolist() for side in linear_sum_assignment(weights, maximize=True)), strict=True))


def unit(start, end):
    """Direction between two centres as OC-SORT normalises it."""
    way = np.subtract(end, start)
    return way / (np.hypot(*way) + 1e-6)


def past_centre(seen, frame, longest):
    """Centre that a track looks back to, of `seen`: frame number -> centre, in order of frames."""
    for back in range(longest, 0, -1):
        if frame - back in seen:
            return seen[frame - back]
    return list(seen.values())[-1]


def direction_bonus(heading, start, centre, score, weight):
    """What OC-SORT adds for one pair: weight * score * (pi / 2 - angle) / pi."""
    cosine = np.clip(np.dot(heading, unit(start, centre)), -1, 1)
    return weight * score * (np.pi / 2 - np.arccos(cosine)) / np.pi


def replay(kalman, last_box, new_box, count):
    """Filter a gap of `count` frames anew; `kalman` stands predicted at its first one."""
    a, b = (np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]) for x1, y1, x2, y2 in (last_box, new_box))
    for k in range(1, count + 1):
        if k > 1:
            kalman.predict(1.0)
        x, y, w, h = a + (b - a) * k / count
        kalman.update(np.array([x, y, w * h, w / h]))


class Kalman:
    """filterpy's textbook filter with the numbers of a row of `MOTIONS`: 8 states, full matrices, real dt."""

    def __init__(self, motion, z):
        from filterpy.kalman import KalmanFilter

        self.motion = MOTIONS[motion]
        self.filter = KalmanFilter(dim_x=8, dim_z=4)
        self.filter.x = np.concatenate([z, np.zeros(4)]).reshape(8, 1)
        self.filter.H = np.eye(4, 8)
        m = self.motion
        self.filter.P = np.diag(np.concatenate([self._scaled(m.birth), self._scaled(m.birth_velocity)]))

    def _scaled(self, variances):
        x = self.filter.x[:, 0]
        return np.array([v * (x[s] ** 2 if s >= 0 else 1.0) for v, s in zip(variances, self.motion.scale, strict=True)])

    def predict(self, dt):
        f, m = self.filter, self.motion
        for k in range(4):
            if m.size[k] and f.x[k, 0] + dt * f.x[4 + k, 0] <= 0:
                f.x[4 + k, 0] = 0.0
        F = np.eye(8)
        F[:4, 4:] = dt * np.eye(4)
        Q = dt * np.diag(np.concatenate([self._scaled(m.process), self._scaled(m.process_velocity)]))
        f.predict(F=F, Q=Q)

    def update(self, z):
        self.filter.update(z.reshape(4, 1), R=np.diag(self._scaled(self.motion.measurement)))


def crowd(seed, objects, frames, size=(1920, 1080)):
    """List of `Detections`: people that walk straight on, missed one time in 20, with noise and false alarms."""
    r = np.random.default_rng(seed)
    centre = r.random((objects, 2)) * size
    velocity = r.normal(0, 3, (objects, 2))
    height = r.uniform(40, 120, objects)
    out = []
    for _ in range(frames):
        centre = (centre + velocity) % size
        seen = r.random(objects) > 0.05
        extent = np.stack([height * 0.45, height], 1) * r.normal(1, 0.03, (objects, 2))
        middle = centre + r.normal(0, 1.5, (objects, 2))
        boxes = np.concatenate([middle - extent / 2, middle + extent / 2], 1)[seen]
        false_alarms = r.random((r.poisson(objects / 20), 2)) * size
        boxes = np.concatenate([boxes, np.concatenate([false_alarms, false_alarms + 40], 1)])
        scores = np.clip(r.normal(0.7, 0.25, len(boxes)), 0.02, 0.99)
        labels = r.integers(0, 3, len(boxes))
        out.append(dressed(Detections(boxes.astype(np.float32), scores.astype(np.float32), labels)))
    return out


def recorded(file: Path):
    """Frame numbers and `Detections` of a golden npz, empty frames included."""
    data = np.load(file)
    frames, boxes, scores = data["frames"], data["boxes"], data["scores"]
    return [(k, Detections(boxes[frames == k], scores[frames == k])) for k in range(frames.min(), frames.max() + 1)]


def read_mot(file: Path):
    """Frame numbers and `Detections` of a MOTChallenge detection file, as the reference tracks were made."""
    rows = np.loadtxt(file, delimiter=",")
    rows = rows[rows[:, 6] >= 0.1]
    boxes = np.column_stack([rows[:, 2], rows[:, 3], rows[:, 2] + rows[:, 4], rows[:, 3] + rows[:, 5]])
    boxes, scores, frames = boxes.astype(np.float32), rows[:, 6].astype(np.float32), rows[:, 0].astype(int)
    return [(k, Detections(boxes[frames == k], scores[frames == k])) for k in range(frames.min(), frames.max() + 1)]


def differing_frames(tracker: Tracker, frames, reference):
    """Frames in which the reported boxes differ from reference rows (frame, x1, y1, x2, y2, id).

    Boxes may differ by float32 rounding; ids must map one to one over the whole sequence.
    """
    ours, theirs, differing = {}, {}, []
    for number, detections in frames:
        tracks = tracker.update(detections).confirmed
        rows = reference[reference[:, 0] == number]
        same = len(rows) == len(tracks)
        if same and len(rows):
            error = np.abs(rows[:, None, 1:5] - tracks.boxes[None]).max(2)
            nearest = error.argmin(1)
            same = len(set(nearest)) == len(nearest) and error.min(1).max() < 2e-3
            for theirs_id, our_id in zip(rows[:, 5], tracks.ids[nearest], strict=True):
                same &= (
                    ours.setdefault(theirs_id, our_id) == our_id and theirs.setdefault(our_id, theirs_id) == theirs_id
                )
        if not same:
            differing.append(number)
    return differing


def same_tracks(a: Tracks, b: Tracks) -> bool:
    """Two snapshots are equal to the bit."""
    names = ("ids", "boxes", "scores", "labels", "states", "source", "hits", "misses", "unmatched")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)
