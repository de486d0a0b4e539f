"""Guided: a tracker that is told how the picture moved, because somebody looks at the images for it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.association import Plan, Tracker
from tracker.types import Detections, Flow, Frame, Tracks


class FlowSource(Protocol):
    """Optical flow of a stream; `tracker.flow.FLOWS` has some."""

    def update(self, frame: Frame) -> Flow:
        """Flow from the frame of the last call to this one."""

    def reset(self) -> None:
        """Forget the last frame."""


class CameraSource(Protocol):
    """Camera motion of a stream; `tracker.camera.CameraMotion` is one."""

    def estimate(self, frame: Frame, boxes: ArrayLike | None = None) -> NDArray[np.float64]:
        """(2, 3) affine map of the picture before onto this one."""

    def reset(self) -> None:
        """Forget the last frame."""


class Guided:
    """A tracker that gets optical flow and camera motion with every frame. Takes its place in the loop.

    Args:
        tracker: the tracker.
        flow: for plans that carry masks along it (`Plan.flow`).
        camera: moves all tracks with the picture before they are predicted.
    """

    def __init__(self, tracker: Tracker, flow: FlowSource | None = None, camera: CameraSource | None = None) -> None:
        self.tracker = tracker
        self._flow, self._camera = flow, camera

    @property
    def plan(self) -> Plan:
        """Plan of the tracker."""
        return self.tracker.plan

    @property
    def frame_rate(self) -> float:
        """Nominal frames per second of the tracker."""
        return self.tracker.frame_rate

    def update(self, detections: Detections, frame: Frame | None = None, *, time_s: float | None = None) -> Tracks:
        """As `Tracker.update`; the frame is what flow and camera motion are taken from."""
        given: dict[str, Any] = {}
        if frame is not None and self._flow is not None:
            given["flow"] = self._flow.update(frame)
        if frame is not None and self._camera is not None:
            given["camera"] = self._camera.estimate(frame, detections.boxes)
        return self.tracker.update(detections, frame, time_s=time_s, **given)

    def reset(self) -> None:
        """Forget tracks and pictures."""
        self.tracker.reset()
        for source in (self._flow, self._camera):
            if source is not None:
                source.reset()
