"""MOTSNet's weights under the names of seamseg's snapshots, as "body.fpn.lateral.0.conv.weight".

The tracking head, which nobody has published, is called `track_head` here.

Source: Learning Multi-Object Tracking and Segmentation from Automatic Annotations, arXiv:1912.02096; Seamless Scene
Segmentation, arXiv:1905.01220, and its code seamseg (BSD); In-Place Activated BatchNorm, arXiv:1712.02616.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.maskrcnn.resnet import BLOCKS

POOLED = 14  # cells per side of a region
SLOPE = 0.01  # of the activation below 0
_GROWTH = 4  # channels of a block's last convolution per channel of its first


@dataclass(frozen=True)
class Layout:
    """What the shapes of a checkpoint say about its network; `checkpoint.layout_of` reads it there.

    Attributes:
        blocks: of the ResNet's modules 2 ... 5.
        width: channels after the first convolution.
        features: channels of the pyramid.
        extra: levels beyond the ResNet's four, each of half the size.
        probes: channels of the proposal head.
        ratios: shapes of anchors at each place.
        hidden: of the box head.
        masking: channels of the mask head.
        classes: things, without background.
        tracking: channels inside the tracking head; 0 where there is none.
        vector: length of a class's identity vector.
    """

    blocks: tuple[int, ...] = BLOCKS[50]
    width: int = 64
    features: int = 256
    extra: int = 1
    probes: int = 256
    ratios: int = 3
    hidden: int = 1024
    masking: int = 256
    classes: int = 2
    tracking: int = 128
    vector: int = 32


class Abn(nn.Module):
    """Normalisation with recorded statistics, then leaky ReLU unless `active` is false: (N, channels, ...).

    In-place ABN scales with |weight| + eps; `checkpoint.load_checkpoint` puts that into the weight.
    """

    def __init__(self, channels: int, *, active: bool = True) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        x = functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-5)
        return functional.leaky_relu(x, SLOPE) if self.active else x


def _row(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))


def _conv(channels: int, out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * _GROWTH
        self.convs = _row(
            conv1=_conv(channels, width, 1), bn1=Abn(width), conv2=_conv(width, width, 3, stride), bn2=Abn(width),
            conv3=_conv(width, out, 1), bn3=Abn(out, active=False),
        )  # fmt: skip
        self.projected = stride != 1 or channels != out
        if self.projected:
            self.proj_conv, self.proj_bn = _conv(channels, out, 1, stride), Abn(out, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4 * width, H / stride, W / stride)."""
        shortcut = self.proj_bn(self.proj_conv(x)) if self.projected else x
        return functional.leaky_relu(self.convs(x) + shortcut, SLOPE)


class ResNet(nn.Module):
    """(B, 3, H, W) -> C2 ... C5 at strides 4, 8, 16, 32."""

    def __init__(self, blocks: Sequence[int], width: int) -> None:
        super().__init__()
        self.mod1 = _row(conv1=nn.Conv2d(3, width, 7, 2, 3, bias=False), bn1=Abn(width), pool1=nn.MaxPool2d(3, 2, 1))
        channels = width
        for i, count in enumerate(blocks):
            parts, inner = {}, width << i
            for k in range(count):
                parts[f"block{k + 1}"] = Block(channels, inner, 2 if i > 0 and k == 0 else 1)
                channels = inner * _GROWTH
            self.add_module(f"mod{i + 2}", _row(**parts))

    def forward(self, image: Tensor) -> list[Tensor]:
        """C2 ... C5."""
        x, out = self.mod1(image), []
        for i in range(2, 6):
            x = getattr(self, f"mod{i}")(x)
            out.append(x)
        return out


