"""People as lists of parts: a skeleton whose feet follow the gait; knees and elbows come from two-bone geometry.

Points of a body are (forward, side, up) in metres from the point between its feet.
"""

from __future__ import annotations

import math

import numpy as np

from tracker._jit import inlined, kernel
from tracker.sources.street.layout import COS, SIN, SUN_X
from tracker.sources.street.paint import capsule, ellipse, pattern, quadrangle, sine
from tracker.sources.street.rig import (
    AT_U,
    AT_V,
    BAG,
    EXTRA,
    FOOT_X,
    FOOT_Y,
    FORE_U,
    FORE_V,
    FORE_X,
    FORE_Y,
    HAIR,
    HAT,
    INK,
    LEGS,
    PRINT,
    PRINT_M,
    SCALE,
    SHIRT,
    SHOES,
    SIDE_X,
    SIDE_Y,
    SKIN,
    SLEEVE,
    STOUT,
    STYLE,
    TALL,
    length_of,
    set_up,
    shadow_row,
    sun_length,
    tint,
)  # fmt: skip
from tracker.sources.street.world import PHASE, SPEED

TROUSERS, SKIRT, COAT, SHORTS = range(4)
NO_BAG, BACKPACK, HANDBAG, SHOPPING = range(4)


@inlined
def _bone(part, rig, fore0, side0, up0, fore1, side1, up1, r0, r1, colour):  # type: ignore[no-untyped-def]
    """A limb between two points of the body, radii in metres."""
    scale = rig[SCALE]
    x0 = rig[FOOT_X] + fore0 * rig[FORE_X] + side0 * rig[SIDE_X]
    y0 = rig[FOOT_Y] + fore0 * rig[FORE_Y] + side0 * rig[SIDE_Y] - up0 * scale
    x1 = rig[FOOT_X] + fore1 * rig[FORE_X] + side1 * rig[SIDE_X]
    y1 = rig[FOOT_Y] + fore1 * rig[FORE_Y] + side1 * rig[SIDE_Y] - up1 * scale
    capsule(part, x0, y0, r0 * scale, x1, y1, r1 * scale, colour, 0.30)


@inlined
def _joint(fore0, up0, fore1, up1, length, bend):  # type: ignore[no-untyped-def]
    """Knee or elbow between two ends of two bones of length / 2 each; `bend` +1 forward, -1 backward."""
    df, dy = fore1 - fore0, up1 - up0
    d2 = df * df + dy * dy
    d = math.sqrt(max(d2, 1e-9))
    h = math.sqrt(max(0.25 * (length * length - d2), 0.0))
    return (fore0 + fore1) / 2 - bend * dy / d * h, (up0 + up1) / 2 + bend * df / d * h


@kernel
def pose_walker(look, pose, camera, shift_x, shift_y, parts):  # type: ignore[no-untyped-def]
    """Parts of a walker, back to front; returns how many.

    Args:
        look: (LOOK,) see `rig`.
        pose: (6,) a row of `World.poses`.
        camera: `Layout.camera`.
        shift_x: pixels by which pan and shake move the picture.
        shift_y: likewise.
        parts: (at least 40, WIDTH), written.
    """
    rig = set_up(camera, pose, shift_x, shift_y, 1.0)
    away = rig[FORE_U] * camera[SIN] + rig[FORE_V] * camera[COS]  # 1: seen from behind, -1: from the front
    far = 1.0 if rig[FORE_V] * camera[SIN] - rig[FORE_U] * camera[COS] > 0.0 else -1.0  # the arm and leg behind
    pace = pose[SPEED]
    stride = min(pace / 1.35, 1.5) * 0.23 * look[TALL]
    sink = look[TALL] * 0.012 * sine(2.0 * pose[PHASE] + 0.25) * min(pace, 1.0) - 0.10 * stride
    hip, shoulder = 0.51 * look[TALL] + sink, 0.80 * look[TALL] + sink
    n = np.int64(0)  # a plain 0 is a type of its own to numba: everything below would be compiled twice
    if int(look[BAG]) == BACKPACK and away < 0.2:
        n = _backpack(look, rig, parts, n)
    for turn in range(2):
        side = far if turn == 0 else -far
        phase = pose[PHASE] + (0.0 if side > 0 else 0.5)
        n = _leg(look, rig, side, phase, hip, stride, min(pace, 1.4), 0.78 if turn == 0 else 1.0, parts, n)
    for turn in range(3):
        if turn == 1:
            n = _torso(look, rig, hip, shoulder, stride, away, parts, n)
            n = _head(look, rig, shoulder, away, parts, n)
            continue
        side = far if turn == 0 else -far
        phase = pose[PHASE] + (0.5 if side > 0 else 0.0)
        n = _arm(look, rig, side, phase, shoulder, stride, turn == 2, parts, n)
    return n


