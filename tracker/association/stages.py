"""Stages: one round of matching, from the tracks and detections that take part to the matches that stand."""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined
from tracker.association.choosing import match_by_claim, match_nearest
from tracker.association.cues import overlap
from tracker.association.dense import match_dense
from tracker.association.matching import match_certain, match_exact, match_greedy
from tracker.association.pairs import add_direction, drop_other_groups, fill_pairs, find_pairs, weigh_heights
from tracker.association.rectangular import match_rectangular
from tracker.association.solvers import CLAIM, DENSE, GREEDY, LAP, NEAREST, RECTANGULAR
from tracker.association.state import (
    BOX,
    COLUMNS,
    DETECTION_BOX,
    DETECTION_SCORE,
    FACTOR,
    HITS,
    LAST_BOX,
    MATE_OF_COLUMN,
    MATE_OF_ROW,
    MISSES,
    N_COLUMNS,
    N_ROWS,
    PHASE,
    REFUSED,
    ROWS,
    SOURCE,
    STARTS,
    TAKEN,
    USABLE,
)
from tracker.association.table import (
    ALL_PAIRS,
    DIRECTION,
    FUSE_SCORE,
    GATE,
    GATE_AFTER,
    HEIGHT_POWER,
    LEAST_HITS,
    LOOK_BACK_FRAMES,
    MOST_MISSES,
    ON_LAST,
    PER_CLASS,
    PIXEL,
    RULES,
    SCORE_ABOVE,
    SCORE_BELOW,
    SHORTCUT,
    SOLVER,
    TERMS_FROM,
    TRACKS,
)
from tracker.association.terms import add_terms, gate_of, set_claims, weigh_pairs

_LEAST_WEIGHT = 0.01  # of any pair where all pairs compete: above 0, so that nobody prefers to stay alone

ASK_SOLVER = -1
"""Instead of a number of pairs: a solver from outside has to match what was weighed (`backend.match_with_lap`)."""


@inlined
def run_stage(plan, s, counters, reals, ints, weights, columns, n, n_detections, frame, past, looks):  # type: ignore[no-untyped-def]
    """Match what this stage is about; returns the number of pairs, and does nothing if the buffers are too short."""
    box = LAST_BOX if plan[s, ON_LAST] != 0 else BOX
    n_rows = _pick_tracks(plan, s, ints, n)
    n_columns = _pick_detections(plan, s, n_detections, reals, ints)
    if past is not None:
        if plan[s, ALL_PAIRS] != 0 and plan[s, TERMS_FROM] == 0:
            asked = _match_certain(plan, s, box, n_rows, n_columns, frame, reals, ints, weights, columns, past, looks)
            if asked != 0:
                return asked
            n_rows = _pick_tracks(plan, s, ints, n)
            n_columns = _pick_detections(plan, s, n_detections, reals, ints)
    n_pairs = 0
    if plan[s, ALL_PAIRS] == 0 or plan[s, TERMS_FROM] == 0:
        gate = plan[s, GATE] if plan[s, GATE_AFTER] == 0 and plan[s, TERMS_FROM] == 0 else 0.0
        n_pairs = find_pairs(
            n_rows, n_columns, box, np.int64(DETECTION_BOX), gate, plan[RULES, PIXEL], reals, ints, weights, columns
        )
        if n_pairs == 0 or n_pairs > len(weights):
            return n_pairs
    if past is not None:
        if plan[s, TERMS_FROM] != 0:
            n_pairs = weigh_pairs(plan, s, box, n_rows, n_columns, frame, reals, ints, weights, columns, looks)
            if n_pairs == 0 or n_pairs > len(weights):
                return n_pairs
            set_claims(plan, s, box, n_rows, n_columns, frame, reals, ints, looks)
            return _match_weighed(
                plan, s, counters, n_rows, n_columns, frame, reals, ints, weights, columns, past, looks
            )
        if plan[s, HEIGHT_POWER] > 0:
            power, pixel = plan[s, HEIGHT_POWER], plan[RULES, PIXEL]
            n_pairs = weigh_heights(power, plan[s, GATE], box, n_rows, pixel, reals, ints, weights, columns)
    if plan[RULES, PER_CLASS] != 0:
        n_pairs = drop_other_groups(n_rows, ints, weights, columns)
    beyond = plan[s, GATE] if plan[s, GATE_AFTER] != 0 else 0.0
    short = plan[s, SHORTCUT] != 0 and plan[s, ALL_PAIRS] == 0
    if short and _one_to_one(n_rows, n_columns, beyond, ints, weights, columns):
        _keep_matches(n_rows, ints)
        return n_pairs
    if past is not None:
        n_pairs = _weigh_directions(plan, s, n_rows, n_columns, frame, n_pairs, reals, ints, weights, columns)
        if n_pairs == 0 or n_pairs > len(weights):
            return n_pairs
    if plan[s, SOLVER] == GREEDY:
        match_greedy(n_rows, n_columns, reals, ints, weights, columns)
    else:
        match_exact(n_rows, n_columns, reals, ints, weights, columns)
    finish_stage(plan, s, n_rows, frame, reals, ints, past, looks)
    return n_pairs


