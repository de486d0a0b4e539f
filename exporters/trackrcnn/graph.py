"""TrackR-CNN as it is exported: a `Detector` with memory, whose rows have association vectors.

The image has no padding inside: maps are as large as the authors' network makes them. A row's vector is that of the
proposal it came from, not of its refined box, as in the authors' code.

Source: arXiv:1902.03604; thresholds and order of steps of the code TrackR-CNN (MIT).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from exporters.maskrcnn.graph import Design, Found
from exporters.maskrcnn.heads import BOX_WEIGHTS, are_wider, clip_boxes, decode_boxes
from exporters.maskrcnn.merged import MergedDetector, pool_centred, spread, unstack
from exporters.trackrcnn.network import TrackRcnn

STRIDE = 16
POOLED = 14  # cells per side of a region
RATIOS, SIDES = (0.5, 1.0, 2.0), (32, 64, 128, 256, 512)  # of anchors, height to width; px
AFTER = "_after"
"""What a memory's input is called, with this at its end, is the output that belongs into it for the next frame."""

_LEAST_BOX = 1e-2  # px a side


@dataclass(frozen=True)
class TrackDesign(Design):
    """What is not in the weights; the defaults are the authors'."""

    size: tuple[int, int] = (1242, 375)
    candidates: int = 6000


class TrackDetector(MergedDetector):
    """Image, extent, memory -> boxes, scores, labels, masks (N, 14, 14), proposals, embeddings (N, D), memory.

    Of `Found.maps`, the first is the map of the heads, the others are the memory for the next frame.
    """

    largest_growth = math.log(1024 / 16)  # the longer side of the training images, over 16

    def __init__(self, network: TrackRcnn, design: TrackDesign) -> None:
        height, width = (map_side(side) for side in design.size[::-1])
        super().__init__(network, design, spread(cell_anchors(), height, width, STRIDE))
        self.remembered = network.temporal.memory(16 * network.layout.width, height, width)
        self.inputs = (*self.inputs, *self.remembered)
        after = tuple(f"{name}{AFTER}" for name in self.remembered)
        self.outputs = (*self.outputs, *(("embeddings",) if network.layout.vector else ()), *after)
        self.fixed = (*self.fixed, *after)

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """See `Detector`."""
        return self.remembered

    def find(self, image: Tensor, extent: Tensor, *memory: Tensor) -> Found:
        """All stages."""
        maps = self.network.temporal(self.network.resnetconv4(image), *memory)
        proposals, objectness = self.propose(maps, extent)
        chances, class_boxes = self.judge(maps, proposals, objectness, extent)
        boxes, scores, labels, rows = self.choose(chances, class_boxes)
        masks = self.draw(maps, boxes, labels)
        return Found(list(maps), proposals, objectness, chances, class_boxes, boxes, scores, labels, rows, masks)

    def tell(self, found: Found) -> tuple[Tensor, ...]:
        """See `Detector`."""
        out: tuple[Tensor, ...] = (found.boxes, found.scores, found.labels, found.masks, found.rows)
        if self.design.features is not None:
            out = (*out, found.maps[0])
        if self.network.layout.vector:
            out = (*out, self.embed(found))
        return (*out, *found.maps[1:])

    def weigh_places(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `MergedDetector`."""
        return unstack(*self.network.frcnn.probe(maps[0]))

    def judge(
        self, maps: Sequence[Tensor], proposals: Tensor, objectness: Tensor, extent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Class probabilities (P, classes - 1) and refined boxes (P, classes - 1, 4)."""
        logits, deltas = self.network.frcnn.judge(self.network.frcnn.summarise(self._pool(maps, proposals)))
        boxes = decode_boxes(proposals[:, None], deltas, BOX_WEIGHTS, self.largest_growth)
        boxes = clip_boxes(boxes, extent).expand(-1, self.network.layout.classes - 1, -1)
        real = are_wider(boxes, _LEAST_BOX) & (objectness >= 0)[:, None]
        return logits.softmax(1)[:, 1:] * real, boxes

    def draw(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Masks (N, 14, 14) in 0..1 of boxes (N, 4), each of its label."""
        logits = self.network.frcnn.draw(self._pool(maps, boxes))
        if not self.network.layout.agnostic:
            logits = logits.gather(1, (labels - 1)[:, None, None, None].expand(-1, 1, POOLED, POOLED))
        return logits[:, 0].sigmoid()

    def embed(self, found: Found) -> Tensor:
        """Association vectors (N, D), of any length."""
        out: Tensor = self.network.frcnn.fastrcnn.reid(
            self.network.frcnn.summarise(self._pool(found.maps, found.proposals[found.rows]))
        )
        return out

    def _pool(self, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        return pool_centred(maps[0], boxes, POOLED, STRIDE, 2)


def map_side(pixels: int) -> int:
    """Cells of C4 along a side of the image."""
    first = (pixels + 5 - 7) // 2 + 1
    pooled = (first + 1 - 3) // 2 + 1
    return pooled // 4


def cell_anchors() -> Tensor:
    """(15, 4) boxes of the map's first cell, ratios before sizes; tensorpack rounds the sides of the smallest ones."""
    half = []
    for ratio in RATIOS:
        width = round(math.sqrt(STRIDE * STRIDE / ratio))
        half += [(width * side / STRIDE / 2, round(width * ratio) * side / STRIDE / 2) for side in SIDES]
    extent = torch.tensor(half)
    return STRIDE / 2 + torch.cat([-extent, extent], 1)
