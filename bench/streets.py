"""Systems that need more than boxes, on held-out synthetic streets, with what one network sees of them.

Table `step`: the baselines B1 to B4 of STEP (its Table 2), on streets as they come. Table `occlusions`: everybody
vanishes from the picture now and then for 5 to 40 frames; MOTSNet against systems that do not know objects again, its
vectors pooled over masks and over boxes, and its window in frames (Tables 1 and 5 of its paper). The network runs once
per frame and all trackers get the same detections; scores are those of its own masks, so they are not the trackers'
alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.flags import at_least_one, frame_size
from bench.markdown import table
from bench.result import BenchError, Row
from tracker.association import Plan, Term, Tracker
from tracker.evaluation import METRICS, ClassSet, Metric, Objects, compare_masks
from tracker.flow import DisFlow
from tracker.guide import Guided
from tracker.models import Model, open_model
from tracker.models.panoptic_video import PanopticVideoNet
from tracker.sources.street import STREET_CLASSES, Scene, Street
from tracker.systems import plan
from tracker.types import Detections, Tracks

FIRST_SEED = 100  # to 499: streets that neither training nor validation sees
HIDDEN = (5, 40)  # frames of an occlusion
HIDDEN_PER_S = 0.25  # how often it comes over somebody
LEAST_PX = 40  # visible pixels that a true object must have
WINDOWS = (1, 5, 30)  # of MOTSNet, in frames, beside its own 12
STREET = ClassSet(STREET_CLASSES, tuple(STREET_CLASSES.index(name) for name in ("person", "car")))
_PANOPTIC, _MASKS = ("stq", "vpq", "ptq"), ("mots", "hota", "identity")


@dataclass(frozen=True)
class Contender:
    """One row of a table.

    Attributes:
        name: of the row.
        plan: of its tracker.
        boxes: vectors are pooled over boxes instead of masks.
    """

    name: str
    plan: Plan
    boxes: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """Parts of `Detections` that the network must give."""
        return self.plan.needs | {"masks"}


def windowed(frames: int) -> Plan:
    """MOTSNet with another window: the share of it that has passed is part of the cost."""
    base = plan("motsnet")
    terms = tuple(
        Term(term.cue, weight=-1.0 / frames) if term.cue == "time_gap" else term for term in base.stages[0].terms
    )
    return replace(base, stages=(replace(base.stages[0], terms=terms),), max_coast_frames=frames - 1)


def contenders(name: str) -> list[Contender]:
    """The rows of a table, see `TABLES_MADE`."""
    if name == "step":
        return [Contender(system, plan(system)) for system in ("step-b1", "step-b2", "step-b3", "motion-deeplab")]
    others = [Contender(system, plan(system)) for system in ("sort", "bytetrack", "step-b1")]
    return [
        *others,
        Contender("motsnet, window 12", plan("motsnet")),
        Contender("motsnet, window 12, box-pooling", plan("motsnet"), boxes=True),
        *(Contender(f"motsnet, window {n}", windowed(n)) for n in WINDOWS),
    ]


TABLES_MADE = {
    "step": ("STQ", "AQ", "SQ", "VPQ", "PTQ", "sPTQ", "IDS", "sIDS", "sMOTSA", "MOTSP"),
    "occlusions": ("sMOTSA", "IDF1", "HOTA", "AssA", "IDSW"),
}
"""Table -> its figures."""

_SAID_BY = {
    "stq": ("STQ", "AQ", "SQ"), "vpq": ("VPQ",), "ptq": ("PTQ", "sPTQ", "IDS", "sIDS"),
    "mots": ("sMOTSA", "MOTSP", "IDSW"), "hota": ("HOTA", "AssA"), "identity": ("IDF1",),
}  # fmt: skip
"""Metric -> its figures: several have one of the same name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--model", default="street", help="a panoptic network that knows the synthetic street")
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.3,
        help="of detections, as B1 to B4 have no threshold (default %(default)s)",
    )
    parser.add_argument("--tables", nargs="+", choices=list(TABLES_MADE), default=list(TABLES_MADE))
    parser.add_argument("--seeds", type=at_least_one, default=10, help="streets (default %(default)s)")
    parser.add_argument("--frames", type=at_least_one, default=300, help="of each street (default %(default)s)")
    parser.add_argument(
        "--size", type=frame_size, default="960x540", metavar="WxH", help="of a frame (default %(default)s)"
    )


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure; returns rows and notes."""
    model = open_model(arguments.model, device="cpu", min_score=arguments.min_score)
    if model.card.class_names != STREET_CLASSES:
        raise BenchError(f"expected a network that knows {', '.join(STREET_CLASSES)}, got {model.session.path.name}")
    rows, notes = [], []
    for name in arguments.tables:
        chosen = [each for each in contenders(name) if each.needs <= model.gives]
        absent = [each.name for each in contenders(name) if each not in chosen]
        if absent:
            notes.append(
                f"{', '.join(absent)} left out: this network gives no more than {', '.join(sorted(model.gives))}"
            )
        entries = [Entry(contender) for contender in chosen]
        gaps = [gap for street in _streets(name, arguments) for gap in judge(model, street, entries)]
        rows += [entry.row(name, arguments.seeds, arguments.frames) for entry in entries]
        notes.append(
            f"{name}: {arguments.seeds} streets, seeds from {FIRST_SEED}, {arguments.frames} frames each, scores from "
            f"{arguments.min_score:g}; objects were out of sight {len(gaps)} times for {HIDDEN[0]} frames or more"
        )
    return rows, notes


def _streets(name: str, arguments: argparse.Namespace) -> Iterator[Street]:
    """The streets of a table, one by one."""
    for k in range(arguments.seeds):
        print(f"{name}, street {k + 1} of {arguments.seeds} ...", file=sys.stderr, flush=True)
        street = Street(seed=FIRST_SEED + k, objects=8 + k, size=arguments.size, frames=arguments.frames)
        if name == "occlusions":
            hide(street)
        yield street


def hide(street: Street) -> None:
    """Let everybody vanish from the picture now and then, for `HIDDEN` frames; the street's seed says who and when."""
    world = street.world
    rng = np.random.default_rng([street.config.seed, 40])
    hidden = world.hidden.copy()
    for frame, slot in np.argwhere(rng.random(hidden.shape) < HIDDEN_PER_S / street.config.fps).tolist():
        span = slice(frame, frame + int(rng.integers(HIDDEN[0], HIDDEN[1] + 1)))
        if not hidden[max(frame - HIDDEN[1], 0) : span.stop + 1, slot].any():
            hidden[span, slot] = world.ids[span, slot] == world.ids[frame, slot]
    street.world = replace(world, hidden=hidden & (world.ids > 0))


