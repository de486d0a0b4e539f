"""Cars as lists of parts: two extruded profiles, body and cabin, with windows, lamps and wheels on their faces.

Points of a car are (along, side, up) in metres from the ground below its middle; `side` points to the camera.
"""

from __future__ import annotations

import math

import numpy as np

from tracker._jit import inlined, kernel
from tracker.sources.street.layout import CAMERA_Y, HAZE_B, SUN_X
from tracker.sources.street.paint import (
    COLOUR,
    EXTRA_X,
    EXTRA_Y,
    GLASS,
    SECOND,
    SPOKES,
    corner,
    ellipse,
    pattern,
    polygon,
    sine,
)  # fmt: skip
from tracker.sources.street.rig import (
    AT_U,
    AT_V,
    BONNET,
    BOOT,
    FORE_U,
    FORE_V,
    HIGH,
    LENGTH,
    PAINT,
    RIM,
    ROOF,
    SIDE_U,
    SIDE_V,
    WIDE,
    project,
    set_up,
    shadow_row,
    sun_length,
    tint,
)  # fmt: skip
from tracker.sources.street.world import PHASE

_VAN_HEIGHT_M = 2.0
_PANE = np.array([62.0, 52.0, 42.0])
_BLACK = np.array([34.0, 34.0, 34.0])
# BGR: head lamp, rear lamp, grille, plate
_LAMPS = np.array([[215.0, 240.0, 248.0], [40.0, 34.0, 200.0], [40.0, 40.0, 40.0], [205.0, 205.0, 205.0]])
# sill, two door lines, head and rear lamp seen from the side: from and to along (share of the half length, then
# metres), from and to up (share of the deck's height, then metres)
_TRIM = np.array(
    [
        [-1.0, 0.02, 1.0, -0.05, 0.0, 0.24, 0.0, 0.36],
        [-0.16, 0.0, -0.16, 0.025, 0.0, 0.36, 0.93, 0.0],
        [0.36, 0.0, 0.36, 0.025, 0.0, 0.36, 0.93, 0.0],
        [1.0, -0.32, 1.0, -0.06, 0.58, 0.0, 0.74, 0.0],
        [-1.0, 0.01, -1.0, 0.20, 0.60, 0.0, 0.80, 0.0],
    ]
)
_TRIM_GAIN = np.array([0.42, 0.62, 0.62])


@kernel
def pose_car(look, pose, camera, shift_x, shift_y, parts):  # type: ignore[no-untyped-def]
    """Parts of a car, back to front; returns how many. Arguments as for `pose_walker`."""
    rig = set_up(camera, pose, shift_x, shift_y, 0.0)
    length, wide, high = look[LENGTH], look[WIDE], look[HIGH]
    half, deck = length / 2, (0.60 if high < _VAN_HEIGHT_M else 0.50) * high
    body = np.array([
        [-half, 0.24], [-half - 0.02, 0.55 * deck], [-half + 0.06, deck * 0.96], [half - look[BONNET], deck],
        [half - 0.14, 0.80 * deck], [half, 0.52 * deck], [half - 0.03, 0.24],
    ])  # fmt: skip
    rear = -half + look[BOOT] + 0.30
    front = min(rear + look[ROOF] * (length - look[BONNET] - look[BOOT]), half - look[BONNET] - 0.25)
    cabin = np.array([
        [-half + look[BOOT] + 0.03, deck * 0.96], [rear, high * 0.985], [(rear + front) / 2, high],
        [front, high * 0.97], [half - look[BONNET] + 0.12, deck * 0.985],
    ])  # fmt: skip
    quad = np.empty((8, 3))
    n = np.int64(0)  # see `pose_walker`
    n = _hull(body, wide / 2, wide / 2, look, rig, quad, parts, n)
    n = _lamps(half, deck, look, rig, quad, parts, n)
    n = _hull(cabin, wide / 2 - 0.04, wide / 2 - 0.20, look, rig, quad, parts, n)
    n = _windows(cabin, deck, look, rig, quad, parts, n)
    return _wheels(half, look, rig, pose[PHASE], parts, n)


@inlined
def _at(rig, along, side, up):  # type: ignore[no-untyped-def]
    """Picture of a point of the car."""
    x, y, _ = project(
        rig,
        rig[AT_U] + rig[FORE_U] * along + rig[SIDE_U] * side,
        rig[AT_V] + rig[FORE_V] * along + rig[SIDE_V] * side,
        up,
    )
    return x, y


@inlined
def _corners(quad, a0, s0, y0, a1, s1, y1, a2, s2, y2, a3, s3, y3):  # type: ignore[no-untyped-def]
    """Four corners (along, side, up) into the first rows of `quad`."""
    quad[0, 0], quad[0, 1], quad[0, 2] = a0, s0, y0
    quad[1, 0], quad[1, 1], quad[1, 2] = a1, s1, y1
    quad[2, 0], quad[2, 1], quad[2, 2] = a2, s2, y2
    quad[3, 0], quad[3, 1], quad[3, 2] = a3, s3, y3


