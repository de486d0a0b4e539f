"""One frame of a dataset, whatever its format: what readers yield and writers take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.formats.class_set import ClassSet
from tracker.masks import Masks

IGNORED = "ignore"
"""Class name of regions that are not judged; formats without such regions leave them out."""

NAMELESS = ""
"""Class name where the format does not say one."""


@dataclass(frozen=True, slots=True, eq=False)
class PixelMap:
    """Every pixel of a frame: a class and, of things, an id.

    Attributes:
        classes: (H, W) uint8 class numbers of the class set, its void number where nothing is said.
        ids: (H, W) int32, of things from 1; 0 for stuff, void and crowds. Things of different classes may share one.
        class_set: what the numbers mean.
    """

    classes: NDArray[np.uint8]
    ids: NDArray[np.int32]
    class_set: ClassSet

    def as_set(self, class_set: ClassSet) -> PixelMap:
        """The same picture in the numbers of another dataset, by class names; what it does not have becomes void."""
        if class_set == self.class_set:
            return self
        table = np.full(256, class_set.void, np.uint8)
        numbers = class_set.numbers_of(self.class_set.names)
        table[: len(numbers)] = np.where(numbers >= 0, numbers, class_set.void)
        table[self.class_set.void] = class_set.void
        classes = table[self.classes]
        ids = np.where(class_set.thing_table()[classes], self.ids, 0).astype(np.int32)
        return PixelMap(classes, ids, class_set)


@dataclass(frozen=True, slots=True, eq=False)
class FrameObjects:
    """The objects of one frame; row i of each field is object i.

    Attributes:
        index: of the frame, from 0.
        ids: (N,) int64 from 1, unique in the frame; -1 for objects without identity.
        names: N class names.
        boxes: (N, 4) float64 xyxy, source pixels, half-open.
        scores: (N,) float64; 1 where the format has none.
        masks: N masks, or None where the format has boxes only. With N = 0 they still say how large the frame is.
        pixels: the frame's panoptic picture, or None.
        names_of_all: every class name that the dataset can hold, in the order of its numbers.
    """

    index: int
    ids: NDArray[np.int64]
    names: Sequence[str]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    masks: Masks | None = None
    pixels: PixelMap | None = None
    names_of_all: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_masks(
        cls, index: int, ids: Any, names: Sequence[str], masks: Masks, scores: Any = None, **more: Any
    ) -> FrameObjects:
        """Objects whose boxes are those of their masks."""
        numbers = np.asarray(ids, np.int64).reshape(-1)
        given = np.ones(len(numbers)) if scores is None else np.asarray(scores, np.float64)
        return cls(index, numbers, names, masks.boxes.astype(np.float64), given, masks, **more)

    @classmethod
    def from_pixels(cls, index: int, pixels: PixelMap, *, id_factor: int = 0) -> FrameObjects:
        """The things of a picture that have an id, in the order of class and id.

        Args:
            index: of the frame.
            pixels: the picture.
            id_factor: each id becomes class number * id_factor + id; needed where classes share ids.
        """
        key = (pixels.classes.astype(np.int64) << 32) | pixels.ids
        things = pixels.class_set.thing_table()[pixels.classes] & (pixels.ids > 0)
        found, rows = np.unique(key[things], return_inverse=True)
        labels = np.zeros(key.shape, np.int32)
        labels[things] = rows.reshape(-1) + 1
        classes, ids = found >> 32, found & 0xFFFFFFFF
        names = [pixels.class_set.names[number] for number in classes.tolist()]
        masks = Masks.from_label_map(labels, len(found))
        return cls.from_masks(
            index, classes * id_factor + ids, names, masks, pixels=pixels, names_of_all=pixels.class_set.names
        )

    def select(self, rows: Any) -> FrameObjects:
        """These objects only (indices); the picture stays whole."""
        index = np.asarray(rows, np.int64).reshape(-1)
        return replace(
            self, ids=self.ids[index], names=[self.names[k] for k in index.tolist()], boxes=self.boxes[index],
            scores=self.scores[index], masks=None if self.masks is None else self.masks.select(index),
        )  # fmt: skip


def fill_gaps(frames: Iterable[FrameObjects], length: int | None = None) -> Iterator[FrameObjects]:
    """Frames in ascending order with empty ones where some are missing, up to `length` if it is given."""
    place, last = 0, None
    for frame in frames:
        last = frame
        yield from _empty_frames(frame, place, frame.index)
        yield frame
        place = frame.index + 1
    if last is not None and length is not None:
        yield from _empty_frames(last, place, length)


def _empty_frames(like: FrameObjects, begin: int, end: int) -> Iterator[FrameObjects]:
    empty = replace(like.select([]), pixels=None)
    for index in range(begin, end):
        yield replace(empty, index=index)
