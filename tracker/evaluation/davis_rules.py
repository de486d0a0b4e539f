"""What is counted on DAVIS: every object of every annotated frame, one class; the tracker is not given the objects.

This is the unsupervised setting, with DAVIS' own J and F and with tracking metrics on the masks. Number 255 in ground
truth is void: no object, and J and F do not see what results have there. Tracking metrics do, as in TrackEval 1.3.0.

Source: DAVIS 2017, arXiv:1704.00675, and its unsupervised challenge, arXiv:1905.00737.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import FormatError
from tracker.evaluation.overlaps import Objects, Overlaps, compare_masks
from tracker.evaluation.sequences import Sequence, Span
from tracker.formats.davis import read_frames
from tracker.masks import Masks

CLASS = "object"
FIRST_FRAME = 0
VOID = 255

_Objects = tuple[NDArray[np.int64], Masks]
"""Ids and masks of one frame."""

_NONE = np.zeros(0, np.int64)


def compare_davis(sequence: Sequence, span: Span) -> dict[str, Overlaps]:
    """The objects of the frames that count: `{"object": overlaps}`.

    Raises:
        FormatError: a frame is missing on one side, pictures differ in size or cannot be used; names the place.
    """
    return {CLASS: prepare_davis(*_load(sequence, span))}


def pair_davis(sequence: Sequence, span: Span) -> dict[str, Iterator[tuple[Any, ...]]]:
    """Frame by frame what `Jf.update` takes: `{"object": ...}`.

    Raises:
        FormatError: as `compare_davis`.
    """
    return {CLASS: pair_objects(*_load(sequence, span))}


def _load(sequence: Sequence, span: Span) -> tuple[dict[int, _Objects], dict[int, _Objects], int, int]:
    """Truth, results, and the frames [begin, end) that count."""
    truth, results = read_objects(sequence.truth), read_objects(sequence.results)
    begin, end = span.resolve(max(truth) + 1, FIRST_FRAME)
    for frames, other, folder in ((results, truth, sequence.results), (truth, results, sequence.truth)):
        if missing := sorted(other.keys() - frames.keys()):
            raise FormatError(f"{folder}: frame {missing[0]} is missing")
    for number in (number for number in truth if begin <= number < end):
        sizes = [(side[number][1].height, side[number][1].width) for side in (truth, results)]
        if sizes[0] != sizes[1]:
            raise FormatError(f"{sequence.results}: the size of frame {number} is not that of the ground truth")
    return truth, results, begin, end


def read_objects(folder: Path) -> dict[int, _Objects]:
    """Number of each annotated frame -> ids and masks of its objects, in ascending order.

    Raises:
        FormatError: pictures that cannot be used.
    """
    found = {}
    for frame in read_frames(folder):
        assert frame.masks is not None  # DAVIS pictures are nothing but masks
        found[frame.index] = frame.ids, frame.masks
    return found


def prepare_davis(truth: Mapping[int, _Objects], results: Mapping[int, _Objects], begin: int, end: int) -> Overlaps:
    """Compare the annotated frames in [begin, end); results have all of these."""
    numbers = [number for number in truth if begin <= number < end]
    sides = [[_without_void(truth[number]) for number in numbers], [results[number] for number in numbers]]
    objects = [
        Objects(np.cumsum([0, *(len(ids) for ids, _ in side)]), np.concatenate([_NONE, *(ids for ids, _ in side)]))
        for side in sides
    ]
    masks = [[masks for _, masks in side] for side in sides]
    return compare_masks(objects[0], masks[0], objects[1], masks[1])


def pair_objects(
    truth: Mapping[int, _Objects], results: Mapping[int, _Objects], begin: int, end: int
) -> Iterator[tuple[Any, ...]]:
    """What `Jf.update` takes, for each of these frames."""
    for number in (number for number in truth if begin <= number < end):
        true_ids, true_masks = truth[number]
        ids, masks = results[number]
        if len(ids) and (true_ids == VOID).any():
            void = true_masks.select(true_ids == VOID)
            masks = Masks.join([void, masks]).disjoint().select(np.arange(1, len(ids) + 1))
        yield (*_without_void(truth[number]), ids, masks)


def _without_void(objects: _Objects) -> _Objects:
    ids, masks = objects
    return ids[ids != VOID], masks.select(ids != VOID)
