"""IDF1 against its slow twin, and at the edges."""

from __future__ import annotations

import pytest

from tests.evaluation import scenes
from tests.reference import evaluation as reference
from tracker.evaluation import Identity, Objects, Overlaps, compare_boxes


def identity(*parts: Overlaps) -> Identity:
    metric = Identity()
    for part in parts:
        metric.update(part)
    return metric


@pytest.mark.parametrize("seed", range(30))
def test_counts_equal_the_slow_twin(seed: int) -> None:
    overlaps = scenes.overlaps(seed, crowd=30.0 if seed % 2 else 120.0)
    expected = reference.identity(reference.frames_of(overlaps))
    scores = identity(overlaps).result()
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_frame_by_frame_is_the_same(seed: int) -> None:
    truth, boxes, results, others = scenes.tracks(seed)
    metric = Identity()
    for t in range(len(truth.starts) - 1):
        a, b = truth.starts[t : t + 2]
        c, d = results.starts[t : t + 2]
        metric.update(
            compare_boxes(
                Objects.one_frame(truth.ids[a:b]), boxes[a:b], Objects.one_frame(results.ids[c:d]), others[c:d]
            )
        )
    assert metric.result() == identity(scenes.overlaps(seed)).result()


@pytest.mark.parametrize(("truth", "results"), [(0, 0), (2, 0), (0, 2), (2, 2)])
def test_nothing_to_match(truth: int, results: int) -> None:
    scores = identity(scenes.one_sided(3, truth, results)).result()
    assert scores == {"IDF1": 0, "IDR": 0, "IDP": 0, "IDTP": 0, "IDFN": 3 * truth, "IDFP": 3 * results}


def test_sequences_add_their_counts() -> None:
    parts = [identity(scenes.overlaps(seed)) for seed in range(3)]
    combined = Identity()
    for part in parts:
        combined.merge(part)
    for name in ("IDTP", "IDFN", "IDFP"):
        assert combined.result()[name] == sum(part.result()[name] for part in parts)
