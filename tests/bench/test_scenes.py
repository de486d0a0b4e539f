"""Scenes are what their names say, and the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from bench.result import BenchError
from bench.scenes import HEIGHT, WIDTH, crowd, heap, moved, people, recorded, strangers
from tests.reference.association import box_iou


def test_scenes_are_seeded() -> None:
    for make in (crowd, heap):
        first, again, other = make(20, 30), make(20, 30), make(20, 30, seed=8)
        assert all((a.boxes == b.boxes).all() for a, b in zip(first.frames, again.frames, strict=True))
        assert any(
            len(a) != len(b) or (a.boxes != b.boxes).any() for a, b in zip(first.frames, other.frames, strict=True)
        )


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_a_crowd_can_be_followed_and_is_equally_dense(count: int) -> None:
    scene = crowd(count, 10)
    assert 0.8 * count < scene.objects < 1.1 * count
    boxes = scene.frames[5].boxes
    covered = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum() / (WIDTH * HEIGHT)
    assert 0.03 < covered < 0.5
    best = box_iou(scene.frames[4].boxes[:50], scene.frames[5].boxes).max(1)
    assert (best > 0.5).mean() > 0.7


def test_in_a_heap_everybody_meets_many() -> None:
    boxes = heap(50, 2).frames[1].boxes
    assert ((box_iou(boxes, boxes) > 0).sum(1) > 8).all()


def test_strangers_never_match() -> None:
    boxes = np.concatenate([detections.boxes for detections in strangers(5, 40)])
    assert ((box_iou(boxes, boxes) > 0) == np.eye(len(boxes), dtype=bool)).all()
    with pytest.raises(BenchError, match="places for strangers"):
        strangers(1000, 1000)


def test_people_stay_inside_the_frame() -> None:
    crops, corners = people(30)
    for places in (corners, moved(crops, corners)):
        ends = places + [crop.shape[::-1] for crop in crops]
        assert (places >= 0).all() and (ends <= (WIDTH, HEIGHT)).all()


def test_recorded_reads_both_layouts_and_keeps_empty_frames(tmp_path) -> None:
    text = "1,-1,11,21,30,40,0.9,-1,-1,-1\n3,-1,1,1,5,5,0.5,-1,-1,-1\n"
    (tmp_path / "A.txt").write_text(text)
    (tmp_path / "B" / "det").mkdir(parents=True)
    (tmp_path / "B" / "det" / "det.txt").write_text(text)
    scenes = recorded(tmp_path)
    assert [scene.name for scene in scenes] == ["A", "B"]
    for scene in scenes:
        assert [len(detections) for detections in scene.frames] == [1, 0, 1]
        assert scene.frames[0].boxes.tolist() == [[10, 20, 40, 60]]
    assert [scene.name for scene in recorded(tmp_path, ["B"], most=2)] == ["B"]
    assert len(recorded(tmp_path / "A.txt")[0].frames) == 3
    with pytest.raises(BenchError, match="no detections"):
        recorded(tmp_path, ["C"])
