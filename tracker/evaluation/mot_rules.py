"""What MOTChallenge counts: pedestrians that are marked to be evaluated.

MOT16, MOT17 and MOT20: results are first matched with all true boxes of the frame, whatever their class; those that
fall on a distractor (somebody on a vehicle, a statue, a reflection ...) are taken out. Then only pedestrians with a
flag other than 0 remain. MOT15 has no classes: true boxes with flag 0 are left out, nothing else.

Source: MOT16, arXiv:1603.00831, section 4, and TrackEval 1.3.0.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tracker.evaluation.overlaps import Objects, Overlaps, compare_boxes
from tracker.evaluation.sequences import Sequence, Span, length_of
from tracker.formats.mot import MotRows, read_mot
from tracker.formats.rows import fail, lines_of

FIRST_FRAME = 1
PEDESTRIAN = 1
DISTRACTORS = {"mot15": (), "mot16": (2, 7, 8, 12), "mot17": (2, 7, 8, 12), "mot20": (2, 6, 7, 8, 12)}
"""Benchmark -> classes on which a result is neither right nor wrong."""

_CLASSES = range(1, 14)


def compare_mot(sequence: Sequence, span: Span, benchmark: str) -> dict[str, Overlaps]:
    """The objects that count, of the frames that count: `{"pedestrian": overlaps}`.

    Raises:
        FormatError: a file that cannot be used; names file and line.
    """
    truth, results = read_mot(sequence.truth), read_mot(sequence.results)
    check_truth(truth, sequence.truth, benchmark)
    check_results(results, sequence.results)
    last_truth, last_result = (int(rows.frames.max(initial=-1)) for rows in (truth, results))
    begin, end = span.resolve(length_of(sequence, last_truth, last_result, FIRST_FRAME), FIRST_FRAME)
    return {"pedestrian": prepare_mot(truth, results, begin, end, benchmark)}


def prepare_mot(truth: MotRows, results: MotRows, begin: int, end: int, benchmark: str) -> Overlaps:
    """Compare frames [begin, end) and apply the benchmark's rules.

    Args:
        truth: ground truth, as `read_mot` gives it.
        results: likewise; ids from 1.
        begin: first frame, from 0.
        end: the frame after the last one.
        benchmark: mot15, mot16, mot17 or mot20.
    """
    true_rows, objects = _of_frames(truth, begin, end)
    result_rows, judged = _of_frames(results, begin, end)
    overlaps = compare_boxes(objects, truth.boxes[true_rows], judged, results.boxes[result_rows])
    counted = np.trunc(truth.scores[true_rows]) != 0
    keep = np.ones(len(result_rows), np.bool_)
    if benchmark != "mot15":
        classes = truth.rest[true_rows, 0]
        counted &= classes == PEDESTRIAN
        mates = overlaps.match()
        keep[mates[(mates >= 0) & np.isin(classes, DISTRACTORS[benchmark])]] = False
    return overlaps.select(counted, keep)


def check_truth(truth: MotRows, path: Path, benchmark: str) -> None:
    """Ground truth has classes 1 to 13, except in MOT15, where the column means something else.

    Raises:
        FormatError: names file and line.
    """
    if benchmark != "mot15":
        classes = truth.rest[:, 0]
        hint = "; MOT15 files have no classes: --format mot15"
        _refuse(path, ~np.isin(classes, _CLASSES), classes, "class 1 to 13 in column 8 of ground truth", hint)
    _refuse(path, truth.ids < 1, truth.ids, "an id from 1 in ground truth")


def check_results(results: MotRows, path: Path) -> None:
    """Results have ids, and no other class than pedestrians.

    Raises:
        FormatError: names file and line.
    """
    classes = results.rest[:, 0]
    _refuse(path, results.ids < 1, results.ids, "an id from 1; this is a file of detections, not of tracks")
    _refuse(path, classes > PEDESTRIAN, classes, "results of class 1 (or -1) only, for pedestrians are evaluated")


def _of_frames(rows: MotRows, begin: int, end: int) -> tuple[NDArray[np.int64], Objects]:
    """Row numbers of these frames, frame after frame, and the objects they make."""
    inside = np.flatnonzero((rows.frames >= begin) & (rows.frames < end))
    objects, order = Objects.sort(rows.frames[inside] - begin, rows.ids[inside], end - begin)
    return inside[order], objects


def _refuse(
    path: Path, wrong: NDArray[np.bool_], values: NDArray[np.float64] | NDArray[np.int64], wanted: str, hint: str = ""
) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        _fail_at(path, row, f"expected {wanted}, got {values[row]:g}{hint}")


def _fail_at(path: Path, row: int, reason: str) -> NoReturn:
    """Point at the line of a row; only a file that is wrong is read again."""
    line, _ = next(itertools.islice(lines_of(path), row, None))
    fail(path, line, reason)
