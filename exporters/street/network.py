"""The embedded network: a small Motion-DeepLab that also tells objects apart.

One encoder down to stride 16 with dilated blocks for context, one decoder with skip connections up to stride 4. Three
heads give stride 2: semantic logits, a heatmap of object centres, and offsets from every pixel to the centre of its
object. Two give stride 4: the way back to the object's centre in the picture before, and an identity vector for each
thing class. Blocks are chosen by what ONNX Runtime does fast on two CPU cores: plain 3x3 convolutions where the picture
is small, separable ones where it is large, nearest-neighbour upsampling.

Unlike in Motion-DeepLab the picture before enters late, and for the way back alone: all other maps are those of the
image, whatever was seen before it, and no frame waits for the results of the one before. Early features of both
pictures are compared at some shifts, as FlowNet's second form does. Colours tell people apart, so identity vectors see
early features too.

Source: Panoptic-DeepLab, arXiv:1911.10194 (heads, decoding); Objects as Points, arXiv:1904.07850 (heatmap); STEP,
arXiv:2102.11859 (Motion-DeepLab); FlowNet, arXiv:1504.06852 (comparison at shifts); MOTSNet, arXiv:1912.02096
(class-specific vectors, to be pooled over masks).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, cat, nn
from torch.nn import functional

HEAD_STRIDE = 2  # network pixels per pixel of semantic, heat and offset
OFFSET_SCALE = 16.0  # the offset head learns numbers around one; offsets are head pixels
VECTOR = 16  # length of an identity vector
_COMPARED, _WAY = 8, 16  # channels of the features that are compared, and of what is made of them
_SHIFTS = ((0, -3), (0, -2), (0, -1), (0, 0), (0, 1), (0, 2), (0, 3), (-1, 0), (1, 0))  # y, x: things move sideways


class Maps(NamedTuple):
    """What the network gives, in the order of the exported graph's outputs; B pictures of H x W network pixels.

    Attributes:
        semantic: (B, classes, H/2, W/2) logits.
        heat: (B, 1, H/2, W/2), 0..1 in evaluation mode, logits in training mode.
        offset: (B, 2, H/2, W/2), (dy, dx) in pixels of this map, from a pixel to the centre of its object.
        motion: (B, 2, H/4, W/4), (dy, dx) in pixels of this map, from the centre of a pixel's object to where that was
            in the picture before.
        embedding: (B, things * VECTOR, H/4, W/4), one vector for each thing class after the other.
    """

    semantic: Tensor
    heat: Tensor
    offset: Tensor
    motion: Tensor
    embedding: Tensor


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
    """Image and the one before, (B, 3, H, W) RGB about -2..2, H and W multiples of 16 -> `Maps`.

    Where there is no picture before, the image itself stands in: nothing has moved.
    """

    FRESH = ("compared", "shifted", "where", "way", "tone", "look", "embedding")
    """Modules that a Panoptic-DeepLab has not."""

    def __init__(self, classes: int = 7, things: int = 2, widths: tuple[int, int, int, int] = (16, 32, 48, 64)) -> None:
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
        self.compared = _conv(w2, _COMPARED, stride=2)
        self.shifted = _conv(_COMPARED * len(_SHIFTS), _WAY, size=1)
        self.where = _conv(w4, _WAY, size=1)
        self.way = nn.Sequential(nn.ReLU(), Block(_WAY), Block(_WAY), nn.Conv2d(_WAY, 2, 1))
        self.tone, self.look = _conv(w2, w4, stride=2), SeparableBlock(w4)
        self.embedding = nn.Conv2d(w4, things * VECTOR, 1)
        self.apply(_initialise)
        nn.init.constant_(self.centres[-1].bias[:1], -4.0)  # centres are rare: start by seeing none
        for k in range(len(_SHIFTS)):  # start from the whole difference at each shift
            nn.init.zeros_(self.shifted[0].weight[k])
            nn.init.ones_(self.shifted[0].weight[k, k * _COMPARED : (k + 1) * _COMPARED])
        nn.init.normal_(self.way[-1].weight, std=0.05)  # most things hardly move
        nn.init.zeros_(self.way[-1].bias)

    def forward(self, image: Tensor, previous: Tensor) -> Maps:
        """See `Maps`."""
        x2, x2_before = self.stride2(image), self.stride2(previous)
        skip = self.stride4(x2)
        x8 = self.stride8(skip)
        x8 = self.mix8(x8 + self.up(self.to8(self.stride16(x8))))
        x4 = self.mix4(skip + self.up(self.to4(x8)))
        centres = self.centres(x4)
        heat = centres[:, :1] if self.training else centres[:, :1].sigmoid()
        motion = self.way(self.shifted(compare(self.compared(x2), self.compared(x2_before))) + self.where(x4))
        return Maps(
            self.semantic(x4),
            heat,
            centres[:, 1:] * OFFSET_SCALE,
            motion,
            self.embedding(self.look(self.tone(x2) + x4)),
        )


def compare(now: Tensor, before: Tensor) -> Tensor:
    """Differences (B, C * shifts, h, w) of features (B, C, h, w) to those of the picture before, at every shift."""
    height, width = now.shape[2:]
    reach_y, reach_x = (max(abs(shift[axis]) for shift in _SHIFTS) for axis in (0, 1))
    padded = functional.pad(before, (reach_x, reach_x, reach_y, reach_y))
    parts = [
        now - padded[:, :, reach_y + y : reach_y + y + height, reach_x + x : reach_x + x + width] for y, x in _SHIFTS
    ]
    return cat(parts, 1).abs()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.05)
        nn.init.zeros_(module.bias)
