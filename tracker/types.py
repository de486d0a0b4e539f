"""The values that travel through the engine: Frame, Detections, Panoptic, Tracks.

All are frozen structs of parallel arrays: row i of every field is object i. Nobody writes into an array that he was
given. Boxes are xyxy float32, half-open, 0-based, in source pixels; times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.errors import DetectionsError, FrameError
from tracker.masks import Masks

_T = TypeVar("_T", bound=np.generic)


class TrackState(IntEnum):
    """What a track is in one snapshot; every track is exactly one of these."""

    TENTATIVE = 0
    """Too young (or too recently recovered) for its system to report it."""
    CONFIRMED = 1
    """Seen in this frame, or in the last one in which somebody looked, and reported."""
    COASTING = 2
    """Not seen in this frame; its box is a prediction. Users call it lost."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a stream.

    Attributes:
        index: 0-based number within its stream; a live source that dropped frames leaves gaps.
        time_s: capture time in seconds from the stream's own clock; never NaN.
        image: (H, W, 3) uint8, BGR.
        epoch: how often the stream had been lost and found again before this frame; what was seen before then may be
            gone. Time goes on, by as much as passed.
        arrived_s: when a live source got it, on the clock of `time.monotonic`; None where that has no meaning.
        header: what else came with the picture, for sinks that know the source, such as a `tracker.ros.Header`.

    Raises:
        FrameError: image of another shape or dtype, a time that is not finite.
    """

    index: int
    time_s: float
    image: NDArray[np.uint8]
    epoch: int = 0
    arrived_s: float | None = None
    header: object = None

    def __post_init__(self) -> None:
        image = self.image
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise FrameError(f"expected an image of shape (H, W, 3) uint8 BGR, got {what}")
        if 0 in image.shape:
            raise FrameError(f"expected an image with pixels, got shape {image.shape}")
        if not math.isfinite(self.time_s):
            raise FrameError(f"expected a finite time in seconds, got {self.time_s}")

    @property
    def age_s(self) -> float | None:
        """Seconds since it arrived; None where `arrived_s` is."""
        return None if self.arrived_s is None else monotonic() - self.arrived_s

    @property
    def height(self) -> int:
        """Rows of the image."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Columns of the image."""
        return int(self.image.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Panoptic:
    """Every pixel of a frame: which class, and which of the frame's things.

    Attributes:
        classes: (H, W) uint8 class index; `VOID` (255) where the network decided nothing.
        rows: (H, W) int32, 0 for stuff, k + 1 where row k of the frame's `Detections` is seen.

    Source: STEP, arXiv:2102.11859 (class and id are two arrays, never class * 1000 + id).
    """

    classes: NDArray[np.uint8]
    rows: NDArray[np.int32]

    VOID = 255

    def __post_init__(self) -> None:
        if self.classes.ndim != 2 or self.classes.shape != self.rows.shape:
            raise DetectionsError(
                f"expected class and row maps of one shape (H, W), got {self.classes.shape} and {self.rows.shape}"
            )
        if self.classes.dtype != np.uint8 or self.rows.dtype != np.int32:
            raise DetectionsError(
                f"expected a uint8 class map and an int32 row map, got {self.classes.dtype} and {self.rows.dtype}"
            )

    def areas(self) -> NDArray[np.int64]:
        """(256,) pixels of each class where no row is seen: stuff, things that are no detection, and `VOID`."""
        return np.bincount(self.classes[self.rows == 0], minlength=256)

    def with_rows(self, new_row: NDArray[np.integer[Any]]) -> Panoptic:
        """Renumber things: `new_row[k]` is what row k becomes, -1 for no thing at all."""
        table = np.concatenate([[0], np.asarray(new_row, np.int32) + 1]).astype(np.int32)
        return Panoptic(self.classes, table[self.rows])


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Optical flow between the previous frame (t-1) and this one (t), on the full pixel grid of the frames.

    A vector (dx, dy) says where the pixel went, in source pixels whatever the resolution it was computed at; one
    that is not finite points nowhere.

    Attributes:
        forward: (H, W, 2) float32, t-1 to t, on the grid of t-1: pixel (x, y) of t-1 is at (x + dx, y + dy) in t.
        backward: (H, W, 2) float32, t to t-1, on the grid of t; or None.
        occluded: (H, W) bool on the grid of t-1, pixels that are not seen in t; or None for "not checked".
        revealed: (H, W) bool on the grid of t, pixels that were not seen in t-1; or None.

    Raises:
        FrameError: shapes or dtypes that do not fit.
    """

    forward: NDArray[np.float32]
    backward: NDArray[np.float32] | None = None
    occluded: NDArray[np.bool_] | None = None
    revealed: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        size = self.forward.shape[:2]
        for name, field, shape, dtype in (
            ("forward flow", self.forward, (*size, 2), np.float32),
            ("backward flow", self.backward, (*size, 2), np.float32),
            ("occluded", self.occluded, size, np.bool_),
            ("revealed", self.revealed, size, np.bool_),
        ):
            if field is not None and (len(size) != 2 or field.shape != shape or field.dtype != dtype):
                raise FrameError(
                    f"expected {name} as {np.dtype(dtype)} of shape {shape}, got {field.dtype} {field.shape}"
                )

    @classmethod
    def unknown(cls, height: int, width: int) -> Flow:
        """Nothing is known, as before the first frame: no motion, and every pixel occluded, so that no mask travels."""
        vectors, hidden = np.zeros((height, width, 2), np.float32), np.ones((height, width), np.bool_)
        return cls(vectors, vectors, hidden, hidden)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What one frame's model saw; no identity yet. N = 0 is `Detections.empty()`, never None.

    Attributes:
        boxes: (N, 4) float32, xyxy, source pixels, x2 >= x1 and y2 >= y1. A box without area is legal and is never
            matched or tracked.
        scores: (N,) float32, finite; networks give 0..1.
        labels: (N,) int32, class index >= 0; 0 if not given.
        masks: `Masks` of N rows, or None.
        embeddings: (N, D) float32, or None; a row of zeros is no embedding.
        panoptic: the frame's `Panoptic` picture, or None.
        centres: (N, 2) float32 x, y, where a network names another point than the box's middle; or None.
        offsets: (N, 2) float32 px: from the centre to where it was in the frame before (Motion-DeepLab); or None.
        track_ids: (N,) int64: the track that a row was searched for, by learned motion, or -1 for a fresh detection
            (SiamMOT); or None.
        looked: a detector ran on this frame. False: nobody looked, so that nothing is missing and nothing is new;
            all rows are then those of learned motion (`track_ids` >= 0).
        shed: steps that the frame went without to meet its deadline, of `tracker.deadline.STEPS`.

    Raises:
        DetectionsError: shapes that do not fit together, NaN or infinite numbers, inverted boxes, negative labels,
            fresh detections where nobody looked.
            Numbers of another dtype are converted, lists too.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32] = None  # type: ignore[assignment]
    masks: Masks | None = None
    embeddings: NDArray[np.float32] | None = None
    panoptic: Panoptic | None = None
    centres: NDArray[np.float32] | None = None
    offsets: NDArray[np.float32] | None = None
    track_ids: NDArray[np.int64] | None = None
    looked: bool = True
    shed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        boxes = _numbers("boxes", self.boxes, np.float32)
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise DetectionsError(f"expected boxes of shape (N, 4), got {boxes.shape}")
        n = len(boxes)
        scores = _numbers("scores", self.scores, np.float32)
        labels = np.zeros(n, np.int32) if self.labels is None else _numbers("labels", self.labels, np.int32)
        for name, column in (("scores", scores), ("labels", labels)):
            if column.shape != (n,):
                raise DetectionsError(f"expected {name} of shape ({n},) for {n} boxes, got {column.shape}")
        _finite("boxes", boxes)
        _finite("scores", scores)
        inverted = np.flatnonzero((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1]))
        if len(inverted):
            row = int(inverted[0])
            raise DetectionsError(
                f"expected boxes x1 y1 x2 y2 with x2 >= x1 and y2 >= y1, got {boxes[row]} at row {row}"
            )
        if n and int(labels.min()) < 0:
            row = int(labels.argmin())
            raise DetectionsError(f"expected class indices >= 0, got {labels[row]} at row {row}")
        if self.masks is not None and len(self.masks) != n:
            raise DetectionsError(f"expected one mask per box ({n}), got {len(self.masks)}")
        for name, width in (("embeddings", "D"), ("centres", "2"), ("offsets", "2")):
            if getattr(self, name) is not None:
                rows = _numbers(name, getattr(self, name), np.float32)
                if rows.ndim != 2 or len(rows) != n or width not in ("D", str(rows.shape[1])):
                    raise DetectionsError(f"expected {name} of shape ({n}, {width}), got {rows.shape}")
                _finite(name, rows)
                object.__setattr__(self, name, rows)
        if self.track_ids is not None:
            ids = _numbers("track_ids", self.track_ids, np.int64)
            known = ids[ids >= 0]
            if ids.shape != (n,) or len(np.unique(known)) != len(known):
                raise DetectionsError(f"expected {n} track_ids, each track once, -1 for none; got {ids}")
            object.__setattr__(self, "track_ids", ids)
        if not self.looked and n and (self.track_ids is None or int(self.track_ids.min()) < 0):
            raise DetectionsError("expected only rows with track_ids where nobody looked, got fresh detections")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "labels", labels)

    @classmethod
    def empty(cls) -> Detections:
        """Nothing was seen. Time passes for the tracker all the same."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    @classmethod
    def unlooked(cls) -> Detections:
        """Nobody looked, as between the frames of a detector that runs on every third one. Not the same as `empty`."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), looked=False)

    @classmethod
    def from_array(cls, rows: ArrayLike) -> Detections:
        """From the rows that ByteTrack and boxmot users have: `x1 y1 x2 y2 score [class]`.

        Args:
            rows: (N, 5) or (N, 6) numbers; boxes in source pixels; class counts from 0. An empty list is no detection.

        Raises:
            DetectionsError: any other number of columns, or values that `Detections` refuses.
        """
        data = np.asarray(rows, np.float64)
        if data.size == 0:
            return cls.empty()
        if data.ndim != 2 or data.shape[1] not in (5, 6):
            raise DetectionsError(
                f"expected rows of shape (N, 5) or (N, 6): x1 y1 x2 y2 score [class], got {data.shape}"
            )
        labels = data[:, 5] if data.shape[1] == 6 else np.zeros(len(data))
        return cls(data[:, :4], data[:, 4], labels)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, rows: ArrayLike) -> Detections:
        """These rows (indices, or a bool filter of length N); mask and embedding go with their row."""
        index = np.asarray(rows)
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        index = index.astype(np.int64).reshape(-1)
        panoptic = self.panoptic
        if panoptic is not None:
            new_row = np.full(len(self), -1)
            new_row[index] = np.arange(len(index))
            panoptic = panoptic.with_rows(new_row)
        optional = {name: getattr(self, name) for name in _OPTIONAL_ROWS}
        kept: dict[str, Any] = {name: None if part is None else part[index] for name, part in optional.items()}
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            labels=self.labels[index],
            masks=None if self.masks is None else self.masks.select(index),
            panoptic=panoptic,
            **kept,
        )


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
_OPTIONAL_ROWS = ("embeddings", "centres", "offsets", "track_ids")
_RANK = np.array([1, 0, 2], np.uint8)  # TENTATIVE, CONFIRMED, COASTING -> place in a snapshot


def _numbers(name: str, values: Any, dtype: type[_T]) -> NDArray[_T]:
    """`values` as a contiguous, writable array of `dtype`; the same object where it already is one."""
    try:
        given = np.asarray(values)
        if given.dtype.kind not in "iufb":
            raise TypeError
        if np.issubdtype(dtype, np.integer) and given.dtype.kind == "f" and not np.array_equal(given, np.trunc(given)):
            raise TypeError
    except (TypeError, ValueError):
        what = getattr(values, "dtype", type(values).__name__)
        raise DetectionsError(f"expected {name} as {np.dtype(dtype)} numbers, got {what}") from None
    return np.require(given, dtype, ("C", "W"))


def _finite(name: str, values: NDArray[np.float32]) -> None:
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
        raise DetectionsError(f"expected finite {name}, got {values[row]} at row {row}")
