"""What the tables on synthetic streets are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import streets
from tracker.sources.street import Scene, Street
from tracker.systems import plan
from tracker.types import Detections, Panoptic


def perfect(scene: Scene) -> Detections:
    """What a network would see that makes no mistake, and knows everybody by name."""
    rows = np.where(scene.ids > 0, np.searchsorted(scene.object_ids, scene.ids) + 1, 0).astype(np.int32)
    seen, ids = scene.detections()
    looks = np.eye(64, dtype=np.float32)[ids % 64]
    return replace(seen, embeddings=looks, offsets=np.zeros((len(ids), 2)), panoptic=Panoptic(scene.classes, rows))


def small_street(frames: int = 60) -> Street:
    return Street(seed=3, objects=6, size=(320, 180), frames=frames, crossing=0, occluders=0)


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, float]]:
    """Both tables' figures of a few contenders that are shown the truth while everybody vanishes now and then."""
    street = small_street()
    streets.hide(street)
    chosen = {each.name: each for name in streets.TABLES_MADE for each in streets.contenders(name)}
    entries = [streets.Entry(chosen[name]) for name in ("step-b1", "motsnet, window 12", "motsnet, window 30")]
    for entry in entries:
        entry.begin(30.0)
    for index in range(len(street)):
        scene = street.render(index)
        for entry in entries:
            entry.update(scene, scene.detections(), perfect(scene))
    for entry in entries:
        entry.end()
    rows = [entry.row(name, 1, 60) for entry in entries for name in streets.TABLES_MADE]
    return {f"{row['mode']} {row['competitor']}": row["figures"] for row in rows}


def test_a_perfect_network_is_scored_as_one(figures: dict[str, dict[str, float]]) -> None:
    for name, scores in figures.items():
        for key in ("SQ", "MOTSP"):
            assert scores.get(key, 100) == 100, name
    assert figures["step motsnet, window 30"]["VPQ"] == 100


def test_a_longer_window_bridges_more(figures: dict[str, dict[str, float]]) -> None:
    b1, short, long = (
        figures[f"occlusions {name}"]["IDF1"] for name in ("step-b1", "motsnet, window 12", "motsnet, window 30")
    )
    assert b1 < long and short < long, "masks do not wait, and 12 frames are less than 40"
    assert long > 90


def test_everybody_vanishes_for_so_long() -> None:
    street, same, whole = small_street(150), small_street(150), small_street(150)
    streets.hide(street)
    streets.hide(same)
    assert np.array_equal(street.world.hidden, same.world.hidden)
    lengths = []
    for slot in street.world.hidden.T:
        turns = np.flatnonzero(np.diff(np.r_[False, slot, False].astype(int)))
        lengths += (turns[1::2] - turns[::2]).tolist()
    assert len(lengths) > 3 and max(lengths) <= 40 and np.mean(lengths) > 10
    frame, slot = np.argwhere(street.world.hidden)[0]
    gone = street.world.ids[frame, slot]
    assert gone in whole.render(int(frame)).object_ids and gone not in street.render(int(frame)).object_ids


def test_windows_are_the_systems_own() -> None:
    assert streets.windowed(12) == plan("motsnet")
    assert streets.windowed(30).max_coast_frames == 29
    names = [each.name for table in streets.TABLES_MADE for each in streets.contenders(table)]
    assert {"step-b1", "step-b2", "step-b3", "motion-deeplab", "sort", "bytetrack"} <= set(names)
