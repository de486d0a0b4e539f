"""Masks: one value type for the instance masks of a frame.

Every instance is a crop rectangle and its bits, packed into 64-bit words that stand on the image's own 64-pixel grid:
bit k of a word is pixel 64*i + k of its row. Two crops of the same frame are therefore compared word by word, without
shifting. Memory follows the crops, never N x H x W; an encoded frame of 50 people at 1080p takes about 50 kB.

The frame-sized forms (dense stack, label map) and COCO's run lengths are ways in and out, not ways to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker._jit import inlined, kernel
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
        rects = np.zeros((len(crops), 4), np.int32)
        for i, crop in enumerate(crops):
            if crop.ndim != 2:
                raise MasksError(f"expected crops of shape (h, w), got {crop.shape} at row {i}")
            x, y = places[i]
            rect = (max(x, 0), max(y, 0), min(x + crop.shape[1], width), min(y + crop.shape[0], height))
            if rect[2] > rect[0] and rect[3] > rect[1]:
                rects[i] = rect
        starts = _layout(rects)
        words = np.zeros(starts[-1], np.uint64)
        for i, crop in enumerate(crops):
            if starts[i + 1] > starts[i]:
                data = np.ascontiguousarray(crop).view(np.uint8) if crop.dtype == np.bool_ else _as_bytes(crop)
                _pack(data, places[i, 0], places[i, 1], rects[i], words[starts[i] : starts[i + 1]])
        return cls(int(height), int(width), rects, starts, words)

    @classmethod
    def from_dense(cls, stack: ArrayLike) -> Masks:
        """Pack a full-frame stack (N, H, W), bool or any number type; non-zero is object. N may be 0.

        Raises:
            MasksError: not three-dimensional.
        """
        dense = np.asarray(stack)
        if dense.ndim != 3:
            raise MasksError(f"expected masks of shape (N, H, W), got {dense.shape}")
        n, height, width = dense.shape
        if n == 0:
            return cls.empty(height, width)
        dense = np.ascontiguousarray(dense != 0)
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
        rects = _label_rects(data, n)
        starts = _layout(rects)
        words = np.zeros(starts[-1], np.uint64)
        _pack_labels(data, n, rects, starts, words)
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
            _run_rect(lengths, h, rects[i])
        starts = _layout(rects)
        words = np.zeros(starts[-1], np.uint64)
        for i, lengths in enumerate(runs):
            _pack_runs(lengths, h, rects[i], words[starts[i] : starts[i + 1]])
        return cls(h, w, rects, starts, words)

    # ------------------------------------------------------------------ ways out
    def __len__(self) -> int:
        return len(self.rects)

    def crop(self, row: int) -> NDArray[np.bool_]:
        """Mask of one object inside its crop rectangle `rects[row]`: (h, w) bool; (0, 0) for an empty mask."""
        x0, y0, x1, y1 = self.rects[row]
        out = np.zeros((y1 - y0, x1 - x0), np.bool_)
        if out.size:
            _unpack(self.words[self.starts[row] : self.starts[row + 1]], self.rects[row], out)
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
        _paint(self.words, self.rects, self.starts, np.ascontiguousarray(paint, dtype=np.int32), out)
        return out

    def to_rle(self) -> list[Rle]:
        """COCO run lengths with compressed `counts` as str, equal to pycocotools' byte for byte."""
        size = [self.height, self.width]
        out: list[Rle] = []
        for i in range(len(self)):
            runs = _runs(self.crop(i).view(np.uint8), self.rects[i], self.height, self.width)
            out.append({"size": list(size), "counts": _compress(runs).tobytes().decode("ascii")})
        return out

    # ------------------------------------------------------------------ questions
    @property
    def areas(self) -> NDArray[np.int64]:
        """(N,) set pixels of each mask."""
        return _areas(self.words, self.starts)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) float32, xyxy half-open, the tight box of each mask's set pixels; zeros for an empty mask."""
        return _tight_boxes(self.words, self.rects, self.starts).astype(np.float32)

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
        return _iou(
            self.words, self.rects, self.starts, self.areas, other.words, other.rects, other.starts, other.areas
        )

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
        _gather(self.words, self.starts, index, starts, words)
        return Masks(self.height, self.width, rects, starts, words)

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
        _take(words, self.rects, self.starts, order.astype(np.int64), taken)
        return Masks(self.height, self.width, self.rects, self.starts, words)


