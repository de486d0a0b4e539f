"""RF-DETR's contract, planted into graphs: known boxes and masks come back in source pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models import graphs
from tests.models.graphs import centred
from tests.reference import models as slow
from tracker.errors import ConfigError, DetectionsError, ModelError
from tracker.models import ModelCard, open_model, write_card
from tracker.models.coco import COCO_CLASSES

SIDE = 96
QUERIES = 12
ASPECTS = [(192, 96), (90, 200), (96, 96)]
BOXES = np.array([[0.125, 0.25, 0.5, 0.75], [0.5, 0.0, 1.0, 0.5], [0.0, 0.75, 0.25, 1.0]])  # shares of the picture
PEOPLE = {1: "person", 3: "car", 90: "toothbrush"}
AT = (4, 0, 9)  # queries of the three objects
LOGITS = (2.0, 1.0, -0.5)
CELLS = SIDE // 4


def outputs(queries: int = QUERIES, columns: int = 91) -> dict[str, np.ndarray]:
    """One object per place of `BOXES`: a person, a car, a toothbrush; its mask fills its box."""
    dets = np.zeros((1, queries, 4), np.float32)
    labels = np.full((1, queries, columns), -9, np.float32)
    masks = np.full((1, queries, CELLS, CELLS), -4, np.float32)
    for at, box, row, identity, logit in zip(AT, BOXES, centred(BOXES), PEOPLE, LOGITS, strict=True):
        dets[0, at] = row
        labels[0, at, min(identity, columns - 1)] = logit
        x0, y0, x1, y1 = (box * CELLS).astype(int)
        masks[0, at, y0:y1, x0:x1] = 4
    return {"dets": dets, "labels": labels, "masks": masks}


def planted(folder: Path, values: dict[str, np.ndarray]) -> Path:
    return graphs.planted(folder / "net.onnx", values, image=(1, 3, SIDE, SIDE))


def find(folder: Path, values: dict[str, np.ndarray], source: tuple[int, int] = (96, 96), **settings: Any) -> Any:
    model = open_model(planted(folder, values), "rfdetr", warmup=False, **settings)
    return model(np.zeros((source[1], source[0], 3), np.uint8))


@pytest.mark.parametrize("source", ASPECTS)
def test_planted_objects_come_back_in_source_pixels(tmp_path: Path, source: tuple[int, int]) -> None:
    found = find(tmp_path, outputs(), source)
    assert [COCO_CLASSES[label] for label in found.labels] == list(PEOPLE.values())
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-np.array(LOGITS))), rtol=1e-6)
    np.testing.assert_allclose(found.boxes, BOXES * (source * 2), atol=1e-3)
    width, height = source
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height)[:, None] + 0.5) / height
    for mask, (x0, y0, x1, y1) in zip(found.masks.to_dense(), BOXES, strict=True):
        # 4 inside and -4 outside cross zero halfway between cells: a mask's edge is its box's, but for its corners
        wanted = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        corner = np.zeros_like(wanted)
        for cx, cy in ((x0, y0), (x1, y0), (x0, y1), (x1, y1)):
            corner |= (np.abs(x - cx) < 1 / CELLS) & (np.abs(y - cy) < 1 / CELLS)
        np.testing.assert_array_equal(mask & ~corner, wanted & ~corner)
        assert mask.sum() > 0.9 * wanted.sum()


@pytest.mark.parametrize("source", [(150, 80), (20, 30), (1, 40)])
def test_masks_equal_the_slow_twin_beyond_their_boxes_too(tmp_path: Path, source: tuple[int, int]) -> None:
    values, rng = outputs(), np.random.default_rng(source[0])
    values["masks"] = rng.normal(-0.5, 1, values["masks"].shape).astype(np.float32)
    values["masks"][0, AT[1], :, :15] = -1  # reaches neither the left nor the upper border
    values["masks"][0, AT[1], :9] = -1
    values["masks"][0, AT[2]] = -1  # nothing at all
    model = open_model(planted(tmp_path, values), "rfdetr", warmup=False)
    tensors, placement = model.preprocess(np.zeros((source[1], source[0], 3), np.uint8))
    found = model.decode(model.infer(tensors), placement)
    for at, mask in zip(AT, found.masks.to_dense(), strict=True):
        twin = slow.prototype_values([1], values["masks"][0, at : at + 1], placement)
        doubtful = np.abs(twin) < 1e-4
        np.testing.assert_array_equal(mask & ~doubtful, (twin > 0) & ~doubtful)
    assert found.masks.areas[2] == 0 and found.masks.nbytes < 40 * source[0] * source[1] + 200


@pytest.mark.parametrize("limit", [5, 40])
def test_pairs_are_ranked_as_by_top_k(tmp_path: Path, limit: int) -> None:
    """With `multi_label` the highest scores of all query-class pairs; else each query's first of these."""
    values, rng = outputs(), np.random.default_rng(3)
    values["labels"] = rng.normal(0, 2, values["labels"].shape).astype(np.float32)
    values["dets"][:] = 0.5
    identities = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    scores = 1 / (1 + np.exp(-values["labels"][0][:, identities].astype(float)))
    pairs = sorted((-scores[q, c], q, c) for q in range(QUERIES) for c in range(80))
    every = find(tmp_path, values, max_detections=limit, min_score=0.0, multi_label=True)
    assert every.labels.tolist() == [c for _, _, c in pairs[:limit]]
    np.testing.assert_allclose(every.scores, [-s for s, _, _ in pairs[:limit]], rtol=1e-5)
    best = {q: (s, c) for s, q, c in reversed(pairs)}
    wanted = [(c, -s) for s, c in sorted(best.values())][:limit]
    found = find(tmp_path, values, max_detections=limit, min_score=0.0)
    assert found.labels.tolist() == [c for c, _ in wanted]
    np.testing.assert_allclose(found.scores, [s for _, s in wanted], rtol=1e-5)


