"""Tracking quality may not fall below what was recorded.

Detections are the street's own truth, with embeddings that are half noise, true offsets and rows found again: what is
lost is lost by the association. The floors are the figures of the day they were recorded less two points.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from tests.reference.association import make, still
from tracker.association import Tracker
from tracker.sources.street import Street
from tracker.systems import SYSTEMS
from tracker.types import Detections

FLOORS = {
    "sort": 0.859, "bytetrack": 0.941, "ocsort": 0.938, "botsort": 0.955, "botsort+": 0.955, "steady": 0.925,
    "step-b1": 0.855, "step-b2": 0.859, "step-b3": 0.855, "motion-deeplab": 0.867, "motsnet": 0.923, "trackrcnn": 0.886,
    "trackrcnn-centre": 0.861, "trackrcnn-mask": 0.834, "vpsnet": 0.98, "siammot": 0.952,
    "siammot-emm": 0.952, "siammot-imm": 0.952, "siammot-tracktor": 0.952,
    "siammot-flow": 0.952, "siammot+": 0.954,
}  # fmt: skip


class Seen(NamedTuple):
    """What a network says of a frame, and the objects that its detections are."""

    time_s: float
    detections: Detections
    objects: np.ndarray


def look(seed: int) -> list[Seen]:
    """A street of 150 frames with occlusions and blackouts, looks (unit vectors) and offsets to the frame before."""
    street, faces = Street(seed=seed, size=(480, 270), frames=150, blackout=0.05), np.random.default_rng(0)
    faces, before, seen = faces.normal(size=(1000, 16)), {}, []
    for scene in map(street.render, range(150)):
        detections, objects = scene.detections(min_pixels=60)
        looks = faces[objects] + 0.5 * np.random.default_rng(len(objects)).normal(size=(len(objects), 16))
        looks /= np.linalg.norm(looks, axis=1, keepdims=True)
        centres = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2
        offsets = [before.get(o, c) - c for o, c in zip(objects.tolist(), centres, strict=True)]
        scores = np.full(len(objects), 0.97, np.float32)
        detections = replace(detections, embeddings=looks, offsets=np.reshape(offsets, (-1, 2)), scores=scores)
        seen.append(Seen(scene.time_s, detections, objects))
        before = dict(zip(objects.tolist(), centres, strict=True))
    return seen


@pytest.fixture(scope="module")
def streets() -> list[list[Seen]]:
    return [look(seed) for seed in (7, 8, 9)]


@pytest.mark.parametrize("name", SYSTEMS)
def test_objects_keep_their_ids(name: str, streets: list[list[Seen]]) -> None:
    """Share of an object's frames that carry its most frequent id, over all objects seen in 30 frames or more."""
    kept = total = 0
    for street in streets:
        tracker = make(name)
        length = 1 if name == "motsnet" else 4  # its distances are those of unit vectors
        followed: dict[int, int] = {}  # the tracks that learned motion would search for
        ids_of: dict[int, Counter[int]] = defaultdict(Counter)
        for time_s, plain, objects in street:
            known = [followed.get(o, -1) for o in objects.tolist()]
            detections = replace(plain, embeddings=length * plain.embeddings, track_ids=known)
            snapshot = Tracker.update(tracker, detections, time_s=time_s, flow=still(270, 480))
            tracks, alive = snapshot.confirmed, set(snapshot.ids.tolist())
            matched = np.zeros(len(objects), np.int64)
            matched[tracks.source] = tracks.ids
            for thing, track in zip(objects.tolist(), matched.tolist(), strict=True):
                ids_of[thing][track] += 1
            news = {o: t for o, t in zip(objects.tolist(), matched.tolist(), strict=True) if t}
            followed = {o: t for o, t in followed.items() if t in alive - set(news.values())} | news
        long = [counts for counts in ids_of.values() if sum(counts.values()) >= 30]
        assert len(long) >= 8
        kept += sum(max((n for track, n in counts.items() if track), default=0) for counts in long)
        total += sum(sum(counts.values()) for counts in long)
    assert kept / total >= FLOORS[name], f"{kept} of {total}: {kept / total:.3f}"
