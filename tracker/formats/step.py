"""STEP pictures: KITTI-STEP and MOTChallenge-STEP, an 8-bit RGB PNG per frame.

Red is the class, green * 256 + blue the id (to 65535); stuff, crowds and void have id 0. deeplab2 also exports a
variant of two channels, red the class and green the id (to 255). Files are `SEQUENCE/%06d.png`; KITTI-STEP counts
frames from 0, MOTChallenge-STEP from 1.

Source: STEP, arXiv:2102.11859, and the datasets' pages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker.errors import FormatError
from tracker.formats.class_set import ClassSet
from tracker.formats.frame_objects import FrameObjects, PixelMap
from tracker.formats.png import encode_png, read_png

MAX_ID = 65535
_ID_FACTOR = 100_000  # of objects that leave their picture: above every id


@dataclass(frozen=True, slots=True, eq=False)
class StepFrame:
    """One picture: its number as the file name says it, classes (H, W) uint8 and ids (H, W) int32."""

    number: int
    classes: NDArray[np.uint8]
    ids: NDArray[np.int32]


def read_step(
    path: str | os.PathLike[str], *, two_channel: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Classes (H, W) uint8 and ids (H, W) int32 of one picture.

    Args:
        path: of the PNG.
        two_channel: green is the whole id, blue means nothing.

    Raises:
        FormatError: it cannot be read or is not an 8-bit RGB PNG.
    """
    pixels = read_png(path).pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] < (2 if two_channel else 3):
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        raise FormatError(f"{path}: expected an 8-bit RGB PNG, got {channels} channels of {8 * pixels.itemsize} bits")
    ids = pixels[:, :, 1].astype(np.int32)
    if not two_channel:
        ids = (ids << 8) | pixels[:, :, 2]
    return np.ascontiguousarray(pixels[:, :, 0]), ids


def encode_step(classes: NDArray[np.integer], ids: NDArray[np.integer]) -> bytes:
    """A picture's PNG bytes, from classes (H, W) 0..255 and ids (H, W) 0..65535.

    Raises:
        FormatError: a number outside these ranges, or maps that differ in shape.
    """
    if classes.shape != ids.shape or classes.ndim != 2:
        raise FormatError(f"expected class and id maps of one shape (H, W), got {classes.shape} and {ids.shape}")
    for what, numbers, most in (("class", classes, 255), ("id", ids, MAX_ID)):
        if numbers.size and (int(numbers.min()) < 0 or int(numbers.max()) > most):
            raise FormatError(f"a STEP picture holds {what} numbers 0 to {most}, got {numbers.min()}..{numbers.max()}")
    return encode_png(np.stack([classes, ids >> 8, ids & 255], 2).astype(np.uint8))


def sequences(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the sequences in a folder: those of its subfolders that hold PNG files, in order.

    Raises:
        FormatError: there is none.
    """
    root = Path(folder)
    names = sorted(path.name for path in root.iterdir() if any(path.glob("*.png"))) if root.is_dir() else []
    if not names:
        raise FormatError(f"no sequences in {folder}: expected a folder of PNG files for each")
    return names


def read_sequence(folder: str | os.PathLike[str], *, two_channel: bool = False) -> Iterator[StepFrame]:
    """The pictures of one sequence one by one, in the order of their numbers.

    Raises:
        FormatError: no PNG there, a name that is no number, a frame that is missing between the first and the last,
            pictures of different sizes, or one that `read_step` refuses.
    """
    size: tuple[int, ...] | None = None
    for number, path in numbered_files(folder):
        classes, ids = read_step(path, two_channel=two_channel)
        size = classes.shape if size is None else size
        if classes.shape != size:
            raise FormatError(f"{path}: expected the sequence's size {size}, got {classes.shape}")
        yield StepFrame(number, classes, ids)


def numbered_files(folder: str | os.PathLike[str], first_frame: int | None = None) -> list[tuple[int, Path]]:
    """PNG files of a folder with their numbers, ascending.

    Args:
        folder: of the sequence.
        first_frame: number that the first file must not fall below; None for any.

    Raises:
        FormatError: not a folder, none there, a name that is no number, a number that is missing or stands twice.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FormatError(f"no pictures at {folder}: no such folder")
    found: dict[int, Path] = {}
    for path in sorted(root.glob("*.png")):
        if not path.stem.isdecimal():
            raise FormatError(f"{path}: expected a frame number as the name, as 000017.png")
        if (number := int(path.stem)) in found:
            raise FormatError(f"{path}: frame {number} is there already, as {found[number].name}")
        found[number] = path
    if not found:
        raise FormatError(f"no pictures in {folder}: expected PNG files as 000017.png")
    numbers = sorted(found)
    if missing := sorted(set(range(numbers[0], numbers[-1])) - found.keys()):
        raise FormatError(f"{folder}: frame {missing[0]} is missing")
    if first_frame is not None and numbers[0] < first_frame:
        raise FormatError(f"{found[numbers[0]]}: expected frame numbers from {first_frame}")
    return [(number, found[number]) for number in numbers]


def read_frames(
    folder: str | os.PathLike[str], class_set: ClassSet, first_frame: int, *, two_channel: bool = False
) -> Iterator[FrameObjects]:
    """A sequence as frames, with its things as objects.

    Ids of things of different classes may be equal in a STEP picture, so an object's id is class * 100000 + id.

    Raises:
        FormatError: as `read_sequence`; also a class that the dataset does not have.
    """
    numbered_files(folder, first_frame)
    for step in read_sequence(folder, two_channel=two_channel):
        known = np.zeros(256, np.bool_)
        known[: len(class_set.names)] = known[class_set.void] = True
        if not known[step.classes].all():
            wrong = int(step.classes[~known[step.classes]][0])
            last = len(class_set.names) - 1
            raise FormatError(
                f"{Path(folder) / f'{step.number:06d}.png'}: expected classes 0 to {last} or {class_set.void} (void), "
                f"got {wrong}"
            )
        picture = PixelMap(step.classes, step.ids, class_set)
        yield FrameObjects.from_pixels(step.number - first_frame, picture, id_factor=_ID_FACTOR)


def encode_frame(frame: FrameObjects, class_set: ClassSet) -> bytes:
    """The PNG bytes of a frame's picture in the numbers of a class set.

    Raises:
        FormatError: the frame has no picture, or an id above 65535.
    """
    if frame.pixels is None:
        raise FormatError(f"frame {frame.index} has no panoptic picture: objects alone do not say what the rest is")
    picture = frame.pixels.as_set(class_set)
    return encode_step(picture.classes, picture.ids)
