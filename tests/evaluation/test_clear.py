"""CLEAR against its slow twin, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation import scenes
from tests.reference import evaluation as reference
from tracker.evaluation import Clear, Mots, Objects, Overlaps, compare_boxes


def clear(*parts: Overlaps) -> Clear:
    metric = Clear()
    for part in parts:
        metric.update(part)
    return metric


def script(*frames: tuple[list[int], list[int]]) -> Overlaps:
    """Frames of (true ids, result ids); true object k lies where the k-th result of the frame lies."""
    sides: list[list[int]] = [[], []]
    starts = [[0], [0]]
    boxes: list[list[list[float]]] = [[], []]
    for frame in frames:
        for side in range(2):
            sides[side] += frame[side]
            boxes[side] += [[20.0 * k, 0.0, 20.0 * k + 10, 10.0] for k in range(len(frame[side]))]
            starts[side].append(len(sides[side]))
    objects = [Objects(np.array(starts[side]), np.array(sides[side], np.int64)) for side in range(2)]
    return compare_boxes(objects[0], boxes[0], objects[1], boxes[1])


@pytest.mark.parametrize("seed", range(30))
def test_every_count_equals_the_slow_twin(seed: int) -> None:
    overlaps = scenes.overlaps(seed, crowd=30.0 if seed % 2 else 120.0)
    expected = reference.clear(reference.frames_of(overlaps))
    scores = clear(overlaps).result()
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_frame_by_frame_is_the_same(seed: int) -> None:
    truth, boxes, results, others = scenes.tracks(seed)
    parts = []
    for t in range(len(truth.starts) - 1):
        a, b = truth.starts[t : t + 2]
        c, d = results.starts[t : t + 2]
        parts.append(
            compare_boxes(
                Objects.one_frame(truth.ids[a:b]), boxes[a:b], Objects.one_frame(results.ids[c:d]), others[c:d]
            )
        )
    assert clear(*parts).result() == pytest.approx(clear(scenes.overlaps(seed)).result(), abs=1e-12)


def test_a_switch_is_counted_however_long_ago_the_last_match_was() -> None:
    gap = clear(script(([1], [5]), ([1], []), ([], [9]), ([1], [6]), ([1], [6]))).result()
    assert (gap["IDSW"], gap["CLR_TP"], gap["CLR_FN"], gap["CLR_FP"]) == (1, 3, 1, 1)


def test_frames_with_an_empty_side_break_no_track() -> None:
    assert clear(script(([1], [5]), ([1], []), ([1], [5]))).result()["Frag"] == 0
    assert clear(script(([1, 2], [5, 6]), ([2], [6]), ([1], [5]))).result()["Frag"] == 1


def test_what_was_matched_before_stays_matched() -> None:
    """Result 6 fits better, but 5 was there before."""
    side = Objects(np.array([0, 1, 2]), np.array([1, 1]))
    results = Objects(np.array([0, 1, 3]), np.array([5, 6, 5]))
    boxes = [[0.0, 0, 10, 10], [0.0, 0, 10, 10], [0.0, 0, 10, 7]]
    scores = clear(compare_boxes(side, boxes[:2], results, boxes)).result()
    assert scores["IDSW"] == 0 and scores["MOTP_sum"] == pytest.approx(1.7)


def test_tracks_are_mostly_tracked_above_eight_tenths() -> None:
    frames = [([1, 2], [7, 8] if t < 8 else [7]) for t in range(10)]
    scores = clear(script(*frames)).result()  # 1: ten of ten, 2: eight of ten
    assert (scores["MT"], scores["PT"], scores["ML"]) == (1, 1, 0)


@pytest.mark.parametrize(("truth", "results"), [(0, 0), (2, 0), (0, 2)])
def test_a_sequence_with_an_empty_side_has_no_rates(truth: int, results: int) -> None:
    metric = clear(scenes.one_sided(3, truth, results))
    scores = metric.result()
    assert (scores["CLR_FN"], scores["CLR_FP"], scores["ML"]) == (3 * truth, 3 * results, truth)
    assert scores["MLR"] == 1 and scores["MOTA"] == 0 and scores["CLR_Frames"] == 0
    combined = Clear()
    combined.merge(metric)
    assert combined.result()["MOTA"] == -3 * results and combined.result()["MLR"] == bool(truth)


def test_combined_rates_come_from_summed_counts() -> None:
    parts = [clear(scenes.overlaps(seed)) for seed in range(3)]
    combined = Clear()
    for part in parts:
        combined.merge(part)
    single = [part.result() for part in parts]
    total = combined.result()
    for name in ("CLR_TP", "CLR_FP", "CLR_FN", "IDSW", "Frag", "MT", "PT", "ML", "CLR_Frames", "MOTP_sum"):
        assert total[name] == pytest.approx(sum(scores[name] for scores in single))
    objects = total["CLR_TP"] + total["CLR_FN"]
    assert total["MOTA"] == (total["CLR_TP"] - total["CLR_FP"] - total["IDSW"]) / objects


def test_mots_gives_the_same_numbers_its_own_names() -> None:
    overlaps = scenes.overlaps(1)
    metric = Mots()
    metric.update(overlaps)
    scores, boxes = metric.result(), clear(overlaps).result()
    assert (scores["sMOTSA"], scores["MOTSA"], scores["MOTSP"]) == (boxes["sMOTA"], boxes["MOTA"], boxes["MOTP"])
