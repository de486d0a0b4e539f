"""Exchange with supervision, by duck typing; with the real package where it is installed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.test_types import snapshot
from tracker import interop
from tracker.errors import DetectionsError


def test_from_supervision_keeps_masks_scores_and_classes() -> None:
    dense = np.zeros((1, 10, 12), bool)
    dense[0, 2:4, 3:7] = True
    given = SimpleNamespace(
        xyxy=np.array([[3, 2, 7, 4]]), confidence=np.array([0.5]), class_id=np.array([2]), mask=dense
    )
    detections = interop.from_supervision(given)
    assert detections.labels.tolist() == [2] and detections.scores.tolist() == [0.5]
    assert detections.masks is not None and (detections.masks.to_dense() == dense).all()
    bare = SimpleNamespace(xyxy=np.array([[3, 2, 7, 4]]), confidence=None, class_id=None, mask=None)
    assert interop.from_supervision(bare).scores.tolist() == [1.0]
    with pytest.raises(DetectionsError, match=r"expected an object like supervision\.Detections"):
        interop.from_supervision([1, 2])


def test_to_supervision_keeps_ids_and_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    given = interop.to_supervision(snapshot().confirmed)
    assert given.tracker_id.tolist() == [3, 4]
    assert given.mask.shape == (2, 10, 10) and given.mask.sum() == 8


def test_round_trip_through_the_real_package() -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    tracks = snapshot().confirmed
    back = interop.from_supervision(interop.to_supervision(tracks))
    assert (back.boxes == tracks.boxes).all() and back.masks is not None and (back.masks.areas == 4).all()
