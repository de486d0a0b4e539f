"""STQ: the reference's numbers, the definitions on random videos, and every corner that has a documented value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.evaluation.panoptic_videos import EXPECTED, SMALL, feed, random_video, recorded
from tests.reference import panoptic_metrics as twin
from tracker.errors import ConfigError, DetectionsError
from tracker.evaluation.segments import compare_segments, split_key
from tracker.evaluation.stq import Stq
from tracker.formats.class_set import KITTI_STEP, ClassSet

REFERENCE = 4e-8  # the reference sums areas in float32
VOID = 255


@pytest.mark.parametrize("source", ["stq", "stq_tf"])
@pytest.mark.parametrize("case", EXPECTED)
def test_deeplab2s_numbers(case, source):
    class_set, sequences = recorded(case)
    wanted = EXPECTED[case][source]
    combined = Stq(class_set)
    for place, video in enumerate(sequences.values()):
        one = feed(Stq(class_set), video)
        for ours, theirs in (("STQ", "STQ"), ("AQ", "AQ"), ("SQ", "IoU")):
            assert one.result()[ours] == pytest.approx(wanted[f"{theirs}_per_seq"][place], abs=REFERENCE)
        combined.merge(one)
    for ours, theirs in (("STQ", "STQ"), ("AQ", "AQ"), ("SQ", "IoU")):
        assert combined.result()[ours] == pytest.approx(wanted[theirs], abs=REFERENCE)


@pytest.mark.parametrize("mode", ["deeplab2", "paper"])
@pytest.mark.parametrize("seed", range(6))
def test_the_definitions(seed, mode):
    videos = [random_video(seed), random_video(seed + 100, frames=3)]
    combined = Stq(SMALL, mode=mode)
    for video in videos:
        combined.merge(feed(Stq(SMALL, mode=mode), video))
    wanted = twin.stq(videos, SMALL.names, SMALL.things, SMALL.void, by_id=mode == "paper")
    assert combined.result() == pytest.approx(wanted, abs=1e-12)


def frame(classes, ids):
    return np.array([classes], np.uint8), np.array([ids], np.int32)


def stq_of(*frames, mode="deeplab2", class_set=SMALL):
    metric = Stq(class_set, mode=mode)
    for truth, result in frames:
        metric.update(*frame(*truth), *frame(*result))
    return metric.result()


def test_a_class_flip_splits_the_tube_in_the_code_and_not_in_the_paper():
    truth = ([1, 1, 0], [5, 5, 0])
    flips = [(truth, ([1, 1, 0], [9, 9, 0])), (truth, ([2, 2, 0], [9, 9, 0]))]
    assert stq_of(*flips)["AQ"] == 0.5
    assert stq_of(*flips, mode="paper")["AQ"] == 1.0


def test_true_ids_may_repeat_across_classes_and_sequences():
    clip = [(([1, 2, 0], [5, 5, 0]), ([1, 2, 0], [7, 8, 0]))]
    assert stq_of(*clip) == {"STQ": 1.0, "AQ": 1.0, "SQ": 1.0, "tubes": 2}
    first, second = Stq(SMALL), Stq(SMALL)
    first.update(*frame([1], [5]), *frame([1], [7]))
    second.update(*frame([1, 1], [5, 5]), *frame([1, 1], [8, 9]))
    first.merge(second)
    assert first.result()["tubes"] == 2 and first.result()["AQ"] == pytest.approx((1 + 0.5) / 2)
    assert second.result()["tubes"] == 1  # what was merged stays as it was


def test_ids_beyond_16_bits_are_other_ids():
    apart = stq_of((([1, 1], [1, 1 + 2**16]), ([1, 1], [1, 1 + 2**16])))
    assert apart["tubes"] == 2 and apart["AQ"] == 1.0


def test_crowds_cost_nothing_and_results_without_id_are_one_tube():
    assert stq_of((([1, 1, 1], [0, 0, 3]), ([1, 1, 1], [8, 9, 7])))["AQ"] == 1.0
    assert stq_of((([1, 1], [3, 4]), ([1, 1], [0, 0])))["AQ"] == 0.5


def test_void_in_the_result_is_a_class_of_its_own():
    """Three of four pixels right: the class has 0.75, void 0, and the mean is 0.375."""
    assert stq_of((([0] * 4, [0] * 4), ([0, 0, 0, VOID], [0] * 4)))["SQ"] == 0.375


def test_results_on_true_void_count_against_their_track():
    assert stq_of((([1, VOID], [3, 0]), ([1, 1], [7, 7])))["AQ"] == 0.5


def test_degenerate_sequences():
    nothing = Stq(SMALL).result()
    assert nothing["AQ"] == 0 and math.isnan(nothing["SQ"]) and math.isnan(nothing["STQ"])
    void = stq_of((([VOID, VOID], [0, 0]), ([1, 0], [4, 0])))
    assert void["AQ"] == 0 and math.isnan(void["SQ"])
    assert stq_of((([0, 0], [0, 0]), ([0, 0], [0, 0]))) == {"STQ": 0.0, "AQ": 0.0, "SQ": 1.0, "tubes": 0}
    empty = Stq(SMALL)
    empty.update(*[np.zeros((0, 5), np.uint8)] * 4)
    assert empty.result()["tubes"] == 0


def test_scores_per_class():
    metric = Stq(SMALL)
    metric.update(*frame([0, 1, 1, 1], [0, 3, 3, 4]), *frame([0, 1, 1, 0], [0, 7, 7, 0]))
    scores = metric.per_class()
    assert scores["road"] == {"SQ": 0.5}
    assert scores["car"] == {"SQ": pytest.approx(2 / 3), "AQ": 0.5}
    assert math.isnan(scores["person"]["SQ"]) and math.isnan(scores["person"]["AQ"])


def test_a_void_number_inside_the_classes_and_just_behind_them():
    for void in (0, 3):
        class_set = ClassSet(("nothing", "car", "person"), things=(1, 2), void=void)
        got = stq_of((([void, 1, 2], [0, 1, 1]), ([1, 1, 2], [1, 1, 1])), class_set=class_set)
        assert got["SQ"] == 1.0 and got["AQ"] == pytest.approx((0.5 + 1) / 2)


def test_results_do_not_change_the_metric():
    metric = feed(Stq(SMALL), random_video(1))
    assert metric.result() == metric.result()
    again = feed(Stq(SMALL), random_video(1))
    again.result()
    feed(again, random_video(2))
    assert again.result() == feed(metric, random_video(2)).result()


FOUR = [np.zeros((2, 3), np.uint8)] * 4
BAD = {
    "of one size": [*FOUR[:3], np.zeros((2, 4), np.uint8)],
    "integers of shape": [*FOUR[:3], np.zeros((2, 3))],
    r"\(H, W\)": [np.zeros((2, 3, 3), np.uint8)] * 4,
    "class numbers 0 to 2, or 255 for void, in the truth, got 3": [np.full((2, 3), 3), *FOUR[1:]],
    "class numbers 0 to 2, or 255 for void, in the result, got 200": [*FOUR[:2], np.full((2, 3), 200), FOUR[3]],
    "from 0 to 255, got 0 to 1001": [np.array([[0, 0, 1001], [0, 0, 0]]), *FOUR[1:]],
    "ids of things from 0 in the result": [*FOUR[:2], np.ones((2, 3), np.uint8), np.full((2, 3), -1, np.int32)],
    "from 0 to 2147483647": [FOUR[0], np.full((2, 3), 2**31), *FOUR[2:]],
}


@pytest.mark.parametrize("reason", BAD)
def test_maps_that_make_no_sense(reason):
    metric = Stq(SMALL)
    with pytest.raises(DetectionsError, match=reason) as caught:
        metric.update(*BAD[reason])
    assert "\n" not in str(caught.value)
    assert metric.result()["tubes"] == 0


def test_an_unknown_mode():
    with pytest.raises(ConfigError, match="deeplab2 or paper"):
        Stq(SMALL, mode="panoptic")


@pytest.mark.parametrize("seed", range(4))
def test_pairs_of_segments_against_their_masks(seed):
    true_classes, true_ids, classes, ids = (part[0] for part in random_video(seed, shape=(9, 23)))
    found = compare_segments(true_classes, true_ids, classes, ids, SMALL)
    truth = twin.segments_of(true_classes, true_ids, SMALL.things)
    results = twin.segments_of(classes, ids, SMALL.things)
    wanted = {
        (a, b): int((mine & theirs).sum())
        for a, mine in truth.items() for b, theirs in results.items() if (mine & theirs).any()
    }  # fmt: skip
    sides = [zip(*(part.tolist() for part in split_key(keys))) for keys in (found.truth, found.results)]
    assert dict(zip(zip(*sides), found.pixels.tolist())) == wanted
    assert found.pixels.sum() == true_classes.size


def test_noise_has_as_many_segments_as_pixels():
    ids = np.arange(40_000, dtype=np.int32).reshape(200, 200) + 1
    cars = np.ones((200, 200), np.uint8)
    metric = Stq(SMALL)
    metric.update(cars, ids, cars, ids[::-1].copy())
    assert metric.result() == {"STQ": 1.0, "AQ": 1.0, "SQ": 1.0, "tubes": 40_000}


def street(t):
    """A KITTI-sized frame of 20 moving objects, and a result with ragged borders."""
    classes, ids = np.zeros((375, 1242), np.uint8), np.zeros((375, 1242), np.int32)
    classes[:120], classes[120:200] = 10, 8
    for k in range(20):
        x, y = (61 * k + 3 * t) % 1200, 150 + 13 * k % 150
        classes[y : y + 50 + k, x : x + 30 + k] = 11 if k % 2 else 13
        ids[y : y + 50 + k, x : x + 30 + k] = k + 1
    shifted = np.roll(classes, t % 5, 1), np.roll(ids, t % 5, 1)
    return classes, ids, *shifted


def test_frames_of_kittis_size_score_as_in_plain_numpy():
    frames, metric = [street(t) for t in range(4)], Stq(KITTI_STEP)
    for maps in frames:
        metric.update(*maps)
    plain = twin.plain_stq(frames, len(KITTI_STEP.names), KITTI_STEP.things, KITTI_STEP.void)
    assert metric.result()["STQ"] == pytest.approx(plain, abs=1e-12)
