"""MOTChallenge boxes: results, public detections and ground truth, one text line per box.

`frame,id,left,top,width,height,score,x,y,z` with frames, ids and pixel coordinates counted from 1. The engine's box is
x0 = left - 1, x1 = left - 1 + width. In ground truth of MOT16 and later the columns after the box are flag, class and
visibility; in MOT15 they are flag and a place in the world. Both are kept as they stand.

Source: MOT16, arXiv:1603.00831, section 4; the `left - 1` as in the benchmark's own development kit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.formats.frame_objects import IGNORED, NAMELESS, FrameObjects, fill_gaps
from tracker.formats.rows import MAX_FRAME, MAX_ID, fail, lines_of
from tracker.types import Detections

_REST = 3  # columns after the score

CLASS_NAMES: Mapping[int, str] = {
    1: "person", 2: "person on vehicle", 3: "car", 4: "bicycle", 5: "motorcycle", 6: "non-motorised vehicle",
    7: "static person", 8: "distractor", 9: "occluder", 10: "occluder on ground", 11: "occluder full",
    12: "reflection", 13: "crowd",
}  # fmt: skip
"""Classes of ground truth of MOT16, MOT17 and MOT20 under the engine's names."""

_NUMBER_OF_NAME = {**{name: number for number, name in CLASS_NAMES.items()}, "pedestrian": 1, "motorbike": 5}


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


def write_truth_row(
    frame: int, track_id: int, box: Sequence[float], flag: int, mot_class: int, visibility: float
) -> str:
    """One line of a ground truth file of MOT16, MOT17 or MOT20, with its line end; numbers as short as they are exact.

    Args:
        frame: index from 0.
        track_id: from 1.
        box: x0 y0 x1 y1, 0-based, half-open; written to a millionth of a pixel.
        flag: 0 if the evaluation leaves the object out, else 1.
        mot_class: 1 pedestrian, ... (`CLASS_NAMES`).
        visibility: 0 to 1.
    """
    x0, y0, x1, y1 = box
    numbers = (frame + 1, track_id, x0 + 1, y0 + 1, x1 - x0, y1 - y0, flag, mot_class, visibility)
    return ",".join(_short(number) for number in numbers) + "\n"


def _short(number: float) -> str:
    text = f"{number:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def read_frames(
    path: str | os.PathLike[str], *, has_classes: bool = True, length: int | None = None
) -> Iterator[FrameObjects]:
    """A file as frames, empty ones included, up to the last with a row or up to `length`.

    Class names come from column 8 where it is a class of `CLASS_NAMES` (never with `has_classes=False`: in MOT15 that
    column is a place in the world); objects of other rows have none. Scores are column 7, flags in ground truth.

    Raises:
        FormatError: as `read_mot`.
    """
    rows = read_mot(path)

    def frames() -> Iterator[FrameObjects]:
        order = np.argsort(rows.frames, kind="stable")
        numbers, first = np.unique(rows.frames[order], return_index=True)
        for number, part in zip(numbers.tolist(), np.split(order, first[1:]), strict=False):
            classes = rows.rest[part, 0] if has_classes else np.full(len(part), np.nan)
            names = [CLASS_NAMES.get(int(value), NAMELESS) if value > 0 else NAMELESS for value in classes.tolist()]
            yield FrameObjects(
                number, rows.ids[part], names, rows.boxes[part], rows.scores[part],
                names_of_all=tuple(CLASS_NAMES.values()),
            )  # fmt: skip

    return fill_gaps(frames(), length)


def encode_frame(frame: FrameObjects) -> str:
    """Result lines of a frame, of every class but regions to ignore."""
    return "".join(
        write_row(frame.index, number, box, score) for number, name, box, score in _objects(frame) if name != IGNORED
    )


def encode_truth_frame(frame: FrameObjects) -> str:
    """Ground truth lines of a frame (visibility 1), of classes that MOT16 knows; a score of 0 makes the flag 0."""
    return "".join(
        write_truth_row(frame.index, number, box, int(score > 0), _NUMBER_OF_NAME[name], 1)
        for number, name, box, score in _objects(frame)
        if name in _NUMBER_OF_NAME
    )


def _objects(frame: FrameObjects) -> Iterator[tuple[int, str, list[float], float]]:
    return zip(frame.ids.tolist(), frame.names, frame.boxes.tolist(), frame.scores.tolist(), strict=True)


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
        if frame > MAX_FRAME:
            fail(path, line, f"expected frame numbers to {MAX_FRAME}, got {fields[0].strip()}")
        if track_id != int(track_id) or not (1 <= track_id <= MAX_ID or track_id == -1):
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
