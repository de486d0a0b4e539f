"""The empty street: every pixel is a ray to sky, facade, hedge or ground, painted once; trees become sprites.

Five rays per pixel make the colour, the middle one decides the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker._jit import inlined, kernel
from tracker.sources.street.layout import (
    CAMERA_Y,
    CENTRE_X,
    COS,
    FACADE,
    FAR_KERB,
    FOCAL,
    GRASSY,
    HAZE_B,
    HAZE_M,
    HORIZON,
    KERB,
    MIDDLE,
    PARKING,
    SIN,
    SLAB,
    SUN,
    SUN_X,
    VERGE,
    ZEBRA,
    Layout,
)  # fmt: skip
from tracker.sources.street.paint import (
    EXTRA_X,
    EXTRA_Y,
    LEAVES,
    WIDTH,
    capsule,
    cast,
    ellipse,
    grain,
    paint,
    pattern,
    quadrangle,
    smooth_grain,
)
from tracker.sources.street.rig import project

ROAD, SIDEWALK, BUILDING, VEGETATION, SKY, PERSON, CAR = range(7)


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


@dataclass(frozen=True, slots=True, eq=False)
class Backdrop:
    """Picture and classes of the empty street, wider by a margin for pan and shake, and the sprites."""

    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    margin: tuple[int, int]
    sprites: list[Sprite]


def paint_backdrop(layout: Layout, size: tuple[int, int], margin: tuple[int, int]) -> Backdrop:
    """Paint the street of a layout; trees behind the far sidewalk become part of the picture."""
    width, height = size[0] + 2 * margin[0], size[1] + 2 * margin[1]
    image = np.empty((height, width, 3), np.uint8)
    classes = np.empty((height, width), np.uint8)
    _rays(layout.camera, layout.strips, layout.sky, layout.houses, layout.hedges, layout.salt, margin[0], margin[1],
          image, classes)  # fmt: skip
    sprites = []
    _shade_ground(layout, margin, image, classes)
    trees = layout.trees[np.argsort(-_depths(layout, layout.trees), kind="stable")]
    for tree in trees:
        sprite = _tree_sprite(layout, tree, (width, height), margin)
        if sprite is None:
            continue
        if tree[1] > layout.strips[VERGE]:
            h, w = sprite.cover.shape
            y, x = sprite.y + margin[1], sprite.x + margin[0]
            image[y : y + h, x : x + w][sprite.cover] = sprite.colours[sprite.cover]
            classes[y : y + h, x : x + w][sprite.cover] = VEGETATION
        else:
            sprites.append(sprite)
    return Backdrop(image, classes, margin, sprites)


def _shade_ground(
    layout: Layout, margin: tuple[int, int], image: NDArray[np.uint8], classes: NDArray[np.uint8]
) -> None:
    """Shadows of trees and posts; they never move."""
    camera = layout.camera
    strength = 0.12 + 0.40 * float(camera[SUN])
    rows = np.zeros((3 * len(layout.trees) + 2 * len(layout.posts), 9))
    for k, tree in enumerate(layout.trees):
        shadow_of_crown(tree, camera, margin[0], margin[1], strength, rows[3 * k : 3 * k + 3])
    for k, post in enumerate(layout.posts, start=len(layout.trees)):
        at = 3 * len(layout.trees) + 2 * (k - len(layout.trees))
        shadow_of_crown(np.array([*post[:3], 0.0, 0.0]), camera, margin[0], margin[1], strength, rows[at : at + 2])
    cast(rows, len(rows), SIDEWALK, image, classes)


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


def _depths(layout: Layout, things: NDArray[np.float64]) -> NDArray[np.float64]:
    depths: NDArray[np.float64] = things[:, 0] * layout.camera[SIN] + things[:, 1] * layout.camera[COS]
    return depths


def _tree_sprite(
    layout: Layout, tree: NDArray[np.float64], canvas: tuple[int, int], margin: tuple[int, int]
) -> Sprite | None:
    """One tree, cropped to what can be seen; None if nothing."""
    width, height = canvas
    image = np.full((height, width, 3), (52, 84, 60), np.uint8)
    ids = np.ones((height, width), np.int32)
    classes = np.zeros((height, width), np.uint8)
    parts = np.zeros((96, WIDTH))
    count = _tree(tree, layout.camera, margin[0], margin[1], layout.salt, parts)
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
def _tree(tree, camera, shift_x, shift_y, salt, parts):  # type: ignore[no-untyped-def]
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
        quadrangle(
            parts[3],
            x - 0.17 * scale,
            top + 0.06 * scale,
            x + 0.17 * scale,
            top + 0.06 * scale,
            x + 0.17 * scale,
            top + 0.15 * scale,
            x - 0.17 * scale,
            top + 0.15 * scale,
            lamp,
            0.0,
        )
        n = 4
    return n


@inlined
def _frac(x):  # type: ignore[no-untyped-def]
    return x - math.floor(x)


@inlined
def _window(a, b, house, column, storey):  # type: ignore[no-untyped-def]
    """Colour of a place (a, b) in 0..1 of a window's opening: frame, panes, curtain."""
    salt = int(house[18])
    lot = grain(column, storey, salt)
    if a < 0.07 or a > 0.93 or b < 0.05 or b > 0.94 or abs(a - 0.5) < 0.035:
        return house[6] * 1.02, house[7] * 1.02, house[8] * 1.02
    shine = 0.35 + 0.5 * b + (0.18 if _frac(a * 0.7 + b * 0.5 + lot / 255.0) < 0.22 else 0.0)
    blue, green, red = 118.0 * shine + 24.0, 102.0 * shine + 22.0, 84.0 * shine + 20.0
    if lot < 70 and (a < 0.26 or a > 0.74):
        return blue * 0.4 + 118.0, green * 0.4 + 120.0, red * 0.4 + 126.0
    if lot > 232:
        return 110.0, 176.0, 222.0
    if 90 < lot < 130 and b > 0.55:
        return 176.0, 180.0, 184.0
    return blue, green, red


