"""Learned motion: crops, graphs made free, networks of both kinds, and what is remembered of tracks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper

from tests.models.followers import colour_network, value
from tests.models.graphs import save
from tracker.errors import ModelError, ModelNotFoundError, SnapshotError, TrackerError
from tracker.guide import Guided
from tracker.masks import Masks
from tracker.models import Session
from tracker.models.siamese import Siamese, SiameseConfig, motion_options, open_siamese
from tracker.models.siamese.crops import cut_crops
from tracker.models.siamese.motion import CHUNK
from tracker.onnx.shapes import free_shapes
from tracker.systems import create, plan
from tracker.types import Detections, Frame, Tracks

COLOURS = ((255, 60, 60), (60, 255, 60), (60, 60, 255), (250, 250, 60))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with NanoTrack's contract that finds colours."""
    return colour_network(tmp_path_factory.mktemp("siamese"))


def scene(
    index: int, places: list[tuple[float, float]], size: tuple[int, int] = (640, 480)
) -> tuple[Frame, Detections]:
    """Coloured squares on grey, by their centres, and the detections of them."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    for (x, y), colour in zip(places, COLOURS, strict=False):
        cv2.rectangle(image, (int(x) - 32, int(y) - 32), (int(x) + 31, int(y) + 31), colour, -1)
    boxes = np.array([[x - 32, y - 32, x + 32, y + 32] for x, y in places], np.float32).reshape(-1, 4)
    return Frame(index, index / 30, image), Detections(boxes, np.full(len(places), 0.9, np.float32))


def tracks_of(detections: Detections, ids: list[int], source: list[int] | None = None) -> Tracks:
    """Confirmed tracks that took these rows; -1: a coasting one, where it was."""
    source = list(range(len(ids))) if source is None else source
    n = len(ids)
    boxes = detections.boxes[source] if len(detections) else np.zeros((n, 4), np.float32)
    states = np.where(np.array(source, int) >= 0, 1, 2).astype(np.uint8)
    none = np.zeros(n, np.int32)
    return Tracks(
        np.array(ids, np.int64), boxes, np.full(n, 0.9, np.float32), none, states, np.array(source, np.int32),
        none + 1, none, none[:0], detections, 0.0,
    )  # fmt: skip


def middles(detections: Detections) -> np.ndarray:
    return (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2


# ---------------------------------------------------------------------- crops and graphs


def test_crops_are_bilinear_around_their_centres() -> None:
    image = np.zeros((60, 200, 3), np.uint8)
    image[:, :, 0], image[:, :, 2] = np.arange(200), 250
    crops = cut_crops(image, [(50.0, 30.0), (50.5, 30.0), (0.0, 30.0)], [16.0, 32.0, 16.0], 16, (7.0, 8.0, 9.0))
    assert crops.shape == (3, 3, 16, 16) and crops.dtype == np.float32 and (crops[:2, 0] == 250).all()  # red first
    assert crops[0, 2, 5].tolist() == list(range(42, 58))
    assert np.abs(crops[1, 2, 5] - (34.5 + 2 * np.arange(16) + 0.5)).max() <= 0.5
    assert crops[2, :, 5, :7].T.tolist() == [[9.0, 8.0, 7.0]] * 7 and crops[2, 2, 5, 8:].tolist() == list(range(8))
    assert cut_crops(image, np.zeros((0, 2)), [], 16, (0, 0, 0)).shape == (0, 3, 16, 16)
    assert cut_crops(image, [(50.0, 30.0)], [16.0], 16, (0, 0, 0), colour="bgr")[0, 0, 5].tolist() == [*range(42, 58)]


def test_a_freed_graph_takes_any_batch_and_size(network: Path) -> None:
    backbone = Session(network, change=free_shapes)
    head = Session(network.with_name("nanotrack_head.onnx"), change=free_shapes)
    pixels = np.random.default_rng(0).uniform(0, 255, (5, 3, 255, 255)).astype(np.float32)
    features = backbone.run({"input": pixels})["output"]
    templates = backbone.run({"input": pixels[:, :, :127, :127]})["output"]
    assert features.shape == (5, 3, 16, 16) and templates.shape == (5, 3, 8, 8)
    scores = head.run({"input1": templates, "input2": features})["output1"]
    whole = Session(network.with_name("nanotrack_head.onnx"))
    for i in range(5):
        alone = whole.run({"input1": templates[i : i + 1], "input2": features[i : i + 1]})["output1"]
        assert np.allclose(alone, scores[i : i + 1], atol=1e-5)
    with pytest.raises(ModelError, match="not an ONNX model"):
        free_shapes(b"no model at all")
    with pytest.raises(ModelError, match="cut short"):
        free_shapes(network.read_bytes()[:-5])


# ---------------------------------------------------------------------- following


def test_tracks_are_found_where_they_went(network: Path) -> None:
    motion = open_siamese(network)
    frame, detections = scene(0, [(100, 100), (400, 300), (500, 100)])
    motion.follow(frame, tracks_of(detections, [3, 7, 8]))
    frame, _ = scene(1, [(150, 130), (350, 290), (480, 150)])
    fresh = Detections(np.array([[0, 0, 9, 9]], np.float32), np.float32([0.3]), labels=[2])  # type: ignore[arg-type]
    found = motion.predict(frame, fresh)
    assert found.track_ids is not None and found.track_ids.tolist() == [-1, 3, 7, 8] and found.looked
    assert found.scores[0] == np.float32(0.3) and found.boxes[0].tolist() == [0, 0, 9, 9] and found.labels[0] == 2
    assert np.abs(middles(found)[1:] - [(150, 130), (350, 290), (480, 150)]).max() <= 16  # a cell of the grid
    assert (found.scores[1:] > 0.9).all()
    between = motion.predict(frame, Detections.unlooked())
    assert not between.looked and np.array_equal(between.boxes, found.boxes[1:])


def test_a_memory_goes_on_elsewhere(network: Path) -> None:
    motion, other = open_siamese(network), open_siamese(network)
    frame, detections = scene(0, [(100, 100), (400, 300)])
    motion.follow(frame, tracks_of(detections, [3, 7]))
    other.restore(motion.dump())
    frame, _ = scene(1, [(150, 130), (350, 290)])
    wanted, found = (each.predict(frame, Detections.unlooked()) for each in (motion, other))
    assert found.track_ids.tolist() == [3, 7] and np.array_equal(found.boxes, wanted.boxes)
    with pytest.raises(SnapshotError, match=r"expected templates of shape .*; was it another network"):
        other.restore({**motion.dump(), "templates": np.zeros((2, 4, 4, 4), np.float32)})


def test_many_are_found_as_each_one_alone(network: Path) -> None:
    places = [(70.0 + 30 * i, 80.0 + 9 * i) for i in range(CHUNK + 5)]
    frame, detections = scene(0, places)
    motion = open_siamese(network, config=SiameseConfig(rival_iou=1.0))
    motion.follow(frame, tracks_of(detections, list(range(1, len(places) + 1))))
    together, memory = motion.predict(frame, Detections.empty()), motion.memory
    for i in (0, CHUNK - 1, CHUNK, len(places) - 1):
        motion.memory = replace(
            memory, ids=memory.ids[[i]], boxes=memory.boxes[[i]], labels=memory.labels[[i]],
            templates=memory.templates[[i]],
        )  # fmt: skip
        alone = motion.predict(frame, Detections.empty())
        assert np.allclose(alone.boxes[0], together.boxes[i], atol=1e-3)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_thousand_targets_and_none(network: Path, count: int) -> None:
    motion = open_siamese(network, config=SiameseConfig(rival_iou=1.0))
    frame, _ = scene(0, [(100, 100)], size=(320, 240))
    for detections in (Detections.empty(), Detections.unlooked()):
        none = motion.predict(frame, detections)
        assert len(none) == 0 and none.looked is detections.looked
        motion.follow(frame, tracks_of(none, []))
    x, y = np.random.default_rng(0).uniform((0, 0), (320, 240), (count, 2)).T
    boxes = np.stack([x - 3, y - 5, x + 3, y + 5], 1).astype(np.float32)
    motion.follow(frame, tracks_of(Detections(boxes, np.ones(count, np.float32)), list(range(count))))
    found = motion.predict(frame, Detections.unlooked())
    assert len(found) == count and found.track_ids.tolist() == list(range(count))


def test_who_is_outside_the_picture_is_not_looked_for(network: Path) -> None:
    motion = open_siamese(network)
    frame, detections = scene(0, [(100, 100), (700, 100), (20, 20), (300, -40)])  # the third one reaches in
    motion.follow(frame, tracks_of(detections, [1, 2, 3, 4]))
    assert motion.memory.ids.tolist() == [1, 3]  # nobody knows what the others look like
    assert motion.predict(frame, Detections.empty()).track_ids.tolist() == [1, 3]
    motion.follow(frame, tracks_of(replace(detections, boxes=detections.boxes + np.float32(2000)), [1], [-1]))
    assert len(motion.predict(frame, Detections.empty())) == 0


def test_templates_are_renewed_kept_and_forgotten(network: Path) -> None:
    motion = open_siamese(network)
    frame, detections = scene(0, [(100, 100), (300, 100), (500, 100)])
    motion.follow(frame, tracks_of(detections, [1, 2, 5]))
    first = motion.memory
    other, moved = scene(1, [(110, 100), (310, 100), (510, 100)])
    other.image[:, :, 1] = 200
    rows = motion.predict(other, moved.select([0]))
    motion.follow(other, tracks_of(rows, [1, 2, 9], [0, 1, 3]))  # 1 is seen, 2 only by its own row; 5 has ended
    memory = motion.memory
    assert memory.ids.tolist() == [1, 2]  # no detector saw 9 yet
    assert not np.array_equal(memory.templates[0], first.templates[0])
    assert np.array_equal(memory.templates[1], first.templates[1])
    assert memory.boxes[0].tolist() == moved.boxes[0].tolist() and memory.boxes[1].tolist() == rows.boxes[1].tolist()
    motion.reset()
    assert len(motion.memory.ids) == 0 and len(motion.predict(other, Detections.empty())) == 0
    strict = Siamese(motion.follower, SiameseConfig(refresh_score=0.95))
    strict.follow(frame, tracks_of(detections, [1]))
    before = strict.memory.templates
    strict.follow(other, tracks_of(moved, [1]))
    assert np.array_equal(strict.memory.templates, before)


def test_who_was_unseen_too_long_is_not_looked_for(network: Path) -> None:
    motion = Siamese(open_siamese(network).follower, SiameseConfig(search_frames=2))
    frame, detections = scene(0, [(100, 100), (300, 100)])
    motion.follow(frame, tracks_of(detections, [1, 2]))
    nothing = tracks_of(Detections.empty(), [1, 2], [-1, -1])
    motion.follow(frame, replace(nothing, misses=np.array([2, 3], np.int32)))
    assert motion.memory.ids.tolist() == [1]


def test_rows_have_what_detections_have(network: Path) -> None:
    motion = open_siamese(network)
    frame, detections = scene(0, [(100, 100), (300, 200)])
    motion.follow(frame, tracks_of(detections, [1, 2]))
    crops = [np.ones((4, 4), np.bool_)] * 2
    dressed = replace(
        detections, masks=Masks.from_crops(crops, [(90, 90), (290, 190)], 480, 640),
        embeddings=np.ones((2, 5), np.float32), centres=np.ones((2, 2), np.float32),
        offsets=np.ones((2, 2), np.float32),
    )  # fmt: skip
    found = motion.predict(frame, dressed)
    assert len(found) == 4 and found.masks.areas.tolist() == [16, 16, 0, 0]
    assert found.embeddings[2:].tolist() == [[0.0] * 5] * 2 and (found.offsets[2:] == 0).all()
    assert np.allclose(found.centres[2:], middles(found)[2:])


def test_two_tracks_in_one_place_are_no_evidence(network: Path) -> None:
    """One of two squares of a colour goes away, and the network finds the other one twice."""
    motion = open_siamese(network)
    frame, _ = scene(0, [(100, 100), (300, 300)])
    frame.image[68:132, 168:232] = COLOURS[0]
    twins = Detections(
        np.array([[68, 68, 132, 132], [168, 68, 232, 132], [268, 268, 332, 332]], np.float32), np.ones(3, np.float32)
    )
    motion.follow(frame, tracks_of(twins, [1, 2, 3]))
    assert motion.predict(frame, Detections.unlooked()).track_ids.tolist() == [1, 2, 3]
    frame, _ = scene(1, [(140, 100), (300, 300)])
    assert motion.predict(frame, Detections.unlooked()).track_ids.tolist() == [3]
    trusting = Siamese(motion.follower, SiameseConfig(rival_iou=1.0))
    trusting.memory = motion.memory
    assert trusting.predict(frame, Detections.unlooked()).track_ids.tolist() == [1, 2, 3]


def test_siammots_rows_take_the_boxes_of_detections(network: Path) -> None:
    motion = open_siamese(network, config=SiameseConfig(adopt_iou=0.5))
    frame, detections = scene(0, [(100, 100), (300, 200), (500, 300)])
    motion.follow(frame, tracks_of(detections, [1, 2, 3]))
    seen = Detections(
        np.array([[70, 70, 134, 134], [60, 60, 124, 124], [270, 170, 334, 234]], np.float32),
        np.float32([0.6, 0.8, 0.8]), labels=[0, 0, 1],
    )  # type: ignore[arg-type]  # fmt: skip
    found = motion.predict(frame, seen)
    alone = motion.predict(frame, Detections.unlooked())
    assert found.boxes[3].tolist() == [70, 70, 134, 134]  # of both it overlaps this one better
    assert found.scores[3] == pytest.approx((0.6 + alone.scores[0]) / 2)
    assert np.array_equal(found.boxes[4:], alone.boxes[1:])  # another class, and nobody
    assert np.allclose(found.scores[4:], alone.scores[1:] / 2)


@pytest.mark.parametrize("name", ["bytetrack", "sort", "siammot"])
def test_any_tracker_follows_jumps_that_boxes_do_not_tell(network: Path, name: str) -> None:
    """Squares jump by more than their width; a detector looks at every second frame only."""
    paths = [(100.0, 50.0), (500.0, 165.0), (120.0, 310.0), (520.0, 420.0)]
    step = np.array([(70.0, 0.0), (-70.0, 5.0), (70.0, -5.0), (-70.0, 0.0)])
    options = motion_options(plan(name))
    config = SiameseConfig(adopt_iou=0.5) if name == "siammot" else SiameseConfig()
    confirmed = {"confirm_hits": 0} if name == "sort" else {}
    with_it = Guided(create(name, **options, **confirmed), motion=open_siamese(network, config=config))
    for index in range(5):
        places = np.array(paths) + step * index
        frame, detections = scene(index, [tuple(place) for place in places])
        detections = replace(detections, track_ids=np.full(4, -1)) if index % 2 == 0 else Detections.unlooked()
        tracks = with_it.update(detections, frame)
        order = np.argsort(tracks.confirmed.ids)
        assert tracks.confirmed.ids[order].tolist() == [1, 2, 3, 4], index
        at = (tracks.confirmed.boxes[order, :2] + tracks.confirmed.boxes[order, 2:]) / 2
        assert np.abs(at - places).max() < 60, index


# ---------------------------------------------------------------------- bad input


def test_bad_input_is_one_line(network: Path, tmp_path: Path) -> None:
    other = save(
        tmp_path / "x.onnx", [helper.make_node("Identity", ["a"], ["b"])], [value("a", 1, 3)], [value("b", 1, 3)]
    )
    copies = {name: tmp_path / name for name in ("vittrack.onnx", "nanotrack_backbone.onnx", "nanotrack_head.onnx")}
    for copy in copies.values():
        copy.write_bytes(other.read_bytes())
    lonely = tmp_path / "lonely" / "nanotrack_backbone.onnx"
    lonely.parent.mkdir()
    lonely.write_bytes(network.read_bytes())
    (tmp_path / "nanotrack_rubbish_backbone.onnx").write_bytes(b"rubbish")
    (tmp_path / "nanotrack_rubbish_head.onnx").write_bytes(b"rubbish")
    cases = [
        (tmp_path / "missing_vittrack.onnx", None, ModelNotFoundError, "no model file"),
        (tmp_path / "missing_nanotrack_backbone.onnx", None, ModelNotFoundError, "no model file"),
        (lonely, None, ModelNotFoundError, "_head.onnx beside it"),
        (copies["nanotrack_head.onnx"], None, ModelNotFoundError, "two files"),
        (other, None, ModelError, "as its name says"),
        (other, "kalman", ModelError, "expected learned motion"),
        (copies["vittrack.onnx"], None, ModelError, "expected VitTrack's inputs"),
        (copies["nanotrack_backbone.onnx"], None, ModelError, "not NanoTrack's"),
        (tmp_path / "nanotrack_rubbish_backbone.onnx", None, ModelError, "not an ONNX model"),
    ]
    for path, family, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            open_siamese(path, family)
        assert isinstance(caught.value, TrackerError) and "\n" not in str(caught.value)


def test_numbers_that_are_none_are_no_rows(network: Path) -> None:
    motion = open_siamese(network)
    frame, detections = scene(0, [(100, 100), (300, 200)])
    motion.follow(frame, tracks_of(detections, [1, 2]))
    motion.memory.templates[0] = np.nan
    found = motion.predict(frame, Detections.empty())
    assert found.track_ids.tolist() == [2]


# ---------------------------------------------------------------------- real networks


def davis(shared: Path, name: str, most: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images of a DAVIS sequence, and the boxes (1, 4) of its object."""
    folder = shared / "data/sequences/davis" / name
    images = [cv2.imread(str(file)) for file in sorted((folder / "frames").iterdir())[:most]]
    masks = [cv2.imread(str(file), 0) > 0 for file in sorted((folder / "masks").iterdir())[:most]]
    return images, [Masks.from_dense(mask[None]).boxes for mask in masks]


