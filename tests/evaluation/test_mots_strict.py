"""The strict sMOTSA: mots_tools' numbers to 1e-12, and what makes it strict."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tracker.errors import DetectionsError
from tracker.evaluation.mots_strict import MotsStrict
from tracker.formats.mots import MotsFrame, read_mots
from tracker.masks import Masks

NAMES = {
    "TP": "tp", "FP": "fp", "FN": "fn", "IDS": "id_switches", "Frag": "fragments", "ignored": "n_itr",
    "frames": "total_num_frames", "sMOTSA": "sMOTSA", "MOTSA": "MOTSA", "MOTSP": "MOTSP", "MODSA": "MODSA",
    "MODSP": "MODSP", "MOTSAL": "MOTSAL", "recall": "recall", "precision": "precision", "F1": "F1",
}  # fmt: skip


def check(scores, wanted):
    for ours, theirs in NAMES.items():
        assert scores[ours] == pytest.approx(float(wanted[theirs]), abs=1e-12), ours
    for name in ("MT", "PT", "ML"):
        assert scores[name] == pytest.approx(wanted[name] * wanted["n_gt_trajectories"])


@pytest.mark.parametrize("mots_class", ["car", "pedestrian"])
@pytest.mark.parametrize("case", ["kitti_mots", "mots_challenge", "threshold_corner"])
def test_mots_tools_numbers(golden, case, mots_class):
    wanted = json.loads((golden / "panoptic" / "mots_tools.json").read_text())[case]
    combined = MotsStrict()
    for name, of_sequence in wanted["mots_tools"][mots_class]["per_seq"].items():
        truth, results = (
            read_mots(golden / "evaluation" / case / side / f"{name}.txt", first_frame=wanted["first_frame"])
            for side in ("gt", "pred")
        )
        one = MotsStrict()
        for frame in range(of_sequence["total_num_frames"]):
            one.update(truth.get(frame), results.get(frame), {"car": 1, "pedestrian": 2}[mots_class])
        check(one.result(), of_sequence)
        combined.merge(one)
    check(combined.result(), wanted["mots_tools"][mots_class]["all"])


def frame(*objects, width=12):
    """A frame of one row of pixels from (id, class, first, end)."""
    stack = np.zeros((len(objects), 1, width), bool)
    for mask, (_, _, first, end) in zip(stack, objects):
        mask[0, first:end] = True
    ids, classes = [number for number, *_ in objects], [number for _, number, *_ in objects]
    return MotsFrame(np.array(ids, np.int64), np.array(classes, np.int32), Masks.from_dense(stack))


def test_half_an_overlap_is_none():
    metric = MotsStrict()
    metric.update(frame((2001, 2, 0, 4)), frame((1, 2, 0, 2)), 2)
    assert (metric.result()["TP"], metric.result()["FP"], metric.result()["FN"]) == (0, 1, 1)


def test_a_result_in_an_ignore_region_costs_nothing_unless_it_matches():
    ignored = MotsStrict()
    ignored.update(frame((10000, 10, 0, 6)), frame((1, 2, 0, 4), (2, 2, 4, 12)), 2)
    assert (ignored.result()["ignored"], ignored.result()["FP"]) == (1, 1)


def test_switches_are_found_over_gaps():
    metric = MotsStrict()
    for number in (1, None, 2):
        metric.update(frame((2001, 2, 0, 4)), None if number is None else frame((number, 2, 0, 4)), 2)
    assert metric.result()["IDS"] == 1


def test_nothing_at_all():
    scores = MotsStrict().result()
    assert scores["MOTSA"] == -math.inf and scores["MOTSP"] == math.inf and math.isnan(scores["MODSP"])


def test_frames_that_cannot_be_judged():
    with pytest.raises(DetectionsError, match="each id once"):
        MotsStrict().update(None, frame((1, 2, 0, 2), (1, 2, 4, 6)), 2)
    with pytest.raises(DetectionsError, match="without a shared pixel"):
        MotsStrict().update(frame((1, 2, 0, 4), (2, 2, 3, 6)), None, 2)
