"""What one frame's model saw, checked where it comes in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.errors import DetectionsError, why
from tracker.masks import Masks
from tracker.types.frame import Panoptic

_T = TypeVar("_T", bound=np.generic)
_OPTIONAL_ROWS = ("embeddings", "centres", "offsets", "track_ids")


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

    if TYPE_CHECKING:  # what may be given, and becomes what the fields say

        def __init__(
            self,
            boxes: ArrayLike,
            scores: ArrayLike,
            labels: ArrayLike | None = None,
            masks: Masks | None = None,
            embeddings: ArrayLike | None = None,
            panoptic: Panoptic | None = None,
            centres: ArrayLike | None = None,
            offsets: ArrayLike | None = None,
            track_ids: ArrayLike | None = None,
            looked: bool = True,
            shed: tuple[str, ...] = (),
        ) -> None: ...

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
                f"expected boxes x1 y1 x2 y2 with x2 >= x1 and y2 >= y1, got {boxes[row]} at row {row}; "
                "where these are x y width height, add x and y to the last two"
            )
        if n and int(labels.min()) < 0:
            row = int(labels.argmin())
            raise DetectionsError(f"expected class indices >= 0, got {labels[row]} at row {row}")
        masks: Any = self.masks  # whatever the caller gave
        if masks is not None and not isinstance(masks, Masks):
            kind = type(masks).__name__
            raise DetectionsError(f"expected masks as tracker.Masks, got {kind}; Masks.from_dense takes (N, H, W)")
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
        data = _numbers("rows", rows, np.float64)
        if data.size == 0:
            return cls.empty()
        if data.ndim != 2 or data.shape[1] not in (5, 6):
            raise DetectionsError(
                f"expected rows of shape (N, 5) or (N, 6): x1 y1 x2 y2 score [class], got {data.shape}"
            )
        labels = data[:, 5] if data.shape[1] == 6 else np.zeros(len(data))
        return cls(data[:, :4], data[:, 4], labels)

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


def _numbers(name: str, values: Any, dtype: type[_T]) -> NDArray[_T]:
    """`values` as a contiguous, writable array of `dtype`; the same object where it already is one."""
    try:
        given = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors on a GPU or with a gradient
        what = f"{type(values).__name__} ({why(error)})"
        raise DetectionsError(f"expected {name} as {np.dtype(dtype)} numbers, got {what}") from None
    if given.dtype.kind in "SU":
        hint = "; names belong in class_names, labels are their indices" if name == "labels" else ""
        raise DetectionsError(f"expected {name} as {np.dtype(dtype)} numbers, got text{hint}")
    if given.dtype.kind not in "iufb":
        what = "None" if values is None else f"{type(values).__name__} of {given.dtype}"
        raise DetectionsError(f"expected {name} as {np.dtype(dtype)} numbers, got {what}")
    if np.issubdtype(dtype, np.integer) and given.dtype.kind == "f":
        broken = given[given != np.trunc(given)]
        if broken.size:
            raise DetectionsError(f"expected {name} as whole numbers, got {broken.flat[0]}")
    with np.errstate(over="ignore"):  # what does not fit is infinite, and refused as that
        return np.require(given, dtype, ("C", "W"))


def _finite(name: str, values: NDArray[np.float32]) -> None:
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
        raise DetectionsError(f"expected finite {name}, got {values[row]} at row {row}")
