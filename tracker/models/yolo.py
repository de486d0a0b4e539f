"""Ultralytics' YOLO layouts, detection and instance segmentation.

Two layouts of the first output exist; which one a file has follows from the number of its anchors, because one is
anchor-free and the other has three anchors per cell:

- "columns" (v8, v11 and their kin): [1, 4 + classes + M, A], rows cx cy w h, class scores, M mask coefficients;
- "rows" (v5): [1, 3 A, 5 + classes + M], columns cx cy w h, objectness, class scores, M coefficients;

where A is the number of cells of the strides 8, 16, 32 (and 64 for P6 nets), boxes are in network pixels and M is 0
for detectors. Segmenters have a second output [1, M, H / 4, W / 4], the prototypes. A graph that keeps only the best
anchors (`python -m exporters fuse --top`) says its layout on its card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tracker.models.card import ModelCard
from tracker.models.decoding.boxes import best_columns, best_rows, every_class, keep_boxes
from tracker.models.decoding.prototypes import masks_from_prototypes
from tracker.models.geometry import Placement
from tracker.models.model import Model, ModelConfig
from tracker.onnx.session import Session
from tracker.types import Detections


class Yolo(Model):
    """YOLO v5, v8, v11: boxes, and masks from prototypes.

    Attributes:
        head: the first output.
        rows: the layout of it is "rows", not "columns".
        class_count: how many classes it has.
    """

    family: ClassVar[str] = "yolo"
    tasks: ClassVar[tuple[str, ...]] = ("detect", "segment")
    assumed: ClassVar[ModelCard | None] = ModelCard("yolo", "")

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        if card.facts.get("nms_inside"):
            raise self.misfit("raw outputs", "an export with NMS inside; export with nms=False, end2end=False")
        segment = card.task == "segment" or (not card.task and len(session.outputs) == 2)
        self.head = self.output("head", 3)
        self._prototypes = self.output("prototypes", 4) if segment else None
        self._coefficients = 0
        if self._prototypes is not None:
            maps = self._prototypes.shape[1]
            if maps is None:
                raise self.misfit("a fixed number of prototypes", str(self._prototypes))
            self._coefficients = maps
        self.rows, self.class_count = self._layout()
        self._wanted = self.class_filter(self.class_count)
        features = {} if self._prototypes is None else {"features": self._prototypes.name}  # unless the card names one
        outputs = {**features, **self.card.outputs}
        self.card = replace(self.card, task="segment" if segment else "detect", outputs=outputs)

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """Detections with masks (segmenters) in source pixels, best first; boxes outside the frame are dropped.

        Raises:
            DetectionsError: a score, a box or a mask value is NaN or infinite.
        """
        head = np.ascontiguousarray(outputs[self.head.name][0], np.float32)
        anchors, labels, scores = self._candidates(head)
        rows = head[anchors] if self.rows else head[:, anchors].T
        half = rows[:, 2:4] / 2
        corners = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
        kept, boxes = keep_boxes(corners, scores, labels, self.config, placement)
        masks = None
        if self._prototypes is not None:
            weights = np.ascontiguousarray(rows[kept, rows.shape[1] - self._coefficients :])
            maps = np.ascontiguousarray(outputs[self._prototypes.name][0], np.float32)
            masks = masks_from_prototypes(weights, maps, boxes, placement)
        return Detections(boxes, scores[kept], labels[kept], masks)

    def _candidates(self, head: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Anchors, labels and scores above the least score."""
        wanted, least = self._wanted, np.float32(self.config.min_score)
        if self.config.multi_label:
            n = len(wanted)
            scores = head[:, 4:5] * head[:, 5 : 5 + n] if self.rows else head[4 : 4 + n].T
            return every_class(scores, wanted, least)
        found: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
        found = best_rows(head, 4, 5, wanted, least) if self.rows else best_columns(head, 4, wanted, least)
        return found

    def _layout(self) -> tuple[bool, int]:
        """Whether anchors are rows, and the number of classes; both follow from the number of anchors, or the card."""
        _, second, third = self.head.shape
        width, height = self.size
        told = self.card.facts.get("head_layout")
        cells = [-(-width // stride) * -(-height // stride) for stride in (8, 16, 32, 64)]
        totals = (sum(cells[:3]), sum(cells))
        rows = second in (3 * totals[0], 3 * totals[1]) or (second is None and third is not None)
        columns = third in totals or (third is None and second is not None)
        if told is not None:
            rows, columns = told == "rows", told == "columns"
        found = []
        if rows and third is not None:
            found.append((True, third - 5 - self._coefficients))
        if columns and second is not None:
            found.append((False, second - 4 - self._coefficients))
        named = len(self.card.class_names)
        fitting = [(layout, count) for layout, count in found if count > 0 and named in (0, count)]
        if len(fitting) == 1:
            return fitting[0]
        classes = f"{named} classes" if named else "classes"
        if not fitting and found:
            raise self.misfit(f"{classes} and {self._coefficients} mask coefficients", str(self.head))
        anchors = f"a head [1, channels, {totals[0]}] or [1, {3 * totals[0]}, channels] for its input {width}x{height}"
        ambiguous = "; both layouts fit, so name the classes (names=)" if fitting else ""
        raise self.misfit(anchors, f"{self.head}{ambiguous}")
