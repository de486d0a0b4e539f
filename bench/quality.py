"""Accuracy on recorded detections: our systems that need boxes only, and peers, scored by `tracker.evaluation`.

Every frame is fed, also where only a half is scored; all competitors get the same rows, and 30 frames per second as
their authors assume. Ours have their defaults, peers their makers'; both stand in the result. Boxes are what a tracker
itself reports for a frame.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.competitors import NORFAIR, PEERS, Competitor, box_systems, installed_peers, ours
from bench.floors import check_floors
from bench.result import BenchError, Row
from bench.scenes import Scene, recorded
from tracker.evaluation import METRICS, Metric
from tracker.evaluation.mot_rules import DISTRACTORS, check_truth, prepare_mot
from tracker.evaluation.sequences import Span, find_truth, stated_length
from tracker.formats.mot import MotRows, read_mot, write_row
from tracker.systems import options
from tracker.types import Detections

FIGURES = ("HOTA", "MOTA", "IDF1", "DetA", "AssA", "IDSW")
COMBINED = "COMBINED"
_METRICS = ("hota", "clear", "identity")
_COUNTS = ("IDSW",)

Report = Callable[[Any, tuple[Any, ...], Scene], tuple[Iterable[Any], Any]]
"""What a call returned, what it was given, and its scene -> (ids, (N, 4) xyxy boxes in pixels) that are reported."""


@dataclass(frozen=True)
class Entry:
    """A competitor that can be scored.

    Attributes:
        competitor: who.
        report: how its results are read.
        settings: its own parameters, as it was made.
    """

    competitor: Competitor
    report: Report
    settings: dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """One sequence.

    Attributes:
        scene: detections of all its frames, and the size of the picture.
        truth: ground truth.
        begin, end: frames that are scored, from 0.
    """

    scene: Scene
    truth: MotRows
    begin: int
    end: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--detections", type=Path, required=True, help="folder of MOTChallenge detections, or one file")
    parser.add_argument("--gt", type=Path, required=True, help="folder of their ground truth, or one file")
    parser.add_argument("--dataset", default="mot17", choices=list(DISTRACTORS), help="whose rules apply")
    parser.add_argument("--half", default="", choices=["first", "second"], help="the frames that are scored")
    parser.add_argument("--sequences", nargs="*", help="names of those to run; by default all that have both files")
    parser.add_argument("--trackers", nargs="*", default=box_systems(), help="systems of ours")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), help="packages to compare with; none: ours only")
    parser.add_argument(
        "--min-score", type=float, nargs="+", default=[0.1], help="rows below are not fed; one table each"
    )
    parser.add_argument("--save", type=Path, help="folder for the tracks, as MOTChallenge results")
    parser.add_argument(
        "--floors", type=Path, help="TOML with least scores, such as bench/floors.toml: fail below them"
    )


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Track and score; returns rows and notes."""
    entries, notes = find_entries(arguments.trackers, arguments.peers)
    sequences = find_sequences(
        arguments.detections, arguments.gt, arguments.sequences, Span(arguments.half), arguments.dataset
    )
    rows: list[Row] = []
    for least in arguments.min_score:
        fed = [replace(sequence, scene=_above(sequence.scene, least)) for sequence in sequences]
        for entry in entries:
            name = entry.competitor.name
            print(f"{name}, scores from {least:g} ...", file=sys.stderr, flush=True)
            found = {sequence.scene.name: follow(entry, sequence.scene) for sequence in fed}
            rows += judge(entry, fed, found, arguments.dataset, f"scores from {least:g}")
            if arguments.save is not None:
                for scene, tracks in found.items():
                    save(arguments.save / f"{name} {least:g}".replace(" ", "-") / f"{scene}.txt", tracks)
    half = f"the {arguments.half} half of" if arguments.half else "all frames of"
    if arguments.floors is not None:
        notes.append(f"{check_floors(rows, arguments.floors)} figures are not below {arguments.floors.name}")
    return rows, [*notes, f"all frames are run, {half} each sequence is scored by the rules of {arguments.dataset}"]


def find_entries(trackers: Iterable[str], peers: Iterable[str]) -> tuple[list[Entry], list[str]]:
    """Ours and the installed peers; notes on those that are absent or report no boxes.

    Raises:
        BenchError: a system or a package that is not known.
    """
    entries = []
    for name in trackers:
        if name not in box_systems():
            raise BenchError(f"no system {name!r} that needs boxes only; there are {', '.join(box_systems())}")
        mine = ours(name)
        entries.append(Entry(mine, _own_report(mine), {option: row[0] for option, row in options(name).items()}))
    notes = []
    for package in peers:
        found, absent = installed_peers([package])
        notes += absent
        if package in READERS:
            report, settings = READERS[package]
            entries += [Entry(peer, report, settings(peer)) for peer in found]
        else:
            notes.append(f"{package} is left out: how it reports boxes is not known here")
    return entries, notes


