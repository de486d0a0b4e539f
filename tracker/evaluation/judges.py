"""Judge tracks in memory, again and again: ground truth is read once, and no result file is written.

`tracker eval` compares files. A search over a system's parameters makes new tracks from the same stored detections
hundreds of times; a `Judge` holds the truth of one sequence and says of each attempt what metrics take, with the rules
of the same benchmark and the same numbers as `tracker eval` gives for the files of `tracker run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ConfigError, DetectionsError, FormatError
from tracker.evaluation import davis_rules, kitti_rules, mot_rules, mots_rules, step_rules
from tracker.evaluation.pieces import Pieces
from tracker.evaluation.segments import Segments
from tracker.evaluation.sequences import Span, find_picture_folders, find_truth, stated_length
from tracker.formats.class_set import PANOPTIC_SETS, ClassSet
from tracker.formats.frame_objects import PixelMap
from tracker.formats.kitti import TYPE_OF_NAME, KittiRows, read_kitti
from tracker.formats.mot import MotRows, read_mot
from tracker.formats.mots import CLASS_OF_NAME, PEDESTRIAN, MotsFrame
from tracker.formats.step import numbered_files, read_step
from tracker.formats.youtube_vis import VisTrack, read_truth, read_videos
from tracker.masks import Masks, Rle
from tracker.types import Detections, Panoptic, Tracks

Arguments = Mapping[str, Iterable[tuple[Any, ...]]]
"""Class name -> the arguments of one `update` of a metric after the other."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What a network saw of one sequence.

    Attributes:
        path: of the file, for messages.
        frames: frame from 0 -> its detections; frames that are not there had none.
        class_names: of the labels; none where the file does not say, then everything is of the judged class.
        pictures: frames from 0 and their panoptic pictures, ascending, where the network gave any. They are large, so
            they are read here, once, and the detections are without them.
    """

    path: Path
    frames: Mapping[int, Detections]
    class_names: tuple[str, ...] = ()
    pictures: Iterable[tuple[int, Panoptic]] = ()

    @property
    def length(self) -> int:
        """Frames up to the last one with a detection."""
        return max((t for t, seen in self.frames.items() if len(seen)), default=-1) + 1


class Judge(Protocol):
    """One sequence's truth.

    Attributes:
        begin: first frame that counts, from 0.
        end: the frame after the last one; a tracker is shown all frames before it.
    """

    begin: int
    end: int

    def compare(self, tracked: Iterable[Tracks], kind: str) -> Arguments:
        """What metrics of a kind (`Row.takes`) are fed with, for the tracks of frames 0 to `end` - 1."""


class MotJudge:
    """MOT15, MOT16, MOT17 and MOT20: confirmed pedestrians, as `tracks.txt` has them."""

    def __init__(self, truth: Path, name: str, stored: Stored, span: Span, benchmark: str) -> None:
        self._benchmark, self._names = benchmark, stored.class_names
        self._truth = read_mot(truth)
        mot_rules.check_truth(self._truth, truth, benchmark)
        length = _length(truth, self._truth.frames, stored)
        self.begin, self.end = span.resolve(length, mot_rules.FIRST_FRAME)

    def compare(self, tracked: Iterable[Tracks], kind: str) -> Arguments:
        """Overlaps of boxes."""
        table = _Table(_of_classes(tracks.confirmed, self._names, (PEDESTRIAN,)) for tracks in tracked)
        n = len(table.ids)
        rows = MotRows(table.frames, table.ids, table.boxes, np.ones(n), np.full((n, 3), -1.0))
        overlaps = mot_rules.prepare_mot(self._truth, rows, self.begin, self.end, self._benchmark)
        return {"pedestrian": [(overlaps,)]}


class KittiJudge:
    """KITTI's boxes: confirmed cars and pedestrians, as `kitti.txt` has them."""

    def __init__(self, truth: Path, name: str, stored: Stored, span: Span, benchmark: str) -> None:
        self._types = np.array([TYPE_OF_NAME.get(name, "") for name in stored.class_names], np.str_)
        if not self._types.size:
            raise FormatError(f"{stored.path} names no classes, but {benchmark} judges cars and pedestrians apart")
        self._truth = read_kitti(truth)
        length = _length(truth, self._truth.frames, stored)
        self.begin, self.end = span.resolve(length, kitti_rules.FIRST_FRAME)

    def compare(self, tracked: Iterable[Tracks], kind: str) -> Arguments:
        """Overlaps of boxes."""
        table = _Table(tracks.confirmed for tracks in tracked)
        n = len(table.ids)
        unknown = np.full(n, -1.0)
        rows = KittiRows(
            table.frames, table.ids, self._types[table.labels].tolist(), unknown, unknown.astype(np.int64), unknown,
            table.boxes, np.full((n, 7), -1.0), unknown,
        )  # fmt: skip
        return {
            name: [(kitti_rules.prepare_kitti(self._truth, rows, self.begin, self.end, name),)]
            for name in kitti_rules.CLASSES
        }


