"""What KITTI's tracking benchmark counts: cars and pedestrians that can be seen, each class on its own.

Results of a class are matched with its true boxes and those of its look-alikes (vans, sitting persons). A result on a
look-alike, or on a box that is occluded (above 2) or truncated (above 0), is taken out, and so is one without a match
that is at most 25 pixels high or lies by more than half in a DontCare region.

Source: Geiger et al., "Are we ready for autonomous driving?", CVPR 2012, its development kit, and TrackEval 1.3.0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.evaluation.overlaps import EPS, Objects, Overlaps, compare_boxes
from tracker.evaluation.sequences import Sequence, Span, length_of
from tracker.formats.kitti import KittiRows, read_kitti

CLASSES = {"car": ("van",), "pedestrian": ("person", "person_sitting")}
"""Class that is evaluated -> classes on which a result is neither right nor wrong."""

FIRST_FRAME = 0
MAX_OCCLUSION, MAX_TRUNCATION = 2, 0
MIN_HEIGHT = 25.0

_REGION = "dontcare"
_INSIDE = 0.5  # share of a result's area in one DontCare region


def compare_kitti(sequence: Sequence, span: Span) -> dict[str, Overlaps]:
    """The objects that count, of the frames that count: class name -> overlaps.

    Raises:
        FormatError: a file that cannot be used; names file and line.
    """
    truth, results = read_kitti(sequence.truth), read_kitti(sequence.results)
    last_truth, last_result = (int(rows.frames.max(initial=-1)) for rows in (truth, results))
    begin, end = span.resolve(length_of(sequence, last_truth, last_result, FIRST_FRAME), FIRST_FRAME)
    return {name: prepare_kitti(truth, results, begin, end, name) for name in CLASSES}


def prepare_kitti(truth: KittiRows, results: KittiRows, begin: int, end: int, name: str) -> Overlaps:
    """Compare one class in frames [begin, end) and apply the benchmark's rules.

    Args:
        truth: ground truth, as `read_kitti` gives it; DontCare rows are its regions.
        results: likewise.
        begin: first frame, from 0.
        end: the frame after the last one.
        name: car or pedestrian.
    """
    true_types, types = (np.char.lower(np.array(rows.types, np.str_)) for rows in (truth, results))
    true_rows, objects = _of_frames(truth, begin, end, np.isin(true_types, (name, *CLASSES[name])) & (truth.ids >= 0))
    rows, judged = _of_frames(results, begin, end, (types == name) & (results.ids >= 0))
    region_rows, regions = _of_frames(truth, begin, end, true_types == _REGION)
    boxes = results.boxes[rows]

    overlaps = compare_boxes(objects, truth.boxes[true_rows], judged, boxes)
    clear = (truth.occluded[true_rows] <= MAX_OCCLUSION) & (truth.truncated[true_rows] <= MAX_TRUNCATION)
    counted = (true_types[true_rows] == name) & clear
    mates = overlaps.match()
    matched = mates >= 0
    keep = boxes[:, 3] - boxes[:, 1] > MIN_HEIGHT + EPS
    keep &= ~_find_inside(judged.starts, boxes, regions.starts, truth.boxes[region_rows], _INSIDE + EPS)
    keep[mates[matched]] = counted[matched]
    return overlaps.select(counted, keep)


def _of_frames(rows: KittiRows, begin: int, end: int, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Objects]:
    """Row numbers of what is wanted in these frames, frame after frame, and the objects they make."""
    inside = np.flatnonzero(wanted & (rows.frames >= begin) & (rows.frames < end))
    objects, order = Objects.sort(rows.frames[inside] - begin, rows.ids[inside], end - begin)
    return inside[order], objects


@kernel
def _find_inside(starts, boxes, region_starts, regions, share):  # type: ignore[no-untyped-def]
    """(M,) bool: more than `share` of the box lies in one region of its frame."""
    inside = np.zeros(len(boxes), np.bool_)
    for t in range(len(starts) - 1):
        for j in range(starts[t], starts[t + 1]):
            x0, y0, x1, y1 = boxes[j]
            area = (x1 - x0) * (y1 - y0)
            for r in range(region_starts[t], region_starts[t + 1]):
                w = min(x1, regions[r, 2]) - max(x0, regions[r, 0])
                h = min(y1, regions[r, 3]) - max(y0, regions[r, 1])
                if area > EPS and w > 0 and h > 0 and w * h / area > share:
                    inside[j] = True
    return inside
