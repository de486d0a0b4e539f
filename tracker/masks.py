"""Masks: one value type for the instance masks of a frame.

Every instance is a crop rectangle and its bits, packed into 64-bit words that stand on the image's own 64-pixel grid:
bit k of a word is pixel 64*i + k of its row. Two crops of the same frame are therefore compared word by word, without
shifting. Memory follows the crops, never N x H x W; an encoded frame of 50 people at 1080p takes about 50 kB.

The frame-sized dense stack and COCO's run lengths are ways in and out, not ways to compute. Label maps are compared as
they are (`label_map_overlaps`, `label_map_iou`): for disjoint objects that costs one pass, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker import _bits
from tracker.errors import MasksError


class Rle(TypedDict):
    """COCO's run-length encoding: `size` is [height, width], `counts` the compressed runs, column by column."""

    size: list[int]
    counts: str


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """N instance masks of one frame; row i is object i. Empty masks and N = 0 are legal.

    Build one with a `from_...` method; the constructor trusts what it is given.

    Attributes:
        height: rows of the frame.
        width: columns of the frame.
        rects: (N, 4) int32, crop rectangles x0, y0, x1, y1, half-open, inside the frame. No pixel outside its crop is
            set; the crop may be larger than the object. All zero for an empty mask.
        starts: (N + 1,) int64, where each mask's words begin.
        words: (W,) uint64, rows of each crop from top to bottom.
    """

    height: int
    width: int
    rects: NDArray[np.int32]
    starts: NDArray[np.int64]
    words: NDArray[np.uint64]

    # ------------------------------------------------------------------ ways in
    @classmethod
    def empty(cls, height: int, width: int, count: int = 0) -> Masks:
        """`count` masks without a pixel, for a frame of height x width."""
        rects = np.zeros((count, 4), np.int32)
        return cls(int(height), int(width), rects, np.zeros(count + 1, np.int64), np.zeros(0, np.uint64))

    @classmethod
    def from_crops(cls, crops: Sequence[NDArray[Any]], corners: ArrayLike, height: int, width: int) -> Masks:
        """Pack one small mask per object, each with the place of its upper left pixel.

        Args:
            crops: N arrays (h, w), bool or uint8; non-zero is object. Parts outside the frame are cut off.
            corners: (N, 2) int, x and y of each crop's first pixel, source pixels; may be negative.
            height: rows of the frame.
            width: columns of the frame.

        Raises:
            MasksError: the numbers of crops and corners differ, or a crop is not two-dimensional.
        """
        places = np.asarray(corners, np.int64).reshape(-1, 2)
        if len(crops) != len(places):
            raise MasksError(f"expected one corner per crop, got {len(crops)} crops and {len(places)} corners")
        sizes = np.zeros((len(crops), 2), np.int64)
        for i, crop in enumerate(crops):
            if crop.ndim != 2:
                raise MasksError(f"expected crops of shape (h, w), got {crop.shape} at row {i}")
            sizes[i] = crop.shape
        frame = np.array([width, height])
        rects = np.hstack([places, places + sizes[:, ::-1]]).clip(0, np.tile(frame, 2)).astype(np.int32)
        rects[(rects[:, 2] <= rects[:, 0]) | (rects[:, 3] <= rects[:, 1])] = 0
        starts = _layout(rects)
        words = np.empty(starts[-1], np.uint64)
        ends = starts.tolist()
        for i, (crop, (x, y)) in enumerate(zip(crops, places.tolist(), strict=True)):
            if ends[i + 1] > ends[i]:
                data = np.ascontiguousarray(crop).view(np.uint8) if crop.dtype == np.bool_ else _as_bytes(crop)
                _bits.pack(data, x, y, rects[i], words[ends[i] : ends[i + 1]])
        return cls(int(height), int(width), rects, starts, words)

    @classmethod
    def from_dense(cls, stack: ArrayLike) -> Masks:
        """Pack a full-frame stack (N, H, W): bool, or integers that are 0 and 1, or 0 and 255. N may be 0.

        Raises:
            MasksError: not three-dimensional, or other values: scores need a threshold, a map of ids `from_label_map`.
        """
        dense = np.asarray(stack)
        if dense.ndim != 3:
            raise MasksError(f"expected masks of shape (N, H, W), got {dense.shape}")
        n, height, width = dense.shape
        if n == 0:
            return cls.empty(height, width)
        dense = np.ascontiguousarray(_as_bool(dense))
        corners = np.zeros((n, 2), np.int64)
        crops = []
        for i, mask in enumerate(dense):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if len(rows) == 0:
                crops.append(mask[:0, :0])
                continue
            corners[i] = columns[0], rows[0]
            crops.append(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        return cls.from_crops(crops, corners, height, width)

    @classmethod
    def from_label_map(cls, labels: ArrayLike, count: int | None = None) -> Masks:
        """Split a map of disjoint objects into masks.

        Args:
            labels: (H, W) integers; value k + 1 is object k, 0 (and anything below) is background.
            count: how many objects; by default the largest value. Values above it are background.

        Raises:
            MasksError: not a two-dimensional integer array.
        """
        data = np.asarray(labels)
        if data.ndim != 2 or data.dtype.kind not in "iu":
            raise MasksError(f"expected an integer label map of shape (H, W), got {data.dtype} {data.shape}")
        data = np.ascontiguousarray(data, dtype=np.int32)
        n = int(data.max(initial=0)) if count is None else int(count)
        rects = _bits.find_label_rects(data, n)
        starts = _layout(rects)
        words = np.zeros(starts[-1], np.uint64)
        _bits.pack_labels(data, n, rects, starts, words)
        return cls(data.shape[0], data.shape[1], rects, starts, words)

    @classmethod
    def from_rle(cls, rles: Sequence[Rle], height: int | None = None, width: int | None = None) -> Masks:
        """Decode COCO run lengths: dicts with `size` and `counts` (str or bytes, or a list of plain runs).

        Args:
            rles: one per object, all of one size.
            height: of the frame; needed only for an empty list.
            width: likewise.

        Raises:
            MasksError: sizes differ, runs do not fill the frame, or the string is damaged.
        """
        if len(rles) == 0:
            return cls.empty(height or 0, width or 0)
        h, w = (int(v) for v in rles[0]["size"])
        if (height, width) != (None, None) and (height, width) != (h, w):
            raise MasksError(f"expected run lengths of size [{height}, {width}], got [{h}, {w}]")
        runs: list[NDArray[np.int64]] = []
        for i, rle in enumerate(rles):
            if [int(v) for v in rle["size"]] != [h, w]:
                raise MasksError(f"expected run lengths of size [{h}, {w}], got {list(rle['size'])} at row {i}")
            lengths = _runs_of(rle["counts"])
            if lengths is None or lengths.min(initial=0) < 0 or int(lengths.sum()) != h * w:
                raise MasksError(f"broken run lengths at row {i}: they do not fill {h} x {w} pixels")
            runs.append(lengths)
        rects = np.zeros((len(runs), 4), np.int32)
        for i, lengths in enumerate(runs):
            _bits.find_run_rect(lengths, h, rects[i])
        starts = _layout(rects)
        words = np.zeros(starts[-1], np.uint64)
        for i, lengths in enumerate(runs):
            _bits.pack_runs(lengths, h, rects[i], words[starts[i] : starts[i + 1]])
        return cls(h, w, rects, starts, words)

    # ------------------------------------------------------------------ ways out
    def __len__(self) -> int:
        return len(self.rects)

    def crop(self, row: int) -> NDArray[np.bool_]:
        """Mask of one object inside its crop rectangle `rects[row]`: (h, w) bool; (0, 0) for an empty mask."""
        x0, y0, x1, y1 = self.rects[row]
        out = np.zeros((y1 - y0, x1 - x0), np.bool_)
        if out.size:
            _bits.unpack(self.words[self.starts[row] : self.starts[row + 1]], self.rects[row], out)
        return out

    def to_dense(self) -> NDArray[np.bool_]:
        """Full-frame stack (N, H, W) bool. Costs N x H x W bytes; nothing in the engine calls it per frame."""
        out = np.zeros((len(self), self.height, self.width), np.bool_)
        for i, (x0, y0, x1, y1) in enumerate(self.rects):
            out[i, y0:y1, x0:x1] = self.crop(i)
        return out

    def to_label_map(self, values: ArrayLike | None = None) -> NDArray[np.int32]:
        """Paint the masks in row order into one map (H, W) int32; where two overlap the later row wins.

        Args:
            values: (N,) what to paint for each row; row + 1 by default. Background is 0.
        """
        paint = np.arange(1, len(self) + 1) if values is None else np.asarray(values)
        if len(paint) != len(self):
            raise MasksError(f"expected one value per mask ({len(self)}), got {len(paint)}")
        out = np.zeros((self.height, self.width), np.int32)
        _bits.paint(self.words, self.rects, self.starts, np.ascontiguousarray(paint, dtype=np.int32), out)
        return out

    def to_rle(self) -> list[Rle]:
        """COCO run lengths with compressed `counts` as str, equal to pycocotools' byte for byte."""
        size = [self.height, self.width]
        out: list[Rle] = []
        for i in range(len(self)):
            runs = _bits.find_runs(self.crop(i).view(np.uint8), self.rects[i], self.height, self.width)
            out.append({"size": list(size), "counts": _bits.compress(runs).tobytes().decode("ascii")})
        return out

    # ------------------------------------------------------------------ questions
    @property
    def areas(self) -> NDArray[np.int64]:
        """(N,) set pixels of each mask."""
        areas: NDArray[np.int64] = _bits.count_areas(self.words, self.starts)
        return areas

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) float32, xyxy half-open, the tight box of each mask's set pixels; zeros for an empty mask."""
        boxes: NDArray[np.int64] = _bits.find_boxes(self.words, self.rects, self.starts)
        return boxes.astype(np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.rects.nbytes + self.starts.nbytes + self.words.nbytes

    def iou(self, other: Masks) -> NDArray[np.float64]:
        """Intersection over union of every mask with every mask of `other`: (N, M) float64; two empty masks give 0.

        Raises:
            MasksError: the frames differ in size.
        """
        if (self.height, self.width) != (other.height, other.width):
            raise MasksError(
                f"expected masks of one frame size, got {self.height}x{self.width} and {other.height}x{other.width}"
            )
        iou: NDArray[np.float64] = _bits.compare(
            self.words, self.rects, self.starts, self.areas, other.words, other.rects, other.starts, other.areas
        )
        return iou

    # ------------------------------------------------------------------ new masks from old ones
    def select(self, rows: ArrayLike) -> Masks:
        """The masks of these rows, in this order; -1 gives an empty mask. A bool array of length N is a filter."""
        index = np.asarray(rows)
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        index = np.ascontiguousarray(index, dtype=np.int64).reshape(-1)
        if len(index) and (index.min() < -1 or index.max() >= len(self)):
            raise MasksError(f"expected mask rows in [-1, {len(self) - 1}], got {index.min()}..{index.max()}")
        rects = np.zeros((len(index), 4), np.int32)
        rects[index >= 0] = self.rects[index[index >= 0]]
        starts = _layout(rects)
        words = np.empty(starts[-1], np.uint64)
        _bits.gather(self.words, self.starts, index, starts, words)
        return Masks(self.height, self.width, rects, starts, words)

    @classmethod
    def join(cls, parts: Sequence[Masks]) -> Masks:
        """The masks of several values of one frame size, one after the other.

        Raises:
            MasksError: no part, or frames of different sizes.
        """
        sizes = {(part.height, part.width) for part in parts}
        if len(sizes) != 1:
            raise MasksError(f"expected masks of one frame size, got {sorted(sizes)}")
        height, width = sizes.pop()
        offsets = np.cumsum([0, *(len(part.words) for part in parts)])
        starts = [part.starts[:-1] + offset for part, offset in zip(parts, offsets, strict=False)]
        return cls(
            height, width, np.concatenate([part.rects for part in parts]),
            np.concatenate([*starts, offsets[-1:]]), np.concatenate([part.words for part in parts]),
        )  # fmt: skip

    def disjoint(self, priority: ArrayLike | None = None) -> Masks:
        """Masks without a shared pixel: each loses the pixels that a mask of higher priority has.

        Args:
            priority: (N,) higher wins, equal ones by row order; None means row order (row 0 wins). With the
                detections' scores this is TrackR-CNN's rule (`score`, spec mots-step 1.10).
        """
        n = len(self)
        order = np.arange(n) if priority is None else np.argsort(-np.asarray(priority, np.float64), kind="stable")
        if len(order) != n:
            raise MasksError(f"expected one priority per mask ({n}), got {len(order)}")
        words = self.words.copy()
        taken = np.zeros((self.height, (self.width + 63) // 64), np.uint64)
        _bits.take_free(words, self.rects, self.starts, order.astype(np.int64), taken)
        return Masks(self.height, self.width, self.rects, self.starts, words)


def label_map_overlaps(
    a: ArrayLike, b: ArrayLike, count_a: int | None = None, count_b: int | None = None
) -> NDArray[np.int64]:
    """How many pixels each object of one label map shares with each object of another: their joint histogram.

    One pass over both maps, a run of equal pixels at a time. Small dtypes are quicker: at 1080p with 50 people uint8
    takes a third of the time of int32 (`python -m bench masks`).

    Args:
        a: (H, W) integers of any dtype; value k + 1 is object k, 0 (and anything below) is background.
        b: (H, W), likewise.
        count_a: how many objects `a` has, by default its largest value; values above are background.
        count_b: likewise.

    Returns:
        (count_a + 1, count_b + 1) int64. Row and column 0 are background; [i + 1, j + 1] is what object i of `a`
        shares with object j of `b`. All sums to H * W.

    Raises:
        MasksError: not two-dimensional integer arrays, or of different shapes.
    """
    maps = [np.asarray(a), np.asarray(b)]
    for labels in maps:
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise MasksError(f"expected an integer label map of shape (H, W), got {labels.dtype} {labels.shape}")
    if maps[0].shape != maps[1].shape:
        raise MasksError(f"expected label maps of one shape, got {maps[0].shape} and {maps[1].shape}")
    given = (count_a, count_b)
    counts = [int(m.max(initial=0)) if n is None else int(n) for m, n in zip(maps, given, strict=True)]
    out = np.zeros((counts[0] + 1, counts[1] + 1), np.int64)
    if maps[0].size == 0:
        return out
    # unsigned, a negative label is larger than any that its signed dtype can count
    most = [np.uint64(min(n, int(np.iinfo(m.dtype).max))) for m, n in zip(maps, counts, strict=True)]
    size = max(m.itemsize for m in maps)
    flat = [np.ascontiguousarray(m, dtype=f"{m.dtype.kind}{size}").view(f"u{size}").reshape(-1) for m in maps]
    whole = maps[0].size - maps[0].size % (8 // size)
    words = [pixels[:whole].view(np.uint64) for pixels in flat]
    ones = np.uint64(sum(1 << shift for shift in range(0, 64, 8 * size)))
    _bits.count_overlaps(*flat, *words, ones, np.uint64((8 * size).bit_length() - 1), *most, out)
    return out


def label_map_iou(
    a: ArrayLike, b: ArrayLike, count_a: int | None = None, count_b: int | None = None
) -> NDArray[np.float64]:
    """Intersection over union of every object of one label map with every object of another.

    Takes and raises what `label_map_overlaps` does.

    Returns:
        (count_a, count_b) float64; two objects without a pixel give 0.
    """
    shared = label_map_overlaps(a, b, count_a, count_b)
    union = shared.sum(1)[1:, None] + shared.sum(0)[None, 1:] - shared[1:, 1:]
    iou: NDArray[np.float64] = shared[1:, 1:] / np.maximum(union, 1)
    return iou


def _as_bool(dense: NDArray[Any]) -> NDArray[np.bool_]:
    """What is object in masks as networks and OpenCV give them."""
    if dense.dtype == np.bool_:
        return dense
    if dense.dtype.kind not in "iu":
        raise MasksError(f"expected masks as bool or integers, got {dense.dtype}; compare scores, as masks > 0.5")
    inside: NDArray[np.bool_] = dense != 0
    most = int(dense.max(initial=0))
    if most not in (0, 1, 255) or not np.array_equal(dense == (most or 1), inside):
        low = int(dense.min(initial=0))
        raise MasksError(
            f"expected masks of 0 and 1, or of 0 and 255, got other values from {low} to {most}; "
            "Masks.from_label_map takes maps of ids"
        )
    return inside


def _as_bytes(crop: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(crop if crop.dtype == np.uint8 else crop != 0).view(np.uint8)


def _runs_of(counts: Any) -> NDArray[np.int64] | None:
    """Run lengths from a compressed string, bytes, or a plain list; None for a damaged string."""
    if isinstance(counts, str | bytes):
        data = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
        out = np.empty(max(len(data), 1), np.int64)
        n = _bits.decompress(np.frombuffer(data, np.uint8).copy(), out)
        return out[:n] if n >= 0 else None
    return np.asarray(counts, np.int64).reshape(-1)


def _layout(rects: NDArray[np.int32]) -> NDArray[np.int64]:
    """Word offsets of crops: rows times the 64-pixel columns that each one touches."""
    starts = np.zeros(len(rects) + 1, np.int64)
    across = np.where(rects[:, 2] > rects[:, 0], (rects[:, 2] - 1) // 64 - rects[:, 0] // 64 + 1, 0)
    np.cumsum(across.astype(np.int64) * (rects[:, 3] - rects[:, 1]), out=starts[1:])
    return starts
