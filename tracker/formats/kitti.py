"""KITTI tracking labels: boxes in 17 columns (18 in results), one text line per object and frame.

`frame id type truncated occluded alpha left top right bottom height width length x y z rotation [score]`, single
spaces, frames from 0, pixels from 0. Regions to ignore are of type DontCare and have id -1.

Source: the development kit of the KITTI tracking benchmark (Geiger et al., CVPR 2012).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.formats.frame_objects import IGNORED, FrameObjects, fill_gaps
from tracker.formats.rows import MAX_FRAME, MAX_ID, fail, lines_of

TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", "DontCare")
"""Types of objects; `Person` stands in some files for Person_sitting and is read as it stands."""

TYPE_OF_NAME: Mapping[str, str] = {
    "car": "Car", "van": "Van", "truck": "Truck", "person": "Pedestrian", "pedestrian": "Pedestrian",
    "person_sitting": "Person_sitting", "cyclist": "Cyclist", "rider": "Cyclist", "tram": "Tram", "train": "Tram",
    "misc": "Misc",
}  # fmt: skip
"""KITTI type of the class names that models use; objects of other names are not written."""

_NAME_OF_TYPE = {
    "Car": "car", "Van": "van", "Truck": "truck", "Pedestrian": "person", "Person_sitting": "person_sitting",
    "Person": "person_sitting", "Cyclist": "cyclist", "Tram": "train", "Misc": "misc", "DontCare": IGNORED,
}  # fmt: skip

_UNKNOWN_3D = (-1.0, -1.0, -1.0, -1000.0, -1000.0, -1000.0, -10.0)  # what the kit writes where nothing is known


@dataclass(frozen=True, slots=True, eq=False)
class KittiRows:
    """Rows of a label file in the file's order; row i of each field is line i.

    Attributes:
        frames: (N,) int64 from 0.
        ids: (N,) int64, -1 for DontCare.
        types: N of `TYPES`.
        truncated: (N,) float64, 0 (inside) to 2 in training labels, -1 unknown.
        occluded: (N,) int64, 0 visible to 3 unknown, -1 unset.
        alpha: (N,) float64 observation angle, radians; -10 unknown.
        boxes: (N, 4) float64 left, top, right, bottom as they stand.
        solids: (N, 7) float64 height, width, length, x, y, z (metres, camera coordinates), rotation (radians).
        scores: (N,) float64, NaN in files of 17 columns.
    """

    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    types: list[str]
    truncated: NDArray[np.float64]
    occluded: NDArray[np.int64]
    alpha: NDArray[np.float64]
    boxes: NDArray[np.float64]
    solids: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frames)


def read_kitti(path: str | os.PathLike[str]) -> KittiRows:
    """Read labels or results; an empty file gives no rows.

    Raises:
        FormatError: unreadable, not 17 or 18 columns, not a number, an unknown type, a frame below 0, a box with right
            < left or bottom < top, or an id twice in a frame; names file, line and reason.
    """
    rows: list[list[float]] = []
    types: list[str] = []
    seen: dict[tuple[float, float], int] = {}
    for line, text in lines_of(path):
        fields = text.split(" ")
        if len(fields) not in (17, 18):
            fail(path, line, f"expected 17 columns, or 18 with a score, with single spaces, got {len(fields)}")
        if fields[2] not in _NAME_OF_TYPE:
            fail(path, line, f"expected one of the types {', '.join(TYPES)}, got {fields[2]!r}")
        try:
            row = [float(field) for field in fields[:2] + fields[3:]]
        except ValueError:
            fail(path, line, f"expected numbers in all columns but the third, got {text!r}")
        if not all(map(math.isfinite, row)):
            fail(path, line, "expected finite numbers, got NaN or infinity")
        frame, number, _, occluded = row[:4]
        if frame != int(frame) or frame < 0:
            fail(path, line, f"expected a frame number from 0, got {fields[0]}")
        if frame > MAX_FRAME:
            fail(path, line, f"expected frame numbers to {MAX_FRAME}, got {fields[0]}")
        if number != int(number) or not -1 <= number <= MAX_ID or occluded != int(occluded) or abs(occluded) > MAX_ID:
            fail(
                path, line, f"expected whole numbers as id (from 0, or -1) and occlusion, got {fields[1]}, {fields[4]}"
            )
        if row[7] < row[5] or row[8] < row[6]:
            fail(path, line, f"expected left <= right and top <= bottom, got {' '.join(fields[6:10])}")
        if number >= 0 and (first := seen.setdefault((frame, number), line)) != line:
            fail(path, line, f"id {int(number)} is in frame {int(frame)} already, on line {first}")
        types.append(fields[2])
        rows.append(row if len(row) == 17 else [*row, math.nan])
    table = np.asarray(rows, np.float64).reshape(-1, 17)
    whole = table[:, [0, 1, 3]].astype(np.int64)
    return KittiRows(
        whole[:, 0], whole[:, 1], types, table[:, 2].copy(), whole[:, 2], table[:, 4].copy(), table[:, 5:9].copy(),
        table[:, 9:16].copy(), table[:, 16].copy(),
    )  # fmt: skip


def write_row(rows: KittiRows, row: int) -> str:
    """One line, with its line end; numbers as the benchmark writes them (six decimals), the score too if any."""
    numbers = [rows.alpha[row], *rows.boxes[row], *rows.solids[row]]
    if not math.isnan(rows.scores[row]):
        numbers.append(rows.scores[row])
    head = f"{rows.frames[row]} {rows.ids[row]} {rows.types[row]} {rows.truncated[row]:g} {rows.occluded[row]}"
    return head + "".join(f" {number:.6f}" for number in numbers) + "\n"


def read_frames(path: str | os.PathLike[str], length: int | None = None) -> Iterator[FrameObjects]:
    """A file as frames, empty ones included; ids become id + 1 (KITTI counts from 0), DontCare keeps -1.

    Raises:
        FormatError: as `read_kitti`.
    """
    rows = read_kitti(path)

    def frames() -> Iterator[FrameObjects]:
        for frame in np.unique(rows.frames).tolist():
            at = np.flatnonzero(rows.frames == frame)
            ids = np.where(rows.ids[at] >= 0, rows.ids[at] + 1, -1)
            names = [_NAME_OF_TYPE[rows.types[k]] for k in at.tolist()]
            scores = np.where(np.isnan(rows.scores[at]), 1.0, rows.scores[at])
            yield FrameObjects(
                frame, ids, names, rows.boxes[at], scores, names_of_all=tuple(dict.fromkeys(TYPE_OF_NAME))
            )

    return fill_gaps(frames(), length)


def encode_frame(frame: FrameObjects) -> str:
    """Result lines of a frame: what a camera cannot know is "unknown", ids become id - 1.

    Objects of names that are not in `TYPE_OF_NAME` are left out.
    """
    at = [row for row, name in enumerate(frame.names) if name in TYPE_OF_NAME]
    n = len(at)
    ids, types = np.maximum(frame.ids[at] - 1, -1), [TYPE_OF_NAME[frame.names[row]] for row in at]
    rows = KittiRows(
        np.full(n, frame.index), ids, types, np.full(n, -1.0),
        np.full(n, -1), np.full(n, -10.0), frame.boxes[at], np.tile(_UNKNOWN_3D, (n, 1)), frame.scores[at],
    )  # fmt: skip
    return "".join(write_row(rows, row) for row in range(n))
