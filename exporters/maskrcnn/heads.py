"""What looks at the pyramid: proposals, the box head, the mask head; and the arithmetic of their boxes.

Boxes are xyxy network pixels, half-open: x2 - x1 wide.

Source: Faster R-CNN, arXiv:1506.01497; Mask R-CNN, arXiv:1703.06870; Benchmarking Detection Transfer Learning,
arXiv:2111.11429 (the heads with four convolutions). Where the papers leave a choice, torchvision's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from exporters.maskrcnn.resnet import Unit

RATIOS = (0.5, 1.0, 2.0)  # of anchors, height to width
ANCHOR_SIDES = (32, 64, 128, 256, 512)  # of P2 ... P6
POOLED, POOLED_MASK = 7, 14  # cells per side of the heads' regions
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
LARGEST_GROWTH = math.log(1000 / 16)


def decode_boxes(
    anchors: Tensor,
    deltas: Tensor,
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    largest_growth: float = LARGEST_GROWTH,
) -> Tensor:
    """Move and scale boxes (..., 4) by what a network predicts (..., 4) for them."""
    side = anchors[..., 2:] - anchors[..., :2]
    centre = anchors[..., :2] + 0.5 * side
    centre = centre + deltas[..., :2] / torch.tensor(weights[:2]) * side
    half = 0.5 * side * (deltas[..., 2:] / torch.tensor(weights[2:])).clamp(max=largest_growth).exp()
    return torch.cat([centre - half, centre + half], -1)


def clip_boxes(boxes: Tensor, extent: Tensor) -> Tensor:
    """Boxes (..., 4) inside a picture of `extent` (2,) w, h."""
    return torch.minimum(boxes.clamp(min=0), torch.cat([extent, extent]))


def are_wider(boxes: Tensor, least: float) -> Tensor:
    """(...,) bool: boxes (..., 4) whose both sides reach `least` px."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= least).all(-1)


def place_anchors(side: int, height: int, width: int, stride: tuple[int, int]) -> Tensor:
    """(height * width * 3, 4) anchors of a level's cells, rows first; `stride` is x, y in px."""
    ratios = torch.tensor(RATIOS).sqrt()
    half = torch.stack([side / ratios, side * ratios], 1) / 2
    return spread(torch.cat([-half, half], 1).round(), height, width, stride)


def spread(cell: Tensor, height: int, width: int, stride: tuple[int, int]) -> Tensor:
    """Anchors (height * width * K, 4) of a level from those of its first cell (K, 4), rows first."""
    y, x = torch.meshgrid(torch.arange(height) * stride[1], torch.arange(width) * stride[0], indexing="ij")
    return (torch.stack([x, y, x, y], -1)[:, :, None] + cell).reshape(-1, 4)


def unstack(logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
    """A level's logits (1, K, h, w) and deltas (1, 4K, h, w) as (h * w * K,) and (h * w * K, 4), rows first."""
    kinds = int(logits.shape[1])
    flat = deltas[0].unflatten(0, (kinds, 4)).permute(2, 3, 0, 1).reshape(-1, 4)
    return logits[0].permute(1, 2, 0).flatten(), flat


class ProposalHead(nn.Module):
    """One pyramid level -> objectness logits (B, 3, h, w) and box deltas (B, 12, h, w)."""

    def __init__(self, features: int, depth: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*(Unit(features, features, 3, norm=False, active=True) for _ in range(depth)))
        self.cls_logits = nn.Conv2d(features, len(RATIOS), 1)
        self.bbox_pred = nn.Conv2d(features, 4 * len(RATIOS), 1)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Objectness, deltas."""
        x = self.conv(feature)
        return self.cls_logits(x), self.bbox_pred(x)


class PlainBoxHead(nn.Module):
    """Pooled regions (N, features, 7, 7) -> (N, hidden) by two full layers."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.fc6, self.fc7 = nn.Linear(features * POOLED**2, hidden), nn.Linear(hidden, hidden)

    def forward(self, pooled: Tensor) -> Tensor:
        """(N, hidden)."""
        return self.fc7(self.fc6(pooled.flatten(1)).relu()).relu()


class DeepBoxHead(nn.Sequential):
    """Pooled regions (N, features, 7, 7) -> (N, hidden) by four convolutions and a full layer."""

    def __init__(self, features: int, hidden: int) -> None:
        convolutions = (Unit(features, features, 3, norm=True, active=True) for _ in range(4))
        super().__init__(*convolutions, nn.Flatten(), nn.Linear(features * POOLED**2, hidden), nn.ReLU())


class BoxPredictor(nn.Module):
    """(N, hidden) -> class logits (N, classes), deltas (N, classes, 4)."""

    def __init__(self, hidden: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.cls_score, self.bbox_pred = nn.Linear(hidden, classes), nn.Linear(hidden, 4 * classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, deltas."""
        return self.cls_score(x), self.bbox_pred(x).unflatten(1, (self.classes, 4))


class MaskPredictor(nn.Module):
    """(N, features, 14, 14) -> mask logits (N, classes, 28, 28)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.conv5_mask = nn.ConvTranspose2d(features, features, 2, 2)
        self.mask_fcn_logits = nn.Conv2d(features, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes, 28, 28)."""
        logits: Tensor = self.mask_fcn_logits(self.conv5_mask(x).relu())
        return logits
