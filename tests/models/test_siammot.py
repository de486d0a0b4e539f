"""SiamMOT's host loop on graphs whose results are known beforehand; parity with the authors is tests/exporters'."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.models.siammot_set import SIZE, STEP, picture, write_set
from tracker import create, pipeline
from tracker.errors import ConfigError, DetectionsError, ModelError, ModelNotFoundError, SnapshotError
from tracker.formats.mot import MotRows
from tracker.guide import Guided
from tracker.models import ModelCard, SessionConfig, open_model, write_card
from tracker.models.card import read_card
from tracker.models.siammot import GRAPHS, Memory, SiamMot, median_flow, open_siammot
from tracker.models.siammot import graphs as siammot_graphs
from tracker.models.siammot.graphs import SiamMotGraphs
from tracker.models.siammot.loop import Ahead, SiamMotMotion
from tracker.models.siammot.memory import SPEED_GAIN, new_speeds
from tracker.onnx.session import Session
from tracker.types import Detections, Flow, Frame, Tracks, TrackState

RED, BLUE, NOTHING = [10, 10, 30, 40], [70, 20, 90, 50], [40, 5, 60, 31]
PROPOSALS = [[x0, y0, x1 - 1, y1 - 1] for x0, y0, x1, y1 in (RED, BLUE, NOTHING)]

BIRTH = 0.8  # what a thing leaves behind at a proposal's place is no track


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("siammot") / "set", PROPOSALS)


@pytest.fixture
def network(folder: Path) -> SiamMot:
    return open_siammot(folder, "cpu")


def moved(box: Sequence[int], frames: int) -> list[int]:
    return [box[0] + STEP * frames, box[1], box[2] + STEP * frames, box[3]]


def scene(frames: int, hidden: Sequence[int] = (), scale: int = 1) -> list[np.ndarray]:
    """A red and a blue thing on their way; the red one is away in the `hidden` frames."""
    return [
        picture({"red": [] if k in hidden else [moved(RED, k)], "blue": [moved(BLUE, k)]}, scale=scale)
        for k in range(frames)
    ]


def follow(network: SiamMot, images: Sequence[np.ndarray], name: str = "siammot", **options: object) -> list[Tracks]:
    tracker, out = create(name, **{"birth_score": BIRTH, **options}), []
    for image in images:
        out.append(tracker.update(network(image)))
        network.follow(out[-1])
    return out


def remember(network: SiamMot, boxes: Sequence[Sequence[float]], labels: int = 0) -> None:
    """A memory of tracks in these places, with templates of the last picture there."""
    places = np.array(boxes, np.float32).reshape(-1, 4)
    none = np.zeros(0, np.int64)
    held = network.model.remember(network._outputs, places, network.model.no_templates, none)
    ids = np.arange(1, len(places) + 1)
    still = Memory.empty(held)
    network.memory = replace(
        still, ids=ids, boxes=places, labels=np.full(len(places), labels, np.int64),
        speeds=np.zeros((len(places), 2), np.float32), steps=0 * ids, unseen_s=np.zeros(len(places), np.float32),
    )  # fmt: skip


# ------------------------------------------------------------------ one stream
def test_tracks_are_found_where_they_went(network: SiamMot) -> None:
    for k, tracks in enumerate(follow(network, scene(4))):
        assert tracks.ids.tolist() == [1, 2] and tracks.labels.tolist() == [0, 1]
        assert tracks.boxes.tolist() == [moved(RED, k), moved(BLUE, k)]
        given = tracks.detections
        assert given.track_ids is not None and given.track_ids.tolist() == [-1, -1] + [1, 2] * (k > 0)
    assert network.memory.boxes.tolist() == [[x0, y0, x1 - 1, y1 - 1] for x0, y0, x1, y1 in tracks.boxes.tolist()]
    network.reset()
    assert len(network.memory.ids) == 0 and network(scene(1)[0]).track_ids.tolist() == [-1, -1]  # type: ignore[union-attr]


def test_a_row_scores_the_mean_of_class_and_visibility(network: SiamMot) -> None:
    follow(network, scene(1))
    memory = network.memory
    detections = network(scene(2)[1])
    found, visible = network.model.move(network._outputs, memory.boxes, memory.held)
    scores, boxes = network.model.refine(network._outputs, found)
    own = scores[[0, 1], memory.labels + 1]
    assert visible.min() > 0.8 and own.min() > 0.8 and not np.array_equal(visible, own)
    np.testing.assert_allclose(detections.scores[2:], (own + visible) / 2, atol=1e-6)
    np.testing.assert_array_equal(boxes[:, 1], memory.boxes + np.array([STEP, 0, STEP, 0], np.float32))


def test_a_hidden_track_waits_where_it_was_seen(network: SiamMot) -> None:
    *_, before, last = follow(network, scene(5, hidden=(3, 4)))
    assert before.coasting.ids.tolist() == [1] and last.coasting.misses.tolist() == [2]
    assert sorted(network.memory.ids.tolist()) == [1, 2]
    row = network.memory.ids.tolist().index(1)
    assert network.memory.boxes[row, 0] == moved(RED, 2)[0]
    template = network.memory.templates[row]
    assert template[0].mean() > 0.8 and template[2].mean() < 0.1  # still the red of frame 2


def test_a_hidden_track_waits_where_it_was_found_last(folder: Path) -> None:
    """The paper's way: each frame the search goes on from where it ended, so the track is met when it shows again."""
    model = open_siammot(folder, "cpu").model
    images = scene(8, hidden=(3, 4, 5, 6))
    seen, predicted = SiamMot(model), SiamMot(model, search="found")
    tracks = follow(predicted, images)
    assert tracks[6].coasting.ids.tolist() == [1] and tracks[7].coasting.ids.tolist() == []
    assert tracks[7].boxes[0].tolist() == moved(RED, 7)
    follow(seen, images[:7])
    waits = seen.memory.boxes[seen.memory.ids.tolist().index(1), 0]
    follow(predicted, images[:7])
    found = predicted.memory.boxes[-1, 0] if predicted.memory.ids[-1] else 0
    assert waits == moved(RED, 2)[0] and found > waits


