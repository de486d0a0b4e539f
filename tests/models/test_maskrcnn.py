"""Planted outputs come back as detections; masks are pasted as torchvision pastes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.models import graphs
from tests.reference import maskrcnn as slow
from tracker.errors import DetectionsError, ModelError
from tracker.models import ImageInput, ModelCard, open_model, write_card
from tracker.models.decoding.pasting import paste_masks
from tracker.types import Panoptic

SIZE = (96, 64)
BOXES = np.array([[10, 8, 40, 40], [30, 20, 90, 60], [12, 8, 42, 40], [0, 0, 5, 5]], np.float32)
CARD = ModelCard(
    "maskrcnn", "segment", ("person", "car"),
    image=ImageInput("image", SIZE, resize="letterbox-corner", std=(0.5, 0.5, 0.5)),
    outputs={key: key for key in ("boxes", "scores", "labels", "masks", "proposals")}, facts={"class_ids": [1, 3]},
)  # fmt: skip


def outputs(count: int = 4) -> dict[str, np.ndarray]:
    """A person, a car, the person's region as a car, and padding."""
    masks = np.zeros((4, 28, 28), np.float32)
    masks[:, 7:21, 7:21] = 1
    return {
        "boxes": BOXES[:count], "scores": np.array([0.9, 0.8, 0.7, 0], np.float32)[:count],
        "labels": np.array([1, 3, 3, 1])[:count], "masks": masks[:count], "proposals": np.array([5, 2, 5, 0])[:count],
    }  # fmt: skip


def planted(folder: Path, values: dict[str, np.ndarray], card: ModelCard = CARD) -> Path:
    """A graph with the family's two inputs that always gives these outputs."""
    path = folder / "net.onnx"
    nodes = [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(v, n)) for n, v in values.items()]
    starts = [
        helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, SIZE[1], SIZE[0])),
        helper.make_tensor_value_info("extent", onnx.TensorProto.FLOAT, (2,)),
    ]
    ends = [helper.make_tensor_value_info(n, graphs.TYPES[v.dtype], v.shape) for n, v in values.items()]
    graphs.save(path, nodes, starts, ends)
    write_card(path, card)
    return path


def find(folder: Path, values: dict[str, np.ndarray], source: tuple[int, int] = SIZE, **settings: Any) -> Any:
    card = settings.pop("card", CARD)
    model = open_model(planted(folder, values, card), device="cpu", warmup=False, **settings)
    return model(np.zeros((source[1], source[0], 3), np.uint8))


@pytest.mark.parametrize("source", [SIZE, (192, 128), (96, 32), (60, 128)])
def test_planted_objects_come_back_in_source_pixels(tmp_path: Path, source: tuple[int, int]) -> None:
    found = find(tmp_path, outputs(), source)
    ratio = min(SIZE[0] / source[0], SIZE[1] / source[1])
    wanted = np.clip(BOXES[:2] / ratio, 0, source * 2)
    inside = (wanted[:, 2:] > wanted[:, :2]).all(1)
    np.testing.assert_allclose(found.boxes, wanted[inside], rtol=1e-6)
    assert found.labels.tolist() == np.array([0, 1])[inside].tolist()
    for mask, box in zip(found.masks.to_dense(), found.boxes, strict=True):
        np.testing.assert_array_equal(mask, slow.paste_values(outputs()["masks"][0], box, *source[::-1]) > 0.5)


def test_a_region_gives_its_best_class_only_unless_asked(tmp_path: Path) -> None:
    assert find(tmp_path, outputs()).labels.tolist() == [0, 1]
    assert find(tmp_path, outputs(), multi_label=True).labels.tolist() == [0, 1, 1]
    assert find(tmp_path, outputs(), classes=["car"]).scores.tolist() == pytest.approx([0.8, 0.7])
    assert find(tmp_path, outputs(), min_score=0.75).labels.tolist() == [0, 1]
    assert find(tmp_path, outputs(), max_detections=1).labels.tolist() == [0]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_nothing_and_padding(tmp_path: Path, count: int) -> None:
    values = outputs(count)
    assert len(find(tmp_path, values)) == min(count, 2)
    values["scores"] = np.zeros_like(values["scores"])
    found = find(tmp_path, values, min_score=0.0)
    assert len(found) == len(found.masks) == 0 and (found.masks.height, found.masks.width) == (64, 96)


def test_labels_that_are_no_class_are_dropped(tmp_path: Path) -> None:
    values = outputs()
    values["labels"] = np.array([2, 3, 99, 0])
    assert find(tmp_path, values, multi_label=True).scores.tolist() == pytest.approx([0.8])


def test_the_border_is_zero_and_the_extent_is_told(tmp_path: Path) -> None:
    model = open_model(planted(tmp_path, outputs()), device="cpu", warmup=False)
    tensors, placement = model.preprocess(np.full((128, 96, 3), 255, np.uint8))
    assert placement.inside == (48, 64)
    assert tensors["extent"].tolist() == [48, 64] and tensors["extent"].dtype == np.float32
    assert (tensors["image"][:, :, :, :48] == 2).all() and not tensors["image"][:, :, :, 48:].any()


