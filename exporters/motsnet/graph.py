"""MOTSNet as it is exported: a `Detector` whose rows have identity vectors of the class that each is.

The places of all levels compete for proposals in one suppression. A vector is pooled from the region that the mask head
sees, over the cells that the row's own mask covers, or over the whole box (the ablation "AveBox"), and goes through the
tracking head or, without it (the ablations "-TH"), is the pooled feature itself.

Source: arXiv:1912.02096, sections 4.1 and 5.4; seamseg's thresholds and order of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from exporters.maskrcnn.graph import Design, Detector, Found, take_masks
from exporters.maskrcnn.heads import spread, unstack
from exporters.maskrcnn.operators import pool_by_level, pool_centred
from exporters.motsnet.network import POOLED, Motsnet

RATIOS = {3: (0.5, 1.0, 2.0), 5: (0.2, 0.5, 1.0, 2.0, 5.0)}
"""Of anchors, height to width, by their number; seamseg's configurations for Cityscapes and for Vistas."""

ANCHOR_SCALES = {3: 8.0, 5: 2.0}
"""Side of the square anchor in strides of its level, by the number of ratios."""

POOLINGS = ("mask", "box")


@dataclass(frozen=True)
class MotsnetDesign(Design):
    """What is not in the weights; the defaults are seamseg's, and KITTI's size.

    Attributes:
        anchor_scale: side of the square anchor in strides of its level; None for `ANCHOR_SCALES`.
        pooling: one of `POOLINGS`, of identity vectors.
        head: identity vectors are what the tracking head makes of them.
    """

    size: tuple[int, int] = (1242, 375)
    candidates: int = 6000
    proposals: int = 300
    anchor_scale: float | None = None
    pooling: str = "mask"
    head: bool = True


class MotsnetDetector(Detector):
    """Image, extent -> boxes, scores, labels, masks, proposals, and `embeddings` (N, D) of length 1 where wanted.

    There are embeddings where the network has a tracking head, or the design wants none.
    """

    network: Motsnet
    design: MotsnetDesign

    def __init__(self, network: Motsnet, design: MotsnetDesign) -> None:
        super().__init__(network, design)
        if network.layout.tracking or not design.head:
            self.outputs = (*self.outputs, "embeddings")

    @property
    def class_count(self) -> int:
        """See `Detector`."""
        return self.network.layout.classes

    def place_groups(self) -> list[Tensor]:
        """One group, level by level."""
        layout = self.network.layout
        ratios = torch.tensor(RATIOS[layout.ratios]).sqrt()
        scale = self.design.anchor_scale or ANCHOR_SCALES[layout.ratios]
        levels = []
        for i in range(4 + layout.extra):
            stride = 4 << i
            width, height = (-(-side // stride) for side in self.design.padded)
            half = torch.stack([scale * stride / ratios, scale * stride * ratios], 1) / 2
            levels.append(spread(stride / 2 + torch.cat([-half, half], 1), height, width, (stride, stride)))
        return [torch.cat(levels)]

    def weigh_places(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """See `Detector`."""
        found = [unstack(*self.network.rpn_head(feature)) for feature in maps]
        return [(torch.cat([logits for logits, _ in found]), _turned(torch.cat([deltas for _, deltas in found])))]

    def classify(self, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """See `Detector`."""
        logits, deltas = self.network.roi_head.judge(pool(maps, boxes))
        return logits, _turned(deltas)

    def draw(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Masks (N, 28, 28) in 0..1 of boxes (N, 4), each of its label."""
        return take_masks(self.network.roi_head.draw(pool(maps, boxes)), labels - 1)

    def tell(self, found: Found) -> tuple[Tensor, ...]:
        """See `Detector`."""
        out = super().tell(found)
        return (*out, self.embed(found)) if "embeddings" in self.outputs else out

    def embed(self, found: Found) -> Tensor:
        """Identity vectors (N, D) of length 1."""
        cells = pool(found.maps, found.boxes)
        vectors = average(cells, found.masks) if self.design.pooling == "mask" else cells.mean((2, 3))
        if self.design.head:
            each = self.network.track_head(vectors)
            vectors = each.gather(1, (found.labels - 1)[:, None, None].expand(-1, 1, int(each.shape[2])))[:, 0]
        return functional.normalize(vectors)


def average(cells: Tensor, masks: Tensor) -> Tensor:
    """Mean of regions (N, C, 14, 14) under masks (N, 28, 28): (N, C).

    A cell counts where the mean of the mask in it is above one half. The paper does not say how masks meet cells, nor
    what a mask without one gives: here, the mean of the whole region.
    """
    covered = (functional.avg_pool2d(masks[:, None], 2) > 0.5).to(cells.dtype)  # (N, 1, 14, 14)
    covered = torch.where(covered.sum((2, 3), keepdim=True) > 0, covered, torch.ones_like(covered))
    return (cells * covered).sum((2, 3)) / covered.sum((2, 3))


def pool(maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Regions (N, C, 14, 14) of boxes (N, 4), each from the level that fits its size, one sample a cell.

    seamseg lays boxes on a map by (x - 1/2) / stride + 1/2; RoiAlign divides x alone, hence the shift.
    """

    def align(feature: Tensor, rows: Tensor, stride: int) -> Tensor:
        return pool_centred(feature, rows + (stride - 1) / 2, POOLED, stride, 1)

    return pool_by_level(maps, boxes, levels_of(boxes), align)


def levels_of(boxes: Tensor) -> Tensor:
    """(N,) int64 level of boxes (N, 4): 0 for P2 ... 3 for P5; 224 px a side is P4."""
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0).sqrt()
    return (2 + torch.log2(side / 224 + 1e-6)).floor().clamp(0, 3).long()


def _turned(deltas: Tensor) -> Tensor:
    """Deltas dy, dx, dh, dw, as seamseg has them, as dx, dy, dw, dh."""
    return deltas[..., [1, 0, 3, 2]]