@dataclass
class Entry:
    """A contender with its scores of all streets so far; `begin` starts the next one."""

    contender: Contender
    total: dict[str, Metric] = field(default_factory=dict)

    def begin(self, frame_rate: float) -> None:
        """A fresh tracker and fresh metrics for one street; masks are judged class by class."""
        tracker = Tracker(self.contender.plan, frame_rate)
        self._tracker = Guided(tracker, flow=DisFlow() if self.contender.plan.flow != "none" else None)
        self._panoptic: dict[str, Any] = {name: METRICS[name].metric(STREET) for name in _PANOPTIC}
        self._masks: dict[int, dict[str, Any]] = {c: {n: METRICS[n].metric() for n in _MASKS} for c in STREET.things}

    def update(self, scene: Scene, truth: tuple[Detections, NDArray[np.int64]], seen: Detections) -> None:
        """One frame: what there is, and what was detected."""
        tracks = self._tracker.update(seen, scene.frame)
        classes, ids = paint(seen, tracks)
        for metric in self._panoptic.values():
            metric.update(scene.classes, scene.ids, classes, ids)
        objects, true_ids = truth
        shown = tracks.confirmed
        assert objects.masks is not None
        assert seen.masks is not None
        for c, metrics in self._masks.items():
            true, found = np.flatnonzero(objects.labels == c), np.flatnonzero(shown.labels == c)
            overlaps = compare_masks(
                Objects.one_frame(true_ids[true]), [objects.masks.select(true)],
                Objects.one_frame(shown.ids[found]), [seen.masks.select(shown.source[found])],
            )  # fmt: skip
            for metric in metrics.values():
                metric.update(overlaps)

    def end(self) -> None:
        """The street is over: add its scores."""
        for name in _PANOPTIC:
            self._add(name, self._panoptic[name])
        for metrics in self._masks.values():
            for name, metric in metrics.items():
                self._add(name, metric)

    def _add(self, name: str, metric: Metric) -> None:
        if name not in self.total:
            self.total[name] = METRICS[name].metric(STREET) if name in _PANOPTIC else METRICS[name].metric()
        self.total[name].merge(metric)

    def row(self, name: str, streets: int, frames: int) -> Row:
        """Scores of everything, those of the table, in percent where they are shares."""
        results = {name: metric.result() for name, metric in self.total.items()}
        scores = {key: results[name][key] for name, keys in _SAID_BY.items() for key in keys}
        counts = ("IDS", "sIDS", "IDSW")
        figures = {key: round(scores[key] * (1 if key in counts else 100), 1) for key in TABLES_MADE[name]}
        return {
            "competitor": self.contender.name, "scene": f"{streets} streets", "mode": name, "frames": streets * frames,
            "figures": figures,
        }  # fmt: skip


