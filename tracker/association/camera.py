"""Camera motion: what moves the whole picture moves every track."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker._jit import inlined, kernel
from tracker.association.motion import XYAH, XYSR, XYXY
from tracker.association.state import BOX, CENTRE, FROZEN, HEADING, LAST_BOX, P00, P01, P11, PAST, PAST_FRAMES, V, X
from tracker.association.table import FORM, RULES
from tracker.errors import FrameError


def as_affine(camera: ArrayLike) -> NDArray[np.float64]:
    """Check a camera motion.

    Raises:
        FrameError: not (2, 3) finite numbers, or a map that turns the picture over or lets it vanish.
    """
    affine = np.ascontiguousarray(camera, np.float64)
    if affine.shape != (2, 3) or not np.isfinite(affine).all():
        raise FrameError(f"expected camera motion as a (2, 3) affine map of finite numbers, got {affine!r}")
    if not 1e-3 < np.linalg.det(affine[:, :2]) < 1e3:
        raise FrameError(f"expected a camera motion that turns and scales, got {affine[:, :2].tolist()}")
    return affine


@kernel
def move_tracks(plan, reals, n, affine):  # type: ignore[no-untyped-def]
    """Move all tracks, and what they remember, by a (2, 3) affine map of the picture.

    Centres go where the map takes them, velocities and headings turn with it, boxes keep their axes and grow with the
    root of the map's determinant. Covariances turn with it too; what a rotation would couple between x and y is
    dropped, because the filters are made of one block per coordinate.

    Source: BoT-SORT, arXiv:2206.14651, section 3.2, which couples coordinates.
    """
    form = int(plan[RULES, FORM])
    scale = np.sqrt(affine[0, 0] * affine[1, 1] - affine[0, 1] * affine[1, 0])
    for i in range(n):
        for first in (X, FROZEN):
            _move_filter(form, first, reals, i, affine, scale)
        for first in (BOX, LAST_BOX):
            _move_box(first, reals, i, affine, scale)
        for k in range(PAST_FRAMES):
            _move_point(PAST + 2 * k, reals, i, affine)
        _move_point(CENTRE, reals, i, affine)
        hx, hy = reals[HEADING, i], reals[HEADING + 1, i]
        reals[HEADING, i] = (affine[0, 0] * hx + affine[0, 1] * hy) / scale
        reals[HEADING + 1, i] = (affine[1, 0] * hx + affine[1, 1] * hy) / scale


@inlined
def _move_filter(form, first, reals, i, affine, scale):  # type: ignore[no-untyped-def]
    """The 20 rows of a filter from `first` on, which stand like those from `X` on."""
    v, p00, p01, p11 = first + V - X, first + P00 - X, first + P01 - X, first + P11 - X
    if form == XYXY:
        _move_box(first, reals, i, affine, scale)
        return
    _move_point(first, reals, i, affine)
    vx, vy = reals[v, i], reals[v + 1, i]
    reals[v, i], reals[v + 1, i] = affine[0, 0] * vx + affine[0, 1] * vy, affine[1, 0] * vx + affine[1, 1] * vy
    for row in (p00, p01, p11):
        a, b = reals[row, i], reals[row + 1, i]
        reals[row, i] = affine[0, 0] ** 2 * a + affine[0, 1] ** 2 * b
        reals[row + 1, i] = affine[1, 0] ** 2 * a + affine[1, 1] ** 2 * b
    for k in range(2, 4):
        growth = scale
        if form == XYSR:
            growth = scale * scale if k == 2 else 1.0
        elif form == XYAH and k == 2:
            growth = 1.0
        reals[first + k, i] *= growth
        reals[v + k, i] *= growth
        reals[p00 + k, i] *= growth * growth
        reals[p01 + k, i] *= growth * growth
        reals[p11 + k, i] *= growth * growth


@inlined
def _move_point(row, reals, i, affine):  # type: ignore[no-untyped-def]
    x, y = reals[row, i], reals[row + 1, i]
    reals[row, i] = affine[0, 0] * x + affine[0, 1] * y + affine[0, 2]
    reals[row + 1, i] = affine[1, 0] * x + affine[1, 1] * y + affine[1, 2]


@inlined
def _move_box(row, reals, i, affine, scale):  # type: ignore[no-untyped-def]
    x, y = (reals[row, i] + reals[row + 2, i]) / 2, (reals[row + 1, i] + reals[row + 3, i]) / 2
    w, h = (reals[row + 2, i] - reals[row, i]) * scale, (reals[row + 3, i] - reals[row + 1, i]) * scale
    cx = affine[0, 0] * x + affine[0, 1] * y + affine[0, 2]
    cy = affine[1, 0] * x + affine[1, 1] * y + affine[1, 2]
    reals[row, i], reals[row + 1, i], reals[row + 2, i], reals[row + 3, i] = (
        cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    )  # fmt: skip
