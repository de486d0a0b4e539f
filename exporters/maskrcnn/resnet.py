"""ResNet-50 and -101 with a feature pyramid, under the names of torchvision's state dicts.

Source: Deep Residual Learning, arXiv:1512.03385, with the stride in the 3x3 convolution; Feature Pyramid Networks,
arXiv:1612.03144. Batch normalisation is never trained here: frozen or not, it is the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Depth -> blocks of layer 1 ... 4."""

STRIDES = (4, 8, 16, 32)  # network pixels per cell of P2 ... P5; P6 has every second cell of P5
_GROWTH = 4  # channels of a block's last convolution per channel of its first


class Unit(nn.Sequential):
    """Convolution "0", and normalisation "1" unless it has a bias instead; ReLU where `active`."""

    def __init__(self, channels: int, out: int, size: int, *, norm: bool, active: bool) -> None:
        super().__init__(nn.Conv2d(channels, out, size, padding=size // 2, bias=not norm))
        if norm:
            self.append(nn.BatchNorm2d(out))
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, H, W)."""
        x = super().forward(x)
        return x.relu() if self.active else x


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * _GROWTH
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4 * width, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Body(nn.Module):
    """(B, 3, H, W) -> C2, C3, C4, C5 at strides 4, 8, 16, 32."""

    def __init__(self, blocks: Sequence[int], width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        channels = width
        for i, count in enumerate(blocks):
            inner, parts = width << i, []
            for k in range(count):
                parts.append(Bottleneck(channels, inner, 2 if i > 0 and k == 0 else 1))
                channels = inner * _GROWTH
            self.add_module(f"layer{i + 1}", nn.Sequential(*parts))

    def forward(self, image: Tensor) -> list[Tensor]:
        """C2 ... C5."""
        x = functional.max_pool2d(self.bn1(self.conv1(image)).relu(), 3, 2, 1)
        out = []
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
            out.append(x)
        return out


class Pyramid(nn.Module):
    """C2 ... C5 -> P2 ... P6: nearest upsampling on the way down, P6 is every second cell of P5."""

    def __init__(self, channels: Sequence[int], features: int, *, norm: bool) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(Unit(c, features, 1, norm=norm, active=False) for c in channels)
        self.layer_blocks = nn.ModuleList(Unit(features, features, 3, norm=norm, active=False) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """P2 ... P6."""
        lateral = [block(x) for block, x in zip(self.inner_blocks, maps, strict=True)]
        for i in range(len(lateral) - 1, 0, -1):
            lateral[i - 1] = lateral[i - 1] + functional.interpolate(lateral[i], scale_factor=2.0, mode="nearest")
        out = [block(x) for block, x in zip(self.layer_blocks, lateral, strict=True)]
        return [*out, functional.max_pool2d(out[-1], 1, 2)]


class Backbone(nn.Module):
    """Image (1, 3, H, W), sides multiples of 32 -> P2 ... P6."""

    def __init__(self, blocks: Sequence[int], width: int, features: int, *, norm: bool) -> None:
        super().__init__()
        self.body = Body(blocks, width)
        self.fpn = Pyramid([_GROWTH * width << i for i in range(4)], features, norm=norm)

    def forward(self, image: Tensor) -> list[Tensor]:
        """P2 ... P6."""
        pyramid: list[Tensor] = self.fpn(self.body(image))
        return pyramid
