"""Trackers that can be compared: ours by name, peers where they are installed, each with its makers' own settings.

A competitor turns a scene into the arguments of its `update`, beforehand and untimed, as a detector's decoder would.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from bench.result import BenchError
from bench.scenes import Scene
from tracker.systems import SYSTEMS, create

OURS, READ = "trackstream ", ", read"
"""How names of ours begin, and end where the results are read."""
FRAME_NS = 33_333_333
NORFAIR: dict[str, dict[str, Any]] = {
    "norfair": {
        "distance_function": "iou",
        "distance_threshold": 0.7,
        "filter_factory": "OptimizedKalmanFilterFactory",
    },
    "norfair MOT17": {
        "distance_function": "iou",
        "distance_threshold": 0.9,
        "detection_threshold": 0.5,
        "pointwise_hit_counter_max": 3,
        "hit_counter_max": 8,
        "filter_factory": "FilterPyKalmanFilterFactory",
    },
}
"""Settings of its demos, the others at their defaults: for a detector's boxes (demos/yolov7), and for the MOTChallenge
figures of its page (demos/motmetrics4norfair), there with camera motion from the pictures, which nobody gets here."""
BOXMOT_LEAST = 24
"""First major version that takes boxes without a picture and has `TrackerSpec`."""


@dataclass(frozen=True)
class Competitor:
    """One tracker.

    Attributes:
        name: what results call it.
        like: system of ours that does the same; its figures are compared with that one's.
        make: () -> what takes a frame, in its first state.
        prepare: scene -> arguments of every frame.
        ids: what a call returned -> ids that it reports for this frame.
        tables: what a call returned -> (ids, boxes) for the hash of the tracks; only ours.
    """

    name: str
    like: str
    make: Callable[[], Callable[..., Any]]
    prepare: Callable[[Scene], list[tuple[Any, ...]]]
    ids: Callable[[Any], Iterable[Any]]
    tables: Callable[[Any], tuple[NDArray[Any], NDArray[Any]]] | None = None


def ours(name: str) -> Competitor:
    """A system of ours, through the public `Tracker.update(Detections)`."""
    return Competitor(
        name=f"{OURS}{name}",
        like=name,
        make=lambda: create(name).update,
        prepare=lambda scene: [(detections,) for detections in scene.frames],
        ids=lambda tracks: tracks.confirmed.ids.tolist(),
        tables=lambda tracks: (tracks.confirmed.ids, tracks.confirmed.boxes),
    )


def reading(competitor: Competitor) -> Competitor:
    """The same of ours as a user calls it, who then reads the ids and boxes that the system reports."""

    def make() -> Callable[..., Any]:
        update = competitor.make()

        def update_and_read(*given: Any) -> Any:
            confirmed = update(*given).confirmed
            return confirmed.ids, confirmed.boxes

        return update_and_read

    return replace(
        competitor,
        name=f"{competitor.name}{READ}",
        make=make,
        ids=lambda read: read[0].tolist(),
        tables=lambda read: read,
    )


def box_systems() -> list[str]:
    """Names of the systems that need nothing but boxes."""
    return [name for name, system in SYSTEMS.items() if set(system.needs) == {"boxes"}]


def edgefirst() -> list[Competitor]:
    """ByteTrack in Rust; boxes as shares of the frame, as its documentation has them."""
    module = importlib.import_module("edgefirst.tracker")

    def prepare(scene: Scene) -> list[tuple[Any, ...]]:
        scale = np.array([scene.width, scene.height] * 2, np.float32)
        return [
            (np.ascontiguousarray(d.boxes / scale), d.scores.copy(), np.zeros(len(d), np.uintp), k * FRAME_NS)
            for k, d in enumerate(scene.frames)
        ]

    return [
        Competitor(
            name="edgefirst-tracker ByteTrack",
            like="bytetrack",
            make=lambda: module.ByteTrack().update,
            prepare=prepare,
            ids=lambda found: [track.uuid for track in found if track is not None],
        )
    ]


def roboflow() -> list[Competitor]:
    """Roboflow's `trackers`, in Python."""
    trackers, supervision = importlib.import_module("trackers"), importlib.import_module("supervision")

    def one(title: str, like: str) -> Competitor:
        return Competitor(
            name=f"trackers {title}",
            like=like,
            make=lambda: getattr(trackers, f"{title}Tracker")().update,
            prepare=lambda scene: _as_supervision(supervision, scene),
            ids=_supervision_ids,
        )

    return [one("ByteTrack", "bytetrack"), one("SORT", "sort"), one("OCSORT", "ocsort")]


