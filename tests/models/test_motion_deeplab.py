import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.models.graphs import save
from tests.reference import panoptic as slow
from tracker import pipeline
from tracker.cli import main as run_command
from tracker.errors import DetectionsError, ModelError
from tracker.formats.class_set import KITTI_STEP, MOTCHALLENGE_STEP
from tracker.models import open_model
from tracker.models.card import CARD_KEY, ImageInput, ModelCard
from tracker.models.motion_deeplab import draw_spots
from tracker.systems import create
from tracker.types import Frame, Panoptic

SIZE = (56, 40)
CLASSES = 19
DATASETS = {"kitti": KITTI_STEP, "mot": MOTCHALLENGE_STEP}


def names_of(dataset):
    """Names of the classes, of some that are not there, and of crowds."""
    known = (*dataset.names, *(f"unused {i}" for i in range(len(dataset.names), CLASSES)))
    return (*known, *(f"crowd of {name}" for name in known))


NAMES = names_of(KITTI_STEP)
CARD = ModelCard(
    "motion-deeplab",
    "panoptic",
    NAMES,
    (11, 13),
    ImageInput("image", SIZE, scale=1.0, resize="corner", pad=0),
    {name: name for name in ("semantic", "heat", "offset", "previous_offset")},
    facts={"window": 1, "reach": 0.25},
)


def scripted(path, maps, card=CARD):
    """A network that gives the maps of the frame whose number is in the first pixel, and shows what else it was fed."""
    starts = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, depth, SIZE[1], SIZE[0]))
        for name, depth in (("image", 3), ("previous_image", 3), ("previous_heat", 1))
    ]
    numbers = {"minus": -1, "zero": 0, "one": 1, "frames": len(maps["heat"])}
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array([number]), name))
        for name, number in numbers.items()
    ]
    nodes += [
        helper.make_node("Reshape", ["image", "minus"], ["flat"]),
        helper.make_node("Slice", ["flat", "zero", "one"], ["first"]),
        helper.make_node("Cast", ["first"], ["number"], to=TensorProto.INT64),
        helper.make_node("Mod", ["number", "frames"], ["frame"]),
        helper.make_node("Identity", ["previous_image"], ["seen_image"]),
        helper.make_node("Identity", ["previous_heat"], ["seen_heat"]),
    ]
    ends = [
        helper.make_tensor_value_info(f"seen_{name}", TensorProto.FLOAT, (1, depth, SIZE[1], SIZE[0]))
        for name, depth in (("image", 3), ("heat", 1))
    ]
    for name, values in maps.items():
        table = numpy_helper.from_array(values.astype(np.float32), f"{name} of all")
        nodes.append(helper.make_node("Constant", [], [f"{name} of all"], value=table))
        nodes.append(helper.make_node("Gather", [f"{name} of all", "frame"], [name], axis=0))
        ends.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *values.shape[1:])))
    return save(path, nodes, starts, ends, {CARD_KEY: card.to_json()})


def maps_of(pictures, offsets_yx, divisor, things):
    """Maps from which exactly these pictures come: every instance votes for its first pixel, void for nothing near.

    What has the class of a thing and no number, which no network of this kind says, is a class of its own.
    """
    count, height, width = pictures.shape
    semantic, heat = np.zeros((count, len(NAMES), height, width)), np.zeros((count, 1, height, width))
    votes = np.zeros((count, 2, height, width))
    for k, picture in enumerate(pictures):
        for value in np.unique(picture):
            mask = picture == value
            ys, xs = np.nonzero(mask)
            label, instance = divmod(int(value), divisor)
            crowd = CLASSES if label in things and instance == 0 else 0
            semantic[k, things[0] if label == Panoptic.VOID else label + crowd, mask] = 9
            if label == Panoptic.VOID:
                votes[k][:, mask] = 1000
            elif instance:
                heat[k, 0, ys[0], xs[0]] = 0.5 + k / 100
                votes[k][:, mask] = ys[0] - ys, xs[0] - xs
    return {"semantic": semantic, "heat": heat, "offset": votes, "previous_offset": offsets_yx.transpose(0, 3, 1, 2)}


