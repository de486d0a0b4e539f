"""Panoptic networks for video: ways back to the picture before, identity vectors, and what is remembered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.models.graphs import save
from tests.reference import looks as slow
from tracker.cli import main as run_command
from tracker.errors import DetectionsError, ModelError
from tracker.models import open_model
from tracker.models.card import CARD_KEY, ImageInput, ModelCard
from tracker.models.decoding.pooling import Pooled
from tracker.models.geometry import place
from tracker.systems import create
from tracker.types import Frame

SIDE = 64  # network pixels
SOURCE = (128, 96)  # width, height of frames
NAMES = ("road", "person", "car")
CARD = ModelCard(
    "panoptic-video", "panoptic", NAMES, (1, 2), ImageInput("image", (SIDE, SIDE), scale=1.0, resize="stretch"),
    {"semantic": "semantic", "heat": "heat", "offset": "offset", "motion": "motion", "features": "looks"},
    facts={"window": 3, "previous_image": "before"},
)  # fmt: skip
PERSON, CAR = np.s_[4:20, 6:12], np.s_[10:22, 18:30]  # on the maps of 32 x 32


def maps_of_two_objects():
    """A person and a car, each voting for its middle; the person moves by (dy, dx) = (1, -2) of the coarse map."""
    semantic = np.full((3, 32, 32), -4, np.float32)
    semantic[0] = 0
    heat, offset = np.zeros((1, 32, 32), np.float32), np.zeros((2, 32, 32), np.float32)
    motion, looks = np.full((2, 16, 16), 9, np.float32), np.random.default_rng(0).normal(size=(6, 16, 16))
    for c, part, (y, x), way in ((1, PERSON, (12, 9), (1, -2)), (2, CAR, (16, 24), (0, 0.5))):
        semantic[c][part] = 4
        heat[0, y, x] = 0.9 if c == 1 else 0.8
        offset[:] = np.where(semantic[c] > 0, np.array([[[y]], [[x]]]) - np.indices((32, 32)), offset)
        half = tuple(slice(side.start // 2, side.stop // 2) for side in part)
        motion[:, half[0], half[1]] = np.reshape(way, (2, 1, 1))
    return {"semantic": semantic, "heat": heat, "offset": offset, "motion": motion, "looks": looks.astype(np.float32)}


def network(path, card=CARD, **changed):
    """It always gives the same maps, and shows what it was fed."""
    starts = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, SIDE, SIDE)) for name in ("image", "before")
    ]
    nodes = [helper.make_node("Identity", [name], [f"seen_{name}"]) for name in ("image", "before")]
    ends = [
        helper.make_tensor_value_info(f"seen_{name}", TensorProto.FLOAT, (1, 3, SIDE, SIDE))
        for name in ("image", "before")
    ]
    for name, values in {**maps_of_two_objects(), **changed}.items():
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values[None], name)))
        ends.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *values.shape)))
    return save(path, nodes, starts, ends, {CARD_KEY: card.to_json()})


def picture(number):
    return np.full((SOURCE[1], SOURCE[0], 3), number, np.uint8)


@pytest.fixture
def model(tmp_path):
    return open_model(network(tmp_path / "net.onnx"), device="cpu")


def test_ways_and_vectors_of_objects(model):
    seen = model(picture(1))
    assert seen.labels.tolist() == [1, 2]
    assert model.gives == {"masks", "offsets", "embeddings"}
    scale = np.array(SOURCE) / 16
    inner = np.array([[-2, 1], [0.5, 0]]) * scale
    np.testing.assert_allclose(seen.offsets, inner, atol=1e-4)
    placement, features = place(SOURCE, (SIDE, SIDE), "stretch"), maps_of_two_objects()["looks"]
    for row, space in ((0, slice(0, 3)), (1, slice(3, 6))):
        dense = seen.masks.to_dense()[row]
        ys, xs = np.nonzero(dense)
        np.testing.assert_allclose(seen.centres[row], [xs.mean() + 0.5, ys.mean() + 0.5], atol=1e-3)
        whole = slow.pool(features, placement, dense)[space]
        np.testing.assert_allclose(seen.embeddings[row], whole / np.linalg.norm(whole), atol=1e-5)
    assert seen.embeddings.shape == (2, 3)


def test_vectors_over_boxes_take_in_what_is_around(model):
    tensors, placement = model.preprocess(picture(1))
    outputs = model.infer(tensors)
    seen = model.decode(outputs, placement)
    boxed = model.identify(outputs, placement, seen, None)
    for row, space in ((0, slice(0, 3)), (1, slice(3, 6))):
        x1, y1, x2, y2 = seen.boxes[row].astype(int)
        inside = np.zeros(SOURCE[::-1], bool)
        inside[y1:y2, x1:x2] = True
        whole = slow.pool(maps_of_two_objects()["looks"], placement, inside)[space]
        np.testing.assert_allclose(boxed[row], whole / np.linalg.norm(whole), atol=1e-5)
    assert np.abs(boxed - seen.embeddings).max() > 1e-3
    with pytest.raises(DetectionsError, match="finite features"):
        model.identify({**outputs, "looks": outputs["looks"] * np.nan}, placement, seen, None)


def test_the_picture_before_is_remembered_stream_by_stream(model):
    first, second = model.for_stream(), model.for_stream()

    def fed(eye, number):
        outputs = eye.infer(eye.preprocess(picture(number)).tensors)
        return [int(outputs[name][0, 0, 0, 0]) for name in ("seen_image", "seen_before")]

    assert fed(first, 3) == [3, 3]
    assert fed(first, 4) == [4, 3]
    assert fed(second, 9) == [9, 9]
    assert fed(first, 5) == [5, 4]
    first.reset()
    assert fed(first, 6) == [6, 6]
    assert fed(model, 7) == [7, 7], "nothing of the warm-up is left"


def test_no_object(tmp_path):
    nobody = np.zeros((1, 32, 32), np.float32)
    seen = open_model(network(tmp_path / "net.onnx", heat=nobody), device="cpu")(picture(1))
    assert len(seen) == 0
    assert seen.offsets.shape == (0, 2)
    assert seen.embeddings.shape == (0, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"motion": np.zeros((3, 16, 16), np.float32)}, "2 motion channels"),
        ({"looks": np.zeros((5, 16, 16), np.float32)}, "as many features for each of 2 things"),
        ({"card": replace(CARD, facts={"previous_image": "gone"})}, "inputs image and gone"),
        ({"card": replace(CARD, thing_ids=())}, "each of 0 things"),
        ({"card": replace(CARD, outputs={**CARD.outputs, "motion": "none"})}, "'none'"),
    ],
)
def test_misfits_are_refused(tmp_path, changed, message):
    with pytest.raises(ModelError, match=message):
        open_model(network(tmp_path / "net.onnx", **changed), device="cpu")


@pytest.mark.parametrize("system", ["step-b1", "step-b2", "motion-deeplab", "motsnet", "bytetrack"])
def test_one_graph_feeds_every_system(model, system):
    tracker = create(system, class_names=NAMES)
    assert tracker.plan.needs <= model.gives
    eye = model.for_stream()
    for index in range(6):
        frame = Frame(index, index / 30, picture(index))
        tracks = tracker.update(replace(eye(frame), offsets=np.zeros((2, 2), np.float32)), frame)
    assert sorted(tracks.confirmed.ids.tolist()) == [1, 2]
    assert sorted(tracks.confirmed.labels.tolist()) == [1, 2]


@pytest.mark.parametrize("system", ["motion-deeplab", "motsnet"])
def test_a_run_from_the_command_line(tmp_path, system, capsys):
    path = network(tmp_path / "net.onnx")
    words = ["run", "synth:street?frames=5&size=128x96", "--model", str(path), "--device", "cpu", "--tracker", system]
    assert run_command([*words, "--save", "mots", "--set", "max_coast_frames=5", "-o", str(tmp_path), "--quiet"]) == 0
    rows = (tmp_path / "masks.txt").read_text().splitlines()
    assert len(rows) == 10, "two objects in five frames"


def test_features_are_there_for_pooling_too(model):
    boxed = Pooled(model, "box-pooling")(picture(1))
    assert boxed.embeddings.shape == (2, 6)
    assert boxed.offsets is not None
