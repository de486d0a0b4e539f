"""A small SiamMOT with both track heads on one detector, as it is trained on rendered streets."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from exporters.checkpoint import read_checkpoint
from exporters.scenes import Size
from exporters.siammot.dla import freeze, thaw
from exporters.siammot.heads import ImplicitHead
from exporters.siammot.network import Design, SiamMot
from tracker.errors import ConfigError

CLASSES = ("person", "car")
STREET = Design(size=(576, 320), template=9, candidates=200, relative=True, window="multiplicative", window_weight=0.2)
"""What the trained network is exported with; of the windows this one found most on validation streets."""


@dataclass(frozen=True)
class Recipe:
    """How the network is trained; `Pace` says what the first ones mean.

    Attributes:
        minutes: wall clock for the optimisation.
        steps: steps instead.
        rate: highest learning rate of AdamW.
        average: decay of the moving average of the weights, which is what gets exported.
        design: the network's input, and its cells.
        crop: (width, height) of what it learns from: windows of frames at that scale.
        pairs: a step.
        triplets: targets of a pair, at most.
        anchors: of a picture that the RPN learns from.
        regions: of a picture that the box head learns from.
        decay: weight decay.
        channels: of the body.
        features: of the pyramid.
        hidden: of the box head.
        anchor_sizes: network pixels, of P2 ... P6.
        start: weights to go on from, of --save-checkpoint; None to begin with random ones.
        start_share: share of the learning rate after such a start.
        seed: of weights and samples.
        threads: of torch.
        device: of torch.
    """

    minutes: float = 40.0
    steps: int | None = None
    rate: float = 2e-3
    average: float = 0.998
    design: Design = STREET
    crop: Size = (448, 256)
    pairs: int = 2
    triplets: int = 24
    anchors: int = 160
    regions: int = 64
    decay: float = 0.02
    channels: tuple[int, ...] = (8, 8, 16, 32, 48, 64)
    features: int = 32
    hidden: int = 96
    anchor_sizes: tuple[float, ...] = (16, 32, 64, 128, 256)
    start: Path | None = None
    start_share: float = 0.3
    seed: int = 1
    threads: int = 2
    device: str = "cpu"


class TwoHeads(nn.Module):
    """One detector, both track heads; normalisation learns.

    Attributes:
        network: with the explicit head.
        implicit: the other one.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = self._build("emm")
        thaw(self.network)
        implicit = self._build("imm").track
        assert isinstance(implicit, ImplicitHead)
        self.implicit = implicit
        _initialise(self)

    def _build(self, motion: str) -> SiamMot:
        r = self.recipe
        cells, classes = r.design.template, len(CLASSES) + 1
        return SiamMot(r.channels, r.features, r.hidden, classes, motion, cells, r.anchor_sizes)

    def networks(self) -> dict[str, SiamMot]:
        """What is exported: by motion, in evaluation mode."""
        explicit = copy.deepcopy(self.network).cpu().to(memory_format=torch.contiguous_format)
        freeze(explicit)
        implicit = self._build("imm")
        implicit.track = copy.deepcopy(self.implicit).cpu()
        track = {f"track.{name}": tensor for name, tensor in implicit.track.state_dict().items()}
        shared = {name: t for name, t in explicit.state_dict().items() if not name.startswith("track.")}
        implicit.load_state_dict(shared | track)
        return {"emm": explicit.eval(), "imm": implicit.eval()}


def load_weights(model: TwoHeads, path: Path) -> None:
    """Fill a network with what `python -m exporters siammot --train --save-checkpoint` kept.

    Raises:
        ConfigError: no such file, or other tensors in it.
    """
    try:
        model.load_state_dict(read_checkpoint(path)[0])
    except (RuntimeError, TypeError) as reason:
        why = str(reason).splitlines()[0]
        raise ConfigError(f"{path} does not hold the weights of a small SiamMOT: {why}") from None


def _initialise(model: TwoHeads) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    track, network = model.network.track, model.network
    for last in (
        network.rpn.cls_logits, network.rpn.bbox_pred, network.box.cls_score, network.box.bbox_pred,
        track.cls, track.center, track.reg, model.implicit.visible, model.implicit.shift,
    ):  # fmt: skip
        nn.init.normal_(last.weight, std=0.01)
    nn.init.constant_(track.reg.bias, 0.5)  # half a box to every side: within ReLU's reach
