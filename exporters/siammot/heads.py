"""What looks at the pyramid: proposals (RPN), the box head, and the track heads (EMM, IMM).

Boxes are xyxy network pixels in the legacy convention: a box is x2 - x1 + 1 wide. What comes in and goes out is
float32, whatever the layers compute in.

Source: Faster R-CNN, arXiv:1506.01497; SiamMOT, arXiv:2105.11595, section 3.2; the authors' code where they differ
(`spec/siammot.md` 1.4, 1.6 to 1.8).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.siammot.dla import FEATURES
from exporters.siammot.operators import cross_correlate

ANCHORS = 3  # per cell
POOLED = 7  # cells per side of the box head's regions
GROUP = 4  # channels that the track head normalises together
UPSAMPLE = 16  # places per cell of the response
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_LARGEST_GROWTH = math.log(1000 / 16)


def decode_boxes(anchors: Tensor, deltas: Tensor, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Move and scale boxes (..., 4) by what a network predicts (..., 4) for them; legacy convention in and out."""
    side = anchors[..., 2:] - anchors[..., :2] + 1
    centre = anchors[..., :2] + 0.5 * side
    centre = centre + deltas[..., :2] / deltas.new_tensor(weights[:2]) * side
    side = side * (deltas[..., 2:] / deltas.new_tensor(weights[2:])).clamp(max=_LARGEST_GROWTH).exp()
    return torch.cat([centre - 0.5 * side, centre + 0.5 * side - 1], -1)


def encode_boxes(anchors: Tensor, boxes: Tensor, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Inverse of `decode_boxes`: what moves anchors (N, 4) to boxes (N, 4), as (N, 4)."""
    old, new = anchors[:, 2:] - anchors[:, :2] + 1, boxes[:, 2:] - boxes[:, :2] + 1
    shift = (boxes[:, :2] + 0.5 * new - anchors[:, :2] - 0.5 * old) / old
    return torch.cat([shift, (new / old).log()], 1) * boxes.new_tensor(weights)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) inside an image of `size` (w, h)."""
    last = boxes.new_tensor([size[0] - 1.0, size[1] - 1.0] * 2)
    return torch.minimum(boxes.clamp(min=0), last)


class ProposalHead(nn.Module):
    """One pyramid level -> objectness logits (B, 3, h, w) and box deltas (B, 12, h, w)."""

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, padding=1)
        self.cls_logits = nn.Conv2d(features, ANCHORS, 1)
        self.bbox_pred = nn.Conv2d(features, 4 * ANCHORS, 1)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Objectness, deltas."""
        x = self.conv(feature.to(self.conv.weight.dtype)).relu()
        return self.cls_logits(x).float(), self.bbox_pred(x).float()


def cell_anchors(size: float, stride: int) -> Tensor:
    """(3, 4) anchors of the cell at (0, 0): ratios 1/2, 1, 2, sides rounded at the scale of the stride."""
    out = []
    middle = (stride - 1) / 2
    for ratio in (0.5, 1.0, 2.0):
        w = round(math.sqrt(stride * stride / ratio))
        h = round(w * ratio)
        dx, dy = (w * size / stride - 1) / 2, (h * size / stride - 1) / 2
        out.append([middle - dx, middle - dy, middle + dx, middle + dy])
    return torch.tensor(out)


def place_anchors(cell: Tensor, height: int, width: int, stride: int) -> Tensor:
    """(height * width * 3, 4) anchors of every cell, rows first."""
    rows, columns = (torch.arange(count, device=cell.device) * stride for count in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shift = torch.stack([x, y, x, y], -1).to(cell.dtype)
    return (shift[:, :, None] + cell).reshape(-1, 4)


class BoxHead(nn.Module):
    """Pooled regions (N, features, 7, 7) -> class logits (N, classes), deltas (N, classes, 4)."""

    def __init__(self, features: int = FEATURES, hidden: int = 1024, classes: int = 2) -> None:
        super().__init__()
        self.inputs, self.classes = features * POOLED**2, classes
        self.fc6, self.fc7 = nn.Linear(self.inputs, hidden), nn.Linear(hidden, hidden)
        self.cls_score, self.bbox_pred = nn.Linear(hidden, classes), nn.Linear(hidden, 4 * classes)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, deltas."""
        x = self.fc7(self.fc6(pooled.flatten(1).to(self.fc6.weight.dtype)).relu()).relu()
        return self.cls_score(x).float(), self.bbox_pred(x).float().unflatten(1, (self.classes, 4))


