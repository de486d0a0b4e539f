"""History: what a track keeps of its past, for plans that look back (`Plan.looks_back`).

A track keeps the centres of its detections of the last `PAST_FRAMES` frames in a ring (frame modulo `PAST_FRAMES`), a
bit for each of these frames that says whether there was one, the direction in which it last went, and, while it
coasts, its filter as it stood at the first missed frame. The box that a track was born from counts as no detection
here, as in the code of OC-SORT's authors.
"""

from __future__ import annotations

import math

import numpy as np

from tracker._jit import inlined
from tracker.association.motion import coordinates, correct, predict
from tracker.association.state import (
    CONFIRMED,
    FROZEN,
    FROZEN_STEP,
    HEADING,
    HITS,
    LAST_BOX,
    MEASURED,
    MEMORY_REALS,
    MISSES,
    PAST,
    PAST_FRAMES,
    PHASE,
    REALS,
    SEEN,
    SOURCE,
    STEP,
    TRAIL,
    UNSEEN,
    X,
)

_FILTER_ROWS = 20  # X, V and the three rows of the covariance, four each


@inlined
def direction(x, y, to_x, to_y):  # type: ignore[no-untyped-def]
    """Direction from one point to another, px: nearly a unit vector, 0 for equal points (the authors' + 1e-6)."""
    dx, dy = to_x - x, to_y - y
    norm = math.sqrt(dx * dx + dy * dy) + 1e-6
    return dx / norm, dy / norm


@inlined
def look_back(longest, reals, ints, i, frame):  # type: ignore[no-untyped-def]
    """Centre of the detection that track `i` took `longest` frames before `frame`.

    Without one there, the frames after it are asked one by one, and at last the last detection of all. The track must
    have taken one since its birth.

    Source: OC-SORT, arXiv:2203.14360, section 4.2 (observation-centric momentum).
    """
    for back in range(longest, 0, -1):
        if (ints[TRAIL, i] >> (back - 1)) & 1:
            slot = PAST + 2 * ((frame - back) % PAST_FRAMES)
            return reals[slot, i], reals[slot + 1, i]
    return (
        (reals[LAST_BOX, i] + reals[LAST_BOX + 2, i]) / 2,
        (reals[LAST_BOX + 1, i] + reals[LAST_BOX + 3, i]) / 2,
    )


@inlined
def note(longest, reals, ints, i, frame, x1, y1, x2, y2):  # type: ignore[no-untyped-def]
    """Note the box that track `i` takes: its centre, and the heading from `look_back` to it."""
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    if ints[HITS, i] > 1:
        from_x, from_y = look_back(longest, reals, ints, i, frame)
        reals[HEADING, i], reals[HEADING + 1, i] = direction(from_x, from_y, x, y)
    slot = PAST + 2 * (frame % PAST_FRAMES)
    reals[slot, i], reals[slot + 1, i] = x, y


@inlined
def forget_past(reals, ints, i):  # type: ignore[no-untyped-def]
    """Column `i` for a new track."""
    ints[TRAIL, i] = 0
    for r in range(MEMORY_REALS, REALS):  # all of it: a snapshot says nothing about tracks that are gone
        reals[r, i] = 0.0


@inlined
def remember(reals, ints, n):  # type: ignore[no-untyped-def]
    """Bring what every track remembers to the end of this frame; freezes the filters of tracks just missed.

    Reads `SOURCE` of this frame and `MISSES` of the one before.
    """
    all_bits = (1 << PAST_FRAMES) - 1
    for i in range(n):
        seen = ints[SOURCE, i] >= 0
        ints[TRAIL, i] = ((ints[TRAIL, i] << 1) | seen) & all_bits
        if not seen and ints[MISSES, i] == 0:
            reals[FROZEN_STEP, i] = reals[UNSEEN, i] + reals[STEP, i]
            for r in range(_FILTER_ROWS):
                reals[FROZEN + r, i] = reals[X + r, i]


@inlined
def replay(form, plan, reals, ints, i, x1, y1, x2, y2):  # type: ignore[no-untyped-def]
    """Filter a gap of track `i` anew, as if it had been seen on a straight line from its last box to the new one.

    Begins with the frozen filter and takes one virtual box per missed frame; the last one is the new box itself. (As
    in the authors' code the frame's own correction then takes the new box once more; without, most sequences of
    tests/association/test_parity.py differ.) The track was missed and has taken a detection since its birth. Corners
    of the boxes on the line are linear in time, and so are centre, width and height.

    Source: OC-SORT, arXiv:2203.14360, section 4.1 (observation-centric re-update).
    """
    misses = ints[MISSES, i]
    first, total = reals[FROZEN_STEP, i], reals[UNSEEN, i] + reals[STEP, i]
    rest = max(total - first, 0.0) / misses
    a1, b1, a2, b2 = reals[LAST_BOX, i], reals[LAST_BOX + 1, i], reals[LAST_BOX + 2, i], reals[LAST_BOX + 3, i]
    # The kernels run over tracks from the first one on, so this one's filter changes places with it for a while. (With
    # a first track as an argument the loops were not vectorised: sort 5 %, bytetrack 8 % slower at 100 objects.)
    m = reals[MEASURED, 0], reals[MEASURED + 1, 0], reals[MEASURED + 2, 0], reals[MEASURED + 3, 0]
    phase, seen, dt = ints[PHASE, 0], reals[SEEN, 0], reals[STEP, 0]
    for r in range(_FILTER_ROWS):
        reals[X + r, 0], reals[FROZEN + r, i] = reals[FROZEN + r, i], reals[X + r, 0]
    ints[PHASE, 0] = CONFIRMED  # seen all the while, so to speak
    reals[SEEN, 0] = 1.0
    reals[STEP, 0] = rest
    one = np.int64(1)  # not a literal, for which both kernels would be compiled once more
    for k in range(misses + 1):
        share = 1.0
        if k < misses:
            share = (first + k * rest) / total if total > 0 else (k + 1.0) / (misses + 1.0)
        if k > 0:
            predict(plan, reals, ints, one)
        z = coordinates(
            form, a1 + share * (x1 - a1), b1 + share * (y1 - b1), a2 + share * (x2 - a2), b2 + share * (y2 - b2)
        )
        reals[MEASURED, 0], reals[MEASURED + 1, 0], reals[MEASURED + 2, 0], reals[MEASURED + 3, 0] = z
        correct(plan, reals, one)
    for r in range(_FILTER_ROWS):
        result = reals[X + r, 0]
        reals[X + r, 0] = reals[FROZEN + r, i]
        reals[X + r, i] = result
    reals[MEASURED, 0], reals[MEASURED + 1, 0], reals[MEASURED + 2, 0], reals[MEASURED + 3, 0] = m
    ints[PHASE, 0], reals[SEEN, 0], reals[STEP, 0] = phase, seen, dt