@inlined
def _leg(look, rig, side, phase, hip, stride, pace, gain, parts, n):  # type: ignore[no-untyped-def]
    """Shin, shoe, thigh."""
    t, stout, style = look[TALL], look[STOUT], int(look[STYLE])
    colour = np.empty(3)
    foot = stride * sine(phase) - 0.01
    sole = 0.045 * t + 0.06 * t * max(0.0, sine(phase + 0.25)) * pace
    knee, knee_up = _joint(0.0, hip, foot, sole, 0.470 * t, 1.0)
    top, low = side * 0.055 * t, side * 0.050 * t
    shin = SKIN if style in (SHORTS, SKIRT) else LEGS
    tint(rig, look[shin : shin + 3], gain, colour)
    _bone(parts[n], rig, knee, low, knee_up, foot, low, sole, 0.040 * t * stout, 0.027 * t * stout, colour)
    tint(rig, look[SHOES : SHOES + 3], gain, colour)
    _bone(parts[n + 1], rig, foot - 0.02 * t, low, sole - 0.018 * t, foot + 0.085 * t, low, sole - 0.024 * t,
          0.026 * t, 0.019 * t, colour)  # fmt: skip
    tint(rig, look[LEGS : LEGS + 3], gain, colour)
    _bone(parts[n + 2], rig, 0.0, top, hip, knee, low, knee_up, 0.058 * t * stout, 0.042 * t * stout, colour)
    return n + 3


@inlined
def _arm(look, rig, side, phase, shoulder, stride, near, parts, n):  # type: ignore[no-untyped-def]
    """What the near hand carries, forearm, upper arm, hand."""
    t, stout, scale = look[TALL], look[STOUT], rig[SCALE]
    swing, gain = sine(phase), 0.93 if near else 0.78
    colour = np.empty(3)
    hand, hand_up = stride * 0.95 * swing + 0.04 * t, 0.455 * t + abs(swing) * stride * 0.25
    elbow, elbow_up = _joint(0.0, shoulder, hand, hand_up, 0.375 * t, -1.0)
    top, low = side * 0.115 * t * stout, side * 0.135 * t * stout
    if near and int(look[BAG]) >= HANDBAG:
        x = rig[FOOT_X] + hand * rig[FORE_X] + low * rig[SIDE_X]
        y = rig[FOOT_Y] + hand * rig[FORE_Y] + low * rig[SIDE_Y] - hand_up * scale
        wide, high = 0.10 * t * scale, (0.15 if int(look[BAG]) == HANDBAG else 0.21) * t * scale
        tint(rig, look[EXTRA : EXTRA + 3], 1.0, colour)
        quadrangle(
            parts[n],
            x - 0.8 * wide,
            y + 0.2 * high,
            x + 0.8 * wide,
            y + 0.2 * high,
            x + wide,
            y + 1.2 * high,
            x - wide,
            y + 1.2 * high,
            colour,
            0.18,
        )
        n += 1
    bare = SKIN if look[SLEEVE] > 0.5 else SHIRT
    tint(rig, look[bare : bare + 3], gain, colour)
    _bone(parts[n], rig, elbow, low, elbow_up, hand, low, hand_up, 0.030 * t * stout, 0.023 * t * stout, colour)
    tint(rig, look[SHIRT : SHIRT + 3], gain, colour)
    _bone(parts[n + 1], rig, 0.0, top, shoulder, elbow, low, elbow_up, 0.043 * t * stout, 0.034 * t * stout, colour)
    tint(rig, look[SKIN : SKIN + 3], gain, colour)
    _bone(
        parts[n + 2], rig, hand, low, hand_up, hand + 0.01 * t, low, hand_up - 0.035 * t, 0.024 * t, 0.021 * t, colour
    )
    return n + 3


@inlined
def _backpack(look, rig, parts, n):  # type: ignore[no-untyped-def]
    t, colour = look[TALL], np.empty(3)
    tint(rig, look[EXTRA : EXTRA + 3], 1.0, colour)
    _bone(parts[n], rig, -0.15 * t, 0.0, 0.60 * t, -0.15 * t, 0.0, 0.745 * t, 0.10 * look[STOUT], 0.088 * look[STOUT],
          colour)  # fmt: skip
    return n + 1


