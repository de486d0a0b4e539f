"""One frame: predict, match stage by stage, correct, age, give birth, end. One compiled call for any plan.

It is compiled in up to three forms: a short one for plans that only compare overlaps, one for plans that look back or
weigh several cues (`past`), one for those that also compare looks. Numba leaves out what an argument of None rules out,
so nobody pays for what his plan does not use.

It ends by writing the snapshot into one block of memory that Python made (`tracker.types.BLOCK`): making or returning
an array for each field would cost more than the whole step does with few objects.
"""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined, kernel
from tracker.association.choosing import match_by_claim, match_nearest
from tracker.association.cues import overlap
from tracker.association.dense import match_dense
from tracker.association.history import note, remember, replay
from tracker.association.lifecycle import age, drop_duplicates, give_birth, name, read_classes
from tracker.association.matching import match_certain, match_exact, match_greedy
from tracker.association.motion import correct, measure, predict, write_boxes
from tracker.association.pairs import add_direction, drop_other_groups, fill_pairs, find_pairs
from tracker.association.solvers import CLAIM, DENSE, GREEDY, LAP, NEAREST
from tracker.association.state import (
    BOX,
    CENTRE,
    COLUMNS,
    CONFIRMED,
    COUNT,
    DETECTION_BOX,
    DETECTION_SCORE,
    FACTOR,
    FRAME,
    HITS,
    ID,
    LABEL,
    LAST_BOX,
    LIMIT,
    MATE_OF_COLUMN,
    MATE_OF_ROW,
    MISSES,
    N_COLUMNS,
    N_ROWS,
    PHASE,
    RESUME,
    ROWS,
    SCORE,
    SEEN,
    SOURCE,
    STAGE,
    STARTS,
    STEP,
    TAKEN,
    TENTATIVE,
    USABLE,
    WAS,
    drop_dead,
)
from tracker.association.suppression import match_known
from tracker.association.table import (
    ALL_PAIRS,
    DIRECTION,
    DUPLICATE_IOU,
    FIRST_STAGE,
    FORM,
    FUSE_SCORE,
    GATE,
    GATE_AFTER,
    LEAST_HITS,
    LOOK_BACK_FRAMES,
    MIN_MASK_PX,
    ON_LAST,
    PER_CLASS,
    PIXEL,
    REPLAY,
    RULES,
    SCORE_ABOVE,
    SCORE_BELOW,
    SHORTCUT,
    SHOW_LAST,
    SOLVER,
    STAGES_END,
    SUPPRESS_IOU,
    TENTATIVE_MOVES,
    TERMS_FROM,
    TRACKS,
)
from tracker.association.terms import add_terms, gate_of, set_claims, weigh_pairs
from tracker.types import (
    BLOCK_BOXES,
    BLOCK_BYTES,
    BLOCK_HITS,
    BLOCK_LABELS,
    BLOCK_MISSES,
    BLOCK_SCORES,
    BLOCK_SOURCE,
    BLOCK_STATES,
    BLOCK_UNMATCHED,
)

_FARTHEST_PX = 1e9  # a corner beyond this is no place in a picture, and keeps every number of the filters finite

_LEAST_WEIGHT = 0.01  # of any pair where all pairs compete: above 0, so that nobody prefers to stay alone

START, MATCHING, ENDING, SOLVED = 0, 1, 2, 3
"""Where a step goes on: from the beginning, where the pair buffers were too small, or after a solver from outside."""

ASK_SOLVER = -1


