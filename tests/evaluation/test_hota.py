"""HOTA against its slow twin, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation import scenes
from tests.reference import evaluation as reference
from tracker.evaluation import Hota, Overlaps


def hota(*parts: Overlaps) -> Hota:
    metric = Hota()
    for part in parts:
        metric.update(part)
    return metric


@pytest.mark.parametrize("seed", range(30))
def test_every_alpha_equals_the_slow_twin(seed: int) -> None:
    overlaps = scenes.overlaps(seed, crowd=30.0 if seed % 2 else 120.0)
    expected = reference.hota(reference.frames_of(overlaps))
    curves = hota(overlaps).curves()
    for name, values in expected.items():
        np.testing.assert_allclose(curves[name], values, rtol=0, atol=1e-12, err_msg=name)


def test_result_is_the_mean_over_alphas_and_the_lowest_one() -> None:
    metric = hota(scenes.overlaps(3))
    scores, curves = metric.result(), metric.curves()
    assert scores["HOTA"] == curves["HOTA"].mean() and scores["HOTA(0)"] == curves["HOTA"][0]
    assert scores["HOTALocA(0)"] == scores["HOTA(0)"] * scores["LocA(0)"]
    assert metric.result() == scores  # asking changes nothing


def test_perfect_tracks_score_one() -> None:
    truth, boxes, *_ = scenes.tracks(4)
    from tracker.evaluation import compare_boxes

    assert hota(compare_boxes(truth, boxes, truth, boxes)).result()["HOTA"] == pytest.approx(1, abs=1e-12)


def test_sequences_add_their_counts_and_weigh_association_by_matches() -> None:
    parts = [scenes.overlaps(seed) for seed in range(3)]
    combined = Hota()
    for part in parts:
        combined.merge(hota(part))
    curves = [hota(part).curves() for part in parts]
    tp = sum(each["HOTA_TP"] for each in curves)
    expected = sum(each["AssA"] * each["HOTA_TP"] for each in curves) / np.maximum(1, tp)
    np.testing.assert_allclose(combined.curves()["AssA"], expected, atol=1e-12)
    np.testing.assert_allclose(combined.curves()["HOTA_TP"], tp)


def test_an_update_after_a_merge_begins_a_new_sequence() -> None:
    first, second = scenes.overlaps(1), scenes.overlaps(2)
    running = hota(first)
    running.merge(Hota())
    running.update(second)
    combined = hota(first)
    combined.merge(hota(second))
    assert running.result() == combined.result()


@pytest.mark.parametrize(("truth", "results"), [(0, 0), (2, 0), (0, 2), (2, 2)])
def test_nothing_to_match(truth: int, results: int) -> None:
    scores = hota(scenes.one_sided(3, truth, results)).result()
    assert scores["HOTA"] == 0 and scores["AssA"] == 0 and scores["LocA"] == scores["LocA(0)"] == 1
    assert (scores["HOTA_FN"], scores["HOTA_FP"]) == (3 * truth, 3 * results)


def test_no_frame_at_all() -> None:
    assert Hota().result()["HOTA"] == 0 and Hota().result()["LocA"] == 1


def test_a_similarity_on_the_threshold_counts() -> None:
    from tracker.evaluation import Objects, compare_boxes

    side = Objects.one_frame([1])
    overlaps = compare_boxes(side, [[0.0, 0, 10, 10]], side, [[0.0, 0, 5, 10]])  # IoU exactly 0.5
    assert hota(overlaps).curves()["HOTA_TP"].tolist() == [1.0] * 10 + [0.0] * 9
