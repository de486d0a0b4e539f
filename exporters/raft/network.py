"""RAFT: features of both images, all their dot products, and a recurrent unit that looks them up again and again.

Tensors are named as in the authors' checkpoints.

Source: Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", arXiv:2003.12039.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.raft.correlation import LEVELS, correlate, look_up

STRIDE = 8
SMALLEST = 16 * STRIDE
"""Least side of an image in pixels: the coarsest level then has two places along it, as the authors' code needs."""


@dataclass(frozen=True)
class Variant:
    """The numbers of one published network.

    Attributes:
        widths: channels of the stem and of the encoder's three layers.
        bottleneck: blocks of three convolutions instead of two.
        context_norm: of the context encoder, "batch" or "none"; the feature encoder's is "instance".
        features: channels that are correlated.
        hidden: of the recurrent unit.
        context: channels that it is given in every iteration.
        radius: of the window that is looked up, in places of each level.
        correlation: channels of the convolutions over what was looked up.
        flow: channels of the convolutions over the flow.
        motion: channels of both together, the flow itself included.
        head: hidden channels of the flow head.
        separable: the recurrent unit has a row and a column pass, instead of one pass of 3 x 3.
        convex: the last flow is enlarged by learned weights, instead of bilinearly.
    """

    widths: tuple[int, int, int, int]
    bottleneck: bool
    context_norm: str
    features: int
    hidden: int
    context: int
    radius: int
    correlation: tuple[int, ...]
    flow: tuple[int, int]
    motion: int
    head: int
    separable: bool
    convex: bool


VARIANTS = {
    "small": Variant(
        widths=(32, 32, 64, 96), bottleneck=True, context_norm="none", features=128, hidden=96, context=64, radius=3,
        correlation=(96,), flow=(64, 32), motion=82, head=128, separable=False, convex=False,
    ),
    "large": Variant(
        widths=(64, 64, 96, 128), bottleneck=False, context_norm="batch", features=256, hidden=128, context=128,
        radius=4, correlation=(256, 192), flow=(128, 64), motion=128, head=256, separable=True, convex=True,
    ),
}  # fmt: skip


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels) if kind == "instance" else nn.Identity()