class Tower(nn.Sequential):
    """Convolution, normalisation in groups, ReLU. Groups become rows of a layer norm, which also takes no targets."""

    def __init__(self, features: int) -> None:
        conv = nn.Conv2d(features, features, 3, padding=1, bias=False)
        super().__init__(conv, nn.GroupNorm(features // GROUP, features))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        x = self[0](x)
        n, (c, h, w) = x.shape[0], (int(side) for side in x.shape[1:])  # the last three are fixed when exported
        norm = self[1]
        rows = x.reshape(n, c // GROUP, GROUP * h * w)
        rows = functional.layer_norm(rows, (GROUP * h * w,), eps=norm.eps)
        return (rows.reshape(n, c, h, w) * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()


class TrackHead(nn.Module):
    """EMM: search regions (N, C, S, S) and templates (N, C, T, T) -> maps over the response, R = S - T + 1 a side.

    Returns:
        cls: (N, 2, R, R) logits, hidden and visible.
        centre: (N, 1, R, R) logit of centerness.
        reg: (N, 4, R, R), at least 0: from a place to the left, top, right and bottom side, pixels or what
            `Design.relative` says.
    """

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        self.cls_tower, self.reg_tower = Tower(features), Tower(features)
        self.cls = nn.Conv2d(features, 2, 3, padding=1)
        self.center = nn.Conv2d(features, 1, 3, padding=1)
        self.reg = nn.Conv2d(features, 4, 3, padding=1)

    def forward(self, search: Tensor, template: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cls, centre, reg."""
        kind = self.cls.weight.dtype
        response = cross_correlate(search.to(kind), template.to(kind))
        seen, sides = self.cls_tower(response), self.reg_tower(response)
        return self.cls(seen).float(), self.center(seen).float(), self.reg(sides).float().relu()


class ImplicitHead(nn.Module):
    """IMM: features of the region around a track, before and now (N, inputs each) -> visibility and motion.

    The paper names two layers of 512 and what comes out; its supplement was not at hand, so the rest is our reading.

    Returns:
        visible: (N,) logits.
        deltas: (N, 4), for `decode_boxes`: shift in sides of the box, growth as a logarithm.

    Source: SiamMOT, arXiv:2105.11595, section 3.2, "Implicit motion model".
    """

    def __init__(self, inputs: int, hidden: int = 512) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(2 * inputs, hidden), nn.Linear(hidden, hidden)
        self.visible, self.shift = nn.Linear(hidden, 1), nn.Linear(hidden, 4)

    def forward(self, before: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        """Visible, deltas."""
        x = torch.cat([before.flatten(1), now.flatten(1)], 1).to(self.fc1.weight.dtype)
        x = self.fc2(self.fc1(x).relu()).relu()
        return self.visible(x)[:, 0].float(), self.shift(x).float()


def bicubic_matrix(cells: int, factor: int = UPSAMPLE) -> Tensor:
    """(cells * factor, cells): bicubic upsampling of a row as a product, edges repeated, a = -0.75.

    Two of these products are what `interpolate(mode="bicubic")` computes, and several times faster in ONNX Runtime
    than its Resize.
    """
    rows = functional.interpolate(
        torch.eye(cells, dtype=torch.float64)[:, None, :, None].expand(-1, 1, -1, cells),
        scale_factor=(factor, 1), mode="bicubic", align_corners=False,
    )  # fmt: skip
    return rows[:, 0, :, 0].T.float().contiguous()


def periodic_hann(places: int) -> Tensor:
    """(places,): 0 at the first place, 1 in the middle."""
    return torch.hann_window(places, periodic=True)


def sides_penalty(width: Tensor, height: Tensor, boxes: Tensor, strength: float) -> Tensor:
    """How much a change of size costs: 1 for none, towards 0 for much.

    Args:
        width: (N, P) px of the box that a place predicts. Upsampling may leave it below zero: that is no box.
        height: likewise.
        boxes: (N, 4) previous boxes.
        strength: 0.1 in the authors' code.
    """
    before = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)

    def change(now: Tensor, then: Tensor) -> Tensor:
        ratio = now.clamp(min=1e-9) / then
        return torch.maximum(ratio, 1 / ratio)

    return torch.exp(strength * (1 - change(width, before[:, :1]) * change(height, before[:, 1:])))