@kernel
def step(plan, counters, reals, ints, weights, columns, boxes, scores, labels, dt, past, looks, block):  # type: ignore[no-untyped-def]
    """Take one frame into the state.

    Takes the table from `Plan.encode`, `State.arrays` with room for this frame, the detections as (N, 4) float32
    xyxy, (N,) float32, (N,) int32, and the time since the frame before in nominal frames. `past` is None for plans
    that do not look back (`Plan.looks_back`) and a number otherwise; `looks` is None or `looks.Looks`. `block` is
    uint8, `BLOCK_BYTES` for each of as many rows as there are tracks before the frame and detections, at least.

    Returns:
        Live tracks, how many of them are confirmed and how many tentative, and detections that no track took: what
        `block` holds. A negative first number asks for something, and then for the same call again, which goes on
        where this one stopped: `ASK_SOLVER` for a matching of the stage's pairs by `backend.match_with_lap`, anything
        below -1 for pair buffers of that length.
    """
    form = int(plan[RULES, FORM])
    if counters[RESUME] == START:
        counters[FRAME] += 1
        _read_detections(plan, boxes, scores, labels, reals, ints, looks)
        _set_steps(plan, reals, ints, counters[COUNT], dt)
        predict(plan, reals, ints, counters[COUNT])
        write_boxes(form, reals, counters[COUNT])
    n, frame = counters[COUNT], counters[FRAME]
    if counters[RESUME] != ENDING:
        first = FIRST_STAGE
        if counters[RESUME] == SOLVED:
            first = counters[STAGE] + 1
            if past is not None:
                _finish_stage(plan, counters[STAGE], counters[N_ROWS], frame, reals, ints, past, looks)
        else:
            for i in range(n):
                ints[SOURCE, i] = -1
            _mark_used(ints, 0, len(labels))
            if looks is not None:
                if plan[RULES, SUPPRESS_IOU] < 1:
                    match_known(plan, reals, ints, n, len(labels), looks)
        for s in range(first, int(plan[RULES, STAGES_END])):
            asked = _run_stage(plan, s, counters, reals, ints, weights, columns, n, len(labels), frame, past, looks)
            if asked == ASK_SOLVER:
                counters[RESUME], counters[STAGE] = SOLVED, s
                return ASK_SOLVER, 0, 0, 0
            if asked > len(weights):
                counters[RESUME] = MATCHING
                return -asked, 0, 0, 0
        _take_detections(plan, reals, ints, labels, n, frame, past, looks)
        correct(plan, reals, n)
        if past is not None:
            remember(reals, ints, n)
        age(plan, reals, ints, n, frame, dt)
        n = give_birth(plan, counters, reals, ints, labels, n, frame, past)
        if looks is not None:
            _note_centres(reals, ints, n, looks)
        counters[COUNT] = n
        write_boxes(form, reals, n)
        if plan[RULES, SHOW_LAST] != 0:
            _show_last(reals, ints, n)
    if plan[RULES, DUPLICATE_IOU] < 1:
        n_pairs = drop_duplicates(plan, reals, ints, weights, columns, n, frame)
        if n_pairs > len(weights):
            counters[RESUME] = ENDING
            return -n_pairs, 0, 0, 0
    counters[RESUME] = START
    n = drop_dead(reals, ints, n, past is not None)
    counters[COUNT] = n
    _mark_used(ints, n, len(labels))
    return _write_block(reals, ints, n, len(labels), block)


@inlined
def _write_block(reals, ints, n, n_detections, block):  # type: ignore[no-untyped-def]
    """Write the snapshot that `Tracks` describes: confirmed, tentative, coasting tracks, each in order of birth.

    Returns:
        Number of tracks, of confirmed and of tentative ones, and of detections that no track took.
    """
    room = len(block) // BLOCK_BYTES
    ids, floats, numbers = block.view(np.int64), block.view(np.float32), block.view(np.int32)
    n_confirmed, n_tentative = 0, 0
    for i in range(n):
        n_confirmed += ints[PHASE, i] == CONFIRMED
        n_tentative += ints[PHASE, i] == TENTATIVE
    confirmed, tentative, coasting = 0, n_confirmed, n_confirmed + n_tentative  # next place of each
    for i in range(n):
        phase = ints[PHASE, i]
        if phase == CONFIRMED:
            k = confirmed
            confirmed += 1
        elif phase == TENTATIVE:
            k = tentative
            tentative += 1
        else:
            k = coasting
            coasting += 1
        ids[k] = ints[ID, i]
        for r in range(4):
            floats[BLOCK_BOXES * room + 4 * k + r] = reals[BOX + r, i]
        floats[BLOCK_SCORES * room + k] = reals[SCORE, i]
        numbers[BLOCK_LABELS * room + k] = ints[LABEL, i]
        numbers[BLOCK_SOURCE * room + k] = ints[SOURCE, i]
        numbers[BLOCK_HITS * room + k] = ints[HITS, i]
        numbers[BLOCK_MISSES * room + k] = ints[MISSES, i]
        block[4 * BLOCK_STATES * room + k] = phase
    alone = 0
    for j in range(n_detections):
        numbers[BLOCK_UNMATCHED * room + alone] = j
        alone += ints[TAKEN, j] == 0
    return n, n_confirmed, n_tentative, alone


@inlined
def _read_detections(plan, boxes, scores, labels, reals, ints, looks):  # type: ignore[no-untyped-def]
    """Detections as rows; a box without area, or far outside any picture, is not usable."""
    read_classes(plan, labels, reals, ints)
    for j in range(len(scores)):
        x1, y1, x2, y2 = boxes[j, 0], boxes[j, 1], boxes[j, 2], boxes[j, 3]
        reals[DETECTION_BOX, j], reals[DETECTION_BOX + 1, j] = x1, y1
        reals[DETECTION_BOX + 2, j], reals[DETECTION_BOX + 3, j] = x2, y2
        reals[DETECTION_SCORE, j] = scores[j]
        near = (x1 > -_FARTHEST_PX) & (y1 > -_FARTHEST_PX) & (x2 < _FARTHEST_PX) & (y2 < _FARTHEST_PX)
        ints[USABLE, j] = near & (x2 > x1) & (y2 > y1) & (scores[j] >= reals[LIMIT, j])
    if looks is not None:
        if plan[RULES, MIN_MASK_PX] > 0:
            for j in range(len(scores)):
                ints[USABLE, j] &= looks.mask_areas[j] > plan[RULES, MIN_MASK_PX]