def test_the_input_is_a_stretched_normalised_rgb_picture(tmp_path: Path) -> None:
    model = open_model(planted(tmp_path, outputs()), "rfdetr", warmup=False)
    image = np.zeros((50, 120, 3), np.uint8)
    image[:] = 10, 20, 30  # BGR
    tensor = model.preprocess(image).tensors["images"]
    assert tensor.shape == (1, 3, SIDE, SIDE)
    wanted = (np.array([30, 20, 10]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(tensor[0], np.broadcast_to(wanted[:, None, None], (3, SIDE, SIDE)), rtol=1e-5)


def test_a_detector_has_no_masks(tmp_path: Path) -> None:
    values = outputs()
    del values["masks"]
    assert open_model(planted(tmp_path, values), "rfdetr", warmup=False).card.task == "detect"
    found = find(tmp_path, values)
    assert found.masks is None and len(found) == 3


def test_classes_are_chosen_by_name(tmp_path: Path) -> None:
    found = find(tmp_path, outputs(), classes=["toothbrush", "car"])
    assert found.labels.tolist() == [2, 79] and len(found.masks) == 2
    assert len(find(tmp_path, outputs(), classes=["zebra"])) == 0
    with pytest.raises(ConfigError, match="expected a class of person"):
        find(tmp_path, outputs(), classes=["unicorn"])


def test_a_column_that_is_no_class_is_never_reported(tmp_path: Path) -> None:
    values = outputs()
    values["labels"][0, :, [0, 12, 83]] = 9
    assert find(tmp_path, values).labels.tolist() == [0, 2, 79]


def test_a_frame_without_objects(tmp_path: Path) -> None:
    values = outputs()
    values["labels"][:] = -200  # exp(200) is infinite in float32
    found = find(tmp_path, values, source=(64, 48))
    assert len(found) == len(found.masks) == 0 and (found.masks.height, found.masks.width) == (48, 64)


def test_boxes_outside_the_frame_go_with_their_masks(tmp_path: Path) -> None:
    values = outputs()
    values["dets"][0, AT[0]] = [1.5, 0.5, 0.2, 0.2]
    found = find(tmp_path, values)
    assert found.labels.tolist() == [2, 79] and len(found.masks) == 2
    np.testing.assert_allclose(found.masks.boxes[0], BOXES[1] * 96, atol=1)


@pytest.mark.parametrize("where", ["dets", "labels", "masks"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_an_error(tmp_path: Path, where: str, bad: float) -> None:
    values = outputs()
    values[where][0, AT[0], ..., 1] = bad
    if where == "labels" and bad == np.inf:
        assert find(tmp_path, values).scores[0] == 1  # a sigmoid takes it
        return
    with pytest.raises(DetectionsError, match="expected finite"):
        find(tmp_path, values)


def test_graphs_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"needs logits of at least 91 columns, got labels \[1, 12, 80\]"):
        find(tmp_path, outputs(columns=80))
    wrong = outputs() | {"dets": np.zeros((1, QUERIES, 5), np.float32)}
    with pytest.raises(ModelError, match=r"needs boxes \[1, queries, 4\], got dets"):
        find(tmp_path, wrong)
    with pytest.raises(ModelError, match="needs an output 'dets' of 3 dimensions"):
        find(tmp_path, {"boxes": outputs()["dets"], "labels": outputs()["labels"]})


def test_own_classes_need_a_card(tmp_path: Path) -> None:
    path = planted(tmp_path, outputs(columns=4))
    names = {"boxes": "dets", "logits": "labels", "masks": "masks"}
    write_card(path, ModelCard("rfdetr", "segment", ("bolt", "nut"), outputs=names, facts={"class_ids": [1, 3]}))
    found = open_model(path, warmup=False)(np.zeros((96, 96, 3), np.uint8))
    assert found.labels.tolist() == [0, 1, 1]
    write_card(path, ModelCard("rfdetr", "segment", ("bolt",), outputs=names, facts={"class_ids": [1, 3]}))
    with pytest.raises(ModelError, match="one column of logits per class name, got 2 for 1 names"):
        open_model(path)
