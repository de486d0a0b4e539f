"""MOTSNet's row with other terms: signed IoU of the boxes instead of embeddings, and no time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracker.systems import create, plan
from tracker.types import Detections


def seen(box: Any, embedding: Any = None) -> Detections:
    vectors = None if embedding is None else np.array([embedding], np.float32)
    return Detections(np.array([box], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), embeddings=vectors)


def known_again(preset: str, first: Detections, second: Detections, gap: int = 1, **options: Any) -> bool:
    """Whether an object of a frame is the track of an earlier one."""
    tracker = create("motsnet", preset=preset, **options)
    before = tracker.update(first).ids.tolist()
    for _ in range(gap - 1):
        tracker.update(Detections.empty())
    tracks = tracker.update(second)
    return bool(tracks.ids[tracks.source == 0].tolist() == before)


def test_signed_iou_decides_in_the_row(golden: Path) -> None:
    """Every golden pair is matched by a limit just below its value, and not by one just above."""
    cases = json.loads((golden / "published" / "siou_own.json").read_text())
    tried = 0
    for case in cases:
        boxes = [np.array(case[key], np.float32) for key in ("b_hat", "b")]
        if min((box[2:] - box[:2]).min() for box in boxes) <= 0:
            continue  # no detection is like that
        tried += 1
        first, second = map(seen, boxes)
        assert known_again("siou", first, second, match_value=case["siou"] - 1e-4), case
        assert not known_again("siou", first, second, match_value=case["siou"] + 1e-4), case
    assert tried > 20


@pytest.mark.parametrize(("preset", "window"), [("kitti", 12), ("siou-time", 12), ("mots-challenge", 10), ("bdd", 10)])
def test_time_takes_its_share_of_the_limit(preset: str, window: int) -> None:
    """At a gap of dt a distance below 1 - dt / window matches, at most."""
    for gap in (1, 5, window - 1):
        room = 1 - gap / window
        for distance, wanted in ((room - 0.01, True), (room + 0.01, False)):
            if preset == "siou-time":  # 1 - sIoU is the distance: boxes of one height, shifted
                share = 1 - distance
                shift = 100 * (1 - share) / (1 + share)
                pair = seen([0, 0, 100, 50]), seen([shift, 0, 100 + shift, 50])
            else:
                angle = 2 * np.arcsin(distance / 2)
                pair = seen([0, 0, 9, 9], [1, 0]), seen([500, 0, 509, 9], [np.cos(angle), np.sin(angle)])
            assert known_again(preset, *pair, gap=gap) == wanted, (gap, distance)


def test_without_time_only_the_window_ends_a_track() -> None:
    near = seen([0, 0, 9, 9], [1, 0]), seen([500, 0, 509, 9], [0.8, 0.6])
    assert known_again("embedding", *near, gap=12) and not known_again("embedding", *near, gap=13)
    assert not known_again("kitti", *near, gap=12)
    assert known_again("siou", seen([0, 0, 9, 9]), seen([4, 0, 13, 9]), gap=12)


def test_ablations_on_boxes_need_no_embeddings() -> None:
    assert plan("motsnet").needs == plan("motsnet", preset="embedding").needs == {"embeddings"}
    assert plan("motsnet", preset="siou").needs == plan("motsnet", preset="siou-time").needs == frozenset()
    base = plan("motsnet", preset="mots-challenge")
    assert replace(base) == plan("motsnet", preset="bdd") and base.max_coast_frames == 9
