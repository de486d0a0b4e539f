"""What the STEP benchmarks count: every pixel of every labelled frame; the metrics know about void and crowds.

Source: STEP, arXiv:2102.11859, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tracker.errors import DetectionsError, FormatError
from tracker.evaluation.segments import Segments, compare_segments
from tracker.evaluation.sequences import Sequence, Span
from tracker.formats.class_set import PANOPTIC_SETS
from tracker.formats.step import numbered_files, read_step

FIRST_FRAME = {"kitti-step": 0, "mot-step": 1}


def compare_step(sequence: Sequence, span: Span, benchmark: str) -> Iterator[Segments]:
    """The segments of one frame after the other, read as they are needed.

    Raises:
        FormatError: a frame is missing on one side, a picture cannot be used or differs in size; names the file.
    """
    truths, results = (dict(numbered_files(folder)) for folder in (sequence.truth, sequence.results))
    first_frame = FIRST_FRAME[benchmark]
    begin, end = span.resolve(max(truths) - first_frame + 1, first_frame)
    for number in sorted(truths.keys() | results.keys()):
        if begin <= number - first_frame < end or number not in truths:
            for frames, folder in ((truths, sequence.truth), (results, sequence.results)):
                if number not in frames:
                    raise FormatError(f"{folder}: frame {number} is missing")
            yield _compare_pictures(truths[number], results[number], benchmark)


def _compare_pictures(truth: Path, result: Path, benchmark: str) -> Segments:
    try:
        return compare_segments(*read_step(truth), *read_step(result), PANOPTIC_SETS[benchmark])
    except DetectionsError as error:
        raise FormatError(f"{result} against {truth}: {error}") from None
