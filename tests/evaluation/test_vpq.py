"""VPQ: VPSNet's numbers, the definition on random videos, and the corners."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.evaluation.panoptic_videos import EXPECTED, SMALL, feed, random_video, recorded
from tests.reference import panoptic_metrics as twin
from tracker.errors import ConfigError
from tracker.evaluation.vpq import Vpq

VOID = 255


@pytest.mark.parametrize("case", [case for case in EXPECTED if EXPECTED[case]["vpq"]])
def test_vpsnets_numbers(case):
    class_set, sequences = recorded(case)
    wanted = EXPECTED[case]["vpq"]
    combined = Vpq(class_set)
    for video in sequences.values():
        combined.merge(feed(Vpq(class_set), video))
    scores = combined.result()
    for window in (1, 2, 3, 4):
        of_window = wanted[f"k{window}"]
        if isinstance(of_window["all"], str):  # ZeroDivisionError there
            assert math.isnan(scores[f"VPQ_{window}"]) and math.isnan(scores["VPQ"])
            continue
        assert scores[f"VPQ_{window}"] == pytest.approx(of_window["all"]["pq"], abs=1e-12)
        counts = combined.counts(window)
        for number, theirs in of_window["per_class"].items():
            ours = counts[class_set.names[int(number)]]
            assert (ours["TP"], ours["FP"], ours["FN"]) == (theirs["tp"], theirs["fp"], theirs["fn"])
            assert ours["IoU"] == pytest.approx(theirs["iou"], abs=1e-12)
    if not math.isnan(scores["VPQ"]):
        for name, part, key in (("SQ", "all", "sq"), ("RQ", "all", "rq"), ("VPQ_things", "things", "pq"),
                                ("VPQ_stuff", "stuff", "pq")):  # fmt: skip
            mean = np.mean([wanted[f"k{window}"][part][key] for window in (1, 2, 3, 4)])
            assert scores[name] == pytest.approx(mean, abs=1e-12) or wanted["k1"][part]["n"] == 0


@pytest.mark.parametrize("seed", range(6))
def test_the_definition(seed):
    videos = [random_video(seed), random_video(seed + 50, frames=2)]
    combined = Vpq(SMALL)
    for video in videos:
        combined.merge(feed(Vpq(SMALL), video))
    for window in (1, 2, 3, 4):
        wanted = twin.vpq(videos, SMALL.names, SMALL.things, SMALL.void, window)
        assert combined.result()[f"VPQ_{window}"] == pytest.approx(wanted, abs=1e-12)


def vpq_of(*frames, windows=(1,)):
    metric = Vpq(SMALL, windows=windows)
    for truth, result in frames:
        metric.update(*(np.array([row]) for row in (*truth, *result)))
    return metric


def test_a_changed_id_costs_in_long_windows_only():
    truth = ([1, 1, 0], [5, 5, 0])
    frames = [(truth, ([1, 1, 0], [number] * 3)) for number in (7, 7, 8, 8)]
    scores = vpq_of(*frames, windows=(1, 2)).result()
    assert scores["VPQ_1"] == 1.0 and scores["VPQ_2"] < 1.0


def test_an_overlap_of_one_half_is_no_match():
    counts = vpq_of((([1, 1, 0, 0], [5, 5, 0, 0]), ([1, 0, 0, 0], [9, 0, 0, 0]))).counts(1)["car"]
    assert (counts["TP"], counts["FP"], counts["FN"]) == (0, 1, 1)


def test_void_and_crowds_forgive():
    on_void = vpq_of((([VOID, VOID, 0], [0, 0, 0]), ([1, 1, 1], [4, 4, 4]))).counts(1)["car"]
    assert (on_void["FP"], on_void["FN"]) == (0, 0)
    on_crowd = vpq_of((([1, 1, 0], [0, 0, 0]), ([1, 1, 1], [4, 4, 4]))).counts(1)["car"]
    assert (on_crowd["TP"], on_crowd["FP"], on_crowd["FN"]) == (0, 0, 0)
    crowd_of_others = vpq_of((([2, 2, 0], [0, 0, 0]), ([1, 1, 1], [4, 4, 4]))).counts(1)["car"]
    assert crowd_of_others["FP"] == 1


def test_sequences_shorter_than_a_window():
    scores = feed(Vpq(SMALL), random_video(0, frames=3)).result()
    assert not math.isnan(scores["VPQ_3"]) and math.isnan(scores["VPQ_4"]) and math.isnan(scores["VPQ"])
    assert all(math.isnan(score) for score in Vpq(SMALL).result().values())


def test_windows_never_cross_sequences():
    apart = feed(Vpq(SMALL, windows=(2,)), random_video(0, frames=1))
    apart.merge(feed(Vpq(SMALL, windows=(2,)), random_video(1, frames=1)))
    feed(apart, random_video(2, frames=1))
    assert math.isnan(apart.result()["VPQ_2"])


def test_bad_windows():
    for windows in ((), (0, 1)):
        with pytest.raises(ConfigError, match="windows of 1 frame or more"):
            Vpq(SMALL, windows=windows)
    with pytest.raises(ConfigError, match=r"expected windows \(1,\)"):
        Vpq(SMALL, windows=(1,)).merge(Vpq(SMALL))
