"""Colours (b, g, r) of what a ray meets: facades, ground, sky. All are functions of a place in metres."""

from __future__ import annotations

import math

from tracker._jit import inlined
from tracker.sources.street.layout import FAR_KERB, KERB, MIDDLE, PARKING, SLAB, ZEBRA
from tracker.sources.street.paint import grain, smooth_grain


@inlined
def fraction(x):  # type: ignore[no-untyped-def]
    """How far x is above the whole number below."""
    return x - math.floor(x)


@inlined
def _window(a, b, house, column, storey):  # type: ignore[no-untyped-def]
    """Colour of a place (a, b) in 0..1 of a window's opening: frame, panes, curtain."""
    salt = int(house[18])
    lot = grain(column, storey, salt)
    if a < 0.07 or a > 0.93 or b < 0.05 or b > 0.94 or abs(a - 0.5) < 0.035:
        return house[6] * 1.02, house[7] * 1.02, house[8] * 1.02
    shine = 0.35 + 0.5 * b + (0.18 if fraction(a * 0.7 + b * 0.5 + lot / 255.0) < 0.22 else 0.0)
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
        if fraction(y / 0.16) < 0.13 or fraction(u / 0.42 + shift) < 0.05:
            gain *= 1.12
    elif style == 2:
        if fraction(u / house[12]) < 0.02 or fraction(y / house[13]) < 0.02:
            gain *= 0.84
    else:
        gain *= 0.97 + grain(math.floor(u * 18.0), int(y * 18.0), salt) * 0.0002
    return house[3] * gain, house[4] * gain, house[5] * gain


@inlined
def facade_colour(u, y, house):  # type: ignore[no-untyped-def]
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
                stripe = 1.0 if fraction(u / 0.7) < 0.5 else 0.0
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
            panel = 0.85 if fraction(a * 4.0) < 0.12 or fraction(y * 1.1) < 0.1 else 1.0
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
def grass_colour(u, v, salt, fine):  # type: ignore[no-untyped-def]
    """Grass; `fine` fades single tufts with the distance."""
    tuft = grain(math.floor(u * 14.0), math.floor(v * 9.0), salt) / 255.0 - 0.5
    soft = smooth_grain(u * 0.7, v * 0.7, salt)
    gain = 0.85 + 0.22 * soft + 0.34 * tuft * fine
    return 62.0 * gain, 132.0 * gain, 104.0 * gain


@inlined
def paving_colour(u, v, strips, salt, fine):  # type: ignore[no-untyped-def]
    """Slabs of a sidewalk."""
    slab = strips[SLAB]
    row = math.floor(v / slab)
    shift = 0.5 * (row % 2)
    column = math.floor(u / slab + shift)
    gain = 0.94 + grain(column, row, salt) * 0.00035 + 0.10 * (smooth_grain(u * 0.5, v * 0.5, salt) - 0.5)
    if fraction(u / slab + shift) < 0.035 / slab or fraction(v / slab) < 0.035 / slab:
        gain *= 1.0 - 0.22 * fine
    gain *= 1.0 + (grain(math.floor(u * 30.0), math.floor(v * 30.0), salt) - 128) * 0.0006 * fine
    return 176.0 * gain, 184.0 * gain, 190.0 * gain


@inlined
def asphalt_colour(u, v, strips, salt, fine):  # type: ignore[no-untyped-def]
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
        if kerb + 0.3 < v < far - 0.3 and fraction((v - kerb) / 1.05) < 0.52:
            white = 1.0
    elif across < 2.6:
        white = 0.0
    elif (
        (abs(v - strips[MIDDLE]) < 0.075 and fraction(u / 5.0) < 0.55)
        or (strips[PARKING] > 0.0 and abs(v - park) < 0.06)
        or (strips[PARKING] > 0.0 and v > park and fraction(u / 6.2) < 0.018)
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
def sky_colour(xr, yr, sky, salt):  # type: ignore[no-untyped-def]
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