class Pyramid(nn.Module):
    """C2 ... C5 -> P2 ... P5 and the extra levels, which come from C5 itself."""

    def __init__(self, channels: Sequence[int], features: int, extra: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_row(conv=_conv(c, features, 1), bn=Abn(features)) for c in channels)
        self.output = nn.ModuleList(_row(conv=_conv(features, features, 3), bn=Abn(features)) for _ in channels)
        if extra:
            given = [channels[-1], *[features] * (extra - 1)]
            self.extra = nn.ModuleList(_row(conv=_conv(c, features, 3, 2), bn=Abn(features)) for c in given)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """All levels."""
        lateral = [block(x) for block, x in zip(self.lateral, maps, strict=True)]
        for i in range(len(lateral) - 1, 0, -1):
            lateral[i - 1] = lateral[i - 1] + functional.interpolate(lateral[i], scale_factor=2.0, mode="nearest")
        out, x = [block(x) for block, x in zip(self.output, lateral, strict=True)], maps[-1]
        for block in getattr(self, "extra", ()):
            x = block(x)
            out.append(x)
        return out


class ProposalHead(nn.Module):
    """One level -> objectness logits (B, ratios, h, w) and deltas (B, 4 * ratios, h, w)."""

    def __init__(self, features: int, probes: int, ratios: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(features, probes, 3), Abn(probes)
        self.conv_obj, self.conv_bbx = nn.Conv2d(probes, ratios, 1), nn.Conv2d(probes, 4 * ratios, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, deltas."""
        x = self.bn1(self.conv1(x))
        return self.conv_obj(x), self.conv_bbx(x)


class RegionHead(nn.Module):
    """Pooled regions (N, features, 14, 14) -> classes, boxes and masks."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        features, hidden, classes, inner = layout.features, layout.hidden, layout.classes, layout.masking
        self.fc = _row(
            fc1=nn.Linear(features * POOLED**2 // 4, hidden, bias=False), bn1=Abn(hidden),
            fc2=nn.Linear(hidden, hidden, bias=False), bn2=Abn(hidden),
        )  # fmt: skip
        self.roi_cls, self.roi_bbx = nn.Linear(hidden, classes + 1), nn.Linear(hidden, 4 * classes)
        parts: dict[str, nn.Module] = {}
        for i in range(1, 5):
            parts |= {f"conv{i}": _conv(features if i == 1 else inner, inner, 3), f"bn{i}": Abn(inner)}
        up = nn.ConvTranspose2d(inner, inner, 2, 2, bias=False)
        self.conv = _row(**parts, conv_up=up, bn_up=Abn(inner))
        self.roi_msk = nn.Conv2d(inner, classes, 1)

    def judge(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (N, classes + 1), background first; deltas (N, classes, 4) as dy, dx, dh, dw."""
        x = self.fc(functional.avg_pool2d(pooled, 2).flatten(1))
        return self.roi_cls(x), self.roi_bbx(x).unflatten(1, (-1, 4))

    def draw(self, pooled: Tensor) -> Tensor:
        """Mask logits (N, classes, 28, 28)."""
        logits: Tensor = self.roi_msk(self.conv(pooled))
        return logits


class TrackHead(nn.Module):
    """Pooled features (N, features) -> one identity vector for each class, (N, classes, vector)."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.classes = layout.classes
        self.fc1, self.bn1 = nn.Linear(layout.features, layout.tracking, bias=False), Abn(layout.tracking)
        self.fc2 = nn.Linear(layout.tracking, layout.vector * layout.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Of any length."""
        out: Tensor = self.fc2(self.bn1(self.fc1(x))).unflatten(1, (self.classes, -1))
        return out


class Motsnet(nn.Module):
    """All weights."""

    def __init__(self, layout: Layout | None = None) -> None:
        super().__init__()
        self.layout = layout = Layout() if layout is None else layout
        self.body = nn.Module()
        self.body.backbone = ResNet(layout.blocks, layout.width)
        channels = [_GROWTH * layout.width << i for i in range(4)]
        self.body.fpn = Pyramid(channels, layout.features, layout.extra)
        self.rpn_head = ProposalHead(layout.features, layout.probes, layout.ratios)
        self.roi_head = RegionHead(layout)
        if layout.tracking:
            self.track_head = TrackHead(layout)

    def backbone(self, image: Tensor) -> list[Tensor]:
        """Image (1, 3, H, W), sides multiples of 32 -> P2 ... P5 and the extra levels."""
        pyramid: list[Tensor] = self.body.fpn(self.body.backbone(image))
        return pyramid
