"""Automatic annotation: what becomes a tracklet, and files that are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.reference import flow as reference
from tracker.annotation import FORMAT_OF, Miner, merge_truths, mine
from tracker.errors import ConfigError, DetectionsError, FormatError, FrameError, SourceError
from tracker.flow import DisFlow
from tracker.formats.mots import read_mots
from tracker.formats.youtube_vis import read_truth
from tracker.masks import Masks
from tracker.sources.street import STREET_CLASSES, Street
from tracker.types import Detections, Flow, Frame, TrackState

HEIGHT, WIDTH = 40, 90


class ConstantFlow:
    """Everything moves alike; like the real ones, the first frame of a stream has no flow."""

    def __init__(self, dx: float = 0.0, dy: float = 0.0, backward: bool = True) -> None:
        self._step, self._backward, self._first = (dx, dy), backward, True

    def update(self, frame: Frame) -> Flow:
        forward = np.broadcast_to(np.array(self._step, np.float32), (frame.height, frame.width, 2))
        unknown = np.full((frame.height, frame.width), self._first)
        self._first = False
        return Flow(forward, -forward if self._backward else None, unknown, unknown)

    def reset(self) -> None:
        self._first = True


def frame_at(index: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Frame:
    return Frame(index, index / 10, np.zeros((*size, 3), np.uint8))


def seen(*rects: tuple[int, int, int, int], labels: list[int] | None = None, scores: list[float] | None = None):
    """Detections that are filled rectangles x0 y0 x1 y1."""
    stack = np.zeros((len(rects), HEIGHT, WIDTH), bool)
    for mask, (x0, y0, x1, y1) in zip(stack, rects, strict=True):
        mask[y0:y1, x0:x1] = True
    masks = Masks.from_dense(stack)
    return Detections(masks.boxes, scores or [0.9] * len(rects), labels or [0] * len(rects), masks)


def ids_of(miner: Miner, *frames: Detections) -> list[list[int]]:
    return [miner.update(detections, frame_at(k)).ids.tolist() for k, detections in enumerate(frames)]


def test_segments_keep_their_ids_along_the_flow() -> None:
    moving = [seen((5 + 8 * t, 5, 20 + 8 * t, 20), (50 + 8 * t, 20, 60 + 8 * t, 35)) for t in range(4)]
    assert ids_of(Miner(ConstantFlow(8.0)), *moving) == [[1, 2]] * 4
    assert ids_of(Miner(ConstantFlow(-8.0)), *moving)[1:] == [[3, 4], [5, 6], [7, 8]]  # flow says they went left


def test_an_uncertain_link_is_none_and_an_id_never_comes_back() -> None:
    """Two squares become one blob, which either explains; one frame of nothing ends everything."""
    two, blob = seen((5, 5, 15, 15), (15, 5, 25, 15)), seen((5, 5, 25, 15))
    assert ids_of(Miner(ConstantFlow()), two, two, blob, blob, seen(), blob) == [[1, 2], [1, 2], [3], [3], [], [4]]


def test_classes_are_never_mixed() -> None:
    car, person = seen((5, 5, 25, 15), labels=[0]), seen((5, 5, 25, 15), labels=[1])
    assert ids_of(Miner(ConstantFlow()), car, person, person) == [[1], [2], [2]]


def test_every_detection_comes_back_once_and_the_better_score_keeps_pixels() -> None:
    miner = Miner(ConstantFlow())
    for _ in range(3):
        tracks = miner.update(
            seen((5, 5, 25, 15), (5, 5, 25, 15), (20, 5, 40, 15), scores=[0.5, 0.9, 0.7]), frame_at(0)
        )
    assert (tracks.source.tolist(), tracks.unmatched.tolist()) == ([1, 2], [0])
    assert tracks.hits.tolist() == [3, 3] and set(tracks.states.tolist()) == {TrackState.CONFIRMED}
    assert tracks.masks is not None and tracks.masks.areas.tolist() == [200, 150]


def test_a_video_starts_anew_after_reset_and_after_another_size() -> None:
    miner, one = Miner(ConstantFlow()), seen((5, 5, 25, 15))
    assert ids_of(miner, one, one) == [[1], [1]]
    small = Masks.from_dense(np.ones((1, 20, 30), bool))
    other = Detections(small.boxes, [0.9], [0], small)  # type: ignore[arg-type]
    assert miner.update(other, frame_at(2, (20, 30))).ids.tolist() == [2]
    miner.reset()
    assert ids_of(miner, one, one) == [[1], [1]]


@pytest.mark.parametrize("seed", range(4))
def test_links_equal_those_of_the_twin(seed: int) -> None:
    """Random discs on smooth random flow: a link for a link what the slow payoff and every assignment give."""
    from tests.reference.association import match_exact

    rng = np.random.default_rng(seed)
    stacks = [Masks.from_dense(reference.discs(rng, 6, HEIGHT, WIDTH, 12)).disjoint() for _ in range(2)]
    flow = reference.smooth_flow(rng, HEIGHT, WIDTH, 5.0)
    still = SimpleNamespace(
        reset=lambda: None, update=lambda frame: Flow(-flow, flow, revealed=np.full(flow.shape[:2], frame.index == 0))
    )
    labels = rng.integers(0, 2, (2, 6)).astype(np.int32)
    miner = Miner(still)
    snapshots = [
        miner.update(Detections(masks.boxes, [0.9] * 6, classes, masks), frame_at(k))  # type: ignore[arg-type]
        for k, (masks, classes) in enumerate(zip(stacks, labels, strict=True))
    ]
    rows = [tracks.source for tracks in snapshots]
    maps = [masks.select(kept).to_label_map() for masks, kept in zip(stacks, rows, strict=True)]
    classes = [numbers[kept] for numbers, kept in zip(labels, rows, strict=True)]
    values, _ = reference.payoff(maps[1], classes[1], maps[0], classes[0], flow, 10, 10, 2)
    first, second = (tracks.ids.tolist() for tracks in snapshots)
    won = sum(values[second.index(number), first.index(number)] for number in second if number in first)
    assert won == pytest.approx(match_exact(values), abs=1e-9)
    assert all(values[second.index(number), first.index(number)] > 0 for number in second if number in first)


def test_what_cannot_be_mined() -> None:
    boxes = Detections([[0, 0, 5, 5]], [0.9])  # type: ignore[arg-type]
    with pytest.raises(DetectionsError, match="expected masks of 40 x 90 pixels as the frame, got none"):
        Miner(ConstantFlow()).update(boxes, frame_at(0))
    with pytest.raises(DetectionsError, match="expected masks of 20 x 30 pixels as the frame, got 40 x 90"):
        Miner(ConstantFlow()).update(seen(), frame_at(0, (20, 30)))
    with pytest.raises(FrameError, match="flow is seen in pictures"):
        Miner(ConstantFlow()).update(seen())
    with pytest.raises(ConfigError, match="this method gives none"):
        Miner(ConstantFlow(backward=False)).update(seen(), frame_at(0))
    with pytest.raises(ConfigError, match=r"expected annotations as kitti-mots, .*, got 'mot'"):
        mine(None, None, None, Path("x"), form="mot")  # type: ignore[arg-type]


class StreetVideo:
    """A synthetic street as source, and its true masks as segmenter, which misses an object in every third frame."""

    live, dropped = False, 0

    def __init__(self, frames: int = 16, fails_at: int = -1) -> None:
        self._street = Street(seed=3, size=(240, 136), frames=frames, objects=8)
        self._fails_at, self._next = fails_at, 0

    def __iter__(self):
        for frame in self._street:
            if frame.index == self._fails_at:
                raise SourceError("the video breaks off")
            yield frame

    def preprocess(self, image):
        return image, None

    def infer(self, tensors):
        return tensors

    def decode(self, outputs, placement):
        detections, _ = self._street.render(self._next).detections()
        self._next += 1
        missed = self._next % len(detections) if self._next % 3 == 0 else -1
        return detections.select(np.arange(len(detections)) != missed)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tracklets of a street, also the shortest."""
    path, video = tmp_path_factory.mktemp("mined") / "street.txt", StreetVideo()
    mined = mine(video, video, DisFlow(), path, class_names=STREET_CLASSES, min_length=1)
    assert (mined.frames, mined.segments) == (16, len(path.read_text().splitlines()))
    return path


