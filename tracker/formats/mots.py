"""MOTS text: instance masks over time, `frame id class height width rle`, single spaces.

KITTI MOTS counts frames from 0, MOTSChallenge from 1; ids are free but unique in a frame (ground truth uses
class * 1000 + number); masks of one frame share no pixel. Class 1 is a car, 2 a pedestrian, 10 a region to ignore.

Source: MOTS, arXiv:1902.03604, and the format page of its tools.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.errors import FormatError, MasksError
from tracker.formats.frame_objects import IGNORED, FrameObjects, fill_gaps
from tracker.formats.rows import MAX_FRAME, MAX_ID, fail, lines_of
from tracker.masks import Masks, Rle

CAR, PEDESTRIAN, IGNORE = 1, 2, 10

CLASS_OF_NAME: Mapping[str, int] = {"person": PEDESTRIAN, "pedestrian": PEDESTRIAN, "car": CAR}
"""MOTS class of the class names that models use; objects of other names are not part of MOTS."""

NAME_OF_CLASS: Mapping[int, str] = {CAR: "car", PEDESTRIAN: "person", IGNORE: IGNORED}
"""What the engine calls a MOTS class."""

_MAX_PIXELS = 1 << 28  # of a frame; a number that is out of place would otherwise ask for terabytes


@dataclass(frozen=True, slots=True, eq=False)
class MotsFrame:
    """One frame of a MOTS file; row i of each is object i.

    Attributes:
        ids: (N,) int64.
        classes: (N,) int32, 1, 2 or 10.
        masks: N masks without a shared pixel.
    """

    ids: NDArray[np.int64]
    classes: NDArray[np.int32]
    masks: Masks


def write_row(frame: int, track_id: int, mots_class: int, rle: Rle, *, first_frame: int = 0) -> str:
    """One line, with its line end.

    Args:
        frame: index from 0.
        track_id: from 1.
        mots_class: 1 car, 2 pedestrian.
        rle: the mask, from `Masks.to_rle`.
        first_frame: number of the first frame in the file: 0 for KITTI MOTS, 1 for MOTSChallenge.
    """
    height, width = rle["size"]
    return f"{frame + first_frame} {track_id} {mots_class} {height} {width} {rle['counts']}\n"


def read_mots(path: str | os.PathLike[str], *, first_frame: int = 0) -> dict[int, MotsFrame]:
    """Read a result or ground truth file.

    Args:
        path: text file; an empty one has no frames.
        first_frame: number of the first frame in the file: 0 for KITTI MOTS, 1 for MOTSChallenge.

    Returns:
        Frame index from 0 -> its objects, in the file's order of frames and rows; frames without objects are absent.

    Raises:
        FormatError: not six fields, not numbers, a frame below the first, an unknown class, an id twice in a frame,
            run lengths that are broken or written as Python bytes (`b'...'`), masks that overlap or differ in size
            within a frame; names file, line and reason.
    """
    rows: dict[int, list[_Row]] = {}
    for line, text in lines_of(path):
        row = _parse(path, line, text, first_frame)
        rows.setdefault(row.frame, []).append(row)
    return {frame: _frame(path, found) for frame, found in rows.items()}


def to_frame(index: int, found: MotsFrame) -> FrameObjects:
    """Objects of a frame under the engine's class names."""
    names = [NAME_OF_CLASS[number] for number in found.classes.tolist()]
    return FrameObjects.from_masks(index, found.ids, names, found.masks, names_of_all=("car", "person"))


def read_frames(path: str | os.PathLike[str], first_frame: int, length: int | None = None) -> Iterator[FrameObjects]:
    """A file as frames, empty ones included, up to the last with an object or up to `length`.

    Raises:
        FormatError: as `read_mots`.
    """
    found = read_mots(path, first_frame=first_frame)
    return fill_gaps((to_frame(index, found[index]) for index in sorted(found)), length)


def encode_frame(frame: FrameObjects, first_frame: int) -> str:
    """Lines of a frame; objects of classes that MOTS does not have are left out.

    Raises:
        FormatError: a frame without masks.
    """
    if frame.masks is None:
        raise FormatError(f"frame {frame.index} has boxes without masks")
    class_of = {**CLASS_OF_NAME, IGNORED: IGNORE}
    rows = [row for row, name in enumerate(frame.names) if name in class_of]
    rles = frame.masks.select(rows).to_rle()
    return "".join(
        write_row(frame.index, int(frame.ids[row]), class_of[frame.names[row]], rle, first_frame=first_frame)
        for row, rle in zip(rows, rles, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    frame: int
    track_id: int
    mots_class: int
    rle: Rle


def _parse(path: str | os.PathLike[str], line: int, text: str, first_frame: int) -> _Row:
    fields = text.split(" ")
    if len(fields) != 6:
        fail(path, line, f"expected `frame id class height width rle` with single spaces, got {len(fields)} fields")
    if not all(field.isdecimal() for field in fields[:5]):
        fail(path, line, f"expected five whole numbers before the run lengths, got {' '.join(fields[:5])!r}")
    frame, track_id, mots_class, height, width = map(int, fields[:5])
    if frame < first_frame:
        fail(path, line, f"expected frames from {first_frame}, got {frame}")
    if frame > MAX_FRAME or track_id > MAX_ID:
        fail(path, line, f"expected frames to {MAX_FRAME} and ids to {MAX_ID}, got {frame} and {track_id}")
    if mots_class not in (CAR, PEDESTRIAN, IGNORE):
        fail(path, line, f"expected class {CAR}, {PEDESTRIAN} or {IGNORE}, got {mots_class}")
    if fields[5][:2] in ("b'", 'b"'):
        fail(path, line, "the run lengths are written as Python bytes (b'...'); decode them to text before writing")
    if not 0 < height * width <= _MAX_PIXELS:
        fail(path, line, f"expected a frame of 1 to {_MAX_PIXELS} pixels, got height {height} and width {width}")
    return _Row(line, frame - first_frame, track_id, mots_class, {"size": [height, width], "counts": fields[5]})


def _frame(path: str | os.PathLike[str], rows: list[_Row]) -> MotsFrame:
    """Check what only all rows of a frame can tell."""
    first_line: dict[int, int] = {}
    size = rows[0].rle["size"]
    for row in rows:
        if (first := first_line.setdefault(row.track_id, row.line)) != row.line:
            fail(path, row.line, f"id {row.track_id} is in this frame already, on line {first}")
        if row.rle["size"] != size:
            fail(path, row.line, f"expected the frame's size {size[0]} x {size[1]}, got {row.rle['size']}")
    masks = _decode(path, rows)
    overlapping = np.flatnonzero(masks.disjoint().areas != masks.areas)
    if len(overlapping):
        late = int(overlapping[0])
        early = int(np.flatnonzero(masks.select([late]).iou(masks.select(np.arange(late)))[0])[0])
        fail(path, rows[late].line, f"the mask overlaps that of id {rows[early].track_id}, line {rows[early].line}")
    ids = np.array([row.track_id for row in rows], np.int64)
    return MotsFrame(ids, np.array([row.mots_class for row in rows], np.int32), masks)


def _decode(path: str | os.PathLike[str], rows: list[_Row]) -> Masks:
    try:
        return Masks.from_rle([row.rle for row in rows])
    except MasksError:
        broken = next(row for row in rows if not _is_whole(row.rle))
        height, width = broken.rle["size"]
        fail(path, broken.line, f"broken run lengths: they do not fill {height} x {width} pixels")


def _is_whole(rle: Rle) -> bool:
    try:
        Masks.from_rle([rle])
    except MasksError:
        return False
    return True
