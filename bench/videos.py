"""Trackers on real videos: masks, identity vectors and learned motion against plain boxes, on the same detections.

Table `step`: STEP's baselines on masks against ByteTrack. Table `looks`: systems that compare identity vectors of
crops, of whole boxes and of masks alone, against the same ones without, with MOTSNet's window and without. Table
`motion`: ByteTrack with a Kalman filter, and with siamese networks that find each track again, a detector on every
frame and on fewer. A network runs once per frame and every variant gets what it saw; flow, crops and siamese networks
look at the frames, as in `tracker run`. All variants go through a video together, frame by frame.

With ground truth (MOTChallenge files, by the rules of MOT15) only people are fed and scored; without, all
classes are fed, and there is no table `looks`: its network knows people.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.accelerator import describe
from bench.flags import at_least_one
from bench.markdown import table
from bench.result import BenchError, Row
from bench.variants import MASKED, Variant, looks_variants, motion_variants, step_variants
from bench.workload import Digest, scene_name
from tracker import pipeline
from tracker.association import Tracker
from tracker.evaluation import METRICS
from tracker.evaluation.mot_rules import check_truth, prepare_mot
from tracker.flow import DisFlow
from tracker.formats.mot import MotRows, read_mot
from tracker.guide import Guided
from tracker.models import Model, SessionConfig, open_model
from tracker.models.reid import Reid
from tracker.models.siamese import Siamese, SiameseConfig, open_siamese
from tracker.models.siamese.followers import Follower
from tracker.sources import open_source
from tracker.types import Detections, Frame

TABLES_MADE = ("step", "looks", "motion")
_METRICS = ("hota", "clear", "identity")
_SCORES, _COUNTS = ("HOTA", "MOTA", "IDF1", "AssA"), ("IDSW",)
_RULES, _PERSON = "mot15", "person"
_FRAMES_OF = ("img", "img1", "images", "frames")  # folders that say nothing: their parent is the scene


@dataclass(frozen=True)
class Networks:
    """What looks at the frames beside the detector: a network for crops, or None, and siamese ones by name."""

    reid: Reid | None
    followers: dict[str, Follower]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--source", nargs="+", required=True, help="videos, image folders or other addresses")
    parser.add_argument("--truth", nargs="*", type=Path, default=[], help="gt.txt of the first sources, in their order")
    parser.add_argument("--model", nargs="+", required=True, help="detectors or segmenters (ONNX files)")
    parser.add_argument("--reid", help="re-identification network of table `looks`")
    parser.add_argument("--motion-model", nargs="*", default=[], help="siamese networks of table `motion`")
    parser.add_argument("--tables", nargs="+", choices=TABLES_MADE, default=list(TABLES_MADE))
    parser.add_argument(
        "--every", type=at_least_one, nargs="+", default=[1, 3, 5], help="frames from one detection to the next"
    )
    parser.add_argument("--frames", type=at_least_one, help="of each source, from its beginning; by default all")
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.3,
        help="for systems without a threshold of their own (default %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the networks, 0 for one per core")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Track and score; returns rows and notes."""
    if len(arguments.truth) > len(arguments.source):
        raise BenchError(f"expected a source for each of {len(arguments.truth)} truths, got {len(arguments.source)}")
    config = SessionConfig("cpu", threads=arguments.threads)
    networks = open_networks(arguments.reid, arguments.motion_model, config)
    truths = [*map(_read_truth, arguments.truth), *[None] * len(arguments.source)]
    rows, notes = [], [f"systems without a threshold of their own get scores from {arguments.min_score:g}"]
    for path in arguments.model:
        model = open_model(path, session=config)
        chosen, left_out = choose(arguments, model, networks)
        notes += left_out
        facts = describe(model.session, config)
        for address, truth in zip(arguments.source, truths, strict=False):
            print(f"{scene_of(address)}, {Path(path).stem} ...", file=sys.stderr, flush=True)
            fitting = [variant for variant in chosen if truth is not None or variant.table != "looks"]
            if len(fitting) < len(chosen):
                notes.append(f"{scene_of(address)} is not in table looks: no --truth of people")
            runs = follow(address, model, networks, fitting, judged=truth is not None, most=arguments.frames)
            place = {"scene": scene_of(address), "model": facts}
            rows += [{**place, **run.row(Path(path).stem, truth)} for run in runs]
    if not rows:
        raise BenchError("nothing to run: table looks needs a --truth")
    return rows, list(dict.fromkeys(notes))


