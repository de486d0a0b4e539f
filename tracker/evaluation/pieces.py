"""A true picture cut along a frame's detections: tracks are painted into it again and again without touching a pixel.

Which pixels a detection has does not depend on the tracker; only its id does. A frame is therefore cut once into pieces
that lie in one true segment and under the same detections. What a tracker makes of the detections, seen as a panoptic
picture, is then a matter of some hundred numbers, and the picture itself need not be kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.errors import DetectionsError
from tracker.evaluation.segments import Segments, compare_segments, split_key
from tracker.formats.class_set import ClassSet
from tracker.masks import Masks


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The pieces of one frame.

    Attributes:
        truth: (K,) int64 key of the true segment, as in `Segments`.
        pixels: (K,) int64.
        classes: (K,) int64 class that is seen where no track is painted.
        rows: (K, D) int32 rows of the detections that cover the piece, the one on top first; -1 where there are fewer.
        class_set: of the dataset.
    """

    truth: NDArray[np.int64]
    pixels: NDArray[np.int64]
    classes: NDArray[np.int64]
    rows: NDArray[np.int32]
    class_set: ClassSet

    @classmethod
    def of_picture(
        cls, truth_classes: ArrayLike, truth_ids: ArrayLike, classes: ArrayLike, rows: ArrayLike, class_set: ClassSet
    ) -> Pieces:
        """From a network's panoptic picture.

        Args:
            truth_classes: (H, W), as in `compare_segments`.
            truth_ids: (H, W), likewise.
            classes: (H, W) class numbers of the class set, its void number where nothing is said.
            rows: (H, W) k + 1 where detection k is seen, 0 elsewhere; 0 on classes that are not things.
            class_set: of the dataset.

        Raises:
            DetectionsError: as in `compare_segments`.
        """
        segments = compare_segments(truth_classes, truth_ids, classes, rows, class_set)
        seen, row = split_key(segments.results)
        return cls(segments.truth, segments.pixels, seen, (row - 1)[:, None].astype(np.int32), class_set)

    @classmethod
    def of_masks(
        cls, truth_classes: ArrayLike, truth_ids: ArrayLike, masks: Masks, scores: ArrayLike, class_set: ClassSet
    ) -> Pieces:
        """From masks, which may overlap: the higher score is on top, then the earlier row. The rest is void.

        Raises:
            DetectionsError: as in `compare_segments`; masks of another size than the truth.
        """
        stack = np.zeros((masks.height, masks.width), np.int32)  # number of what lies on a pixel, see `piles`
        piles: list[tuple[int, ...]] = [()]
        for row in np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist():
            x0, y0, x1, y1 = masks.rects[row]
            part, crop = stack[y0:y1, x0:x1], masks.crop(row)
            below, which = np.unique(part[crop], return_inverse=True)
            part[crop] = len(piles) + which.reshape(-1)
            piles += [(*piles[number], row) for number in below.tolist()]
        thing = np.full(stack.shape, class_set.things[0], np.uint8)  # of any kind, so that piles count as ids
        segments = compare_segments(truth_classes, truth_ids, thing, stack, class_set)
        rows = np.full((len(segments.pixels), max(1, *map(len, piles), 1)), -1, np.int32)
        for k, number in enumerate(split_key(segments.results)[1].tolist()):
            rows[k, : len(piles[number])] = piles[number]
        nothing = np.full(len(rows), class_set.void, np.int64)
        return cls(segments.truth, segments.pixels, nothing, rows, class_set)

    def paint(self, ids: ArrayLike, classes: ArrayLike) -> Segments:
        """What the true segments share with those of the tracks.

        Args:
            ids: (N,) for each detection the id of the track that took it; 0 if none did, or it is not to be seen.
            classes: (N,) the class number it is painted with; -1 keeps the piece's own.

        Raises:
            DetectionsError: fewer of them than detections.
        """
        id_of = np.concatenate([[0], np.asarray(ids, np.int64)])  # place k + 1 is detection k, place 0 is none
        class_of = np.concatenate([[-1], np.asarray(classes, np.int64)])
        most = int(self.rows.max(initial=-1)) + 1
        if min(len(id_of), len(class_of)) <= most:
            raise DetectionsError(f"expected ids and classes of {most} detections or more, got {len(id_of) - 1}")
        painted = id_of[self.rows + 1] > 0
        top = painted.argmax(1)
        row = np.where(painted.any(1), self.rows[np.arange(len(top)), top], -1)
        seen = class_of[row + 1]
        seen = np.where(seen < 0, self.classes, seen)
        results = seen << 32 | np.where(self.class_set.thing_table()[seen], id_of[row + 1], 0)
        return _unite(self.truth, results, self.pixels)


def _unite(truth: NDArray[np.int64], results: NDArray[np.int64], pixels: NDArray[np.int64]) -> Segments:
    """Each pair of segments once."""
    true_keys, g = np.unique(truth, return_inverse=True)
    keys, p = np.unique(results, return_inverse=True)
    pairs, of_pair = np.unique(g.reshape(-1) * len(keys) + p.reshape(-1), return_inverse=True)
    shared = np.bincount(of_pair.reshape(-1), pixels, len(pairs)).astype(np.int64)
    return Segments(true_keys[pairs // max(1, len(keys))], keys[pairs % max(1, len(keys))], shared)
