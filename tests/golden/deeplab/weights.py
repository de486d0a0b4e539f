"""Numbers that go by a variable's name, so that no file has to hold them."""

from __future__ import annotations

import zlib

import numpy as np

SIZE, CROP, WIDTH = (97, 65), (65, 33), 1 / 16
"""(width, height) of the input and of the training crops; share of channels."""


def channels(count: int) -> int:
    """So many channels of the published network, in this narrow one."""
    return max(4, round(count * WIDTH))


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a variable of deeplab2's name: every layer keeps about the spread of its input."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    kind = name.rpartition("/")[2]
    if kind in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if kind in ("beta", "moving_mean", "bias"):
        return rng.normal(0, 0.2, shape).astype(np.float32)
    inputs = shape[0] * shape[1] * (1 if kind == "depthwise_kernel" else shape[2])
    return rng.normal(0, (2 / inputs) ** 0.5, shape).astype(np.float32)


def pictures() -> np.ndarray:
    """(1, 65, 97, 7): two pictures in 0..255 and a heat in 0..1."""
    rng = np.random.default_rng(1)
    values = rng.uniform(0, 255, (1, SIZE[1], SIZE[0], 7)).astype(np.float32)
    values[..., 6] /= 255
    return values