def test_a_hidden_track_is_searched_for_where_it_is_by_now(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the speed that it had, in pictures that come at uneven times."""
    model, sought = open_siammot(folder, "cpu").model, []

    def move(outputs: object, last: np.ndarray, templates: object) -> tuple[np.ndarray, np.ndarray]:
        """A track head that reaches 8 pixels far."""
        sought.append(last[0, 0])
        near = np.abs(last[0, 0] - place) <= 8 and not away
        return np.array([[place, 10, place + 19, 39]], np.float32) if near else last, np.array([0.05 + 0.9 * near])

    none = model.move({}, np.zeros((0, 4), np.float32), None)
    monkeypatch.setattr(model, "move", lambda *args: move(*args) if len(args[1]) else none)
    ids: dict[str, list[int]] = {}
    for search in ("seen", "moving"):
        network, tracker = SiamMot(model, search=search), create("siammot", birth_score=BIRTH)
        sought.clear()
        for number, k in enumerate([0, 1, 2, 3, 5, 6, 9, 14]):  # of a clock of 10 beats a second
            place, away = 10 + 4 * k, k in (5, 6, 9)
            image = picture({"red": [] if away else [[place, 10, place + 20, 40]]})
            tracks = tracker.update(network(Frame(number, k / 10, image)))
            network.follow(tracks)
        ids[search] = tracks.ids[tracks.states != TrackState.COASTING].tolist()
    np.testing.assert_allclose(sought[1:], [18, 22, 30, 34, 46, 66], atol=1e-3)
    assert ids["moving"] == [1] and 1 not in ids["seen"]
    with pytest.raises(ConfigError, match="expected a search of seen, found, moving, got 'ahead'"):
        SiamMot(model, search="ahead")


def test_speeds_are_averaged_first_and_then_corrected() -> None:
    memory = replace(Memory.empty(None), ids=np.array([7]), boxes=np.array([[0, 0, 9, 9]], np.float32))
    memory = replace(memory, speeds=np.zeros((1, 2), np.float32), steps=np.zeros(1, np.int64), unseen_s=np.zeros(1))
    place, wanted = np.array([0.0, 0.0, 9.0, 9.0]), np.zeros(2)
    for n in range(1, 9):
        step, seconds = np.array([4.0, -2.0]) * n, 0.5 if n % 2 else 2.0
        place += np.tile(step, 2)
        memory = memory.after(seconds)
        speeds, steps = new_speeds(memory, np.array([9, 7]), np.stack([place, place]).astype(np.float32))
        wanted += (step / seconds - wanted) * max(SPEED_GAIN, 1 / n)
        np.testing.assert_allclose(speeds, [[0, 0], wanted], rtol=1e-5)
        assert steps.tolist() == [0, n]
        memory = replace(
            memory, boxes=place[None].astype(np.float32), speeds=speeds[1:], steps=steps[1:], unseen_s=np.zeros(1)
        )
    again, steps = new_speeds(memory, np.array([7]), memory.boxes + 5)
    assert again.tolist() == [[0, 0]] and steps.tolist() == [0], "two pictures of one moment say nothing of a speed"


def test_a_track_is_forgotten_with_its_last_row(network: SiamMot) -> None:
    """It is found once more, too weakly to come back, in the frame in which its time is over."""
    tracks = follow(network, scene(4, hidden=(2,)), max_coast_frames=1, resume_score=0.999)[-1]
    row = tracks.ids.tolist().index(1)
    assert tracks.source[row] >= 0 and tracks.misses[row] == 2 and 1 not in tracks.confirmed.ids
    assert 1 not in network.memory.ids


def test_classes_stay_with_their_tracks(network: SiamMot) -> None:
    """A blue track's row has the blue score, though the box head's rows are not sorted by class."""
    network(scene(1)[0])
    remember(network, [PROPOSALS[1], PROPOSALS[0]])
    network.memory = replace(network.memory, labels=np.array([1, 0]))
    detections = network(scene(2)[1])
    assert detections.labels[-2:].tolist() == [1, 0] and detections.scores[-2:].min() > 0.8
    network.memory = replace(network.memory, labels=np.array([0, 1]))
    detections = network(scene(2)[1])
    assert detections.scores[-2:].max() < 0.5  # the other class: half of the visibility


def test_frames_of_another_size(network: SiamMot) -> None:
    """The solver's boxes are those of the network, stretched."""
    for k, tracks in enumerate(follow(network, scene(3, scale=3))):
        np.testing.assert_allclose(tracks.boxes, np.array([moved(RED, k), moved(BLUE, k)]) * 3, atol=1e-4)


@pytest.mark.parametrize("modal", [True, False])
def test_boxes_of_a_modal_network_end_with_the_picture(tmp_path: Path, modal: bool) -> None:
    edge = [110, 10, 126, 40]
    network = open_siammot(write_set(tmp_path / "set", [[110, 10, 125, 39]], modal=modal), "cpu")
    images = [picture({"red": [[min(x, SIZE[0]) for x in moved(edge, k)]]}) for k in range(5)]
    tracks = follow(network, images)
    ends = [float(snapshot.boxes[0, 2]) for snapshot in tracks]
    assert ends == [min(126 + STEP * k, SIZE[0]) if modal else 126 + STEP * k for k in range(5)]
    assert all(len(snapshot) == 1 for snapshot in tracks)


# ------------------------------------------------------------------ without learned motion
def forbid(monkeypatch: pytest.MonkeyPatch, *graphs: str) -> None:
    """No graph of these may run."""
    run = Session.run_held

    def checked(self: Session, *args: object) -> object:
        assert self.path.stem not in graphs, self.path
        return run(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "run_held", checked)


def uniform(dx: float, dy: float, scale: int = 1) -> Flow:
    """Everything goes one way."""
    return Flow(np.full((SIZE[1] * scale, SIZE[0] * scale, 2), (dx, dy), np.float32))


def test_the_box_head_alone_finds_tracks_from_their_last_box(network: SiamMot, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "motion", "template")
    stream = SiamMot(network.model, learned=False)
    (first, *_) = follow(stream, scene(1), "siammot-tracktor")
    detections = stream(scene(2)[1])
    scores, _ = network.model.refine(stream._outputs, stream.memory.boxes)
    assert detections.boxes[2:].tolist() == first.boxes.tolist() and detections.track_ids.tolist() == [-1, -1, 1, 2]  # type: ignore[union-attr]
    np.testing.assert_allclose(detections.scores[2:], scores[[0, 1], stream.memory.labels + 1], atol=1e-6)
    assert len(stream.memory.templates) == 0


@pytest.mark.parametrize("learned", [False, True])
def test_flow_moves_the_places(network: SiamMot, learned: bool) -> None:
    """By source pixels; learned motion goes on from there."""
    stream = SiamMot(network.model, learned=learned)
    images = scene(2, scale=2)
    (first, *_) = follow(stream, images[:1])
    detections = stream(images[1], flow=uniform(7, 3, scale=2))
    shift = np.array([7 + 2 * STEP * learned, 3] * 2)
    np.testing.assert_allclose(detections.boxes[2:], first.boxes + shift, atol=1e-4)


def test_flow_leaves_hidden_tracks_where_they_are(network: SiamMot) -> None:
    stream, tracker = SiamMot(network.model, learned=False), create("siammot-flow", birth_score=BIRTH)
    images = scene(5, hidden=(2, 3, 4))
    for image in images[:4]:
        tracks = tracker.update(stream(image, flow=uniform(STEP, 0)))
        stream.follow(tracks)
    assert tracks.coasting.ids.tolist() == [1] and stream.memory.seen == 1
    rows = stream(images[4], flow=uniform(STEP, 0))
    assert rows.track_ids is not None and rows.track_ids[-2:].tolist() == [2, 1]
    assert rows.boxes[-2:].tolist() == [moved(BLUE, 4), moved(RED, 1)]


def test_flow_inside_a_box_is_a_median_of_what_stays_in_sight() -> None:
    flow = uniform(0, 0)
    flow.forward[10:40, 10:21] = (4, 1)  # 11 of 20 columns
    flow.forward[10:40, 21:30] = (90, 90)
    flow.forward[11, 11:14] = np.nan
    boxes = np.array(
        [RED, [10.5, 10.5, 29.5, 39.5], BLUE, [500, 5, 520, 9], [-30, -30, -1, -2], [5, 5, 5, 5]], np.float32
    )
    wanted = [[4, 1], [4, 1], [0, 0], [0, 0], [0, 0], [0, 0]]
    assert median_flow(flow, boxes).tolist() == wanted
    hidden = np.zeros(SIZE[::-1], np.bool_)
    hidden[10:40, 10:19] = True
    assert median_flow(replace(flow, occluded=hidden), boxes)[0].tolist() == [90, 90]
    assert median_flow(replace(flow, occluded=~np.zeros_like(hidden)), boxes).tolist() == [[0, 0]] * 6
    assert median_flow(flow, np.zeros((0, 4), np.float32)).shape == (0, 2)


# ------------------------------------------------------------------ going on later
@pytest.mark.parametrize("learned", [True, False])
def test_a_memory_goes_on_elsewhere(network: SiamMot, learned: bool) -> None:
    images, tracker = scene(8, hidden=(3, 4)), create("siammot", birth_score=BIRTH)
    stream, wanted = SiamMot(network.model, learned=learned), []
    for k, image in enumerate(images):
        if k == 4:
            saved = stream.dump()
            stream = SiamMot(network.model, learned=learned)
            stream.restore(saved)
        wanted.append(tracker.update(stream(image)))
        stream.follow(wanted[-1])
    alone = follow(SiamMot(network.model, learned=learned), images)
    for ours, theirs in zip(alone, wanted, strict=True):
        assert ours.ids.tolist() == theirs.ids.tolist() and ours.boxes.tolist() == theirs.boxes.tolist()


def test_a_memory_of_another_network_is_refused(network: SiamMot) -> None:
    follow(network, scene(1))
    saved = network.dump()
    with pytest.raises(SnapshotError, match=r"shape \(2, 3, 15, 15\), got \(2, 3, 7, 7\); was it another network"):
        network.restore({**saved, "templates": np.zeros((2, 3, 7, 7), np.float32)})
    with pytest.raises(SnapshotError, match=r"expected ids, .* got ids, boxes; was it an earlier version"):
        network.restore({name: saved[name] for name in ("ids", "boxes")})
    with pytest.raises(SnapshotError, match="expected templates"):
        SiamMot(network.model, learned=False).restore(saved)
    assert len(network.memory.ids) == 2


# ------------------------------------------------------------------ public detections
def test_given_boxes_are_read_as_the_authors_read_them(network: SiamMot) -> None:
    """x2 is the last pixel before it is scaled; a box of less than a pixel has one column."""
    given = np.array([RED, [70, 20, 70.5, 50]], np.float32) * 2
    placement = network.model.preprocess(scene(1, scale=2)[0]).placement
    places = siammot_graphs.to_legacy(given, placement)
    np.testing.assert_allclose(places, [[10, 10, 29.5, 39.5], [70, 20, 70, 49.5]])


def test_given_boxes_replace_proposals(network: SiamMot) -> None:
    image = scene(1)[0]
    shifted = [BLUE[0] + 3, *BLUE[1:]]
    detections = network(image, public=np.array([NOTHING, shifted], np.float32))
    assert detections.boxes.tolist() == [shifted] and detections.labels.tolist() == [1]
    tracks = create("siammot").update(detections)
    network.follow(tracks)
    nothing = network(scene(2)[1], public=np.zeros((0, 4), np.float32))  # tracks run on
    assert nothing.track_ids is not None and nothing.track_ids.tolist() == [1]
    assert nothing.boxes.tolist() == [moved(shifted, 1)]
    network.reset()
    assert len(network(image, public=np.zeros((0, 4), np.float32))) == 0  # nor is there anything to look for


# ------------------------------------------------------------------ any number of tracks
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_any_number_of_tracks(network: SiamMot, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(count)
    network(scene(1)[0])
    corners = rng.uniform(-50, 150, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 120, (count, 2))], 1).astype(np.float32)
    boxes[1:2] = [-5000, -4000, -4950, -3900]  # wholly outside
    remember(network, boxes)
    found, seen = [], []
    for chunk, bucket in ((siammot_graphs.CHUNK, 1), (siammot_graphs.CHUNK, 8), (7, 4)):
        monkeypatch.setattr(siammot_graphs, "CHUNK", chunk)
        network.model._bucket = bucket
        moved, visible = network.model.move(network._outputs, network.memory.boxes, network.memory.held)
        found.append(moved)
        seen.append(visible)
        np.testing.assert_array_equal(moved, boxes + np.array([STEP, 0, STEP, 0], np.float32))
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-6)
    np.testing.assert_allclose(seen[0], seen[2], atol=1e-6)
    detections = network(scene(2)[1])
    assert len(detections) == count + 2 and np.isfinite(detections.scores).all()
    if count > 1:
        assert detections.scores[3] < 0.5 and detections.boxes[3].tolist() == [-4998, -4000, -4947, -3899]


