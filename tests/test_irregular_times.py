"""A stream in bursts, with blackouts of 300 ms: what the true times are worth to a tracker."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from tracker.evaluation import Identity, Objects, compare_boxes
from tracker.sources.street import Street
from tracker.systems import create
from tracker.types import Detections

FPS = 120  # of the street, which is seen at a few of its moments only
SECONDS = 12


def moments(seed: int) -> np.ndarray:
    """Frame numbers: bursts of 6 to 15 frames that are 8 to 67 ms apart, then 300 ms of nothing."""
    rng, now_s, times = np.random.default_rng(seed), 0.0, []
    while now_s < SECONDS:
        for _ in range(rng.integers(6, 16)):
            times.append(now_s)
            now_s += rng.uniform(1, 8) / FPS
        now_s += 0.3
    frames = np.unique((np.array(times) * FPS).astype(int))
    return frames[frames < SECONDS * FPS]


@pytest.fixture(scope="module")
def streets() -> list[list[tuple[float, Detections, np.ndarray]]]:
    """Times, true boxes and true ids of three streets."""
    found = []
    for seed in (7, 8, 9):
        street = Street(seed=seed, size=(640, 360), fps=float(FPS), frames=SECONDS * FPS, objects=16, speed=2.0)
        frames = [(n / FPS, *street.render(n).detections(min_pixels=60)) for n in moments(seed).tolist()]
        found.append([(time_s, replace(seen, masks=None), ids) for time_s, seen, ids in frames])
    return found


def idf1(system: str, streets, *, true_times: bool) -> float:
    total = Identity()
    for street in streets:
        associator = create(system, frame_rate=30.0)
        results = [
            associator.update(seen, time_s=time_s if true_times else None).confirmed for time_s, seen, _ in street
        ]
        score = Identity()
        score.update(
            compare_boxes(
                stack([ids for _, _, ids in street]), np.concatenate([seen.boxes for _, seen, _ in street]),
                stack([tracks.ids for tracks in results]), np.concatenate([tracks.boxes for tracks in results]),
            )
        )  # fmt: skip
        total.merge(score)
    return total.result()["IDF1"]


def stack(ids: list[np.ndarray]) -> Objects:
    return Objects(np.cumsum([0, *map(len, ids)]), np.concatenate(ids))


@pytest.mark.slow
@pytest.mark.parametrize("system", ["sort", "bytetrack", "ocsort", "steady"])
def test_true_times_are_worth_fifteen_points_of_idf1(system: str, streets) -> None:
    """Recorded: IDF1 0.725, 0.782, 0.777, 0.742 with true times; 0.503, 0.542, 0.518, 0.545 at a fixed 30 a second."""
    true, fixed = (idf1(system, streets, true_times=known) for known in (True, False))
    logging.getLogger(__name__).info("%s: IDF1 %.3f with true times, %.3f with a fixed step", system, true, fixed)
    assert true > 0.7 and true - fixed > 0.15
