"""What `tracker tune` searches and scores: the parameters of a system, and tracks made from stored detections."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tracker.errors import ConfigError, FormatError
from tracker.evaluation import METRICS, Overlaps
from tracker.evaluation import sequences as places
from tracker.evaluation.mot_rules import DISTRACTORS, check_truth, prepare_mot
from tracker.evaluation.mot_rules import FIRST_FRAME as MOT_FIRST_FRAME
from tracker.evaluation.mots_rules import CLASSES as MOTS_CLASSES
from tracker.evaluation.mots_rules import FIRST_FRAME as MOTS_FIRST_FRAME
from tracker.evaluation.mots_rules import prepare_mots
from tracker.formats.mot import MotRows, read_mot
from tracker.formats.mots import CLASS_OF_NAME, PEDESTRIAN, MotsFrame, read_mots
from tracker.formats.recording import Recording
from tracker.systems import SYSTEMS, create, options
from tracker.types import Detections, Frame, Tracks

FORMATS = (*DISTRACTORS, *MOTS_CLASSES)
"""Datasets whose ground truth `tune` can use."""

_ALWAYS = ("birth_score", "max_coast_frames")  # searched besides what the system's stages are called
_SPREAD = 0.25  # how far a number in 0..1 is searched around its default
_MOST = 2  # and how many times its default a count


@dataclass(frozen=True, slots=True)
class Parameter:
    """One dimension of the search.

    Attributes:
        name: option of the system.
        choices: its values, for an option that is no number; otherwise empty.
        low: least value.
        high: greatest value; both ends count.
        whole: only whole numbers.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False


def parse_space(system: str, texts: Sequence[str]) -> list[Parameter]:
    """What is searched.

    Args:
        system: name of the system.
        texts: `name` (around its default), `name=0.1..0.6`, `name=10..60` or `name=xysr|xyah`; none for the usual.

    Raises:
        ConfigError: no such system or option, or a range that makes no sense.
    """
    known = options(system)
    named = [name for name in SYSTEMS[system].options if not isinstance(known[name][0], str)]
    usual = [*named, *(name for name in _ALWAYS if name in known)]
    space = []
    for text in texts or usual:
        name, equals, values = text.partition("=")
        if name not in known:
            raise ConfigError(f"tracker {system!r} has no option {name!r}; it has {', '.join(known)}")
        default = known[name][0]
        space.append(_parse_values(name, values, default) if equals else _around(name, default))
    return space


def _parse_values(name: str, text: str, default: Any) -> Parameter:
    low, dots, high = text.partition("..")
    if not dots:
        words = text.split("|")
        if isinstance(default, bool):
            return Parameter(name, tuple(_as_bool(name, word) for word in words))
        if isinstance(default, str):
            return Parameter(name, tuple(words))
        raise ConfigError(f"expected {name}=low..high, got {name}={text}")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise ConfigError(f"expected {name}=low..high with numbers, got {name}={text}") from None
    if isinstance(default, str | bool) or not all(map(math.isfinite, ends)) or ends[0] > ends[1]:
        raise ConfigError(f"{name} (default {default!r}) cannot be searched over {text}")
    return Parameter(name, (), *ends, whole=isinstance(default, int))


def _as_bool(name: str, word: str) -> bool:
    if word not in ("true", "false"):
        raise ConfigError(f"expected {name}=true|false, got {word!r}")
    return word == "true"


