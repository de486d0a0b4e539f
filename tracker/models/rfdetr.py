"""RF-DETR: a transformer that names its objects outright; boxes, and masks of the whole picture.

The picture is stretched to the square input. The outputs are `dets` [1, Q, 4] cx cy w h as shares of the picture,
`labels` [1, Q, C] one logit per query and class (each through its own sigmoid), and of segmenters `masks` [1, Q, h, w]
logits over the whole picture. Queries are trained to meet each object once, so there is no suppression. The columns of
`labels` are COCO's category ids, which have gaps; the card's fact `class_ids` says which column is which class, and
detections are labelled 0, 1, ... as by every other family.

Source: RF-DETR, arXiv:2511.09554; ranking of query-class pairs as in Deformable DETR, arXiv:2010.04159.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DetectionsError
from tracker.masks import Masks
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD, ImageInput, ModelCard
from tracker.models.coco import COCO_CLASSES, COCO_IDS
from tracker.models.decoding.boxes import every_class
from tracker.models.decoding.prototypes import masks_from_prototypes
from tracker.models.geometry import Placement
from tracker.models.model import Model, ModelConfig
from tracker.onnx.session import Session
from tracker.types import Detections


class RfDetr(Model):
    """RF-DETR nano to large, detection and segmentation; files of other classes than COCO's need a card."""

    family: ClassVar[str] = "rfdetr"
    tasks: ClassVar[tuple[str, ...]] = ("detect", "segment")
    assumed: ClassVar[ModelCard | None] = ModelCard(
        "rfdetr",
        "",
        COCO_CLASSES,
        image=ImageInput(mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="stretch"),
        outputs={"boxes": "dets", "logits": "labels", "masks": "masks"},
        facts={"class_ids": COCO_IDS},
    )

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        segment = card.task == "segment" or (not card.task and len(session.outputs) == 3)
        self._boxes = self.output("boxes", 3)
        self._logits = self.output("logits", 3)
        self._maps = self.output("masks", 4) if segment else None
        columns = self._logits.shape[2]
        named = len(self.card.class_names)
        self._columns = np.array(card.facts.get("class_ids", range(named or columns or 0)), np.int64)
        if self._boxes.shape[2] != 4:
            raise self.misfit("boxes [1, queries, 4]", str(self._boxes))
        if len(self._columns) == 0 or (named and named != len(self._columns)):
            raise self.misfit("one column of logits per class name", f"{len(self._columns)} for {named} names")
        if columns is not None and columns <= self._columns.max():
            raise self.misfit(f"logits of at least {self._columns.max() + 1} columns", str(self._logits))
        self._wanted = self.class_filter(len(self._columns))
        self.card = replace(self.card, task="segment" if segment else "detect")

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """Detections with masks (segmenters) in source pixels, best first; boxes outside the frame are dropped.

        A query gives its best class, or with `multi_label` every class above `min_score`; a mask is not cut at its box.

        Raises:
            DetectionsError: a score, a box or a mask value is NaN or infinite.
        """
        queries, labels, scores = self._candidates(outputs[self._logits.name][0])
        shares = np.asarray(outputs[self._boxes.name][0][queries], np.float32)
        if not (np.isfinite(scores).all() and np.isfinite(shares).all()):
            raise DetectionsError(
                "expected finite numbers from the network, got others; check its weights and precision"
            )
        half = shares[:, 2:] / 2
        corners = np.concatenate([shares[:, :2] - half, shares[:, :2] + half], axis=1)
        boxes = placement.to_source(corners * np.array(placement.network * 2, np.float32))
        inside = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
        boxes, queries = boxes[inside], queries[inside]
        masks = None
        if self._maps is not None:
            masks = _draw(np.asarray(outputs[self._maps.name][0][queries], np.float32), placement)
        return Detections(boxes, scores[inside], labels[inside], masks)

    def _candidates(self, logits: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Queries, labels and scores above the least score, best first; equal ones in the order of their queries."""
        with np.errstate(over="ignore"):  # a hopeless logit is a score of 0
            scores = np.reciprocal(1 + np.exp(-logits[:, self._columns].astype(np.float32)), dtype=np.float32)
        least = np.float32(self.config.min_score)
        if self.config.multi_label:
            queries, labels, found = every_class(scores, self._wanted, least)
        else:
            best = np.where(self._wanted, scores, np.float32(-1)).argmax(axis=1)  # a NaN is the largest of all
            top = scores[np.arange(len(scores)), best]
            queries = np.flatnonzero(~(top <= least) & self._wanted[best])
            labels, found = best[queries].astype(np.int32), top[queries]
        order = np.argsort(-found, kind="stable")[: self.config.max_detections]
        return queries[order], labels[order], found[order]


def _draw(maps: NDArray[np.float32], placement: Placement) -> Masks:
    """Masks of N maps of logits (N, h, w) over the whole input, bilinear in source pixels."""
    width, height = placement.source
    if not np.isfinite(maps).all():
        raise DetectionsError("expected finite mask values from the network, got others; check its weights")
    rects = _reach(maps, placement)
    one = np.ones((1, 1), np.float32)
    parts = [masks_from_prototypes(one, maps[i : i + 1], rects[i : i + 1], placement) for i in range(len(maps))]
    return Masks.join(parts) if parts else Masks.empty(height, width)


def _reach(maps: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """(N, 4) float32 xyxy, source pixels: what the positive cells of each map can colour; zeros where there are none.

    Between its centre and that of the next one a cell still counts, so each side reaches one cell further.
    """
    positive: NDArray[np.bool_] = np.greater(maps, 0)
    rects = np.zeros((len(maps), 4), np.float32)
    along = placement.on_map(maps.shape[2], maps.shape[1])
    for axis in (0, 1):
        scale, shift = along[2 * axis : 2 * axis + 2]
        hit: NDArray[np.bool_] = np.any(positive, axis=1 + axis)  # of columns, then of rows
        cells = hit.shape[1]
        first, last = hit.argmax(axis=1), cells - 1 - hit[:, ::-1].argmax(axis=1)
        ends = np.stack([first - 1, last + 1], axis=1)
        at = (ends - shift) / scale + 0.5
        rects[:, axis::2] = np.clip(at, 0, placement.source[axis]) * np.any(hit, axis=1)[:, None]
    return rects
