"""Panoptic networks: semantic logits, a heatmap of object centres, and offsets that vote for a centre.

This is the family of the nets of STEP, and what the families of networks that remember frames build on. Every thing
pixel votes for a place, joins the nearest centre, and an instance takes the class that most of its pixels have:
`fusion` has the rules.

Source: Panoptic-DeepLab, arXiv:1911.10194, section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DetectionsError
from tracker.models.card import ModelCard
from tracker.models.decoding.fusion import Axis, Fused, Fusion, frame_axes, fuse, paint
from tracker.models.decoding.semantics import Semantics, stand_on
from tracker.models.geometry import Placement
from tracker.models.model import Model, ModelConfig
from tracker.onnx.session import Session
from tracker.types import Detections


class Maps(NamedTuple):
    """What the network says about one picture: (C, h, w) logits, (h, w) heat, (2, h, w) votes."""

    semantic: NDArray[np.float32]
    heat: NDArray[np.float32]
    offset: NDArray[np.float32]


class PanopticNet(Model):
    """Networks of the Panoptic-DeepLab kind.

    Outputs named in the card: `semantic` (1, C, h, w) logits, `heat` (1, 1, h, w) in about 0..1, `offset`
    (1, 2, h, w), (dy, dx) from a pixel to its centre in map pixels. The maps cover the whole input: edge to edge, or,
    where the card's fact `corners` is true, from the centre of its first pixel to that of its last one. Detections come
    with disjoint masks, boxes tight around them, the heat at their centre, at most 1, as score, and the `panoptic`
    picture. Instances that the user's settings leave out keep their class in the picture, with row 0.
    """

    family = "panoptic"
    tasks = ("panoptic",)

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        names, ids = self.card.class_names, self.card.thing_ids
        if not names or ids is None or any(not 0 <= i < len(names) for i in ids):
            raise self.misfit("a card with class names and the indices of its things", f"{len(names)} names and {ids}")
        self.fusion = Fusion.from_facts(self.card.facts)
        self.corners = bool(self.card.facts.get("corners", False))
        self._things = np.isin(np.arange(len(names)), ids)
        self._outputs = [self.output(meaning, 4).name for meaning in ("semantic", "heat", "offset")]
        channels = [self.session.outputs[name].shape[1] for name in self._outputs]
        if channels != [len(names), 1, 2]:
            raise self.misfit(f"{len(names)} semantic, 1 heat and 2 offset channels", f"{channels}")

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """Maps to instances and the picture of every pixel, in source pixels; best score first.

        Raises:
            DetectionsError: NaN or infinite numbers in the maps.
        """
        return self._detect(outputs, placement)[0]

    def _detect(
        self, outputs: Mapping[str, NDArray[Any]], placement: Placement
    ) -> tuple[Detections, NDArray[np.float64]]:
        """Detections, and `Fused.places` of each."""
        maps = self._maps(outputs)
        rows, columns = self._axes(placement, *maps.heat.shape)
        fused = fuse(*maps, self._things, self.fusion, rows, columns)
        keep = self._chosen(fused)
        picture = paint(fused, keep, maps.semantic, self._things, self.fusion, rows, columns)
        boxes, scores = fused.rects[keep].astype(np.float32), np.minimum(fused.scores[keep], np.float32(1))
        return Detections(boxes, scores, fused.labels[keep], fused.cut(keep), panoptic=picture), fused.places[keep]

    def _maps(self, outputs: Mapping[str, NDArray[Any]]) -> Maps:
        semantic, heat, offset = (np.ascontiguousarray(outputs[name][0], np.float32) for name in self._outputs)
        for name, values in zip(self._outputs, (semantic, heat, offset), strict=True):
            if not np.isfinite(values.sum()):
                raise DetectionsError(f"expected finite numbers in the network's output {name!r}, got NaN or infinity")
        return Maps(semantic, heat[0], offset)

    def semantics(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Semantics:
        """The logits alone, and where the frame stands on them."""
        return stand_on(self._maps(outputs).semantic, placement, corners=self.corners)

    def _axes(self, placement: Placement, height: int, width: int) -> tuple[Axis, Axis]:
        """Where the frame's rows and columns stand on maps of (height, width)."""
        return frame_axes(placement, height, width, corners=self.corners)

    def _chosen(self, fused: Fused) -> NDArray[np.int64]:
        """Instances that become detections, in their order."""
        keep = np.flatnonzero(self._kept(fused))
        return keep[np.argsort(-fused.scores[keep], kind="stable")][: self.config.max_detections]

    def _kept(self, fused: Fused) -> NDArray[np.bool_]:
        kept = (fused.areas >= max(1, self.fusion.min_area)) & (fused.scores > self.config.min_score)
        return kept if self.classes is None else kept & np.isin(fused.labels, self.classes)
