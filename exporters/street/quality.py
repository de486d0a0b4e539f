"""How well a panoptic model sees rendered streets: mIoU, panoptic quality of things, recall and precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.street.matching import ious, matches, overlaps
from tracker.types import Detections

MIN_HEIGHT = 20  # source pixels; recall asks for objects that are higher ...
MIN_VISIBLE = 0.5  # ... and of which more than this share is visible


@dataclass
class Quality:
    """Counts over frames; update with each frame, read the figures at the end.

    A segment is found where an object and a detection of its class have a mask IoU above 0.5, which leaves no choice,
    as masks of one frame are disjoint. Recall counts objects that are easy enough (`MIN_HEIGHT`, `MIN_VISIBLE`).
    Precision does not count a miss on the others as an error: an unmatched detection whose pixels lie mostly on
    objects that recall does not ask for is left out. Panoptic quality leaves out nothing.
    """

    classes: int
    things: tuple[int, ...]
    confusion: NDArray[np.int64] = field(init=False)
    _iou: dict[int, list[float]] = field(init=False)
    _objects: dict[int, int] = field(init=False)
    _seen: dict[int, int] = field(init=False)
    _asked: int = 0
    _recalled: int = 0
    _wrong: int = 0

    def __post_init__(self) -> None:
        self.confusion = np.zeros((self.classes, self.classes + 1), np.int64)  # last column: void
        self._iou = {c: [] for c in self.things}
        self._objects = dict.fromkeys(self.things, 0)
        self._seen = dict.fromkeys(self.things, 0)

    def update(self, scene: Any, detections: Detections) -> None:
        """One frame: the rendered `Scene`, and what the model made of its image."""
        picture = detections.panoptic
        assert picture is not None
        predicted = np.minimum(picture.classes, self.classes).astype(np.int64)
        cells = scene.classes.astype(np.int64) * (self.classes + 1) + predicted
        self.confusion += np.bincount(cells.ravel(), minlength=self.confusion.size).reshape(self.confusion.shape)

        overlap, area, found = overlaps(scene, picture.rows, len(detections))
        iou = ious(overlap, area, found)
        match = matches(iou, scene, detections)
        heights = scene.boxes[:, 3] - scene.boxes[:, 1]
        easy = (heights > MIN_HEIGHT) & (scene.visibility > MIN_VISIBLE)
        for c in self.things:
            own = np.asarray(scene.labels) == c
            self._iou[c] += iou[own][match[own]].tolist()
            self._objects[c] += int((area[1:][own] > 0).sum())
            self._seen[c] += int((detections.labels == c).sum())
        self._asked += int(easy.sum())
        self._recalled += int(match.any(1)[easy].sum())
        excused = overlap[1:, 1:][~easy].sum(0) > 0.5 * found[1:]
        self._wrong += int((~match.any(0) & ~excused).sum())

    @property
    def miou(self) -> float:
        """Mean over the classes that occur, of pixels; void counts as wrong."""
        hits = np.diag(self.confusion[:, :-1])
        union = self.confusion.sum(1) + self.confusion[:, :-1].sum(0) - hits
        return float(np.mean(hits[union > 0] / union[union > 0]))

    @property
    def thing_quality(self) -> float:
        """Panoptic quality, mean over the thing classes that occur. Source: arXiv:1801.00868, equation 1."""
        values = []
        for c in self.things:
            hits, size = len(self._iou[c]), self._objects[c] + self._seen[c]
            if size:
                values.append(sum(self._iou[c]) / (hits + 0.5 * (size - 2 * hits)))
        return float(np.mean(values))

    @property
    def recall(self) -> float:
        """Share of the objects asked for that were found."""
        return self._recalled / max(1, self._asked)

    @property
    def precision(self) -> float:
        """Share of the detections that are right."""
        hits = sum(len(values) for values in self._iou.values())
        return hits / max(1, hits + self._wrong)

    def figures(self) -> dict[str, float]:
        """All four, rounded to what they are good for."""
        names = ("miou", "thing_quality", "recall", "precision")
        return {name: round(getattr(self, name), 3) for name in names}