def open_networks(reid: str | None, followers: list[str], config: SessionConfig) -> Networks:
    """The networks that are named.

    Raises:
        BenchError: two siamese networks of one kind, or a --reid that makes no identity vectors.
    """
    opened = [open_siamese(path, session=config).follower for path in followers]
    named = {type(follower).__name__: follower for follower in opened}
    if len(named) < len(opened):
        raise BenchError(f"expected siamese networks of different kinds, got {', '.join(followers)}")
    looks = None if reid is None else open_model(reid, Reid.family, session=config)
    if looks is not None and not isinstance(looks, Reid):
        raise BenchError(f"expected a re-identification network for --reid, got one of family {looks.family}")
    return Networks(looks, named)


def choose(arguments: argparse.Namespace, model: Model, networks: Networks) -> tuple[list[Variant], list[str]]:
    """The variants that these networks allow; a note on those that they do not.

    Raises:
        BenchError: none is left.
    """
    made = {
        "step": step_variants(arguments.min_score),
        "looks": looks_variants(arguments.min_score),
        "motion": motion_variants(list(networks.followers), arguments.every),
    }
    chosen, notes = [], []
    for variant in (variant for name in arguments.tables for variant in made[name]):
        if variant.needs_masks and "masks" not in model.gives:
            notes.append(f"{variant.name} is left out: {model.session.path.name} gives no masks")
        elif variant.crops and networks.reid is None:
            notes.append(f"{variant.name} is left out: no --reid")
        else:
            chosen.append(variant)
    if not chosen:
        raise BenchError(f"nothing to run: {notes[0]}")
    return chosen, notes


class Run:
    """A variant on one video: its tracker, and what it reported.

    Args:
        variant: what runs.
        networks: to look at the frames with.
        fps: of the video, None where it does not say.
        class_names: of the detector.
    """

    def __init__(self, variant: Variant, networks: Networks, fps: float | None, class_names: tuple[str, ...]) -> None:
        chosen = variant.plan
        motion = None
        if variant.motion:
            motion = Siamese(networks.followers[variant.motion], SiameseConfig(search_frames=chosen.search_frames))
        flow = None if chosen.flow == "none" else DisFlow()
        self.variant = variant
        self._tracker = Guided(Tracker(chosen, fps or 30.0, class_names), flow, motion=motion)
        self._look = pipeline.every(variant.every)
        self._digest, self.frames = Digest(), 0
        self._rows: list[NDArray[np.float64]] = []

    def update(self, frame: Frame, seen: dict[str, Detections]) -> None:
        """One frame, and the detections with each kind of identity vectors."""
        detections = seen[self.variant.crops] if self._look(frame) else Detections.unlooked()
        tracks = self._tracker.update(detections, frame)
        shown = tracks.confirmed
        self._digest.write(frame, tracks)
        self._rows.append(np.column_stack([np.full(len(shown), self.frames), shown.ids, shown.boxes]))
        self.frames += 1

    def tracks(self) -> MotRows:
        """What was reported, with a result file's two decimals."""
        rows = np.concatenate([np.zeros((0, 6)), *self._rows])
        frames, ids, boxes = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), np.round(rows[:, 2:], 2)
        return MotRows(frames, ids, boxes, np.ones(len(rows)), np.full((len(rows), 3), np.nan))

    def row(self, network: str, truth: MotRows | None) -> Row:
        """Counts of the tracks, and scores where there is a truth, in percent where they are shares."""
        tracks = self.tracks()
        figures: dict[str, Any] = count(tracks)
        if truth is not None:
            metrics: list[Any] = [METRICS[name].metric() for name in _METRICS]
            overlaps = prepare_mot(truth, tracks, 0, self.frames, _RULES)
            for metric in metrics:
                metric.update(overlaps)
            found = {name: value for metric in metrics for name, value in metric.result().items()}
            figures |= {name: round(100 * found[name], 1) for name in _SCORES}
            figures |= {name: int(found[name]) for name in _COUNTS}
        return {
            "mode": f"{self.variant.table}, {network}", "competitor": self.variant.name, "frames": self.frames,
            "figures": figures, "tracks_sha256": self._digest.sha256,
        }  # fmt: skip


