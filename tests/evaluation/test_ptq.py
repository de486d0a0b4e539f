"""PTQ: the nuScenes kit's numbers, the definition on random videos, and the corners."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.evaluation.panoptic_videos import EXPECTED, SMALL, feed, random_video, recorded
from tests.reference import panoptic_metrics as twin
from tracker.evaluation.ptq import Ptq

EXACT = 1e-14  # the kit's float32 sums are ours; means are float64 on both sides


@pytest.mark.parametrize("case", [case for case in EXPECTED if EXPECTED[case]["ptq"]])
def test_the_nuscenes_kits_numbers(case):
    class_set, sequences = recorded(case)
    wanted = EXPECTED[case]["ptq"]
    combined = Ptq(class_set)
    for video in sequences.values():
        combined.merge(feed(Ptq(class_set), video))
    scores, per_class = combined.result(), combined.per_class()
    assert scores["PTQ"] == pytest.approx(wanted["mean_ptq"], abs=EXACT)
    assert scores["sPTQ"] == pytest.approx(wanted["mean_sptq"], abs=EXACT)
    for place, number in enumerate(wanted["class_order"], 1):
        ours = per_class[class_set.names[number]]
        for name, theirs in (("TP", "tp"), ("FP", "fp"), ("FN", "fn"), ("IDS", "ids")):
            assert ours[name] == wanted[theirs][place]
        assert (ours["IoU"], ours["sIDS"]) == (wanted["iou"][place], wanted["soft_ids"][place])
        for name, theirs in (("PTQ", "ptq"), ("sPTQ", "sptq")):
            assert ours[name] == pytest.approx(wanted[theirs][place], abs=EXACT)


def test_the_kits_float32_explains_all_that_exact_arithmetic_misses():
    """With float64 IoUs a mean differs from the kit's by 6e-9, with float32 ones by nothing."""

    def worst(precision):
        missed = []
        for case in (case for case in EXPECTED if EXPECTED[case]["ptq"]):
            class_set, sequences = recorded(case)
            found = twin.ptq(sequences.values(), class_set.names, class_set.things, class_set.void, precision)
            missed.append(abs(found["PTQ"] - EXPECTED[case]["ptq"]["mean_ptq"]))
        return max(missed)

    assert worst(np.float32) < EXACT and 1e-9 < worst(np.float64) < 1e-8


@pytest.mark.parametrize("seed", range(6))
def test_the_definition(seed):
    videos = [random_video(seed), random_video(seed + 50, frames=4)]
    combined = Ptq(SMALL)
    for video in videos:
        combined.merge(feed(Ptq(SMALL), video))
    scores = combined.result()
    for name, value in twin.ptq(videos, SMALL.names, SMALL.things, SMALL.void).items():
        assert scores[name] == pytest.approx(value, abs=1e-12)


def switches(*ids):
    metric = Ptq(SMALL)
    for number in ids:
        classes = np.array([[1, 1, 1, 0]])
        seen = classes if number else np.zeros_like(classes)
        metric.update(classes, 5 * classes, seen, (number or 0) * classes)
    return metric.result()["IDS"]


def test_switches_of_consecutive_frames_count_and_those_over_a_gap_do_not():
    assert switches(7, 7, 7) == 0
    assert switches(7, 8, 7) == 2
    assert switches(7, None, 8) == 0


def test_a_switch_between_sequences_is_none():
    first, second = Ptq(SMALL), Ptq(SMALL)
    for metric, number in ((first, 7), (second, 8)):
        metric.update(np.array([[1]]), np.array([[5]]), np.array([[1]]), np.array([[number]]))
    first.merge(second)
    first.update(np.array([[1]]), np.array([[5]]), np.array([[1]]), np.array([[9]]))
    assert first.result()["IDS"] == 0


def test_nothing_to_judge():
    assert math.isnan(Ptq(SMALL).result()["PTQ"])
    void = Ptq(SMALL)
    void.update(np.full((2, 2), 255), np.zeros((2, 2), int), np.ones((2, 2), int), np.ones((2, 2), int))
    assert math.isnan(void.result()["PTQ"]) and void.result()["IDS"] == 0
