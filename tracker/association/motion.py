"""Motion: where each track should be now, and what a detection tells about it.

A box is four coordinates, and every filter here lets a coordinate depend on its own velocity only. With H = [I 0] and
diagonal noise the 8x8 covariance then stays made of 2x2 blocks for ever, so the textbook filter is four tiny ones,
run row-wise over all tracks (filterpy agrees to 1e-9: tests/association/test_motion.py).

Time is counted in nominal frames: `dt` is 1 at the steady rate, 2 after a dropped frame, 0 for an equal time stamp.
Process noise is white and grows with time: Q(dt) = dt * Q(1). A size never shrinks through zero: where the real step
would take it there, its velocity is set to zero first (SORT does this for its area and one frame; a track of
ByteTrack's that shrank away could never match again).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tracker._jit import inlined, kernel
from tracker.association.state import BOX, COASTING, LAST_BOX, MEASURED, P00, P01, P11, PHASE, SEEN, SQUARE, STEP, V, X

XYSR, XYAH, XYXY, XYWH = 0, 1, 2, 3
FORMS = {"xysr": XYSR, "xyah": XYAH, "xyxy": XYXY, "xywh": XYWH}
"""Which four numbers stand for a box: centre, area, width/height; centre, width/height, height; the corners; centre,
width, height."""

(PROCESS, PROCESS_VELOCITY, MEASUREMENT, BIRTH, BIRTH_VELOCITY, SCALE, STOPS, SIZE) = range(8)
"""Columns of an encoded motion."""

MOTION = 1
"""Row of an encoded plan where its motion begins; four rows, one per coordinate."""


@dataclass(frozen=True, slots=True)
class Motion:
    """A constant-velocity Kalman filter over four coordinates, as data. All tuples have one entry per coordinate.

    Attributes:
        form: key of `FORMS`.
        process, process_velocity: variance that one frame adds to a coordinate and to its velocity.
        measurement: variance of a detection; 0 means that it replaces the estimate.
        birth, birth_velocity: variances of a new track.
        scale: index of the coordinate whose square multiplies all these variances, -1 for none.
        stops: velocity set to zero while the track coasts.
        size: coordinate that must stay positive.
        source: where the numbers come from.
    """

    form: str
    process: tuple[float, float, float, float]
    process_velocity: tuple[float, float, float, float]
    measurement: tuple[float, float, float, float]
    birth: tuple[float, float, float, float]
    birth_velocity: tuple[float, float, float, float]
    scale: tuple[int, int, int, int]
    stops: tuple[bool, bool, bool, bool]
    size: tuple[bool, bool, bool, bool]
    source: str

    def encode(self) -> list[tuple[float, ...]]:
        """Four rows, one per coordinate; columns `PROCESS` ... `SIZE`."""
        columns = (
            self.process, self.process_velocity, self.measurement, self.birth, self.birth_velocity,
            self.scale, self.stops, self.size,
        )  # fmt: skip
        return [tuple(float(column[k]) for column in columns) for k in range(4)]


_NONE = (0.0, 0.0, 0.0, 0.0)
_NO = (False, False, False, False)
_POSITION, _VELOCITY = 1 / 20, 1 / 160  # DeepSORT's standard deviations as shares of the height

MOTIONS: dict[str, Motion] = {
    "xysr": Motion(
        form="xysr",
        process=(1.0, 1.0, 1.0, 1.0),
        process_velocity=(0.01, 0.01, 0.0001, 0.0),
        measurement=(1.0, 1.0, 10.0, 10.0),
        birth=(10.0, 10.0, 10.0, 10.0),
        birth_velocity=(1e4, 1e4, 1e4, 0.0),  # the aspect ratio has no velocity
        scale=(-1, -1, -1, -1),
        stops=_NO,
        size=(False, False, True, True),
        source="SORT, arXiv:1602.00763, values of the authors' code",
    ),
    "xyah": Motion(
        form="xyah",
        process=(_POSITION**2, _POSITION**2, 1e-4, _POSITION**2),
        process_velocity=(_VELOCITY**2, _VELOCITY**2, 1e-10, _VELOCITY**2),
        measurement=(_POSITION**2, _POSITION**2, 1e-2, _POSITION**2),
        birth=((2 * _POSITION) ** 2, (2 * _POSITION) ** 2, 1e-4, (2 * _POSITION) ** 2),
        birth_velocity=((10 * _VELOCITY) ** 2, (10 * _VELOCITY) ** 2, 1e-10, (10 * _VELOCITY) ** 2),
        scale=(3, 3, -1, 3),
        stops=(False, False, False, True),
        size=(False, False, True, True),
        source="ByteTrack, arXiv:2110.06864, after DeepSORT, arXiv:1703.07402",
    ),
    "xywh": Motion(
        form="xywh",
        process=(_POSITION**2,) * 4,
        process_velocity=(_VELOCITY**2,) * 4,
        measurement=(_POSITION**2,) * 4,
        birth=((2 * _POSITION) ** 2,) * 4,
        birth_velocity=((10 * _VELOCITY) ** 2,) * 4,
        scale=(2, 3, 2, 3),
        stops=(False, False, True, True),
        size=(False, False, True, True),
        source="BoT-SORT, arXiv:2206.14651, section 3.1",
    ),
    "steady": Motion(
        form="xyah",
        process=(0.025**2, 0.025**2, 1e-4, 0.025**2),
        process_velocity=(_VELOCITY**2, _VELOCITY**2, 1e-10, (_VELOCITY / 4) ** 2),
        measurement=(0.07**2, 0.07**2, 0.05**2, 0.21**2),
        birth=(0.07**2, 0.07**2, 1e-4, 0.07**2),
        birth_velocity=((10 * _VELOCITY) ** 2, (10 * _VELOCITY) ** 2, 1e-10, (2.5 * _VELOCITY) ** 2),
        scale=(3, 3, -1, 3),
        stops=(False, False, False, True),
        size=(False, False, True, True),
        source="searched on the first halves of MOT17's training sequences with YOLOX boxes, rounded: boxes jitter "
        "more, heights change less and are seen worse than in xyah",
    ),
    "none": Motion(
        form="xyxy",
        process=_NONE,
        process_velocity=_NONE,
        measurement=_NONE,
        birth=_NONE,
        birth_velocity=_NONE,
        scale=(-1, -1, -1, -1),
        stops=_NO,
        size=_NO,
        source="a track stays where it was last seen",
    ),
}


@inlined
def coordinates(form, x1, y1, x2, y2):  # type: ignore[no-untyped-def]
    """Four coordinates of a box with area."""
    if form == XYXY:
        return x1, y1, x2, y2
    w = x2 - x1
    h = y2 - y1
    if form == XYSR:
        return x1 + w / 2, y1 + h / 2, w * h, w / h
    if form == XYWH:
        return x1 + w / 2, y1 + h / 2, w, h
    return x1 + w / 2, y1 + h / 2, w / h, h


@inlined
def write_boxes(form, reals, n):  # type: ignore[no-untyped-def]
    """`BOX` of every track from its coordinates."""
    a, b, c, d = reals[X], reals[X + 1], reals[X + 2], reals[X + 3]
    x1, y1, x2, y2 = reals[BOX], reals[BOX + 1], reals[BOX + 2], reals[BOX + 3]
    if form == XYSR:
        for i in range(n):
            w = math.sqrt(c[i] * d[i])
            h = c[i] / w
            x1[i], y1[i], x2[i], y2[i] = a[i] - w / 2, b[i] - h / 2, a[i] + w / 2, b[i] + h / 2
    elif form == XYAH:
        for i in range(n):
            w = c[i] * d[i]
            x1[i], y1[i] = a[i] - w / 2, b[i] - d[i] / 2
            x2[i], y2[i] = x1[i] + w, y1[i] + d[i]
    elif form == XYWH:
        for i in range(n):
            x1[i], y1[i], x2[i], y2[i] = a[i] - c[i] / 2, b[i] - d[i] / 2, a[i] + c[i] / 2, b[i] + d[i] / 2
    else:
        for i in range(n):
            x1[i], y1[i], x2[i], y2[i] = a[i], b[i], c[i], d[i]


@kernel
def predict(plan, reals, ints, n):  # type: ignore[no-untyped-def]
    """Move every track by its own step, `STEP` frames."""
    _write_squares(plan, reals, n)
    for k in range(4):
        if plan[MOTION + k, STOPS] != 0:
            for i in range(n):
                if ints[PHASE, i] == COASTING:
                    reals[V + k, i] = 0.0
        if plan[MOTION + k, SIZE] != 0:
            for i in range(n):
                if reals[X + k, i] + reals[STEP, i] * reals[V + k, i] <= 0:
                    reals[V + k, i] = 0.0
        process, process_velocity = plan[MOTION + k, PROCESS], plan[MOTION + k, PROCESS_VELOCITY]
        for i in range(n):
            dt, square = reals[STEP, i], reals[SQUARE + k, i]
            p01, p11 = reals[P01 + k, i], reals[P11 + k, i]
            reals[X + k, i] += dt * reals[V + k, i]
            reals[P00 + k, i] += dt * (2.0 * p01 + dt * p11 + process * square)
            reals[P01 + k, i] = p01 + dt * p11
            reals[P11 + k, i] = p11 + dt * process_velocity * square


@kernel
def correct(plan, reals, n):  # type: ignore[no-untyped-def]
    """Take `MEASURED` into every track with `SEEN` 1.0; the others (0.0) stay as they are."""
    _write_squares(plan, reals, n)
    for k in range(4):
        measurement = plan[MOTION + k, MEASUREMENT]
        if measurement == 0:
            for i in range(n):
                if reals[SEEN, i] != 0:
                    reals[X + k, i] = reals[MEASURED + k, i]
            continue
        for i in range(n):
            seen = reals[SEEN, i]
            r = measurement * reals[SQUARE + k, i]
            a, b = reals[P00 + k, i], reals[P01 + k, i]
            s = seen / (a + r)
            y = reals[MEASURED + k, i] - reals[X + k, i]
            reals[X + k, i] += a * s * y
            reals[V + k, i] += b * s * y
            reals[P00 + k, i] = r * a * s if seen > 0 else a  # not a - a * a * s, which cancels after a long gap
            reals[P01 + k, i] = r * b * s if seen > 0 else b
            reals[P11 + k, i] = max(reals[P11 + k, i] - b * b * s, 0.0)


@inlined
def start(form, plan, reals, i, x1, y1, x2, y2):  # type: ignore[no-untyped-def]
    """State of a new track in column `i` from its first box."""
    z = coordinates(form, x1, y1, x2, y2)
    for k in range(4):
        scale = int(plan[MOTION + k, SCALE])
        square = z[scale] * z[scale] if scale >= 0 else 1.0
        reals[X + k, i] = z[k]
        reals[V + k, i] = 0.0
        reals[P00 + k, i] = plan[MOTION + k, BIRTH] * square
        reals[P01 + k, i] = 0.0
        reals[P11 + k, i] = plan[MOTION + k, BIRTH_VELOCITY] * square
    keep_box(reals, i, x1, y1, x2, y2)


@inlined
def measure(form, reals, i, x1, y1, x2, y2):  # type: ignore[no-untyped-def]
    """Note the box that track `i` took, for `correct` and as its last box."""
    reals[MEASURED, i], reals[MEASURED + 1, i], reals[MEASURED + 2, i], reals[MEASURED + 3, i] = coordinates(
        form, x1, y1, x2, y2
    )
    keep_box(reals, i, x1, y1, x2, y2)


@inlined
def keep_box(reals, i, x1, y1, x2, y2):  # type: ignore[no-untyped-def]
    """Last box of track `i`."""
    reals[LAST_BOX, i], reals[LAST_BOX + 1, i], reals[LAST_BOX + 2, i], reals[LAST_BOX + 3, i] = x1, y1, x2, y2


@inlined
def _write_squares(plan, reals, n):  # type: ignore[no-untyped-def]
    """`SQUARE` of each coordinate: what its variances are multiplied by."""
    for k in range(4):
        scale = int(plan[MOTION + k, SCALE])
        if scale >= 0:
            for i in range(n):
                reals[SQUARE + k, i] = reals[X + scale, i] * reals[X + scale, i]
        else:
            for i in range(n):
                reals[SQUARE + k, i] = 1.0
