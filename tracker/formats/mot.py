"""MOTChallenge boxes: results, public detections and ground truth, one text line per box.

`frame,id,left,top,width,height,score,x,y,z` with frames, ids and pixel coordinates counted from 1. The engine's box is
x0 = left - 1, x1 = left - 1 + width. In ground truth of MOT16 and later the columns after the box are flag, class and
visibility; in MOT15 they are flag and a place in the world. Both are kept as they stand.

Source: MOT16, arXiv:1603.00831, section 4; the `left - 1` as in the benchmark's own development kit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.formats.rows import fail, lines_of
from tracker.types import Detections

_REST = 3  # columns after the score


@dataclass(frozen=True, slots=True, eq=False)
class MotRows:
    """Rows of a MOTChallenge file in the engine's units, in the file's order.

    Attributes:
        frames: (N,) int64 frame index from 0.
        ids: (N,) int64; -1 in detection files.
        boxes: (N, 4) float64 xyxy, 0-based, half-open.
        scores: (N,) float64 column 7: confidence, or the flag of a ground truth.
        rest: (N, 3) float64 columns 8 to 10 as they stand; NaN where a line is shorter.
    """

    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    rest: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frames)

    def detections(self, frame: int) -> Detections:
        """The boxes and scores of one frame (index from 0), for a tracker; class 0. No rows give an empty one."""
        rows = np.flatnonzero(self.frames == frame)
        return Detections(self.boxes[rows].astype(np.float32), self.scores[rows].astype(np.float32))


def write_row(frame: int, track_id: int, box: Sequence[float], score: float) -> str:
    """One line of a result file, with its line end.

    Args:
        frame: index from 0.
        track_id: from 1; -1 for a detection.
        box: x0 y0 x1 y1, 0-based, half-open; written with two decimals.
        score: written with four decimals.
    """
    x0, y0, x1, y1 = box
    return f"{frame + 1},{track_id},{x0 + 1:.2f},{y0 + 1:.2f},{x1 - x0:.2f},{y1 - y0:.2f},{score:.4f},-1,-1,-1\n"


def read_mot(path: str | os.PathLike[str]) -> MotRows:
    """Read results, detections or ground truth; an empty file gives no rows.

    Raises:
        FormatError: unreadable, fewer than 6 or more than 10 columns, not a number, frame below 1, id 0 or below -1,
            negative width or height, or an id twice in one frame; names file, line and reason.
    """
    rows: list[list[float]] = []
    seen: dict[tuple[float, float], int] = {}
    for line, text in lines_of(path):
        fields = text.split(",")
        if not 6 <= len(fields) <= 7 + _REST:
            fail(path, line, f"expected 6 to 10 columns with commas between them, got {len(fields)}")
        try:
            row = [float(field) for field in fields]
        except ValueError:
            wrong = next(field for field in fields if not _is_number(field))
            fail(path, line, f"expected numbers, got {wrong.strip()!r}")
        frame, track_id, width, height = row[0], row[1], row[4], row[5]
        if not all(map(math.isfinite, row)):
            fail(path, line, "expected finite numbers, got NaN or infinity")
        if frame != int(frame) or frame < 1:
            fail(path, line, f"expected a frame number from 1, got {fields[0].strip()}")
        if track_id != int(track_id) or (track_id < 1 and track_id != -1):
            fail(path, line, f"expected an id from 1, or -1 for a detection, got {fields[1].strip()}")
        if width < 0 or height < 0:
            fail(path, line, f"expected a width and height >= 0, got {width:g} x {height:g}")
        if track_id > 0 and (first := seen.setdefault((frame, track_id), line)) != line:
            fail(path, line, f"id {int(track_id)} is in frame {int(frame)} already, on line {first}")
        score = [1.0] if len(row) == 6 else []
        rows.append(row + score + [math.nan] * (7 + _REST - len(row) - len(score)))
    table = np.asarray(rows, np.float64).reshape(-1, 7 + _REST)
    corner = table[:, 2:4] - 1.0
    boxes = np.hstack([corner, corner + table[:, 4:6]])
    numbers = table[:, :2].astype(np.int64)
    return MotRows(numbers[:, 0] - 1, numbers[:, 1], boxes, table[:, 6].copy(), table[:, 7:].copy())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
