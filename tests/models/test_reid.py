"""Identity vectors of crops, with a network of two mean colours and with OSNet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.models import graphs
from tests.reference import looks as slow
from tracker.errors import DetectionsError, ModelError
from tracker.guide import Guided
from tracker.masks import Masks
from tracker.models import ImageInput, ModelCard, open_model, write_card
from tracker.models.reid import CHUNK, CPU_CHUNK, Crops, Reid, cut
from tracker.systems import plan
from tracker.types import Detections, Frame

WIDTH, HEIGHT = 8, 16
IMAGENET = Reid.assumed.image


def network(
    path: Path, batch: int | str = "batch", square: bool = False, layout: str = "nchw", dtype=np.float32
) -> Path:
    """A file: the mean of the crop's upper and of its lower half, (N, 6); `square`: as [N, 6, 1, 1]."""
    number = graphs.TYPES[np.dtype(dtype)]
    shape = [batch, 3, HEIGHT, WIDTH] if layout == "nchw" else [batch, HEIGHT, WIDTH, 3]
    nodes = [] if layout == "nchw" else [helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2])]
    sides = [0, 6, 1, 1] if square else [0, 6]
    node = helper.make_node
    nodes += [
        node(
            "AveragePool", [nodes[0].output[0] if nodes else "images"], ["halves"], kernel_shape=[8, 8], strides=[8, 8]
        ),
        node("Constant", [], ["sides"], value=helper.make_tensor("sides", TensorProto.INT64, [len(sides)], sides)),
        node("Reshape", ["halves", "sides"], ["vectors"]),
    ]
    end = [batch, 6, 1, 1] if square else [batch, 6]
    return graphs.save(
        path, nodes, [helper.make_tensor_value_info("images", number, shape)],
        [helper.make_tensor_value_info("vectors", number, end)],
    )  # fmt: skip


def scene(seed: int = 0, count: int = 20) -> tuple[Frame, Detections]:
    """A picture of soft noise, and boxes in it with masks that are ellipses."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (120, 90))
    corners = rng.uniform([0, 0], [90, 50], (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(3, 35, (count, 2))], 1).astype(np.float32)
    y, x = np.mgrid[:90, :120] + 0.5
    stack = [
        ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 < 1 for x1, y1, x2, y2 in boxes
    ]
    return Frame(0, 0.0, image), Detections(boxes, np.ones(count), masks=Masks.from_dense(np.array(stack)))


@pytest.fixture
def model(tmp_path: Path) -> Reid:
    found = open_model(network(tmp_path / "reid.onnx"), "reid")
    assert isinstance(found, Reid)
    return found


def runs(model: Reid, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the inputs that the session gets from now on."""
    shapes, run = [], model.session.run
    monkeypatch.setattr(model.session, "run", lambda tensors: shapes.append(tensors["images"].shape) or run(tensors))
    return shapes


# ---------------------------------------------------------------------- crops


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_crops_equal_the_slow_twin(masked: bool, colour: str) -> None:
    frame, detections = scene()
    spec = replace(IMAGENET, colour=colour)
    stack = detections.masks.to_dense()
    edges = [[0, 0, 120, 90], [0, 0, 1, 1], [119, 89, 120, 90], [119.2, 10, 119.7, 10.4], [3.5, 4.5, 7.5, 60.5]]
    for row, box in enumerate([*detections.boxes, *np.array(edges, np.float32)]):
        with_mask = masked and row < len(stack)
        inside, (left, top) = np.zeros((0, 0), bool), (0, 0)
        if with_mask:
            inside, (left, top) = detections.masks.crop(row), detections.masks.rects[row, :2].tolist()
        order, gain = np.array([2, 1, 0] if colour == "rgb" else [0, 1, 2]), spec.scale / np.array(spec.std)
        bias = -np.array(spec.mean) / np.array(spec.std)
        out = np.full((3, HEIGHT, WIDTH), np.nan, np.float32)
        cut(frame.image, box, inside, left, top, order, gain.astype(np.float32), bias.astype(np.float32), out)
        wanted = slow.cut(frame.image, box, stack[row] if with_mask else None, (WIDTH, HEIGHT), spec)
        np.testing.assert_allclose(out, wanted, atol=2e-5)