class MotsJudge:
    """KITTI-MOTS and MOTSChallenge: confirmed cars and pedestrians, as `masks.txt` has them."""

    def __init__(self, truth: Path, name: str, stored: Stored, span: Span, benchmark: str) -> None:
        self._classes, self._names = mots_rules.CLASSES[benchmark], stored.class_names
        first_frame = mots_rules.FIRST_FRAME[benchmark]
        self._truth = mots_rules.read_either(truth, first_frame)
        for t, found in sorted(self._truth.items()):
            _check_size(stored, t, found.masks.height, found.masks.width)
        self.begin, self.end = span.resolve(_length(truth, np.array(list(self._truth)), stored), first_frame)

    def compare(self, tracked: Iterable[Tracks], kind: str) -> Arguments:
        """Overlaps of masks, or pairs of frames for the strict rules."""
        found = dict(self._frames(tracked))
        if kind == "masks":
            return {name: self._pairs(found, number) for name, number in self._classes.items()}
        return {
            name: [(mots_rules.prepare_mots(self._truth, found, self.begin, self.end, number),)]
            for name, number in self._classes.items()
        }

    def _pairs(self, found: dict[int, MotsFrame], number: int) -> Iterator[tuple[Any, ...]]:
        return ((self._truth.get(t), found.get(t), number) for t in range(self.begin, self.end))

    def _frames(self, tracked: Iterable[Tracks]) -> Iterator[tuple[int, MotsFrame]]:
        numbers = np.array([CLASS_OF_NAME.get(name, -1) for name in self._names], np.int32)
        for t, everything in enumerate(tracked):
            tracks, masks = _separate(_of_classes(everything.confirmed, self._names, tuple(CLASS_OF_NAME.values())))
            if len(tracks):
                classes = numbers[tracks.labels] if len(numbers) else np.full(len(tracks), PEDESTRIAN, np.int32)
                yield t, MotsFrame(tracks.ids, classes, masks)


class StepJudge:
    """KITTI-STEP and MOTChallenge-STEP: tracks painted into panoptic pictures.

    A recording of a panoptic network is painted as `--save kitti-step` does: its own picture, in which each thing
    carries the id of the track that took it, and id 0 if none did. A recording with masks alone shows its confirmed
    tracks, the higher score on top, in the class of the track; all else is void, stuff too. Void costs what it costs in
    the benchmark, the same for every attempt: STQ compares attempts, but is far below that of a panoptic network.
    """

    def __init__(self, truth: Path, name: str, stored: Stored, span: Span, benchmark: str) -> None:
        self._set, first_frame = PANOPTIC_SETS[benchmark], step_rules.FIRST_FRAME[benchmark]
        self._numbers = self._set.numbers_of(stored.class_names)
        if not (self._numbers >= 0).any():
            raise FormatError(f"{stored.path} names no class that {benchmark} has")
        files = {number - first_frame: path for number, path in numbered_files(truth, first_frame)}
        self.begin, self.end = span.resolve(max(files) + 1, first_frame)
        counted = {t: path for t, path in files.items() if self.begin <= t < self.end}
        self._pieces = {
            t: self._cut(t, counted[t], stored, picture) for t, picture in stored.pictures if t in counted
        }  # fmt: skip
        self._panoptic = frozenset(self._pieces)
        self._pieces |= {t: self._cut(t, counted[t], stored) for t in counted.keys() - self._panoptic}

    def compare(self, tracked: Iterable[Tracks], kind: str) -> Arguments:
        """Segments that share pixels, frame by frame."""

        def segments() -> Iterator[tuple[Any, ...]]:
            for t, tracks in enumerate(tracked):
                if t in self._pieces:
                    yield (self._paint(t, tracks),)

        return {"all classes": segments()}

    def _cut(self, t: int, path: Path, stored: Stored, picture: Panoptic | None = None) -> Pieces:
        classes, ids = read_step(path)
        seen = stored.frames.get(t, Detections.empty())
        _check_size(stored, t, *classes.shape)
        try:
            if picture is not None:
                names = stored.class_names
                of_model = ClassSet(names, tuple(range(len(names))))
                pixels = PixelMap(picture.classes, picture.rows, of_model).as_set(self._set)
                return Pieces.of_picture(classes, ids, pixels.classes, pixels.ids, self._set)
            masks = Masks.empty(*classes.shape) if seen.masks is None else seen.masks
            return Pieces.of_masks(classes, ids, masks, seen.scores, self._set)
        except DetectionsError as error:
            raise FormatError(f"{path}: {error}") from None

    def _paint(self, t: int, tracks: Tracks) -> Segments:
        ids, classes = np.zeros(len(tracks.detections), np.int64), np.full(len(tracks.detections), -1)
        if t in self._panoptic:
            taken = tracks.source >= 0
            ids[tracks.source[taken]] = tracks.ids[taken]
        else:
            shown = tracks.confirmed
            numbers = self._numbers[shown.labels]
            ids[shown.source] = np.where(numbers >= 0, shown.ids, 0)
            classes[shown.source] = numbers
        return self._pieces[t].paint(ids, classes)


