"""Operators that torch lacks: suppression, and pooling of regions from one map or from the level that fits their size.

All run as plain torch; while a graph is exported they become ONNX NonMaxSuppression and RoiAlign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporters.maskrcnn.resnet import STRIDES
from exporters.siammot.operators import roi_align

_AT_ONCE = 64  # regions that plain torch pools together, for the sake of memory


def levels_of(boxes: Tensor) -> Tensor:
    """(N,) int64 pyramid level of boxes (N, 4): 0 for P2 ... 3 for P5; 224 px a side is P4.

    Source: Feature Pyramid Networks, arXiv:1612.03144, equation 1.
    """
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    return (4 + torch.log2(side / 224) + 1e-6).floor().clamp(2, 5).long() - 2


def pool(maps: Sequence[Tensor], boxes: Tensor, size: int) -> Tensor:
    """Regions (N, 4) pooled from P2 ... P5, each from its level: (N, C, size, size).

    torchvision's `MultiScaleRoIAlign`: 2x2 samples a cell, no half-pixel shift (`aligned=False`).
    """

    def align(feature: Tensor, rows: Tensor, stride: int) -> Tensor:
        return _pool_unaligned(feature, rows, size, stride)

    return pool_by_level(maps, boxes, levels_of(boxes), align)


def pool_by_level(
    maps: Sequence[Tensor], boxes: Tensor, level: Tensor, align: Callable[[Tensor, Tensor, int], Tensor]
) -> Tensor:
    """Regions (N, C, size, size) of boxes (N, 4): `align(map, boxes, stride)` of the map of each one's level (N,)."""
    parts, rows = [], []
    for i, stride in enumerate(STRIDES):
        at = torch.nonzero(level == i)[:, 0]
        parts.append(align(maps[i], boxes[at], stride))
        rows.append(at)
    order = torch.zeros_like(level).scatter(0, torch.cat(rows), torch.arange(level.shape[0]))
    return torch.cat(parts)[order]


def _pool_unaligned(feature: Tensor, boxes: Tensor, size: int, stride: int) -> Tensor:
    if not torch.onnx.is_in_onnx_export():
        return torch.cat([roi_align(feature, part, size, stride) for part in boxes.split(_AT_ONCE)])
    far = torch.maximum(boxes[:, 2:], boxes[:, :2] + stride)  # at least a cell wide; later runtimes may clamp no more
    # `output_half_pixel` is what torchvision calls `aligned=False`; the operator's default is another one
    boxes = torch.cat([boxes[:, :2], far], 1)
    return _RoiAlign.apply(feature, boxes, int(feature.shape[1]), size, stride, 2, "output_half_pixel")


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

    Source: seamseg's pooling and TrackR-CNN's `crop_and_resize`, which agree.
    """
    if torch.onnx.is_in_onnx_export():
        return _RoiAlign.apply(feature, boxes, int(feature.shape[1]), size, stride, samples, "half_pixel")
    return torch.cat([_pool_centred(feature, part, size, stride, samples) for part in boxes.split(_AT_ONCE)])


def _pool_centred(feature: Tensor, boxes: Tensor, size: int, stride: float, samples: int) -> Tensor:
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
    def forward(
        ctx: Any, feature: Tensor, boxes: Tensor, channels: int, size: int, stride: float, samples: int, corners: str
    ) -> Tensor:
        count = boxes.numpy().shape[0]  # torch's own would be traced
        return torch.from_numpy(np.zeros((count, channels, size, size), np.float32))

    @staticmethod
    def symbolic(
        g: Any, feature: Any, boxes: Any, channels: int, size: int, stride: float, samples: int, corners: str
    ) -> Any:
        ends = (g.op("Constant", value_t=torch.tensor([i])) for i in (0, 1))
        count = g.op("Slice", g.op("Shape", boxes), *ends)
        image = g.op("ConstantOfShape", count, value_t=torch.zeros(1, dtype=torch.int64))
        out = g.op(
            "RoiAlign", feature, boxes, image,
            mode_s="avg", sampling_ratio_i=samples, output_height_i=size, output_width_i=size,
            spatial_scale_f=1 / stride, coordinate_transformation_mode_s=corners,
        )  # fmt: skip
        out.setType(feature.type().with_sizes([None, channels, size, size]))
        return out


def suppress(boxes: Tensor, scores: Tensor, max_iou: float, limit: int, min_score: float) -> Tensor:
    """Greedy non-maximum suppression within each group.

    Args:
        boxes: (G, N, 4).
        scores: (G, N); one that is not above `min_score` does not take part.
        max_iou: a box that overlaps a better one of its group by more is dropped.
        limit: boxes kept of each group.
        min_score: limit.

    Returns:
        (G, N): the scores of kept boxes, -1 elsewhere.
    """
    found = _Suppress.apply(boxes, scores[:, None], max_iou, limit, min_score)  # (n, 3): group, 0, row
    flat = scores.flatten()
    at = found[:, 0] * scores.shape[1] + found[:, 2]
    return torch.full_like(flat, -1).scatter(0, at, flat[at]).reshape(scores.shape)


class _Suppress(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, boxes: Tensor, scores: Tensor, max_iou: float, limit: int, min_score: float) -> Tensor:
        groups = zip(boxes.numpy(), scores[:, 0].numpy(), strict=True)
        rows = [[i, 0, row] for i, (b, s) in enumerate(groups) for row in _greedy(b, s, max_iou, limit, min_score)]
        return torch.from_numpy(np.array(rows, np.int64).reshape(-1, 3))

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, max_iou: float, limit: int, min_score: float) -> Any:
        numbers = (torch.tensor([limit]), torch.tensor([max_iou]), torch.tensor([min_score]))
        found = g.op("NonMaxSuppression", boxes, scores, *(g.op("Constant", value_t=n) for n in numbers))
        found.setType(boxes.type().with_dtype(torch.int64).with_sizes([None, 3]))
        return found


def _greedy(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], max_iou: float, limit: int, min_score: float
) -> list[int]:
    """Rows kept of one group, best first."""
    rows = np.flatnonzero(scores > min_score)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    near, far = boxes[rows, :2], boxes[rows, 2:]
    area = (far - near).prod(1)
    free, kept = np.ones(len(rows), np.bool_), []
    for i, row in enumerate(rows.tolist()):
        if free[i] and len(kept) < limit:
            kept.append(row)
            shared = (np.minimum(far, far[i]) - np.maximum(near, near[i])).clip(0).prod(1)
            free &= shared <= np.float32(max_iou) * (area + area[i] - shared)
    return kept