@inlined
def _torso(look, rig, hip, shoulder, stride, away, parts, n):  # type: ignore[no-untyped-def]
    """Skirt or coat tails, chest, belt, and a backpack that is seen from behind."""
    t, stout, style, scale = look[TALL], look[STOUT], int(look[STYLE]), rig[SCALE]
    shirt, ink, legs = np.empty(3), np.empty(3), np.empty(3)
    tint(rig, look[SHIRT : SHIRT + 3], 1.0, shirt)
    tint(rig, look[INK : INK + 3], 1.0, ink)
    tint(rig, look[LEGS : LEGS + 3], 1.0, legs)
    waist = (0.068 + 0.030 * abs(away)) * t * stout
    chest = (0.076 + 0.034 * abs(away)) * t * stout
    if style in (SKIRT, COAT):
        x, y = rig[FOOT_X], rig[FOOT_Y] - hip * scale
        drop, flare = (0.20 if style == SKIRT else 0.17) * t, waist * 1.12 + 0.22 * stride
        quadrangle(
            parts[n],
            x - waist * scale,
            y - 0.04 * t * scale,
            x + waist * scale,
            y - 0.04 * t * scale,
            x + flare * scale,
            y + drop * scale,
            x - flare * scale,
            y + drop * scale,
            legs if style == SKIRT else shirt,
            0.10,
        )
        if style == COAT:
            pattern(parts[n], int(look[PRINT]), look[PRINT_M] * scale, ink)
        n += 1
    _bone(parts[n], rig, 0.0, 0.0, hip, 0.0, 0.0, shoulder - 0.055 * t, waist, chest, shirt)
    pattern(parts[n], int(look[PRINT]), look[PRINT_M] * scale, ink)
    n += 1
    if style in (TROUSERS, SHORTS):
        _bone(parts[n], rig, 0.0, 0.0, hip - 0.03 * t, 0.0, 0.0, hip - 0.01 * t, waist * 0.98, waist, legs)
        n += 1
    if int(look[BAG]) == BACKPACK and away >= 0.2:
        n = _backpack(look, rig, parts, n)
    return n


@inlined
def _head(look, rig, shoulder, away, parts, n):  # type: ignore[no-untyped-def]
    """Neck, face and hair in the order that the view asks for, hat."""
    t, scale = look[TALL], rig[SCALE]
    skin, hair, hat = np.empty(3), np.empty(3), np.empty(3)
    tint(rig, look[SKIN : SKIN + 3], 1.0, skin)
    tint(rig, look[HAIR : HAIR + 3], 1.0, hair)
    tint(rig, look[EXTRA : EXTRA + 3], 1.0, hat)
    neck = 0.5 * (shoulder + 0.90 * t)
    _bone(parts[n], rig, 0.0, 0.0, neck - 0.03 * t, 0.01 * t, 0.0, neck + 0.02 * t, 0.032 * t, 0.030 * t, skin)
    r = 0.062 * t * scale
    x, y = rig[FOOT_X] + 0.022 * t * rig[FORE_X], rig[FOOT_Y] - (shoulder + 0.128 * t) * scale
    back = -0.018 * t * rig[FORE_X]
    if away < 0.55:
        ellipse(parts[n + 1], x + back, y - 0.18 * r, 1.02 * r, 0.0, 0.0, 1.16 * r, hair, 0.25)
        ellipse(parts[n + 2], x - 0.7 * back, y + 0.22 * r, 0.80 * r, 0.0, 0.0, 1.0 * r, skin, 0.22)
    else:
        ellipse(parts[n + 1], x, y + 0.1 * r, 0.92 * r, 0.0, 0.0, 1.1 * r, skin, 0.22)
        ellipse(parts[n + 2], x, y - 0.12 * r, 1.04 * r, 0.0, 0.0, 1.14 * r, hair, 0.25)
    n += 3
    if look[HAT] > 0.5:
        ellipse(parts[n], x + 0.2 * back, y - 0.72 * r, 1.10 * r, 0.0, 0.0, 0.62 * r, hat, 0.3)
        n += 1
    return n


@kernel
def shade_walker(look, pose, camera, shift_x, shift_y, strength, out):  # type: ignore[no-untyped-def]
    """Two rows for `paint.cast`: below the feet, and away from the sun."""
    rig = set_up(camera, pose, shift_x, shift_y, 1.0)
    u, v, hu, hv = rig[AT_U], rig[AT_V], rig[FORE_U], rig[FORE_V]
    shadow_row(rig, u, v, 0.24 * hu, 0.24 * hv, 0.2 * hv, -0.2 * hu, 0.45, 0.0, 0.9, out[0])
    tu, tv = sun_length(camera[SUN_X], look[TALL])
    broad = 0.24 / length_of(tu, tv)
    shadow_row(
        rig, u + 0.5 * tu, v + 0.5 * tv, 0.55 * tu, 0.55 * tv, broad * tv, -broad * tu, strength, 0.0, 0.35, out[1]
    )
