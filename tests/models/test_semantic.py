import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.models.graphs import planted, ultralytics, v8_head
from tracker.cli import main as run_command
from tracker.errors import ConfigError, DetectionsError, ModelError
from tracker.masks import Masks
from tracker.models import open_model
from tracker.models.card import CARD_KEY, ImageInput, ModelCard
from tracker.models.decoding.semantics import merge_instances
from tracker.models.model import Model, ModelConfig
from tracker.models.semantic import Merged
from tracker.types import Detections, Panoptic

NAMES = ("road", "sky", "person")


def network(path, classes, card=None):
    """A semantic network that always sees these classes, at a quarter of its 128 x 128 input."""
    logits = (np.arange(len(NAMES))[:, None, None] == np.asarray(classes)).astype(np.float32) * 5
    card = card or ModelCard("semantic", "semantic", NAMES, (2,), ImageInput(resize="stretch"))
    return planted(path, {"logits": logits[None]}, metadata={CARD_KEY: card.to_json()})


def halves():
    classes = np.zeros((32, 32), int)
    classes[:16] = 1
    classes[:, 28:] = 2
    return classes


class Segmenter(Model):
    """Two overlapping objects, the first the better one, on the session of any network."""

    family, tasks = "test", ("segment",)

    def __init__(self, base, names=("person", "car")):
        card = replace(base.card, family="test", task="segment", class_names=names, thing_ids=None)
        super().__init__(base.session, card, ModelConfig())

    def decode(self, outputs, placement):
        width, height = placement.source
        masks = np.zeros((3, height, width), bool)
        masks[0, 2:10, 2:10], masks[1, 2:10, 8:20], masks[2, 3:11, 3:9] = True, True, True
        packed = Masks.from_dense(masks)
        return Detections(packed.boxes, [0.9, 0.8, 0.7], [0, 1, 1], packed)


@pytest.fixture
def stuff(tmp_path):
    return open_model(network(tmp_path / "stuff.onnx", halves()), device="cpu", threads=1)


# ---------------------------------------------------------------------- a semantic network alone
def test_every_pixel_has_a_class_and_nothing_is_an_object(stuff):
    found = stuff(np.zeros((64, 64, 3), np.uint8))
    assert len(found) == len(found.masks) == 0
    np.testing.assert_array_equal(found.panoptic.classes, np.kron(halves(), np.ones((2, 2))))


def test_rows_last(tmp_path):
    card = ModelCard("semantic", "semantic", NAMES, None, ImageInput(layout="nhwc", resize="stretch"))
    logits = np.moveaxis((np.arange(3)[:, None, None] == halves()).astype(np.float32), 0, -1)[None]
    path = planted(tmp_path / "a.onnx", {"x": logits}, image=(1, 128, 128, 3), metadata={CARD_KEY: card.to_json()})
    assert (
        open_model(path, device="cpu")(np.zeros((32, 32, 3), np.uint8)).panoptic.classes.tolist() == halves().tolist()
    )


def test_broken_numbers(stuff):
    placement = stuff.preprocess(np.zeros((32, 32, 3), np.uint8)).placement
    with pytest.raises(DetectionsError, match="'logits'"):
        stuff.decode({"logits": np.full((1, 3, 32, 32), np.nan, np.float32)}, placement)


def test_a_name_for_each_class(tmp_path):
    card = ModelCard("semantic", "semantic", NAMES[:2], None)
    with pytest.raises(ModelError, match="each of its 3 classes"):
        open_model(network(tmp_path / "a.onnx", halves(), card), device="cpu")


def test_deeplab_v3_of_voc(shared):
    """A published file that says nothing about itself; the picture is one of OpenCV's pedestrians."""
    model = open_model(shared / "data" / "models" / "deeplabv3_voc_257.onnx", "semantic", device="cpu", threads=1)
    video = cv2.VideoCapture(str(next((shared / "data").rglob("vtest.avi"))))
    _, image = video.read()
    video.release()
    picture = model(image).panoptic
    assert picture.classes.shape == image.shape[:2]
    seen = {model.card.class_names[label] for label in np.unique(picture.classes)}
    assert "background" in seen
    assert len(seen) <= 6