def test_tracklets_of_a_street_are_pure(whole: Path) -> None:
    """Every true object's ids: hardly a tracklet that has two objects, and most links are made."""
    video, links, possible = StreetVideo(), 0, 0
    before: dict[int, int] = {}
    owners: dict[int, list[int]] = {}
    found = read_mots(whole)
    for t, frame in enumerate(video._street):
        detections, true_ids = video._street.render(frame.index).detections()
        assert detections.masks is not None
        iou = found[t].masks.iou(detections.masks.disjoint(detections.scores))
        now: dict[int, int] = {}
        for row, number in enumerate(found[t].ids.tolist()):
            true = int(true_ids[iou[row].argmax()])
            owners.setdefault(number, []).append(true)
            now[true] = number
        possible += len(before.keys() & now.keys())
        links += sum(before[true] == now[true] for true in before.keys() & now.keys())
        before = now
    assert len(owners) >= 5 and all(len(set(true)) == 1 for true in owners.values())
    assert links > 0.8 * possible


def test_the_minimum_length_is_exact(whole: Path, tmp_path: Path) -> None:
    path, video = tmp_path / "street.txt", StreetVideo()
    mined = mine(video, video, DisFlow(), path, class_names=STREET_CLASSES, min_length=6)
    lines = [line.split() for line in whole.read_text().splitlines()]
    ids = [line[1] for line in lines]
    kept = [" ".join(line) for line in lines if ids.count(line[1]) >= 6]
    assert path.read_text().splitlines() == kept and 0 < len(kept) < len(lines)
    assert (mined.tracklets, mined.segments) == (len({line.split()[1] for line in kept}), len(kept))


