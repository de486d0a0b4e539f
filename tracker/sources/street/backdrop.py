"""The empty street: every pixel is a ray to sky, facade, hedge or ground, painted once; trees become sprites.

Five rays per pixel make the colour, the middle one decides the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker._jit import inlined, kernel
from tracker.sources.street.classes import BUILDING, ROAD, SIDEWALK, SKY, VEGETATION
from tracker.sources.street.furniture import Sprite, paint_tree, shadow_of_crown
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
    SIN,
    SUN,
    SUN_X,
    VERGE,
    Layout,
)  # fmt: skip
from tracker.sources.street.paint import cast, grain, smooth_grain
from tracker.sources.street.surfaces import (
    asphalt_colour,
    facade_colour,
    fraction,
    grass_colour,
    paving_colour,
    sky_colour,
)


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
        sprite = paint_tree(layout, tree, (width, height), margin)
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


def _depths(layout: Layout, things: NDArray[np.float64]) -> NDArray[np.float64]:
    depths: NDArray[np.float64] = things[:, 0] * layout.camera[SIN] + things[:, 1] * layout.camera[COS]
    return depths


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
                        b, g, r = facade_colour(u - houses[k, 0], y, houses[k])
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
            b, g, r = asphalt_colour(u, v, strips, salt, fine)
        elif kerb - 0.2 < v <= kerb or far <= v < far + 0.2:
            label = SIDEWALK
            gain = 0.92 if fraction(u / 1.0) > 0.04 else 0.78
            if far <= v < far + 0.07:
                gain *= 0.72
            b, g, r = 188.0 * gain, 192.0 * gain, 194.0 * gain
        elif v > verge and (strips[GRASSY] > 0.5 or v > facade):
            label = VEGETATION
            b, g, r = grass_colour(u, v, salt, fine)
        else:
            label = SIDEWALK
            b, g, r = paving_colour(u, v, strips, salt, fine)
        wall = facade - v
        if 0.0 < wall < 1.6:
            dark = 0.72 + 0.28 * wall / 1.6
            b, g, r = b * dark, g * dark, r * dark
        if depth > 140.0:
            label = label if dv > 1e-3 else SIDEWALK
    if label == SKY:
        b, g, r, built = sky_colour(xr, yr, sky, salt)
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
