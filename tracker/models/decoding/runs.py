"""A picture as runs: every line of it as stretches of equal numbers.

A line of street has some twenty stretches where it has two thousand pixels. What is asked about all pixels (areas,
middles, masks, the picture itself) is answered run by run, and no map of keys goes through memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker._bits import set_run
from tracker._jit import inlined, kernel

STUFF_THERE = -1
"""In the class table of `paint_runs`: the likeliest stuff class of the nearest map pixel."""


class Runs(NamedTuple):
    """Keys of a picture (H, W), from top to bottom and from left to right.

    Attributes:
        starts: (H + 1,) int64, where each line's runs begin.
        ends: (R,) int32, the column behind each run, where the next one of its line begins.
        keys: (R,) int32, a number that is not below 0; runs beside each other have different ones.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int32]
    keys: NDArray[np.int32]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return len(self.starts) - 1, int(self.ends[-1])

    def to_map(self) -> NDArray[np.int32]:
        """The keys of all pixels, (H, W)."""
        lengths = np.diff(self.ends, prepend=0)
        lengths[self.starts[:-1]] = self.ends[self.starts[:-1]]
        return np.repeat(self.keys, lengths).reshape(self.shape)


# ---------------------------------------------------------------------- kernels


@kernel
def measure_runs(runs, step, count):  # type: ignore[no-untyped-def]
    """Where the numbers of a picture are; a run's number is key // step.

    Args:
        runs: `Runs`.
        step: at least 1.
        count: of numbers; number 0 is passed over.

    Returns:
        (count, 4) float64: pixels, sum of their rows, sum of their columns, place of the first one in raster order
        (the picture's size where there is none); and (count, 4) int32 rectangles x0, y0, x1, y1, half-open, tight
        around them (zeros where there is none).
    """
    starts, ends, keys = runs
    tall = len(starts) - 1
    wide = ends[-1]
    places, rects = np.zeros((count, 4)), np.zeros((count, 4), np.int32)
    places[:, 3] = tall * wide
    for y in range(tall):
        first = 0
        for at in range(starts[y], starts[y + 1]):
            begin, end = first, ends[at]
            first = end
            if keys[at] < step:
                continue
            number = keys[at] // step
            pixels, place, rect = end - begin, places[number], rects[number]
            if place[0] == 0:
                place[3] = y * wide + begin
                rect[0], rect[1] = begin, y
            place[0] += pixels
            place[1] += pixels * y
            place[2] += 0.5 * pixels * (begin + end - 1)
            rect[0], rect[2], rect[3] = min(rect[0], begin), max(rect[2], end), y + 1
    return places, rects


@kernel
def paint_runs(runs, class_of, row_of, semantic, things, rows, columns, classes_out, rows_out):  # type: ignore[no-untyped-def]
    """Class map and row map (H, W) by tables of keys; `STUFF_THERE` is looked up at the nearest map pixel."""
    starts, ends, keys = runs
    for y in range(len(starts) - 1):
        first = 0
        for at in range(starts[y], starts[y + 1]):
            begin, end, key = first, ends[at], keys[at]
            first = end
            label, row = class_of[key], row_of[key]
            rows_out[y, begin:end] = row
            if label != STUFF_THERE:
                classes_out[y, begin:end] = label
            else:
                v = rows[0][y] + (1 if rows[1][y] > 0.5 else 0)
                for x in range(begin, end):
                    u = columns[0][x] + (1 if columns[1][x] > 0.5 else 0)
                    classes_out[y, x] = _likeliest_stuff(semantic, things, v, u)


@inlined
def _likeliest_stuff(semantic, things, v, u):  # type: ignore[no-untyped-def]
    best = -1
    for c in range(len(things)):
        if not things[c] and (best < 0 or semantic[c, v, u] > semantic[best, v, u]):
            best = c
    return best


@kernel
def cut_runs(runs, step, row_of, rects):  # type: ignore[no-untyped-def]
    """`starts` and `words` of `Masks`: one for each of `rects`, which are tight.

    Args:
        runs: `Runs`.
        step: a run's number is key // step.
        row_of: (count,) int64, 1 + the mask to which each number's pixels belong; 0 for none.
        rects: (N, 4) int32 of the masks.
    """
    line_starts, ends, keys = runs
    starts = np.zeros(len(rects) + 1, np.int64)
    across = np.zeros(len(rects), np.int64)
    for i in range(len(rects)):
        if rects[i, 2] > rects[i, 0]:
            across[i] = (rects[i, 2] - 1) // 64 - rects[i, 0] // 64 + 1
        starts[i + 1] = starts[i] + across[i] * (rects[i, 3] - rects[i, 1])
    words = np.zeros(starts[-1], np.uint64)
    for y in range(len(line_starts) - 1):
        first = 0
        for at in range(line_starts[y], line_starts[y + 1]):
            begin, end = first, ends[at]
            first = end
            if keys[at] < step:
                continue
            i = row_of[keys[at] // step] - 1
            if i >= 0:
                set_run(words, starts[i] + (y - rects[i, 1]) * across[i] - rects[i, 0] // 64, begin, end)
    return starts, words
