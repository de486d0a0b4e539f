"""What a trial of `tracker tune` scores: tracks made from stored detections, judged in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tracker.errors import ConfigError, FormatError
from tracker.evaluation import METRICS, Metric
from tracker.evaluation.datasets import DATASETS, UPDATES
from tracker.evaluation.judges import JUDGES, Judge, Stored
from tracker.evaluation.sequences import Span
from tracker.formats.kitti import read_frames as read_kitti_frames
from tracker.formats.mot import read_mot
from tracker.formats.recording import Recording
from tracker.systems import create
from tracker.types import Detections, Frame

_COSTS = frozenset({
    "CLR_TP", "CLR_FP", "CLR_FN", "TP", "FP", "FN", "IDTP", "IDFP", "IDFN", "IDSW", "IDS", "sIDS", "Frag", "MT", "PT",
    "ML", "tubes", "J_decay", "F_decay",
})  # fmt: skip
"""Columns that no search wants to be great: counts, and what is better the lower."""


def qualities(dataset: str) -> dict[str, tuple[str, str]]:
    """What can be searched for on a dataset: `HOTA` or `hota.HOTA` -> (row of `METRICS`, column); the usual one first.

    A column that two metrics have goes to the one that the dataset's usual metrics name first.

    Raises:
        ConfigError: no such dataset.
    """
    if dataset not in JUDGES:
        raise ConfigError(f"cannot tune on {dataset!r}; there are {', '.join(JUDGES)}")
    row = DATASETS[dataset]
    found: dict[str, tuple[str, str]] = {}
    fitting = [name for name, metric in METRICS.items() if metric.takes in row.feeds]
    for name in dict.fromkeys((*row.metrics, *fitting)):
        for column in METRICS[name].columns:
            if column not in _COSTS:
                found.setdefault(column, (name, column))
                found[f"{name}.{column}"] = name, column
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A sequence: its detections as a tracker is shown them, and who judges what comes of it."""

    name: str
    judge: Judge
    frames: list[tuple[Frame | None, Detections]]
    class_names: tuple[str, ...]
    fps: float


class Course:
    """Labelled sequences with stored detections, held in memory.

    Args:
        dataset: one of `JUDGES`.
        truth: ground truth, file or folder.
        detections: file or folder of `SEQ.trk`, `SEQ.txt`, `SEQ/det/det.txt`, `SEQ/det.txt` or `SEQ/run.trk`. Text is
            MOTChallenge's, on `kitti` KITTI's.
        metric: what counts: one of `qualities(dataset)`.
        span: the frames that count; a tracker sees all frames up to the last of them.
        only: names of the sequences that count, by default all.

    Raises:
        ConfigError: an unknown dataset or metric.
        FormatError: a file is missing or broken, or has no masks where the dataset is about masks.
    """

    def __init__(
        self, dataset: str, truth: Path, detections: Path, metric: str, span: Span, only: Sequence[str] = ()
    ) -> None:
        known = qualities(dataset)
        if metric not in known:
            names = [name for name in known if "." not in name]
            raise ConfigError(f"no metric {metric!r} to be greatest on {dataset}; there are {', '.join(names)}")
        self._dataset, (self._home, self._column) = dataset, known[metric]
        self._runs = [self._load(*found, span) for found in _find(dataset, truth, detections, only)]

    @property
    def names(self) -> list[str]:
        """Of the sequences."""
        return [run.name for run in self._runs]

    def score(self, system: str, **values: Any) -> float:
        """Track every sequence anew; the metric of all together, its mean over the classes that are evaluated.

        A class in which the metric is not defined is left out.

        Raises:
            ConfigError: values that the system refuses.
            FormatError: the metric is defined in no class.
        """
        row, kind = DATASETS[self._dataset], METRICS[self._home].takes
        combined: dict[str, Metric] = {}
        for run in self._runs:
            names = run.class_names or ("",)
            associator = create(system, frame_rate=run.fps, class_names=names, **values)
            tracked = (associator.update(seen, frame) for frame, seen in run.frames)
            for class_name, arguments in run.judge.compare(tracked, kind).items():
                metric = row.new_metric(self._home)
                for each in arguments:
                    UPDATES[kind](metric, *each)
                combined.setdefault(class_name, row.new_metric(self._home)).merge(metric)
        found = [metric.result()[self._column] for metric in combined.values()]
        known = [score for score in found if math.isfinite(score)]
        if not known:
            raise FormatError(f"{self._column} is not defined on this ground truth: nothing in it counts")
        return float(np.mean(known))

    def _load(self, name: str, truth: Path, detections: Path, span: Span) -> _Run:
        """Read a sequence once, for all trials."""
        row = JUDGES[self._dataset]
        frames, stored, fps, masks = _read(self._dataset, detections)
        if row.needs_masks and not masks:
            raise FormatError(
                f"{detections} holds no masks, but {self._dataset} is about masks: record a segmenter with "
                "`tracker run --record`"
            )
        judge = row.open(truth, name, stored, span)
        shown = [(frames.get(t), stored.frames.get(t, Detections.empty())) for t in range(judge.end)]
        return _Run(name, judge, shown, stored.class_names, fps)


def _read(dataset: str, path: Path) -> tuple[Mapping[int, Frame], Stored, float, bool]:
    """Frames (none for text files), detections and frame rate of a sequence, and whether it has masks."""
    if path.suffix == ".trk":
        recording = Recording.open(path)
        frames: dict[int, Frame] = {}
        detections: dict[int, Detections] = {}
        for frame, seen in recording:
            frames[frame.index], detections[frame.index] = frame, replace(seen, panoptic=None)
        pictures = ((frame.index, seen.panoptic) for frame, seen in recording if seen.panoptic is not None)
        stored = Stored(path, detections, recording.header.class_names, pictures)
        return frames, stored, recording.header.fps or 30.0, recording.header.masks
    if dataset == "kitti":
        objects = [
            each.select(np.flatnonzero([name != "ignore" for name in each.names])) for each in read_kitti_frames(path)
        ]
        names = tuple(sorted({name for each in objects for name in each.names}))
        labels = {
            each.index: Detections(each.boxes, each.scores, [names.index(name) for name in each.names])
            for each in objects
        }
        return {}, Stored(path, labels, names), 10.0, False  # frames a second of KITTI's cameras
    rows = read_mot(path)
    return {}, Stored(path, {t: rows.detections(t) for t in np.unique(rows.frames).tolist()}), 30.0, False


def _find(dataset: str, truth: Path, detections: Path, only: Sequence[str]) -> list[tuple[str, Path, Path]]:
    """Name, ground truth and detections of every sequence."""
    truths = JUDGES[dataset].find(truth)
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
