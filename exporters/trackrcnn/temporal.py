"""What TrackR-CNN puts between the backbone and the heads: C4 maps of several frames become one.

Both kinds come as the step of a stream: a frame's map and what is remembered of the frames before, all zeros before the
first, give the changed map and what to remember. The 3D convolutions were trained on chunks of frames with a look
ahead; their step says what the last frame of a chunk gets.

Source: MOTS: Multi-Object Tracking and Segmentation, arXiv:1902.03604, section 3; `SepConv3DOverBatch` and `ConvLSTM`
of its code TrackR-CNN (MIT).
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

_REACH = 2  # frames that two layers of three taps look back
_LSTM_WINDOW, _FORGET_BIAS = 5, 1.0


class Temporal(nn.Module):
    """Map (1, C, h, w) and memory -> changed map, memory."""

    @abstractmethod
    def memory(self, channels: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what is remembered."""

    @abstractmethod
    def forward(self, c4: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """The changed map, and the memory in the same order."""


class Still(Temporal):
    """No look back: the paper's network without temporal part."""

    def memory(self, channels: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """Nothing."""
        return {}

    def forward(self, c4: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """The same map."""
        return (c4,)


class SeparableLayer(nn.Module):
    """3x3x3 for each channel, 1x1x1 over channels, ReLU: (1, C, T, h, w), no padding in time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv3d(channels, channels, 3, padding=(0, 1, 1), groups=channels, bias=False)
        self.pointwise = nn.Conv3d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, T - 2, h, w)."""
        out: Tensor = self.pointwise(self.depthwise(x)).relu()
        return out


class Convolutions(Temporal):
    """Two layers over time. Beyond the first frame and after the last there are zeros, in each layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3d_1, self.conv3d_2 = SeparableLayer(channels), SeparableLayer(channels)

    def memory(self, channels: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """The maps of the two frames before, and whether there was one at all."""
        return {"before": (_REACH, channels, height, width), "seen": (1,)}

    def forward(self, c4: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """As the last frame of a chunk; `before` (2, C, h, w) oldest first, `seen` (1,) is 0 for the first frame."""
        before, seen = memory
        nothing = torch.zeros_like(c4)
        maps = torch.cat([before, c4, nothing]).transpose(0, 1)[None]
        middle = self.conv3d_1(maps)  # of the frame before and of this one
        there = torch.cat([(seen > 0).to(c4.dtype), torch.ones(1)])[None, None, :, None, None]
        out = self.conv3d_2(torch.cat([middle * there, nothing[:, :, None]], 2))
        return out[:, :, 0], torch.cat([before[1:], c4]), torch.ones_like(seen)


class LstmCell(nn.Module):
    """One step of a convolutional LSTM; gates in the order input, new, forget, output."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(channels + features, 4 * features, _LSTM_WINDOW, padding=_LSTM_WINDOW // 2)

    def forward(self, x: Tensor, cell: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Cell and hidden state (1, features, h, w) after this frame."""
        i, j, f, o = self.gates(torch.cat([x, hidden], 1)).chunk(4, 1)
        cell = cell * (f + _FORGET_BIAS).sigmoid() + i.sigmoid() * j.tanh()
        return cell, cell.tanh() * o.sigmoid()


class Lstm(Temporal):
    """Convolutional LSTMs, a convolution, and a weighted sum with the map itself."""

    def __init__(self, channels: int, features: int = 128, depth: int = 1) -> None:
        super().__init__()
        self.features = features
        self.cells = nn.ModuleList(LstmCell(channels if i == 0 else features, features) for i in range(depth))
        self.conv0 = nn.Conv2d(features, channels, 3, padding=1, bias=False)
        self.weights = nn.Parameter(torch.tensor([1.0, 0.05]))

    def memory(self, channels: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """Cell and hidden state of each LSTM."""
        names = (f"{kind}{i}" for i in range(len(self.cells)) for kind in ("cell", "hidden"))
        return {name: (1, self.features, height, width) for name in names}

    def forward(self, c4: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """See `Temporal`."""
        x, after = c4, []
        for i, lstm in enumerate(self.cells):
            cell, x = lstm(x, memory[2 * i], memory[2 * i + 1])
            after += [cell, x]
        return (self.weights[0] * c4 + self.weights[1] * self.conv0(x).relu(), *after)
