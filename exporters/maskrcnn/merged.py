"""What MOTSNet and TrackR-CNN share and torchvision's Mask R-CNN has not.

The places of all levels compete for proposals in one suppression, and regions are pooled with half-pixel centres: the
value of a cell stands in its middle.

Source: seamseg (`ProposalGenerator`) and TrackR-CNN (`generate_rpn_proposals`, `crop_and_resize`), which agree on both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exporters.maskrcnn.graph import Design, Detector
from exporters.maskrcnn.heads import LARGEST_GROWTH, are_wider, clip_boxes, decode_boxes
from exporters.maskrcnn.operators import suppress

_AT_ONCE = 64  # regions that plain torch pools together, for the sake of memory
_LEAST_PROPOSAL = 1e-3  # px a side


class MergedDetector(Detector):
    """A `Detector` whose levels compete together for proposals.

    Args:
        network: its weights.
        design: `candidates` are those of all levels together.
        anchors: (A, 4) boxes of all places, level by level.
    """

    largest_growth = LARGEST_GROWTH
    """Logarithm of the largest factor by which a box becomes wider or higher."""

    def __init__(self, network: Any, design: Design, anchors: Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.network, self.design = network, design
        self.register_buffer("anchors", anchors, persistent=False)
        if design.features is not None:
            self.outputs = (*self.outputs, "features")

    @abstractmethod
    def weigh_places(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Objectness logits (A,) and box deltas (A, 4) of all places, in the order of the anchors."""

    def propose(self, maps: Sequence[Tensor], extent: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals (P, 4) and their objectness (P,), -1 where there are no more."""
        logits, deltas = self.weigh_places(maps)
        best, rows = logits.topk(min(self.design.candidates, int(logits.shape[0])))
        boxes = decode_boxes(self.anchors[rows], deltas[rows], largest_growth=self.largest_growth)
        boxes = clip_boxes(boxes, extent)
        scores = torch.where(are_wider(boxes, _LEAST_PROPOSAL), best.sigmoid(), torch.full_like(best, -1))
        count = min(self.design.proposals, int(scores.shape[0]))
        kept = suppress(boxes[None], scores[None], self.design.proposal_nms, count, -0.5)[0]
        objectness, rows = kept.topk(count)
        return boxes[rows], objectness


def pool_centred(feature: Tensor, boxes: Tensor, size: int, stride: float, samples: int) -> Tensor:
    """Mean of samples x samples bilinear values in each of size x size cells of every region.

    Cell 0 of the map covers 0 ... stride px, with its value in the middle. A sample more than one cell outside the
    map is zero.

    Args:
        feature: (1, C, h, w).
        boxes: (N, 4) network pixels.
        size: cells per side.
        stride: network pixels per cell of the map.
        samples: per side of a cell.

    Returns:
        (N, C, size, size).
    """
    if torch.onnx.is_in_onnx_export():
        return _RoiAlign.apply(feature, boxes, int(feature.shape[1]), size, stride, samples)
    return torch.cat([_pool(feature, part, size, stride, samples) for part in boxes.split(_AT_ONCE)])


def _pool(feature: Tensor, boxes: Tensor, size: int, stride: float, samples: int) -> Tensor:
    if len(boxes) == 0:
        return feature.new_zeros(0, int(feature.shape[1]), size, size)
    last = torch.tensor([feature.shape[3] - 1, feature.shape[2] - 1], dtype=feature.dtype)
    near, extent = boxes[:, None, :2] / stride - 0.5, (boxes[:, None, 2:] - boxes[:, None, :2]) / stride
    steps = (torch.arange(samples * size) + 0.5) / (samples * size)
    at = near + steps[:, None] * extent  # (N, samples * size, 2), x and y
    inside = ((at >= -1) & (at <= last + 1)).to(feature.dtype)
    at = torch.minimum(at.clamp(min=0), last)
    low = at.floor()
    right, down = (at - low).unbind(2)
    x0, y0 = low.long().unbind(2)
    x1, y1 = torch.minimum(low + 1, last).long().unbind(2)
    columns = feature[0].new_zeros(len(boxes), samples * size, int(feature.shape[3]))
    rows = feature[0].new_zeros(len(boxes), samples * size, int(feature.shape[2]))
    for weights, first, second, share, seen in ((columns, x0, x1, right, 0), (rows, y0, y1, down, 1)):
        weights.scatter_add_(2, first[:, :, None], ((1 - share) * inside[:, :, seen])[:, :, None])
        weights.scatter_add_(2, second[:, :, None], (share * inside[:, :, seen])[:, :, None])
    columns, rows = (weights.unflatten(1, (size, samples)).mean(2) for weights in (columns, rows))
    return torch.einsum("nyh,chw,nxw->ncyx", rows, feature[0], columns)


class _RoiAlign(torch.autograd.Function):
    """Stands for the ONNX operator while a graph is traced; nobody looks at its values."""

    @staticmethod
    def forward(ctx: Any, feature: Tensor, boxes: Tensor, channels: int, size: int, stride: float, n: int) -> Tensor:
        count = boxes.numpy().shape[0]  # torch's own would be traced
        return torch.from_numpy(np.zeros((count, channels, size, size), np.float32))

    @staticmethod
    def symbolic(g: Any, feature: Any, boxes: Any, channels: int, size: int, stride: float, n: int) -> Any:
        ends = (g.op("Constant", value_t=torch.tensor([i])) for i in (0, 1))
        count = g.op("Slice", g.op("Shape", boxes), *ends)
        image = g.op("ConstantOfShape", count, value_t=torch.zeros(1, dtype=torch.int64))
        out = g.op(
            "RoiAlign", feature, boxes, image,
            mode_s="avg", sampling_ratio_i=n, output_height_i=size, output_width_i=size, spatial_scale_f=1 / stride,
            coordinate_transformation_mode_s="half_pixel",
        )  # fmt: skip
        out.setType(feature.type().with_sizes([None, channels, size, size]))
        return out


def unstack(logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
    """A level's logits (1, K, h, w) and deltas (1, 4K, h, w) as (h * w * K,) and (h * w * K, 4), rows first."""
    kinds = int(logits.shape[1])
    flat = deltas[0].unflatten(0, (kinds, 4)).permute(2, 3, 0, 1).reshape(-1, 4)
    return logits[0].permute(1, 2, 0).flatten(), flat


def spread(cell: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Anchors (height * width * K, 4) of a level from those of its first cell (K, 4), rows first."""
    y, x = torch.meshgrid(torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij")
    return (torch.stack([x, y, x, y], -1)[:, :, None] + cell).reshape(-1, 4)
