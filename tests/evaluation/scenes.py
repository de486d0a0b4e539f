"""Seeded sequences with everything that goes wrong in tracking: misses, false alarms, switches, gaps, empty frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracker.evaluation import Objects, Overlaps, compare_boxes


def tracks(seed: int, frames: int = 25, objects: int = 6, crowd: float = 60.0) -> tuple[Any, ...]:
    """True objects, their boxes, results, their boxes; every coordinate is random, so nothing ties."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, crowd, (objects, 2))
    speed = rng.uniform(-2, 2, (objects, 2))
    size = rng.uniform(15, 30, (objects, 2))
    name = rng.permutation(objects) + 1
    sides: list[list[Any]] = [[], [], [], []]  # true frames, ids, boxes ... as lists of rows
    rows: list[tuple[int, int, Any]] = []
    judged: list[tuple[int, int, Any]] = []
    for t in range(frames):
        place = place + speed
        if rng.random() < 0.2 and objects > 1:
            i, j = rng.choice(objects, 2, replace=False)
            name[i], name[j] = name[j], name[i]
        if rng.random() < 0.1:
            name[rng.integers(objects)] = 100 + t
        empty_truth, empty_results = rng.random(2) < 0.08
        for k in range(objects):
            box = np.concatenate([place[k], place[k] + size[k]])
            if rng.random() < 0.9 and not empty_truth:
                rows.append((t, 10 * k + 3, box))
            if rng.random() < 0.85 and not empty_results:
                judged.append((t, int(name[k]), box + rng.normal(0, 2.5, 4)))
        if rng.random() < 0.4 and not empty_results:
            corner = rng.uniform(0, crowd, 2)
            judged.append((t, 1000 + t, np.concatenate([corner, corner + 20])))
    for side, found in ((0, rows), (2, judged)):
        order = sorted(found, key=lambda row: row[0])
        numbers = np.array([row[0] for row in order], np.int64)
        sides[side] = Objects.sort(numbers, np.array([row[1] for row in order], np.int64), frames)[0]  # type: ignore[assignment]
        sides[side + 1] = np.array([row[2] for row in order]).reshape(-1, 4)  # type: ignore[assignment]
    return tuple(sides)


def overlaps(seed: int, **options: Any) -> Overlaps:
    return compare_boxes(*tracks(seed, **options))


def one_sided(frames: int = 3, truth: int = 0, results: int = 0) -> Overlaps:
    """The same `truth` true objects and `results` results in every frame, far from each other."""
    sides: list[Any] = []
    for count, x in ((truth, 0.0), (results, 1000.0)):
        boxes = np.array([[x, 20.0 * k, x + 9, 20.0 * k + 9] for k in range(count)] * frames).reshape(-1, 4)
        sides += [Objects(np.arange(frames + 1) * count, np.tile(np.arange(count), frames)), boxes]
    return compare_boxes(*sides)