class DavisJudge:
    """DAVIS: all confirmed tracks, as `davis/` has them, but without its limit of 255."""

    def __init__(self, truth: Path, name: str, stored: Stored, span: Span, benchmark: str) -> None:
        self._truth = davis_rules.read_objects(truth)
        for t, (_, masks) in self._truth.items():
            _check_size(stored, t, masks.height, masks.width)
        self.begin, self.end = span.resolve(max(self._truth) + 1, davis_rules.FIRST_FRAME)

    def compare(self, tracked: Iterable[Tracks], kind: str) -> Arguments:
        """Overlaps of masks, or the masks themselves for J and F."""
        found = {}
        for t, everything in enumerate(tracked):
            tracks, masks = _separate(everything.confirmed)
            found[t] = tracks.ids, masks
        if kind == "contours":
            return {davis_rules.CLASS: davis_rules.pair_objects(self._truth, found, self.begin, self.end)}
        overlaps = davis_rules.prepare_davis(self._truth, found, self.begin, self.end)
        return {davis_rules.CLASS: [(overlaps,)]}


class VisJudge:
    """YouTube-VIS: confirmed tracks of the truth's categories, by name, as `youtube_vis.json` has them."""

    def __init__(self, truth: Path, name: str, stored: Stored, span: Span, benchmark: str) -> None:
        if span != Span():
            raise ConfigError("YouTube-VIS judges whole tracks: --half does not apply")
        known = read_truth(truth)
        video = known.videos[_vis_videos(truth)[name]]
        _check_size(stored, 0, video.height, video.width)
        self._video, self._truth = video.id, [track for track in known.tracks if track.video == video.id]
        numbers = {category: number for number, category in known.categories.items()}
        self._numbers = np.array([numbers.get(name, -1) for name in stored.class_names], np.int64)
        self.begin, self.end = 0, len(video)

    def compare(self, tracked: Iterable[Tracks], kind: str) -> Arguments:
        """Whole tracks; a track's score is the mean of its frames, its category the one it had most often."""
        seen: dict[int, list[tuple[int, Rle, int, float]]] = {}
        for t, everything in enumerate(tracked):
            tracks, masks = _separate(everything.confirmed)
            numbers = self._numbers[tracks.labels]
            for row, rle in enumerate(masks.to_rle()):
                if numbers[row] >= 0:
                    entry = (t, rle, int(numbers[row]), float(tracks.scores[row]))
                    seen.setdefault(int(tracks.ids[row]), []).append(entry)
        return {"all classes": [(self._truth, [self._track(entries) for entries in seen.values()])]}

    def _track(self, entries: Sequence[tuple[int, Rle, int, float]]) -> VisTrack:
        masks: list[Rle | None] = [None] * self.end
        for t, rle, _, _ in entries:
            masks[t] = rle
        categories = [category for _, _, category, _ in entries]
        score = sum(score for *_, score in entries) / len(entries)
        return VisTrack(self._video, max(categories, key=categories.count), masks, round(score, 6))


