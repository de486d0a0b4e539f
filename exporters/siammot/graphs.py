"""The network cut into the four graphs that are exported.

A trunk: image -> P2 ... P5 and, per level, the best places of the RPN, decoded. B boxes: regions -> class scores and
refined boxes, for proposals and tracks alike. C template: the tracks' boxes -> what the track head searches for.
D motion: templates and search regions -> where each track is now, and how visible. Suppression, the choice of a level
and the life of tracks belong to the host, which need not know the track head: C and D look the same for all.

Regions come sorted by pyramid level, as four arrays; `order` says where the row of each target went, so that outputs
are in the targets' order. Source: SiamMOT, arXiv:2105.11595, and the authors' code (`spec/siammot.md`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.siammot.dla import STRIDES
from exporters.siammot.heads import (
    ANCHORS,
    BOX_WEIGHTS,
    POOLED,
    UPSAMPLE,
    bicubic_matrix,
    clip_boxes,
    decode_boxes,
    periodic_hann,
    place_anchors,
    sides_penalty,
)
from exporters.siammot.network import Design, SiamMot
from exporters.siammot.operators import roi_align

POOL_STRIDES = STRIDES[:4]  # P6 makes proposals only


class Graph(nn.Module):
    """One exported graph: part of a network under a design."""

    inputs: tuple[str, ...] = (*(f"p{i}" for i in range(2, 6)), *(f"rois{i}" for i in range(2, 6)), "order")
    outputs: tuple[str, ...]

    def __init__(self, network: SiamMot, design: Design) -> None:
        super().__init__()
        self.network, self.design = network, design


class Trunk(Graph):
    """Image -> P2 ... P5, candidates (K, 4), their scores (K,): `Design.level_counts` of each level, best first."""

    inputs = ("image",)
    outputs = ("p2", "p3", "p4", "p5", "candidates", "objectness")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """P2, P3, P4, P5, candidates, objectness."""
        maps = self.network.pyramid(image)
        found = [self.candidates(level, *self.network.rpn(feature)) for level, feature in enumerate(maps)]
        boxes, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        return (*maps[:4], boxes, scores)

    def candidates(self, level: int, logits: Tensor, deltas: Tensor, limit: int | None = None) -> tuple[Tensor, Tensor]:
        """The best places of one level by what the RPN says of it: boxes (k, 4), scores (k,), best first.

        As many as the design says; `limit` says it for pictures of another size.
        """
        height, width = logits.shape[-2:]
        cell = getattr(self.network.anchors, str(level))
        anchors = place_anchors(cell, height, width, STRIDES[level])
        scores, deltas = by_anchor(logits)[:, 0].sigmoid(), by_anchor(deltas)
        best, rows = scores.topk(self.design.level_counts[level] if limit is None else min(limit, len(scores)))
        boxes = decode_boxes(anchors[rows], deltas[rows])
        return boxes if self.design.amodal else clip_boxes(boxes, self.design.size), best


class Boxes(Graph):
    """P2 ... P5 and regions -> class probabilities (N, classes), refined boxes of each class (N, classes, 4)."""

    outputs = ("scores", "boxes")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, boxes."""
        maps, rois, order = inputs[:4], inputs[4:8], inputs[8]
        logits, deltas = self.network.box(pool(maps, rois, order, POOLED))
        regions = torch.cat(rois)[order]
        boxes = decode_boxes(regions[:, None], deltas, BOX_WEIGHTS)
        return logits.softmax(1), boxes if self.design.amodal else clip_boxes(boxes, self.design.size)


class Template(Graph):
    """P2 ... P5, boxes of tracks, the memory so far -> the memory now (N + K, C, T, T): new templates, then old ones.

    `before` (M, C, T, T) is what this graph gave last, `kept` (K,) int64 its rows that are still wanted: so the memory
    need never leave the device.
    """

    inputs = (*Graph.inputs, "before", "kept")
    outputs = ("templates",)

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """Templates; of the boxes alone where no memory is given."""
        return (remember(pool(inputs[:4], inputs[4:8], inputs[8], self.design.template), inputs[9:]),)


