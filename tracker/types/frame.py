"""A frame, and what is known of each of its pixels: class and thing, and where it went."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DetectionsError, FrameError


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a stream.

    Attributes:
        index: 0-based number within its stream; a live source that dropped frames leaves gaps.
        time_s: capture time in seconds from the stream's own clock; never NaN.
        image: (H, W, 3) uint8, BGR.
        epoch: how often the stream had been lost and found again before this frame; what was seen before then may be
            gone. Time goes on, by as much as passed.
        arrived_s: when a live source got it, on the clock of `time.monotonic`; None where that has no meaning.
        header: what else came with the picture, for sinks that know the source, such as a `tracker.ros.Header`.

    Raises:
        FrameError: image of another shape or dtype, a time that is not finite.
    """

    index: int
    time_s: float
    image: NDArray[np.uint8]
    epoch: int = 0
    arrived_s: float | None = None
    header: object = None

    def __post_init__(self) -> None:
        image = self.image
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise FrameError(f"expected an image of shape (H, W, 3) uint8 BGR, got {what}")
        if 0 in image.shape:
            raise FrameError(f"expected an image with pixels, got shape {image.shape}")
        if not math.isfinite(self.time_s):
            raise FrameError(f"expected a finite time in seconds, got {self.time_s}")

    @property
    def age_s(self) -> float | None:
        """Seconds since it arrived; None where `arrived_s` is."""
        return None if self.arrived_s is None else monotonic() - self.arrived_s

    @property
    def height(self) -> int:
        """Rows of the image."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Columns of the image."""
        return int(self.image.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Panoptic:
    """Every pixel of a frame: which class, and which of the frame's things.

    Attributes:
        classes: (H, W) uint8 class index; `VOID` (255) where the network decided nothing.
        rows: (H, W) int32, 0 for stuff, k + 1 where row k of the frame's `Detections` is seen.

    Source: STEP, arXiv:2102.11859 (class and id are two arrays, never class * 1000 + id).
    """

    classes: NDArray[np.uint8]
    rows: NDArray[np.int32]

    VOID = 255

    def __post_init__(self) -> None:
        if self.classes.ndim != 2 or self.classes.shape != self.rows.shape:
            raise DetectionsError(
                f"expected class and row maps of one shape (H, W), got {self.classes.shape} and {self.rows.shape}"
            )
        if self.classes.dtype != np.uint8 or self.rows.dtype != np.int32:
            raise DetectionsError(
                f"expected a uint8 class map and an int32 row map, got {self.classes.dtype} and {self.rows.dtype}"
            )

    def areas(self) -> NDArray[np.int64]:
        """(256,) pixels of each class where no row is seen: stuff, things that are no detection, and `VOID`."""
        return np.bincount(self.classes[self.rows == 0], minlength=256)

    def with_rows(self, new_row: NDArray[np.integer[Any]]) -> Panoptic:
        """Renumber things: `new_row[k]` is what row k becomes, -1 for no thing at all."""
        table = np.concatenate([[0], np.asarray(new_row, np.int32) + 1]).astype(np.int32)
        return Panoptic(self.classes, table[self.rows])


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Optical flow between the previous frame (t-1) and this one (t), on the full pixel grid of the frames.

    A vector (dx, dy) says where the pixel went, in source pixels whatever the resolution it was computed at; one
    that is not finite points nowhere.

    Attributes:
        forward: (H, W, 2) float32, t-1 to t, on the grid of t-1: pixel (x, y) of t-1 is at (x + dx, y + dy) in t.
        backward: (H, W, 2) float32, t to t-1, on the grid of t; or None.
        occluded: (H, W) bool on the grid of t-1, pixels that are not seen in t; or None for "not checked".
        revealed: (H, W) bool on the grid of t, pixels that were not seen in t-1; or None.

    Raises:
        FrameError: shapes or dtypes that do not fit.
    """

    forward: NDArray[np.float32]
    backward: NDArray[np.float32] | None = None
    occluded: NDArray[np.bool_] | None = None
    revealed: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        size = self.forward.shape[:2]
        for name, field, shape, dtype in (
            ("forward flow", self.forward, (*size, 2), np.float32),
            ("backward flow", self.backward, (*size, 2), np.float32),
            ("occluded", self.occluded, size, np.bool_),
            ("revealed", self.revealed, size, np.bool_),
        ):
            if field is not None and (len(size) != 2 or field.shape != shape or field.dtype != dtype):
                raise FrameError(
                    f"expected {name} as {np.dtype(dtype)} of shape {shape}, got {field.dtype} {field.shape}"
                )

    @classmethod
    def unknown(cls, height: int, width: int) -> Flow:
        """Nothing is known, as before the first frame: no motion, and every pixel occluded, so that no mask travels."""
        vectors, hidden = np.zeros((height, width, 2), np.float32), np.ones((height, width), np.bool_)
        return cls(vectors, vectors, hidden, hidden)
