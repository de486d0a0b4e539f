"""The embedded network: a small Panoptic-DeepLab.

One encoder down to stride 16 with dilated blocks for context, one decoder with skip connections up to stride 4, and
three heads that give stride 2: semantic logits, a heatmap of object centres, and offsets from every pixel to the
centre of its object. Blocks are chosen by what ONNX Runtime does fast on two CPU cores: plain 3x3 convolutions where
the picture is small, separable ones where it is large, nearest-neighbour upsampling.

Source: Panoptic-DeepLab, arXiv:1911.10194 (heads, decoding); Objects as Points, arXiv:1904.07850 (heatmap).
"""

from __future__ import annotations

from torch import Tensor, nn

HEAD_STRIDE = 2  # network pixels per head pixel
OFFSET_SCALE = 16.0  # the offset head learns numbers around one; offsets are head pixels


def _conv(channels: int, out: int, *, size: int = 3, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Module:
    padding = dilation * (size // 2)
    conv = nn.Conv2d(channels, out, size, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out))


class Block(nn.Module):
    """Residual 3x3 convolution."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(channels, channels, dilation=dilation), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        return x + self.conv(x)


class SeparableBlock(nn.Module):
    """Residual depthwise convolution followed by a pointwise one."""

    def __init__(self, channels: int, size: int = 3) -> None:
        super().__init__()
        depthwise = _conv(channels, channels, size=size, groups=channels)
        self.conv = nn.Sequential(depthwise, _conv(channels, channels, size=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        return x + self.conv(x)


def _down(channels: int, out: int, *blocks: nn.Module) -> nn.Module:
    return nn.Sequential(_conv(channels, out, stride=2), nn.ReLU(), *blocks)


class StreetNet(nn.Module):
    """Image (B, 3, H, W) RGB about -2..2, H and W multiples of 16 -> three maps at stride 2.

    Returns:
        semantic: (B, classes, H/2, W/2) logits.
        heat: (B, 1, H/2, W/2), 0..1 in evaluation mode, logits in training mode.
        offset: (B, 2, H/2, W/2), (dy, dx) in head pixels from a pixel to the centre of its object.
    """

    def __init__(self, classes: int = 7, widths: tuple[int, int, int, int] = (16, 32, 48, 64)) -> None:
        super().__init__()
        w2, w4, w8, w16 = widths
        self.stride2 = _down(3, w2)
        self.stride4 = _down(w2, w4, SeparableBlock(w4))
        self.stride8 = _down(w4, w8, Block(w8), Block(w8))
        self.stride16 = _down(w8, w16, Block(w16), Block(w16, dilation=2), Block(w16, dilation=4))
        self.to8, self.mix8 = _conv(w16, w8, size=1), Block(w8)
        self.to4, self.mix4 = _conv(w8, w4, size=1), Block(w4)
        self.semantic = nn.Sequential(SeparableBlock(w4), nn.ConvTranspose2d(w4, classes, 2, 2))
        self.centres = nn.Sequential(SeparableBlock(w4, size=5), nn.ConvTranspose2d(w4, 3, 2, 2))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.apply(_initialise)
        nn.init.constant_(self.centres[-1].bias[:1], -4.0)  # centres are rare: start by seeing none

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Semantic, heat, offset."""
        x4 = self.stride4(self.stride2(image))
        x8 = self.stride8(x4)
        x8 = self.mix8(x8 + self.up(self.to8(self.stride16(x8))))
        x4 = self.mix4(x4 + self.up(self.to4(x8)))
        centres = self.centres(x4)
        heat = centres[:, :1]
        return self.semantic(x4), heat if self.training else heat.sigmoid(), centres[:, 1:] * OFFSET_SCALE


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.05)
        nn.init.zeros_(module.bias)
