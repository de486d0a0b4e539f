"""Operators that torch lacks: suppression, and pooling of regions from the level that fits their size.

Both run as plain torch; while a graph is exported they become ONNX NonMaxSuppression and RoiAlign.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    level = levels_of(boxes)
    parts, rows = [], []
    for i, stride in enumerate(STRIDES):
        at = torch.nonzero(level == i)[:, 0]
        parts.append(_align(maps[i], boxes[at], size, stride))
        rows.append(at)
    sorted_rows = torch.cat(rows)
    order = torch.zeros_like(level).scatter(0, sorted_rows, torch.arange(level.shape[0]))
    return torch.cat(parts)[order]


def _align(feature: Tensor, boxes: Tensor, size: int, stride: int) -> Tensor:
    if not torch.onnx.is_in_onnx_export():
        return torch.cat([roi_align(feature, part, size, stride) for part in boxes.split(_AT_ONCE)])
    far = torch.maximum(boxes[:, 2:], boxes[:, :2] + stride)  # at least a cell wide; later runtimes may clamp no more
    return _RoiAlign.apply(feature, torch.cat([boxes[:, :2], far], 1), int(feature.shape[1]), size, stride)


class _RoiAlign(torch.autograd.Function):
    """Stands for the ONNX operator while a graph is traced; nobody looks at its values."""

    @staticmethod
    def forward(ctx: Any, feature: Tensor, boxes: Tensor, channels: int, size: int, stride: int) -> Tensor:
        count = boxes.numpy().shape[0]  # torch's own would be traced
        return torch.from_numpy(np.zeros((count, channels, size, size), np.float32))

    @staticmethod
    def symbolic(g: Any, feature: Any, boxes: Any, channels: int, size: int, stride: int) -> Any:
        """`output_half_pixel` is what torchvision calls `aligned=False`; the operator's default is another one."""
        ends = (g.op("Constant", value_t=torch.tensor([i])) for i in (0, 1))
        count = g.op("Slice", g.op("Shape", boxes), *ends)
        image = g.op("ConstantOfShape", count, value_t=torch.zeros(1, dtype=torch.int64))
        out = g.op(
            "RoiAlign", feature, boxes, image,
            mode_s="avg", sampling_ratio_i=2, output_height_i=size, output_width_i=size, spatial_scale_f=1 / stride,
            coordinate_transformation_mode_s="output_half_pixel",
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
