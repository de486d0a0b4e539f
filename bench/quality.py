"""Accuracy on recorded detections: our systems that need boxes only, and peers, scored by `tracker.evaluation`.

Every frame is fed, also where only a half is scored; all competitors get the same rows, and 30 frames per second as
their authors assume. Ours have their defaults, peers their makers'; both stand in the result. Boxes are what a tracker
itself reports for a frame.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.competitors import Competitor, box_systems, ours
from bench.floors import check_floors
from bench.peers import PEERS, installed_peers
from bench.result import BenchError, Row
from bench.scenes import Scene, recorded
from tracker.evaluation import METRICS, Metric
from tracker.evaluation.mot_rules import DISTRACTORS, check_truth, prepare_mot
from tracker.evaluation.sequences import Span, find_truth, stated_length
from tracker.formats.mot import MotRows, read_mot, write_row
from tracker.types import Detections

FIGURES = ("HOTA", "MOTA", "IDF1", "DetA", "AssA", "IDSW")
COMBINED = "COMBINED"
_METRICS = ("hota", "clear", "identity")
_COUNTS = ("IDSW",)


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
    competitors = [ours(name) for name in arguments.trackers]
    peers, notes = installed_peers(arguments.peers)
    competitors += peers
    sequences = find_sequences(
        arguments.detections, arguments.gt, arguments.sequences, Span(arguments.half), arguments.dataset
    )
    rows: list[Row] = []
    for least in arguments.min_score:
        fed = [replace(sequence, scene=_above(sequence.scene, least)) for sequence in sequences]
        for competitor in competitors:
            name = competitor.name
            print(f"{name}, scores from {least:g} ...", file=sys.stderr, flush=True)
            found = {sequence.scene.name: follow(competitor, sequence.scene) for sequence in fed}
            rows += judge(competitor, fed, found, arguments.dataset, f"scores from {least:g}")
            if arguments.save is not None:
                for scene, tracks in found.items():
                    save(arguments.save / f"{name} {least:g}".replace(" ", "-") / f"{scene}.txt", tracks)
    half = f"the {arguments.half} half of" if arguments.half else "all frames of"
    if arguments.floors is not None:
        notes.append(f"{check_floors(rows, arguments.floors)} figures are not below {arguments.floors.name}")
    return rows, [*notes, f"all frames are run, {half} each sequence is scored by the rules of {arguments.dataset}"]


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


def follow(competitor: Competitor, scene: Scene) -> MotRows:
    """Run one competitor over a whole sequence; ids are numbered from 1 as they come.

    Boxes are those of its result file, with two decimals: a pair at a threshold may fall on the other side without.
    """
    update, numbers = competitor.make(), dict[Any, int]()
    frames, ids, boxes = [], [], [np.zeros((0, 4))]
    for number, given in enumerate(competitor.prepare(scene)):
        names, places = competitor.read(update(*given), given, scene)
        here = [numbers.setdefault(name, len(numbers) + 1) for name in names]
        ids += here
        frames += [number] * len(here)
        boxes.append(np.asarray(places, np.float64).reshape(-1, 4))
    exact = np.concatenate(boxes)
    corner, extent = np.round(exact[:, :2] + 1, 2) - 1, np.round(exact[:, 2:] - exact[:, :2], 2)
    table = np.hstack([corner, corner + extent])
    return MotRows(np.array(frames, np.int64), np.array(ids, np.int64), table, np.ones(len(ids)), _nothing(len(ids)))


def judge(
    competitor: Competitor, sequences: list[Judged], found: dict[str, MotRows], dataset: str, mode: str
) -> list[Row]:
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
        rows.append(_row(competitor, scene.name, mode, frames, scene.objects, own, _hash(tracks)))
    objects = float(
        np.average([each.scene.objects for each in sequences], weights=[len(each.scene.frames) for each in sequences])
    )
    combined = _row(competitor, COMBINED, mode, scored, objects, total, digest.hexdigest())
    return [*rows, {**combined, "settings": competitor.settings()}]


def save(path: Path, tracks: MotRows) -> None:
    """Write MOTChallenge results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = zip(tracks.frames.tolist(), tracks.ids.tolist(), tracks.boxes.tolist(), strict=True)
    path.write_text("".join(write_row(frame, number, box, 1.0) for frame, number, box in table))


def _row(
    competitor: Competitor, scene: str, mode: str, frames: int, objects: float, metrics: dict[str, Metric], tracks: str
) -> Row:
    scores = {name: value for metric in metrics.values() for name, value in metric.result().items()}
    figures = {name: int(scores[name]) if name in _COUNTS else round(100 * scores[name], 6) for name in FIGURES}
    row: Row = {
        "scene": scene,
        "objects": round(objects, 1),
        "mode": mode,
        "competitor": competitor.name,
        "like": competitor.like,
        "frames": frames,
        "figures": figures,
    }
    return {**row, "tracks_sha256": tracks} if competitor.own else row


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