@kernel
def _face(rig, points, colour, shade, parts, n):  # type: ignore[no-untyped-def]
    """A face from points of the car, whichever way round they run; returns n + 1, or n where it is seen edge-on."""
    corners = len(points)
    twice = 0.0
    x0, y0 = _at(rig, points[corners - 1, 0], points[corners - 1, 1], points[corners - 1, 2])
    polygon(parts[n], corners, colour, shade)
    for k in range(corners):
        x, y = _at(rig, points[k, 0], points[k, 1], points[k, 2])
        corner(parts[n], k, x, y)
        twice += x0 * y - x * y0
        x0, y0 = x, y
    if abs(twice) <= 0.5:
        return n
    if twice < 0.0:
        for k in range(corners):
            x, y = _at(rig, points[k, 0], points[k, 1], points[k, 2])
            corner(parts[n], corners - 1 - k, x, y)
    return n + 1


@inlined
def _pane(rig, points, parts, n):  # type: ignore[no-untyped-def]
    """A window: dark glass that reflects some sky at its upper edge."""
    colour = np.empty(3)
    tint(rig, _PANE, 1.0, colour)
    after = _face(rig, points, colour, 0.0, parts, n)
    for k in range(3):
        colour[k] = 0.45 * rig[HAZE_B + k] + 0.55 * colour[k]
    pattern(parts[n], GLASS, 1.0, colour)
    return after


@kernel
def _hull(profile, low, top, look, rig, quad, parts, n):  # type: ignore[no-untyped-def]
    """Extruded profile, `low` and `top` wide: the strips that look at the camera, then the near side.

    A profile that leans inwards is a cabin and has panes.
    """
    m = len(profile)
    floor, roof = profile[0, 1], profile[0, 1]
    for k in range(m):
        roof = max(roof, profile[k, 1])
    lean = (top - low) / (roof - floor)
    eye = -rig[AT_U] * rig[FORE_U] - rig[AT_V] * rig[FORE_V]  # the camera's place along the car
    colour = np.empty(3)
    for k in range(m - 1):
        a0, y0, a1, y1 = profile[k, 0], profile[k, 1], profile[k + 1, 0], profile[k + 1, 1]
        out, up = y0 - y1, a1 - a0  # outward normal; a profile runs from the rear over the top to the front
        if out * (eye - a0) + up * (rig[CAMERA_Y] - y0) <= 0.0:
            continue
        w0, w1 = low + lean * (y0 - floor), low + lean * (y1 - floor)
        tilt = up / math.sqrt(out * out + up * up)
        for glass in range(2):
            w0, w1 = (w0, w1) if glass == 0 else (0.86 * w0, 0.86 * w1)
            _corners(quad, a0, w0, y0, a1, w1, y1, a1, -w1, y1, a0, -w0, y0)
            if glass == 0:
                tint(rig, look[PAINT : PAINT + 3], 0.80 + 0.38 * max(tilt, 0.0), colour)
                n = _face(rig, quad[:4], colour, 0.05, parts, n)
            elif top < low and tilt < 0.93:
                n = _pane(rig, quad[:4], parts, n)
    for k in range(m):
        quad[k, 0], quad[k, 1], quad[k, 2] = profile[k, 0], low + lean * (profile[k, 1] - floor), profile[k, 1]
    tint(rig, look[PAINT : PAINT + 3], 0.90, colour)
    return _face(rig, quad[:m], colour, 0.20, parts, n)


@inlined
def _lamps(half, deck, look, rig, quad, parts, n):  # type: ignore[no-untyped-def]
    """Lamps, grille or plate at the end that is seen; sill, door lines and lamps on the side."""
    wide, eye = look[WIDE], -rig[AT_U] * rig[FORE_U] - rig[AT_V] * rig[FORE_V]
    colour = np.empty(3)
    if abs(eye) > half:
        end = 1.0 if eye > 0.0 else -1.0
        a = (half + 0.005) * end
        for k in range(3):
            s0, s1 = (0.46 - 0.74 * k) * wide, (0.28 - 0.74 * k) * wide
            low, top, kind = 0.50 * deck, 0.72 * deck, 0
            if k == 2:
                s0, s1, low, top, kind = 0.20 * wide, -0.20 * wide, 0.36 * deck, 0.52 * deck, 2
            tint(rig, _LAMPS[kind if end > 0.0 else kind + 1], 1.0, colour)
            _corners(quad, a, s0, low, a - 0.05 * end, s0, top, a - 0.05 * end, s1, top, a, s1, low)
            n = _face(rig, quad[:4], colour, 0.15, parts, n)
    for k in range(len(_TRIM)):
        if k < 3:
            tint(rig, look[PAINT : PAINT + 3], _TRIM_GAIN[k], colour)
        else:
            tint(rig, _LAMPS[k - 3], 1.0, colour)
        trim = _TRIM[k]
        a0, a1 = trim[0] * half + trim[1], trim[2] * half + trim[3]
        low, top = trim[4] * deck + trim[5], trim[6] * deck + trim[7]
        _corners(quad, a0, wide / 2, low, a0, wide / 2, top, a1, wide / 2, top, a1, wide / 2, low)
        n = _face(rig, quad[:4], colour, 0.0, parts, n)
    return n


