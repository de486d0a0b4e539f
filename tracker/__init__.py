"""trackstream: frames go in, tracks with stable ids and masks come out, online.

    import tracker

    associator = tracker.create("bytetrack")
    for frame in frames:
        tracks = associator.update(tracker.Detections.from_array(my_detector(frame)))

Names are loaded when first used, so importing this package costs nothing; neither onnxruntime nor OpenCV is loaded
before a model or a video is opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.association.tracker import Tracker
    from tracker.errors import TrackerError
    from tracker.masks import Masks
    from tracker.models import open_model
    from tracker.pipeline import run
    from tracker.sources import open_source
    from tracker.systems import SYSTEMS, create
    from tracker.types import Detections, Flow, Frame, Panoptic, Tracks, TrackState

__version__ = "0.1.0"

__all__ = [
    "SYSTEMS",
    "Detections",
    "Flow",
    "Frame",
    "Masks",
    "Panoptic",
    "TrackState",
    "Tracker",
    "TrackerError",
    "Tracks",
    "create",
    "open_model",
    "open_source",
    "run",
]

_HOMES = {
    "association.tracker": ("Tracker",),
    "errors": ("TrackerError",),
    "masks": ("Masks",),
    "models": ("open_model",),
    "pipeline": ("run",),
    "sources": ("open_source",),
    "systems": ("SYSTEMS", "create"),
    "types": ("Detections", "Flow", "Frame", "Panoptic", "TrackState", "Tracks"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"tracker.{home}"), name)
    raise AttributeError(f"module 'tracker' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
