"""Operators that torch lacks or cannot export: region pooling, and correlation of targets with their own templates.

Both run as plain torch, with gradients; while a graph is exported they become ONNX RoiAlign, and a node of our own
that `unroll_correlation` replaces afterwards.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

DOMAIN, CORRELATION = "trackstream", "CrossCorrelate"


def roi_align(feature: Tensor, rois: Tensor, size: int, stride: int) -> Tensor:
    """Mean of 2x2 bilinear samples in each of size x size cells of every region.

    No half-pixel shift; regions are at least one cell of the map wide; a sample more than one cell outside the map
    is zero.

    Args:
        feature: (1, C, H, W).
        rois: (N, 4) xyxy, network pixels.
        size: cells per side.
        stride: network pixels per cell of `feature`.

    Returns:
        (N, C, size, size).

    Source: Mask R-CNN, arXiv:1703.06870; the legacy convention of maskrcnn-benchmark (`spec/siammot.md` 1.5).
    """
    near = rois[:, :2]
    rois = torch.cat([near, torch.maximum(rois[:, 2:], near + stride)], 1)  # later runtimes may clamp no more
    if torch.onnx.is_in_onnx_export():
        return _RoiAlign.apply(feature, rois, size, stride)
    return _roi_align(feature, rois, size, stride)


def _roi_align(feature: Tensor, rois: Tensor, size: int, stride: int) -> Tensor:
    n, (channels, height, width) = len(rois), feature.shape[1:]
    if n == 0:
        return feature.new_zeros(0, channels, size, size)
    near, extent = rois[:, None, :2] / stride, (rois[:, None, 2:] - rois[:, None, :2]) / stride
    steps = (torch.arange(2 * size, dtype=feature.dtype, device=feature.device) + 0.5) / (2 * size)
    at = near + steps[:, None] * extent  # (N, 2 size, 2), x and y
    last = feature.new_tensor([width - 1, height - 1])
    inside = ((at >= -1) & (at <= last + 1)).to(feature.dtype)
    x, y = (2 * at / last.clamp(min=1) - 1).unbind(2)  # as grid_sample counts; its gradients are fast
    shape = (n, 2 * size, 2 * size)
    grid = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], 3).flatten(0, 1)[None]
    samples = functional.grid_sample(feature, grid, padding_mode="border", align_corners=True)
    samples = samples.unflatten(2, (n, 2 * size))[0] * inside[:, None, :, 0] * inside[:, :, None, 1]
    return functional.avg_pool2d(samples.transpose(0, 1), 2)


class _RoiAlign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feature: Tensor, rois: Tensor, size: int, stride: int) -> Tensor:
        return _roi_align(feature, rois, size, stride)

    @staticmethod
    def symbolic(g: Any, feature: Any, rois: Any, size: int, stride: int) -> Any:
        """`output_half_pixel` is the legacy convention; the operator's default is another one."""
        count = g.op("Slice", g.op("Shape", rois), _ints(g, [0]), _ints(g, [1]))
        image = g.op("ConstantOfShape", count, value_t=torch.zeros(1, dtype=torch.int64))
        return g.op(
            "RoiAlign", feature, rois, image,
            mode_s="avg", sampling_ratio_i=2, output_height_i=size, output_width_i=size, spatial_scale_f=1 / stride,
            coordinate_transformation_mode_s="output_half_pixel",
        )  # fmt: skip


def cross_correlate(search: Tensor, template: Tensor) -> Tensor:
    """Correlate every channel of every target with the same channel of its own template.

    Args:
        search: (N, C, S, S).
        template: (N, C, T, T).

    Returns:
        (N, C, S - T + 1, S - T + 1).
    """
    if torch.onnx.is_in_onnx_export():
        channels, side = int(search.shape[1]), int(search.shape[-1]) - int(template.shape[-1]) + 1
        return _CrossCorrelate.apply(search, template, channels, side)
    return _cross_correlate(search, template)