def test_a_whole_number_crop_is_what_opencv_makes_of_it(model: Reid) -> None:
    frame, _ = scene()
    crop = cv2.resize(frame.image[20:63, 31:70], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
    wanted = (crop / 255 - IMAGENET.mean) / IMAGENET.std
    out = np.empty((3, HEIGHT, WIDTH), np.float32)
    box = np.array([31, 20, 70, 63], np.float32)
    cut(frame.image, box, np.zeros((0, 0), bool), 0, 0, *model._colours(), out)
    np.testing.assert_allclose(out, wanted.transpose(2, 0, 1), atol=1 / 255 / min(IMAGENET.std))  # it rounds


# ---------------------------------------------------------------------- vectors


def test_vectors_are_those_of_the_crops(model: Reid) -> None:
    frame, detections = scene()
    for masked in (False, True):
        found = model.describe(frame, detections, masked=masked)
        assert found.embeddings.shape == (20, 6) == (20, model.length) and found.embeddings.dtype == np.float32
        for row, box in enumerate(detections.boxes):
            mask = detections.masks.select([row]).to_dense()[0] if masked else None
            crop = slow.cut(frame.image, box, mask, (WIDTH, HEIGHT), IMAGENET)
            halves = np.stack([crop[:, :8].mean((1, 2)), crop[:, 8:].mean((1, 2))], 1).ravel()
            np.testing.assert_allclose(found.embeddings[row], halves / np.linalg.norm(halves), atol=1e-4)
        assert found.boxes is detections.boxes and found.masks is detections.masks
    assert detections.embeddings is None, "nobody writes into what he was given"


def test_many_crops_go_in_chunks_and_come_out_as_one_by_one(model: Reid, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, detections = scene(count=2 * CPU_CHUNK + 3)
    shapes = runs(model, monkeypatch)
    together = model.describe(frame, detections).embeddings
    assert [shape[0] for shape in shapes] == [CPU_CHUNK, CPU_CHUNK, 3]
    for row in (0, CPU_CHUNK - 1, CPU_CHUNK, 2 * CPU_CHUNK + 2):
        np.testing.assert_array_equal(model.describe(frame, detections.select([row])).embeddings[0], together[row])


def test_other_devices_see_few_sizes(model: Reid, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU any number of crops; a GPU tunes itself for every new number, so it gets powers of two."""
    frame, detections = scene(count=CHUNK + 5)
    together, shapes = model.describe(frame, detections).embeddings, runs(model, monkeypatch)
    monkeypatch.setattr(model.session, "device", "cuda")
    for count in range(1, CHUNK + 6):
        few = model.describe(frame, detections.select(np.arange(count)))
        np.testing.assert_array_equal(few.embeddings, together[:count])
    assert {shape[0] for shape in shapes} == {1, 2, 4, 8, 16, 32}


def test_nothing_to_see_runs_nothing(model: Reid, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, _ = scene()
    shapes = runs(model, monkeypatch)
    nobody = model.describe(frame, Detections.empty())
    assert nobody.embeddings.shape == (0, 6) and shapes == []
    beside = np.array([[-50, 0, -3, 20], [5, 5, 5, 40], [200, 10, 260, 40], [0, 90, 120, 99]], np.float32)
    found = model.describe(frame, Detections(beside, np.ones(4)))
    assert not found.embeddings.any() and shapes == [], "rows of zeros are no embedding"
    half = model.describe(frame, Detections(np.array([[-50, 0, 20, 20], [0, 0, 20, 20]], np.float32), np.ones(2)))
    np.testing.assert_array_equal(half.embeddings[0], half.embeddings[1])


def test_what_is_around_the_mask_does_not_count(model: Reid) -> None:
    frame, detections = scene(count=6)
    held = detections.masks.to_dense().any(0)
    # one pixel around stays: colours between pixel centres look there
    held = cv2.dilate(held.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    other = Frame(1, 0.1, np.where(held[:, :, None], frame.image, 255 - frame.image).astype(np.uint8))
    looks = [
        Crops(model, masked=masked).describe(f, detections).embeddings
        for masked in (True, False)
        for f in (frame, other)
    ]
    np.testing.assert_array_equal(looks[0], looks[1])
    assert np.abs(looks[2] - looks[3]).max() > 0.05 and np.abs(looks[0] - looks[2]).max() > 0.05


def test_an_empty_mask_is_no_mask(model: Reid) -> None:
    """As on rows of learned motion, which no segmenter saw."""
    frame, detections = scene(count=3)
    blank = replace(detections, masks=detections.masks.select([-1, 1, -1]), track_ids=np.array([4, -1, 7]))
    found, plain = model.describe(frame, blank, masked=True), model.describe(frame, detections)
    np.testing.assert_array_equal(found.embeddings[[0, 2]], plain.embeddings[[0, 2]])
    assert np.abs(found.embeddings[1] - plain.embeddings[1]).max() > 1e-3
    without = model.describe(frame, replace(detections, masks=None), masked=True)
    np.testing.assert_array_equal(without.embeddings, plain.embeddings)


class Listener:
    """Stands where the tracker is, and where learned motion is: one row more, which no segmenter saw."""

    plan = plan("siammot+")
    heard: Detections

    def update(self, detections: Detections, frame: Frame, **_: object) -> None:
        self.heard = detections

    def predict(self, frame: Frame, detections: Detections) -> Detections:
        row = np.array([[10, 10, 40, 60]], np.float32)
        masks = None if detections.masks is None else Masks.join([detections.masks, Masks.empty(90, 120, 1)])
        ids = np.append(np.full(len(detections), -1), 7)
        boxes = np.concatenate([detections.boxes, row])
        return replace(detections, boxes=boxes, scores=np.ones(len(boxes)), labels=ids * 0, masks=masks, track_ids=ids)

    def follow(self, frame: Frame, tracks: None) -> None:
        """Nothing is remembered."""


def test_rows_of_learned_motion_are_described_too(model: Reid, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, detections = scene(count=3)
    listener = Listener()
    guided = Guided(listener, motion=listener, looks=Crops(model, masked=True))
    guided.update(detections, frame)
    assert listener.heard.track_ids.tolist() == [-1, -1, -1, 7]
    np.testing.assert_allclose(np.linalg.norm(listener.heard.embeddings, axis=1), 1, atol=1e-5)
    shapes = runs(model, monkeypatch)
    guided.update(Detections.unlooked(), frame)
    assert len(listener.heard) == 1 and shapes == [] and listener.heard.embeddings is None, "nobody looked"


@pytest.mark.parametrize(
    ("batch", "square", "layout", "dtype", "error"),
    [
        (1, True, "nchw", np.float32, 1e-6),  # Youtu's network takes one at a time
        (1, False, "nchw", np.float32, 1e-6),
        ("batch", True, "nchw", np.float32, 1e-6),
        ("batch", False, "nhwc", np.float32, 1e-6),
    ],
)
def test_every_kind_of_graph_gives_the_same(
    model: Reid, tmp_path: Path, batch: int | str, square: bool, layout: str, dtype: type, error: float
) -> None:
    path = network(tmp_path / "other.onnx", batch, square, layout, dtype)
    write_card(path, ModelCard("reid", "embed", image=replace(IMAGENET, layout=layout)))
    frame, detections = scene()
    other = open_model(path)
    for masked in (False, True):
        found, wanted = (net.describe(frame, detections, masked=masked).embeddings for net in (other, model))
        np.testing.assert_allclose(found, wanted, atol=error)
    assert other.describe(frame, Detections.empty()).embeddings.shape == (0, 6)


def test_as_a_model_of_frames_it_sees_one_object(model: Reid) -> None:
    frame, _ = scene()
    found = model(frame)
    assert found.boxes.tolist() == [[0, 0, 120, 90]] and found.scores.tolist() == [1]
    same = model.describe(frame, found).embeddings
    np.testing.assert_allclose(found.embeddings, same, atol=0.01)  # OpenCV rounds to whole grey levels


# ---------------------------------------------------------------------- what does not fit


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    two = graphs.planted(tmp_path / "two.onnx", {"a": np.zeros((1, 8), np.float32), "b": np.zeros((1, 4), np.float32)})
    with pytest.raises(
        ModelError, match=r"a reid model needs one output \[crops, length\], got a \[1, 8\], b \[1, 4\]"
    ):
        open_model(two, "reid")
    write_card(two, ModelCard("reid", "embed", outputs={"embeddings": "b"}, image=IMAGENET))
    assert open_model(two, warmup=False).length == 4
    map_out = graphs.planted(tmp_path / "map.onnx", {"map": np.zeros((1, 8, 4, 4), np.float32)})
    with pytest.raises(ModelError, match=r"needs one output \[crops, length\], got map \[1, 8, 4, 4\]"):
        open_model(map_out, "reid")
    boxed = network(tmp_path / "boxed.onnx")
    write_card(boxed, ModelCard("reid", "embed", image=ImageInput()))
    with pytest.raises(ModelError, match="needs crops stretched to its input, got a card that says 'letterbox'"):
        open_model(boxed)
    alone = graphs.planted(tmp_path / "alone.onnx", {"v": np.ones((1, 8), np.float32)}, image=("n", 3, 16, 8))
    frame, detections = scene(count=3)
    with pytest.raises(ModelError, match="needs one vector for each of 3 crops, got 1"):
        open_model(alone, "reid", warmup=False).describe(frame, detections)


def test_broken_numbers_and_foreign_masks_are_refused(tmp_path: Path, model: Reid) -> None:
    frame, detections = scene(count=1)
    broken = graphs.planted(tmp_path / "broken.onnx", {"v": np.full((1, 8), np.nan, np.float32)})
    with pytest.raises(DetectionsError, match="finite embeddings from the network"):
        open_model(broken, "reid", warmup=False).describe(frame, detections)
    foreign = replace(detections, masks=Masks.empty(10, 20, 1))
    with pytest.raises(DetectionsError, match=r"masks of the frame's 90 x 120 px, got 10 x 20"):
        model.describe(frame, foreign, masked=True)
    assert model.describe(frame, foreign).embeddings.any()


# ---------------------------------------------------------------------- the real one


def test_osnet_knows_people_again(shared: Path) -> None:
    """TUD-Campus, ten frames apart: of all pairs of annotated people, those of one person are the nearest."""
    folder = shared / "data" / "sequences" / "TUD-Campus"
    osnet = open_model(shared / "data" / "models" / "osnet_x0_25_msmt17.onnx", "reid")
    assert isinstance(osnet, Reid) and osnet.length == 512 and osnet.size == (128, 256)
    rows = np.loadtxt(folder / "gt" / "gt.txt", delimiter=",")
    looks, ids = [], []
    for number in (1, 11):
        found = rows[rows[:, 0] == number]
        boxes = np.concatenate([found[:, 2:4] - 1, found[:, 2:4] - 1 + found[:, 4:6]], 1)
        frame = Frame(number, 0.0, cv2.imread(str(folder / "img1" / f"{number:06d}.jpg")))
        looks.append(osnet.describe(frame, Detections(boxes, np.ones(len(boxes)))).embeddings)
        ids.append(found[:, 1])
    likeness = looks[0] @ looks[1].T
    known = np.isin(ids[0], ids[1])
    assert known.sum() >= 4
    nearest = ids[1][likeness.argmax(1)]
    assert (nearest[known] == ids[0][known]).mean() >= 0.75
