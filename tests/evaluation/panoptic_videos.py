"""Panoptic videos for tests: the recorded ones, and random ones with everything that the rules speak of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tracker.formats.class_set import KITTI_STEP, ClassSet

GOLDEN = Path(__file__).parents[1] / "golden" / "panoptic"
EXPECTED = json.loads((GOLDEN / "videos.json").read_text())

SMALL = ClassSet(("road", "car", "person"), things=(1, 2), void=255)


def recorded(case):
    """Class set and sequences of a recorded case: name -> four arrays (T, H, W)."""
    expected = EXPECTED[case]
    with np.load(GOLDEN / "videos.npz") as data:
        sequences = {
            name: [data[f"{case}/{name}/{part}"] for part in ("gt_sem", "gt_inst", "pr_sem", "pr_inst")]
            for name in expected["sequences"]
        }
    return ClassSet(KITTI_STEP.names, tuple(expected["things"]), expected["ignore_label"]), sequences


def random_video(seed, frames=5, shape=(12, 17), class_set=SMALL):
    """Blocks of random classes and ids with crowds, void and wrong pixels; ids up to 2**31 - 1."""
    rng = np.random.default_rng(seed)
    known = np.array([*range(len(class_set.names)), class_set.void], np.uint8)
    numbers = np.array([0, 1, 2, 70_000, 2**31 - 1], np.int32)
    blocks = (frames, -(-shape[0] // 4), -(-shape[1] // 4))

    def spread(values):
        return np.kron(values, np.ones((1, 4, 4), values.dtype))[:, : shape[0], : shape[1]]

    true_classes, true_ids = spread(rng.choice(known, blocks)), spread(rng.choice(numbers, blocks))
    right = rng.random(true_classes.shape) < 0.8
    classes = np.where(right, true_classes, rng.choice(known, true_classes.shape))
    ids = np.where(right, true_ids, rng.choice(numbers, true_ids.shape))
    ids = np.where(rng.random((frames, 1, 1)) < 0.3, numbers[1], ids).astype(np.int32)
    return [true_classes, true_ids, classes, ids]


def feed(metric, video):
    """Update a metric with every frame of a video; returns it."""
    for frame in zip(*video):
        metric.update(*frame)
    return metric
