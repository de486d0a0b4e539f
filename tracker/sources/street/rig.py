"""The camera as kernels use it, and one object's place in front of it: a rig.

A rig is a copy of `Layout.camera`, already moved by pan and shake, followed by the object's own axes (columns below).
"""

from __future__ import annotations

import math

import numpy as np

from tracker._jit import inlined
from tracker.sources.street.layout import CAMERA_Y, CENTRE_X, COS, FOCAL, HAZE_B, HAZE_M, HORIZON, SIN
from tracker.sources.street.world import HEAD_U, HEAD_V, U, V

# Columns of a look: sizes and styles, then colours (3 columns each)
TALL, STOUT, PRINT, PRINT_M, STYLE, BAG, HAT, SLEEVE, LENGTH, WIDE, HIGH, BONNET, BOOT, ROOF = range(14)
SKIN, HAIR, SHIRT, INK, LEGS, SHOES, EXTRA = range(14, 35, 3)
PAINT, RIM = 14, 17  # of a car
LOOK = 35
# Columns of a rig after those of the camera: place, heading, unit vector to the side, veil of haze 0..1, picture of the
# foot point and pixels per metre there, pixels per metre forward and sideways
AT_U, AT_V, FORE_U, FORE_V, SIDE_U, SIDE_V, VEIL, FOOT_X, FOOT_Y, SCALE, FORE_X, FORE_Y, SIDE_X, SIDE_Y = range(12, 26)


@inlined
def project(camera, u, v, y):  # type: ignore[no-untyped-def]
    """Picture x, y of a point of the world, and pixels per metre there. A rig will do as a camera."""
    depth = max(u * camera[SIN] + v * camera[COS], 0.5)
    scale = camera[FOCAL] / depth
    return (
        camera[CENTRE_X] + (u * camera[COS] - v * camera[SIN]) * scale,
        camera[HORIZON] + (camera[CAMERA_Y] - y) * scale,
        scale,
    )


@inlined
def set_up(camera, pose, shift_x, shift_y, side):  # type: ignore[no-untyped-def]
    """Rig of an object; `side` +1: its sideways axis points to its right, 0: to the side that the camera sees."""
    rig = np.empty(26)
    for k in range(12):
        rig[k] = camera[k]
    rig[CENTRE_X] += shift_x
    rig[HORIZON] += shift_y
    u, v, hu, hv = pose[U], pose[V], pose[HEAD_U], pose[HEAD_V]
    if side == 0.0:
        side = 1.0 if hv * u - hu * v < 0.0 else -1.0
    rig[AT_U], rig[AT_V], rig[FORE_U], rig[FORE_V] = u, v, hu, hv
    rig[SIDE_U], rig[SIDE_V] = hv * side, -hu * side
    x, y, scale = project(rig, u, v, 0.0)
    ahead_x, ahead_y, _ = project(rig, u + 0.5 * hu, v + 0.5 * hv, 0.0)
    side_x, side_y, _ = project(rig, u + 0.5 * rig[SIDE_U], v + 0.5 * rig[SIDE_V], 0.0)
    rig[FOOT_X], rig[FOOT_Y], rig[SCALE] = x, y, scale
    rig[FORE_X], rig[FORE_Y], rig[SIDE_X], rig[SIDE_Y] = (
        2.0 * (ahead_x - x), 2.0 * (ahead_y - y), 2.0 * (side_x - x), 2.0 * (side_y - y),
    )  # fmt: skip
    depth = camera[FOCAL] / scale
    rig[VEIL] = depth / (depth + camera[HAZE_M])
    return rig


@inlined
def tint(rig, colour, gain, out):  # type: ignore[no-untyped-def]
    """A colour (3,) under light of `gain`, behind the rig's haze, into `out`."""
    veil = rig[VEIL]
    for k in range(3):
        out[k] = min(colour[k] * gain, 250.0) * (1.0 - veil) + rig[HAZE_B + k] * veil


@inlined
def shadow_row(rig, u, v, au, av, bu, bv, dark, square, soft, out):  # type: ignore[no-untyped-def]
    """A soft shadow around (u, v) with half axes a and b in metres on the ground: a row for `paint.cast`."""
    x, y, _ = project(rig, u, v, 0.0)
    ax, ay, _ = project(rig, u + au, v + av, 0.0)
    bx, by, _ = project(rig, u + bu, v + bv, 0.0)
    out[0], out[1], out[2], out[3], out[4], out[5] = x, y, ax - x, ay - y, bx - x, by - y
    out[6], out[7], out[8] = dark, square, soft


@inlined
def sun_length(rig_sun, high):  # type: ignore[no-untyped-def]
    """Where the shadow of something `high` ends, (u, v) metres from its foot."""
    return -0.55 * rig_sun * high, 0.19 * high


@inlined
def length_of(u, v):  # type: ignore[no-untyped-def]
    """Length of a vector."""
    return math.sqrt(u * u + v * v)
