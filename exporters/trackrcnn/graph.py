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

from exporters.maskrcnn.graph import Design, Detector, Found, take_masks
from exporters.maskrcnn.heads import spread, unstack
from exporters.maskrcnn.operators import pool_centred
from exporters.trackrcnn.network import TrackRcnn

STRIDE = 16
POOLED = 14  # cells per side of a region
RATIOS, SIDES = (0.5, 1.0, 2.0), (32, 64, 128, 256, 512)  # of anchors, height to width; px
AFTER = "_after"
"""What a memory's input is called, with this at its end, is the output that belongs into it for the next frame."""


@dataclass(frozen=True)
class TrackDesign(Design):
    """What is not in the weights; the defaults are the authors'."""

    size: tuple[int, int] = (1242, 375)
    candidates: int = 6000


class TrackDetector(Detector):
    """Image, extent, memory -> boxes, scores, labels, masks (N, 14, 14), proposals, embeddings (N, D), memory.

    Of `Found.maps`, the first is the map of the heads, the others are the memory for the next frame.
    """

    network: TrackRcnn
    first_level = 4
    largest_growth = math.log(1024 / 16)  # the longer side of the training images, over 16

    def __init__(self, network: TrackRcnn, design: TrackDesign) -> None:
        super().__init__(network, design)
        self.memory = network.temporal.memory(16 * network.layout.width, *self._extent())
        after = tuple(f"{name}{AFTER}" for name in self.memory)
        self.inputs = (*self.inputs, *self.memory)
        self.outputs = (*self.outputs, *(("embeddings",) if network.layout.vector else ()), *after)
        self.fixed = (*self.fixed, *after)

    def _extent(self) -> tuple[int, int]:
        """Height and width of the map."""
        width, height = self.design.size
        return map_side(height), map_side(width)

    def place_groups(self) -> list[Tensor]:
        """One group: there is one level."""
        return [spread(cell_anchors(), *self._extent(), (STRIDE, STRIDE))]

    def look(self, image: Tensor, *memory: Tensor) -> list[Tensor]:
        """The map, and the memory for the next frame."""
        return list(self.network.temporal(self.network.resnetconv4(image), *memory))

    def tell(self, found: Found) -> tuple[Tensor, ...]:
        """See `Detector`."""
        vectors = (self.embed(found),) if self.network.layout.vector else ()
        return (*super().tell(found), *vectors, *found.maps[1:])

    def weigh_places(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """See `Detector`."""
        return [unstack(*self.network.frcnn.probe(maps[0]))]

    def classify(self, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """See `Detector`."""
        logits, deltas = self.network.frcnn.judge(self.network.frcnn.summarise(self._pool(maps, boxes)))
        return logits, deltas.expand(-1, self.class_count, -1)

    def draw(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Masks (N, 14, 14) in 0..1 of boxes (N, 4), each of its label."""
        logits = self.network.frcnn.draw(self._pool(maps, boxes))
        return logits[:, 0].sigmoid() if self.network.layout.agnostic else take_masks(logits, labels - 1)

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