# ------------------------------------------------------------------ what stays on the device
def test_maps_and_templates_stay_where_the_graphs_run(network: SiamMot) -> None:
    follow(network, scene(2))
    assert all(isinstance(network._outputs[name], onnxruntime.OrtValue) for name in siammot_graphs.MAPS)
    assert isinstance(network.memory.held, onnxruntime.OrtValue) and network.memory.templates.shape == (2, 3, 15, 15)


def test_graphs_on_different_devices_pass_arrays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as motion that fell back to the CPU: what one holds the other cannot take."""
    wanted = follow(open_siammot(folder, "cpu"), scene(4, hidden=(2,)))
    opened = Session.__init__

    def elsewhere(self: Session, *args: object, **kwargs: object) -> None:
        opened(self, *args, **kwargs)  # type: ignore[arg-type]
        if self.path.stem == "motion":
            self.device = "elsewhere"

    monkeypatch.setattr(Session, "__init__", elsewhere)
    network = open_siammot(folder, "cpu")
    found = follow(network, scene(4, hidden=(2,)))
    assert isinstance(network.memory.held, np.ndarray) and isinstance(network._outputs["p2"], np.ndarray)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.boxes.tolist() == theirs.boxes.tolist() and ours.ids.tolist() == theirs.ids.tolist()


def test_held_values_are_checked_like_arrays(network: SiamMot) -> None:
    trunk = network.model.session
    image = np.zeros((1, 3, SIZE[1], SIZE[0]), np.float32)
    held = trunk.run_held({"image": image}, {"p2", "candidates"})
    arrays = trunk.run({"image": image})
    assert isinstance(held["p2"], onnxruntime.OrtValue) and isinstance(held["p3"], np.ndarray)
    np.testing.assert_array_equal(held["p2"].numpy(), arrays["p2"])
    with pytest.raises(ModelError, match=r"expected input image .* got \[1, 3, 16, 32\] float32"):
        trunk.run_held({"image": held["p2"]}, ())
    again = trunk.run_held({"image": np.ones_like(image)}, {"p2"})  # a later run writes into nothing that was held
    np.testing.assert_array_equal(held["p2"].numpy(), arrays["p2"])
    assert again["p2"].numpy().min() == 1


# ------------------------------------------------------------------ as a model
@pytest.mark.parametrize("part", ["", *(f"{name}.onnx" for name in GRAPHS)])
def test_any_file_of_a_set_opens_all(folder: Path, part: str) -> None:
    model = open_model(folder / part, device="cpu")
    assert isinstance(model, SiamMotGraphs) and model.card.task == "detect" and model.head == "emm"
    assert model.session.path.name == "trunk.onnx" and model.gives == {"track_ids"}
    detections = model(scene(1)[0])
    assert detections.boxes.tolist() == [RED, BLUE] and detections.labels.tolist() == [0, 1]
    assert detections.track_ids is None


def test_settings_of_the_user(folder: Path) -> None:
    assert len(open_model(folder, device="cpu", classes=["blue"])(scene(1)[0])) == 1
    assert len(open_model(folder, device="cpu", min_score=0.95)(scene(1)[0])) == 0


# ------------------------------------------------------------------ in the frame loop
class Source:
    """Frames of a list."""

    live, dropped = False, 0

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        self._images = images

    def __iter__(self) -> Iterator[Frame]:
        for k, image in enumerate(self._images):
            yield Frame(k, k / 30, image)


def loop(
    model: SiamMotGraphs, images: Sequence[np.ndarray], *, every: int = 1, public: MotRows | None = None,
    overlap: bool = True, detect_every: int = 1,
) -> list[Tracks]:  # fmt: skip
    """Tracks; the trunk runs on each `every`-th frame, detection on each `detect_every`-th of these."""
    out: list[Tracks] = []
    motion = SiamMotMotion(SiamMot(model), public=public, look=pipeline.every(detect_every))
    guided = Guided(create("siammot", birth_score=BIRTH), motion=motion)
    pipeline.run(
        Source(images), Ahead(model), guided, overlap=overlap, look=pipeline.every(every),
        on_frame=lambda _, tracks: out.append(tracks),
    )  # fmt: skip
    return out


@pytest.mark.parametrize("overlap", [True, False])
def test_the_trunk_may_work_ahead(folder: Path, network: SiamMot, overlap: bool) -> None:
    images = scene(8, hidden=(3, 4))
    wanted = follow(network, images)
    for ours, theirs in zip(loop(network.model, images, overlap=overlap), wanted, strict=True):
        assert ours.ids.tolist() == theirs.ids.tolist() and ours.boxes.tolist() == theirs.boxes.tolist()
        assert ours.detections.scores.tolist() == theirs.detections.scores.tolist()


def test_streams_on_one_model_do_not_know_each_other(network: SiamMot) -> None:
    images, others = scene(5), scene(5, hidden=(2, 3))
    alone = [follow(SiamMot(network.model), given)[-1] for given in (images, others)]
    streams = [SiamMot(network.model), SiamMot(network.model)]
    trackers = [create("siammot", birth_score=BIRTH) for _ in streams]
    for pair in zip(images, others, strict=True):
        snapshots = [t.update(s(image)) for s, t, image in zip(streams, trackers, pair, strict=True)]
        for stream, tracks in zip(streams, snapshots, strict=True):
            stream.follow(tracks)
    for ours, theirs in zip(snapshots, alone, strict=True):
        assert ours.boxes.tolist() == theirs.boxes.tolist() and ours.misses.tolist() == theirs.misses.tolist()


@pytest.mark.parametrize("overlap", [True, False])
def test_frames_without_detection(network: SiamMot, overlap: bool) -> None:
    """Tracks are found on all of them; what is new waits for the next detection, what is hidden too."""
    red = [moved(RED, max(k - 3, 0)) for k in range(8)]  # waits in frames 1 to 3, hides in frame 5
    images = [picture({"red": [] if k in (0, 5) else [red[k]], "blue": [moved(BLUE, k)]}) for k in range(8)]
    tracks = loop(network.model, images, detect_every=3, overlap=overlap)
    assert [t.detections.looked for t in tracks] == [k % 3 == 0 for k in range(8)]
    assert [t.confirmed.ids.tolist() for t in tracks] == [[1]] * 3 + [[1, 2]] * 5  # blue was there first
    assert [t.boxes[0].tolist() for t in tracks] == [moved(BLUE, k) for k in range(8)]
    assert [t.source.tolist() for t in tracks[3:6]] == [[2, 0], [0, 1], [0, -1]]
    assert [t.misses.tolist() for t in tracks[3:]] == [[0, 0]] * 5, "nobody is missed in between"
    assert tracks[4].boxes[1].tolist() == red[4] and tracks[5].boxes[1].tolist() == red[4]


def test_frames_that_the_trunk_does_not_see(network: SiamMot) -> None:
    """Nothing is searched, nothing is forgotten, and tracks go on when somebody looks again."""
    slow = [image for image in scene(4) for _ in range(2)]
    tracks = loop(network.model, slow, every=2)
    assert [snapshot.ids.tolist() for snapshot in tracks] == [[1, 2]] * 8
    assert tracks[6].boxes.tolist() == [moved(RED, 3), moved(BLUE, 3)] and len(tracks[7].detections) == 0


class Drift:
    """Optical flow that is the same everywhere, and whether it was asked to begin anew."""

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.resets = 0

    def update(self, frame: Frame) -> Flow:
        self.frames.append(frame.index)
        return uniform(STEP, 0)

    def reset(self) -> None:
        self.resets += 1


def test_flow_in_the_loop(network: SiamMot) -> None:
    drift, images = Drift(), scene(4)
    motion, ahead = SiamMotMotion(SiamMot(network.model, learned=False), flow=drift), Ahead(network.model)
    guided = Guided(create("siammot-flow", birth_score=BIRTH), motion=motion)
    for k, image in enumerate(images):
        frame = Frame(k, k / 30, image, epoch=k // 2)
        tracks = guided.update(pipeline.detect(ahead, frame), frame)
        assert tracks.boxes.tolist() == [moved(RED, k), moved(BLUE, k)] and tracks.ids.tolist() == [1, 2]
        guided.update(Detections.unlooked(), frame)  # in no trunk: the next flow spans it
    assert drift.frames == [0, 1, 2, 3] and drift.resets == 1, "the stream was lost once"
    guided.reset()
    assert drift.resets == 2 and len(motion.stream.memory.ids) == 0


def test_public_detections_of_each_frame(network: SiamMot) -> None:
    rows = np.array([[*BLUE], [*moved(RED, 1)]], np.float64)
    public = MotRows(np.array([0, 1]), np.array([-1, -1]), rows, np.zeros(2), np.zeros((2, 3)))  # scores do not count
    tracks = loop(network.model, scene(3), public=public)
    assert [snapshot.ids.tolist() for snapshot in tracks] == [[1], [1, 2], [1, 2]]
    assert tracks[2].boxes.tolist() == [moved(BLUE, 2), moved(RED, 2)]


def test_a_plan_with_filters_takes_the_rows_too(network: SiamMot) -> None:
    """Tentative tracks of any system are searched for as well."""
    out: list[Tracks] = []
    guided = Guided(create("bytetrack", follow_score=0.5), motion=SiamMotMotion(SiamMot(network.model)))
    pipeline.run(Source(scene(5)), Ahead(network.model), guided, on_frame=lambda _, tracks: out.append(tracks))
    assert out[-1].ids.tolist() == [1, 2] and (out[-1].detections.track_ids >= 0).sum() == 2  # type: ignore[operator]


def test_detections_of_others_pass(network: SiamMot) -> None:
    motion = SiamMotMotion(SiamMot(network.model))
    others = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    assert motion.predict(Frame(0, 0.0, scene(1)[0]), others) is others
    with pytest.raises(DetectionsError, match="last detections"):
        network.follow(create("siammot").update(Detections(np.zeros((0, 4)), np.zeros(0), track_ids=np.zeros(0, int))))


# ------------------------------------------------------------------ sets that are none
def test_missing_graphs_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"trunk.onnx, boxes.onnx, template.onnx, motion.onnx missing"):
        open_siammot(tmp_path)
    for name in GRAPHS:
        shutil.copy(folder / f"{name}.onnx", tmp_path)
    for name in ("trunk", "motion"):
        (tmp_path / f"{name}.onnx").unlink()
        with pytest.raises(ModelNotFoundError, match=f"together in .*{name}.onnx.* missing"):
            open_model(tmp_path, device="cpu")
        shutil.copy(folder / f"{name}.onnx", tmp_path)
    with pytest.raises(ModelError, match="got the folder"):
        open_model(tmp_path.parent, device="cpu")


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_of_different_sets_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    for facts, size, message in (
        ({}, (64, 64), "input size"), ({"template": 7}, SIZE, "template")
    ):  # fmt: skip
        shutil.copytree(folder, tmp_path / "set", dirs_exist_ok=True)
        other = write_set(tmp_path / "other", PROPOSALS, facts=facts, size=size)
        shutil.copy(other / f"{name}.onnx", tmp_path / "set")
        with pytest.raises(ModelError, match=f"does not belong to trunk.onnx beside it: {message}"):
            open_model(tmp_path / "set", device="cpu")


def test_only_two_graphs_know_the_track_head(folder: Path, tmp_path: Path) -> None:
    other = write_set(tmp_path / "other", PROPOSALS, facts={"motion": "imm"})
    for name in GRAPHS:
        shutil.copytree(folder, tmp_path / "set", dirs_exist_ok=True)
        shutil.copy(other / f"{name}.onnx", tmp_path / "set")
        if name in ("template", "motion"):
            with pytest.raises(ModelError, match=r"does not belong to template\.onnx beside it: track head"):
                open_model(tmp_path / "set", device="cpu")
        else:
            model = open_model(tmp_path / "set", device="cpu")
            assert isinstance(model, SiamMotGraphs) and model.head == "emm"


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_of_different_checkpoints_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder, tmp_path / "set")
    card = read_card(Session(folder / f"{name}.onnx", SessionConfig("cpu")).metadata)
    assert card is not None
    write_card(tmp_path / "set" / f"{name}.onnx", replace(card, checkpoint_sha256="d" * 64))
    with pytest.raises(ModelError, match=r"does not belong to trunk\.onnx beside it: checkpoint"):
        open_model(tmp_path / "set", device="cpu")


def test_graphs_in_each_others_place_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.copy(folder / "boxes.onnx", tmp_path / "motion.onnx")
    with pytest.raises(ModelError, match=r"expected the graph 'motion' of a siammot set, got .* graph 'boxes'"):
        open_model(tmp_path, device="cpu")
    write_card(tmp_path / "trunk.onnx", ModelCard("siammot", "segment"))
    with pytest.raises(ModelError, match="expected a graph of a siammot set"):
        open_model(tmp_path, device="cpu")
