"""How the camera moved between two frames: an affine matrix from sparse optical flow, identity where in doubt.

Corners are found in every frame, followed into the next one by pyramidal Lucas-Kanade, and a similarity (shift,
rotation, scale) is fitted to them by RANSAC, all on a small grey copy. What moves by itself is masked out by its boxes.

Source: BoT-SORT, arXiv:2206.14651 (section 3.2, sparse optical flow and RANSAC).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.types import Frame


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """Options of `CameraMotion`.

    Attributes:
        longest_side: pixels of the grey copy's longer side; larger frames are scaled down to it.
        max_points: corners that are followed.
        inlier_px: how far, in pixels of the copy, a corner may lie from where the motion puts it.
        min_inliers: fewer corners that agree say nothing.
        min_inlier_share: of the followed corners; fewer that agree say nothing.
        still_px: a corner that moved less, in pixels of the copy, speaks for a camera that stands.
        max_still: the camera stands where so many corners that should have moved did not, per corner that agrees.
        max_scale: largest factor per frame, in or out.
        max_rotation_deg: largest rotation per frame.
        max_shift: largest shift of the frame's middle per frame, as a share of the frame's longer side.
    """

    longest_side: int = 512
    max_points: int = 200
    inlier_px: float = 1.5
    min_inliers: int = 12
    min_inlier_share: float = 0.3
    still_px: float = 0.25
    max_still: float = 0.5
    max_scale: float = 1.25
    max_rotation_deg: float = 20.0
    max_shift: float = 0.4


_SMALLEST = 24  # pixels along the shorter side of the copy: less holds no pyramid worth the name


class CameraMotion:
    """Camera motion of one stream, frame by frame."""

    def __init__(self, config: CameraConfig | None = None) -> None:
        self.config = config or CameraConfig()
        self._size = (0, 0)
        self._grey: NDArray[np.uint8] | None = None
        self._corners: NDArray[np.float32] = _no_points()

    def reset(self) -> None:
        """Forget the last frame."""
        self._grey = None

    def estimate(self, frame: Frame, boxes: ArrayLike | None = None) -> NDArray[np.float64]:
        """Where what stood still in the last frame is in this one.

        Args:
            frame: the next frame of the stream. Frames of another size start anew.
            boxes: (N, 4), xyxy, source pixels of this frame: things that move by themselves. They may leave the frame;
                N may be 0.

        Returns:
            (2, 3) float64 [R | t]: a point (x, y) of the last frame, in source pixels as boxes count them, is at
            R (x, y) + t now. The identity for the first frame, and where too few corners agree on a plausible motion.
        """
        grey = self._shrink(frame)
        moving = self._find_moving(grey, frame, boxes)
        matrix = None
        if self._grey is not None and self._size == (frame.height, frame.width) and len(self._corners):
            matrix = self._fit(*self._follow(self._grey, grey, moving))
        self._grey, self._size = grey, (frame.height, frame.width)
        self._corners = self._find_corners(grey, moving)
        if matrix is None:
            return np.eye(2, 3)
        return _to_source(matrix, np.array([frame.width / grey.shape[1], frame.height / grey.shape[0]]))

    def _shrink(self, frame: Frame) -> NDArray[np.uint8]:
        import cv2

        grey: NDArray[np.uint8] = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
        factor = self.config.longest_side / max(grey.shape)
        if factor >= 1:
            return grey
        size = (max(1, round(frame.width * factor)), max(1, round(frame.height * factor)))
        return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]

    def _find_moving(self, grey: NDArray[np.uint8], frame: Frame, boxes: ArrayLike | None) -> NDArray[np.bool_]:
        """(h, w) bool of the copy: pixels that a box touches."""
        moving = np.zeros(grey.shape, np.bool_)
        rows = np.asarray([] if boxes is None else boxes, np.float64).reshape(-1, 4)
        height, width = grey.shape
        rows = rows[np.isfinite(rows).all(1)] * np.tile([width / frame.width, height / frame.height], 2)
        rows[:, :2], rows[:, 2:] = np.floor(rows[:, :2]), np.ceil(rows[:, 2:])
        for x0, y0, x1, y1 in np.clip(rows, 0, [width, height, width, height]).astype(np.int64):
            moving[y0:y1, x0:x1] = True
        return moving

    def _find_corners(self, grey: NDArray[np.uint8], moving: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(N, 2) float32 x y in pixels of the copy."""
        import cv2

        if min(grey.shape) < _SMALLEST:
            return _no_points()
        still = (~moving).view(np.uint8)
        found = cv2.goodFeaturesToTrack(
            grey, self.config.max_points, qualityLevel=0.01, minDistance=7, mask=still, blockSize=5
        )
        return _no_points() if found is None else found.reshape(-1, 2)

    def _follow(
        self, previous: NDArray[np.uint8], grey: NDArray[np.uint8], moving: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The corners that were found again outside the moving pixels, where they were and where they are."""
        import cv2

        now, status, _ = cv2.calcOpticalFlowPyrLK(previous, grey, self._corners, None, winSize=(15, 15), maxLevel=3)
        now = now.reshape(-1, 2)
        height, width = grey.shape
        good = (status.reshape(-1) == 1) & np.isfinite(now).all(1)
        x, y = (np.rint(np.where(good, side, 0)).astype(np.int64) for side in now.T)
        good &= (x >= 0) & (y >= 0) & (x < width) & (y < height)
        good &= ~moving[y.clip(0, height - 1), x.clip(0, width - 1)]
        return self._corners[good], now[good]

    def _fit(self, before: NDArray[np.float32], now: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """Similarity that most corners agree on, None where they say nothing or something implausible."""
        import cv2

        config = self.config
        if len(before) < config.min_inliers:
            return None
        matrix, agree = cv2.estimateAffinePartial2D(
            before, now, method=cv2.RANSAC, ransacReprojThreshold=config.inlier_px, maxIters=500, confidence=0.99
        )
        if matrix is None or not np.isfinite(matrix).all() or not self._plausible(matrix):
            return None
        inliers = agree.reshape(-1) == 1
        count = np.count_nonzero(inliers)
        still = np.count_nonzero(~inliers & (np.linalg.norm(now - before, axis=1) < config.still_px))
        enough = count >= max(config.min_inliers, config.min_inlier_share * len(before))
        return matrix if enough and still < config.max_still * count else None

    def _plausible(self, matrix: NDArray[np.float64]) -> bool:
        assert self._grey is not None
        height, width = self._grey.shape
        scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
        rotation = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        middle = np.array([width / 2, height / 2])
        shift = float(np.linalg.norm(matrix[:, :2] @ middle + matrix[:, 2] - middle))
        return (
            1 / self.config.max_scale <= scale <= self.config.max_scale
            and abs(rotation) <= self.config.max_rotation_deg
            and shift <= self.config.max_shift * max(height, width)
        )


def _no_points() -> NDArray[np.float32]:
    return np.zeros((0, 2), np.float32)


def _to_source(matrix: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """From OpenCV's points in the copy (0 is a pixel's middle) to source pixels as boxes count them (0 is its edge)."""
    turn, shift = matrix[:, :2], matrix[:, 2]
    return np.column_stack([turn * scale[:, None] / scale, scale * (shift + 0.5 - turn.sum(1) / 2)])
