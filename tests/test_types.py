"""The values check themselves once, at the edge."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest

from tracker.errors import DetectionsError, FrameError, TrackerError
from tracker.masks import Masks
from tracker.systems import create
from tracker.types import Detections, Flow, Frame, Panoptic, Tracks, TrackState
from tracker.types.tracks import (
    BLOCK_BOXES,
    BLOCK_BYTES,
    BLOCK_HITS,
    BLOCK_IDS,
    BLOCK_LABELS,
    BLOCK_MISSES,
    BLOCK_SCORES,
    BLOCK_SOURCE,
    BLOCK_STATES,
    BLOCK_UNMATCHED,
    tracks_of_block,
)

BOX = [[1, 2, 3, 4]]


class _Tensor:
    """What torch's tensors do that have a gradient; those on a GPU raise a TypeError."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("Use tensor.detach().numpy() instead.")


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
        ({"boxes": BOX, "scores": [1], "labels": [0.5]}, "labels as whole numbers"),
        ({"boxes": [["a", 1, 2, 3]], "scores": [1]}, "boxes as float32 numbers, got text"),
        ({"boxes": None, "scores": None}, "boxes as float32 numbers, got None"),
        ({"boxes": _Tensor(), "scores": [1]}, r"boxes as float32 numbers, got _Tensor \(use tensor.detach\(\)"),
        (
            {"boxes": BOX, "scores": [1], "labels": ["car"]},
            "labels as int32 numbers, got text; names belong in class_n",
        ),
        ({"boxes": [[600, 400, 50, 120]], "scores": [1]}, "where these are x y width height"),
        ({"boxes": [[0, 0, 1e300, 1]], "scores": [1]}, "finite boxes.*row 0"),
        ({"boxes": BOX, "scores": [1], "masks": Masks.empty(5, 5, 2)}, "one mask per box"),
        ({"boxes": BOX, "scores": [1], "masks": np.ones((1, 5, 5))}, "tracker.Masks, got ndarray; Masks.from_dense"),
        ({"boxes": BOX, "scores": [1], "embeddings": np.zeros((2, 4))}, "embeddings of shape"),
        ({"boxes": BOX, "scores": [1], "embeddings": [[np.nan]]}, "finite embeddings"),
        ({"boxes": BOX, "scores": [1], "embeddings": [1.0]}, r"embeddings of shape \(1, D\), got \(1,\)"),
        ({"boxes": BOX, "scores": [1], "centres": [[1, 2, 3]]}, r"centres of shape \(1, 2\), got \(1, 3\)"),
        ({"boxes": BOX, "scores": [1], "centres": [[1, np.inf]]}, "finite centres.*row 0"),
        ({"boxes": BOX, "scores": [1], "offsets": np.zeros((2, 2))}, "offsets of shape"),
        ({"boxes": BOX, "scores": [1], "offsets": "far"}, "offsets as float32 numbers"),
        ({"boxes": BOX, "scores": [1], "track_ids": [1.5]}, "track_ids as whole numbers, got 1.5"),
        ({"boxes": BOX, "scores": [1], "track_ids": [1, 2]}, "expected 1 track_ids"),
        ({"boxes": BOX * 2, "scores": [1, 1], "track_ids": [3, 3]}, r"each track once, -1 for none; got \[3 3\]"),
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
    with pytest.raises(DetectionsError, match="expected rows as float64 numbers, got list"):
        Detections.from_array([[0, 1, 2, 3, 0.9], [5, 6]])  # type: ignore[arg-type]


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


def test_select_keeps_centres_offsets_and_claims_with_their_rows() -> None:
    detections = Detections(
        BOX * 3,  # type: ignore[arg-type]
        [0.1, 0.2, 0.3],  # type: ignore[arg-type]
        centres=[[1, 2], [3, 4], [5, 6]],  # type: ignore[arg-type]
        offsets=[[0, 1], [0, 2], [0, 3]],  # type: ignore[arg-type]
        track_ids=[-1, 7, -1],  # type: ignore[arg-type]
    )
    kept = detections.select([2, 1])
    assert kept.centres is not None and kept.centres.tolist() == [[5, 6], [3, 4]] and kept.centres.dtype == np.float32
    assert kept.offsets is not None and kept.offsets.tolist() == [[0, 3], [0, 2]]
    assert kept.track_ids is not None and kept.track_ids.tolist() == [-1, 7] and kept.track_ids.dtype == np.int64


def test_flow_is_checked_and_the_unknown_one_hides_everything() -> None:
    vectors, hidden = np.zeros((4, 6, 2), np.float32), np.zeros((4, 6), np.bool_)
    assert Flow(vectors).backward is None and Flow(vectors, vectors, hidden, hidden).occluded is hidden
    for given, words in (
        ((vectors.astype(np.float64),), "forward flow as float32 of shape"),
        ((vectors[..., 0],), "forward flow"),
        ((vectors, vectors[:3]), "backward flow"),
        ((vectors, None, hidden.astype(np.uint8)), "occluded as bool"),
        ((vectors, None, None, hidden[:, :5]), "revealed as bool of shape"),
    ):
        with pytest.raises(FrameError, match=words) as caught:
            Flow(*given)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    unknown = Flow.unknown(4, 6)
    assert unknown.occluded is not None and unknown.occluded.all() and unknown.forward.shape == (4, 6, 2)


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