def paint(seen: Detections, tracks: Tracks) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Class and id of every pixel; a thing has the id of the track that took it, also before that is confirmed."""
    assert seen.panoptic is not None
    ids = np.zeros(len(seen) + 1, np.int32)
    taken = tracks.source >= 0
    ids[tracks.source[taken] + 1] = tracks.ids[taken]
    return seen.panoptic.classes, ids[seen.panoptic.rows]


def judge(model: Model, street: Street, entries: list[Entry]) -> list[int]:
    """Run a street through the network and all trackers; returns how long objects were out of sight, in frames."""
    for entry in entries:
        entry.begin(float(street.config.fps))
    last: dict[int, int] = {}
    gaps = []
    for scene, seen, pooled_over_boxes in watch(model, street, boxes=any(entry.contender.boxes for entry in entries)):
        truth = scene.detections(LEAST_PX)
        for entry in entries:
            entry.update(scene, truth, pooled_over_boxes if entry.contender.boxes else seen)
        for thing in truth[1].tolist():
            gap = scene.index - last.get(thing, scene.index) - 1
            gaps += [gap] if gap >= HIDDEN[0] else []
            last[thing] = scene.index
    for entry in entries:
        entry.end()
    return gaps


def watch(model: Model, street: Street, *, boxes: bool) -> Iterator[tuple[Scene, Detections, Detections]]:
    """Every scene of a street, and what the network saw, twice: with vectors of masks and, if asked for, of boxes."""
    eye = model.for_stream()
    for index in range(len(street)):
        scene = street.render(index)
        tensors, placement = eye.preprocess(scene.image)
        outputs = eye.infer(tensors)
        seen = boxed = eye.decode(outputs, placement)
        if boxes:
            assert isinstance(eye, PanopticVideoNet)
            boxed = replace(seen, embeddings=eye.identify(outputs, placement, seen, None))
        yield scene, seen, boxed


def tabulate(rows: list[Row]) -> str:
    """Both tables as text for README: contenders down, figures across."""
    out = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        chosen = [row for row in rows if row["mode"] == mode]
        what = f"{chosen[0]['scene']}, {chosen[0]['frames']:,} frames"
        out.append(f"Table `{mode}`, {what}; in percent, but for counts of changed ids (IDS, sIDS, IDSW).\n")
        head = ["", *chosen[0]["figures"]]
        out.append(table(head, [[row["competitor"], *(f"{v:g}" for v in row["figures"].values())] for row in chosen]))
    return "\n".join(out)
