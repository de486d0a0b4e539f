"""MOTS pictures: a 16-bit PNG per frame, value = class * 1000 + number, 0 background, 10000 a region to ignore.

Files are `%06d.png`; KITTI MOTS counts frames from 0, MOTSChallenge from 1.

Source: MOTS, arXiv:1902.03604, and the format page of its tools.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tracker.errors import FormatError
from tracker.formats.frame_objects import FrameObjects
from tracker.formats.mots import CAR, CLASS_OF_NAME, IGNORE, NAME_OF_CLASS, PEDESTRIAN, MotsFrame, to_frame
from tracker.formats.png import encode_png, read_png
from tracker.formats.step import numbered_files
from tracker.masks import Masks

_PER_CLASS = 1000
_IGNORE_VALUE = 10000


def read_mots_png(path: str | os.PathLike[str]) -> MotsFrame:
    """Objects of one picture in the order of their values; ids are the values (class * 1000 + number).

    Raises:
        FormatError: not a 16-bit grey PNG, or a value of another class than 1, 2 and 10.
    """
    pixels = read_png(path).pixels
    if pixels.ndim != 2 or pixels.dtype != np.uint16:
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        raise FormatError(
            f"{path}: expected a PNG of one channel of 16 bits, got {channels} of {8 * pixels.itemsize} bits"
        )
    values, rows = np.unique(pixels, return_inverse=True)
    labels = rows.reshape(pixels.shape).astype(np.int32)
    if len(values) and values[0] == 0:
        values = values[1:]
    else:
        labels += 1
    classes = values.astype(np.int64) // _PER_CLASS
    wrong = values[~np.isin(classes, (CAR, PEDESTRIAN, IGNORE)) | ((classes == IGNORE) & (values != _IGNORE_VALUE))]
    if len(wrong):
        raise FormatError(f"{path}: expected values class * 1000 + number of class 1 or 2, or 10000, got {wrong[0]}")
    return MotsFrame(values.astype(np.int64), classes.astype(np.int32), Masks.from_label_map(labels, len(values)))


def encode_mots_png(values: NDArray[np.int64], masks: Masks) -> bytes:
    """PNG bytes of a frame: each mask painted with its value, 1 to 65535; the masks share no pixel."""
    return encode_png(masks.to_label_map(values).astype(np.uint16))


def read_frames(folder: str | os.PathLike[str], first_frame: int) -> Iterator[FrameObjects]:
    """A folder as frames.

    Raises:
        FormatError: as `read_mots_png`; a number that is missing, pictures of different sizes.
    """
    size = None
    for number, path in numbered_files(folder, first_frame):
        found = read_mots_png(path)
        size = size or (found.masks.height, found.masks.width)
        if (found.masks.height, found.masks.width) != size:
            raise FormatError(
                f"{path}: expected the sequence's size {size}, got {found.masks.height, found.masks.width}"
            )
        yield to_frame(number - first_frame, found)


class MotsPngEncoder:
    """Makes pictures of frames; remembers which number each object got.

    An id that is class * 1000 + number already stays, one below 1000 becomes the number, and any other takes the
    lowest number that its class has free.
    """

    def __init__(self) -> None:
        self._value_of: dict[tuple[int, int], int] = {}
        self._taken: set[int] = set()

    def __call__(self, frame: FrameObjects) -> bytes:
        """PNG bytes of a frame; objects of classes that MOTS does not have are left out.

        Raises:
            FormatError: a frame without masks, an id that does not fit, or two objects that would get one value.
        """
        if frame.masks is None:
            raise FormatError(f"frame {frame.index} has boxes without masks")
        rows = [row for row, name in enumerate(frame.names) if name in CLASS_OF_NAME or name == NAME_OF_CLASS[IGNORE]]
        values = [self._value(int(frame.ids[row]), frame.names[row]) for row in rows]
        return encode_mots_png(np.array(values, np.int64), frame.masks.select(rows))

    def _value(self, number: int, name: str) -> int:
        if name == NAME_OF_CLASS[IGNORE]:
            return _IGNORE_VALUE
        mots_class = CLASS_OF_NAME[name]
        if (known := self._value_of.get((mots_class, number))) is not None:
            return known
        base = mots_class * _PER_CLASS
        if number // _PER_CLASS == mots_class:
            value = number
        elif number < _PER_CLASS:
            value = base + number
        else:
            value = next((v for v in range(base + 1, base + _PER_CLASS) if v not in self._taken), 0)
        if value == 0 or value in self._taken:
            raise FormatError(
                f"no number is left for id {number} of class {name}: a MOTS picture has 0 to 999; write MOTS text"
            )
        self._value_of[mots_class, number] = value
        self._taken.add(value)
        return value
