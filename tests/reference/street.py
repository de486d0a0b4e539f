"""Slow, obvious twins of the street's kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker.sources.street import paint as brush


def census_slowly(ids: NDArray[np.int32], owners: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Tight boxes and sizes of the owners' pixels."""
    boxes = np.zeros((len(owners), 4), np.float32)
    areas = np.zeros(len(owners), np.int64)
    for row, owner in enumerate(owners):
        y, x = np.nonzero(ids == owner)
        areas[row] = len(x)
        if len(x):
            boxes[row] = x.min(), y.min(), x.max() + 1, y.max() + 1
    return boxes, areas


def covered_slowly(parts: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels whose centre lies inside one of the parts."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    covered = np.zeros((height, width), bool)
    for part in parts:
        shape = part[brush.SHAPE :]
        if part[brush.KIND] == brush.CAPSULE:
            x0, y0, r0, x1, y1, r1 = shape[:6]
            a, b = x1 - x0, y1 - y0
            t = np.clip(((x - x0) * a + (y - y0) * b) / (a * a + b * b), 0, 1)
            covered |= np.hypot(x - x0 - t * a, y - y0 - t * b) <= r0 + t * (r1 - r0)
        elif part[brush.KIND] == brush.ELLIPSE:
            axes = np.array([[shape[2], shape[4]], [shape[3], shape[5]]])
            q = np.linalg.inv(axes) @ np.stack([(x - shape[0]).ravel(), (y - shape[1]).ravel()])
            covered |= (np.hypot(q[0], q[1]) <= 1).reshape(height, width)
        else:
            n = int(part[brush.COUNT])
            inside = np.ones((height, width), bool)
            for k in range(n):
                ax, ay = shape[2 * k : 2 * k + 2]
                bx, by = shape[2 * ((k + 1) % n) : 2 * ((k + 1) % n) + 2]
                inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0
            covered |= inside
    return covered


def cast_slowly(row: NDArray[np.float64], ground: int, image: NDArray[np.uint8], classes: NDArray[np.uint8]) -> None:
    """One soft shadow, in place."""
    x, y, ax, ay, bx, by, strength, square, soft = row
    j, i = np.mgrid[0 : classes.shape[0], 0 : classes.shape[1]] + 0.5
    q = np.linalg.inv(np.array([[ax, bx], [ay, by]])) @ np.stack([(i - x).ravel(), (j - y).ravel()])
    power = 4 if square else 2
    r = ((q**power).sum(0) ** (1 / power)).reshape(classes.shape)
    dark = np.where(classes <= ground, np.clip((1 - r) / soft, 0, 1), 0) * strength
    image[:] = (image * (1 - dark[..., None])).astype(np.uint8)


def develop_slowly(
    image: NDArray[np.uint8], tone: NDArray[np.uint8], noise: NDArray[np.int8], offsets: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Tone curve, then noise."""
    ring = len(noise) - 3 * image.shape[1]
    out = np.empty_like(image)
    for y, row in enumerate(image):
        grain = noise[offsets[y] % ring :][: row.size].reshape(row.shape)
        mapped = np.stack([tone[k][row[:, k]] for k in range(3)], axis=1)
        out[y] = np.clip(mapped.astype(int) + grain, 0, 255)
    return out
