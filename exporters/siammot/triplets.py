"""What the track heads learn from: who is searched for, where, and where the target is.

A search region lies where the target was, as in a video; or a random way off, as far as a region reaches and at another
scale; or around something else ("negative"). Where a region holds other objects beside the target, they make it hard.
Some templates show nothing but background: a track that lost its way onto it shall not find it again.

Source: SiamMOT, arXiv:2105.11595, section 4.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporters.siammot.pairs import Objects, Pair

NATURAL, MOVED = 0.4, 0.8  # shares of regions that lie where the target was, and up to here a random way off
JITTER = 0.05  # sides by which a detector's boxes may be wrong
REACH = 0.6  # sides that a target may be off the middle of the region
GROWTH = 0.25  # logarithm of its largest change of scale
NOTHING = 6  # one template of background for so many of objects
APART = 0.25  # IoU of such a template with every object, at most
INSIDE, OUTSIDE = 0.6, 0.85  # sides off the middle: found up to here, gone from here


class Triplets(NamedTuple):
    """Row i is one target. Boxes are xyxy network pixels, the last pixel included.

    Attributes:
        before: (N, 4) float32, the target in the first picture, as a tracker would remember it.
        last: (N, 4) float32, in the second picture: the search region is around it.
        truth: (N, 4) float32, the target in the second picture; `last` where it is not there.
        visible: (N,) float32, 1 found, 0 not, -1 neither.
    """

    before: NDArray[np.float32]
    last: NDArray[np.float32]
    truth: NDArray[np.float32]
    visible: NDArray[np.float32]


def draw_triplets(pair: Pair, count: int, rng: np.random.Generator) -> Triplets:
    """Up to `count` targets of the first picture of a pair, each at most twice, and a few of background.

    None where the first picture shows no object.
    """
    first, second = pair.objects
    rows = rng.permutation(np.arange(len(first.ids)).repeat(2))[:count]
    drawn = [_draw(first, second, int(row), rng) for row in rows]
    drawn += [found for row in rows[::NOTHING] if (found := _draw_nothing(pair, first.boxes[row], rng)) is not None]
    if not drawn:
        none = np.zeros((0, 4), np.float32)
        return Triplets(none, none, none, np.zeros(0, np.float32))
    return Triplets(*(np.array(field, np.float32) for field in zip(*drawn, strict=True)))


def _draw(first: Objects, second: Objects, row: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
    box, number = first.boxes[row], first.ids[row]
    before = disturb(box, JITTER, JITTER, rng)
    here = np.flatnonzero(second.ids == number)
    chance = rng.random()
    if chance < NATURAL:
        last = before
    elif chance < MOVED and len(here):
        last = disturb(second.boxes[here[0]], REACH, GROWTH, rng)
    else:
        last = _elsewhere(box, second, number, rng)
    if len(here):
        truth = second.boxes[here[0]]
        return before, last, truth, np.float32(visibility(last, truth))
    return before, last, last, np.float32(-1 if number in second.hidden else 0)


def _draw_nothing(
    pair: Pair, like: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], ...] | None:
    """A place of about the size of an object without any, sought where it was; None if there is hardly any."""
    first, (height, width) = pair.objects[0], pair.images.shape[2:]
    objects, side = np.concatenate([first.boxes, first.unsure]), like[2:] - like[:2] + 1
    for _ in range(4):
        near = (like[:2] + like[2:]) / 2 + rng.normal(0, 0.8, 2) * side
        middle = near if rng.random() < 0.5 else rng.uniform(0, 1, 2) * (width, height)
        half = (side * np.exp(rng.normal(0, 0.3, 2)) - 1) / 2
        box = np.concatenate([middle - half, middle + half]).astype(np.float32)
        if paired_iou(np.broadcast_to(box, objects.shape), objects).max() <= APART:
            last = disturb(box, 0.2, 0.1, rng)
            return box, last, last, np.float32(0)
    return None


def _elsewhere(
    box: NDArray[np.float32], second: Objects, number: np.int64, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Around another object, of about the same size if there is one, or anywhere."""
    others = second.boxes[second.ids != number]
    if len(others) and rng.random() < 0.7:
        return disturb(others[int(rng.integers(len(others)))], 0.3, GROWTH, rng)
    return (box + np.tile(rng.normal(0, 1.5, 2) * (box[2:] - box[:2] + 1), 2)).astype(np.float32)


def disturb(box: NDArray[np.float32], reach: float, growth: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A box (4,) elsewhere: off by up to `reach` of its sides, its size changed by up to exp(`growth`)."""
    side = box[2:] - box[:2] + 1
    middle = (box[:2] + box[2:]) / 2 + rng.uniform(-reach, reach, 2) * side
    half = (side * np.exp(rng.uniform(-growth, growth) + rng.normal(0, 0.05, 2)) - 1) / 2
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def visibility(last: NDArray[np.float32], truth: NDArray[np.float32]) -> int:
    """Whether a search region holds the target: 1, 0, or -1 where nobody could say."""
    side, own = last[2:] - last[:2] + 1, truth[2:] - truth[:2] + 1
    off = np.abs((truth[:2] + truth[2:] - last[:2] - last[2:]) / 2) / side
    if off.max() > OUTSIDE:
        return 0
    return 1 if off.max() <= INSIDE and (np.abs(np.log(own / side)) < 0.7).all() else -1


def paired_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU (N,) of boxes (N, 4) with others (N, 4), row by row; their last pixel belongs to them."""
    near, far = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    shared = np.clip(far - near + 1, 0, None).prod(1)
    areas = [np.clip(box[:, 2:] - box[:, :2] + 1, 0, None).prod(1) for box in (a, b)]
    iou: NDArray[np.float32] = shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)
    return iou