FIELDS = [field.name for field in dataclasses.fields(Tracks)]


def as_block(tracks: Tracks, room: int = 8) -> Tracks:
    """The same snapshot as a step hands it over: the twin of its `_write_block`, part by part with numpy."""
    block = np.zeros(room * BLOCK_BYTES, np.uint8)
    for place, values in (
        (BLOCK_IDS, tracks.ids), (BLOCK_BOXES, tracks.boxes), (BLOCK_SCORES, tracks.scores),
        (BLOCK_LABELS, tracks.labels), (BLOCK_SOURCE, tracks.source), (BLOCK_HITS, tracks.hits),
        (BLOCK_MISSES, tracks.misses), (BLOCK_UNMATCHED, tracks.unmatched), (BLOCK_STATES, tracks.states),
    ):  # fmt: skip
        block[4 * place * room :][: values.nbytes] = np.frombuffer(values.tobytes(), np.uint8)
    counts = tuple(int(np.sum(tracks.states == state)) for state in (TrackState.CONFIRMED, TrackState.TENTATIVE))
    return tracks_of_block(block, (len(tracks), *counts, len(tracks.unmatched)), tracks.detections, tracks.time_s)


def same(one: Tracks, other: Tracks) -> bool:
    return all(
        a is b
        if name == "detections"
        else np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype and np.shape(a) == np.shape(b)
        for name in FIELDS
        for a, b in [(getattr(one, name), getattr(other, name))]
    )


@pytest.mark.parametrize("name", FIELDS)
def test_any_field_of_a_block_may_be_asked_for_first(name: str) -> None:
    tracks, wanted = as_block(snapshot()), snapshot()
    first = getattr(tracks, name)
    assert getattr(tracks, name) is first, "made once"
    if isinstance(first, np.ndarray):
        assert first.flags.writeable and first.flags.c_contiguous and first.flags.aligned
        assert first.dtype == getattr(wanted, name).dtype and np.array_equal(first, getattr(wanted, name))


def test_a_block_splits_like_any_snapshot() -> None:
    for plain, room in ((snapshot(), 8), (Tracks.empty(2.5), 0)):
        whole = as_block(plain, room)
        for part in ("confirmed", "tentative", "coasting"):
            mine, theirs = getattr(whole, part), getattr(plain, part)
            assert same(mine, theirs) and len(mine) == len(theirs)
            for again in ("confirmed", "tentative", "coasting"):  # of a part: all of it, or nothing
                assert same(getattr(mine, again), getattr(theirs, again))
        assert same(whole.select([-1] if len(whole) else []), plain.select([-1] if len(plain) else []))
    tracks = as_block(snapshot())
    assert np.shares_memory(tracks.confirmed.ids, tracks.ids)


def test_a_block_is_a_value_like_any_other() -> None:
    tracks, wanted = as_block(snapshot()), snapshot()
    for copied in (copy.copy(tracks), copy.deepcopy(tracks), pickle.loads(pickle.dumps(tracks.confirmed))):
        part = wanted if len(copied) == len(wanted) else wanted.confirmed
        assert copied.ids.tolist() == part.ids.tolist() and copied.boxes.tolist() == part.boxes.tolist()
        assert copied.unmatched.tolist() == [3] and copied.time_s == 1.5
        assert len(copied.confirmed) == 2
    changed = dataclasses.replace(tracks, states=np.full(4, TrackState.CONFIRMED, np.uint8))
    assert len(changed.confirmed) == 4 and len(tracks.confirmed) == 2
    assert tracks != as_block(snapshot()) and hash(tracks) == hash(tracks) and "time_s=1.5" in repr(tracks)
    with pytest.raises(dataclasses.FrozenInstanceError):
        tracks.time_s = 2.0  # type: ignore[misc]
    for some in (tracks, snapshot()):
        with pytest.raises(AttributeError, match="no attribute 'idz'"):
            some.idz  # type: ignore[attr-defined]


def test_writing_into_a_trackers_result_changes_no_other_frame() -> None:
    detections = Detections(np.array([[0, 0, 20, 40], [100, 0, 120, 40]], np.float32), np.array([0.9, 0.8], np.float32))
    careless, careful = create("bytetrack"), create("bytetrack")
    for _ in range(5):
        tracks, wanted = careless.update(detections), careful.update(detections)
        assert same(tracks, wanted) and not np.shares_memory(tracks.ids, careless._state.arrays[0])
        for name in FIELDS[:9]:
            getattr(tracks, name)[:] = 77
