"""Slow, obvious twins of flow, warping and track mining: dense numpy, one pixel or one pair at a time."""

from __future__ import annotations

import numpy as np


def warp(mask, flow, dropped=None, *, sign=1, spread=False):
    """A dense mask sampled at p + sign * flow(p): any weight above 0 counts (`spread`), or the nearest pixel."""
    height, width = mask.shape
    out = np.zeros((height, width), bool)
    for y, x in np.ndindex(height, width):
        to = np.array([x, y]) + sign * flow[y, x].astype(np.float64)
        if not np.isfinite(to).all() or (dropped is not None and dropped[y, x]):
            continue
        if spread:
            low, high = np.floor(to), np.ceil(to)
            corners = {(int(cx), int(cy)) for cx in (low[0], high[0]) for cy in (low[1], high[1])}
        else:
            corners = {(int(np.rint(to[0])), int(np.rint(to[1])))}
        out[y, x] = any(mask[cy, cx] for cx, cy in corners if 0 <= cx < width and 0 <= cy < height)
    return out


def bilinear(field, x, y):
    """A field (H, W, C) at one place inside the image."""
    height, width = field.shape[:2]
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    a, b = x - x0, y - y0
    top = field[y0, x0] * (1 - a) + field[y0, x1] * a
    low = field[y1, x0] * (1 - a) + field[y1, x1] * a
    return top * (1 - b) + low * b


def occluded(forward, backward, slope=0.01, offset=0.5):
    """Sundaram's equation 5 for every pixel; what leaves the image is occluded."""
    forward, backward = forward.astype(np.float64), backward.astype(np.float64)
    height, width = forward.shape[:2]
    out = np.ones((height, width), bool)
    for y, x in np.ndindex(height, width):
        w = forward[y, x]
        to = np.array([x, y]) + w
        if np.isfinite(to).all() and (to >= 0).all() and to[0] <= width - 1 and to[1] <= height - 1:
            back = bilinear(backward, *to)
            out[y, x] = not ((w + back) ** 2).sum() <= slope * ((w**2).sum() + (back**2).sum()) + offset
    return out


def payoff(segments, classes, previous, previous_classes, backward, lead=10, overlap=10, ratio=2):
    """Values and vetoes of track mining, a mask at a time."""
    warped = [warp(previous == j + 1, backward) for j in range(len(previous_classes))]
    values = np.full((len(classes), len(warped)), -np.inf)
    vetoed = []
    for i, label in enumerate(classes):
        segment = segments == i + 1
        rivals = [w for w, other in zip(warped, previous_classes, strict=True) if other == label]
        shares = sorted((int((segment & w).sum()) for w in rivals), reverse=True)
        b1, b2 = (*shares, 0, 0)[:2]
        covered = np.any(rivals, axis=0) if rivals else np.zeros_like(segment)
        r = int((segment & ~covered).sum())
        vetoed.append(b1 - b2 < lead or b1 < overlap or (r > 0 and b1 / r < ratio))
        for j, w in enumerate(warped):
            if previous_classes[j] == label and not vetoed[i]:
                values[i, j] = (segment & w).sum() / max(1, (segment | w).sum())
    return values, vetoed


def smooth_flow(r, height, width, reach):
    """A random flow (H, W, 2) float32 that changes slowly, up to about `reach` pixels, with whole and half vectors."""
    coarse = r.normal(0, reach / 2, (3, 4, 2))
    rows, columns = np.linspace(0, 2, height), np.linspace(0, 3, width)
    field = np.array([[bilinear(coarse, x, y) for x in columns] for y in rows])
    choice = r.integers(0, 3, (height, width, 1))
    return np.select([choice == 0, choice == 1], [np.rint(field), np.rint(field * 2) / 2], field).astype(np.float32)


def discs(r, count, height, width, radius):
    """A dense stack (N, H, W) of discs that may overlap and leave the frame; one in five is empty."""
    y, x = np.mgrid[:height, :width]
    out = np.zeros((count, height, width), bool)
    for mask in out:
        if r.random() > 0.2:
            cx, cy, size = r.uniform(0, width), r.uniform(0, height), r.uniform(1, 1 + radius)
            mask[(x - cx) ** 2 + (y - cy) ** 2 < size**2] = True
    return out


class StepB3:
    """STEP's baseline B3 as deeplab2 runs it, on `class * 10000 + id` maps: B1 with the current masks warped back."""

    def __init__(self, warp_back, things, least=0.3, sigma=10):
        self.warp_back, self.things, self.least, self.sigma = warp_back, things, least, sigma
        self.tracks = {thing: [] for thing in things}  # lists of [id, Masks of one, misses]
        self.next_id = 1

    def update(self, picture, flow, occluded):
        from scipy.optimize import linear_sum_assignment

        from tracker.masks import Masks

        out = picture.copy()
        for thing in self.things:
            numbers = [n for n in np.unique(picture) if n // 10000 == thing and n % 10000]
            masks = Masks.from_dense(np.array([picture == n for n in numbers]).reshape(-1, *picture.shape))
            tracks = self.tracks[thing]
            given, taken, late = {}, set(), []
            if numbers and tracks:
                warped = self.warp_back(masks, flow, occluded)
                iou = np.concatenate([warped.iou(mask) for _, mask, _ in tracks], axis=1)
                for i, j in zip(*linear_sum_assignment(iou, maximize=True), strict=True):
                    if iou[i, j] > self.least:
                        given[i] = tracks[j][0]
                        tracks[j][1:] = masks.select([i]), 0
                        taken.add(j)
                    else:
                        late.append(i)
            for j, track in enumerate(tracks):
                track[2] += j not in taken
            self.tracks[thing] = [track for track in tracks if track[2] <= self.sigma]
            left_out = [i for i in range(len(numbers)) if i not in given and i not in late]
            for i in left_out + late:
                given[i], self.next_id = self.next_id, self.next_id + 1
                self.tracks[thing].append([given[i], masks.select([i]), 0])
            for i, n in enumerate(numbers):
                out[picture == n] = thing * 10000 + given[i]
        return out