def frame_of(k, size=SIZE):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[0, 0] = k
    return Frame(k, k / 30, image)


@pytest.fixture(scope="module", params=["kitti", "mot"])
def recorded(request, golden, tmp_path_factory):
    """A model that sees what deeplab2's tracker was given, and what that returned."""
    data = np.load(golden / "published" / "motion_deeplab.npz")
    facts = json.loads((golden / "published" / "motion_deeplab_expected.json").read_text())[request.param]
    case = {name.removeprefix(f"{request.param}/"): data[name] for name in data.files if name.startswith(request.param)}
    values = np.unique(case["panoptic"])
    things = np.unique(values[values % facts["label_divisor"] > 0] // facts["label_divisor"]).tolist()
    maps = maps_of(case["panoptic"], case["frame_offset_yx"], facts["label_divisor"], things)
    card = replace(CARD, class_names=names_of(DATASETS[request.param]), thing_ids=tuple(things))
    path = scripted(tmp_path_factory.mktemp("scripted") / f"{request.param}.onnx", maps, card)
    return open_model(path, device="cpu", threads=1), case, facts["label_divisor"]


# ---------------------------------------------------------------------- deeplab2's own results
def test_network_to_tracks_paints_every_pixel_like_deeplab2(recorded):
    model, case, divisor = recorded
    model, tracker = model.for_stream(), create("motion-deeplab")
    for k, wanted in enumerate(case["out"]):
        detections = model(frame_of(k))
        centres = case[f"new_centers/{k}"]
        np.testing.assert_array_equal(detections.centres, centres[:, :2])
        np.testing.assert_array_equal(detections.labels, centres[:, 2] // divisor)
        tracks = tracker.update(detections)
        classes = detections.panoptic.classes.astype(np.int64)
        painted = np.where(classes == Panoptic.VOID, Panoptic.VOID, classes % CLASSES) * divisor
        for track, row in zip(tracks.confirmed.ids, tracks.confirmed.source, strict=True):
            painted[detections.panoptic.rows == row + 1] += track
        np.testing.assert_array_equal(painted, wanted)


def test_instances_are_drawn_for_the_next_frame_like_deeplab2(recorded):
    model, case, _ = recorded
    model = model.for_stream()
    heats = []
    for k in range(9):
        outputs = model.infer(model.preprocess(frame_of(k).image).tensors)
        heats.append(outputs["seen_heat"][0, 0])
        assert outputs["seen_image"][0, 0, 0, 0] == max(k - 1, 0)
    assert heats[0].max() == 0
    np.testing.assert_allclose(heats[7:], case["heatmap_f6_f7"], atol=1e-6)


def run(model, tmp_path, count, *more):
    """`tracker run` on `count` pictures; `more` are further flags, FRAMES in them is the folder of the pictures."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for k in range(count):
        cv2.imwrite(str(folder / f"{k:06d}.png"), frame_of(k).image)
    words = ["run", *(word.replace("FRAMES", str(folder)) for word in more), "--model", str(model.session.path)]
    words += ["--tracker", "motion-deeplab", "-o", str(tmp_path), "--save", f"{model.session.path.stem}-step,jsonl"]
    assert run_command([*words, "--quiet", "--device", "cpu"]) == 0


def check_outputs(folder, model, case, divisor):
    """The pictures and the summary of stuff that a run left, but for crowds, which are no class of a dataset."""
    dataset, first = model.session.path.stem, 1 if model.session.path.stem == "mot" else 0
    lines = [json.loads(line) for line in (folder / "tracks.jsonl").read_text().splitlines()[1:]]
    for k, wanted in enumerate(case["out"]):
        picture = cv2.imread(str(folder / f"{dataset}_step" / f"{k + first:06d}.png"))
        blue, green, red = picture.transpose(2, 0, 1).astype(int)
        crowd = np.isin(wanted // divisor, model.card.thing_ids) & (wanted % divisor == 0)
        np.testing.assert_array_equal((red * divisor + 256 * green + blue)[~crowd], wanted[~crowd])
        stuff = {entry["class"]: entry["area"] for entry in lines[k]["stuff"] if entry["class"] < CLASSES}
        labels = wanted[(wanted % divisor == 0) & (wanted < Panoptic.VOID * divisor) & ~crowd] // divisor
        assert stuff == dict(zip(*map(np.ndarray.tolist, np.unique(labels, return_counts=True)), strict=True))


@pytest.mark.parametrize("overlap", ["yes", "no"])
def test_run_saves_every_pixel_like_deeplab2(recorded, tmp_path, overlap):
    model, case, divisor = recorded
    run(model, tmp_path, len(case["out"]), "FRAMES", "--overlap", overlap)
    check_outputs(tmp_path, model, case, divisor)


def test_streams_side_by_side_do_not_mix(recorded, tmp_path):
    model, case, divisor = recorded
    run(model, tmp_path, len(case["out"]), "--streams", "a=FRAMES", "--streams", "b=FRAMES")
    for name in ("a", "b"):
        check_outputs(tmp_path / name, model, case, divisor)


# ---------------------------------------------------------------------- twins
@given(st.integers(0, 10**6), st.integers(0, 5), st.integers(1, 8))
@settings(max_examples=25)
def test_spots_equal_the_twin(seed, count, spread):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 70, 2)
    centres = np.stack([rng.integers(height, size=count), rng.integers(width, size=count)], 1)
    heat = draw_spots(centres, spread, height, width)
    np.testing.assert_allclose(heat, slow.draw_spots(centres, spread, height, width), atol=1e-6)


# ---------------------------------------------------------------------- what is remembered
def one_square(path, **facts):
    """Two frames of a 10 x 10 person that moves by 4, 6 px, and a car that stays; card facts as given."""
    pictures = np.zeros((2, SIZE[1], SIZE[0]), np.int64)
    pictures[0, 2:12, 30:40] = 11001
    pictures[1, 6:16, 36:46] = 11001
    pictures[:, 5:15, 5:15] = 13001
    offsets = np.zeros((2, SIZE[1], SIZE[0], 2))
    offsets[1, 6:16, 36:46] = -4, -6
    maps = maps_of(pictures, offsets, 1000, [11, 13])
    return scripted(path, maps, replace(CARD, facts={**CARD.facts, **facts}))


def test_warming_up_is_not_remembered(tmp_path):
    model = open_model(one_square(tmp_path / "net.onnx"), device="cpu")
    outputs = model.infer(model.preprocess(frame_of(1).image).tensors)
    assert outputs["seen_heat"].max() == 0
    assert outputs["seen_image"][0, 0, 0, 0] == 1


def test_streams_remember_their_own_frames(tmp_path):
    model = open_model(one_square(tmp_path / "net.onnx"), device="cpu")
    first, second = model.for_stream(), model.for_stream()
    assert first.session is second.session
    first.infer(first.preprocess(frame_of(0).image).tensors)
    tensors = first.preprocess(frame_of(1).image).tensors
    assert first.infer(tensors)["seen_heat"].max() == 1
    assert second.infer(tensors)["seen_heat"].max() == 0
    first.reset()
    assert first.infer(tensors)["seen_heat"].max() == 0


@pytest.mark.parametrize("overlap", [False, True])
def test_a_pipeline_starts_afresh_where_the_stream_was_lost(tmp_path, overlap):
    class Source:
        live, dropped = False, 0

        def __iter__(self):
            for k, (picture, epoch) in enumerate([(0, 0), (1, 0), (1, 1), (0, 1)]):
                yield replace(frame_of(k), image=frame_of(picture).image, epoch=epoch)

    class Watching:
        def __init__(self, model):
            self.model, self.heats = model, []

        def __getattr__(self, name):
            return getattr(self.model, name)

        def for_stream(self):
            other = Watching(self.model.for_stream())
            other.heats = self.heats
            return other

        def infer(self, tensors):
            outputs = self.model.infer(tensors)
            self.heats.append(outputs["seen_heat"].max())
            return outputs

    watching = Watching(open_model(one_square(tmp_path / "net.onnx"), device="cpu"))
    for _ in range(2):
        report = pipeline.run(Source(), watching, create("motion-deeplab"), overlap=overlap)
        assert report.tracks == 2
    assert watching.heats == [0, 1, 0, 1] * 2


def test_a_broken_frame_is_not_remembered(tmp_path):
    model = open_model(one_square(tmp_path / "net.onnx"), device="cpu")
    model.infer(model.preprocess(frame_of(0).image).tensors)
    run = model.session.run
    model.session.run = lambda tensors: {**run(tensors), "heat": np.full((1, 1, 40, 56), np.nan, np.float32)}
    with pytest.raises(DetectionsError, match="heat"):
        model.infer(model.preprocess(frame_of(1).image).tensors)
    model.session.run = run
    outputs = model.infer(model.preprocess(frame_of(1).image).tensors)
    assert outputs["seen_image"][0, 0, 0, 0] == 0
    assert np.isfinite(outputs["seen_heat"]).all()
    assert outputs["seen_heat"].max() == 1


# ---------------------------------------------------------------------- rules
def test_offsets_are_source_pixels(tmp_path):
    model = open_model(one_square(tmp_path / "net.onnx"), device="cpu", min_score=0.0)
    image = np.kron(frame_of(1).image, np.ones((2, 2, 1), np.uint8))  # the network sees it at half its size
    found = model(image)
    person = found.labels.tolist().index(11)
    np.testing.assert_allclose(found.boxes[person], [72, 12, 92, 32], atol=1)
    np.testing.assert_allclose(found.centres[person], [81.5, 21.5], atol=0.6)
    np.testing.assert_allclose(found.offsets[person], [-12, -8], atol=1e-5)


def test_a_small_frame_stays_as_it_is(tmp_path):
    model = open_model(one_square(tmp_path / "net.onnx"), device="cpu")
    found = model(frame_of(0, (41, 30)))
    assert found.panoptic.classes.shape == (30, 41)
    assert found.boxes[found.labels == 11].tolist() == [[30, 2, 40, 12]]


@pytest.mark.parametrize(("order", "labels"), [("raster", [11, 13]), ("score", [13, 11])])
def test_order_of_detections(tmp_path, order, labels):
    path = one_square(tmp_path / "net.onnx", order=order)
    model = open_model(path, device="cpu")
    run = model.session.run
    model.session.run = lambda tensors: {**run(tensors), "heat": brighter(run(tensors)["heat"], 5, 5)}
    assert model(frame_of(0)).labels.tolist() == labels
    model.session.run = run


def brighter(heat, y, x):
    out = heat.copy()
    out[0, 0, y, x] += 0.1
    return out


def test_empty_picture(tmp_path):
    pictures = np.zeros((1, SIZE[1], SIZE[0]), np.int64)
    maps = maps_of(pictures, np.zeros((*pictures.shape, 2)), 1000, [11])
    found = open_model(scripted(tmp_path / "net.onnx", maps), device="cpu")(frame_of(0))
    assert found.centres.shape == found.offsets.shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": {"order": "size"}}, "raster or score"),
        ({"facts": {"previous_heat": "nothing"}}, "3, 3 and 1 channels"),
        ({"outputs": {**CARD.outputs, "previous_offset": "heat"}}, "2 previous_offset"),
        ({"outputs": {**CARD.outputs, "previous_offset": "gone"}}, "'gone'"),
    ],
)
def test_a_card_that_does_not_fit(tmp_path, change, message):
    maps = maps_of(np.zeros((1, SIZE[1], SIZE[0]), np.int64), np.zeros((1, SIZE[1], SIZE[0], 2)), 1000, [11])
    with pytest.raises(ModelError, match=message):
        open_model(scripted(tmp_path / "net.onnx", maps, replace(CARD, **change)), device="cpu")