@pytest.mark.parametrize("form", FORMAT_OF)
def test_a_video_that_breaks_off_leaves_no_file_and_is_done_anew(form: str, tmp_path: Path) -> None:
    path, broken, video = tmp_path / "street", StreetVideo(8, fails_at=6), StreetVideo(8)
    with pytest.raises(SourceError, match="breaks off"):
        mine(broken, broken, DisFlow(), path, class_names=STREET_CLASSES, form=form)
    assert not path.exists() and (tmp_path / "street.part").exists()
    mine(video, video, DisFlow(), path, class_names=STREET_CLASSES, form=form)
    assert path.exists() and not (tmp_path / "street.part").exists()


def test_annotations_of_many_videos_in_one_json(tmp_path: Path) -> None:
    paths = []
    for name in ("first", "second"):
        video = StreetVideo(8)
        paths.append(tmp_path / f"{name}.json")
        mine(video, video, DisFlow(), paths[-1], class_names=STREET_CLASSES, form="youtube-vis")
    merge_truths(paths, tmp_path / "annotations.json")
    merged, single = read_truth(tmp_path / "annotations.json"), read_truth(paths[0])
    assert [video.file_names[0] for video in merged.videos.values()] == ["first/00000.jpg", "second/00000.jpg"]
    assert list(merged.categories.values()) == list(STREET_CLASSES) and len(merged.tracks) == 2 * len(single.tracks) > 0
    assert [track.id for track in merged.tracks] == list(range(1, len(merged.tracks) + 1))
    assert [track.masks for track in merged.tracks if track.video == 2] == [track.masks for track in single.tracks]
    content = json.loads(paths[0].read_text())
    content["categories"][0]["name"] = "cat"
    paths[1].write_text(json.dumps(content))
    with pytest.raises(FormatError, match="its categories are not those"):
        merge_truths(paths, tmp_path / "annotations.json")