@inlined
def _wall(u, y, house):  # type: ignore[no-untyped-def]
    """Plain wall: plaster, brick or panels."""
    salt, style = int(house[18]), int(house[16])
    gain = 0.94 + 0.10 * smooth_grain(u * 0.6, y * 0.6, salt)
    if style == 1:
        row = int(y / 0.16)
        shift = 0.5 * (row % 2)
        column = math.floor(u / 0.42 + shift)
        gain *= 0.90 + grain(column, row, salt) * 0.0007
        if _frac(y / 0.16) < 0.13 or _frac(u / 0.42 + shift) < 0.05:
            gain *= 1.12
    elif style == 2:
        if _frac(u / house[12]) < 0.02 or _frac(y / house[13]) < 0.02:
            gain *= 0.84
    else:
        gain *= 0.97 + grain(math.floor(u * 18.0), int(y * 18.0), salt) * 0.0002
    return house[3] * gain, house[4] * gain, house[5] * gain


@inlined
def _facade(u, y, house):  # type: ignore[no-untyped-def]
    """Colour of a facade at u metres from its left y metres up."""
    wide, high, bay, storey = house[1] - house[0], house[2], house[12], house[13]
    b, g, r = _wall(u, y, house)
    shade = 1.0
    if y > high - 0.55:
        edge = high - y
        shade = 1.10 if edge > 0.3 else 0.93
        if edge > 0.47:
            shade = 0.70
        return house[6] * 0.9 * shade, house[7] * 0.9 * shade, house[8] * 0.9 * shade
    if u < 0.12 or u > wide - 0.12:
        shade = 0.86
    ground = 3.7
    column = int(u / bay)
    a = u / bay - column
    if y < ground:
        door = column == int(house[20])
        if house[17] > 0.5:  # a shop: plinth, glass, awning, sign
            if 3.15 < y < 3.6:
                if 0.3 < u < wide - 0.3 and grain(int(u * 5.0), 7, int(house[18])) > 120 and 3.28 < y < 3.48:
                    return 222.0, 226.0, 230.0
                return house[9] * 0.75, house[10] * 0.75, house[11] * 0.75
            if 2.45 < y <= 3.15:
                stripe = 1.0 if _frac(u / 0.7) < 0.5 else 0.0
                fall = 0.80 + 0.30 * (y - 2.45)
                return (
                    (house[9] * (1 - stripe) + 226.0 * stripe) * fall,
                    (house[10] * (1 - stripe) + 228.0 * stripe) * fall,
                    (house[11] * (1 - stripe) + 230.0 * stripe) * fall,
                )
            if y > 0.45 and 0.05 < a < 0.95:
                if door and 0.2 < a < 0.8 and (a < 0.27 or a > 0.73 or y > 2.3):
                    return house[9] * 0.5, house[10] * 0.5, house[11] * 0.5
                goods = grain(int(u * 3.0), int(y * 2.5), int(house[18]))
                dim = 0.55 + 0.20 * (y - 0.45) / 2.0
                if y < 1.3 and goods > 130:
                    return 20.0 + goods * 0.38, 44.0 + goods * 0.36, 70.0 + goods * 0.34
                return 96.0 * dim, 92.0 * dim, 84.0 * dim
            return b * 0.72, g * 0.72, r * 0.72
        if door and 0.22 < a < 0.78 and y < 2.5:
            if a < 0.28 or a > 0.72 or y > 2.4:
                return house[6], house[7], house[8]
            panel = 0.85 if _frac(a * 4.0) < 0.12 or _frac(y * 1.1) < 0.1 else 1.0
            return house[9] * 0.6 * panel, house[10] * 0.6 * panel, house[11] * 0.6 * panel
        if not door and 0.5 - house[14] / 2 < a < 0.5 + house[14] / 2 and 1.0 < y < 2.7:
            return _window((a - 0.5) / house[14] + 0.5, (y - 1.0) / 1.7, house, column, 0)
        if y < 0.6:
            return b * 0.70, g * 0.70, r * 0.70
        return b * 0.92 * shade, g * 0.92 * shade, r * 0.92 * shade
    if y < ground + 0.22:
        return house[6] * 0.92, house[7] * 0.92, house[8] * 0.92
    level = int((y - ground) / storey)
    c = (y - ground) / storey - level
    low, tall, broad = 0.26, house[15], house[14]
    if abs(a - 0.5) < broad / 2 and low < c < low + tall:
        return _window((a - 0.5) / broad + 0.5, (c - low) / tall, house, column, level + 1)
    if abs(a - 0.5) < broad / 2 + 0.06 and low - 0.06 < c < low:
        return house[6] * 0.95, house[7] * 0.95, house[8] * 0.95
    if abs(a - 0.5) < broad / 2 + 0.05 and low + tall < c < low + tall + 0.05 and house[19] < 0.5:
        return house[6] * 0.85, house[7] * 0.85, house[8] * 0.85
    return b * shade, g * shade, r * shade


