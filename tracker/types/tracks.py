"""All tracks after a frame: a snapshot, and the block of memory that a step writes it into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.masks import Masks
from tracker.types.detections import Detections

BLOCK_IDS, BLOCK_BOXES, BLOCK_SCORES, BLOCK_LABELS, BLOCK_SOURCE = 0, 2, 6, 7, 8
BLOCK_HITS, BLOCK_MISSES, BLOCK_UNMATCHED, BLOCK_STATES = 9, 10, 11, 12
BLOCK_BYTES = 49  # a row of all parts
_BLOCK_PARTS = {  # where it begins, its type, numbers per track
    "ids": (BLOCK_IDS, np.dtype(np.int64), 1),
    "boxes": (BLOCK_BOXES, np.dtype(np.float32), 4),
    "scores": (BLOCK_SCORES, np.dtype(np.float32), 1),
    "labels": (BLOCK_LABELS, np.dtype(np.int32), 1),
    "states": (BLOCK_STATES, np.dtype(np.uint8), 1),
    "source": (BLOCK_SOURCE, np.dtype(np.int32), 1),
    "hits": (BLOCK_HITS, np.dtype(np.int32), 1),
    "misses": (BLOCK_MISSES, np.dtype(np.int32), 1),
    "unmatched": (BLOCK_UNMATCHED, np.dtype(np.int32), 1),
}
_RANK = np.array([1, 0, 2], np.uint8)  # TENTATIVE, CONFIRMED, COASTING -> place in a snapshot


class TrackState(IntEnum):
    """What a track is in one snapshot; every track is exactly one of these."""

    TENTATIVE = 0
    """Too young (or too recently recovered) for its system to report it."""
    CONFIRMED = 1
    """Seen in this frame, or in the last one in which somebody looked, and reported."""
    COASTING = 2
    """Not seen in this frame; its box is a prediction. Users call it lost."""


class _Block:
    """Where a snapshot that came as one block of memory has its fields from."""

    __slots__ = ("_made",)
    _made: tuple[NDArray[np.uint8], int, int, tuple[int, int, int, int], Detections, float]
    """The block, the first track and the end, `counts` of `tracks_of_block`, the last two fields. Unset otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Tracks(_Block):
    """A snapshot of every live track after one frame, confirmed ones first, then tentative, then coasting ones.

    Most users want `tracks.confirmed`: what the published system reports for this frame.

    What a tracker returns is one block of memory, and its arrays are made when they are first asked for: views of it,
    which nobody else holds. One of them keeps the block alive, some 50 bytes for each track and detection.

    Attributes:
        ids: (T,) int64, from 1, never reused, belong to one Tracker.
        boxes: (T, 4) float32, xyxy, source pixels: filtered where seen, predicted where not. May leave the image.
        scores: (T,) float32, of the last detection taken.
        labels: (T,) int32, class index.
        states: (T,) uint8, `TrackState`.
        source: (T,) int32, row of the detection that the track took in this frame, -1 for none.
        hits: (T,) int32, detections taken since birth.
        misses: (T,) int32, frames since the last one in which somebody looked (`Detections.looked`).
        unmatched: (U,) int32, rows of the detections that no track took, ascending. Together with `source` every
            row of the input comes back exactly once.
        detections: the input of this frame.
        time_s: time of this frame.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    states: NDArray[np.uint8]
    source: NDArray[np.int32]
    hits: NDArray[np.int32]
    misses: NDArray[np.int32]
    unmatched: NDArray[np.int32]
    detections: Detections
    time_s: float

    @classmethod
    def empty(cls, time_s: float = 0.0) -> Tracks:
        """No track, no detection."""
        none = np.zeros(0, np.int32)
        return cls(
            np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), none,
            np.zeros(0, np.uint8), none, none, none, none, Detections.empty(), time_s,
        )  # fmt: skip

    if not TYPE_CHECKING:  # its fields are declared, nothing else is there

        def __getattr__(self, name: str) -> Any:
            """A field of a snapshot that came as a block, on its first use."""
            if name not in self.__slots__:
                raise AttributeError(f"'Tracks' object has no attribute {name!r}")
            block, begin, end, counts, detections, time_s = self._made
            value: Any = detections if name == "detections" else time_s
            if name in _BLOCK_PARTS:
                place, dtype, width = _BLOCK_PARTS[name]
                if name == "unmatched":
                    begin, end = 0, counts[3]
                at = 4 * place * (len(block) // BLOCK_BYTES) + begin * width * dtype.itemsize
                value = np.ndarray((end - begin, width) if width > 1 else end - begin, dtype, block, at)
            object.__setattr__(self, name, value)
            return value

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: ArrayLike | slice) -> Tracks:
        """These tracks only (indices, slice or bool filter); a slice copies nothing. `[]` is none of them."""
        index = rows if isinstance(rows, slice) else np.asarray(rows)
        if not isinstance(index, slice) and not index.size:
            index = index.astype(np.int64)  # an empty list has no type of its own
        return replace(
            self,
            ids=self.ids[index],
            boxes=self.boxes[index],
            scores=self.scores[index],
            labels=self.labels[index],
            states=self.states[index],
            source=self.source[index],
            hits=self.hits[index],
            misses=self.misses[index],
        )

    @property
    def confirmed(self) -> Tracks:
        """Tracks that the system reports for this frame."""
        return self._between(0, self._ends[0])

    @property
    def tentative(self) -> Tracks:
        """Tracks that took a detection in this frame but are not reported yet."""
        return self._between(*self._ends)

    @property
    def coasting(self) -> Tracks:
        """Tracks that are alive but were not seen in this frame ("lost"); boxes are predictions."""
        return self._between(self._ends[1], len(self))

    @property
    def _ends(self) -> tuple[int, int]:
        """Where confirmed and where tentative tracks end."""
        made = getattr(self, "_made", None)
        if made is None:
            confirmed, tentative = np.searchsorted(_RANK[self.states], (1, 2)).tolist()
            return confirmed, tentative
        _, begin, end, counts, _, _ = made
        if end - begin == counts[0]:
            return counts[1], counts[1] + counts[2]
        confirmed, tentative = counts[1] - begin, counts[1] + counts[2] - begin
        return min(max(confirmed, 0), end - begin), min(max(tentative, 0), end - begin)

    def _between(self, begin: int, end: int) -> Tracks:
        """Tracks [begin, end)."""
        made = getattr(self, "_made", None)
        if made is None:
            return self.select(slice(begin, end))
        block, first, _, counts, detections, time_s = made
        return _unmade((block, first + begin, first + end, counts, detections, time_s))

    @property
    def masks(self) -> Masks | None:
        """Mask of the detection that each track took, an empty one where it took none; None without masks."""
        masks = self.detections.masks
        return None if masks is None else masks.select(self.source)

    def to_array(self) -> NDArray[np.float64]:
        """(T, 8) float64 rows `x1 y1 x2 y2 id score class det`, the order of boxmot's results; det is -1 if unseen."""
        columns = (self.ids, self.scores, self.labels, self.source)
        return np.column_stack([self.boxes.astype(np.float64), *columns]).reshape(-1, 8)

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Pairs of id and box, for loops that need nothing else."""
        return zip(self.ids.tolist(), self.boxes, strict=True)


def tracks_of_block(
    block: NDArray[np.uint8], counts: tuple[int, int, int, int], detections: Detections, time_s: float
) -> Tracks:
    """The snapshot that a step wrote; nothing is looked at before somebody asks for it.

    Args:
        block: `BLOCK_BYTES` for each of as many rows as it has room for, a multiple of 8. Its parts follow each other,
            every part with this room; they begin at `BLOCK_IDS` ... `BLOCK_STATES` times the room, in words of 4 bytes.
        counts: tracks, how many of them are confirmed and how many tentative, unmatched detections.
        detections: of the frame.
        time_s: of the frame.
    """
    tracks: Tracks = _new(Tracks)
    _set_made(tracks, (block, 0, counts[0], counts, detections, time_s))
    return tracks


def _unmade(made: Any) -> Tracks:
    """Tracks that make their fields from a block."""
    tracks: Tracks = _new(Tracks)
    _set_made(tracks, made)
    return tracks


_new, _set_made = object.__new__, vars(_Block)["_made"].__set__  # a frozen value's __init__ takes 0.1 us for each field
