"""DAVIS pictures: a palette PNG per frame, value = object, 0 background; files are `%05d.png` from 0.

DAVIS says no class. Its palette is that of PASCAL VOC, in which every colour follows from the bits of its number.

Source: DAVIS 2017, arXiv:1704.00675.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import FormatError
from tracker.formats.frame_objects import NAMELESS, FrameObjects
from tracker.formats.png import encode_png, read_png
from tracker.formats.step import numbered_files
from tracker.masks import Masks

MAX_OBJECTS = 255


def make_palette() -> NDArray[np.uint8]:
    """(256, 3) uint8 RGB: bits 0, 3, 6 of a number make its red from the top bit down, 1, 4, 7 green, 2, 5 blue."""
    palette = np.zeros((256, 3), np.int64)
    numbers = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((numbers >> (3 * bit + channel)) & 1) << (7 - bit)
    return palette.astype(np.uint8)


PALETTE = make_palette()


def read_davis(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Object numbers (H, W) uint8 of one picture, 0 is background.

    Palette and grey pictures hold the numbers themselves. A black and white one (0 and 255, as DAVIS 2016 has them)
    holds object 1.

    Raises:
        FormatError: it cannot be read, or has colours without a palette or 16 bits.
    """
    picture = read_png(path)
    pixels: NDArray[Any] = picture.pixels
    if pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():  # grey, saved as colours
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise FormatError(f"{path}: expected a palette or grey PNG of 8 bits, got {pixels.dtype} {pixels.shape}")
    if picture.palette is None and np.isin(pixels, (0, 255)).all():
        pixels = pixels // 255
    return np.ascontiguousarray(pixels, np.uint8)


def encode_davis(objects: NDArray[np.integer[Any]]) -> bytes:
    """PNG bytes of object numbers (H, W) 0 to 255, with the DAVIS palette."""
    return encode_png(objects.astype(np.uint8), PALETTE)


def read_frames(folder: str | os.PathLike[str]) -> Iterator[FrameObjects]:
    """A folder as frames, objects in the order of their numbers, without class names.

    Raises:
        FormatError: as `read_davis`; a number that is missing, pictures of different sizes.
    """
    size = None
    for number, path in numbered_files(folder):
        objects = read_davis(path)
        size = size or objects.shape
        if objects.shape != size:
            raise FormatError(f"{path}: expected the sequence's size {size}, got {objects.shape}")
        ids = np.unique(objects[objects > 0])
        labels = np.searchsorted(ids, objects).astype(np.int32) + 1
        masks = Masks.from_label_map(np.where(objects > 0, labels, 0), len(ids))
        yield FrameObjects.from_masks(number, ids, [NAMELESS] * len(ids), masks)


class DavisEncoder:
    """Makes pictures of frames: ids to 255 stay; if a larger one comes, it takes the lowest number never used so far."""

    def __init__(self) -> None:
        self._number_of: dict[int, int] = {}
        self._taken: set[int] = set()

    def __call__(self, frame: FrameObjects) -> bytes:
        """PNG bytes of a frame; where masks overlap the later row wins.

        Raises:
            FormatError: a frame without masks, or no number is left.
        """
        if frame.masks is None:
            raise FormatError(f"frame {frame.index} has boxes without masks")
        return encode_davis(frame.masks.to_label_map([self._number(number) for number in frame.ids.tolist()]))

    def _number(self, track_id: int) -> int:
        if track_id in self._number_of:
            return self._number_of[track_id]
        free = (number for number in range(1, MAX_OBJECTS + 1) if number not in self._taken)
        number = track_id if track_id <= MAX_OBJECTS and track_id not in self._taken else next(free, 0)
        if number == 0:
            raise FormatError(f"a DAVIS picture has numbers for {MAX_OBJECTS} objects, id {track_id} is one more")
        self._number_of[track_id] = number
        self._taken.add(number)
        return number
