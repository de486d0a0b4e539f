"""Recorded figures of TrackEval 1.3.0, from files to scores (tests/golden/evaluation)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracker.evaluation import Metric
from tracker.evaluation.datasets import COMBINED, evaluate

ALL = ("hota", "clear", "identity")
FAMILIES = {"HOTA": "hota", "CLEAR": "clear", "Identity": "identity"}


def scores_of(metric: Metric) -> dict[str, Any]:
    curves = metric.curves() if hasattr(metric, "curves") else {}
    return {**metric.result(), **curves}


def assert_equal(metrics: dict[str, Metric], expected: dict[str, Any]) -> None:
    for family, name in FAMILIES.items():
        scores = scores_of(metrics[name])
        assert expected[family]
        for key, value in expected[family].items():
            np.testing.assert_allclose(scores[key], np.asarray(value, float), rtol=0, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("benchmark", ["MOT15", "MOT17", "MOT20"])
def test_boxes(golden: Path, benchmark: str) -> None:
    folder = golden / "evaluation"
    expected = json.loads((folder / "mot17.json").read_text())[benchmark]
    *_, (_, report) = evaluate(benchmark.lower(), folder / "mot17/gt", folder / "mot17/pred", ALL)
    found = report.scores["pedestrian"]
    assert found.keys() == {*expected["per_seq"], COMBINED} and len(found) == 4
    assert_equal(found[COMBINED], expected["combined"])
    for sequence, values in expected["per_seq"].items():
        assert_equal(found[sequence], values)


@pytest.mark.parametrize("benchmark", ["kitti_mots", "mots_challenge", "threshold_corner"])
def test_masks(golden: Path, benchmark: str) -> None:
    folder = golden / "evaluation" / benchmark
    recorded = json.loads((folder.parent / "mots.json").read_text())[benchmark]
    dataset = "mots-challenge" if benchmark == "mots_challenge" else "kitti-mots"
    *_, (_, report) = evaluate(dataset, folder / "gt", folder / "pred", ALL, seqmap=folder / "seqmap.txt")
    del recorded["frames"]
    assert report.scores.keys() == recorded.keys()
    for class_name, expected in recorded.items():
        assert_equal(report.scores[class_name][COMBINED], expected["combined"])
        for sequence, values in expected["per_seq"].items():
            assert_equal(report.scores[class_name][sequence], values)