def overlaps(path: Path, images: list[np.ndarray], truth: list[np.ndarray]) -> list[float]:
    """IoU with the truth of a track that nobody sees after the first frame."""
    motion = open_siamese(path)
    first = Detections(truth[0], np.ones(1, np.float32))
    motion.follow(Frame(0, 0.0, images[0]), tracks_of(first, [1]))
    found = []
    for index, (image, box) in enumerate(zip(images[1:], truth[1:], strict=True), 1):
        frame = Frame(index, index / 30, image)
        rows = motion.predict(frame, Detections.unlooked())
        motion.follow(frame, tracks_of(rows, [1]))
        corner = np.minimum(rows.boxes[0, 2:], box[0, 2:]) - np.maximum(rows.boxes[0, :2], box[0, :2])
        shared = float(np.prod(np.maximum(corner, 0)))
        areas = [float(np.prod(b[0, 2:] - b[0, :2])) for b in (rows.boxes, box)]
        found.append(shared / (sum(areas) - shared))
    return found


@pytest.mark.parametrize(
    ("file", "mean"), [("nanotrackv2_backbone.onnx", (0.86, 0.58)), ("vittrack.onnx", (0.87, 0.63))]
)
@pytest.mark.slow
def test_single_objects_of_davis(shared: Path, file: str, mean: tuple[float, float]) -> None:
    """Figures of the day: NanoTrack 0.886 and 0.604, VitTrack 0.889 and 0.658; OpenCV's own trackers on these files
    0.879 and 0.605, 0.811 and 0.576."""
    for name, least in zip(("car-shadow", "dance-twirl"), mean, strict=True):
        assert np.mean(overlaps(shared / "data/models" / file, *davis(shared, name, 1000))) > least


@pytest.mark.parametrize("file", ["nanotrackv2_backbone.onnx", "vittrack.onnx"])
def test_a_car_is_followed_by_real_networks(shared: Path, file: str) -> None:
    found = overlaps(shared / "data/models" / file, *davis(shared, "car-shadow", 9))
    assert min(found) > 0.7 and np.mean(found) > 0.8
