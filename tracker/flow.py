"""Optical flow between consecutive frames, in source pixels whatever the resolution it was computed at.

A method is one class and one row in `FLOWS`, or a network in `NetworkFlow`. It says how an image is prepared and which
vectors lead from one prepared image to another; `FlowMethod` owns the rest: both directions, the forward-backward
check, the way back to source pixels, and the previous frame of a stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.association.warp import OFFSET, SLOPE, find_occluded
from tracker.errors import ConfigError, FrameError
from tracker.types import Flow, Frame


class FlowMethod(ABC):
    """Flow of image pairs (`flow`) or of a stream (`update`); one object per stream, not shared between threads.

    Args:
        slope: of the forward-backward check, see `find_occluded`.
        offset: likewise; squared pixels of the resolution that flow is computed at.
    """

    smallest = 1
    """Pixels along the shorter side of a prepared image below which the method cannot work."""

    def __init__(self, slope: float = SLOPE, offset: float = OFFSET) -> None:
        self._slope, self._offset = slope, offset
        self._last: NDArray[Any] | None = None
        self._size = (0, 0)

    @abstractmethod
    def prepare(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """What `vectors` takes, made of a BGR image (H, W, 3) uint8: an array (h, w, ...) of its own, maybe smaller."""

    @abstractmethod
    def vectors(self, start: NDArray[Any], end: NDArray[Any]) -> NDArray[np.float32]:
        """(h, w, 2) float32 (dx, dy) that lead from prepared image `start` to `end`, in prepared pixels."""

    def flow(self, previous: NDArray[np.uint8], image: NDArray[np.uint8]) -> Flow:
        """Flow between two images, in both directions, with occlusions.

        Args:
            previous: (H, W, 3) uint8 BGR.
            image: (H, W, 3) uint8 BGR.

        Returns:
            Full-size `Flow` with all its fields; `Flow.unknown` for images too small for the method.

        Raises:
            FrameError: not two images of one shape.
        """
        a, b = Frame(0, 0.0, previous).image, Frame(1, 0.0, image).image
        if a.shape != b.shape:
            raise FrameError(f"expected two images of one shape, got {a.shape} and {b.shape}")
        return self._between(self.prepare(a), self.prepare(b), b.shape[:2])

    def update(self, frame: Frame) -> Flow:
        """Flow from the frame of the last call to this one.

        `Flow.unknown` on the first frame, and on the first one of another size: the stream starts anew there.
        """
        size = (frame.height, frame.width)
        prepared = self.prepare(frame.image)
        last = self._last if size == self._size else None
        self._last, self._size = prepared, size
        return Flow.unknown(*size) if last is None else self._between(last, prepared, size)

    def skip(self, frame: Frame) -> Flow:
        """Take the frame for the next call and look for nothing: every pixel is where it was, none is hidden."""
        self._last, self._size = self.prepare(frame.image), (frame.height, frame.width)
        still = np.zeros((*self._size, 2), np.float32)
        return Flow(still, still)

    def reset(self) -> None:
        """Forget the last frame."""
        self._last = None

    def _between(self, start: NDArray[Any], end: NDArray[Any], size: tuple[int, ...]) -> Flow:
        """Both directions and their check, which runs (and counts pixels) at the prepared resolution."""
        height, width = size
        if min(start.shape[:2]) < self.smallest:
            return Flow.unknown(height, width)
        forward, backward = self.vectors(start, end), self.vectors(end, start)
        occluded = find_occluded(forward, backward, slope=self._slope, offset=self._offset)
        revealed = find_occluded(backward, forward, slope=self._slope, offset=self._offset)
        if start.shape[:2] == size:
            return Flow(forward, backward, occluded, revealed)
        return Flow(
            _enlarge_flow(forward, height, width),
            _enlarge_flow(backward, height, width),
            _enlarge_map(occluded, height, width),
            _enlarge_map(revealed, height, width),
        )


def _enlarge_flow(vectors: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Vectors on the grid of height x width, and as long as they are there; each axis has its own factor."""
    import cv2

    factors = np.array([width / vectors.shape[1], height / vectors.shape[0]], np.float32)
    out: NDArray[np.float32] = cv2.resize(vectors * factors, (width, height), interpolation=cv2.INTER_LINEAR)
    return out