@inlined
def _match_weighed(plan, s, counters, n_rows, n_columns, frame, reals, ints, weights, columns, past, looks):  # type: ignore[no-untyped-def]
    """Match pairs that several cues weighed; returns their number, or `ASK_SOLVER`."""
    solver = plan[s, SOLVER]
    if solver == LAP:
        counters[N_ROWS], counters[N_COLUMNS] = n_rows, n_columns
        return ASK_SOLVER
    if solver == GREEDY:
        match_greedy(n_rows, n_columns, reals, ints, weights, columns)
    elif solver == DENSE:
        match_dense(n_rows, n_columns, reals, ints, weights, columns)
    elif solver == NEAREST:
        match_nearest(n_rows, n_columns, reals, ints, weights, columns)
    elif solver == CLAIM:
        match_by_claim(n_rows, n_columns, reals, ints, weights, columns)
    elif solver == RECTANGULAR:
        match_rectangular(n_rows, n_columns, reals, ints, weights, columns)
    else:
        match_exact(n_rows, n_columns, reals, ints, weights, columns)
    finish_stage(plan, s, n_rows, frame, reals, ints, past, looks)
    return ints[STARTS, n_rows]


@inlined
def finish_stage(plan, s, n_rows, frame, reals, ints, past, looks):  # type: ignore[no-untyped-def]
    """Dissolve what a gate "after" refuses, and hand out the rest."""
    if plan[s, GATE_AFTER] != 0:
        _refuse(plan, s, n_rows, frame, reals, ints, past, looks)
    _keep_matches(n_rows, ints)


@inlined
def _match_certain(plan, s, box, n_rows, n_columns, frame, reals, ints, weights, columns, past, looks):  # type: ignore[no-untyped-def]
    """Where all pairs compete for overlap (OC-SORT): take the matches that every solution has, so that few are left.

    Returns 0, or what is to be returned instead of going on: the number of pairs.
    """
    pixel, gate, weight = plan[RULES, PIXEL], plan[s, GATE], plan[s, DIRECTION]
    n_pairs = find_pairs(n_rows, n_columns, box, np.int64(DETECTION_BOX), 0.0, pixel, reals, ints, weights, columns)
    if n_pairs == 0 or n_pairs > len(weights):
        return n_pairs
    if plan[RULES, PER_CLASS] != 0:
        n_pairs = drop_other_groups(n_rows, ints, weights, columns)
    if plan[s, SHORTCUT] != 0 and _one_to_one(n_rows, n_columns, gate, ints, weights, columns):
        _keep_matches(n_rows, ints)
        return n_pairs
    if weight > 0:
        add_direction(int(plan[RULES, LOOK_BACK_FRAMES]), weight, frame, n_rows, reals, ints, weights, columns)
    spread = 0.5 * weight * _best_score(n_columns, reals, ints)
    match_certain(n_rows, n_columns, spread, reals, ints, weights, columns)
    finish_stage(plan, s, n_rows, frame, reals, ints, past, looks)
    return 0


