"""SiamMOT as one module, and the choices that its weights leave open.

Source: SiamMOT, arXiv:2105.11595, and the authors' code (`spec/siammot.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exporters.siammot.dla import CHANNELS, FEATURES, STRIDES, Dla34, Pyramid
from exporters.siammot.heads import ANCHORS, BoxHead, ImplicitHead, ProposalHead, TrackHead, cell_anchors

ANCHOR_SIZES = (32, 64, 128, 256, 512)
WINDOWS = ("additive", "multiplicative")
TEMPLATE = 15  # cells per side


@dataclass(frozen=True)
class Design:
    """What is not in the weights.

    Attributes:
        size: (width, height) of the input, multiples of 32.
        amodal: boxes may leave the image.
        candidates: places per level that the RPN hands over, at most.
        template: cells per side of a template.
        search_scale: a search region's side in sides of the track's box.
        centerness: multiply visibility by centerness where the best place is chosen.
        window: "additive" mixes a Hann window in, as the authors' code does, "multiplicative" weighs by it, as in
            equation 5 of the paper.
        window_weight: share of the window.
        penalty: strength of the penalty on changes of size.
        relative: the explicit head gives distances in sides of the track's box, not in pixels as the authors' does;
            pooled features do not show how large they were, so that a small network cannot know pixels.
    """

    size: tuple[int, int]
    amodal: bool = False
    candidates: int = 1000
    template: int = TEMPLATE
    search_scale: float = 2.0
    centerness: bool = True
    window: str = "additive"
    window_weight: float = 0.4
    penalty: float = 0.1
    relative: bool = False

    @property
    def search(self) -> int:
        """Cells per side of a search region."""
        return int(self.template * self.search_scale)

    @property
    def response(self) -> int:
        """Cells per side of the correlation's output."""
        return self.search - self.template + 1

    @property
    def level_counts(self) -> tuple[int, ...]:
        """Candidates of P2 ... P6."""
        width, height = self.size
        return tuple(min(self.candidates, ANCHORS * (-(-height // s)) * (-(-width // s))) for s in STRIDES)


class SiamMot(nn.Module):
    """All weights; names follow the official state dict but for the prefixes of `checkpoint.PREFIXES`.

    Args:
        channels: of the body's levels.
        features: of the pyramid.
        hidden: of the box head; the implicit track head has half as many.
        classes: background included.
        motion: "emm", the explicit model that correlates, or "imm", the implicit one, which no official checkpoint has.
        template: cells per side of what the implicit track head sees; `Design.template` must say the same.
        anchors: side of the anchors of each pyramid level, network pixels; they are part of the weights.
    """

    def __init__(
        self,
        channels: Sequence[int] = CHANNELS,
        features: int = FEATURES,
        hidden: int = 1024,
        classes: int = 2,
        motion: str = "emm",
        template: int = TEMPLATE,
        anchors: Sequence[float] = ANCHOR_SIZES,
    ) -> None:
        super().__init__()
        self.motion = motion
        self.body, self.fpn = Dla34(channels), Pyramid(channels, features)
        self.rpn, self.box = ProposalHead(features), BoxHead(features, hidden, classes)
        self.track = TrackHead(features) if motion == "emm" else ImplicitHead(features * template**2, hidden // 2)
        self.anchors = nn.Module()
        for i, (size, stride) in enumerate(zip(anchors, STRIDES, strict=True)):
            self.anchors.register_buffer(str(i), cell_anchors(size, stride))

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """(1, 3, H, W) normalised RGB -> P2 ... P6; float32 in and out."""
        return [level.float() for level in self.fpn(self.body(image.to(self.rpn.conv.weight.dtype)))]

    @property
    def halved(self) -> bool:
        """Layers compute in float16."""
        return self.rpn.conv.weight.dtype == torch.float16

    def halve(self) -> None:
        """Let every layer compute in float16; pooling, boxes and the choice of places stay float32."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.GroupNorm)):
                module.half()