@inlined
def _grass(u, v, salt, fine):  # type: ignore[no-untyped-def]
    tuft = grain(math.floor(u * 14.0), math.floor(v * 9.0), salt) / 255.0 - 0.5
    soft = smooth_grain(u * 0.7, v * 0.7, salt)
    gain = 0.85 + 0.22 * soft + 0.34 * tuft * fine
    return 62.0 * gain, 132.0 * gain, 104.0 * gain


@inlined
def _paving(u, v, strips, salt, fine):  # type: ignore[no-untyped-def]
    slab = strips[SLAB]
    row = math.floor(v / slab)
    shift = 0.5 * (row % 2)
    column = math.floor(u / slab + shift)
    gain = 0.94 + grain(column, row, salt) * 0.00035 + 0.10 * (smooth_grain(u * 0.5, v * 0.5, salt) - 0.5)
    if _frac(u / slab + shift) < 0.035 / slab or _frac(v / slab) < 0.035 / slab:
        gain *= 1.0 - 0.22 * fine
    gain *= 1.0 + (grain(math.floor(u * 30.0), math.floor(v * 30.0), salt) - 128) * 0.0006 * fine
    return 176.0 * gain, 184.0 * gain, 190.0 * gain


@inlined
def _asphalt(u, v, strips, salt, fine):  # type: ignore[no-untyped-def]
    """Road with patches, worn tracks and its markings."""
    gain = 0.92 + 0.16 * smooth_grain(u * 0.35, v * 0.9, salt)
    gain *= 1.0 + (grain(math.floor(u * 22.0), math.floor(v * 22.0), salt + 3) - 128) * 0.0013 * fine
    if smooth_grain(u * 0.16 + 9.0, v * 0.4, salt + 5) > 0.74:
        gain *= 0.88
    b, g, r = 112.0 * gain, 110.0 * gain, 108.0 * gain
    kerb, far = strips[KERB], strips[FAR_KERB]
    white = 0.0
    park = far - strips[PARKING]
    across = abs(u - strips[ZEBRA])
    if across < 1.7:
        if kerb + 0.3 < v < far - 0.3 and _frac((v - kerb) / 1.05) < 0.52:
            white = 1.0
    elif across < 2.6:
        white = 0.0
    elif (
        (abs(v - strips[MIDDLE]) < 0.075 and _frac(u / 5.0) < 0.55)
        or (strips[PARKING] > 0.0 and abs(v - park) < 0.06)
        or (strips[PARKING] > 0.0 and v > park and _frac(u / 6.2) < 0.018)
    ):
        white = 1.0
    elif abs(v - kerb - 0.35) < 0.05:
        white = 0.8
    if white > 0.0:
        white *= 0.74 + 0.24 * smooth_grain(u * 3.0, v * 3.0, salt + 7)
        b, g, r = b + (222.0 - b) * white, g + (226.0 - g) * white, r + (228.0 - r) * white
    gutter = min(v - kerb, far - v)
    if gutter < 0.3:
        dark = 0.72 + 0.28 * gutter / 0.3
        b, g, r = b * dark, g * dark, r * dark
    return b, g, r


