"""What is wrong with proposals, detections and followed targets.

Source: Faster R-CNN, arXiv:1506.01497 (proposals, detections); SiamMOT, arXiv:2105.11595, section 3.2 and 4.2: focal
loss of visibility, IoU loss of sides weighed by centerness, as in FCOS, arXiv:1904.01355. Where the paper and the
authors' code differ it is the paper: focal loss, not balanced cross entropy; but only the inner half of a box is the
target, between the paper's whole box and their inner fifth.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from exporters.siammot.graphs import widen
from exporters.siammot.heads import BOX_WEIGHTS, UPSAMPLE, encode_boxes
from exporters.siammot.network import Design

PROPOSED, REFUSED = 0.5, 0.3  # IoU with an anchor from which it is an object, up to which it is none
DETECTED = 0.5  # IoU with a proposal
INNER = 0.5  # share of a box's sides within which places belong to it
GAMMA = 2.0  # of the focal loss


def iou_matrix(a: Tensor, b: Tensor) -> Tensor:
    """IoU (N, M) of boxes (N, 4) and (M, 4), the last pixel included."""
    shared = _overlap(a, b)
    areas = [(box[:, 2:] - box[:, :2] + 1).prod(1) for box in (a, b)]
    return shared / (areas[0][:, None] + areas[1] - shared)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    near, far = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    return (far - near + 1).clamp(min=0).prod(2)


def is_covered(boxes: Tensor, unsure: Tensor) -> Tensor:
    """(N,) bool: more than half of a box lies on one of the `unsure` (M, 4)."""
    if not len(unsure):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    return (_overlap(boxes, unsure) / (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)[:, None]).amax(1) > 0.5


def match_anchors(
    anchors: Tensor, truth: Tensor, unsure: Tensor, count: int, dice: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A random choice of anchors to learn from: rows that are objects, of which ones, rows that are none.

    Args:
        anchors: (A, 4).
        truth: (N, 4); the anchors that fit best are always theirs.
        unsure: (M, 4), see `Objects`.
        count: anchors in all; at most half of them are objects.
        dice: decides which.
    """
    if not len(truth):
        nothing = torch.nonzero(~is_covered(anchors, unsure))[:, 0]
        none = nothing[:0]
        return none, none, _some(nothing, count, dice)
    iou = iou_matrix(anchors, truth)
    best, owner = iou.max(1)
    good = best >= PROPOSED
    top = iou.amax(0).clamp(min=REFUSED / 3)
    rows, columns = torch.nonzero(iou >= top - 1e-4, as_tuple=True)
    owner[rows], good[rows] = columns, True
    objects = _some(torch.nonzero(good)[:, 0], count // 2, dice)
    nothing = torch.nonzero(~good & (best < REFUSED) & ~is_covered(anchors, unsure))[:, 0]
    return objects, owner[objects], _some(nothing, count - len(objects), dice)


def match_proposals(
    proposals: Tensor, truth: Tensor, unsure: Tensor, count: int, dice: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """As `match_anchors`, of proposals (P, 4) for the box head; every good one is an object."""
    if not len(truth):
        nothing = torch.nonzero(~is_covered(proposals, unsure))[:, 0]
        none = nothing[:0]
        return none, none, _some(nothing, count, dice)
    best, owner = iou_matrix(proposals, truth).max(1)
    objects = _some(torch.nonzero(best >= DETECTED)[:, 0], count // 2, dice)
    nothing = torch.nonzero((best < DETECTED) & ~is_covered(proposals, unsure))[:, 0]
    return objects, owner[objects], _some(nothing, count - len(objects), dice)


def _some(rows: Tensor, count: int, dice: torch.Generator) -> Tensor:
    return rows if len(rows) <= count else rows[torch.randperm(len(rows), generator=dice)[:count].to(rows.device)]


def proposal_loss(
    logits: Tensor, deltas: Tensor, anchors: Tensor, truth: Tensor, matched: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Objectness (A,) and deltas (A, 4) of one picture's anchors (A, 4), some of which `match_anchors` chose."""
    objects, owner, nothing = matched
    rows = torch.cat([objects, nothing])
    wanted = torch.cat([torch.ones_like(objects), torch.zeros_like(nothing)]).float()
    score = functional.binary_cross_entropy_with_logits(logits[rows], wanted)
    target = encode_boxes(anchors[objects], truth[owner])
    place = functional.smooth_l1_loss(deltas[objects], target, beta=1 / 9, reduction="sum")
    return score + place / max(1, len(rows))


def detection_loss(logits: Tensor, deltas: Tensor, regions: Tensor, labels: Tensor, truth: Tensor) -> Tensor:
    """Class logits (R, classes) and deltas (R, classes, 4) of regions (R, 4).

    Args:
        logits: of the box head.
        deltas: likewise.
        regions: what it saw.
        labels: (R,) int64, 0 for nothing.
        truth: (R, 4); rows of nothing do not count.
    """
    objects = torch.nonzero(labels)[:, 0]
    target = encode_boxes(regions[objects], truth[objects], BOX_WEIGHTS)
    place = functional.smooth_l1_loss(deltas[objects, labels[objects]], target, reduction="sum")
    return functional.cross_entropy(logits, labels) + place / max(1, len(labels))


def focal_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Binary, elementwise; `wanted` 0 or 1. Source: arXiv:1708.02002, both sides alike."""
    cross = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (1 - torch.exp(-cross)) ** GAMMA * cross


def response_places(last: Tensor, design: Design) -> Tensor:
    """(N, R, R, 2) network pixels, x and y: where the cells of the response to boxes (N, 4) are, before upsampling."""
    region = widen(last, design.search_scale)
    cells = torch.arange(design.response, device=last.device) * UPSAMPLE + (UPSAMPLE - 1) / 2
    steps = (cells + design.template // 2 * UPSAMPLE) / (design.search * UPSAMPLE - 1)
    at = region[:, None, :2] + steps[:, None] * (region[:, None, 2:] - region[:, None, :2])  # (N, R, 2)
    x, y = at.unbind(2)
    shape = (-1, design.response, design.response)
    return torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], 3)


def explicit_loss(
    maps: tuple[Tensor, Tensor, Tensor], last: Tensor, truth: Tensor, visible: Tensor, design: Design
) -> tuple[Tensor, Tensor, Tensor]:
    """EMM on the response's own grid: losses of visibility, of sides and of centerness.

    Args:
        maps: of `TrackHead`; sides in units of `last`, see `Design.relative`.
        last: (N, 4).
        truth: (N, 4).
        visible: (N,), see `Triplets`; a row of -1 counts nowhere.
        design: says where the cells are.
    """
    cls, centre, reg = maps
    places, unit = response_places(last, design), (last[:, 2:] - last[:, :2]).repeat(1, 2)[:, :, None, None]
    reach = torch.cat([places - truth[:, None, None, :2], truth[:, None, None, 2:] - places], 3).permute(0, 3, 1, 2)
    target = reach / unit  # (N, 4, R, R): left, top, right, bottom
    found = (visible == 1)[:, None, None]
    off = (target[:, :2] - target[:, 2:]).abs() / (target[:, :2] + target[:, 2:])
    inner = (off < INNER).all(1) & found
    count = inner.sum().clamp(min=1)
    seen = focal_loss(cls[:, 1] - cls[:, 0], inner.float()) * (visible >= 0)[:, None, None]
    inside = (target > 0).all(1) & found
    near, far = target.clamp(min=1e-6).unflatten(1, (2, 2)).aminmax(dim=1)
    wanted = (near / far).prod(1).sqrt()[inside]
    middle = functional.binary_cross_entropy_with_logits(centre[:, 0][inside], wanted, reduction="sum")
    got, true = (sides.permute(0, 2, 3, 1)[inside] for sides in (reg, target))
    place = (-_same_middle_iou(got, true).clamp(min=1e-3).log() * wanted).sum() / wanted.sum().clamp(min=1)
    return seen.sum() / count, place, middle / inside.sum().clamp(min=1)


def _same_middle_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (K,) of boxes given as distances (K, 4) from one place to left, top, right and bottom."""

    def area(sides: Tensor) -> Tensor:
        return (sides[:, :2] + sides[:, 2:]).prod(1)

    shared = area(torch.minimum(a, b))
    return shared / (area(a) + area(b) - shared).clamp(min=1e-9)


def implicit_loss(
    visible_logits: Tensor, deltas: Tensor, last: Tensor, truth: Tensor, visible: Tensor
) -> tuple[Tensor, Tensor]:
    """IMM: focal loss of visibility, smooth L1 of the motion; arguments as of `explicit_loss`."""
    asked, found = visible >= 0, visible == 1
    seen = focal_loss(visible_logits, (visible == 1).float()) * asked
    target = encode_boxes(last[found], truth[found])
    place = functional.smooth_l1_loss(deltas[found], target, beta=1 / 9, reduction="sum")
    return 4 * seen.sum() / asked.sum().clamp(min=1), place / found.sum().clamp(min=1)
