"""The loop of one camera without ROS: a message in, messages out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.ros import Ages, Header, Messages, make_labels, make_tracks, read_image, stamp_of
from tracker.sources.timeline import Timeline
from tracker.types import Detections, Frame, Tracks


class Associator(Protocol):
    """`tracker.Tracker`, or anything with its `update`."""

    def update(self, detections: Detections, frame: Frame | None = None) -> Tracks:
        """One frame's detections in, a snapshot of the tracks out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one image leads to; every message has the image's header.

    Attributes:
        tracks: what the system reports, `vision_msgs/Detection2DArray`.
        whole: all tracks, coasting and tentative ones too; None unless asked for.
        labels: mono16 `sensor_msgs/Image` of `tracks`; None unless asked for, and where the model gave no masks.
        count: tracks in `tracks`.
    """

    tracks: Any
    whole: Any | None
    labels: Any | None
    count: int


class Follower:
    """Turns image messages into messages of tracks; belongs to one camera and one thread.

    Times are those of the headers, so dropped images lengthen the step of the filters by themselves. A stamp that is
    0 or runs backwards is bridged with the moments of arrival, and a clock that is set anew (a bag played again) goes
    on where the tracks are: ids are never used twice. Where the camera changes its resolution, images are scaled to the
    first one for model and tracker, and tracks back to the image's own pixels.

    Args:
        model: frame -> detections.
        tracker: detections -> tracks, fresh.
        messages: the classes.
        class_names: of the model.
        step_s: between two images, where neither stamps nor arrivals say so.
        look: asked for each frame whether the model shall run on it, such as `tracker.pipeline.every(3)`.
    """

    def __init__(
        self,
        model: Callable[[Frame], Detections],
        tracker: Associator,
        messages: Messages,
        class_names: Sequence[str] = (),
        *,
        step_s: float = 1 / 30,
        look: Callable[[Frame], bool] = lambda frame: True,
    ) -> None:
        self._model, self._tracker, self._messages, self._look = model, tracker, messages, look
        self._class_names, self._step_s = tuple(class_names), step_s
        self._ages = Ages()
        self._timeline = Timeline()
        self._first_ns = 0
        self._last_s: float | None = None
        self._count = 0
        self._size: tuple[int, int] | None = None

    def take(self, message: Any, arrived_s: float, *, whole: bool = True, labels: bool = True) -> Answer:
        """Track one image.

        Args:
            message: `sensor_msgs/Image` or `CompressedImage`.
            arrived_s: when it came, on any clock that never goes back.
            whole: make `Answer.whole`.
            labels: make `Answer.labels`.

        Raises:
            FrameError: no picture that can be used; nothing has changed.
        """
        header = message.header
        image, stamp = read_image(message), stamp_of(header)
        height, width = image.shape[:2]
        time_s = self._place(stamp, arrived_s)
        frame = Frame(self._count, time_s, self._fit(image), header=Header.of(message))
        self._count += 1
        detections = self._model(frame) if self._look(frame) else Detections.unlooked()
        tracks = self._tracker.update(detections, frame)
        if (frame.height, frame.width) != (height, width):
            scale = np.array([width / frame.width, height / frame.height] * 2, np.float32)
            tracks = replace(tracks, boxes=tracks.boxes * scale)
        ages, seen = self._ages.update(tracks), tracks.confirmed
        return Answer(
            make_tracks(seen, header, self._messages, self._class_names, ages[: len(seen)]),
            make_tracks(tracks, header, self._messages, self._class_names, ages) if whole else None,
            make_labels(seen, header, self._messages, (height, width)) if labels else None,
            len(seen),
        )

    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image in the resolution of the first."""
        height, width = self._size = self._size or image.shape[:2]
        if image.shape[:2] == self._size:
            return image
        import cv2

        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    def _place(self, stamp: int, arrived_s: float) -> float:
        """Seconds since the first image, always rising."""
        self._first_ns = self._first_ns or stamp
        since_s = (stamp - self._first_ns) / 1e9 if stamp else None
        step_s = self._step_s if self._last_s is None else max(arrived_s - self._last_s, 1e-3)
        self._last_s = arrived_s
        return self._timeline.place(since_s, step_s)
