"""SiamMOT's Table 1: ways to find a track again where everybody moves far between two frames.

On held-out synthetic streets with few frames per second, before a camera that stands and one that is held by hand, all
trackers see the same detections of one trained network: Tracktor-like regression (the box head from a track's last
box), the same from where optical flow moved it, SiamMOT's implicit (IMM) and explicit (EMM) motion, and beside them
Kalman filters. Each `--model` is a SiamMOT with one of the two heads; models of one checkpoint share detections, and
the trunk runs once for all of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.flags import at_least_one, frame_size
from bench.markdown import table
from bench.result import BenchError, Row
from tracker.evaluation import METRICS, Objects, compare_boxes
from tracker.flow import DisFlow
from tracker.guide import Guided
from tracker.models import DEVICES, open_model
from tracker.models.siammot import SiamMot
from tracker.models.siammot.graphs import SiamMotGraphs
from tracker.models.siammot.loop import Ahead, SiamMotMotion
from tracker.sources.street import STREET_CLASSES, Scene, Street
from tracker.systems import SYSTEMS, create, options
from tracker.types import Detections

FIRST_SEED = 100  # to 499: streets that neither training nor validation sees
LEAST_PX = 40  # visible pixels that a true object must have
CLASSES = ("person", "car")
MODELS = [Path("tests", "golden", "models", "siammot-street", head) for head in ("emm", "imm")]
FIGURES = {"MOTA": "clear", "IDF1": "identity", "HOTA": "hota", "AssA": "hota", "IDSW": "clear", "FP": "clear",
           "FN": "clear"}  # fmt: skip
"""Column -> metric that says it."""

Truth = tuple[Detections, NDArray[np.int64]]
"""Objects that are there, and their ids."""

_LEAST_STEP_PX = 1.0  # less counts as standing
_COUNTS = {"IDSW": "IDSW", "FP": "CLR_FP", "FN": "CLR_FN"}  # column -> name that the metric has for it
_HEADS = ("emm", "imm")
_LIFE = {"confirm_hits": 0, "max_coast_frames": 29}


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Attributes:
        name: of the row.
        system: key of `SYSTEMS`.
        options: of it.
        search: where a SiamMOT searches for its tracks.
    """

    name: str
    system: str
    options: dict[str, Any] = field(default_factory=dict)
    search: str = "seen"


