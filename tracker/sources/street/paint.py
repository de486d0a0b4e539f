"""The brush: shapes onto an image and, without any blending, onto its label maps.

A picture is a list of parts, one float64 row each (columns below). Every part has a signed distance per pixel: colour
is blended by it over one pixel at the edge, labels are set exactly where it is not positive. Only + - * / sqrt and
whole numbers are used, so that a picture has the same bits on every machine.

Shapes: a capsule between two circles, an ellipse given by two half axes, a convex polygon of 3 to 8 corners
(clockwise as seen in the picture). Distances are in pixels, x right, y down, pixel (x, y) has its centre at +0.5.
"""

from __future__ import annotations

import math

import numpy as np

from tracker._jit import inlined, kernel

KIND, PATTERN, PERIOD, SHADE, COUNT, EXTRA_X, EXTRA_Y = range(7)  # extra: turn of spokes, anchor of leaves
COLOUR = 7  # 3 columns, BGR 0..255
SECOND = 10  # 3 columns, the pattern's other colour
SHAPE = 13  # up to 16 columns: x y x y ..., see `capsule`, `ellipse`, `corner`
WIDTH = 29  # of a row

CAPSULE, ELLIPSE, POLYGON = range(3)
PLAIN, STRIPES, BARS, CHECKS, DOTS, BLOCKS, LEAVES, GLASS, SPOKES = range(9)


@inlined
def grain(x, y, salt):  # type: ignore[no-untyped-def]
    """Noise 0..255 of a cell of the plane; equal on every machine."""
    h = (x * 374761393 + y * 668265263 + salt * 1442695041) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 1103515245) & 0xFFFFFFFF
    return (h >> 16) & 255


@inlined
def smooth_grain(x, y, salt):  # type: ignore[no-untyped-def]
    """Noise 0..1 that runs smoothly from cell to cell."""
    i, j = math.floor(x), math.floor(y)
    fx, fy = x - i, y - j
    fx, fy = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy)
    i, j = int(i), int(j)
    top = grain(i, j, salt) * (1.0 - fx) + grain(i + 1, j, salt) * fx
    low = grain(i, j + 1, salt) * (1.0 - fx) + grain(i + 1, j + 1, salt) * fx
    return (top * (1.0 - fy) + low * fy) / 255.0


@inlined
def sine(turns):  # type: ignore[no-untyped-def]
    """sin(2 pi turns) to about 1e-3 from products alone."""
    x = turns - math.floor(turns)
    x = 1.0 - 2.0 * x  # -1..1, sin(pi x)
    y = 4.0 * x * (1.0 - abs(x))
    return 0.225 * (y * abs(y) - y) + y


@inlined
def _start(part, kind, colour, shade):  # type: ignore[no-untyped-def]
    part[KIND] = kind
    part[PATTERN] = PLAIN
    part[PERIOD] = 1.0
    part[SHADE] = shade
    for k in range(3):
        part[COLOUR + k] = colour[k]
        part[SECOND + k] = colour[k]


@inlined
def capsule(part, x0, y0, r0, x1, y1, r1, colour, shade):  # type: ignore[no-untyped-def]
    """A limb from circle 0 to circle 1; `shade` is how round it looks, 0 for flat."""
    _start(part, CAPSULE, colour, shade)
    part[SHAPE], part[SHAPE + 1], part[SHAPE + 2] = x0, y0, r0
    part[SHAPE + 3], part[SHAPE + 4], part[SHAPE + 5] = x1, y1, r1


@inlined
def ellipse(part, x, y, ax, ay, bx, by, colour, shade):  # type: ignore[no-untyped-def]
    """An ellipse with centre (x, y) and the half axes a and b, which need not stand square."""
    _start(part, ELLIPSE, colour, shade)
    part[SHAPE], part[SHAPE + 1] = x, y
    part[SHAPE + 2], part[SHAPE + 3], part[SHAPE + 4], part[SHAPE + 5] = ax, ay, bx, by


@inlined
def polygon(part, corners, colour, shade):  # type: ignore[no-untyped-def]
    """A polygon that gets `corners` corners by `corner`."""
    _start(part, POLYGON, colour, shade)
    part[COUNT] = corners


@inlined
def corner(part, k, x, y):  # type: ignore[no-untyped-def]
    """Corner k of a polygon."""
    part[SHAPE + 2 * k], part[SHAPE + 2 * k + 1] = x, y


