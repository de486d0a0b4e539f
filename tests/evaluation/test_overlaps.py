"""The comparison that all metrics share, against dense loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.evaluation import scenes
from tests.reference import evaluation as reference
from tracker.errors import DetectionsError, MasksError
from tracker.evaluation import Objects, Overlaps, compare_boxes, compare_masks
from tracker.evaluation import overlaps as module
from tracker.evaluation.overlaps import join
from tracker.masks import Masks


def same(a: list[reference.FrameRows], b: list[reference.FrameRows]) -> bool:
    return len(a) == len(b) and all(
        x[0] == y[0] and x[1] == y[1] and np.array_equal(x[2], y[2]) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("seed", range(5))
def test_boxes_overlap_as_a_plain_loop_says(seed: int) -> None:
    truth, boxes, results, others = scenes.tracks(seed)
    overlaps = compare_boxes(truth, boxes, results, others)
    for t, (_, _, similarity) in enumerate(reference.frames_of(overlaps)):
        a, b = truth.starts[t : t + 2]
        c, d = results.starts[t : t + 2]
        expected = [[reference.box_iou(x, y) for y in others[c:d]] for x in boxes[a:b]]
        np.testing.assert_allclose(similarity, np.array(expected).reshape(b - a, d - c), rtol=0, atol=1e-15)


def test_more_pairs_than_there_was_room_for() -> None:
    n = 60
    side = Objects.one_frame(np.arange(n)), np.tile([0.0, 0.0, 9.0, 9.0], (n, 1))
    assert len(compare_boxes(*side, *side).similarity) == n * n


def test_boxes_without_area_overlap_nothing() -> None:
    line = Objects.one_frame([1]), [[5.0, 0.0, 5.0, 9.0]]
    box = Objects.one_frame([1]), [[0.0, 0.0, 9.0, 9.0]]
    assert all(len(compare_boxes(*a, *b).similarity) == 0 for a, b in ((line, box), (box, line), (line, line)))


@pytest.mark.parametrize("seed", range(3))
def test_masks_overlap_as_their_pixels_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = [[rng.random((n, 20, 70)) < 0.3 for n in counts] for counts in ((3, 0, 2), (2, 2, 4))]
    sides: list[Any] = []
    for stacks in dense:
        starts = np.cumsum([0, *map(len, stacks)])
        ids = np.concatenate([np.arange(len(stack)) for stack in stacks])
        sides += [
            Objects(starts, ids),
            [Masks.from_dense(stack) if len(stack) else Masks.empty(20, 70) for stack in stacks],
        ]
    for t, (_, _, similarity) in enumerate(reference.frames_of(compare_masks(*sides))):
        expected = [[(x & y).sum() / (x | y).sum() for y in dense[1][t]] for x in dense[0][t]]
        np.testing.assert_allclose(similarity, np.array(expected).reshape(similarity.shape), atol=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_frames_joined_are_the_sequence(seed: int) -> None:
    truth, boxes, results, others = scenes.tracks(seed)
    whole = compare_boxes(truth, boxes, results, others)
    parts = []
    for t in range(whole.frames):
        a, b = truth.starts[t : t + 2]
        c, d = results.starts[t : t + 2]
        sides = Objects.one_frame(truth.ids[a:b]), boxes[a:b], Objects.one_frame(results.ids[c:d]), others[c:d]
        parts.append(compare_boxes(*sides))
    joined = join(parts)
    assert same(reference.frames_of(joined), reference.frames_of(whole))
    for overlaps in (joined, whole):  # meetings name the tracks of each pair
        truth_of_pair = np.repeat(overlaps.truth_tracks, np.diff(overlaps.pair_starts))
        assert np.array_equal(overlaps.meeting_truth[overlaps.meetings], truth_of_pair)
        assert np.array_equal(overlaps.meeting_result[overlaps.meetings], overlaps.result_tracks[overlaps.pair_results])


def test_many_tracks_are_numbered_by_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    table = scenes.overlaps(1)
    monkeypatch.setattr(module, "_TABLE", 0)
    sorted_ = scenes.overlaps(1)
    for field in ("meeting_truth", "meeting_result"):
        assert np.array_equal(getattr(table, field)[table.meetings], getattr(sorted_, field)[sorted_.meetings])


def test_scattered_ids_are_numbered_in_order() -> None:
    ids = np.array([1 << 40, 5, -3, 5, 1 << 40])
    tracks, distinct = module._number(ids)
    assert distinct.tolist() == [-3, 5, 1 << 40] and np.array_equal(distinct[tracks], ids)


@pytest.mark.parametrize("seed", range(10))
def test_the_best_match_of_each_frame(seed: int) -> None:
    overlaps = scenes.overlaps(seed, crowd=25.0)
    mates = overlaps.match()
    found = []
    for t, (_, _, similarity) in enumerate(reference.frames_of(overlaps)):
        a, c = overlaps.truth_starts[t], overlaps.result_starts[t]
        found += [(int(a) + i, int(c) + j) for i, j in reference.match(similarity)]
    assert found == [(i, int(j)) for i, j in enumerate(mates) if j >= 0] and found


@pytest.mark.parametrize("seed", range(5))
def test_selected_objects_keep_their_pairs(seed: int) -> None:
    overlaps = scenes.overlaps(seed)
    rng = np.random.default_rng(seed)
    truth, results = rng.random(len(overlaps.truth_tracks)) < 0.6, rng.random(len(overlaps.result_tracks)) < 0.6
    chosen = overlaps.select(truth, results)
    for t, (_, _, similarity) in enumerate(reference.frames_of(overlaps)):
        rows = truth[slice(*overlaps.truth_starts[t : t + 2])]
        columns = results[slice(*overlaps.result_starts[t : t + 2])]
        assert np.array_equal(reference.frames_of(chosen)[t][2], similarity[rows][:, columns])
    assert np.array_equal(chosen.result_ids[chosen.result_tracks], overlaps.result_ids[overlaps.result_tracks[results]])
    couples = chosen.meeting_result[chosen.meetings]
    assert np.array_equal(couples, chosen.result_tracks[chosen.pair_results])


def compare(**changes: Any) -> Overlaps:
    side = {"ids": [1, 2], "boxes": [[0.0, 0, 1, 1], [2.0, 2, 3, 3]]} | changes
    return compare_boxes(Objects.one_frame(side["ids"]), side["boxes"], Objects.one_frame([1]), [[0.0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": [7, 7]}, "expected each id once in a frame, got 7 twice in frame 0"),
        ({"boxes": [[0.0, 0, 1, 1]]}, r"expected boxes of shape \(2, 4\), got \(1, 4\)"),
        ({"boxes": [[0.0, 0, 1, np.nan], [2.0, 2, 3, 3]]}, "expected finite boxes"),
    ],
)
def test_wrong_input_is_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DetectionsError, match=words):
        compare(**changes)


def test_both_sides_have_the_same_frames() -> None:
    none = Objects(np.zeros(4, np.int64), np.zeros(0, np.int64)), []
    with pytest.raises(DetectionsError, match="expected the same frames on both sides, got 1 and 3"):
        compare_boxes(Objects.one_frame([1]), [[0.0, 0, 1, 1]], *none)


def test_masks_have_one_size_and_one_object_each() -> None:
    one, other = Masks.from_dense(np.ones((1, 4, 4), bool)), Masks.from_dense(np.ones((1, 5, 4), bool))
    side = Objects.one_frame([1])
    with pytest.raises(MasksError):
        compare_masks(side, [one], side, [other])
    with pytest.raises(DetectionsError, match="a mask for each object"):
        compare_masks(side, [one], side, [Masks.empty(4, 4)])