# ---------------------------------------------------------------------- the rule
def test_objects_over_stuff(stuff):
    model = Merged(Segmenter(stuff), stuff)
    assert model.card.class_names == ("person", "car", "road", "sky")
    assert model.card.thing_ids == (0, 1)
    found = model(np.zeros((32, 32, 3), np.uint8))
    wanted, rows = np.where(halves() == 1, 3, 2), np.zeros((32, 32), int)
    wanted[:, 28:] = Panoptic.VOID  # a person to the semantic network, and no object
    wanted[2:10, 8:20], rows[2:10, 8:20] = 1, 2
    wanted[2:10, 2:10], rows[2:10, 2:10] = 0, 1
    np.testing.assert_array_equal(found.panoptic.classes, wanted)
    np.testing.assert_array_equal(found.panoptic.rows, rows)  # the third is covered by more than half


def test_what_remembers_is_forked_for_each_stream(stuff, monkeypatch):
    plain = Merged(Segmenter(stuff), stuff)
    assert not plain.remembers and plain.for_stream() is plain
    monkeypatch.setattr(type(stuff), "remembers", True)
    model = Merged(Segmenter(stuff), stuff)
    first, second = model.for_stream(), model.for_stream()
    assert len({id(each._stuff) for each in (model, first, second)}) == 3
    assert first._stuff.session is stuff.session


def test_nothing_to_lay_over():
    picture = Panoptic(np.ones((4, 5), np.uint8), np.zeros((4, 5), np.int32))
    none = replace(Detections.empty(), masks=Masks.empty(4, 5, 0))
    merged = merge_instances(none, picture)
    np.testing.assert_array_equal(merged.classes, picture.classes)
    assert merged.classes is not picture.classes


def test_what_cannot_be_merged(stuff):
    with pytest.raises(ConfigError, match="masks of a segmenter, got a model that gives semantic"):
        Merged(stuff, stuff)
    with pytest.raises(ConfigError, match="semantic or panoptic network"):
        Merged(Segmenter(stuff), Segmenter(stuff))
    with pytest.raises(ConfigError, match="at most 255"):
        Merged(Segmenter(stuff, tuple(map(str, range(254)))), stuff)


# ---------------------------------------------------------------------- on the command line
def test_run_saves_both(tmp_path):
    """A YOLO segmenter that sees one object, over a semantic network."""
    boxes, weights = np.array([[32, 32, 64, 64]]), np.zeros((1, 32))
    weights[0, 0] = 1
    prototypes = np.zeros((1, 32, 32, 32), np.float32)
    prototypes[:, 0] = 5
    head = v8_head(boxes, np.array([[0.9]]), weights)
    names = ultralytics(["person"], "segment")
    segmenter = planted(tmp_path / "yolo.onnx", {"head": head, "prototypes": prototypes}, metadata=names)
    behind = network(tmp_path / "behind.onnx", halves())
    (tmp_path / "frames").mkdir()
    for k in range(2):
        cv2.imwrite(str(tmp_path / "frames" / f"{k:06d}.png"), np.zeros((128, 128, 3), np.uint8))
    words = ["run", tmp_path / "frames", "--model", segmenter, "--stuff", behind, "--tracker", "step-b1"]
    words += ["-o", tmp_path, "--save", "kitti-step", "--quiet", "--device", "cpu"]
    assert run_command([str(word) for word in words]) == 0
    picture = cv2.imread(str(tmp_path / "kitti_step" / "000001.png")).transpose(2, 0, 1)
    assert picture[2, 100, 10] == 0  # road
    assert picture[2, 5, 10] == 10  # sky
    assert picture[:, 50, 50].tolist() == [1, 0, 11]  # person 1
    assert picture[2, 50, 126] == 255
    shutil.rmtree(tmp_path / "kitti_step")
