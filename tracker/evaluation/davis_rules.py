"""What is counted on DAVIS: every object of every annotated frame, one class; the tracker is not given the objects.

This is the unsupervised setting with tracking metrics on the masks; DAVIS' own J and F, which also judge contours, are
not computed here.

Source: DAVIS 2017, arXiv:1704.00675, and its unsupervised challenge, arXiv:1905.00737.
"""

from __future__ import annotations

import numpy as np

from tracker.errors import FormatError
from tracker.evaluation.overlaps import Objects, Overlaps, compare_masks
from tracker.evaluation.sequences import Sequence, Span
from tracker.formats.davis import read_frames
from tracker.formats.frame_objects import FrameObjects
from tracker.masks import Masks

CLASS = "object"
FIRST_FRAME = 0


def compare_davis(sequence: Sequence, span: Span) -> dict[str, Overlaps]:
    """The objects of the frames that count: `{"object": overlaps}`.

    Raises:
        FormatError: a frame is missing on one side, pictures differ in size or cannot be used; names the place.
    """
    folders = sequence.truth, sequence.results
    truth, results = ({frame.index: frame for frame in read_frames(folder)} for folder in folders)
    begin, end = span.resolve(max(truth) + 1, FIRST_FRAME)
    for frames, other, folder in ((results, truth, sequence.results), (truth, results, sequence.truth)):
        if missing := sorted(other.keys() - frames.keys()):
            raise FormatError(f"{folder}: frame {missing[0]} is missing")
    numbers = [number for number in sorted(truth) if begin <= number < end]
    sides = [[side[number] for number in numbers] for side in (truth, results)]
    masks = [[_masks_of(frame) for frame in side] for side in sides]
    for number, one, other_one in zip(numbers, *masks, strict=True):
        if (one.height, one.width) != (other_one.height, other_one.width):
            raise FormatError(f"{sequence.results}: the size of frame {number} is not that of the ground truth")
    objects = [_objects_of(side) for side in sides]
    return {CLASS: compare_masks(objects[0], masks[0], objects[1], masks[1])}


def _masks_of(frame: FrameObjects) -> Masks:
    assert frame.masks is not None  # DAVIS pictures are nothing but masks
    return frame.masks


def _objects_of(frames: list[FrameObjects]) -> Objects:
    starts = np.cumsum([0, *map(len, frames)])
    return Objects(starts, np.concatenate([np.zeros(0, np.int64), *(frame.ids for frame in frames)]))
