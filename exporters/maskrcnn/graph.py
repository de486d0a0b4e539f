"""The network as it is exported: image in, the rows of its best detections out, suppression included.

The last K detections are padded with rows of score 0 to a multiple of `Design.step`, at least one step: no part of the
graph ever runs on zero rows, and few different shapes occur (a GPU tunes its convolutions anew for each).

Source: Mask R-CNN, arXiv:1703.06870; torchvision's order of steps and thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.maskrcnn.heads import (
    ANCHOR_SIDES,
    BOX_WEIGHTS,
    LARGEST_GROWTH,
    POOLED,
    POOLED_MASK,
    are_wider,
    clip_boxes,
    decode_boxes,
    place_anchors,
    unstack,
)
from exporters.maskrcnn.operators import pool, suppress
from tracker.errors import ConfigError

_MULTIPLE = 32  # of the sides that the pyramid needs
_LEAST_PROPOSAL, _LEAST_BOX = 1e-3, 1e-2  # px a side


@dataclass(frozen=True)
class Design:
    """What is not in the weights; the defaults are torchvision's.

    Attributes:
        size: (width, height) of the input; inside, zeros fill it up to multiples of 32.
        candidates: places per group (see `Detector.place_groups`) that compete for a proposal.
        proposals: that the box head looks at.
        proposal_nms: a proposal that overlaps a better one of its group by more is dropped.
        min_score: a detection's score is above it.
        nms: a detection that overlaps a better one of its class by more is dropped.
        detections: best ones kept, K.
        step: rows come in multiples of it.
        features: pyramid level (2 ... 5) that is an output, too; None for none.

    Raises:
        ConfigError: no proposal, or no detection.
    """

    size: tuple[int, int] = (1333, 800)
    candidates: int = 1000
    proposals: int = 1000
    proposal_nms: float = 0.7
    min_score: float = 0.05
    nms: float = 0.5
    detections: int = 100
    step: int = 20
    features: int | None = None

    def __post_init__(self) -> None:
        if self.proposals < 1 or self.detections < 1:
            raise ConfigError(
                f"expected at least one proposal and one detection, got {self.proposals}, {self.detections}"
            )

    @property
    def padded(self) -> tuple[int, int]:
        """(width, height) that the backbone sees."""
        width, height = (-(-side // _MULTIPLE) * _MULTIPLE for side in self.size)
        return width, height


class Found(NamedTuple):
    """What one image gives.

    Attributes:
        maps: P2 ... P6, each (1, C, h, w).
        proposals: (P, 4), best first.
        objectness: (P,) in 0..1, -1 where there were fewer proposals.
        chances: (P, classes - 1) probability of each class but the background; 0 where the box is no box.
        class_boxes: (P, classes - 1, 4) refined boxes.
        boxes: (N, 4) network pixels, best first.
        scores: (N,), 0 for padding.
        labels: (N,) int64, from 1.
        rows: (N,) int64, the proposal that each came from.
        masks: (N, 28, 28) in 0..1, of the label, over the box.
    """

    maps: list[Tensor]
    proposals: Tensor
    objectness: Tensor
    chances: Tensor
    class_boxes: Tensor
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    rows: Tensor
    masks: Tensor


class Detector(nn.Module):
    """Image (1, 3, h, w) normalised RGB, extent (2,) px of the picture in it -> `outputs`.

    A network with other layers overrides `place_groups`, `weigh_places`, `classify` and `draw`; one with more heads
    `outputs` and `tell`: what `find` returns is all there is to know. One that remembers frames has more `inputs`,
    which `memory` describes and `look` takes, and names what it gives out for the next frame in `fixed`.

    Attributes:
        memory: shapes of the inputs that carry something from frame to frame.
    """

    inputs: tuple[str, ...] = ("image", "extent")
    outputs: tuple[str, ...] = ("boxes", "scores", "labels", "masks", "proposals")
    fixed: tuple[str, ...] = ("features", "semantic")
    """Outputs that have always the same shape; all others have one row for each detection."""
    first_level = 2
    """Pyramid level of the first map."""
    largest_growth = LARGEST_GROWTH
    """Logarithm of the largest factor by which a box becomes wider or higher."""

    def __init__(self, network: nn.Module, design: Design) -> None:
        super().__init__()
        self.network, self.design = network, design
        self.memory: dict[str, tuple[int, ...]] = {}
        for i, anchors in enumerate(self.place_groups()):
            self.register_buffer(f"anchors{i}", anchors, persistent=False)
        if design.features is not None:
            self.outputs = (*self.outputs, "features")

    @property
    def class_count(self) -> int:
        """Classes, without background."""
        return int(self.network.layout.classes) - 1

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The tensors of `outputs`, from those of `inputs`."""
        return self.tell(self.find(*given))

    def tell(self, found: Found) -> tuple[Tensor, ...]:
        """What of it the graph gives out."""
        out = (found.boxes, found.scores, found.labels, found.masks, found.rows)
        level = self.design.features
        return out if level is None else (*out, found.maps[level - self.first_level])

    def find(self, image: Tensor, extent: Tensor, *memory: Tensor) -> Found:
        """All stages."""
        maps = self.look(image, *memory)
        proposals, objectness = self.propose(maps, extent)
        chances, class_boxes = self.judge(maps, proposals, objectness, extent)
        boxes, scores, labels, rows = self.choose(chances, class_boxes)
        masks = self.draw(maps, boxes, labels)
        return Found(maps, proposals, objectness, chances, class_boxes, boxes, scores, labels, rows, masks)

    def look(self, image: Tensor, *memory: Tensor) -> list[Tensor]:
        """Maps of the heads, from the finest to the coarsest, and what is to be remembered."""
        (width, height), (wide, high) = self.design.size, self.design.padded
        maps: list[Tensor] = self.network.backbone(functional.pad(image, (0, wide - width, 0, high - height)))
        return maps

    def place_groups(self) -> list[Tensor]:
        """Anchors (A, 4) of all places, in groups: proposals suppress others of their group. Here, a group a level."""
        width, height = self.design.padded
        groups = []
        for i, side in enumerate(ANCHOR_SIDES):
            cells = [-(-extent // (4 << i)) for extent in (width, height)]
            # whole numbers: on an odd number of cells P6 is a little denser than 64 px, as in torchvision
            stride = (width // cells[0], height // cells[1])
            groups.append(place_anchors(side, cells[1], cells[0], stride))
        return groups

    def weigh_places(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Objectness logits (A,) and box deltas (A, 4) of each group, in the order of its anchors."""
        return [unstack(*self.network.rpn.head(feature)) for feature in maps]

    def propose(self, maps: Sequence[Tensor], extent: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals (P, 4) and their objectness (P,), -1 where there are no more."""
        found = [self._candidates(i, *group, extent) for i, group in enumerate(self.weigh_places(maps))]
        counts = [int(scores.shape[0]) for _, scores in found]
        most = max(counts)
        boxes = torch.stack([functional.pad(b, (0, 0, 0, most - n)) for (b, _), n in zip(found, counts, strict=True)])
        scores = torch.stack(
            [functional.pad(s, (0, most - n), value=-1.0) for (_, s), n in zip(found, counts, strict=True)]
        )
        count = min(self.design.proposals, len(found) * most)
        kept = suppress(boxes, scores, self.design.proposal_nms, min(count, most), -0.5)
        best, rows = kept.flatten().topk(count)
        return boxes.flatten(0, 1)[rows], best

    def _candidates(self, group: int, logits: Tensor, deltas: Tensor, extent: Tensor) -> tuple[Tensor, Tensor]:
        """The best places of a group: boxes (k, 4), objectness (k,), -1 for one without area."""
        best, rows = logits.topk(min(self.design.candidates, int(logits.shape[0])))
        anchors = self.get_buffer(f"anchors{group}")[rows]
        boxes = clip_boxes(decode_boxes(anchors, deltas[rows], largest_growth=self.largest_growth), extent)
        return boxes, torch.where(are_wider(boxes, _LEAST_PROPOSAL), best.sigmoid(), torch.full_like(best, -1))

    def judge(
        self, maps: Sequence[Tensor], proposals: Tensor, objectness: Tensor, extent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Class probabilities (P, classes - 1) and refined boxes (P, classes - 1, 4)."""
        logits, deltas = self.classify(maps, proposals)
        boxes = clip_boxes(decode_boxes(proposals[:, None], deltas, BOX_WEIGHTS, self.largest_growth), extent)
        real = are_wider(boxes, _LEAST_BOX) & (objectness >= 0)[:, None]
        return logits.softmax(1)[:, 1:] * real, boxes

    def classify(self, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (P, classes), background first, and box deltas (P, classes - 1, 4) of boxes (P, 4)."""
        heads = self.network.roi_heads
        logits, deltas = heads.box_predictor(heads.box_head(pool(maps, boxes, POOLED)))
        return logits, deltas[:, 1:]

    def choose(self, chances: Tensor, class_boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The best detections of all classes: boxes (N, 4), scores, labels, rows of the proposals (N,)."""
        design, (proposals, classes) = self.design, (int(side) for side in chances.shape)
        boxes = class_boxes.transpose(0, 1)
        count = min(design.detections, proposals * classes)
        kept = suppress(boxes, chances.T.contiguous(), design.nms, count, design.min_score)
        scores, at = kept.flatten().topk(count)
        wanted = (scores > 0).sum().clamp(min=1)
        rows = torch.div(wanted + (design.step - 1), design.step, rounding_mode="floor") * design.step
        first = torch.nonzero(torch.arange(count) < rows)[:, 0]
        at = at[first]
        label = torch.div(at, proposals, rounding_mode="floor")
        return boxes.reshape(-1, 4)[at], scores[first].clamp(min=0), label + 1, at - label * proposals

    def draw(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Masks (N, 28, 28) in 0..1 of boxes (N, 4), each of its label."""
        heads = self.network.roi_heads
        return take_masks(heads.mask_predictor(heads.mask_head(pool(maps, boxes, POOLED_MASK))), labels)


def take_masks(logits: Tensor, channels: Tensor) -> Tensor:
    """Masks (N, side, side) in 0..1 from logits (N, K, side, side), each of its channel (N,)."""
    side = int(logits.shape[3])
    return logits.gather(1, channels[:, None, None, None].expand(-1, 1, side, side))[:, 0].sigmoid()
