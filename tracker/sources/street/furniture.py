"""Trees, lamp posts, signs and bollards: where their parts stand before the camera, and what shadows they cast."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.sources.street.classes import VEGETATION
from tracker.sources.street.layout import COS, FOCAL, HAZE_B, HAZE_M, SIN, SUN_X, Layout
from tracker.sources.street.paint import (
    EXTRA_X,
    EXTRA_Y,
    LEAVES,
    WIDTH,
    capsule,
    ellipse,
    grain,
    paint,
    pattern,
    quadrangle,
)
from tracker.sources.street.rig import project


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """Stuff that stands in front of people: a picture with hard edges.

    Attributes:
        depth: distance from the camera plane in metres; who is farther is hidden.
        x: picture column of its left edge, without pan and shake.
        y: picture row of its upper edge.
        colours: (h, w, 3) uint8.
        cover: (h, w) bool.
        label: class of its pixels.
    """

    depth: float
    x: int
    y: int
    colours: NDArray[np.uint8]
    cover: NDArray[np.bool_]
    label: int


def paint_tree(
    layout: Layout, tree: NDArray[np.float64], canvas: tuple[int, int], margin: tuple[int, int]
) -> Sprite | None:
    """One tree, cropped to what can be seen; None if nothing."""
    width, height = canvas
    image = np.full((height, width, 3), (52, 84, 60), np.uint8)
    ids = np.ones((height, width), np.int32)
    classes = np.zeros((height, width), np.uint8)
    parts = np.zeros((96, WIDTH))
    count = _pose_tree(tree, layout.camera, margin[0], margin[1], layout.salt, parts)
    salt = layout.salt + int(tree[0] * 64)
    paint(parts, count, 0, VEGETATION, salt, layout.camera[SUN_X], image, ids, classes)
    cover = ids == 0
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    if not len(rows):
        return None
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    depth = float(tree[0] * layout.camera[SIN] + tree[1] * layout.camera[COS])
    crop = np.s_[y0:y1, x0:x1]
    return Sprite(depth, x0 - margin[0], y0 - margin[1], image[crop].copy(), cover[crop].copy(), VEGETATION)


@kernel
def _pose_tree(tree, camera, shift_x, shift_y, salt, parts):  # type: ignore[no-untyped-def]
    """Trunk, two boughs and a crown of leafy balls, dark ones below, light ones above."""
    u, v, high, spread, tone = tree[0], tree[1], tree[2], tree[3], tree[4]
    x, y, scale = project(camera, u, v, 0.0)
    x, y = x + shift_x, y + shift_y
    veil = camera[FOCAL] / scale
    veil = veil / (veil + camera[HAZE_M])
    bark, leaf, bright = np.empty(3), np.empty(3), np.empty(3)
    for k in range(3):
        haze = camera[HAZE_B + k] * veil
        bark[k] = (58.0, 74.0, 92.0)[k] * (1.0 - veil) + haze
    n = 0
    crown_y, crown_r = y - (high * 0.66) * scale, high * spread * scale
    capsule(parts[n], x, y, 0.13 * scale, x + 0.05 * scale, y - high * 0.6 * scale, 0.07 * scale, bark, 0.35)
    n += 1
    for side in range(2):
        way = 1.0 - 2.0 * side
        capsule(parts[n], x, y - high * 0.42 * scale, 0.06 * scale, x + way * crown_r * 0.5,
                y - high * 0.62 * scale, 0.03 * scale, bark, 0.3)  # fmt: skip
        n += 1
    balls = 34
    for b in range(balls):
        rise = b / (balls - 1.0)
        place = salt + int(u * 64.0)
        across = (grain(b, 1, place) / 255.0 - 0.5) * 2.0
        wide = math.sqrt(max(0.05, 1.0 - (1.7 * rise - 0.75) * (1.7 * rise - 0.75)))
        r = crown_r * (0.26 + 0.16 * grain(b, 2, place) / 255.0)
        bx = x + across * wide * crown_r * 0.78
        by = crown_y + (0.75 - 1.5 * rise) * crown_r * 0.72 + (grain(b, 3, place) / 255.0 - 0.5) * 0.2 * crown_r
        lit = 0.62 + 0.42 * rise + 0.10 * across * camera[SUN_X]
        for k in range(3):
            haze = camera[HAZE_B + k] * veil
            green = (44.0 + 20.0 * tone, 104.0 - 8.0 * tone, 66.0 + 46.0 * tone)[k]
            leaf[k] = green * lit * (1.0 - veil) + haze
            bright[k] = min(green * 1.45 * lit + 8.0, 230.0) * (1.0 - veil) + haze
        ellipse(parts[n], bx, by, r * 1.1, 0.0, 0.0, r * 0.9, leaf, 0.22)
        pattern(parts[n], LEAVES, max(1.6, 0.16 * scale), bright)
        parts[n, EXTRA_X], parts[n, EXTRA_Y] = x, y
        n += 1
    return n


@kernel
def pose_post(post, camera, shift_x, shift_y, parts):  # type: ignore[no-untyped-def]
    """Parts of a lamp post, a traffic sign or a bollard; returns how many."""
    u, v, high, kind = post[0], post[1], post[2], int(post[3])
    x, y, scale = project(camera, u, v, 0.0)
    x, y = x + shift_x, y + shift_y
    depth = camera[FOCAL] / scale
    veil = depth / (depth + camera[HAZE_M])
    iron, lamp, face = np.empty(3), np.empty(3), np.empty(3)
    for k in range(3):
        haze = camera[HAZE_B + k] * veil
        iron[k] = (84.0, 80.0, 74.0)[k] * (1.0 - veil) + haze
        lamp[k] = (200.0, 232.0, 244.0)[k] * (1.0 - veil) + haze
        face[k] = ((176.0, 92.0, 30.0)[k] if post[2] < 2.55 else (52.0, 48.0, 200.0)[k]) * (1.0 - veil) + haze
    top = y - high * scale
    r = (0.075, 0.04, 0.065)[kind] * scale
    capsule(parts[0], x, y, r, x, top, r * (0.7 if kind == 0 else 1.0), iron, 0.4)
    n = 1
    if kind == 0:
        reach = 0.9 * scale * (1.0 if u < 0.0 else -1.0)
        capsule(parts[1], x, y, r * 1.7, x, y - 0.5 * scale, r * 1.4, iron, 0.4)
        capsule(parts[2], x, top, r * 0.6, x + reach, top - 0.12 * scale, r * 0.5, iron, 0.3)
        capsule(parts[3], x + 0.8 * reach, top - 0.06 * scale, 0.07 * scale, x + 1.2 * reach, top - 0.10 * scale,
                0.06 * scale, lamp, 0.2)  # fmt: skip
        n = 4
    elif kind == 1:
        ellipse(parts[1], x, top + 0.1 * scale, 0.33 * scale, 0.0, 0.0, 0.33 * scale, lamp, 0.0)
        ellipse(parts[2], x, top + 0.1 * scale, 0.28 * scale, 0.0, 0.0, 0.28 * scale, face, 0.1)
        left, right, upper, lower = x - 0.17 * scale, x + 0.17 * scale, top + 0.06 * scale, top + 0.15 * scale
        quadrangle(parts[3], left, upper, right, upper, right, lower, left, lower, lamp, 0.0)
        n = 4
    return n


@kernel
def shadow_of_crown(tree, camera, shift_x, shift_y, strength, out):  # type: ignore[no-untyped-def]
    """Shadows at the foot, of the trunk, and (third row) of the crown on the ground. Rows as in `paint.cast`."""
    u, v, high, spread = tree[0], tree[1], tree[2], tree[3]
    tu, tv = -camera[SUN_X] * 0.55 * high, 0.19 * high
    for row in range(len(out)):
        at = (0.0, 0.45, 0.66)[row]
        cu, cv = u + at * tu, v + at * tv
        hu, hv = ((0.3, 0.0), (0.45 * tu, 0.45 * tv), (1.3 * high * spread, 0.0))[row]
        bu, bv = ((0.0, 0.3), (0.0, 0.1), (0.0, 0.9 * high * spread))[row]
        x0, y0, _ = project(camera, cu, cv, 0.0)
        ax, ay, _ = project(camera, cu + hu, cv + hv, 0.0)
        bx, by, _ = project(camera, cu + bu, cv + bv, 0.0)
        out[row, 0], out[row, 1] = x0 + shift_x, y0 + shift_y
        out[row, 2], out[row, 3], out[row, 4], out[row, 5] = ax - x0, ay - y0, bx - x0, by - y0
        out[row, 6], out[row, 7], out[row, 8] = (0.4, strength * 0.8, strength)[row], 0.0, 0.5
