"""J and F: TrackEval's numbers, the definition on random videos, and the corners."""

from __future__ import annotations

import contextlib
import io
import math
import sys
import warnings
from types import ModuleType

import numpy as np
import pytest

from tests.reference import contours as twin
from tracker.errors import DetectionsError
from tracker.evaluation import Jf
from tracker.evaluation.jf import contour_score
from tracker.masks import Masks

HEIGHT, WIDTH = 40, 60
OF_TRACKEVAL = {
    "J&F": "J&F",
    **{f"{part}_{name}": f"{part}-{name.title()}" for part in "JF" for name in ("mean", "recall", "decay")},
}


def random_video(seed, objects=3, results=4, frames=9):
    """Masks (G, T, H, W) and (K, T, H, W) of drifting blobs; results are moved truth, both with gaps."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    start = [np.hypot(y - rng.integers(10, 30), x - rng.integers(10, 50)) < rng.uniform(6, 10) for _ in range(objects)]
    drift = rng.integers(-2, 3, (objects, 2))
    truth = np.array([[np.roll(blob, t * step, (0, 1)) for t in range(frames)] for blob, step in zip(start, drift)])
    found = np.zeros((results, frames, HEIGHT, WIDTH), bool)
    for k in range(results):
        found[k] = np.roll(truth[k % objects], rng.integers(-3, 4, 2), (1, 2))
    truth[rng.random(truth.shape[:2]) < 0.2] = False
    found[rng.random(found.shape[:2]) < 0.2] = False
    return truth, found


def feed(truth, results):
    metric = Jf()
    for t in range(truth.shape[1]):
        sides = []
        for masks in (truth[:, t], results[:, t]):
            rows = np.flatnonzero(masks.any((1, 2)))
            sides += [7 * rows + 3, Masks.from_dense(masks[rows])]
        metric.update(*sides)
    return metric


CASES = [(3, 4), (3, 2), (1, 1), (2, 0), (3, 5)]


@pytest.mark.parametrize("seed", range(len(CASES)))
def test_the_definition(seed):
    video = random_video(seed, *CASES[seed], frames=5)
    scores = feed(*video).result()
    for name, value in twin.jf(*video).items():
        assert scores[name] == pytest.approx(value, abs=1e-12), name


def trackeval_numbers(monkeypatch, truth, results):
    """TrackEval's JAndF; of scikit-image it needs a disk only, which stands in here."""
    pytest.importorskip("trackeval", exc_type=ImportError)
    from pycocotools import mask as coco
    from trackeval.metrics.j_and_f import JAndF

    morphology = ModuleType("skimage.morphology")
    morphology.disk = lambda radius: np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius
    monkeypatch.setitem(sys.modules, "skimage", ModuleType("skimage"))
    monkeypatch.setitem(sys.modules, "skimage.morphology", morphology)
    data = {"num_timesteps": truth.shape[1]}
    for side, masks in (("gt", truth), ("tracker", results)):
        known = [k for k in range(len(masks)) if masks[k].any()]
        rows = [[k for k in known if masks[k, t].any()] for t in range(masks.shape[1])]
        data[f"num_{side}_ids"] = len(known)
        data[f"{side}_ids"] = [[known.index(k) for k in of_frame] for of_frame in rows]
        data[f"{side}_dets"] = [
            [coco.encode(np.asfortranarray(masks[k, t].astype(np.uint8))) for k in of_frame]
            for t, of_frame in enumerate(rows)
        ]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools' own
        return JAndF().eval_sequence(data)


@pytest.mark.parametrize("seed", range(len(CASES)))
def test_trackevals_numbers(seed, monkeypatch):
    videos = [random_video(seed, *CASES[seed]), random_video(seed + 50, frames=4)]
    expected = [trackeval_numbers(monkeypatch, *video) for video in videos]
    combined = Jf()
    for video, wanted in zip(videos, expected):
        metric = feed(*video)
        scores = metric.result()
        combined.merge(metric)
        assert scores["objects"] == wanted["num_gt_tracks"]
        for name, theirs in OF_TRACKEVAL.items():
            assert scores[name] == pytest.approx(wanted[theirs], abs=1e-12), name
    weights = [wanted["num_gt_tracks"] for wanted in expected]
    for name, theirs in OF_TRACKEVAL.items():
        mean = np.average([wanted[theirs] for wanted in expected], weights=weights)
        assert combined.result()[name] == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_contours_at_the_edge_of_the_picture(seed):
    rng = np.random.default_rng(seed)
    masks = [rng.random((12, 17)) < 0.7 for _ in range(2)]
    masks[0][: rng.integers(0, 6)] = False
    pair = [Masks.from_dense(mask[None]) for mask in masks]
    assert contour_score(pair[0], 0, pair[1], 0, 1) == pytest.approx(twin.f_score(*masks), abs=1e-12)
    full = Masks.from_dense(np.ones((1, 12, 17), bool))
    assert contour_score(full, 0, full, 0, 1) == 1.0 and contour_score(full, 0, pair[0], 0, 1) == 0.0


def test_an_object_that_nothing_overlaps_has_no_result():
    """TrackEval gives it some result that is left, and with it an F if the contours are near."""
    truth, result = np.zeros((2, 1, 1, 20, 20), bool)
    truth[0, 0, 2:8, 2:8], result[0, 0, 2:8, 8:14] = True, True
    assert twin.f_score(truth[0, 0], result[0, 0]) > 0
    assert feed(truth, result).result()["F_mean"] == 0


def test_perfect_and_nothing():
    truth, _ = random_video(0)
    assert feed(truth, truth).result() == {
        "J&F": 1, "J_mean": 1, "J_recall": 1, "J_decay": 0, "F_mean": 1, "F_recall": 1, "F_decay": 0, "objects": 3,
    }  # fmt: skip
    assert math.isnan(Jf().result()["J&F"]) and Jf().result()["objects"] == 0
    assert math.isnan(feed(truth[:0], truth).result()["J_mean"])


def test_an_id_twice_is_refused():
    masks = Masks.empty(5, 5, 2)
    with pytest.raises(DetectionsError, match="expected an id for each of 2 masks, each once"):
        Jf().update([1, 1], masks, [], Masks.empty(5, 5))