def _around(name: str, default: Any) -> Parameter:
    if isinstance(default, bool):
        return Parameter(name, (False, True))
    if isinstance(default, int):
        return Parameter(name, (), 0 if default == 0 else max(1, default // _MOST), max(1, _MOST * default), whole=True)
    if isinstance(default, float) and 0 <= default <= 1:
        return Parameter(name, (), max(0.0, default - _SPREAD), min(1.0, default + _SPREAD))
    if isinstance(default, float) and math.isfinite(default):  # a distance, or another number with a unit
        return Parameter(name, (), min(default / 2, default * 2), max(default / 2, default * 2))
    raise ConfigError(f"say which values of {name} (default {default!r}) to search: {name}=low..high or {name}=a|b")


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A sequence: its detections, and the truth about the frames that count."""

    name: str
    truth: Any
    frames: list[tuple[Frame | None, Detections]]
    class_names: tuple[str, ...]
    fps: float
    begin: int
    end: int


class Course:
    """Labelled sequences with stored detections, held in memory.

    Args:
        dataset: one of `FORMATS`.
        truth: ground truth, file or folder.
        detections: file or folder of `SEQ.trk`, `SEQ.txt`, `SEQ/det/det.txt` or `SEQ/det.txt`.
        metric: what counts: a name that a table of `tracker eval` shows, such as HOTA, MOTA, IDF1 or sMOTSA.
        span: the frames that count; a tracker sees all frames up to the last of them.
        only: names of the sequences that count, by default all.

    Raises:
        ConfigError: an unknown dataset or metric.
        FormatError: a file is missing or broken, or has no masks where the dataset is about masks.
    """

    def __init__(
        self, dataset: str, truth: Path, detections: Path, metric: str, span: places.Span, only: Sequence[str] = ()
    ) -> None:
        if dataset not in FORMATS:
            raise ConfigError(f"cannot tune on {dataset!r}; there are {', '.join(FORMATS)}")
        homes = {column: name for name, row in METRICS.items() if row.takes == "overlaps" for column in row.columns}
        if metric not in homes:
            raise ConfigError(f"no metric {metric!r}; there are {', '.join(homes)}")
        self._dataset, self._metric, self._home = dataset, metric, homes[metric]
        self._runs = [self._load(*pair, span) for pair in _find(truth, detections, only)]

    @property
    def names(self) -> list[str]:
        """Of the sequences."""
        return [run.name for run in self._runs]

    def score(self, system: str, **values: Any) -> float:
        """Track every sequence anew; the metric of all together, its mean over the classes that are evaluated.

        Raises:
            ConfigError: values that the system refuses.
        """
        combined: dict[str, Any] = {}
        for run in self._runs:
            for class_name, overlaps in self._track(run, system, values).items():
                metric = METRICS[self._home].metric()
                metric.update(overlaps)  # type: ignore[attr-defined]
                combined.setdefault(class_name, METRICS[self._home].metric()).merge(metric)
        return float(np.mean([metric.result()[self._metric] for metric in combined.values()]))

    def _load(self, name: str, truth: Path, detections: Path, span: places.Span) -> _Run:
        """Read a sequence once, for all trials."""
        masks = self._dataset in MOTS_CLASSES
        if masks:
            first_frame = MOTS_FIRST_FRAME[self._dataset]
            labels: Any = read_mots(truth, first_frame=first_frame)
            last = max(labels, default=-1)
        else:
            first_frame = MOT_FIRST_FRAME
            labels = read_mot(truth)
            check_truth(labels, truth, self._dataset)
            last = int(labels.frames.max(initial=-1))
        length = places.stated_length(truth) or last + 1
        begin, end = span.resolve(length, first_frame)
        if detections.suffix == ".trk":
            recording = Recording.open(detections)
            if masks and not recording.header.masks:
                raise FormatError(f"{detections} holds no masks, but {self._dataset} is about masks")
            recorded: dict[int, tuple[Frame | None, Detections]] = {
                frame.index: (frame, seen) for frame, seen in recording
            }
            frames = [recorded.get(t, (None, Detections.empty())) for t in range(end)]
            return _Run(name, labels, frames, recording.header.class_names, recording.header.fps or 30.0, begin, end)
        if masks:
            raise FormatError(f"{detections} holds no masks: record the run with `tracker run --record`")
        rows = read_mot(detections)
        return _Run(name, labels, [(None, rows.detections(t)) for t in range(end)], (), 30.0, begin, end)

    def _track(self, run: _Run, system: str, values: dict[str, Any]) -> dict[str, Overlaps]:
        associator = create(system, frame_rate=run.fps, **values)
        tracked = (associator.update(seen, frame).confirmed for frame, seen in run.frames)
        if self._dataset in MOTS_CLASSES:
            masks = dict(_as_masks(tracked, run.class_names))
            classes = MOTS_CLASSES[self._dataset].items()
            return {name: prepare_mots(run.truth, masks, run.begin, run.end, number) for name, number in classes}
        rows = _as_rows(tracked, run.class_names)
        return {"pedestrian": prepare_mot(run.truth, rows, run.begin, run.end, self._dataset)}


def _as_rows(tracked: Iterator[Tracks], class_names: tuple[str, ...]) -> MotRows:
    """Pedestrians as a result file has them; everything where the detections say no classes."""
    parts = [_of_classes(tracks, class_names, (PEDESTRIAN,)) for tracks in tracked]
    numbers = [np.full(len(tracks), t) for t, tracks in enumerate(parts)]
    boxes = [tracks.boxes for tracks in parts]
    ids = [tracks.ids for tracks in parts]
    n = sum(map(len, ids))
    table = np.concatenate([np.zeros((0, 4)), *boxes])
    return MotRows(
        np.concatenate([np.zeros(0, np.int64), *numbers]), np.concatenate([np.zeros(0, np.int64), *ids]), table,
        np.ones(n), np.full((n, 3), -1.0),
    )  # fmt: skip


def _as_masks(tracked: Iterator[Tracks], class_names: tuple[str, ...]) -> Iterator[tuple[int, MotsFrame]]:
    """Cars and pedestrians as a MOTS file has them: the higher score keeps shared pixels."""
    wanted = tuple(set(CLASS_OF_NAME.values()))
    for t, everything in enumerate(tracked):
        tracks = _of_classes(everything, class_names, wanted)
        masks = tracks.masks
        if masks is not None and len(tracks):
            numbers = _class_numbers(class_names)[tracks.labels]
            yield t, MotsFrame(tracks.ids, numbers.astype(np.int32), masks.disjoint(tracks.scores))


def _of_classes(tracks: Tracks, class_names: tuple[str, ...], wanted: Sequence[int]) -> Tracks:
    if not class_names:
        return tracks
    return tracks.select(np.isin(_class_numbers(class_names)[tracks.labels], wanted))


def _class_numbers(class_names: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([CLASS_OF_NAME.get(name, -1) for name in class_names], np.int64)


def _find(truth: Path, detections: Path, only: Sequence[str]) -> list[tuple[str, Path, Path]]:
    """Name, ground truth and detections of every sequence."""
    truths = places.find_truth(truth)
    if missing := [name for name in only if name not in truths]:
        raise FormatError(f"no ground truth for sequence {missing[0]} in {truth}")
    found = []
    for name in only or truths:
        stems = (f"{name}.trk", f"{name}.txt", f"{name}/det/det.txt", f"{name}/det.txt", f"{name}/run.trk")
        files = (detections / stem for stem in stems)
        path = detections if detections.is_file() else next(filter(Path.is_file, files), None)
        if path is None:
            raise FormatError(f"no detections of sequence {name} in {detections}: expected {' or '.join(stems)} there")
        found.append((name, truths[name], path))
    if detections.is_file() and len(found) > 1:
        raise FormatError(f"{detections} is one file, but there are {len(found)} sequences: name a folder")
    return found
