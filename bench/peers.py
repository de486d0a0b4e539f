"""Trackers of others, where they are installed, each with its makers' own settings."""

from __future__ import annotations

import importlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.competitors import Competitor, Given
from bench.result import BenchError
from bench.scenes import Scene

T = TypeVar("T")
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


def edgefirst() -> list[Competitor]:
    """ByteTrack in Rust; boxes as shares of the frame, as its documentation has them."""
    module = importlib.import_module("edgefirst.tracker")

    def prepare(scene: Scene) -> list[Given]:
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
            read=read_edgefirst,
            settings=lambda: _defaults(module.ByteTrack),
        )
    ]


def read_edgefirst(returned: Any, given: Given, scene: Scene) -> tuple[Iterable[Any], Any]:
    """A track beside each detection, whose box it gets: its own `tracked_location` is smoothed and lags."""
    rows = [row for row, track in enumerate(returned) if track is not None]
    return [returned[row].uuid for row in rows], given[0][rows] * np.array([scene.width, scene.height] * 2)


def roboflow() -> list[Competitor]:
    """Roboflow's `trackers`, in Python."""
    trackers, supervision = importlib.import_module("trackers"), importlib.import_module("supervision")

    def one(title: str, like: str) -> Competitor:
        kind = getattr(trackers, f"{title}Tracker")
        return Competitor(
            name=f"trackers {title}",
            like=like,
            make=lambda: kind().update,
            prepare=lambda scene: _as_supervision(supervision, scene),
            read=read_supervision,
            settings=lambda: _defaults(kind),
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
            read=read_supervision,
            settings=lambda: _defaults(type(make().__self__)),  # its name is a stand-in that warns of its end
        )
    ]


def _as_supervision(module: Any, scene: Scene) -> list[Given]:
    return [
        (module.Detections(xyxy=d.boxes.copy(), confidence=d.scores.copy(), class_id=np.zeros(len(d), int)),)
        for d in scene.frames
    ]


def read_supervision(returned: Any, given: Given, scene: Scene) -> tuple[Iterable[Any], Any]:
    """Detections with ids; -1 is a track that is not reported yet."""
    if returned.tracker_id is None:
        return [], []
    known = returned.tracker_id >= 0
    return returned.tracker_id[known].tolist(), returned.xyxy[known]


def similari() -> list[Competitor]:
    """SORT in Rust, IoU at SORT's own gate. It hands frames to worker threads, so a busy machine hits it hardest."""
    module = importlib.import_module("similari")

    def prepare(scene: Scene) -> list[Given]:
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
            read=read_similari,
            settings=lambda: {**_defaults(module.Sort), "shards": 1, "method": "iou(0.3)"},
        )
    ]


def read_similari(returned: Any, given: Given, scene: Scene) -> tuple[Iterable[Any], Any]:
    """Tracks with their filtered boxes, as in its documentation's examples."""
    boxes = [track.predicted_bbox.as_ltwh() for track in returned]
    return [track.id for track in returned], [(b.left, b.top, b.left + b.width, b.top + b.height) for b in boxes]


def norfair() -> list[Competitor]:
    """SORT generalised to points, in Python: a box is its two corners. Both settings of its makers, see `NORFAIR`."""
    module = importlib.import_module("norfair")

    def prepare(scene: Scene) -> list[Given]:
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
            read=read_norfair,
            settings=lambda: {**_defaults(module.Tracker), **NORFAIR[name]},
        )

    return [one(name) for name in NORFAIR]


def read_norfair(returned: Any, given: Given, scene: Scene) -> tuple[Iterable[Any], Any]:
    """Objects after their first frames, with filtered corners, as its MOTChallenge demo writes them."""
    return [track.id for track in returned], np.reshape([track.estimate for track in returned], (-1, 4))


def boxmot() -> list[Competitor]:
    """ByteTrack and OC-SORT in Python, through the documented factory, with the defaults it reads for each."""
    module, trackers = importlib.import_module("boxmot"), importlib.import_module("boxmot.trackers")
    version = metadata.version("boxmot")
    if int(version.partition(".")[0]) < BOXMOT_LEAST:
        raise ModuleNotFoundError(f"boxmot {version} has another interface, expected {BOXMOT_LEAST} or later")
    quiet = logging.getLogger("boxmot")  # it tells the parameters of every tracker, and sets its level back
    quiet.addFilter(lambda record: record.levelno >= logging.WARNING)

    def prepare(scene: Scene) -> list[Given]:
        return [(np.column_stack([d.boxes, d.scores, np.zeros(len(d))]).astype(np.float64),) for d in scene.frames]

    def one(title: str, like: str) -> Competitor:
        return Competitor(
            name=f"boxmot {title}",
            like=like,
            make=lambda: module.create_tracker(trackers.TrackerSpec(name=like)).update,
            prepare=prepare,
            read=read_boxmot,
            settings=lambda: {"name": like, "settings": "its file of defaults", "version": version},
        )

    return [one("ByteTrack", "bytetrack"), one("OCSORT", "ocsort")]


def read_boxmot(returned: Any, given: Given, scene: Scene) -> tuple[Iterable[Any], Any]:
    """Rows of x1, y1, x2, y2, id, confidence, class and detection."""
    return returned[:, 4].astype(int).tolist(), returned[:, :4]


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
    """Those of some packages that are installed, and a note for each package that is not; see `open_installed`."""
    found, notes = open_installed(PEERS, names)
    return [competitor for competitors in found.values() for competitor in competitors], notes


def open_installed(peers: Mapping[str, Callable[[], T]], names: Iterable[str]) -> tuple[dict[str, T], list[str]]:
    """Name -> what opening that package gives, where it is installed; and a note for each package that is not.

    Args:
        peers: name -> opens it; raises ModuleNotFoundError where it is not installed.
        names: those that are wanted.

    Raises:
        BenchError: a name that is not in the table.
    """
    found: dict[str, T] = {}
    notes = []
    for name in names:
        if name not in peers:
            raise BenchError(f"no peer {name!r}; there are {', '.join(peers)}")
        try:
            found[name] = peers[name]()
        except ModuleNotFoundError as error:
            notes.append(f"{name} is absent: {error}")
    return found, notes


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