@inlined
def quadrangle(part, x0, y0, x1, y1, x2, y2, x3, y3, colour, shade):  # type: ignore[no-untyped-def]
    """A polygon of four corners, clockwise in the picture."""
    _start(part, POLYGON, colour, shade)
    part[COUNT] = 4
    part[SHAPE], part[SHAPE + 1], part[SHAPE + 2], part[SHAPE + 3] = x0, y0, x1, y1
    part[SHAPE + 4], part[SHAPE + 5], part[SHAPE + 6], part[SHAPE + 7] = x2, y2, x3, y3


@inlined
def pattern(part, kind, period, second):  # type: ignore[no-untyped-def]
    """Print a pattern with a second colour on a part; `period` in pixels."""
    part[PATTERN] = kind
    part[PERIOD] = max(period, 0.5)
    for k in range(3):
        part[SECOND + k] = second[k]


@inlined
def _bounds(part, height, width):  # type: ignore[no-untyped-def]
    """Pixels that a part can touch: x0, y0, x1, y1, clipped to the picture."""
    kind = int(part[KIND])
    x0, y0, x1, y1 = 1e9, 1e9, -1e9, -1e9
    if kind == CAPSULE:
        for k in range(2):
            x, y, r = part[SHAPE + 3 * k], part[SHAPE + 3 * k + 1], part[SHAPE + 3 * k + 2]
            x0, y0, x1, y1 = min(x0, x - r), min(y0, y - r), max(x1, x + r), max(y1, y + r)
    elif kind == ELLIPSE:
        x, y = part[SHAPE], part[SHAPE + 1]
        w = math.sqrt(part[SHAPE + 2] * part[SHAPE + 2] + part[SHAPE + 4] * part[SHAPE + 4])
        h = math.sqrt(part[SHAPE + 3] * part[SHAPE + 3] + part[SHAPE + 5] * part[SHAPE + 5])
        x0, y0, x1, y1 = x - w, y - h, x + w, y + h
    else:
        for k in range(int(part[COUNT])):
            x, y = part[SHAPE + 2 * k], part[SHAPE + 2 * k + 1]
            x0, y0, x1, y1 = min(x0, x), min(y0, y), max(x1, x), max(y1, y)
    x0, y0 = min(max(x0 - 1.0, 0.0), width), min(max(y0 - 1.0, 0.0), height)
    x1, y1 = min(max(x1 + 2.0, 0.0), width), min(max(y1 + 2.0, 0.0), height)
    return int(x0), int(y0), int(x1), int(y1)


@inlined
def _print(kind, along, across, period):  # type: ignore[no-untyped-def]
    """How much of the second colour a pattern shows at a place, 0..1."""
    a, b = along / period, across / period
    fa, fb = a - math.floor(a), b - math.floor(b)
    if kind == STRIPES:
        return 1.0 if fa < 0.45 else 0.0
    if kind == BARS:
        return 1.0 if fb < 0.4 else 0.0
    if kind == CHECKS:
        return (0.5 if fa < 0.5 else 0.0) + (0.5 if fb < 0.5 else 0.0)
    if kind == DOTS:
        return 1.0 if (fa - 0.5) * (fa - 0.5) + (fb - 0.5) * (fb - 0.5) < 0.08 else 0.0
    if kind == BLOCKS:
        return 1.0 if a > 2.2 else 0.0
    return 0.0