def test_embeddings_go_with_their_rows(tmp_path: Path) -> None:
    values = outputs() | {"embeddings": np.arange(12, dtype=np.float32).reshape(4, 3)}
    card = replace(CARD, outputs={**CARD.outputs, "embeddings": "embeddings"})
    assert find(tmp_path, values).embeddings is None  # the card does not tell
    assert find(tmp_path, values, card=card, classes=["car"]).embeddings.tolist() == [[3, 4, 5], [6, 7, 8]]
    values["embeddings"][1] = np.nan
    with pytest.raises(DetectionsError, match="finite embeddings"):
        find(tmp_path, values, card=card)


def test_semantic_maps_become_the_picture(tmp_path: Path) -> None:
    names = ("road", "sky", "person", "car")
    logits = np.zeros((1, 4, 16, 24), np.float32)
    logits[0, 0] = 1
    logits[0, 1, :4] = 2  # sky above
    logits[0, 3, :, 20:] = 3  # a car that no instance covers, at the right
    values = outputs() | {"semantic": logits}
    values["boxes"] = BOXES.copy()
    values["boxes"][2] = BOXES[0] + 1  # hidden by the person
    card = replace(
        CARD, task="panoptic", class_names=names, thing_ids=(2, 3), outputs={**CARD.outputs, "semantic": "semantic"}
    )
    found = find(tmp_path, values, card=card, multi_label=True)
    assert found.labels.tolist() == [2, 3, 3]
    rows, classes = found.panoptic.rows, found.panoptic.classes
    masks = found.masks.to_dense()
    np.testing.assert_array_equal(rows == 1, masks[0])
    np.testing.assert_array_equal(rows == 2, masks[1] & ~masks[0])
    assert not (rows == 3).any() and masks[2].any()
    for row in (1, 2):
        assert set(classes[rows == row]) == {found.labels[row - 1]}
    assert classes[0, 0] == 1 and classes[60, 0] == 0 and classes[2, 95] == Panoptic.VOID
    with pytest.raises(ModelError, match="4 class names and thing ids"):
        find(tmp_path, values, card=replace(card, class_names=names[:3], thing_ids=(0, 2)))


@pytest.mark.parametrize("where", ["boxes", "scores", "masks"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_an_error(tmp_path: Path, where: str, bad: float) -> None:
    values = {key: value.copy() for key, value in outputs().items()}
    values[where][0, ...] = bad
    with pytest.raises(DetectionsError, match="finite"):
        find(tmp_path, values)


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="an input 'extent'"):
        path = graphs.planted(tmp_path / "other.onnx", outputs(), image=(1, 3, 64, 96))
        write_card(path, replace(CARD, image=ImageInput("images", SIZE)))
        open_model(path, device="cpu")
    with pytest.raises(ModelError, match="names its output of masks"):
        find(tmp_path, outputs(), card=replace(CARD, outputs={k: k for k in ("boxes", "scores", "labels")}))
    with pytest.raises(ModelError, match=r"a label \(class_ids\) for each class name, got 1 for 2"):
        find(tmp_path, outputs(), card=replace(CARD, facts={"class_ids": [1]}))
    with pytest.raises(ModelError, match="an output 'masks' of 3 dimensions"):
        find(tmp_path, outputs() | {"masks": np.zeros((4, 1, 28, 28), np.float32)})


# ------------------------------------------------------------------ pasting
@pytest.mark.parametrize("seed", range(3))
def test_pasting_equals_the_slow_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    side = (14, 28, 5)[seed]
    near = rng.uniform(-5, (90, 60), (12, 2))
    boxes = np.concatenate([near, near + rng.exponential(25, (12, 2))], 1).astype(np.float32)
    boxes[0] = [3, 4, 3.2, 4.1]  # hardly a pixel
    boxes[1] = [0, 0, 100, 70]
    maps = rng.random((12, side, side)).astype(np.float32)
    masks = paste_masks(maps, boxes, 70, 100).to_dense()
    for small, box, mask in zip(maps, boxes, masks, strict=True):
        values = slow.paste_values(small, box, 70, 100)
        sure = np.abs(values - 0.5) > 1e-5
        np.testing.assert_array_equal(mask[sure], values[sure] > 0.5)
    none = paste_masks(maps[:0], boxes[:0], 70, 100)
    assert (len(none), none.height, none.width) == (0, 70, 100)


def test_pasting_equals_torchvision(golden: Path) -> None:
    data = np.load(golden / "maskrcnn" / "pasted.npz")
    masks = paste_masks(data["maps"], data["boxes"], *data["size"].tolist()).to_dense()
    wanted = np.unpackbits(data["bits"], axis=1)[:, : masks[0].size].reshape(masks.shape).astype(bool)
    assert (masks != wanted).sum() == 0
