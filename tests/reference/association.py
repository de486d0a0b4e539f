"""Slow, obvious twins of the association core's kernels, and the scenes that its tests share."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from tracker.association import Tracker
from tracker.association.motion import MOTIONS
from tracker.association.state import COUNT, ID, LAST_BOX
from tracker.masks import Masks
from tracker.systems import plan
from tracker.types import Detections, Flow, Tracks

CLASS_NAMES = ("person", "car", "pedestrian")


class Follower(Tracker):
    """A tracker that is fed boxes and gets what its plan asks for beside them, so that tests can walk all systems.

    Detections without it are `dressed`; optical flow is still; and where tracks are searched for by a network, that
    network is whatever detection lies best on a track's last box.
    """

    def update(self, detections, frame=None, **given):
        if isinstance(detections, Detections):
            if any(getattr(detections, need) is None for need in self.plan.needs):
                detections = dressed(detections)
            if self.plan.flow != "none":
                given.setdefault("flow", still(detections.masks.height, detections.masks.width))
            if "track_ids" in self.plan.needs:
                detections = replace(detections, track_ids=self._search(detections.boxes))
        return super().update(detections, frame, **given)

    def _search(self, boxes):
        """Id of the track that each box was found for, or -1."""
        claims = np.full(len(boxes), -1)
        alive = int(self._state.counters[COUNT])
        last = self._state.reals[LAST_BOX : LAST_BOX + 4, :alive].T
        size = np.minimum(last[:, None, 2:], boxes[None, :, 2:]) - np.maximum(last[:, None, :2], boxes[None, :, :2])
        shared = np.prod(np.maximum(size, 0), 2)
        area = np.prod(boxes[:, 2:].astype(float) - boxes[:, :2], 1)
        near = (area > 0) & (shared > 0.3 * area)
        for i in np.flatnonzero(near.any(1)):
            free = near[i] & (claims < 0)
            if free.any():
                claims[np.where(free, shared[i], -1.0).argmax()] = self._state.ints[ID, i]
        return claims


@functools.cache
def still(height, width):
    """Optical flow of a picture in which nothing moves."""
    vectors, nowhere = np.zeros((height, width, 2), np.float32), np.zeros((height, width), np.bool_)
    return Flow(vectors, vectors, nowhere, nowhere)


def make(name, frame_rate=30.0, *, on_event=None, **options):
    """Like `create`, for any system and plain boxes."""
    return Follower(plan(name, **options), frame_rate, CLASS_NAMES, on_event=on_event)


def coasts(rules):
    """Whether a plan keeps tracks that are not seen."""
    return rules.max_coast_frames > 0 or any(rule.max_coast_frames for rule in rules.classes)


def dressed(detections, looks=None, size=(1920, 1080), grid=8):
    """The same with masks of whole boxes (a pixel per `grid`), embeddings (`looks`, or the place) and offsets of 0.

    A box that reaches out of the picture is cut off there. No row claims to be a track.
    """
    n, boxes = len(detections), detections.boxes
    width, height = size[0] // grid, size[1] // grid
    low = np.floor(np.clip(boxes[:, :2] / grid, 0, (width, height))).astype(int)
    high = np.ceil(np.clip(boxes[:, 2:] / grid, 0, (width, height))).astype(int)
    crops = [np.ones((max(h, 0), max(w, 0)), np.uint8) for w, h in high - low]
    masks = Masks.from_crops(crops, low, height, width)
    looks = np.column_stack([np.clip(boxes, -1e4, 1e4) / 1000, np.ones(n)]) if looks is None else looks
    return Detections(
        boxes, detections.scores, detections.labels, masks, np.asarray(looks, np.float32),
        offsets=np.zeros((n, 2), np.float32), track_ids=np.full(n, -1),
    )  # fmt: skip


def sure(detections, score=0.98):
    """The same, all of one class and with scores that every system's thresholds let pass."""
    n = len(detections)
    return replace(detections, labels=np.zeros(n, np.int32), scores=np.full(n, score, np.float32))


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


def match_nearest(weights, refused):
    """Partner of each row or -1: every column in turn, its best row that is left; refused, it stays alone."""
    mate = [-1] * weights.shape[0]
    for j in range(weights.shape[1]):
        left = [i for i in range(len(mate)) if mate[i] < 0 and not np.isnan(weights[i, j])]
        best = max(left, key=lambda i: (weights[i, j], -i), default=None)
        if best is not None and not refused[best, j]:
            mate[best] = j
    return mate


def match_by_claim(weights, factors):
    """Partner of each row or -1: every column claims its heaviest row, the strongest claim on a row is heard."""
    claims = {}
    for j in range(weights.shape[1]):
        if weights.shape[0] and weights[:, j].max() > 0:
            claims.setdefault(int(weights[:, j].argmax()), []).append((weights[:, j].max() + factors[j], -j))
    return [-max(claims[i])[1] if i in claims else -1 for i in range(weights.shape[0])]


def match_full(costs):
    """The most pairs that any matching has, NaN being no pair, and the least total of such a one."""
    rows, columns = costs.shape
    best = 0, 0.0
    for choice in itertools.permutations([*range(columns), *[-1] * rows], rows):
        paid = [costs[i, j] for i, j in enumerate(choice) if j >= 0 and not np.isnan(costs[i, j])]
        best = min(best, (-len(paid), sum(paid)))
    return -best[0], best[1]


class Vote:
    """Class of a track by the sum of scores: four candidates, the leader first; it changes by a margin only."""

    def __init__(self, margin):
        self.margin, self.candidates, self.changed = margin, [], False

    @property
    def leader(self):
        return self.candidates[0][0]

    def add(self, label, score):
        self.changed = False
        place = next((k for k, (known, _) in enumerate(self.candidates) if known == label), None)
        if place is None:
            if len(self.candidates) < 4:
                self.candidates.append([label, 0.0])
                place = len(self.candidates) - 1
            else:
                place = min((1, 2, 3), key=lambda k: self.candidates[k][1])
                self.candidates[place] = [label, 0.0]
        self.candidates[place][1] += score
        if place and self.candidates[place][1] > self.candidates[0][1] * (1 + self.margin):
            self.candidates[0], self.candidates[place] = self.candidates[place], self.candidates[0]
            self.changed = True


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
        out.append(dressed(Detections(boxes.astype(np.float32), scores.astype(np.float32), labels), size=size))
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