@inlined
def _set_steps(plan, reals, ints, n, dt):  # type: ignore[no-untyped-def]
    """Time by which each track moves, and where it stood."""
    still = plan[RULES, TENTATIVE_MOVES] == 0
    for i in range(n):
        reals[STEP, i] = 0.0 if still and ints[PHASE, i] == TENTATIVE else dt
        ints[WAS, i] = i


@inlined
def _run_stage(plan, s, counters, reals, ints, weights, columns, n, n_detections, frame, past, looks):  # type: ignore[no-untyped-def]
    """Match what this stage is about; returns the number of pairs, and does nothing if the buffers are too short."""
    box = LAST_BOX if plan[s, ON_LAST] != 0 else BOX
    n_rows = _pick_tracks(int(plan[s, TRACKS]), int(plan[s, LEAST_HITS]), ints, n)
    n_columns = _pick_detections(plan, s, n_detections, reals, ints)
    if past is not None:
        if plan[s, ALL_PAIRS] != 0 and plan[s, TERMS_FROM] == 0:
            asked = _match_certain(plan, s, box, n_rows, n_columns, frame, reals, ints, weights, columns, past, looks)
            if asked != 0:
                return asked
            n_rows = _pick_tracks(int(plan[s, TRACKS]), int(plan[s, LEAST_HITS]), ints, n)
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
    _finish_stage(plan, s, n_rows, frame, reals, ints, past, looks)
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
    else:
        match_exact(n_rows, n_columns, reals, ints, weights, columns)
    _finish_stage(plan, s, n_rows, frame, reals, ints, past, looks)
    return ints[STARTS, n_rows]


@inlined
def _finish_stage(plan, s, n_rows, frame, reals, ints, past, looks):  # type: ignore[no-untyped-def]
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
    _finish_stage(plan, s, n_rows, frame, reals, ints, past, looks)
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
def _pick_tracks(phases_wanted, least_hits, ints, n):  # type: ignore[no-untyped-def]
    n_rows = 0
    for i in range(n):
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
                continue
        iou = overlap(box, t, DETECTION_BOX, j, plan[RULES, PIXEL], reals)
        if iou * reals[FACTOR, k] < plan[s, GATE]:
            ints[MATE_OF_ROW, i] = -1


@inlined
def _take_detections(plan, reals, ints, labels, n, frame, past, looks):  # type: ignore[no-untyped-def]
    """Hand every matched track its detection."""
    form = int(plan[RULES, FORM])
    longest = int(plan[RULES, LOOK_BACK_FRAMES])
    for i in range(n):
        j = ints[SOURCE, i]
        reals[SEEN, i] = j >= 0
        if j >= 0:
            x1, y1 = reals[DETECTION_BOX, j], reals[DETECTION_BOX + 1, j]
            x2, y2 = reals[DETECTION_BOX + 2, j], reals[DETECTION_BOX + 3, j]
            if past is not None:
                if plan[RULES, REPLAY] != 0 and ints[MISSES, i] > 0 and ints[HITS, i] > 1:
                    replay(form, plan, reals, ints, i, x1, y1, x2, y2)
                note(longest, reals, ints, i, frame, x1, y1, x2, y2)
            measure(form, reals, i, x1, y1, x2, y2)
            reals[SCORE, i] = reals[DETECTION_SCORE, j]
            name(plan, reals, ints, i, j, labels, past)


@inlined
def _note_centres(reals, ints, n, looks):  # type: ignore[no-untyped-def]
    """Where the network says that seen tracks are."""
    for i in range(n):
        j = ints[SOURCE, i]
        if j >= 0:
            reals[CENTRE, i], reals[CENTRE + 1, i] = looks.centres[j, 0], looks.centres[j, 1]


@inlined
def _show_last(reals, ints, n):  # type: ignore[no-untyped-def]
    """`BOX` of seen tracks is the box seen."""
    for i in range(n):
        if ints[SOURCE, i] >= 0:
            for r in range(4):
                reals[BOX + r, i] = reals[LAST_BOX + r, i]


@inlined
def _mark_used(ints, n, n_detections):  # type: ignore[no-untyped-def]
    """`TAKEN` of the detections that a living track holds; returns how many there are."""
    used = 0
    for j in range(n_detections):
        ints[TAKEN, j] = 0
    for i in range(n):
        if ints[SOURCE, i] >= 0:
            ints[TAKEN, ints[SOURCE, i]] = 1
            used += 1
    return used
