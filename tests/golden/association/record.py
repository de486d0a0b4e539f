"""Records street.npz: noisy detections of a synthetic street, and the tracks that every system returns on them.

    python -m tests.golden.association.record

The tracks are the engine's own. Record anew only while tests/association/test_parity.py finds no differing frame on the
authors' tracks, which the project's own machines have.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tracker.sources.street import Street
from tracker.systems import SYSTEMS, create
from tracker.types import Detections

FILE = Path(__file__).with_name("street.npz")


def detect(frames: int = 240) -> dict[str, np.ndarray]:
    """The street's boxes as a mediocre detector sees them: misses, jitter, low scores, false alarms, doubles."""
    street = Street(seed=21, objects=16, frames=frames, blackout=0.05)
    rng = np.random.default_rng(21)
    numbers, boxes, scores = [], [], []
    for i in range(frames):
        scene = street.render(i)
        size = scene.boxes[:, 2:] - scene.boxes[:, :2]
        jitter = rng.normal(0, 0.03, (len(size), 4)) * np.tile(size, 2)
        score = np.clip(0.25 + 0.7 * scene.visibility + rng.normal(0, 0.15, len(size)), 0.01, 0.99)
        seen = (scene.boxes + jitter, score)
        corner = rng.random((rng.poisson(0.7), 2)) * (900, 480)
        alarms = (np.hstack([corner, corner + 20 + 60 * rng.random(corner.shape)]), rng.uniform(0.05, 0.8, len(corner)))
        twice = rng.random(len(size)) < 0.02
        doubles = (scene.boxes[twice] + rng.normal(0, 2, (twice.sum(), 4)), score[twice] * 0.9)
        box = np.vstack([seen[0], alarms[0], doubles[0]])
        keep = np.concatenate([seen[1], alarms[1], doubles[1]])
        good = (rng.random(len(keep)) > 0.05) & (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
        numbers.append(np.full(good.sum(), i, np.int32))
        boxes.append(box[good].astype(np.float32))
        scores.append(keep[good].astype(np.float32))
    return {"frames": np.concatenate(numbers), "boxes": np.concatenate(boxes), "scores": np.concatenate(scores)}


NAMES = [name for name, system in SYSTEMS.items() if system.needs == ("boxes",)]


def track(name: str, data: dict[str, np.ndarray]) -> np.ndarray:
    """Rows frame, x1, y1, x2, y2, id of the confirmed tracks."""
    tracker, rows = create(name), []
    for i in range(data["frames"].max() + 1):
        chosen = data["frames"] == i
        tracks = tracker.update(Detections(data["boxes"][chosen], data["scores"][chosen])).confirmed
        rows.append(np.column_stack([np.full(len(tracks), i), tracks.boxes, tracks.ids]))
    return np.vstack(rows).astype(np.float32)


if __name__ == "__main__":
    detections = detect()
    np.savez_compressed(FILE, **detections, **{name: track(name, detections) for name in NAMES})
