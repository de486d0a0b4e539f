"""DLA-34 and its feature pyramid, with the names of the official state dict.

Source: Deep Layer Aggregation, arXiv:1707.06484 (figure 3, DLA-34); Feature Pyramid Networks, arXiv:1612.03144, here
with bilinear upsampling, as in the authors' code of SiamMOT (`spec/siammot.md` 1.2, 1.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (16, 32, 64, 128, 256, 512)  # of level 0 ... 5; levels 2 ... 5 feed the pyramid
FEATURES = 128  # channels of every pyramid level
STRIDES = (4, 8, 16, 32, 64)  # network pixels per cell of P2 ... P6


class FrozenNorm(nn.Module):
    """Batch normalisation that never learns: statistics and affine part are buffers, epsilon is zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def fold(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of one convolution that equals convolving with `weight`, then normalising."""
        gain = self.weight * self.running_var.rsqrt()
        bias = self.bias - self.running_mean * gain
        return (weight.float() * gain[:, None, None, None]).to(weight.dtype), bias.to(weight.dtype)


def apply(conv: nn.Conv2d, norm: FrozenNorm | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Convolution and normalisation in one; one after the other while the normalisation learns."""
    if isinstance(norm, nn.BatchNorm2d):
        return norm(conv(x))
    weight, bias = norm.fold(conv.weight)
    return functional.conv2d(x, weight, bias, conv.stride, conv.padding)


def thaw(network: nn.Module) -> None:
    """Let every normalisation learn its affine part and its statistics: what begins from nothing needs that."""
    for holder, name, old in _children(network, FrozenNorm):
        norm = nn.BatchNorm2d(len(old.weight))
        norm.load_state_dict(old.state_dict(), strict=False)  # all but the number of batches
        setattr(holder, name, norm)


def freeze(network: nn.Module) -> None:
    """Undo `thaw`: the same function as in evaluation mode, epsilon within the variance."""
    for holder, name, old in _children(network, nn.BatchNorm2d):
        norm = FrozenNorm(old.num_features).to(old.weight.device)
        state = {key: value for key, value in old.state_dict().items() if key != "num_batches_tracked"}
        norm.load_state_dict(state | {"running_var": state["running_var"] + old.eps})
        setattr(holder, name, norm)


def _children(network: nn.Module, kind: type[nn.Module]) -> list[tuple[nn.Module, str, Any]]:
    """Modules of a kind: who holds them, under which name."""
    return [
        (holder, name, child)
        for holder in network.modules()
        for name, child in holder.named_children()
        if isinstance(child, kind)
    ]


def _conv(channels: int, out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, stride, size // 2, bias=False)


class Unit(nn.Sequential):
    """Convolution, normalisation, and ReLU unless `linear`."""

    def __init__(self, channels: int, out: int, size: int, stride: int = 1, *, linear: bool = False) -> None:
        super().__init__(_conv(channels, out, size, stride), FrozenNorm(out))
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, H/stride, W/stride)."""
        y = apply(self[0], self[1], x)
        return y if self.linear else y.relu()


class Block(nn.Module):
    """Two 3x3 convolutions and a residual that the caller hands in."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(channels, out, 3, stride), FrozenNorm(out)
        self.conv2, self.bn2 = _conv(out, out, 3), FrozenNorm(out)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """(B, out, H/stride, W/stride)."""
        y = apply(self.conv1, self.bn1, x).relu()
        return (apply(self.conv2, self.bn2, y) + residual).relu()


class Root(nn.Module):
    """Where branches of a tree meet: 1x1 over all of them."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv, self.bn = _conv(channels, out, 1), FrozenNorm(out)

    def forward(self, *branches: Tensor) -> Tensor:
        """(B, out, H, W)."""
        return apply(self.conv, self.bn, torch.cat(branches, 1)).relu()


class Tree(nn.Module):
    """Two blocks and a root; its forward takes more branches for the root."""

    def __init__(self, channels: int, out: int, stride: int, extra: int = 0, *, level_root: bool = False) -> None:
        super().__init__()
        self.stride, self.level_root = stride, level_root
        self.tree1, self.tree2 = Block(channels, out, stride), Block(out, out, 1)
        self.root = Root(2 * out + extra + (channels if level_root else 0), out)
        self.project = Unit(channels, out, 1, linear=True) if channels != out else None

    def forward(self, x: Tensor, *extras: Tensor) -> Tensor:
        """(B, out, H/stride, W/stride)."""
        bottom = functional.max_pool2d(x, self.stride, self.stride) if self.stride > 1 else x
        first = self.tree1(x, bottom if self.project is None else self.project(bottom))
        second = self.tree2(first, first)
        return self.root(second, first, *((bottom,) if self.level_root else ()), *extras)


class DeepTree(nn.Module):
    """A tree of two trees; the second one's root also sees the pooled input and the first one's output.

    Official checkpoints hold a `project` here too, whose output nobody uses.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.tree1, self.tree2 = Tree(channels, out, 2), Tree(out, out, 1, channels + out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, H/2, W/2)."""
        first = self.tree1(x)
        return self.tree2(first, functional.max_pool2d(x, 2, 2), first)


class Dla34(nn.Module):
    """Image (B, 3, H, W), sides multiples of 32 -> C2 ... C5 at strides 4 ... 32."""

    def __init__(self, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        c = channels
        self.base_layer = Unit(3, c[0], 7)
        self.level0, self.level1 = Unit(c[0], c[0], 3), Unit(c[0], c[1], 3, 2)
        self.level2 = Tree(c[1], c[2], 2)
        self.level3, self.level4 = DeepTree(c[2], c[3]), DeepTree(c[3], c[4])
        self.level5 = Tree(c[4], c[5], 2, level_root=True)

    def forward(self, image: Tensor) -> list[Tensor]:
        """C2, C3, C4, C5."""
        maps = [self.level2(self.level1(self.level0(self.base_layer(image))))]
        for level in (self.level3, self.level4, self.level5):
            maps.append(level(maps[-1]))
        return maps


class Pyramid(nn.Module):
    """C2 ... C5 -> P2 ... P6, all of `features` channels."""

    def __init__(self, channels: Sequence[int] = CHANNELS, features: int = FEATURES) -> None:
        super().__init__()
        for i, count in enumerate(channels[2:], 1):
            setattr(self, f"fpn_inner{i}", nn.Conv2d(count, features, 1))
            setattr(self, f"fpn_layer{i}", nn.Conv2d(features, features, 3, padding=1))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """P2, P3, P4, P5, P6; P6 is every second cell of P5."""
        out: list[Tensor] = []
        above: Tensor | None = None
        for i in (4, 3, 2, 1):
            here = getattr(self, f"fpn_inner{i}")(maps[i - 1])
            if above is not None:
                here = here + functional.interpolate(above, size=here.shape[-2:], mode="bilinear", align_corners=False)
            above = here
            out.insert(0, getattr(self, f"fpn_layer{i}")(here))
        return [*out, out[-1][:, :, ::2, ::2]]
