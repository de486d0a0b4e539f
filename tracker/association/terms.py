"""Terms: what a pair of track and detection is worth, from several cues."""

from __future__ import annotations

import math

from tracker._jit import inlined, kernel
from tracker.association.cues import IOU, embedding_dot, overlap, value
from tracker.association.solvers import CLAIM, NEAREST, RECTANGULAR
from tracker.association.state import (
    COLUMNS,
    DETECTION_BOX,
    DETECTION_SCORE,
    DISTANCE,
    FACTOR,
    GROUP,
    KIND,
    LABEL,
    ROWS,
    STARTS,
)
from tracker.association.table import (
    ALL_PAIRS,
    BEST_TERM,
    BIAS,
    CLASS_GATE,
    CLASS_LABEL,
    CLASSES_FROM,
    CUE,
    FULL,
    FUSE_SCORE,
    GATE,
    GATE_AFTER,
    LEAST,
    LEAST_OVERLAP,
    LOOK_BACK_FRAMES,
    MOST,
    PER_CLASS,
    PIXEL,
    RULES,
    SOLVER,
    TERMS_END,
    TERMS_FROM,
    WEIGHT,
)

_REFUSED = -math.inf


@inlined
def weigh_pairs(plan, s, box, n_rows, n_columns, frame, reals, ints, weights, columns, looks):  # type: ignore[no-untyped-def]
    """Give every candidate pair of a stage its weight and drop what its gate refuses.

    Candidates are the pairs that `find_pairs` left, or all of them. A weight is the total of the terms less the gate;
    with a gate "after" it is the total, and only limits of terms refuse here. Where as many matches as possible count
    first (`FULL`) every weight is raised by the same amount, so that one match more outweighs everything else.

    Returns:
        Number of pairs. Where it is greater than the buffers are long, nothing was changed.
    """
    every, after = plan[s, ALL_PAIRS] != 0, plan[s, GATE_AFTER] != 0
    if every and n_rows * n_columns > len(weights):
        return n_rows * n_columns
    same, nearest = plan[RULES, PER_CLASS] != 0, plan[s, SOLVER] == NEAREST
    zeros = after and plan[s, SOLVER] == RECTANGULAR
    first, n, most = 0, 0, 0.0
    for i in range(n_rows):
        t = ints[ROWS, i]
        gate = gate_of(plan, s, t, ints)
        end = first + n_columns if every else ints[STARTS, i + 1]
        for e in range(first, end):
            k = e - first if every else columns[e]
            j = ints[COLUMNS, k]
            if same and ints[KIND, j] != ints[GROUP, t]:
                continue
            total, within = add_terms(plan, s, box, t, j, frame, reals, ints, looks)
            if total == _REFUSED:
                continue
            place = k
            if nearest:
                if not within or total <= gate:
                    if not after:
                        continue
                    place = -1 - k
            elif not after:
                total -= gate
            if total > 0 or nearest or (total == 0 and zeros):
                weights[n] = total
                columns[n] = place
                most = max(most, total)
                n += 1
        first = end
        ints[STARTS, i + 1] = n
    if plan[s, FULL] != 0:
        bonus = (min(n_rows, n_columns) + 1.0) * most
        for e in range(n):
            weights[e] += bonus
    return n


@kernel
def add_terms(plan, s, box, t, j, frame, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Total of a pair, and whether it is within the limits of the stage's terms.

    Minus infinity says that a term has nothing to compare, or refuses the pair before it competes; the terms after it
    are not looked at, so a plan names cheap cues first.
    """
    best, after, within = plan[s, BEST_TERM] != 0, plan[s, GATE_AFTER] != 0, True
    longest, pixel = int(plan[RULES, LOOK_BACK_FRAMES]), plan[RULES, PIXEL]
    total = _REFUSED if best else 0.0
    for r in range(int(plan[s, TERMS_FROM]), int(plan[s, TERMS_END])):
        v = math.nan
        if plan[r, LEAST_OVERLAP] <= 0 or overlap(box, t, DETECTION_BOX, j, pixel, reals) >= plan[r, LEAST_OVERLAP]:
            v = value(int(plan[r, CUE]), box, t, j, pixel, frame, longest, plan, reals, ints, looks)
        if plan[s, FUSE_SCORE] != 0 and plan[r, CUE] == IOU:
            v *= reals[DETECTION_SCORE, j]
        fits = v >= plan[r, LEAST] and v <= plan[r, MOST]
        if best:
            if fits:
                total = max(total, plan[r, WEIGHT] * v + plan[r, BIAS])
            continue
        if math.isnan(v) or not (fits or after):
            return _REFUSED, False
        within &= fits
        if plan[r, WEIGHT] != 0:  # a term that only limits may be infinite
            total += plan[r, WEIGHT] * v
        total += plan[r, BIAS]
    return total, within


@inlined
def gate_of(plan, s, t, ints):  # type: ignore[no-untyped-def]
    """Gate of a stage for the class of track `t`."""
    for r in range(int(plan[RULES, CLASSES_FROM]), len(plan)):
        if plan[r, CLASS_LABEL] == ints[LABEL, t] and not math.isnan(plan[r, CLASS_GATE]):
            return plan[r, CLASS_GATE]
    return plan[s, GATE]


@inlined
def set_claims(plan, s, box, n_rows, n_columns, frame, reals, ints, looks):  # type: ignore[no-untyped-def]
    """`FACTOR` of every detection for solver "claim": the logarithm of its score and of its doubts.

    The doubts are a softmax over its dot products with all tracks of the stage and a 0 for "new": as in VPSNet and
    MaskTrack R-CNN a detection that likes many tracks claims each of them weakly.
    """
    if plan[s, SOLVER] != CLAIM:
        return
    for k in range(n_columns):
        j = ints[COLUMNS, k]
        most, total = 0.0, 0.0
        for i in range(n_rows):
            dot = embedding_dot(box, ints[ROWS, i], j, 0.0, frame, 0, plan, reals, ints, looks)
            reals[DISTANCE, i] = -math.inf if math.isnan(dot) else dot
            most = max(most, reals[DISTANCE, i])
        for i in range(n_rows):
            total += math.exp(reals[DISTANCE, i] - most)
        doubt = most + math.log(total + math.exp(-most))
        reals[FACTOR, k] = math.log(max(reals[DETECTION_SCORE, j], 1e-12)) - doubt