def _as_bytes(crop: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(crop if crop.dtype == np.uint8 else crop != 0).view(np.uint8)


def _runs_of(counts: Any) -> NDArray[np.int64] | None:
    """Run lengths from a compressed string, bytes, or a plain list; None for a damaged string."""
    if isinstance(counts, str | bytes):
        data = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
        out = np.empty(max(len(data), 1), np.int64)
        n = _decompress(np.frombuffer(data, np.uint8).copy(), out)
        return out[:n] if n >= 0 else None
    return np.asarray(counts, np.int64).reshape(-1)


def _layout(rects: NDArray[np.int32]) -> NDArray[np.int64]:
    """Word offsets of crops: rows times the 64-pixel columns that each one touches."""
    starts = np.zeros(len(rects) + 1, np.int64)
    across = np.where(rects[:, 2] > rects[:, 0], (rects[:, 2] - 1) // 64 - rects[:, 0] // 64 + 1, 0)
    np.cumsum(across.astype(np.int64) * (rects[:, 3] - rects[:, 1]), out=starts[1:])
    return starts


# ---------------------------------------------------------------------- kernels


@inlined
def _popcount(x):  # type: ignore[no-untyped-def]
    """Set bits of one word; LLVM turns these lines into its popcnt instruction."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inlined
def _across(rect):  # type: ignore[no-untyped-def]
    """Words per row of a crop."""
    return (rect[2] - 1) // 64 - rect[0] // 64 + 1 if rect[2] > rect[0] else 0


@kernel
def _pack(data, x, y, rect, words):  # type: ignore[no-untyped-def]
    """Bits of a crop whose first pixel stands at (x, y), clipped to `rect`."""
    across = _across(rect)
    first = rect[0] // 64
    for row in range(rect[1], rect[3]):
        base = (row - rect[1]) * across
        line = data[row - y]
        for column in range(rect[0], rect[2]):
            if line[column - x] != 0:
                words[base + column // 64 - first] |= np.uint64(1) << np.uint64(column & 63)


@kernel
def _unpack(words, rect, out):  # type: ignore[no-untyped-def]
    across = _across(rect)
    first = rect[0] // 64
    for row in range(out.shape[0]):
        base = row * across
        for column in range(out.shape[1]):
            x = column + rect[0]
            out[row, column] = (words[base + x // 64 - first] >> np.uint64(x & 63)) & np.uint64(1) != 0


@kernel
def _label_rects(labels, count):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    rects = np.zeros((count, 4), np.int32)
    for y in range(height):
        for x in range(width):
            k = labels[y, x] - 1
            if k < 0 or k >= count:
                continue
            r = rects[k]
            if r[2] == 0:
                r[0], r[1], r[2], r[3] = x, y, x + 1, y + 1
            else:
                r[0] = min(r[0], x)
                r[2] = max(r[2], x + 1)
                r[3] = y + 1
    return rects


@kernel
def _pack_labels(labels, count, rects, starts, words):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            k = labels[y, x] - 1
            if k < 0 or k >= count:
                continue
            r = rects[k]
            at = starts[k] + (y - r[1]) * _across(r) + x // 64 - r[0] // 64
            words[at] |= np.uint64(1) << np.uint64(x & 63)


@kernel
def _paint(words, rects, starts, values, out):  # type: ignore[no-untyped-def]
    for i in range(len(rects)):
        r = rects[i]
        across = _across(r)
        at = starts[i]
        for y in range(r[1], r[3]):
            for k in range(across):
                word = words[at]
                at += 1
                if word == 0:
                    continue
                base = (r[0] // 64 + k) * 64
                for bit in range(64):
                    if (word >> np.uint64(bit)) & np.uint64(1):
                        out[y, base + bit] = values[i]


@kernel
def _areas(words, starts):  # type: ignore[no-untyped-def]
    out = np.zeros(len(starts) - 1, np.int64)
    for i in range(len(out)):
        total = 0
        for k in range(starts[i], starts[i + 1]):
            total += _popcount(words[k])
        out[i] = total
    return out


@kernel
def _tight_boxes(words, rects, starts):  # type: ignore[no-untyped-def]
    out = np.zeros((len(rects), 4), np.int64)
    for i in range(len(rects)):
        r = rects[i]
        across = _across(r)
        x0, y0, x1, y1 = 1 << 40, 1 << 40, 0, 0
        at = starts[i]
        for y in range(r[1], r[3]):
            for k in range(across):
                word = words[at]
                at += 1
                if word == 0:
                    continue
                y0 = min(y0, y)
                y1 = y + 1
                base = (r[0] // 64 + k) * 64
                low = 0
                while not (word >> np.uint64(low)) & np.uint64(1):
                    low += 1
                high = 63
                while not (word >> np.uint64(high)) & np.uint64(1):
                    high -= 1
                x0 = min(x0, base + low)
                x1 = max(x1, base + high + 1)
        if y1 > 0:
            out[i, 0], out[i, 1], out[i, 2], out[i, 3] = x0, y0, x1, y1
    return out


@inlined
def _overlap(words_a, a, at_a, words_b, b, at_b):  # type: ignore[no-untyped-def]
    """Shared pixels of two crops."""
    y0 = max(a[1], b[1])
    y1 = min(a[3], b[3])
    if y0 >= y1 or a[0] >= b[2] or b[0] >= a[2]:
        return 0
    first_a, first_b = a[0] // 64, b[0] // 64
    across_a, across_b = _across(a), _across(b)
    k0 = max(first_a, first_b)
    k1 = min(first_a + across_a, first_b + across_b)
    total = 0
    for y in range(y0, y1):
        row_a = at_a + (y - a[1]) * across_a - first_a
        row_b = at_b + (y - b[1]) * across_b - first_b
        for k in range(k0, k1):
            total += _popcount(words_a[row_a + k] & words_b[row_b + k])
    return total


@kernel
def _iou(words_a, rects_a, starts_a, areas_a, words_b, rects_b, starts_b, areas_b):  # type: ignore[no-untyped-def]
    out = np.zeros((len(rects_a), len(rects_b)), np.float64)
    for i in range(len(rects_a)):
        for j in range(len(rects_b)):
            shared = _overlap(words_a, rects_a[i], starts_a[i], words_b, rects_b[j], starts_b[j])
            if shared:
                out[i, j] = shared / (areas_a[i] + areas_b[j] - shared)
    return out


@kernel
def _gather(words, starts, index, new_starts, out):  # type: ignore[no-untyped-def]
    for i in range(len(index)):
        if index[i] < 0:
            continue
        at = starts[index[i]]
        for k in range(new_starts[i + 1] - new_starts[i]):
            out[new_starts[i] + k] = words[at + k]


@kernel
def _take(words, rects, starts, order, taken):  # type: ignore[no-untyped-def]
    for i in order:
        r = rects[i]
        across = _across(r)
        first = r[0] // 64
        at = starts[i]
        for y in range(r[1], r[3]):
            for k in range(across):
                words[at] &= ~taken[y, first + k]
                taken[y, first + k] |= words[at]
                at += 1


@kernel
def _runs(crop, rect, height, width):  # type: ignore[no-untyped-def]
    """Alternating run lengths of a crop inside its frame, column by column, starting with background."""
    out = np.empty(2 * crop.size + 1, np.int64)
    n = 0  # out[:n] first holds where the object begins, ends, begins ... in column-major pixel order
    for column in range(crop.shape[1]):
        base = (rect[0] + column) * height + rect[1]
        for row in range(crop.shape[0]):
            if crop[row, column]:
                if n == 0 or out[n - 1] != base + row:
                    out[n] = base + row
                    n += 2
                out[n - 1] = base + row + 1
    if n == 0 or out[n - 1] != height * width:
        out[n] = height * width
        n += 1
    for i in range(n - 1, 0, -1):
        out[i] -= out[i - 1]
    return out[:n]


@kernel
def _run_rect(runs, height, rect):  # type: ignore[no-untyped-def]
    """Tight crop of a mask given by runs; untouched for an empty one."""
    at = 0
    x0, y0, x1, y1 = 1 << 40, 1 << 40, 0, 0
    for i in range(len(runs)):
        n = runs[i]
        if i & 1 and n > 0:
            first, last = at, at + n - 1
            x0 = min(x0, first // height)
            x1 = max(x1, last // height + 1)
            if first // height != last // height:
                y0, y1 = 0, height
            else:
                y0 = min(y0, first % height)
                y1 = max(y1, last % height + 1)
        at += n
    if x1 > 0:
        rect[0], rect[1], rect[2], rect[3] = x0, y0, x1, y1


@kernel
def _pack_runs(runs, height, rect, words):  # type: ignore[no-untyped-def]
    across = _across(rect)
    first = rect[0] // 64
    at = 0
    for i in range(len(runs)):
        if i & 1:
            for pixel in range(at, at + runs[i]):
                x, y = pixel // height, pixel % height
                words[(y - rect[1]) * across + x // 64 - first] |= np.uint64(1) << np.uint64(x & 63)
        at += runs[i]


@kernel
def _compress(runs):  # type: ignore[no-untyped-def]
    """COCO's string of run lengths: 5 bits a character, from the 4th run on the difference to the run two before."""
    out = np.empty(13 * len(runs), np.uint8)
    n = 0
    for i in range(len(runs)):
        x = runs[i] - runs[i - 2] if i > 2 else runs[i]
        more = True
        while more:
            c = x & 31
            x >>= 5
            more = x != -1 if c & 16 else x != 0
            out[n] = (c | 32 if more else c) + 48
            n += 1
    return out[:n]


@kernel
def _decompress(data, out):  # type: ignore[no-untyped-def]
    """Inverse of `_compress`; returns the number of runs, or -1 for a damaged string."""
    n = 0
    at = 0
    while at < len(data):
        x = 0
        shift = 0
        more = True
        while more:
            if at >= len(data) or shift > 60 or data[at] < 48 or data[at] > 111:
                return -1
            c = np.int64(data[at]) - 48
            x |= (c & 31) << shift
            more = c & 32 != 0
            at += 1
            shift += 5
            if not more and c & 16:
                x |= -1 << shift
        if n > 2:
            x += out[n - 2]
        out[n] = x
        n += 1
    return n