@inlined
def _windows(cabin, deck, look, rig, quad, parts, n):  # type: ignore[no-untyped-def]
    """Side windows, split by a pillar; a van has one in front only."""
    high, floor = look[HIGH], cabin[0, 1]
    low, top = deck + 0.05, high * 0.985 - 0.10
    lean = 0.16 / (high - floor)
    side = look[WIDE] / 2 - 0.04
    rise = (top - deck) / (high - deck)
    back0, back1 = cabin[0, 0] + 0.16, cabin[0, 0] + (cabin[1, 0] - cabin[0, 0]) * rise + 0.10
    front0, front1 = cabin[4, 0] - 0.20, cabin[4, 0] + (cabin[3, 0] - cabin[4, 0]) * rise - 0.10
    panes = 2
    if high > _VAN_HEIGHT_M:
        low, panes = deck + 0.10, 1
        back0 = back1 = front1 - 0.75
    w0, w1 = side - lean * (low - floor), side - lean * (top - floor)
    for k in range(panes):
        a, b = k / panes + 0.02 * k, (k + 1) / panes - 0.02 * (panes - 1 - k)
        _corners(
            quad,
            back0 + (front0 - back0) * a,
            w0,
            low,
            back1 + (front1 - back1) * a,
            w1,
            top,
            back1 + (front1 - back1) * b,
            w1,
            top,
            back0 + (front0 - back0) * b,
            w0,
            low,
        )
        n = _pane(rig, quad[:4], parts, n)
    return n


@inlined
def _wheels(half, look, rig, roll, parts, n):  # type: ignore[no-untyped-def]
    """The two wheels of the near side: arch, tyre, rim with turning spokes."""
    r, side = 0.31 if look[HIGH] < 1.6 else 0.35, look[WIDE] / 2 + 0.01
    dark, light = np.empty(3), np.empty(3)
    tint(rig, _BLACK, 1.0, dark)
    tint(rig, look[RIM : RIM + 3], 1.0, light)
    for end in range(2):
        along = -0.60 * half if end == 0 else 0.62 * half
        x, y = _at(rig, along, side, r)
        ax, ay = _at(rig, along + r, side, r)
        bx, by = _at(rig, along, side, 2 * r)
        ax, ay, bx, by = ax - x, ay - y, bx - x, by - y
        for ring in range(3):
            size = 1.17 if ring == 0 else (1.0 if ring == 1 else 0.62)
            up = 0.03 if ring == 0 else 0.0
            ellipse(parts[n], x + up * bx, y + up * by, size * ax, size * ay, size * bx, size * by, dark, 0.0)
            if ring == 0:
                for k in range(3):
                    parts[n, COLOUR + k] = parts[n, SECOND + k] = 0.8 * dark[k]
            n += 1
        for k in range(3):
            parts[n - 1, COLOUR + k] = light[k]
        pattern(parts[n - 1], SPOKES, 1.0, dark)
        parts[n - 1, EXTRA_X], parts[n - 1, EXTRA_Y] = sine(4.0 * roll + 0.25), sine(4.0 * roll)
    return n


@kernel
def shade_car(look, pose, camera, shift_x, shift_y, strength, out):  # type: ignore[no-untyped-def]
    """Two rows for `paint.cast`: below the car, and away from the sun."""
    rig = set_up(camera, pose, shift_x, shift_y, 0.0)
    u, v, hu, hv = rig[AT_U], rig[AT_V], rig[FORE_U], rig[FORE_V]
    long, broad = look[LENGTH] * 0.5 + 0.25, look[WIDE] * 0.5 + 0.22
    shadow_row(rig, u, v, long * hu, long * hv, broad * hv, -broad * hu, 0.55, 1.0, 0.45, out[0])
    tu, tv = sun_length(camera[SUN_X], look[HIGH])
    long, broad = long + 0.1, broad + 0.14 * look[HIGH]
    shadow_row(
        rig, u + 0.5 * tu, v + 0.5 * tv, long * hu, long * hv, broad * hv, -broad * hu, strength, 1.0, 0.35, out[1]
    )
