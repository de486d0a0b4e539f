"""Guided: a tracker that is told what the pictures show, because somebody looks at them for it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.association import Plan, Tracker
from tracker.types import Detections, Flow, Frame, Tracks

if TYPE_CHECKING:
    from tracker.deadline import Deadline


class FlowSource(Protocol):
    """Optical flow of a stream; `tracker.flow.FLOWS` has some."""

    def update(self, frame: Frame) -> Flow:
        """Flow from the frame of the last call to this one."""

    def skip(self, frame: Frame) -> Flow:
        """The same without the work: nothing has moved. The next flow goes from this frame."""

    def reset(self) -> None:
        """Forget the last frame."""


class CameraSource(Protocol):
    """Camera motion of a stream; `tracker.camera.CameraMotion` is one."""

    def estimate(self, frame: Frame, boxes: ArrayLike | None = None) -> NDArray[np.float64]:
        """(2, 3) affine map of the picture before onto this one."""

    def reset(self) -> None:
        """Forget the last frame."""


class MotionSource(Protocol):
    """Learned motion: a network that finds every track again in the next picture, such as `tracker.models.siamese`."""

    def predict(self, frame: Frame, detections: Detections) -> Detections:
        """The detections, and one row more (`track_ids`) for each remembered track: where it is now."""

    def follow(self, frame: Frame, tracks: Tracks) -> None:
        """Remember the tracks of the frame that `predict` saw last, and forget those that ended."""

    def dump(self) -> dict[str, NDArray[Any]]:
        """All that is remembered between two frames, as plain arrays."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Remember what `dump` gave; SnapshotError if that was another network's."""

    def reset(self) -> None:
        """Forget all tracks."""


class LookSource(Protocol):
    """Identity vectors of what was detected; `tracker.models.reid` makes them of crops."""

    def describe(self, frame: Frame, detections: Detections) -> Detections:
        """The same detections with `embeddings`."""


class Guided:
    """A tracker that gets more with every frame than what the detector saw. Takes its place in the loop.

    Args:
        tracker: the tracker.
        flow: for plans that carry masks along it (`Plan.flow`).
        camera: moves all tracks with the picture before they are predicted.
        motion: adds a row for each track where a network finds it again, for plans with given motion.
        looks: adds identity vectors, for plans that compare embeddings.
        deadline: says which of these a frame goes without to come in time.

    Attributes:
        tracker: the tracker.
        motion: learned motion, None without.
        deadline: None for as long as it takes.
    """

    def __init__(
        self,
        tracker: Tracker,
        flow: FlowSource | None = None,
        camera: CameraSource | None = None,
        motion: MotionSource | None = None,
        looks: LookSource | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self.tracker = tracker
        self.motion = motion
        self._flow, self._camera, self._looks = flow, camera, looks
        self.deadline = deadline
        self._epoch = 0

    @property
    def plan(self) -> Plan:
        """Plan of the tracker."""
        return self.tracker.plan

    @property
    def frame_rate(self) -> float:
        """Nominal frames per second of the tracker."""
        return self.tracker.frame_rate

    @property
    def sheddable(self) -> tuple[str, ...]:
        """Steps of `tracker.deadline.STEPS` that a frame can go without here: the plan must be able to do without."""
        optional = {need for stage in self.plan.stages if stage.combine == "best" for need in stage.needs}
        stands_on = self.plan.needs - optional
        looks = self._looks is not None and "embeddings" not in stands_on
        asked = {"flow": self._flow is not None, "embeddings": looks, "detector": True}
        return tuple(step for step, possible in asked.items() if possible)

    def update(self, detections: Detections, frame: Frame | None = None, *, time_s: float | None = None) -> Tracks:
        """As `Tracker.update`; the frame is what all guides look at."""
        if frame is None:
            return self.tracker.update(detections, time_s=time_s)
        if frame.epoch != self._epoch:  # the stream was gone: how the picture moved meanwhile cannot be seen
            self._epoch = frame.epoch
            self._forget_pictures()
        shed = () if self.deadline is None else self.deadline.reach(frame)
        given: dict[str, Any] = {}
        if self._flow is not None and (detections.looked or self.plan.chain_masks):  # else the next one spans the gap
            if "flow" in shed:
                given["flow"] = self._flow.skip(frame)
            else:
                with self._timed(frame, "flow"):
                    given["flow"] = self._flow.update(frame)
        if self.motion is not None:
            detections = self.motion.predict(frame, detections)
        if self._camera is not None:
            given["camera"] = self._camera.estimate(frame, detections.boxes)
        if self._looks is not None and detections.looked and "embeddings" not in shed:
            with self._timed(frame, "embeddings"):
                detections = self._looks.describe(frame, detections)
        if shed:
            detections = replace(detections, shed=shed)
        tracks = self.tracker.update(detections, frame, time_s=time_s, **given)
        if self.motion is not None:
            self.motion.follow(frame, tracks)
        if self.deadline is not None:
            self.deadline.finish(frame)
        return tracks

    def _timed(self, frame: Frame, step: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.deadline is None else self.deadline.time(frame, step)

    def reset(self) -> None:
        """Forget tracks and pictures."""
        self.tracker.reset()
        self._epoch = 0
        self._forget_pictures()
        if self.motion is not None:
            self.motion.reset()

    def _forget_pictures(self) -> None:
        for source in (self._flow, self._camera):
            if source is not None:
                source.reset()
