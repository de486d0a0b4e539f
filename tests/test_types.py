"""The values check themselves once, at the edge."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.errors import DetectionsError, FrameError, TrackerError
from tracker.masks import Masks
from tracker.types import Detections, Frame, Panoptic, Tracks, TrackState

BOX = [[1, 2, 3, 4]]


def test_lists_and_other_numbers_are_converted_and_nothing_is_copied_without_need() -> None:
    detections = Detections(BOX, [0.5])  # type: ignore[arg-type]
    assert detections.boxes.dtype == np.float32 and detections.labels.tolist() == [0]
    again = Detections(detections.boxes, detections.scores, detections.labels)
    assert again.boxes is detections.boxes


def test_empty_is_a_value() -> None:
    for empty in (Detections.empty(), Detections.from_array([]), Detections([], [])):  # type: ignore[arg-type]
        assert len(empty) == 0 and empty.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"boxes": [[1, 2, 3]], "scores": [1]}, r"boxes of shape \(N, 4\), got \(1, 3\)"),
        ({"boxes": BOX, "scores": [1, 2]}, r"scores of shape \(1,\) for 1 boxes, got \(2,\)"),
        ({"boxes": BOX, "scores": [1], "labels": [1, 2]}, "labels of shape"),
        ({"boxes": [[1, np.nan, 3, 4]], "scores": [1]}, "finite boxes.*row 0"),
        ({"boxes": BOX, "scores": [np.inf]}, "finite scores"),
        ({"boxes": [[3, 2, 1, 4]], "scores": [1]}, "x2 >= x1"),
        ({"boxes": BOX, "scores": [1], "labels": [-1]}, "class indices >= 0"),
        ({"boxes": BOX, "scores": [1], "labels": [0.5]}, "labels as int32 numbers"),
        ({"boxes": [["a", 1, 2, 3]], "scores": [1]}, "boxes as float32 numbers"),
        ({"boxes": BOX, "scores": [1], "masks": Masks.empty(5, 5, 2)}, "one mask per box"),
        ({"boxes": BOX, "scores": [1], "embeddings": np.zeros((2, 4))}, "embeddings of shape"),
        ({"boxes": BOX, "scores": [1], "embeddings": [[np.nan]]}, "finite embeddings"),
    ],
)
def test_bad_detections_are_refused_in_one_line(fields: dict, words: str) -> None:
    with pytest.raises(DetectionsError, match=words) as caught:
        Detections(**fields)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, TrackerError)


def test_from_array_takes_the_rows_bytetrack_users_have() -> None:
    detections = Detections.from_array([[0, 1, 2, 3, 0.9, 4], [5, 6, 7, 8, 0.1, 0]])
    assert detections.labels.tolist() == [4, 0] and detections.scores.tolist() == pytest.approx([0.9, 0.1])
    with pytest.raises(DetectionsError, match="x1 y1 x2 y2 score"):
        Detections.from_array(np.zeros((2, 7)))


def test_select_keeps_masks_embeddings_and_picture_with_their_rows() -> None:
    rows = np.array([[1, 1, 0], [2, 2, 3]], np.int32)
    detections = Detections(
        [[0, 0, 2, 1], [0, 1, 2, 2], [2, 1, 3, 2]],  # type: ignore[arg-type]
        [0.1, 0.2, 0.3],  # type: ignore[arg-type]
        masks=Masks.from_label_map(rows),
        embeddings=np.arange(6).reshape(3, 2),  # type: ignore[arg-type]
        panoptic=Panoptic(np.zeros((2, 3), np.uint8), rows),
    )
    kept = detections.select([2, 0])
    assert kept.masks is not None and kept.masks.to_label_map().tolist() == [[2, 2, 0], [0, 0, 1]]
    assert kept.embeddings is not None and kept.embeddings.tolist() == [[4, 5], [0, 1]]
    assert kept.panoptic is not None and kept.panoptic.rows.tolist() == [[2, 2, 0], [0, 0, 1]]
    assert len(detections.select(detections.scores > 0.15)) == 2
    assert len(detections.select([])) == 0


@pytest.mark.parametrize(
    ("image", "time_s", "words"),
    [
        (np.zeros((2, 2), np.uint8), 0.0, "HxWx3|H, W, 3"),
        (np.zeros((2, 2, 3)), 0.0, "uint8 BGR, got float64"),
        (np.zeros((0, 2, 3), np.uint8), 0.0, "with pixels"),
        (np.zeros((2, 2, 3), np.uint8), float("nan"), "finite time"),
        ("picture", 0.0, "got str"),
    ],
)
def test_bad_frames_are_refused(image, time_s: float, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        Frame(0, time_s, image)


def snapshot() -> Tracks:
    """Two confirmed, one tentative, one coasting track over four detections."""
    detections = Detections(
        [[0, 0, 2, 2], [4, 0, 6, 2], [0, 4, 2, 6], [8, 8, 9, 9]],  # type: ignore[arg-type]
        [0.9, 0.8, 0.7, 0.2],  # type: ignore[arg-type]
        masks=Masks.from_crops(
            [np.ones((2, 2), bool)] * 3 + [np.ones((1, 1), bool)], [(0, 0), (4, 0), (0, 4), (8, 8)], 10, 10
        ),
    )
    states = [TrackState.CONFIRMED, TrackState.CONFIRMED, TrackState.TENTATIVE, TrackState.COASTING]
    source = np.array([1, 0, 2, -1], np.int32)
    boxes = np.concatenate([detections.boxes[source[:3]], [[1, 1, 3, 3]]]).astype(np.float32)
    return Tracks(
        np.array([3, 4, 9, 2]), boxes, np.array([0.8, 0.9, 0.7, 0.5], np.float32), np.zeros(4, np.int32),
        np.array(states, np.uint8), source, np.full(4, 5, np.int32), np.array([0, 0, 0, 2], np.int32),
        np.array([3], np.int32), detections, 1.5,
    )  # fmt: skip


def test_a_snapshot_splits_into_its_three_states() -> None:
    tracks = snapshot()
    assert tracks.confirmed.ids.tolist() == [3, 4]
    assert tracks.tentative.ids.tolist() == [9]
    assert tracks.coasting.ids.tolist() == [2]
    assert np.shares_memory(tracks.confirmed.ids, tracks.ids)
    empty = Tracks.empty()
    assert len(empty.confirmed) == len(empty.tentative) == len(empty.coasting) == 0


def test_every_track_carries_its_mask() -> None:
    masks = snapshot().masks
    assert masks is not None
    assert masks.boxes.tolist() == [[4, 0, 6, 2], [0, 0, 2, 2], [0, 4, 2, 6], [0, 0, 0, 0]]


def test_to_array_is_boxmots_row() -> None:
    rows = snapshot().to_array()
    assert rows.shape == (4, 8)
    assert rows[0].tolist() == pytest.approx([4, 0, 6, 2, 3, 0.8, 0, 1])
    assert Tracks.empty().to_array().shape == (0, 8)


def test_iteration_gives_ids_and_boxes() -> None:
    assert [(i, box.tolist()) for i, box in snapshot().confirmed] == [(3, [4, 0, 6, 2]), (4, [0, 0, 2, 2])]
