"""What the MOTS benchmarks count: masks of each class on its own; what lies in an ignore region is not judged.

A result that matches no true object and has more than half of its pixels in the frame's ignore region (class 10) is
taken out.

Source: MOTS, arXiv:1902.03604, section 4, and TrackEval 1.3.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker.errors import FormatError
from tracker.evaluation.overlaps import EPS, Objects, Overlaps, compare_masks
from tracker.evaluation.sequences import Sequence, Span, length_of
from tracker.formats.mots import CAR, IGNORE, PEDESTRIAN, MotsFrame, read_mots
from tracker.formats.mots_png import read_mots_png
from tracker.formats.step import numbered_files
from tracker.masks import Masks

CLASSES = {
    "kitti-mots": {"car": CAR, "pedestrian": PEDESTRIAN},
    "mots-challenge": {"pedestrian": PEDESTRIAN},
}
"""Benchmark -> classes that it evaluates."""

FIRST_FRAME = {"kitti-mots": 0, "mots-challenge": 1}

_Pair = tuple[MotsFrame | None, MotsFrame | None, int]

_IGNORED = 0.5  # share of a result's pixels in the ignore region


def compare_mots(sequence: Sequence, span: Span, benchmark: str) -> dict[str, Overlaps]:
    """The objects that count, of the frames that count: class name -> overlaps.

    Raises:
        FormatError: a file that cannot be used, or masks of truth and results that differ in size; names the place.
    """
    truth, results, begin, end = _load(sequence, span, benchmark)
    return {name: prepare_mots(truth, results, begin, end, number) for name, number in CLASSES[benchmark].items()}


def pair_mots(sequence: Sequence, span: Span, benchmark: str) -> dict[str, Iterator[_Pair]]:
    """Frame by frame what `MotsStrict.update` takes, class by class; it applies the rules itself.

    Raises:
        FormatError: as `compare_mots`.
    """
    truth, results, begin, end = _load(sequence, span, benchmark)

    def pairs(number: int) -> Iterator[_Pair]:
        return ((truth.get(t), results.get(t), number) for t in range(begin, end))

    return {name: pairs(number) for name, number in CLASSES[benchmark].items()}


def _load(
    sequence: Sequence, span: Span, benchmark: str
) -> tuple[dict[int, MotsFrame], dict[int, MotsFrame], int, int]:
    """Truth, results, and the frames [begin, end) that count."""
    first_frame = FIRST_FRAME[benchmark]
    truth, results = (read_either(path, first_frame) for path in (sequence.truth, sequence.results))
    begin, end = span.resolve(
        length_of(sequence, max(truth, default=-1), max(results, default=-1), first_frame), first_frame
    )
    for frame in sorted(truth.keys() & results.keys()):
        sizes = [(side[frame].masks.height, side[frame].masks.width) for side in (truth, results)]
        if sizes[0] != sizes[1]:
            raise FormatError(
                f"{sequence.results}: expected masks of {sizes[0][0]} x {sizes[0][1]} pixels in frame "
                f"{frame + first_frame}, as in the ground truth, got {sizes[1][0]} x {sizes[1][1]}"
            )
    return truth, results, begin, end


def read_either(path: Path, first_frame: int) -> dict[int, MotsFrame]:
    """A MOTS text file, or a folder of MOTS pictures: frame from 0 -> its objects.

    Raises:
        FormatError: it cannot be used; names file and line.
    """
    if not path.is_dir():
        return read_mots(path, first_frame=first_frame)
    return {number - first_frame: read_mots_png(picture) for number, picture in numbered_files(path, first_frame)}


def prepare_mots(
    truth: dict[int, MotsFrame], results: dict[int, MotsFrame], begin: int, end: int, mots_class: int
) -> Overlaps:
    """Compare one class in frames [begin, end) and leave out unmatched results in ignore regions.

    Args:
        truth: frame from 0 -> its objects, as `read_mots` gives them.
        results: likewise.
        begin: first frame, from 0.
        end: the frame after the last one.
        mots_class: 1 car, 2 pedestrian.
    """
    true_masks, objects = _of_class(truth, begin, end, mots_class)
    result_masks, judged = _of_class(results, begin, end, mots_class)
    overlaps = compare_masks(objects, true_masks, judged, result_masks)
    mates = overlaps.match()
    keep = np.zeros(len(judged.ids), np.bool_)
    keep[mates[mates >= 0]] = True
    for t, masks in enumerate(result_masks):
        rows = slice(judged.starts[t], judged.starts[t + 1])
        if len(masks) and begin + t in truth:
            ignored = truth[begin + t]
            regions = ignored.masks.select(ignored.classes == IGNORE)
            keep[rows] |= share_inside(masks, regions) <= _IGNORED + EPS
        else:
            keep[rows] = True
    return overlaps.select(np.ones(len(objects.ids), np.bool_), keep)


def share_inside(masks: Masks, regions: Masks) -> NDArray[np.float64]:
    """(N,) part of each mask's pixels that lies in any of the `regions`, which share no pixel; 0 for an empty mask."""
    iou = masks.iou(regions)
    areas = masks.areas.astype(np.float64)
    pixels = np.rint(iou * (areas[:, None] + regions.areas[None, :]) / (1.0 + iou)).sum(1)
    return np.asarray(pixels / np.maximum(areas, 1.0), np.float64)


def _of_class(frames: dict[int, MotsFrame], begin: int, end: int, mots_class: int) -> tuple[list[Masks], Objects]:
    masks: list[Masks] = []
    ids: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    starts = np.zeros(end - begin + 1, np.int64)
    for t in range(end - begin):
        found = frames.get(begin + t)
        rows = np.flatnonzero(found.classes == mots_class) if found is not None else np.zeros(0, np.int64)
        masks.append(found.masks.select(rows) if found is not None else Masks.empty(0, 0))
        ids.append(found.ids[rows] if found is not None else ids[0])
        starts[t + 1] = starts[t] + len(rows)
    return masks, Objects(starts, np.concatenate(ids))
