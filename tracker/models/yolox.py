"""YOLOX: an anchor-free detector whose exported head is raw.

The output [1, A, 5 + classes] has one row per cell of the strides 8, 16, 32, finest first, row by row: offset x, y in
cells, logarithm of w, h in cells, objectness and class scores (both already through their sigmoid).

Source: YOLOX, arXiv:2107.08430.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tracker.models.card import ImageInput, ModelCard
from tracker.models.decoding.boxes import best_rows, every_class, keep_boxes
from tracker.models.geometry import Placement
from tracker.models.model import Model, ModelConfig
from tracker.onnx.session import Session
from tracker.types import Detections

_STRIDES = (8, 16, 32)


class Yolox(Model):
    """YOLOX nano to x; its files carry no metadata, so the family must be named."""

    family: ClassVar[str] = "yolox"
    tasks: ClassVar[tuple[str, ...]] = ("detect",)
    assumed: ClassVar[ModelCard | None] = ModelCard(
        "yolox", "detect", image=ImageInput(colour="bgr", scale=1.0, resize="letterbox-corner")
    )

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        self._head = self.output("head", 3)
        self._cells = _cells(*self.size)
        _, anchors, channels = self._head.shape
        named = len(self.card.class_names)
        if anchors not in (len(self._cells), None) or channels is None or channels < 6:
            wanted = f"an output [1, {len(self._cells)}, 5 + classes] for its input {self.size[0]}x{self.size[1]}"
            raise self.misfit(wanted, str(self._head))
        if named and named != channels - 5:
            raise self.misfit(f"{named} classes", f"{channels - 5} from {self._head}")
        self._wanted = self.class_filter(channels - 5)

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """Detections in source pixels, best first; boxes outside the frame are dropped.

        Raises:
            DetectionsError: a score or a box is NaN or infinite.
        """
        head = np.ascontiguousarray(outputs[self._head.name][0], np.float32)
        least = np.float32(self.config.min_score)
        if self.config.multi_label:
            anchors, labels, scores = every_class(head[:, 4:5] * head[:, 5:], self._wanted, least)
        else:
            anchors, labels, scores = best_rows(head, 4, 5, self._wanted, least)
        rows, cells = head[anchors, :4], self._cells[anchors]
        centre = (rows[:, :2] + cells[:, :2]) * cells[:, 2:]
        with np.errstate(over="ignore"):  # an infinite side is refused below
            half = np.exp(rows[:, 2:]) * cells[:, 2:] / 2
        corners = np.concatenate([centre - half, centre + half], axis=1)
        kept, boxes = keep_boxes(corners, scores, labels, self.config, placement)
        return Detections(boxes, scores[kept], labels[kept])


def _cells(width: int, height: int) -> NDArray[np.float32]:
    """(A, 3) float32: column, row and stride of every cell, in the order of the head's rows."""
    out = []
    for stride in _STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        out.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(out).astype(np.float32)