class Motion(Graph):
    """P2 ... P5, templates, the tracks' last boxes and their search regions -> boxes (N, 4), visibility (N,).

    `rows` (N,) int64 says which of the templates belong to these tracks.
    """

    inputs = (*Graph.inputs, "templates", "last_boxes", "rows")
    outputs = ("boxes", "visibility")

    def __init__(self, network: SiamMot, design: Design) -> None:
        super().__init__(network, design)
        places = design.response * UPSAMPLE
        hann = periodic_hann(places)
        self.register_buffer("upsample", bicubic_matrix(design.response))
        self.register_buffer("hann", torch.outer(hann, hann).flatten())
        border = design.template // 2 * UPSAMPLE
        self.register_buffer("steps", (torch.arange(places) + border) / (design.search * UPSAMPLE - 1))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes, visibility; without `rows` templates are in the order of the tracks."""
        maps, rois, order, last = inputs[:4], inputs[4:8], inputs[8], inputs[10]
        templates = recall(*inputs[9:])
        search = pool(maps, rois, order, self.design.search, border=1)
        cls, centre, reg = self.network.track(search, templates)
        if self.design.relative:
            reg = reg * (last[:, 2:] - last[:, :2]).repeat(1, 2)[:, :, None, None]
        return self.locate(torch.cat(rois)[order], last, cls, centre, reg)

    def locate(self, regions: Tensor, last: Tensor, cls: Tensor, centre: Tensor, reg: Tensor) -> tuple[Tensor, Tensor]:
        """The best place of each target on the upsampled maps: boxes (N, 4), visibility (N,)."""
        value, visible, sides = self.weigh(last, cls, centre, reg)
        best = value.argmax(1, keepdim=True)
        places = len(self.steps)
        at = torch.cat([best % places, torch.div(best, places, rounding_mode="floor")], 1)  # (N, 2), x and y
        middle = regions[:, :2] + self.steps[at] * (regions[:, 2:] - regions[:, :2])
        reach = sides.gather(2, best[:, None].expand(-1, 4, -1))[:, :, 0]
        boxes = torch.cat([middle - reach[:, :2], middle + reach[:, 2:]], 1)
        boxes = boxes if self.design.amodal else clip_boxes(boxes, self.design.size)
        return boxes, visible.gather(1, best)[:, 0]

    def weigh(self, last: Tensor, cls: Tensor, centre: Tensor, reg: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the choice looks at, P places each: value (N, P), visibility (N, P), sides (N, 4, P)."""
        coarse = torch.cat([cls[:, 1:] - cls[:, :1], centre, reg], 1)
        wide = self._widen(self._widen(coarse))
        fine = wide.reshape(wide.shape[0], int(wide.shape[1]), len(self.steps) ** 2)
        visible, sides = fine[:, 0].sigmoid(), fine[:, 2:]
        seen = visible * fine[:, 1].sigmoid() if self.design.centerness else visible
        penalty = sides_penalty(sides[:, 0] + sides[:, 2], sides[:, 1] + sides[:, 3], last, self.design.penalty)
        share = self.design.window_weight
        if self.design.window == "additive":
            return (1 - share) * seen * penalty + share * self.hann, visible, sides
        return seen * ((1 - share) * penalty + share * self.hann), visible, sides

    def _widen(self, maps: Tensor) -> Tensor:
        """Transpose maps (N, K, R, S) and upsample their rows: (N, K, S, P).

        One product of plain matrices and no inferred sizes: ONNX Runtime's batched products, and a size of -1, fail on
        no targets.
        """
        n, (kinds, cells, columns) = maps.shape[0], (int(side) for side in maps.shape[1:])
        rows = maps.transpose(2, 3).reshape(n * kinds * columns, cells) @ self.upsample.T
        return rows.reshape(n, kinds, columns, len(self.steps))


class ImplicitTemplate(Graph):
    """As `Template`, of the regions around the boxes."""

    inputs = Template.inputs
    outputs = Template.outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """Templates; of the boxes alone where no memory is given."""
        around = [widen(rois, self.design.search_scale) for rois in inputs[4:8]]
        return (remember(pool(inputs[:4], around, inputs[8], self.design.template, border=1), inputs[9:]),)


class ImplicitMotion(Graph):
    """As `Motion`, by one network of full layers on the features of the same kind of region before and now."""

    inputs = Motion.inputs
    outputs = Motion.outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes, visibility; without `rows` templates are in the order of the tracks."""
        maps, rois, order, last = inputs[:4], inputs[4:8], inputs[8], inputs[10]
        before = recall(*inputs[9:])
        now = pool(maps, rois, order, self.design.template, border=1)
        visible, deltas = self.network.track(before, now)
        boxes = decode_boxes(last, deltas)
        return boxes if self.design.amodal else clip_boxes(boxes, self.design.size), visible.sigmoid()


def by_anchor(maps: Tensor) -> Tensor:
    """Maps (1, anchors * K, h, w) as rows (h * w * anchors, K) in the order of `place_anchors`."""
    return maps[0].unflatten(0, (ANCHORS, -1)).permute(2, 3, 0, 1).flatten(0, 2)


def remember(fresh: Tensor, memory: Sequence[Tensor]) -> Tensor:
    """Templates of this frame, then those of the memory (`before`, `kept`) that stay; without memory these alone."""
    if not memory:
        return fresh
    before, kept = memory
    return torch.cat([fresh, before[kept]])


def recall(templates: Tensor, last_boxes: Tensor, rows: Tensor | None = None) -> Tensor:
    """Templates of the tracks that `last_boxes` belong to."""
    return templates if rows is None else templates[rows]


def widen(boxes: Tensor, scale: float) -> Tensor:
    """Search regions of boxes, as `tracker.models.siammot.regions.search_regions` gives them to the motion graph."""
    half = (boxes[:, 2:] - boxes[:, :2] + 1) * ((scale - 1) / 2)
    return torch.cat([boxes[:, :2] - half, boxes[:, 2:] + half], 1)


def pool(maps: Sequence[Tensor], rois: Sequence[Tensor], order: Tensor, size: int, *, border: int = 0) -> Tensor:
    """Regions of all levels, in the targets' order: (N, C, size, size).

    Args:
        maps: P2 ... P5, each (1, C, h, w).
        rois: of each of these levels, (n, 4) network pixels.
        order: (N,) int64: target i is row `order[i]` of the concatenated regions.
        size: cells per side.
        border: cells of zeros around every map. One of them makes features fade to zero outside the image, as the
            authors' 512 pixels of padding do.
    """
    parts = []
    for feature, regions, stride in zip(maps, rois, POOL_STRIDES, strict=True):
        wide = functional.pad(feature, [border] * 4) if border else feature
        parts.append(roi_align(wide, regions + border * stride, size, stride))
    return torch.cat(parts)[order]


GRAPHS: dict[str, dict[str, type[Graph]]] = {
    "emm": {"trunk": Trunk, "boxes": Boxes, "template": Template, "motion": Motion},
    "imm": {"trunk": Trunk, "boxes": Boxes, "template": ImplicitTemplate, "motion": ImplicitMotion},
}
"""Track head -> name of a file -> what is in it."""