def supervision_bytetrack() -> list[Competitor]:
    """ByteTrack in Python, of `supervision` before 0.30; what took its place is in `trackers`."""
    module = importlib.import_module("supervision")
    if not hasattr(module, "ByteTrack"):
        raise ModuleNotFoundError(f"supervision {module.__version__} has no ByteTrack, the last with one is 0.29")

    def make() -> Callable[..., Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 0.28 and 0.29 say that it is deprecated
            update: Callable[..., Any] = module.ByteTrack().update_with_detections
        return update

    return [
        Competitor(
            name="supervision ByteTrack",
            like="bytetrack",
            make=make,
            prepare=lambda scene: _as_supervision(module, scene),
            ids=_supervision_ids,
        )
    ]


def _as_supervision(module: Any, scene: Scene) -> list[tuple[Any, ...]]:
    return [
        (module.Detections(xyxy=d.boxes.copy(), confidence=d.scores.copy(), class_id=np.zeros(len(d), int)),)
        for d in scene.frames
    ]


def _supervision_ids(found: Any) -> list[int]:
    """Ids of the detections that have one; -1 is a track that is not reported yet."""
    return [] if found.tracker_id is None else [k for k in found.tracker_id.tolist() if k >= 0]


def similari() -> list[Competitor]:
    """SORT in Rust, IoU at SORT's own gate. It hands frames to worker threads, so a busy machine hits it hardest."""
    module = importlib.import_module("similari")

    def prepare(scene: Scene) -> list[tuple[Any, ...]]:
        def box(x1: float, y1: float, x2: float, y2: float, score: float) -> Any:
            return module.BoundingBox.new_with_confidence(x1, y1, x2 - x1, y2 - y1, score).as_xyaah()

        return [
            ([(box(*row, score), None) for row, score in zip(d.boxes.tolist(), d.scores.tolist(), strict=True)],)
            for d in scene.frames
        ]

    return [
        Competitor(
            name="similari SORT",
            like="sort",
            make=lambda: module.Sort(shards=1, method=module.PositionalMetricType.iou(0.3)).predict,
            prepare=prepare,
            ids=lambda found: [track.id for track in found],
        )
    ]


def norfair() -> list[Competitor]:
    """SORT generalised to points, in Python: a box is its two corners. Both settings of its makers, see `NORFAIR`."""
    module = importlib.import_module("norfair")

    def prepare(scene: Scene) -> list[tuple[Any, ...]]:
        def frame(boxes: NDArray[np.float64], scores: NDArray[np.float32]) -> list[Any]:
            return [module.Detection(box, np.full(2, score)) for box, score in zip(boxes, scores, strict=True)]

        corners = [(d.boxes.reshape(-1, 2, 2).astype(np.float64), d.scores) for d in scene.frames]
        return [(frame(*given) or None,) for given in corners]  # None is a frame without detections

    def one(name: str) -> Competitor:
        given = dict(NORFAIR[name])
        kind = getattr(module, given.pop("filter_factory"))
        return Competitor(
            name=name,
            like="sort",
            make=lambda: module.Tracker(**given, filter_factory=kind()).update,
            prepare=prepare,
            ids=lambda found: [track.id for track in found],
        )

    return [one(name) for name in NORFAIR]


def boxmot() -> list[Competitor]:
    """ByteTrack and OC-SORT in Python, through the documented factory, with the defaults it reads for each."""
    module, trackers = importlib.import_module("boxmot"), importlib.import_module("boxmot.trackers")
    version = metadata.version("boxmot")
    if int(version.partition(".")[0]) < BOXMOT_LEAST:
        raise ModuleNotFoundError(f"boxmot {version} has another interface, expected {BOXMOT_LEAST} or later")
    quiet = logging.getLogger("boxmot")  # it tells the parameters of every tracker, and sets its level back
    quiet.addFilter(lambda record: record.levelno >= logging.WARNING)

    def prepare(scene: Scene) -> list[tuple[Any, ...]]:
        return [(np.column_stack([d.boxes, d.scores, np.zeros(len(d))]).astype(np.float64),) for d in scene.frames]

    def one(title: str, like: str) -> Competitor:
        return Competitor(
            name=f"boxmot {title}",
            like=like,
            make=lambda: module.create_tracker(trackers.TrackerSpec(name=like)).update,
            prepare=prepare,
            ids=lambda rows: rows[:, 4].astype(int).tolist(),
        )

    return [one("ByteTrack", "bytetrack"), one("OCSORT", "ocsort")]


def prototype(folder: Path) -> Competitor:
    """The floor: ByteTrack written out by hand (`floor2.py` of `folder`), without checks or growth."""
    before = sys.dont_write_bytecode, numba.config.CACHE_DIR
    sys.dont_write_bytecode, numba.config.CACHE_DIR = True, tempfile.mkdtemp()  # nothing is written into the folder
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module("floor2")
    except ModuleNotFoundError:
        raise BenchError(f"no floor2.py in {folder}") from None
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode, numba.config.CACHE_DIR = before

    def prepare(scene: Scene) -> list[tuple[Any, ...]]:
        return [(np.column_stack([d.boxes, d.scores]).astype(np.float64),) for d in scene.frames]

    return Competitor(
        name="prototype ByteTrack",
        like="bytetrack",
        make=lambda: module.ByteFloor2().update,
        prepare=prepare,
        ids=lambda rows: rows[:, 4].astype(int).tolist(),
    )


PEERS: dict[str, Callable[[], list[Competitor]]] = {
    "edgefirst-tracker": edgefirst,
    "trackers": roboflow,
    "similari-trackers-rs": similari,
    "supervision": supervision_bytetrack,
    "norfair": norfair,
    "boxmot": boxmot,
}
"""Distribution -> its competitors; importing what is not installed raises ModuleNotFoundError."""


def installed_peers(names: Iterable[str] = PEERS) -> tuple[list[Competitor], list[str]]:
    """Those of some packages that are installed, and a note for each package that is not.

    Raises:
        BenchError: a package that `PEERS` does not have.
    """
    found: list[Competitor] = []
    notes = []
    for name in names:
        if name not in PEERS:
            raise BenchError(f"no peer {name!r}; there are {', '.join(PEERS)}")
        try:
            found += PEERS[name]()
        except ModuleNotFoundError as error:
            notes.append(f"{name} is absent: {error}")
    return found, notes


class Digest:
    """What a competitor reported, frame by frame."""

    def __init__(self, competitor: Competitor) -> None:
        self._competitor = competitor
        self._hash = hashlib.sha256()
        self._ids: set[Any] = set()
        self._reported = 0
        self._frames = 0

    def add(self, returned: Any) -> None:
        """Take what one call returned."""
        ids = list(self._competitor.ids(returned))
        self._ids.update(ids)
        self._reported += len(ids)
        self._frames += 1
        if self._competitor.tables is not None:
            numbers, boxes = self._competitor.tables(returned)
            self._hash.update(np.int64([len(numbers)]).tobytes() + np.ascontiguousarray(numbers, np.int64).tobytes())
            self._hash.update(np.round(boxes.astype(np.float64), 2).tobytes())

    def figures(self) -> dict[str, Any]:
        """Ids seen, objects reported per frame, frames looked at, and for ours the hash of the tracks."""
        out = {"ids": len(self._ids), "reported": round(self._reported / self._frames, 2), "checked": self._frames}
        return {**out, "tracks_sha256": self._hash.hexdigest()} if self._competitor.tables is not None else out