def _cross_correlate(search: Tensor, template: Tensor) -> Tensor:
    n, c, side, _ = search.shape
    size = template.shape[-1]
    out = side - size + 1
    if n == 0:
        return search.new_zeros(0, c, out, out)
    x, z = search.reshape(1, n * c, side, side), template.reshape(n * c, 1, size, size)
    return functional.conv2d(x, z, groups=n * c).reshape(n, c, out, out)


class _CrossCorrelate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, search: Tensor, template: Tensor, channels: int, side: int) -> Tensor:
        return _cross_correlate(search, template)

    @staticmethod
    def symbolic(g: Any, search: Any, template: Any, channels: int, side: int) -> Any:
        out = g.op(f"{DOMAIN}::{CORRELATION}", search, template)
        out.setType(search.type().with_sizes([None, channels, side, side]))
        return out


def _ints(g: Any, values: list[int]) -> Any:
    return g.op("Constant", value_t=torch.tensor(values, dtype=torch.int64))


def unroll_correlation(model: Any, channels: int, response: int, *, half: bool = False) -> None:
    """Replace the correlation node by what ONNX has: a Scan over targets, each a convolution in groups.

    ONNX fixes the number of groups, so one convolution over all targets cannot have a free number of them; and
    ONNX Runtime's Scan fails on zero targets, so an If goes around it.

    Args:
        model: onnx.ModelProto, changed in place; must hold exactly one such node.
        channels: C.
        response: side of the correlation's output.
        half: its numbers are float16.

    Raises:
        ValueError: no such node, or several.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    found = [(i, node) for i, node in enumerate(graph.node) if node.domain == DOMAIN]
    if len(found) != 1:
        raise ValueError(f"expected one {CORRELATION} node, got {len(found)}")
    at, node = found[0]
    search, template = node.input
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    tensor = helper.make_tensor_value_info
    one = helper.make_tensor("axis", TensorProto.INT64, [1], [0])
    body = helper.make_graph(
        [
            helper.make_node("Constant", [], ["front"], value=one),
            helper.make_node(
                "Constant", [], ["second"], value=helper.make_tensor("axis1", TensorProto.INT64, [1], [1])
            ),
            helper.make_node("Unsqueeze", ["x", "front"], ["xs"]),
            helper.make_node("Unsqueeze", ["z", "second"], ["zs"]),
            helper.make_node("Conv", ["xs", "zs"], ["ys"], group=channels),
            helper.make_node("Squeeze", ["ys", "front"], ["y"]),
        ],
        "one_target",
        [tensor("x", kind, [channels, None, None]), tensor("z", kind, [channels, None, None])],
        [tensor("y", kind, [channels, response, response])],
    )
    shape = [None, channels, response, response]
    scan = helper.make_node("Scan", [search, template], ["responses"], body=body, num_scan_inputs=2)
    some = helper.make_graph([scan], "some_targets", [], [tensor("responses", kind, shape)])
    nothing = helper.make_tensor("nothing", kind, [0, *shape[1:]], [])
    empty = helper.make_node("Constant", [], ["no_responses"], value=nothing)
    none = helper.make_graph([empty], "no_targets", [], [tensor("no_responses", kind, shape)])
    zero = helper.make_tensor("zero", TensorProto.INT64, [], [0])
    replacement = [
        helper.make_node("Shape", [search], ["targets_shape"], start=0, end=1),
        helper.make_node("Squeeze", ["targets_shape"], ["targets"]),
        helper.make_node("Constant", [], ["no_target"], value=zero),
        helper.make_node("Greater", ["targets", "no_target"], ["any_targets"]),
        helper.make_node("If", ["any_targets"], list(node.output), then_branch=some, else_branch=none),
    ]
    graph.node.remove(node)
    for offset, made in enumerate(replacement):
        graph.node.insert(at + offset, made)
    kept = [opset for opset in model.opset_import if opset.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)