CONTENDERS = (
    Contender("sort", "sort"),
    Contender("sort, life of a SiamMOT track", "sort", _LIFE),
    Contender("bytetrack", "bytetrack"),
    Contender("siammot-tracktor", "siammot-tracktor"),
    Contender("siammot-flow", "siammot-flow"),
    Contender("siammot-imm", "siammot-imm"),
    Contender("siammot-emm", "siammot-emm"),
    Contender("siammot-imm, moving", "siammot-imm", search="moving"),
    Contender("siammot-emm, moving", "siammot-emm", search="moving"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument(
        "--model", type=Path, nargs="+", default=MODELS, metavar="FOLDER",
        help="SiamMOTs that know the street's people and cars, one for each head (default: those of the tests)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=at_least_one, default=10, help="streets (default %(default)s)")
    parser.add_argument("--frames", type=at_least_one, default=200, help="of each street (default %(default)s)")
    parser.add_argument(
        "--fps", type=float, nargs="+", default=[10.0, 5.0], help="frames per second of a street (default %(default)s)"
    )
    parser.add_argument(
        "--shake", type=float, nargs="+", default=[0.0, 20.0], metavar="PX",
        help="how far the camera shakes, each with every --fps (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=frame_size, default=(960, 540), metavar="WxH", help="of a frame (default 960x540)"
    )
    parser.add_argument(
        "--birth-score", type=float, default=0.9, help="of every system, see bench/README.md (default %(default)s)"
    )
    parser.add_argument(
        "--keep-score", type=float, default=0.6, help="of SiamMOT's, and resume_score (default %(default)s)"
    )
    parser.add_argument("--device", default="cpu", choices=list(DEVICES))


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure; returns rows and notes."""
    models = [open_set(folder, arguments.device) for folder in arguments.model]
    chosen = [each for each in CONTENDERS if find_model(each, models) is not None]
    absent = [each.name for each in CONTENDERS if each not in chosen]
    rows, notes = [], [f"{', '.join(absent)} left out: no --model has that head"] if absent else []
    for shake, fps in product(arguments.shake, arguments.fps):
        mode = f"{fps:g} frames per second" + (f", the camera shakes by {shake:g} px" if shake else "")
        entries = [Entry(each, models, arguments.birth_score, arguments.keep_score) for each in chosen]
        moves = []
        for k in range(arguments.seeds):
            print(f"{mode}, street {k + 1} of {arguments.seeds} ...", file=sys.stderr, flush=True)
            street = Street(
                seed=FIRST_SEED + k, objects=8 + k, size=arguments.size, frames=arguments.frames, fps=fps, shake=shake
            )
            moves.append(judge(map(street.render, range(len(street))), fps, models, entries))
        rows += [entry.row(mode, arguments.seeds, arguments.frames) for entry in entries]
        notes.append(f"{mode}: {arguments.seeds} streets, seeds from {FIRST_SEED}, {describe(np.concatenate(moves))}")
    return rows, notes


def open_set(folder: Path, device: str) -> SiamMotGraphs:
    """A SiamMOT that knows the street's classes.

    Raises:
        BenchError: another network.
    """
    model = open_model(folder, device=device, min_score=0.0)
    if not isinstance(model, SiamMotGraphs) or not set(CLASSES) <= set(model.card.class_names):
        raise BenchError(f"expected a SiamMOT that knows {' and '.join(CLASSES)}, got {folder}")
    return model


def find_model(contender: Contender, models: list[SiamMotGraphs]) -> SiamMotGraphs | None:
    """The first model that a contender can do with; None if there is none."""
    motion = SYSTEMS[contender.system].motion
    fitting = (model for model in models if motion not in _HEADS or motion == model.head)
    return next(fitting, None)


class Entry:
    """A contender with its scores of all streets so far; `begin` starts the next one.

    Args:
        contender: the row.
        models: what there is to choose from.
        birth_score: of every system.
        keep_score: of SiamMOT's, and their `resume_score`.
    """

    def __init__(
        self, contender: Contender, models: list[SiamMotGraphs], birth_score: float, keep_score: float
    ) -> None:
        model = find_model(contender, models)
        assert model is not None
        self.contender, self.model = contender, model
        self._options = {**contender.options, "birth_score": birth_score}
        if "keep_score" in options(contender.system):
            self._options |= {"keep_score": keep_score, "resume_score": keep_score}
        self._ahead = Ahead(model)
        self._total: dict[str, Any] = {name: METRICS[name].metric() for name in set(FIGURES.values())}

    def begin(self, fps: float) -> None:
        """A fresh tracker and fresh metrics for one street, class by class."""
        motion, source = SYSTEMS[self.contender.system].motion, None
        if motion:
            stream = SiamMot(self.model, learned=motion in _HEADS, search=self.contender.search)
            source = SiamMotMotion(stream, flow=DisFlow() if motion == "flow" else None)
        self._tracker = Guided(create(self.contender.system, frame_rate=fps, **self._options), motion=source)
        self._metrics: dict[str, dict[str, Any]] = {
            name: {key: METRICS[key].metric() for key in self._total} for name in CLASSES
        }

    def update(self, view: View) -> None:
        """One frame."""
        seen: Detections = view.detections
        if self._tracker.motion is not None:
            seen = self._ahead.decode(view.outputs, view.placement)
        shown = self._tracker.update(seen, view.scene.frame).confirmed
        truth, true_ids = view.truth
        for name, metrics in self._metrics.items():
            true = np.flatnonzero(truth.labels == STREET_CLASSES.index(name))
            found = np.flatnonzero(shown.labels == self.model.card.class_names.index(name))
            overlaps = compare_boxes(
                Objects.one_frame(true_ids[true]), truth.boxes[true],
                Objects.one_frame(shown.ids[found]), shown.boxes[found],
            )  # fmt: skip
            for metric in metrics.values():
                metric.update(overlaps)

    def end(self) -> None:
        """The street is over: add its scores."""
        for metrics in self._metrics.values():
            for key, metric in metrics.items():
                self._total[key].merge(metric)

    def row(self, mode: str, streets: int, frames: int) -> Row:
        """Scores of everything: shares in percent, and counts."""
        results = {name: metric.result() for name, metric in self._total.items()}
        figures = {
            column: int(results[name][_COUNTS[column]]) if column in _COUNTS else round(100 * results[name][column], 1)
            for column, name in FIGURES.items()
        }
        return {
            "competitor": self.contender.name, "scene": f"{streets} streets", "mode": mode, "frames": streets * frames,
            "figures": figures,
        }  # fmt: skip


@dataclass(frozen=True)
class View:
    """A scene as one network sees it.

    Attributes:
        scene: the picture.
        truth: its objects, and their ids.
        outputs: of the trunk.
        placement: of the picture.
        detections: what the network sees without knowing any track.
    """

    scene: Scene
    truth: Truth
    outputs: dict[str, Any]
    placement: Any
    detections: Detections


def judge(
    scenes: Iterable[Scene], fps: float, models: list[SiamMotGraphs], entries: list[Entry]
) -> NDArray[np.float64]:
    """Run a street through the networks and all trackers; returns the `steps` of its objects."""
    for entry in entries:
        entry.begin(fps)
    truths = []
    for views in watch(scenes, models):
        for entry in entries:
            entry.update(views[checkpoint_of(entry.model)])
        truths.append(next(iter(views.values())).truth)
    for entry in entries:
        entry.end()
    return steps(truths)


def steps(truths: list[Truth]) -> NDArray[np.float64]:
    """How far the middles of objects went from frame to frame, in widths of their boxes; those that stood left out."""
    out: list[float] = []
    for (before, old_ids), (after, new_ids) in pairwise(truths):
        _, old, new = np.intersect1d(old_ids, new_ids, return_indices=True)
        a, b = before.boxes[old], after.boxes[new]
        way = np.linalg.norm((b[:, :2] + b[:, 2:] - a[:, :2] - a[:, 2:]) / 2, axis=1)
        out += (way / (a[:, 2] - a[:, 0]))[way >= _LEAST_STEP_PX].tolist()
    return np.array(out)


def watch(scenes: Iterable[Scene], models: list[SiamMotGraphs]) -> Iterator[dict[tuple[Any, ...], View]]:
    """Every scene of a street as each network sees it, once for all models of one checkpoint."""
    networks = {checkpoint_of(model): model for model in reversed(models)}
    for scene in scenes:
        truth, views = scene.detections(LEAST_PX), {}
        for key, model in networks.items():
            tensors, placement = model.preprocess(scene.image)
            outputs = model.infer(tensors)
            views[key] = View(scene, truth, outputs, placement, model.decode(outputs, placement))
        yield views


def checkpoint_of(model: SiamMotGraphs) -> tuple[Any, ...]:
    """The same for models that see the same: trunk and box head are of one network, whatever the track head."""
    return model.card.checkpoint_sha256, model.size


def describe(moves: NDArray[np.float64]) -> str:
    """In words, how far objects moved."""
    if not len(moves):
        return "nothing moved"
    middle, most = np.percentile(moves, [50, 90])
    return f"half of all steps are longer than {middle:.2f} widths of the object, a tenth longer than {most:.2f}"


def tabulate(rows: list[Row]) -> str:
    """A table for each speed: contenders down, figures across."""
    out = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        chosen = [row for row in rows if row["mode"] == mode]
        what = f"{chosen[0]['scene']} at {mode}, {chosen[0]['frames']:,} frames"
        out.append(f"{what}; in percent, but for counts (IDSW, FP, FN).\n")
        body = [[row["competitor"], *(f"{value:,}" for value in row["figures"].values())] for row in chosen]
        out.append(table(["", *FIGURES], body))
    return "\n".join(out)