@inlined
def _weigh_directions(plan, s, n_rows, n_columns, frame, n_pairs, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Add the direction's consistency to overlaps, and pairs without overlap where the stage wants all.

    Returns:
        Number of pairs, 0 if none of them can pass the gate.
    """
    weight = plan[s, DIRECTION]
    if plan[s, ALL_PAIRS] != 0:
        if not _any_from(plan[s, GATE], n_pairs, weights):
            return 0
        spread = 0.5 * weight * _best_score(n_columns, reals, ints)
        n_pairs = fill_pairs(spread + _LEAST_WEIGHT, n_rows, n_columns, reals, ints, weights, columns)
        if n_pairs > len(weights):
            return n_pairs
        if plan[RULES, PER_CLASS] != 0:
            n_pairs = drop_other_groups(n_rows, ints, weights, columns)
    if weight > 0:
        add_direction(int(plan[RULES, LOOK_BACK_FRAMES]), weight, frame, n_rows, reals, ints, weights, columns)
    return n_pairs


@inlined
def _keep_matches(n_rows, ints):  # type: ignore[no-untyped-def]
    """Hand the partners that this round found to tracks and detections."""
    for i in range(n_rows):
        j = ints[MATE_OF_ROW, i]
        if j >= 0:
            ints[SOURCE, ints[ROWS, i]] = ints[COLUMNS, j]
            ints[TAKEN, ints[COLUMNS, j]] = 1


@inlined
def _any_from(gate, n_pairs, weights):  # type: ignore[no-untyped-def]
    """True if some pair passes the gate: without one, whatever is matched would be dissolved."""
    most = -1.0
    for e in range(n_pairs):
        most = max(most, weights[e])
    return most >= gate


@inlined
def _pick_tracks(plan, s, ints, n):  # type: ignore[no-untyped-def]
    phases_wanted, least_hits, most_misses = int(plan[s, TRACKS]), int(plan[s, LEAST_HITS]), int(plan[s, MOST_MISSES])
    n_rows = 0
    for i in range(n):
        if most_misses > 0 and ints[MISSES, i] > most_misses:
            continue
        if ints[SOURCE, i] < 0 and (phases_wanted >> ints[PHASE, i]) & 1 and ints[HITS, i] >= least_hits:
            ints[ROWS, n_rows] = i
            n_rows += 1
    return n_rows


@inlined
def _pick_detections(plan, s, n, reals, ints):  # type: ignore[no-untyped-def]
    above, below, fused = plan[s, SCORE_ABOVE], plan[s, SCORE_BELOW], plan[s, FUSE_SCORE] != 0
    n_columns = 0
    for j in range(n):
        score = reals[DETECTION_SCORE, j]
        if ints[USABLE, j] != 0 and ints[TAKEN, j] == 0 and score > above and score < below:
            ints[COLUMNS, n_columns] = j
            reals[FACTOR, n_columns] = score if fused else 1.0
            n_columns += 1
    return n_columns


@inlined
def _best_score(n_columns, reals, ints):  # type: ignore[no-untyped-def]
    """Greatest magnitude of a score in this stage."""
    best = 0.0
    for k in range(n_columns):
        best = max(best, abs(reals[DETECTION_SCORE, ints[COLUMNS, k]]))
    return best


@inlined
def _one_to_one(n_rows, n_columns, beyond, ints, weights, columns):  # type: ignore[no-untyped-def]
    """Match all pairs with a greater weight than `beyond`, if no row and no column has two of them."""
    for j in range(n_columns):
        ints[MATE_OF_COLUMN, j] = -1
    for i in range(n_rows):
        ints[MATE_OF_ROW, i] = -1
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            j = columns[e]
            if weights[e] > beyond:
                if ints[MATE_OF_ROW, i] >= 0 or ints[MATE_OF_COLUMN, j] >= 0:
                    return False
                ints[MATE_OF_ROW, i] = j
                ints[MATE_OF_COLUMN, j] = i
    return True


@inlined
def _refuse(plan, s, n_rows, frame, reals, ints, past, looks):  # type: ignore[no-untyped-def]
    """Dissolve matches below the gate."""
    box = LAST_BOX if plan[s, ON_LAST] != 0 else BOX
    for i in range(n_rows):
        k = ints[MATE_OF_ROW, i]
        if k < 0:
            continue
        t, j = ints[ROWS, i], ints[COLUMNS, k]
        if past is not None:
            if plan[s, TERMS_FROM] != 0:
                total, within = add_terms(plan, s, box, t, j, frame, reals, ints, looks)
                if not within or total <= gate_of(plan, s, t, ints):
                    ints[MATE_OF_ROW, i] = -1
                    ints[USABLE, j] = REFUSED
                continue
        iou = overlap(box, t, DETECTION_BOX, j, plan[RULES, PIXEL], reals)
        if iou * reals[FACTOR, k] < plan[s, GATE]:
            ints[MATE_OF_ROW, i] = -1