def _enlarge_map(hidden: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    import cv2

    out: NDArray[np.uint8] = cv2.resize(hidden.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return out.view(np.bool_)


_DIS_PRESETS = ("ultrafast", "fast", "medium")  # in the order of OpenCV's numbers


@dataclass(frozen=True, slots=True)
class DisConfig:
    """Options of `DisFlow`.

    Attributes:
        preset: OpenCV's ultrafast, fast or medium.
        scale: of the image's sides at which flow is computed, above 0 and at most 1.
        slope: of the forward-backward check: how much farther long vectors may miss, as a share of squared lengths.
        offset: of the forward-backward check: how far any vector may miss, in squared pixels of the scaled image. DIS
            is rough beside moving edges: Sundaram's 0.5, made for finer flow, drops a fifth of a dancer, and her mask
            carried over one frame overlaps the true one by 0.72; with 8 it is 0.84, and 0.88 where nothing is dropped.
            With 32 (0.87) the check no longer sees what a square that moves by 12 px hides (`tests/test_flow.py`).

    Raises:
        ConfigError: another preset, a scale or a limit out of range.
    """

    preset: str = "fast"
    scale: float = 1.0
    slope: float = SLOPE
    offset: float = 8.0

    def __post_init__(self) -> None:
        if self.preset not in _DIS_PRESETS:
            raise ConfigError(f"expected a DIS preset of {', '.join(_DIS_PRESETS)}, got {self.preset!r}")
        if not 0 < self.scale <= 1:
            raise ConfigError(f"expected a flow scale above 0 and at most 1, got {self.scale}")
        if not (self.slope >= 0 and self.offset >= 0):
            raise ConfigError(f"expected limits of the flow check of 0 or more, got {self.slope} and {self.offset}")


class DisFlow(FlowMethod):
    """Dense inverse search in OpenCV, on grey images; it needs no weights.

    Source: Kroeger et al., arXiv:1603.03590.
    """

    smallest = 32  # OpenCV 5.0 crashes the process on wide images of fewer rows, as it returns NaN or raises on others

    def __init__(self, config: DisConfig | None = None) -> None:
        import cv2

        self.config = config or DisConfig()
        super().__init__(self.config.slope, self.config.offset)
        self._dis = cv2.DISOpticalFlow.create(_DIS_PRESETS.index(self.config.preset))

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """Grey image, scaled down by area."""
        import cv2

        grey: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        height, width = (max(1, round(side * self.config.scale)) for side in grey.shape)
        if (height, width) == grey.shape:
            return grey
        small: NDArray[np.uint8] = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        return small

    def vectors(self, start: NDArray[Any], end: NDArray[Any]) -> NDArray[np.float32]:
        """Vectors from one grey image to another."""
        vectors: NDArray[np.float32] = self._dis.calc(start, end, None)
        return vectors


class FlowNetwork(Protocol):
    """A network that `NetworkFlow` runs; `tracker.models.raft` has one."""

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """As `FlowMethod.prepare`."""

    def vectors(self, start: NDArray[Any], end: NDArray[Any]) -> NDArray[np.float32]:
        """As `FlowMethod.vectors`."""


class NetworkFlow(FlowMethod):
    """Flow of a network, which runs twice a frame: there and back.

    Args:
        network: it may serve several streams.
        slope: as in `FlowMethod`.
        offset: likewise.
    """

    def __init__(self, network: FlowNetwork, slope: float = SLOPE, offset: float = OFFSET) -> None:
        super().__init__(slope, offset)
        self._network = network

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """What the network makes of it."""
        return self._network.prepare(image)

    def vectors(self, start: NDArray[Any], end: NDArray[Any]) -> NDArray[np.float32]:
        """Vectors from one prepared image to another."""
        return self._network.vectors(start, end)


FLOWS: dict[str, type[FlowMethod]] = {"dis": DisFlow}
"""Name on the command line -> method; every one can be made without arguments."""