def find_sequences(detections: Path, truth: Path, only: list[str] | None, span: Span, dataset: str) -> list[Judged]:
    """Sequences with detections and ground truth, padded with empty frames to their stated length.

    Raises:
        BenchError: nothing to score, or a file of `only` is missing.
        FormatError: a file that cannot be used.
    """
    truths = find_truth(truth)
    alone = detections.is_file() and len(truths) == 1  # det.txt against gt.txt: their names say nothing
    scenes = recorded(detections, None if alone else only or list(truths))
    missing = set(only or ()) - {scene.name for scene in scenes if alone or scene.name in truths}
    if missing:
        raise BenchError(f"expected detections and ground truth of {sorted(missing)[0]}, found not both")
    sequences = []
    for scene in scenes:
        path = next(iter(truths.values())) if alone else truths[scene.name]
        rows = read_mot(path)
        check_truth(rows, path, dataset)
        length = stated_length(path) or max(int(rows.frames.max(initial=-1)) + 1, len(scene.frames))
        begin, end = span.resolve(length, 1)
        frames = scene.frames + [Detections.empty()] * (length - len(scene.frames))
        width, height = _picture(path) or (scene.width, scene.height)
        sequences.append(Judged(replace(scene, frames=frames, width=width, height=height), rows, begin, end))
    return sequences


def follow(entry: Entry, scene: Scene) -> MotRows:
    """Run one competitor over a whole sequence; ids are numbered from 1 as they come.

    Boxes are those of its result file, with two decimals: a pair at a threshold may fall on the other side without.
    """
    update, numbers = entry.competitor.make(), dict[Any, int]()
    frames, ids, boxes = [], [], [np.zeros((0, 4))]
    for number, given in enumerate(entry.competitor.prepare(scene)):
        names, places = entry.report(update(*given), given, scene)
        here = [numbers.setdefault(name, len(numbers) + 1) for name in names]
        ids += here
        frames += [number] * len(here)
        boxes.append(np.asarray(places, np.float64).reshape(-1, 4))
    exact = np.concatenate(boxes)
    corner, extent = np.round(exact[:, :2] + 1, 2) - 1, np.round(exact[:, 2:] - exact[:, :2], 2)
    table = np.hstack([corner, corner + extent])
    return MotRows(np.array(frames, np.int64), np.array(ids, np.int64), table, np.ones(len(ids)), _nothing(len(ids)))


def judge(entry: Entry, sequences: list[Judged], found: dict[str, MotRows], dataset: str, mode: str) -> list[Row]:
    """One row per sequence, and one for all of them together."""
    total = {name: METRICS[name].metric() for name in _METRICS}
    rows, scored, digest = [], 0, hashlib.sha256()
    for sequence in sequences:
        scene, tracks = sequence.scene, found[sequence.scene.name]
        own: dict[str, Any] = {name: METRICS[name].metric() for name in _METRICS}
        overlaps = prepare_mot(sequence.truth, tracks, sequence.begin, sequence.end, dataset)
        for name, metric in own.items():
            metric.update(overlaps)
            total[name].merge(metric)
        frames = sequence.end - sequence.begin
        scored += frames
        digest.update(_hash(tracks).encode())
        rows.append(_row(entry, scene.name, mode, frames, scene.objects, own, _hash(tracks)))
    objects = float(
        np.average([each.scene.objects for each in sequences], weights=[len(each.scene.frames) for each in sequences])
    )
    combined = _row(entry, COMBINED, mode, scored, objects, total, digest.hexdigest())
    return [*rows, {**combined, "settings": entry.settings}]


def save(path: Path, tracks: MotRows) -> None:
    """Write MOTChallenge results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = zip(tracks.frames.tolist(), tracks.ids.tolist(), tracks.boxes.tolist(), strict=True)
    path.write_text("".join(write_row(frame, number, box, 1.0) for frame, number, box in table))


def _row(
    entry: Entry, scene: str, mode: str, frames: int, objects: float, metrics: dict[str, Metric], tracks: str
) -> Row:
    scores = {name: value for metric in metrics.values() for name, value in metric.result().items()}
    figures = {name: int(scores[name]) if name in _COUNTS else round(100 * scores[name], 6) for name in FIGURES}
    row: Row = {
        "scene": scene,
        "objects": round(objects, 1),
        "mode": mode,
        "competitor": entry.competitor.name,
        "like": entry.competitor.like,
        "frames": frames,
        "figures": figures,
    }
    return {**row, "tracks_sha256": tracks} if entry.competitor.tables is not None else row


def _above(scene: Scene, least: float) -> Scene:
    return replace(scene, frames=[frame.select(frame.scores >= least) for frame in scene.frames])


def _picture(truth: Path) -> tuple[int, int] | None:
    """Width and height of the `seqinfo.ini` in the sequence's folder; None without one."""
    for path in (truth.parent / "seqinfo.ini", truth.parent.parent / "seqinfo.ini"):
        if path.is_file():
            parser = configparser.ConfigParser()
            parser.read_string(path.read_text())
            if parser.has_option("Sequence", "imWidth") and parser.has_option("Sequence", "imHeight"):
                return parser.getint("Sequence", "imWidth"), parser.getint("Sequence", "imHeight")
    return None