def count(tracks: MotRows) -> dict[str, Any]:
    """Distinct ids, mean number of frames in which one is reported, and how often one is missing and comes back."""
    order = np.lexsort([tracks.frames, tracks.ids])
    same, gap = np.diff(tracks.ids[order]) == 0, np.diff(tracks.frames[order]) > 1
    ids = len(np.unique(tracks.ids))
    return {"ids": ids, "length": round(len(tracks) / max(ids, 1), 1), "fragments": int((same & gap).sum())}


def follow(
    address: str, model: Model, networks: Networks, variants: list[Variant], *, judged: bool, most: int | None
) -> list[Run]:
    """Run all variants over a video, or the first `most` frames of it; of a judged one people only.

    Raises:
        BenchError: a judged video, and a detector that knows no people; or a video without a frame.
    """
    names = model.card.class_names or ("",)
    if judged and _PERSON not in names:
        raise BenchError(f"expected a detector of people for a truth of people, got {model.session.path.name}")
    if not variants:
        return []
    kinds = {variant.crops for variant in variants}
    eye = model.for_stream()
    with open_source(address) as source:
        runs = [Run(variant, networks, source.fps, names) for variant in variants]
        for frame in islice(source, most):
            found = replace(pipeline.detect(eye, frame), panoptic=None, embeddings=None)
            if judged:
                found = found.select(found.labels == names.index(_PERSON))
            seen = {kind: _identified(networks.reid, kind, frame, found) for kind in kinds}
            for run in runs:
                run.update(frame, seen)
    if not runs[0].frames:
        raise BenchError(f"expected frames in {scene_of(address)}, got none")
    return runs


def scene_of(address: str) -> str:
    """A source's name without folders; a folder called `img1` is its sequence."""
    path = Path(address)
    return path.parent.name if path.name in _FRAMES_OF else scene_name(address)


def tabulate(rows: list[Row]) -> str:
    """A table for each of the three and each network: variants down, videos across."""
    out = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        chosen = [row for row in rows if row["mode"] == mode]
        scenes = list(dict.fromkeys(f"{row['scene']}, {row['frames']:,} frames" for row in chosen))
        cells: dict[str, list[str]] = {}
        for row in chosen:
            cells.setdefault(row["competitor"], []).append(_cell(row["figures"]))
        name, _, network = mode.partition(", ")
        out.append(
            f"Table `{name}`, detections of {network}: HOTA / IDF1 / IDSW where there is a truth, and ids x the mean "
            "number of frames that one is reported for.\n"
        )
        out.append(table(["", *scenes], [[variant, *cells[variant]] for variant in cells]))
    return "\n".join(out)


def _cell(figures: dict[str, float]) -> str:
    counts = f"{figures['ids']} x {figures['length']:.1f}"
    if "HOTA" not in figures:
        return counts
    return f"{figures['HOTA']:.1f} / {figures['IDF1']:.1f} / {figures['IDSW']}, {counts}"


def _identified(reid: Reid | None, kind: str, frame: Frame, found: Detections) -> Detections:
    return reid.describe(frame, found, masked=kind == MASKED) if kind and reid is not None else found


def _read_truth(path: Path) -> MotRows:
    truth = read_mot(path)
    check_truth(truth, path, _RULES)
    return truth
