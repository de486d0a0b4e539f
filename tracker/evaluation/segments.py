"""What the segments of a true panoptic frame share with those of a result: the one pass that STQ, VPQ and PTQ need.

A segment is a class and an id; a class of stuff has one segment a frame, whatever ids its pixels carry. Class and id
stay two numbers all the way (class * 1000 + id breaks on ids from 1000, class << 16 on those from 65536).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker._jit import inlined, kernel
from tracker.errors import DetectionsError
from tracker.formats.class_set import ClassSet

_HASH = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio
_ONE = np.uint64(1)
_WORD = np.uint64(64)


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """All pairs of a true segment and a segment of the result that share pixels; void counts as a segment.

    Every pixel is in exactly one pair, so sums over pairs give the areas.

    Attributes:
        truth: (K,) int64 key of the true segment: class << 32 | id, id 0 for stuff.
        results: (K,) int64 key of the result's segment.
        pixels: (K,) int64 how many pixels they share, > 0.
    """

    truth: NDArray[np.int64]
    results: NDArray[np.int64]
    pixels: NDArray[np.int64]


def split_key(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Class and id of segment keys."""
    return keys >> 32, keys & 0xFFFFFFFF


def compare_segments(
    truth_classes: ArrayLike, truth_ids: ArrayLike, classes: ArrayLike, ids: ArrayLike, class_set: ClassSet
) -> Segments:
    """Compare one frame.

    Args:
        truth_classes: (H, W) integers, class numbers or the void number of the class set.
        truth_ids: (H, W) integers, ids of things from 1; 0 on thing pixels is a crowd. Ids of stuff do not matter.
        classes: (H, W) likewise, of the result.
        ids: (H, W) likewise.
        class_set: of the dataset. uint8 classes and int32 ids need no conversion.

    Returns:
        The pairs, in the order in which their first pixels stand. An image without pixels gives none.

    Raises:
        DetectionsError: maps of different shapes or not integers, an unknown class, an id below 0 or over 2**31 - 1.
    """
    maps = [
        _as_map("class numbers of the truth", truth_classes, np.uint8),
        _as_map("ids of the truth", truth_ids, np.int32),
        _as_map("class numbers of the result", classes, np.uint8),
        _as_map("ids of the result", ids, np.int32),
    ]
    shapes = [pixels.shape for pixels in maps]
    if len(set(shapes)) != 1:
        raise DetectionsError(f"expected truth and result of one size, got {shapes[0]}, {shapes[1]} and {shapes[2:]}")
    if maps[0].size == 0:
        none = np.zeros(0, np.int64)
        return Segments(none, none, none)
    flat = [pixels.reshape(-1) for pixels in maps]
    starts = np.flatnonzero(_find_changes(*flat))
    out = Segments(*_count_pairs(starts, *flat, class_set.thing_table()))
    _check_keys("truth", out.truth, class_set)
    _check_keys("result", out.results, class_set)
    return out


def _as_map(what: str, values: ArrayLike, dtype: type[np.integer[Any]]) -> NDArray[Any]:
    given = np.asarray(values)
    if given.ndim != 2 or given.dtype.kind not in "iu":
        raise DetectionsError(f"expected {what} as integers of shape (H, W), got {given.dtype} {given.shape}")
    limits = np.iinfo(dtype)
    if not np.can_cast(given.dtype, dtype) and given.size and (given.min() < 0 or given.max() > limits.max):
        raise DetectionsError(f"expected {what} from 0 to {limits.max}, got {given.min()} to {given.max()}")
    return np.ascontiguousarray(given, dtype)


def _check_keys(side: str, keys: NDArray[np.int64], class_set: ClassSet) -> None:
    if len(keys) and keys.min() < 0:
        raise DetectionsError(f"expected ids of things from 0 in the {side}, got a negative one")
    classes, _ = split_key(keys)
    if len(wrong := classes[(classes >= len(class_set.names)) & (classes != class_set.void)]):
        last = len(class_set.names) - 1
        raise DetectionsError(
            f"expected class numbers 0 to {last}, or {class_set.void} for void, in the {side}, got {wrong[0]}"
        )


@kernel
def _find_changes(a, b, c, d):  # type: ignore[no-untyped-def]
    """True where a pixel differs from the one before it in any of four maps, and at the first one."""
    out = np.empty(len(a), np.bool_)
    out[0] = True
    for k in range(1, len(a)):
        out[k] = (a[k] != a[k - 1]) | (b[k] != b[k - 1]) | (c[k] != c[k - 1]) | (d[k] != d[k - 1])
    return out


@inlined
def _slot(first, second, keys, others, used, shift):  # type: ignore[no-untyped-def]
    """Where a pair stands in an open hash table, or the free place that it should take."""
    mixed = (np.uint64(first) * _HASH ^ np.uint64(second)) * _HASH
    slot = np.int64(mixed >> shift)
    last = len(used) - 1
    while used[slot] > 0 and (keys[slot] != first or others[slot] != second):
        slot = (slot + 1) & last
    return slot


@kernel
def _count_pairs(starts, truth_classes, truth_ids, classes, ids, is_thing):  # type: ignore[no-untyped-def]
    """Pixels of every pair of segments, from runs of pixels that are equal in all four maps."""
    bits = np.uint64(4)
    while _ONE << bits < np.uint64(2 * len(starts)):  # there are no more pairs than runs
        bits += _ONE
    size = np.int64(_ONE << bits)
    used = np.zeros(size, np.int64)  # pixels; 0 is a free place
    keys, others = np.empty(size, np.int64), np.empty(size, np.int64)
    order = np.empty(len(starts), np.int64)
    found = 0
    for k in range(len(starts)):
        at = starts[k]
        end = starts[k + 1] if k + 1 < len(starts) else len(classes)
        true_class, result_class = np.int64(truth_classes[at]), np.int64(classes[at])
        first, second = true_class << 32, result_class << 32
        if is_thing[true_class]:
            first |= np.int64(truth_ids[at])
        if is_thing[result_class]:
            second |= np.int64(ids[at])
        slot = _slot(first, second, keys, others, used, _WORD - bits)
        if used[slot] == 0:
            keys[slot], others[slot] = first, second
            order[found] = slot
            found += 1
        used[slot] += end - at
    order = order[:found]
    return keys[order], others[order], used[order]
