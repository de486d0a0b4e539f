"""`python -m bench fast` on toy graphs and toy scenes, where it is known who can follow whom."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from bench import fast
from bench.result import BenchError
from tests.models.siammot_set import SIZE, STEP, picture, write_set
from tracker.sources.street import STREET_CLASSES, Scene
from tracker.types import Detections

CLASSES = ("person", "car")
PLACES = {"red": [4, 10, 24, 40], "blue": [20, 44, 50, 60]}  # of a person and a car in the first scene
FRAMES = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    proposals = [[x1, y1, x2 - 1, y2 - 1] for x1, y1, x2, y2 in PLACES.values()]
    return write_set(tmp_path_factory.mktemp("fast") / "emm", proposals, classes=CLASSES)


def scenes() -> list[Scene]:
    """Both go to the right, by what the toy's motion graph says; its detector sees them in the first scenes only."""
    out = []
    for k in range(FRAMES):
        boxes = {name: [x1 + STEP * k, y1, x2 + STEP * k, y2] for name, (x1, y1, x2, y2) in PLACES.items()}
        ids, classes = np.zeros(SIZE[::-1], np.int32), np.zeros(SIZE[::-1], np.uint8)
        labels = np.array([STREET_CLASSES.index(name) for name in CLASSES], np.int32)
        for i, (x1, y1, x2, y2) in enumerate(boxes.values()):
            ids[y1:y2, x1:x2], classes[y1:y2, x1:x2] = i + 1, labels[i]
        image = picture({name: [box] for name, box in boxes.items()})
        truth = np.array(list(boxes.values()), np.float32)
        out.append(Scene(k, k / 5, image, ids, classes, np.array([1, 2]), labels, truth, np.ones(2, np.float32)))
    return out


def figures(folder: Path, *names: str) -> dict[str, dict[str, float]]:
    models = [fast.open_set(folder, "cpu")]
    entries = [fast.Entry(fast.Contender(name, name), models, 0.8, 0.4) for name in names]
    moves = fast.judge(scenes(), 5.0, models, entries)
    assert len(moves) == 2 * (FRAMES - 1)
    np.testing.assert_allclose(np.unique(moves), [STEP / 30, STEP / 20], rtol=1e-6)
    return {entry.contender.name: entry.row("toy", 1, FRAMES)["figures"] for entry in entries}


def test_who_can_follow_is_told_from_who_cannot(folder: Path) -> None:
    found = figures(folder, "siammot-emm", "siammot-tracktor", "siammot-flow", "bytetrack")
    assert found["siammot-emm"] == {
        "MOTA": 100.0, "IDF1": 100.0, "HOTA": 100.0, "AssA": 100.0, "IDSW": 0, "FP": 0, "FN": 0,
    }  # fmt: skip
    last = found["siammot-tracktor"]
    assert 10 < last["FN"] < 2 * FRAMES and last["IDF1"] < 70 and found["bytetrack"]["IDF1"] < 80
    assert found["siammot-flow"]["IDF1"] > 95, "this box head corrects nothing, so flow must be right"


def test_rows_without_their_head_are_named(folder: Path) -> None:
    models = [fast.open_set(folder, "cpu")]
    missing = [each.name for each in fast.CONTENDERS if fast.find_model(each, models) is None]
    assert missing == ["siammot-imm", "siammot-imm, moving"]


def test_models_of_one_checkpoint_see_through_one_trunk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [fast.open_set(folder, "cpu") for _ in range(2)]
    calls: list[int] = []
    for model in models:
        infer = model.infer
        monkeypatch.setattr(model, "infer", lambda tensors, infer=infer: (calls.append(1), infer(tensors))[1])
    views = list(fast.watch(scenes()[:3], models))
    assert len(calls) == 3 and all(len(each) == 1 for each in views)


def test_steps_are_those_of_one_object() -> None:
    def truth(rows: dict[int, list[float]]) -> fast.Truth:
        return Detections(np.array(list(rows.values())), np.ones(len(rows))), np.array(list(rows))

    first = truth({3: [0, 0, 10, 20], 5: [50, 0, 60, 20], 9: [80, 0, 90, 20]})
    second = truth({5: [50.5, 0, 60.5, 20], 3: [3, 4, 13, 24], 7: [0, 0, 5, 5]})
    assert fast.steps([first, second]).tolist() == [0.5]
    assert len(fast.steps([first])) == 0 and fast.describe(np.zeros(0)) == "nothing moved"


def test_other_networks_are_refused(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    fast.add_arguments(parser)
    toy = write_set(tmp_path / "toy", [[10, 10, 29, 39]])
    for words, message in (
        (["--model", "street"], "expected a SiamMOT that knows person and car, got street"),
        (["--model", str(toy)], "expected a SiamMOT that knows person and car"),
    ):
        with pytest.raises(BenchError, match=message):
            fast.execute(parser.parse_args(words))
