"""TrackR-CNN's weights: a ResNet up to C4, a temporal part, and heads that share the ResNet's last group.

Modules bear the names of the authors' TensorFlow scopes, so `checkpoint` needs few rules.

Source: arXiv:1902.03604; the code TrackR-CNN (MIT), which follows tensorpack's Faster R-CNN with its paddings.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from exporters.maskrcnn.resnet import BLOCKS
from exporters.trackrcnn.temporal import Convolutions, Lstm, Still, Temporal

ANCHORS = 15  # at each place
_GROWTH = 4  # channels of a block's last convolution per channel of its first


@dataclass(frozen=True)
class Layout:
    """What the names and shapes of a dump say about its network; `checkpoint.layout_of` reads it there.

    Attributes:
        blocks: of the ResNet's groups 0 ... 3; the last one is part of the heads.
        width: channels after the first convolution.
        probes: channels of the proposal head.
        masking: channels of the mask head.
        classes: background included.
        vector: length of an association vector; 0 for none.
        agnostic: one box and one mask for all classes.
        temporal: "still", "convolutions" or "lstm".
        lstm: channels of an LSTM.
        depth: LSTMs one after the other.
    """

    blocks: tuple[int, ...] = BLOCKS[101]
    width: int = 64
    probes: int = 1024
    masking: int = 256
    classes: int = 3
    vector: int = 128
    agnostic: bool = True
    temporal: str = "convolutions"
    lstm: int = 128
    depth: int = 1


class Unit(nn.Module):
    """Convolution "W" without bias, normalisation "bn"."""

    def __init__(self, channels: int, out: int, size: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.W = nn.Conv2d(channels, out, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, H, W)."""
        out: Tensor = self.bn(self.W(x))
        return out


class Block(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut; with stride 2 zeros are added at the right and below only."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out, self.stride = width * _GROWTH, stride
        self.conv1 = Unit(channels, width, 1)
        self.conv2 = Unit(width, width, 3, stride, 1 if stride == 1 else 0)
        self.conv3 = Unit(width, out, 1)
        self.convshortcut = Unit(channels, out, 1, stride) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4 * width, H // stride, W // stride)."""
        y, shortcut = self.conv1(x).relu(), x
        if self.stride == 2:
            y, shortcut = functional.pad(y, (0, 1, 0, 1)), x[:, :, :-1, :-1]
        y = self.conv3(self.conv2(y).relu())
        return (y + (shortcut if self.convshortcut is None else self.convshortcut(shortcut))).relu()


def group(channels: int, width: int, count: int, stride: int) -> nn.Sequential:
    """`count` blocks, the first of them with the stride."""
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(count):
        blocks[f"block{i}"] = Block(channels, width, stride if i == 0 else 1)
        channels = width * _GROWTH
    return nn.Sequential(blocks)


class Body(nn.Module):
    """(1, 3, H, W) -> C4 at stride 16, (1, 16 * width, h, w)."""

    def __init__(self, blocks: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.conv0 = Unit(3, width, 7, 2)
        self.group0 = group(width, width, blocks[0], 1)
        self.group1 = group(4 * width, 2 * width, blocks[1], 2)
        self.group2 = group(8 * width, 4 * width, blocks[2], 2)

    def forward(self, image: Tensor) -> Tensor:
        """C4."""
        x = self.conv0(functional.pad(image, (2, 3, 2, 3))).relu()
        x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1)), 3, 2)
        out: Tensor = self.group2(self.group1(self.group0(x)))
        return out


class Heads(nn.Module):
    """Proposals from C4; classes, boxes, vectors and masks from pooled regions (N, C, 14, 14)."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        channels, last, own = 16 * layout.width, 32 * layout.width, 1 if layout.agnostic else layout.classes - 1
        self.rpn, self.fastrcnn, self.maskrcnn = nn.Module(), nn.Module(), nn.Module()
        self.rpn.conv0 = nn.Conv2d(channels, layout.probes, 3, padding=1)
        self.rpn.add_module("class", nn.Conv2d(layout.probes, ANCHORS, 1))
        self.rpn.box = nn.Conv2d(layout.probes, 4 * ANCHORS, 1)
        self.group3 = group(channels, 8 * layout.width, layout.blocks[3], 2)
        self.fastrcnn.add_module("class", nn.Linear(last, layout.classes))
        self.fastrcnn.box = nn.Linear(last, 4 * own)
        if layout.vector:
            self.fastrcnn.reid = nn.Linear(last, layout.vector)
        self.maskrcnn.deconv = nn.ConvTranspose2d(last, layout.masking, 2, 2)
        self.maskrcnn.conv = nn.Conv2d(layout.masking, own, 1)

    def probe(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Objectness logits (1, 15, h, w), deltas (1, 60, h, w)."""
        x = self.rpn.conv0(feature).relu()
        return self.rpn.get_submodule("class")(x), self.rpn.box(x)

    def summarise(self, pooled: Tensor) -> Tensor:
        """(N, 2 * C), the mean of the last group's map."""
        out: Tensor = self.group3(pooled).mean((2, 3))
        return out

    def judge(self, summary: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (N, classes), background first; deltas (N, 1 or classes - 1, 4)."""
        return self.fastrcnn.get_submodule("class")(summary), self.fastrcnn.box(summary).unflatten(1, (-1, 4))

    def draw(self, pooled: Tensor) -> Tensor:
        """Mask logits (N, 1 or classes - 1, 14, 14)."""
        out: Tensor = self.maskrcnn.conv(self.maskrcnn.deconv(self.group3(pooled)).relu())
        return out


class TrackRcnn(nn.Module):
    """All weights."""

    def __init__(self, layout: Layout | None = None) -> None:
        super().__init__()
        self.layout = layout = Layout() if layout is None else layout
        self.resnetconv4 = Body(layout.blocks, layout.width)
        channels, kind = 16 * layout.width, layout.temporal
        self.temporal: Temporal = Still()
        if kind == "convolutions":
            self.temporal = Convolutions(channels)
        elif kind == "lstm":
            self.temporal = Lstm(channels, layout.lstm, layout.depth)
        self.frcnn = Heads(layout)