@kernel
def paint(parts, count, owner, label, salt, sun_x, image, ids, classes):  # type: ignore[no-untyped-def]
    """Paint the first `count` parts, one over the other, as one object.

    Args:
        parts: (P, WIDTH) float64.
        count: parts to paint.
        owner: written to `ids` where the object is.
        label: written to `classes` there.
        salt: which grain the texture has.
        sun_x: -1..1, where the light comes from.
        image: (H, W, 3) uint8 BGR.
        ids: (H, W) int32.
        classes: (H, W) uint8.

    Returns:
        Pixels inside the picture that the object covers, counted once each.
    """
    height, width = ids.shape
    edge = np.empty((8, 3))
    area = 0
    for p in range(count):
        part = parts[p]
        x0, y0, x1, y1 = _bounds(part, height, width)
        if x0 >= x1 or y0 >= y1:
            continue
        kind, ink, period, shade = int(part[KIND]), int(part[PATTERN]), part[PERIOD], part[SHADE]
        corners = int(part[COUNT])
        sx, sy = part[SHAPE], part[SHAPE + 1]
        mid_y, half_y = (y0 + y1) * 0.5, max((y1 - y0) * 0.5, 1.0)
        inverse = 0.0
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        small = 1.0
        if kind == CAPSULE:
            a, b = part[SHAPE + 3] - sx, part[SHAPE + 4] - sy
            c, d = part[SHAPE + 2], part[SHAPE + 5] - part[SHAPE + 2]
            inverse = 1.0 / max(a * a + b * b, 1e-6)
            small = math.sqrt(max(a * a + b * b, 1e-6))
        elif kind == ELLIPSE:
            ax, ay, bx, by = part[SHAPE + 2], part[SHAPE + 3], part[SHAPE + 4], part[SHAPE + 5]
            area2 = ax * by - ay * bx
            if abs(area2) < 1e-3:
                continue
            a, b, c, d = by / area2, -bx / area2, -ay / area2, ax / area2
            small = abs(area2) / math.sqrt(max(ax * ax + ay * ay, bx * bx + by * by))
        else:
            for k in range(corners):
                m = k + 1 if k + 1 < corners else 0
                ux, uy = part[SHAPE + 2 * k], part[SHAPE + 2 * k + 1]
                ex, ey = part[SHAPE + 2 * m] - ux, part[SHAPE + 2 * m + 1] - uy
                size = math.sqrt(ex * ex + ey * ey)
                if size < 1e-6:
                    edge[k, 0], edge[k, 1], edge[k, 2] = 0.0, 0.0, 1e9
                else:
                    edge[k, 0], edge[k, 1] = ey / size, -ex / size
                    edge[k, 2] = edge[k, 0] * ux + edge[k, 1] * uy
        for y in range(y0, y1):
            py = y + 0.5
            for x in range(x0, x1):
                px = x + 0.5
                along, across, lit, leaf_x, leaf_y = 0.0, 0.0, 0.0, 0.0, 0.0
                if kind == CAPSULE:
                    ux, uy = px - sx, py - sy
                    t = (ux * a + uy * b) * inverse
                    t = min(max(t, 0.0), 1.0)
                    ex, ey = ux - t * a, uy - t * b
                    r = c + t * d
                    dist = math.sqrt(ex * ex + ey * ey)
                    sd = dist - r
                    if sd >= 0.5:
                        continue
                    along = t * small
                    across = (ux * b - uy * a) / small + 1000.0 * period
                    lit = (ex * sun_x - 0.45 * ey) / max(r, 0.5)
                elif kind == ELLIPSE:
                    ux, uy = px - sx, py - sy
                    qx, qy = a * ux + b * uy, c * ux + d * uy
                    r = math.sqrt(qx * qx + qy * qy)
                    sd = (r - 1.0) * small
                    if ink == LEAVES:
                        leaf_x, leaf_y = (px - part[EXTRA_X]) / period, (py - part[EXTRA_Y]) / period
                        sd += (smooth_grain(leaf_x, leaf_y, salt) - 0.35) * 0.75 * small
                    if sd >= 0.5:
                        continue
                    along, across = qx, qy
                    lit = (ux * sun_x - 0.6 * uy) / max(small, 0.5)
                else:
                    sd = -1e9
                    for k in range(corners):
                        sd = max(sd, edge[k, 0] * px + edge[k, 1] * py - edge[k, 2])
                    if sd >= 0.5:
                        continue
                    along, across = py - sy + 1000.0 * period, px - sx + 1000.0 * period
                    lit = (mid_y - py) / half_y
                cover = min(0.5 - sd, 1.0)
                gain = 1.0 + shade * min(max(lit, -1.2), 1.2)
                mix = 0.0
                if ink == LEAVES:
                    tuft = smooth_grain(leaf_x + 0.3, leaf_y, salt + 1)
                    gain *= 0.74 + 0.34 * tuft + 0.14 * smooth_grain(leaf_x * 2.7, leaf_y * 2.7, salt + 3)
                    mix = max(0.0, smooth_grain(leaf_x * 0.6, leaf_y * 0.6, salt + 2) * 1.6 - 0.6)
                elif ink == GLASS:
                    mix = min(max(0.5 + 0.5 * lit, 0.0), 1.0)
                    if grain((x - y + 4096) // 9, 0, salt) > 215:
                        mix = min(mix + 0.25, 1.0)
                elif ink == SPOKES:
                    c2, s2 = along * along - across * across, 2.0 * along * across
                    c4, s4 = c2 * c2 - s2 * s2, 2.0 * c2 * s2
                    mix = 1.0 if c4 * part[EXTRA_X] + s4 * part[EXTRA_Y] > 0.1 * r * r * r * r else 0.0
                elif ink != PLAIN:
                    mix = _print(ink, along, across, period)
                if ink != GLASS and kind == CAPSULE:  # cloth
                    gain += (grain(int(across * 0.7 + 4096.0), int(along * 0.7 + 4096.0), salt) - 128) * 0.0004
                for k in range(3):
                    tone = (part[COLOUR + k] * (1.0 - mix) + part[SECOND + k] * mix) * gain
                    tone = min(max(tone, 0.0), 255.0)
                    image[y, x, k] = np.uint8(image[y, x, k] + (tone - image[y, x, k]) * cover)
                if sd <= 0.0:
                    if ids[y, x] != owner:
                        area += 1
                    ids[y, x] = owner
                    classes[y, x] = label
    return area


@kernel
def cast(shadows, count, ground, image, classes):  # type: ignore[no-untyped-def]
    """Darken the ground by soft shadows: rows x, y, ax, ay, bx, by (half axes), strength, square 0 or 1, softness."""
    height, width = classes.shape
    for p in range(count):
        x, y, ax, ay = shadows[p, 0], shadows[p, 1], shadows[p, 2], shadows[p, 3]
        bx, by, strength, square, soft = shadows[p, 4], shadows[p, 5], shadows[p, 6], shadows[p, 7], shadows[p, 8]
        area2 = ax * by - ay * bx
        if abs(area2) < 1e-3:
            continue
        a, b, c, d = by / area2, -bx / area2, -ay / area2, ax / area2
        w, h = abs(ax) + abs(bx), abs(ay) + abs(by)
        x0, x1 = int(min(max(x - w, 0.0), width)), int(min(max(x + w + 1.0, 0.0), width))
        y0, y1 = int(min(max(y - h, 0.0), height)), int(min(max(y + h + 1.0, 0.0), height))
        for j in range(y0, y1):
            for i in range(x0, x1):
                if classes[j, i] > ground:
                    continue
                ux, uy = i + 0.5 - x, j + 0.5 - y
                qx, qy = a * ux + b * uy, c * ux + d * uy
                qx, qy = qx * qx, qy * qy
                r = math.sqrt(math.sqrt(qx * qx + qy * qy)) if square > 0.5 else math.sqrt(qx + qy)
                dark = (1.0 - r) / soft
                if dark <= 0.0:
                    continue
                dark = 1.0 - strength * min(dark, 1.0)
                for k in range(3):
                    image[j, i, k] = np.uint8(image[j, i, k] * dark)


@kernel
def stamp(x, y, colours, cover, label, image, ids, classes):  # type: ignore[no-untyped-def]
    """Put a ready-made picture of stuff at (x, y) where its `cover` is set; who stood there is hidden."""
    height, width = ids.shape
    h, w = cover.shape
    for j in range(max(0, -y), min(h, height - y)):
        for i in range(max(0, -x), min(w, width - x)):
            if cover[j, i]:
                for k in range(3):
                    image[y + j, x + i, k] = colours[j, i, k]
                ids[y + j, x + i] = 0
                classes[y + j, x + i] = label


@kernel
def develop(image, tone, noise, offsets):  # type: ignore[no-untyped-def]
    """What the sensor does, in place: a tone curve (3, 256) uint8 per channel, then noise from a ring, row by row."""
    height, width, _ = image.shape
    ring = len(noise) - 3 * width
    for y in range(height):
        at = offsets[y] % ring
        for x in range(width):
            for k in range(3):
                value = tone[k, image[y, x, k]] + int(noise[at + 3 * x + k])
                image[y, x, k] = min(max(value, 0), 255)


@kernel
def census(ids, owners, boxes, areas):  # type: ignore[no-untyped-def]
    """Tight half-open boxes (N, 4) and sizes (N,) of the visible pixels of `owners`, which ascend."""
    top = 0
    for k in range(len(owners)):
        top = max(top, owners[k])
    row = np.full(top + 1, -1, np.int64)
    for k in range(len(owners)):
        row[owners[k]] = k
    height, width = ids.shape
    for k in range(len(owners)):
        boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3] = width, height, 0, 0
    for y in range(height):
        for x in range(width):
            if ids[y, x]:
                k = row[ids[y, x]]
                areas[k] += 1
                boxes[k, 0] = min(boxes[k, 0], np.float32(x))
                boxes[k, 1] = min(boxes[k, 1], np.float32(y))
                boxes[k, 2] = max(boxes[k, 2], np.float32(x + 1))
                boxes[k, 3] = max(boxes[k, 3], np.float32(y + 1))
