"""Query: where every live track is at any time from the last frame on, how it moves and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.association.motion import Motion
from tracker.association.state import (
    COASTING,
    CONFIRMED,
    COUNT,
    ID,
    INTS,
    P00,
    P01,
    P11,
    PHASE,
    REALS,
    TENTATIVE,
    UNSEEN,
    State,
    V,
    X,
)

_CORNERS = np.array([[1, 0, -0.5, 0], [0, 1, 0, -0.5], [1, 0, 0.5, 0], [0, 1, 0, 0.5]])  # of cx cy w h: x1 y1 x2 y2


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Every live track at one time. Rows stand in the order of the last frame's `Tracks`.

    Attributes:
        ids: (T,) int64.
        states: (T,) uint8, `TrackState` after the last frame.
        boxes: (T, 4) float64, x1 y1 x2 y2, source pixels; sizes are above 0.
        velocities: (T, 4) float64, px/s: of the centre's x and y, of width and height.
        box_covariances: (T, 4, 4) float64, px^2, of `boxes`, mapped from the filter's coordinates by first order. NaN
            where the motion model keeps no uncertainty. They are as good as the filter's noise figures: SORT's ("xysr")
            say next to nothing about width and height.
        centre_covariances: (T, 4, 4) float64, of centre x and y and their velocities: px^2, px^2/s, px^2/s^2. NaN
            likewise.
        time_s: time that was asked for.
    """

    ids: NDArray[np.int64]
    states: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    velocities: NDArray[np.float64]
    box_covariances: NDArray[np.float64]
    centre_covariances: NDArray[np.float64]
    time_s: float

    def __len__(self) -> int:
        return len(self.ids)


def estimate(
    motion: Motion, state: State, frames: float, time_s: float, *, frame_rate: float, half_life_s: float
) -> Estimates:
    """Move copies of all tracks ahead; the state stays as it is.

    A velocity halves every `half_life_s` from the moment when its track was last seen. A size that shrinks does so
    with its velocity down to a half and then ever more slowly towards a quarter. Covariances are those that the filter
    itself predicts: to slow down is our caution and makes nobody surer.

    Args:
        motion: of the tracker's plan.
        state: after the last frame.
        frames: time since then, nominal frames, >= 0.
        time_s: the same time as the stream's; goes into the result.
        frame_rate: nominal frames per second.
        half_life_s: above 0; infinity for steady velocities.
    """
    alive = int(state.counters[COUNT])
    phases = state.ints[PHASE, :alive]
    order = np.concatenate([np.flatnonzero(phases == phase) for phase in (CONFIRMED, TENTATIVE, COASTING)])
    reals, ints = state.reals[:REALS, order], state.ints[:INTS, order]
    z, v, p00, p01, p11 = (reals[row : row + 4] for row in (X, V, P00, P01, P11))  # (4, T) each
    v = np.where(np.array(motion.stops)[:, None] & (ints[PHASE] == COASTING), 0.0, v)

    square = np.stack([z[k] ** 2 if k >= 0 else np.ones(len(order)) for k in motion.scale])
    process, process_velocity = (np.array(q)[:, None] * square for q in (motion.process, motion.process_velocity))
    p00 = p00 + frames * (2.0 * p01 + frames * p11 + process)
    p01 = p01 + frames * p11
    p11 = p11 + frames * process_velocity

    rate = math.log(2.0) / max(half_life_s * frame_rate, 1e-9)
    v = v * np.exp(-rate * reals[UNSEEN])
    z, v = _move(z, v, frames, rate, motion.size)
    shape, slopes = _SHAPES[motion.form](z)
    to_box = _CORNERS @ slopes
    boxes = (_CORNERS @ shape.T[:, :, None])[:, :, 0]
    velocities = np.einsum("tik,kt->ti", slopes, v) * frame_rate
    box_covariances = np.einsum("tik,kt,tjk->tij", to_box, p00, to_box)
    centre = slopes[:, :2]
    blocks = [np.einsum("tik,kt,tjk->tij", centre, p, centre) for p in (p00, p01 * frame_rate, p11 * frame_rate**2)]
    centre_covariances = np.block([[blocks[0], blocks[1]], [blocks[1], blocks[2]]])
    if not any(motion.birth):
        box_covariances[:] = centre_covariances[:] = np.nan
    states = ints[PHASE].astype(np.uint8)
    return Estimates(ints[ID], states, boxes, velocities, box_covariances, centre_covariances, time_s)


def _move(
    z: NDArray[np.float64], v: NDArray[np.float64], frames: float, rate: float, sizes: tuple[bool, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates and their velocities after `frames`, with velocities that fall off at `rate` per frame."""
    way = v * (-math.expm1(-rate * frames) / rate if rate > 0 else frames)
    moved, v = z + way, v * math.exp(-rate * frames)
    for k in np.flatnonzero(sizes):  # a size that shrinks below its half: on from there along an exponential
        share = way[k] / z[k]
        tail = np.exp(np.minimum(4.0 * share + 2.0, 0.0))
        moved[k] = np.where(share < -0.5, 0.25 * z[k] * (1.0 + tail), moved[k])
        v[k] *= tail
    return moved, v


def _shape_of_xysr(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y, area, ratio = z
    w = np.sqrt(area * ratio)
    h = area / w
    slopes = _centres(len(x))
    slopes[:, 2, 2], slopes[:, 2, 3] = w / (2.0 * area), w / (2.0 * ratio)
    slopes[:, 3, 2], slopes[:, 3, 3] = h / (2.0 * area), -h / (2.0 * ratio)
    return np.stack([x, y, w, h]), slopes


def _shape_of_xyah(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y, ratio, h = z
    slopes = _centres(len(x))
    slopes[:, 2, 2], slopes[:, 2, 3] = h, ratio
    slopes[:, 3, 3] = 1.0
    return np.stack([x, y, ratio * h, h]), slopes


def _shape_of_xywh(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return z, np.broadcast_to(np.eye(4), (z.shape[1], 4, 4))


def _shape_of_xyxy(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    slopes = np.linalg.inv(_CORNERS)
    return slopes @ z, np.broadcast_to(slopes, (z.shape[1], 4, 4))


def _centres(n: int) -> NDArray[np.float64]:
    slopes = np.zeros((n, 4, 4))
    slopes[:, 0, 0] = slopes[:, 1, 1] = 1.0
    return slopes


_SHAPES = {"xysr": _shape_of_xysr, "xyah": _shape_of_xyah, "xywh": _shape_of_xywh, "xyxy": _shape_of_xyxy}
"""Form -> coordinates (4, T) to centre x, centre y, width, height (4, T), and their slopes (T, 4, 4)."""
