"""MOTSNet as it is exported: a `Detector` whose rows have identity vectors of the class that each is.

Every vector is pooled from the region that the mask head sees, over the cells that the row's own mask covers, or over
the whole box (the ablation "AveBox"), and goes through the tracking head or, without it (the ablations "-TH"), is the
pooled feature itself.

Source: arXiv:1912.02096, sections 4.1 and 5.4; seamseg's thresholds and order of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from exporters.maskrcnn.graph import Design, Found
from exporters.maskrcnn.heads import BOX_WEIGHTS, are_wider, clip_boxes, decode_boxes
from exporters.maskrcnn.merged import MergedDetector, pool_centred, spread, unstack
from exporters.maskrcnn.resnet import STRIDES
from exporters.motsnet.network import POOLED, Motsnet

RATIOS = {3: (0.5, 1.0, 2.0), 5: (0.2, 0.5, 1.0, 2.0, 5.0)}
"""Of anchors, height to width, by their number; seamseg's configurations for Cityscapes and for Vistas."""

ANCHOR_SCALES = {3: 8.0, 5: 2.0}
"""Side of the square anchor in strides of its level, by the number of ratios."""

POOLINGS = ("mask", "box")
_LEAST_BOX = 1e-2  # px a side


@dataclass(frozen=True)
class MotsnetDesign(Design):
    """What is not in the weights; the defaults are seamseg's.

    Attributes:
        anchor_scale: side of the square anchor in strides of its level; None for `ANCHOR_SCALES`.
        pooling: one of `POOLINGS`, of identity vectors.
        head: identity vectors are what the tracking head makes of them.
    """

    candidates: int = 6000
    proposals: int = 300
    anchor_scale: float | None = None
    pooling: str = "mask"
    head: bool = True


class MotsnetDetector(MergedDetector):
    """Image, extent -> boxes, scores, labels, masks, proposals, and `embeddings` (N, D) of length 1 where wanted.

    There are embeddings where the network has a tracking head, or the design wants none.
    """

    design: MotsnetDesign

    def __init__(self, network: Motsnet, design: MotsnetDesign) -> None:
        ratios = torch.tensor(RATIOS[network.layout.ratios]).sqrt()
        scale = design.anchor_scale or ANCHOR_SCALES[network.layout.ratios]
        levels = []
        for i in range(4 + network.layout.extra):
            stride = 4 << i
            cells = [-(-side // stride) for side in design.padded]
            half = torch.stack([scale * stride / ratios, scale * stride * ratios], 1) / 2
            levels.append(spread(stride / 2 + torch.cat([-half, half], 1), cells[1], cells[0], stride))
        super().__init__(network, design, torch.cat(levels))
        if network.layout.tracking or not design.head:
            self.outputs = (*self.outputs, "embeddings")

    def weigh_places(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `MergedDetector`."""
        found = [unstack(*self.network.rpn_head(feature)) for feature in maps]
        return torch.cat([logits for logits, _ in found]), _turned(torch.cat([deltas for _, deltas in found]))

    def judge(
        self, maps: Sequence[Tensor], proposals: Tensor, objectness: Tensor, extent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Class probabilities (P, classes) and refined boxes (P, classes, 4)."""
        logits, deltas = self.network.roi_head.judge(pool(maps, proposals))
        boxes = clip_boxes(decode_boxes(proposals[:, None], _turned(deltas), BOX_WEIGHTS), extent)
        real = are_wider(boxes, _LEAST_BOX) & (objectness >= 0)[:, None]
        return logits.softmax(1)[:, 1:] * real, boxes

    def draw(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Masks (N, 28, 28) in 0..1 of boxes (N, 4), each of its label."""
        logits = self.network.roi_head.draw(pool(maps, boxes))
        side = 2 * POOLED
        chosen = logits.gather(1, (labels - 1)[:, None, None, None].expand(-1, 1, side, side))
        return chosen[:, 0].sigmoid()

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
    level = levels_of(boxes)
    parts, rows = [], []
    for i, stride in enumerate(STRIDES):
        at = torch.nonzero(level == i)[:, 0]
        parts.append(pool_centred(maps[i], boxes[at] + (stride - 1) / 2, POOLED, stride, 1))
        rows.append(at)
    order = torch.zeros_like(level).scatter(0, torch.cat(rows), torch.arange(level.shape[0]))
    return torch.cat(parts)[order]


def levels_of(boxes: Tensor) -> Tensor:
    """(N,) int64 level of boxes (N, 4): 0 for P2 ... 3 for P5; 224 px a side is P4."""
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0).sqrt()
    return (2 + torch.log2(side / 224 + 1e-6)).floor().clamp(0, 3).long()


def _turned(deltas: Tensor) -> Tensor:
    """Deltas dy, dx, dh, dw, as seamseg has them, as dx, dy, dw, dh."""
    return deltas[..., [1, 0, 3, 2]]