@inlined
def _sky(xr, yr, sky, salt):  # type: ignore[no-untyped-def]
    """Gradient with clouds, and far roofs on the horizon."""
    roof = 0.035 + 0.06 * grain(math.floor(xr * 17.0), 3, salt) / 255.0
    roof += 0.03 * grain(math.floor(xr * 41.0), 4, salt) / 255.0
    if 0.0 <= yr < roof:
        tone = 0.80 + 0.10 * grain(math.floor(xr * 17.0), 5, salt) / 255.0
        return sky[1, 0] * tone, sky[1, 1] * tone * 0.98, sky[1, 2] * tone * 0.96, True
    t = min(max(yr * 1.9, 0.0), 1.0)
    cloud = smooth_grain(xr * 3.0, yr * 9.0, salt) * 0.55 + smooth_grain(xr * 7.0, yr * 21.0, salt + 1) * 0.30
    cloud += smooth_grain(xr * 17.0, yr * 47.0, salt + 2) * 0.15
    cloud = min(max((cloud - 0.48) * 3.2, 0.0), 1.0) * 0.72
    b = sky[1, 0] + (sky[0, 0] - sky[1, 0]) * t
    g = sky[1, 1] + (sky[0, 1] - sky[1, 1]) * t
    r = sky[1, 2] + (sky[0, 2] - sky[1, 2]) * t
    return b + (250.0 - b) * cloud, g + (250.0 - g) * cloud, r + (250.0 - r) * cloud, False