def _hash(tracks: MotRows) -> str:
    whole = tracks.frames.tobytes() + tracks.ids.tobytes() + np.round(tracks.boxes, 2).tobytes()
    return hashlib.sha256(whole).hexdigest()


def _nothing(count: int) -> NDArray[np.float64]:
    return np.full((count, 3), np.nan)


def _own_report(mine: Competitor) -> Report:
    tables = mine.tables
    if tables is None:
        raise BenchError(f"{mine.name} says no boxes")

    def report(returned: Any, given: tuple[Any, ...], scene: Scene) -> tuple[Iterable[Any], Any]:
        ids, boxes = tables(returned)
        return ids.tolist(), boxes

    return report


def _of_edgefirst(returned: Any, given: tuple[Any, ...], scene: Scene) -> tuple[Iterable[Any], Any]:
    """A track beside each detection, whose box it gets: its own `tracked_location` is smoothed and lags."""
    rows = [row for row, track in enumerate(returned) if track is not None]
    return [returned[row].uuid for row in rows], given[0][rows] * np.array([scene.width, scene.height] * 2)


def _of_roboflow(returned: Any, given: tuple[Any, ...], scene: Scene) -> tuple[Iterable[Any], Any]:
    """Detections with ids; -1 is a track that is not reported yet."""
    if returned.tracker_id is None:
        return [], []
    known = returned.tracker_id >= 0
    return returned.tracker_id[known].tolist(), returned.xyxy[known]


def _of_similari(returned: Any, given: tuple[Any, ...], scene: Scene) -> tuple[Iterable[Any], Any]:
    """Tracks with their filtered boxes, as in its documentation's examples."""
    boxes = [track.predicted_bbox.as_ltwh() for track in returned]
    return [track.id for track in returned], [(b.left, b.top, b.left + b.width, b.top + b.height) for b in boxes]


def _of_norfair(returned: Any, given: tuple[Any, ...], scene: Scene) -> tuple[Iterable[Any], Any]:
    """Objects after their first frames, with filtered corners, as its MOTChallenge demo writes them."""
    return [track.id for track in returned], np.reshape([track.estimate for track in returned], (-1, 4))


def _of_boxmot(returned: Any, given: tuple[Any, ...], scene: Scene) -> tuple[Iterable[Any], Any]:
    """Rows of x1, y1, x2, y2, id, confidence, class and detection."""
    return returned[:, 4].astype(int).tolist(), returned[:, :4]


def _defaults(function: Any) -> dict[str, Any]:
    """Parameters of a constructor and their defaults, as JSON has them."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        value = parameter.default
        if isinstance(value, type):
            value = value.__name__
        elif not isinstance(value, int | float | str | None):
            value = "as built in" if value is ... else repr(value)
        found[name] = value
    return found


READERS: dict[str, tuple[Report, Callable[[Competitor], dict[str, Any]]]] = {
    "edgefirst-tracker": (
        _of_edgefirst,
        lambda peer: _defaults(importlib.import_module("edgefirst.tracker").ByteTrack),
    ),
    "trackers": (
        _of_roboflow,
        lambda peer: _defaults(getattr(importlib.import_module("trackers"), f"{peer.name.split()[1]}Tracker")),
    ),
    "similari-trackers-rs": (
        _of_similari,
        lambda peer: {**_defaults(importlib.import_module("similari").Sort), "shards": 1, "method": "iou(0.3)"},
    ),
    "supervision": (
        _of_roboflow,
        lambda peer: _defaults(type(peer.make().__self__)),  # its name is a stand-in that warns of its end
    ),
    "norfair": (
        _of_norfair,
        lambda peer: {**_defaults(importlib.import_module("norfair").Tracker), **NORFAIR[peer.name]},
    ),
    "boxmot": (
        _of_boxmot,
        lambda peer: {"name": peer.like, "settings": "its file of defaults", "version": metadata.version("boxmot")},
    ),
}
"""Distribution -> how its results are read, and the settings of one of its trackers."""