class Block(nn.Module):
    """Residual block of two convolutions, or a bottleneck of three."""

    def __init__(self, channels: int, out: int, stride: int, norm: str, *, bottleneck: bool) -> None:
        super().__init__()
        inner = out // 4
        plain = [(channels, out, 3, stride), (out, out, 3, 1)]
        narrow = [(channels, inner, 1, 1), (inner, inner, 3, stride), (inner, out, 1, 1)]
        self.count = len(narrow if bottleneck else plain)
        for i, (given, made, size, step) in enumerate(narrow if bottleneck else plain, 1):
            self.add_module(f"conv{i}", nn.Conv2d(given, made, size, step, size // 2))
            self.add_module(f"norm{i}", _norm(norm, made))
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride), _norm(norm, out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, out, h / stride, w / stride)."""
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(y)).relu()
        return ((x if self.downsample is None else self.downsample(x)) + y).relu()


class Encoder(nn.Module):
    """Image -> features at stride 8."""

    def __init__(self, variant: Variant, out: int, norm: str) -> None:
        super().__init__()
        stem = variant.widths[0]
        self.conv1, self.norm1 = nn.Conv2d(3, stem, 7, 2, 3), _norm(norm, stem)
        for i, stride in enumerate((1, 2, 2)):
            channels, wide = variant.widths[i : i + 2]
            blocks = [
                Block(channels, wide, stride, norm, bottleneck=variant.bottleneck),
                Block(wide, wide, 1, norm, bottleneck=variant.bottleneck),
            ]
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.conv2 = nn.Conv2d(variant.widths[3], out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, out, H / 8, W / 8)."""
        x = self.norm1(self.conv1(x)).relu()
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class MotionEncoder(nn.Module):
    """What was looked up, and the flow -> motion features, of which the flow itself is the last two channels."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        window = LEVELS * (2 * variant.radius + 1) ** 2
        self.convc1 = nn.Conv2d(window, variant.correlation[0], 1)
        self.convc2 = nn.Conv2d(*variant.correlation, 3, padding=1) if len(variant.correlation) > 1 else None
        self.convf1 = nn.Conv2d(2, variant.flow[0], 7, padding=3)
        self.convf2 = nn.Conv2d(*variant.flow, 3, padding=1)
        self.conv = nn.Conv2d(variant.correlation[-1] + variant.flow[-1], variant.motion - 2, 3, padding=1)

    def forward(self, flow: Tensor, found: Tensor) -> Tensor:
        """(1, 2, h, w) and (1, window, h, w) -> (1, motion, h, w)."""
        found = self.convc1(found).relu()
        found = found if self.convc2 is None else self.convc2(found).relu()
        moved = self.convf2(self.convf1(flow).relu()).relu()
        return torch.cat([self.conv(torch.cat([found, moved], 1)).relu(), flow], 1)


class RecurrentUnit(nn.Module):
    """Convolutional GRU: one pass of 3 x 3, or a row of 5 and then a column of 5.

    Its convolutions see the hidden state, the context and the motion. The context is the same in every iteration, so
    its share of their sums is computed once (`begin`), which saves a fifth of the network's products.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.parts = [variant.hidden, variant.context, variant.motion]
        for suffix, size in (("1", (1, 5)), ("2", (5, 1))) if variant.separable else (("", (3, 3)),):
            for gate in "zrq":
                padding = (size[0] // 2, size[1] // 2)
                self.add_module(
                    f"conv{gate}{suffix}", nn.Conv2d(sum(self.parts), variant.hidden, size, padding=padding)
                )

    def begin(self, context: Tensor) -> list[Tensor]:
        """The context's share, of every pass and gate in turn."""
        shares = []
        for conv in self.children():
            _, weight, _ = conv.weight.split(self.parts, 1)
            shares.append(functional.conv2d(context, weight, conv.bias, padding=conv.padding))
        return shares

    def forward(self, hidden: Tensor, motion: Tensor, shares: list[Tensor]) -> Tensor:
        """The next hidden state, of the same shape."""
        convs = list(self.children())
        for i in range(0, len(convs), 3):
            z, r = (_add(shares[k], convs[k], self.parts, hidden, motion).sigmoid() for k in (i, i + 1))
            q = _add(shares[i + 2], convs[i + 2], self.parts, r * hidden, motion).tanh()
            hidden = (1 - z) * hidden + z * q
        return hidden


def _add(share: Tensor, conv: nn.Conv2d, parts: list[int], hidden: Tensor, motion: Tensor) -> Tensor:
    """A convolution's sum where the context's share is known."""
    ours, _, moved = conv.weight.split(parts, 1)
    return share + functional.conv2d(torch.cat([hidden, motion], 1), torch.cat([ours, moved], 1), padding=conv.padding)


class FlowHead(nn.Module):
    """Hidden state -> by how much the flow changes."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(variant.hidden, variant.head, 3, padding=1)
        self.conv2 = nn.Conv2d(variant.head, 2, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        """(1, hidden, h, w) -> (1, 2, h, w) in places of stride 8."""
        return self.conv2(self.conv1(hidden).relu())


class UpdateBlock(nn.Module):
    """One iteration; `mask` is asked for after the last one only."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.encoder, self.gru, self.flow_head = MotionEncoder(variant), RecurrentUnit(variant), FlowHead(variant)
        self.mask = None
        if variant.convex:
            self.mask = nn.Sequential(
                nn.Conv2d(variant.hidden, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 9 * STRIDE**2, 1)
            )

    def forward(self, hidden: Tensor, shares: list[Tensor], found: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Next hidden state, next flow; `shares` come from the recurrent unit's `begin`."""
        hidden = self.gru(hidden, self.encoder(flow, found), shares)
        return hidden, flow + self.flow_head(hidden)


class Raft(nn.Module):
    """Two images -> the flow from the first to the second.

    Args:
        variant: row of `VARIANTS`.
        iterations: of the recurrent unit; the authors use 12 where they train, and up to 32 for figures.
    """

    def __init__(self, variant: str, iterations: int = 12) -> None:
        super().__init__()
        self.variant, self.iterations = VARIANTS[variant], iterations
        self.fnet = Encoder(self.variant, self.variant.features, "instance")
        self.cnet = Encoder(self.variant, self.variant.hidden + self.variant.context, self.variant.context_norm)
        self.update_block = UpdateBlock(self.variant)

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Flow in pixels of the images.

        Args:
            image1: (1, 3, H, W) float32 RGB in 0..255; H and W multiples of 8, at least `SMALLEST`.
            image2: likewise.

        Returns:
            (1, 2, H, W) float32 (dx, dy) on the grid of `image1`.
        """
        image1, image2 = image1 * (2 / 255) - 1, image2 * (2 / 255) - 1
        first, second = self.fnet(torch.cat([image1, image2])).split(1)
        hidden, context = self.cnet(image1).split([self.variant.hidden, self.variant.context], 1)
        hidden, shares = hidden.tanh(), self.update_block.gru.begin(context.relu())
        height, width = (int(side) for side in first.shape[-2:])
        volume, radius = correlate(first, second), self.variant.radius
        grid = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"))[None].float()
        flow = 0 * hidden[:, :2]  # plain zeros would be folded with all that follows, into megabytes of constants
        for _ in range(self.iterations):
            found = look_up(volume, (grid + flow).flatten(2)[0], (height, width), radius)
            hidden, flow = self.update_block(hidden, shares, found.reshape(1, -1, height, width), flow)
        if self.update_block.mask is None:
            return STRIDE * functional.interpolate(flow, scale_factor=STRIDE, mode="bilinear", align_corners=True)
        return enlarge_convex(flow, 0.25 * self.update_block.mask(hidden))


def enlarge_convex(flow: Tensor, weights: Tensor) -> Tensor:
    """Every fine vector as a mean of the 3 x 3 coarse ones around it, weighted by a softmax.

    Args:
        flow: (1, 2, h, w) in places of stride 8.
        weights: (1, 9 * 64, h, w): by neighbour, then by row and column within the place.

    Returns:
        (1, 2, 8 * h, 8 * w) in pixels.
    """
    height, width = (int(side) for side in flow.shape[-2:])
    wide = functional.pad(STRIDE * flow[0], [1, 1, 1, 1])
    around = [wide[:, i : i + height, k : k + width] for i in range(3) for k in range(3)]
    neighbours = torch.stack(around, 1)[:, :, None]  # (2, 9, 1, h, w)
    shares = weights.reshape(9, STRIDE * STRIDE, height, width).softmax(0)
    fine = (shares * neighbours).sum(1)  # (2, 64, h, w)
    fine = fine.reshape(2, STRIDE, STRIDE, height, width).permute(0, 3, 1, 4, 2)
    return fine.reshape(1, 2, STRIDE * height, STRIDE * width)
