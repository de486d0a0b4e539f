"""Tracking quality may not fall below what was recorded.

Detections are the street's own truth: what is lost is lost by the association. The floors are the
figures of the day they were recorded (sort .879, bytetrack .962, ocsort .959) less two points.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from tracker.sources.street import Street
from tracker.systems import SYSTEMS, create

FLOORS = {"sort": 0.86, "bytetrack": 0.94, "ocsort": 0.94}


@pytest.fixture(scope="module")
def scenes() -> list:
    """Three streets of 150 frames, with occlusions and blackouts."""
    streets = [Street(seed=seed, size=(480, 270), frames=150, blackout=0.05) for seed in (7, 8, 9)]
    return [[street.render(i) for i in range(150)] for street in streets]


@pytest.mark.parametrize("name", SYSTEMS)
def test_objects_keep_their_ids(name: str, scenes: list) -> None:
    """Share of an object's frames that carry its most frequent id, over all objects seen in 30 frames or more."""
    kept = total = 0
    for street in scenes:
        tracker = create(name)
        ids_of: dict[int, Counter[int]] = defaultdict(Counter)
        for scene in street:
            detections, objects = scene.detections(min_pixels=60)
            tracks = tracker.update(detections, time_s=scene.time_s).confirmed
            matched = np.zeros(len(objects), np.int64)
            matched[tracks.source] = tracks.ids
            for thing, track in zip(objects.tolist(), matched.tolist(), strict=True):
                ids_of[thing][track] += 1
        long = [counts for counts in ids_of.values() if sum(counts.values()) >= 30]
        assert len(long) >= 8
        kept += sum(max((n for track, n in counts.items() if track), default=0) for counts in long)
        total += sum(sum(counts.values()) for counts in long)
    assert kept / total >= FLOORS[name], f"{kept} of {total}"
