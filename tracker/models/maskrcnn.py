"""Mask R-CNN: a box, a class and a small mask for each region; suppression is inside the graph.

The input is the picture at its upper left corner, zeros (after normalisation) beside and below it, and `extent`, its
(width, height) there. Outputs, by their meaning in the card, row i is detection i, best first, rows of score 0 are
padding:

- `boxes` [N, 4] xyxy network pixels, `scores` [N], `labels` [N] int64 as the network counts them, `masks` [N, m, m] in
  0..1 over the box;
- `proposals` [N] int64, optional: the region that a row came from;
- `embeddings` [N, D], optional: go along as `Detections.embeddings`;
- `semantic` [1, C, h, w] logits over the whole input, optional: with the masks they make the `panoptic` picture.

The card's fact `class_ids` says which label each class has (each thing class, where the card names things): COCO's
have gaps. `min_score` and `nms_iou` among the facts are what the graph itself applied.

Source: Mask R-CNN, arXiv:1703.06870, with torchvision's rules; Panoptic Segmentation, arXiv:1801.00868, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DetectionsError
from tracker.masks import Masks
from tracker.models.card import ModelCard
from tracker.models.decoding.fusion import Fusion
from tracker.models.decoding.pasting import paste_masks
from tracker.models.decoding.semantics import merge_instances, paint_stuff, stand_on
from tracker.models.geometry import Placement
from tracker.models.model import Model, ModelConfig, Prepared
from tracker.onnx.session import Session
from tracker.onnx.tensors import TensorSpec
from tracker.types import Detections, Panoptic

EXTENT = "extent"
"""Input tensor: (width, height) of the picture inside the image input, network pixels."""


class MaskRcnn(Model):
    """Mask R-CNN as `python -m exporters maskrcnn` writes it, and networks that add embeddings or a semantic head.

    `nms_iou` of the user's settings has no effect: the graph has its own. Without `multi_label` each proposal gives its
    best class only.
    """

    family: ClassVar[str] = "maskrcnn"
    tasks: ClassVar[tuple[str, ...]] = ("segment", "panoptic")

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        if EXTENT not in session.inputs:
            raise self.misfit(f"an input {EXTENT!r}", ", ".join(str(spec) for spec in session.inputs.values()))
        self._names = {meaning: self._named(meaning, rank).name for meaning, rank in _NEEDED.items()}
        for meaning, rank in _OPTIONAL.items():
            if meaning in card.outputs:
                self._names[meaning] = self._named(meaning, rank).name
        self._class_of = self._read_classes()
        self._fusion = Fusion.from_facts(card.facts)
        if "semantic" in self._names:
            channels = session.outputs[self._names["semantic"]].shape[1]
            named, ids = len(self.card.class_names), self.card.thing_ids
            if channels != named or ids is None:
                raise self.misfit(f"{channels} class names and thing ids", f"{named} names and {ids}")
        self.card = replace(self.card, task="panoptic" if "semantic" in self._names else "segment")

    def preprocess(self, image: NDArray[np.uint8]) -> Prepared:
        """Frame image (H, W, 3) uint8 BGR to input tensors.

        Raises:
            FrameError: not such an image.
        """
        tensors, placement = super().preprocess(image)
        width, height = placement.inside
        tensor = tensors[self.image_spec.name]
        tensor[:, :, height:] = 0
        tensor[:, :, :, width:] = 0
        return Prepared({**tensors, EXTENT: np.array([width, height], np.float32)}, placement)

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """Detections with masks in source pixels, best first; boxes outside the frame are dropped.

        A mask reaches as far as its box, and half a cell further, where the network says so.

        Raises:
            DetectionsError: a score, a box, an embedding, a mask or a semantic value is NaN or infinite.
        """
        given = {meaning: outputs[name] for meaning, name in self._names.items()}
        rows, classes = self._chosen(given)
        boxes, maps = given["boxes"][rows], np.ascontiguousarray(given["masks"][rows], np.float32)
        if not all(np.isfinite(numbers).all() for numbers in (given["scores"], boxes, maps)):
            raise DetectionsError(
                "expected finite numbers from the network, got others; check its weights and precision"
            )
        placed = placement.to_source(boxes)
        inside = np.flatnonzero((placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1]))
        rows, placed = rows[inside], placed[inside]
        masks = self.paste(maps[inside], placed, placement.source[1], placement.source[0])
        found = Detections(
            placed, given["scores"][rows], classes[inside], masks,
            embeddings=given["embeddings"][rows] if "embeddings" in given else None,
        )  # fmt: skip
        if "semantic" not in given:
            return found
        return replace(found, panoptic=self._merge(found, given["semantic"][0], placement))

    @property
    def gives(self) -> frozenset[str]:
        """Masks, and embeddings where the graph has them."""
        return super().gives | (self._names.keys() & {"embeddings"})

    def paste(self, maps: NDArray[np.float32], boxes: NDArray[np.float32], height: int, width: int) -> Masks:
        """See `paste_masks`; a family that cuts its masks otherwise overrides it."""
        return paste_masks(maps, boxes, height, width)

    def _chosen(self, given: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Rows that the user wants, and their classes."""
        scores, labels = given["scores"], given["labels"]
        known = (labels >= 0) & (labels < len(self._class_of))
        classes = np.where(known, self._class_of[np.where(known, labels, 0)], -1)
        wanted = (classes >= 0) & (scores > max(self.config.min_score, 0.0))
        if self.classes is not None:
            wanted &= np.isin(classes, self.classes)
        rows = np.flatnonzero(wanted)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        if "proposals" in given and not self.config.multi_label:
            _, first = np.unique(given["proposals"][rows], return_index=True)
            rows = rows[np.sort(first)]
        rows = rows[: self.config.max_detections]
        return rows, classes[rows].astype(np.int32)

    def _merge(self, found: Detections, semantic: NDArray[Any], placement: Placement) -> Panoptic:
        """Instances over stuff: the higher score keeps a pixel, thing pixels without an instance are void."""
        logits = np.ascontiguousarray(semantic, np.float32)
        if not np.isfinite(logits.sum()):
            raise DetectionsError("expected finite semantic values from the network, got NaN or infinity")
        things = np.isin(np.arange(len(logits)), self.card.thing_ids or ())
        return merge_instances(found, paint_stuff(stand_on(logits, placement), things, self._fusion))

    def _named(self, meaning: str, rank: int) -> TensorSpec:
        if meaning not in self.card.outputs:
            raise self.misfit(f"a card that names its output of {meaning}", f"{dict(self.card.outputs)}")
        return self.output(meaning, rank)

    def _read_classes(self) -> NDArray[np.int64]:
        """Class of each of the network's labels, -1 for labels that are no class."""
        things = self.card.thing_ids if self.card.thing_ids is not None else range(len(self.card.class_names))
        ids = self.card.facts.get("class_ids", [i + 1 for i in range(len(things))])
        if not things or len(ids) != len(things) or not all(isinstance(i, int) and i >= 0 for i in ids):
            raise self.misfit("a card with a label (class_ids) for each class name", f"{len(ids)} for {len(things)}")
        table = np.full(max(ids) + 1, -1, np.int64)
        table[list(ids)] = list(things)
        return table


_NEEDED = {"boxes": 2, "scores": 1, "labels": 1, "masks": 3}  # meaning -> dimensions
_OPTIONAL = {"proposals": 1, "embeddings": 2, "semantic": 4}
