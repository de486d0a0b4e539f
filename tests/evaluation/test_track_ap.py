"""TrackAP: the official API's numbers, and the corners."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tracker.errors import DetectionsError
from tracker.evaluation.track_ap import TrackAp
from tracker.formats.youtube_vis import VisTrack, read_results, read_truth
from tracker.masks import Masks

STATS = {
    "AP": 0, "AP50": 1, "AP75": 2, "AP_small": 3, "AP_medium": 4, "AP_large": 5, "AR1": 6, "AR10": 7, "AR100": 8,
    "AR_small": 9, "AR_medium": 10, "AR_large": 11,
}  # fmt: skip


def test_the_official_numbers(golden):
    folder = golden / "panoptic"
    truth = read_truth(folder / "ytvis_gt.json")
    results = read_results(folder / "ytvis_pred.json", truth)
    wanted = json.loads((folder / "ytvis_expected.json").read_text())
    metric = TrackAp()
    for video in truth.videos:
        one = TrackAp()
        one.update([t for t in truth.tracks if t.video == video], [t for t in results if t.video == video])
        metric.merge(one)
    scores = metric.result()
    for name, place in STATS.items():
        theirs = wanted["stats"][place]
        assert math.isnan(scores[name]) if theirs == -1 else scores[name] == pytest.approx(theirs, abs=1e-12), name
    for number, theirs in enumerate(wanted["AP_per_class_all_maxdet_last"], 1):
        ours = metric.per_class().get(number, {"AP": -1})["AP"]
        assert ours == pytest.approx(theirs, abs=1e-12)


def track(*spans, category=1, score=0.5, crowd=False, width=10):
    """A track from one (first, end) or None per frame, in a frame of one row."""
    masks = []
    for span in spans:
        mask = np.zeros((1, 1, width), bool)
        if span is not None:
            mask[0, 0, span[0] : span[1]] = True
        masks.append(None if span is None else Masks.from_dense(mask).to_rle()[0])
    return VisTrack(1, category, masks, score, crowd)


def ap(truth, results):
    metric = TrackAp()
    metric.update(truth, results)
    return metric.result()


def test_perfect_and_absent():
    mine = track((0, 4), None, (2, 6))
    assert ap([mine], [mine])["AP"] == pytest.approx(1.0)
    assert ap([mine], [])["AP"] == 0.0
    assert all(math.isnan(score) for score in ap([], [mine]).values())
    assert all(math.isnan(score) for score in TrackAp().result().values())


def test_frames_that_one_side_lacks_add_to_the_union():
    """Half of the pixels in time: an IoU of exactly one half counts at 0.5 and nowhere else."""
    scores = ap([track((0, 4), (0, 4))], [track((0, 4), None)])
    assert scores["AP50"] == pytest.approx(1.0) and scores["AP"] == pytest.approx(0.1)


def test_a_second_result_on_one_track_is_wrong():
    mine = track((0, 4), (0, 4))
    ahead = track((0, 4), (0, 4), score=0.9)
    assert ap([mine], [mine, ahead])["AP"] == pytest.approx(1.0)
    other = track((6, 9), (6, 9), score=0.95)
    assert ap([mine], [mine, other])["AP"] == pytest.approx(0.5)


def test_crowds_are_not_judged_and_take_any_number_of_results():
    group = track((0, 4), (0, 4), crowd=True)
    mine = track((6, 9), (6, 9), score=0.1)
    over = [track((0, 4), (0, 4), score=0.9), track((0, 4), (0, 4), score=0.8)]
    assert ap([group, mine], [mine, *over])["AP"] == pytest.approx(1.0)


def test_categories_are_apart():
    assert ap([track((0, 4))], [track((0, 4), category=2)])["AP"] == 0.0


def test_tracks_of_different_lengths():
    with pytest.raises(DetectionsError, match="as many masks"):
        ap([track((0, 4))], [track((0, 4), None)])