@inlined
def _ray(xr, yr, camera, strips, sky, houses, hedges, salt):  # type: ignore[no-untyped-def]
    """Class and colour along a ray with slopes xr (right) and yr (up)."""
    du, dv = xr * camera[COS] + camera[SIN], camera[COS] - xr * camera[SIN]
    eye, facade = camera[CAMERA_Y], strips[FACADE]
    label, depth = SKY, 0.0
    b, g, r = 0.0, 0.0, 0.0
    if dv > 1e-3:
        hedge_v = facade - 0.9
        t = hedge_v / dv
        u, y = du * t, eye + yr * t
        for k in range(len(hedges)):
            if hedges[k, 0] <= u < hedges[k, 1] and label == SKY:
                ragged = hedges[k, 2] + 0.16 * smooth_grain(u * 5.0, 0.0, salt) - 0.08
                if 0.0 <= y < ragged:
                    leaf = grain(math.floor(u * 13.0), int(y * 13.0), salt + 1) / 255.0
                    gain = (0.62 + 0.34 * y / ragged) * (0.8 + 0.4 * leaf)
                    label, depth = VEGETATION, t
                    b, g, r = 54.0 * gain, 118.0 * gain, 80.0 * gain
        if label == SKY:
            t = facade / dv
            u, y = du * t, eye + yr * t
            if y >= 0.0:
                for k in range(len(houses)):
                    if houses[k, 0] <= u < houses[k, 1] and y < houses[k, 2]:
                        b, g, r = _facade(u - houses[k, 0], y, houses[k])
                        lit = 0.86 + 0.20 * camera[SUN] * (0.6 + 0.4 * abs(camera[SUN_X]))
                        lit *= 0.80 + 0.20 * min(y / 1.6, 1.0)
                        label, depth = BUILDING, t
                        b, g, r = b * lit, g * lit, r * lit
    if label == SKY and yr < 0.0:
        t = -eye / yr
        u, v = du * t, dv * t
        depth = t
        fine = 1.0 / (1.0 + (t / 26.0) * (t / 26.0))
        kerb, far, verge = strips[KERB], strips[FAR_KERB], strips[VERGE]
        if kerb < v < far:
            label = ROAD
            b, g, r = _asphalt(u, v, strips, salt, fine)
        elif kerb - 0.2 < v <= kerb or far <= v < far + 0.2:
            label = SIDEWALK
            gain = 0.92 if _frac(u / 1.0) > 0.04 else 0.78
            if far <= v < far + 0.07:
                gain *= 0.72
            b, g, r = 188.0 * gain, 192.0 * gain, 194.0 * gain
        elif v > verge and (strips[GRASSY] > 0.5 or v > facade):
            label = VEGETATION
            b, g, r = _grass(u, v, salt, fine)
        else:
            label = SIDEWALK
            b, g, r = _paving(u, v, strips, salt, fine)
        wall = facade - v
        if 0.0 < wall < 1.6:
            dark = 0.72 + 0.28 * wall / 1.6
            b, g, r = b * dark, g * dark, r * dark
        if depth > 140.0:
            label = label if dv > 1e-3 else SIDEWALK
    if label == SKY:
        b, g, r, built = _sky(xr, yr, sky, salt)
        return BUILDING if built else SKY, b, g, r
    veil = depth / (depth + camera[HAZE_M])
    return (
        label,
        b + (camera[HAZE_B] - b) * veil,
        g + (camera[HAZE_B + 1] - g) * veil,
        r + (camera[HAZE_B + 2] - r) * veil,
    )


@kernel
def _rays(camera, strips, sky, houses, hedges, salt, margin_x, margin_y, image, classes):  # type: ignore[no-untyped-def]
    height, width = classes.shape
    focal = camera[FOCAL]
    for y in range(height):
        for x in range(width):
            b, g, r = 0.0, 0.0, 0.0
            for k in range(5):
                ox, oy = (0.5, 0.22, 0.78, 0.36, 0.64)[k], (0.5, 0.36, 0.64, 0.78, 0.22)[k]
                xr = (x - margin_x + ox - camera[CENTRE_X]) / focal
                yr = (camera[HORIZON] - (y - margin_y + oy)) / focal
                label, b1, g1, r1 = _ray(xr, yr, camera, strips, sky, houses, hedges, salt)
                b, g, r = b + b1, g + g1, r + r1
                if k == 0:
                    classes[y, x] = label
            image[y, x, 0] = np.uint8(min(max(b / 5.0, 0.0), 255.0))
            image[y, x, 1] = np.uint8(min(max(g / 5.0, 0.0), 255.0))
            image[y, x, 2] = np.uint8(min(max(r / 5.0, 0.0), 255.0))