def _vis_videos(truth: Path) -> dict[str, int]:
    """Name of each video of a ground truth file -> its id."""
    return dict(zip(read_videos(truth, None), read_truth(truth).videos, strict=True))


def _find_videos(truth: Path) -> Mapping[str, Path]:
    """YouTube-VIS keeps all videos in one file."""
    return dict.fromkeys(_vis_videos(truth), truth)


def _find_masks(truth: Path) -> Mapping[str, Path]:
    """Ground truth of MOTS: text files, or folders of pictures where there are none."""
    return find_truth(truth) if truth.is_file() or any(truth.rglob("*.txt")) else find_picture_folders(truth)


@dataclass(frozen=True, slots=True)
class JudgeRow:
    """One benchmark.

    Attributes:
        find: path of the ground truth -> name of each sequence and its own path.
        open: (own path, name, detections, frames that count) -> the sequence's judge. Raises a `FormatError` for truth
            that cannot be used, or that does not fit the detections.
        needs_masks: boxes alone will not do.
    """

    find: Callable[[Path], Mapping[str, Path]]
    open: Callable[[Path, str, Stored, Span], Judge]
    needs_masks: bool


JUDGES: dict[str, JudgeRow] = {
    **{name: JudgeRow(find_truth, partial(MotJudge, benchmark=name), False) for name in mot_rules.DISTRACTORS},
    "kitti": JudgeRow(find_truth, partial(KittiJudge, benchmark="kitti"), False),
    **{name: JudgeRow(_find_masks, partial(MotsJudge, benchmark=name), True) for name in mots_rules.CLASSES},
    **{name: JudgeRow(find_picture_folders, partial(StepJudge, benchmark=name), True) for name in PANOPTIC_SETS},
    "davis": JudgeRow(find_picture_folders, partial(DavisJudge, benchmark="davis"), True),
    "youtube-vis": JudgeRow(_find_videos, partial(VisJudge, benchmark="youtube-vis"), True),
}
"""Name of the dataset on the command line -> its judge."""


class _Table:
    """The rows of many frames' tracks: `frames` from 0, `ids`, `labels`, `boxes` as float64."""

    def __init__(self, tracked: Iterable[Tracks]) -> None:
        parts = list(tracked)
        self.frames = np.repeat(np.arange(len(parts)), [len(tracks) for tracks in parts])
        self.ids: NDArray[np.int64] = np.concatenate([np.zeros(0, np.int64), *(tracks.ids for tracks in parts)])
        self.labels: NDArray[np.int64] = np.concatenate([np.zeros(0, np.int64), *(tracks.labels for tracks in parts)])
        self.boxes: NDArray[np.float64] = np.concatenate([np.zeros((0, 4)), *(tracks.boxes for tracks in parts)])


def _of_classes(tracks: Tracks, class_names: tuple[str, ...], wanted: Sequence[int]) -> Tracks:
    """Those of a MOTS class; all of them where there are no class names."""
    if not class_names:
        return tracks
    numbers = np.array([CLASS_OF_NAME.get(name, -1) for name in class_names], np.int64)
    return tracks.select(np.isin(numbers[tracks.labels], wanted))


def _separate(tracks: Tracks) -> tuple[Tracks, Masks]:
    """Tracks whose masks share no pixel, the higher score keeps it; those that are left without one are not there."""
    taken = tracks.masks
    if taken is None:
        return tracks.select([]), Masks.empty(0, 0)
    masks = taken.disjoint(tracks.scores)
    rows = np.flatnonzero(masks.areas > 0)
    return tracks.select(rows), masks.select(rows)


def _length(truth: Path, frames: NDArray[np.int64], stored: Stored) -> int:
    """Frames of a sequence: as stated beside its truth, or up to the last object of either side."""
    return stated_length(truth) or max(int(frames.max(initial=-1)) + 1, stored.length)


def _check_size(stored: Stored, t: int, height: int, width: int) -> None:
    """A frame's masks, if there are any, are as large as the truth.

    Raises:
        FormatError: they are not.
    """
    masks = stored.frames[t].masks if t in stored.frames else None
    if masks is not None and (masks.height, masks.width) != (height, width):
        raise FormatError(
            f"{stored.path}: expected masks of {height} x {width} pixels as in the ground truth of frame {t}, "
            f"got {masks.height} x {masks.width}"
        )
