"""One frame: predict, match stage by stage, correct, age, give birth, end. One compiled call for any plan.

It is compiled in up to three forms: a short one for plans that only compare overlaps, one for plans that look back or
weigh several cues (`past`), one for those that also compare looks. Numba leaves out what an argument of None rules out,
so nobody pays for what his plan does not use.

It ends by writing the snapshot into one block of memory that Python made (`tracker.types.tracks`): making or returning
an array for each field would cost more than the whole step does with few objects.
"""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined, kernel
from tracker.association.given import follow_rows, read_box
from tracker.association.history import note, remember, replay
from tracker.association.lifecycle import age, drop_crowded, drop_duplicates, give_birth, name, read_classes
from tracker.association.motion import correct, measure, predict, write_boxes
from tracker.association.stages import ASK_SOLVER, finish_stage, run_stage
from tracker.association.state import (
    BOX,
    CENTRE,
    CONFIRMED,
    COUNT,
    DETECTION_BOX,
    DETECTION_SCORE,
    FRAME,
    HITS,
    ID,
    LABEL,
    LAST_BOX,
    LIMIT,
    MISSES,
    N_ROWS,
    PHASE,
    RESUME,
    SCORE,
    SEEN,
    SOURCE,
    STAGE,
    STEP,
    TAKEN,
    TENTATIVE,
    USABLE,
    WAS,
    carve,
    drop_dead,
)
from tracker.association.suppression import match_known
from tracker.association.sway import follow_camera
from tracker.association.table import (
    BIRTH_IOU,
    CAMERA,
    DETECTION_SHARE,
    DUPLICATE_IOU,
    FIRST_STAGE,
    FOLLOW_SCORE,
    FORM,
    LOOK_BACK_FRAMES,
    MIN_MASK_PX,
    REPLAY,
    RULES,
    STAGES_END,
    SUPPRESS_IOU,
    TENTATIVE_MOVES,
)
from tracker.types.tracks import (
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

START, MATCHING, ENDING, SOLVED, FOLLOWING = 0, 1, 2, 3, 4
"""Where a step goes on: from the beginning, where the pair buffers were too small, or after a solver from outside."""

_carve = inlined(carve)


@kernel
def step(plan, memory, boxes, scores, labels, dt, past, looks, block):  # type: ignore[no-untyped-def]
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
    counters, reals, ints, weights, columns = _carve(memory)
    form = int(plan[RULES, FORM])
    if counters[RESUME] == START:
        counters[FRAME] += 1
        _read_detections(plan, boxes, scores, labels, reals, ints, looks)
        set_steps(plan, reals, ints, counters[COUNT], dt)
        predict(plan, reals, ints, counters[COUNT])
        write_boxes(form, reals, counters[COUNT])
    n, frame = counters[COUNT], counters[FRAME]
    if past is not None:
        if plan[RULES, CAMERA] != 0 and (counters[RESUME] == START or counters[RESUME] == FOLLOWING):
            asked = follow_camera(plan, reals, ints, n, len(labels), dt, weights, columns)
            if asked > len(weights):
                counters[RESUME] = FOLLOWING
                return -asked, 0, 0, 0
    if plan[RULES, FOLLOW_SCORE] < np.inf and (counters[RESUME] == START or counters[RESUME] == FOLLOWING):
        follow_rows(plan, reals, n)
    if counters[RESUME] != ENDING:
        first = FIRST_STAGE
        if counters[RESUME] == SOLVED:
            first = counters[STAGE] + 1
            if past is not None:
                finish_stage(plan, counters[STAGE], counters[N_ROWS], frame, reals, ints, past, looks)
        else:
            for i in range(n):
                ints[SOURCE, i] = -1
            _mark_used(ints, np.int64(0), len(labels))
            if looks is not None:
                if plan[RULES, SUPPRESS_IOU] < 1:
                    match_known(plan, reals, ints, n, len(labels), looks)
        for s in range(first, int(plan[RULES, STAGES_END])):
            asked = run_stage(plan, s, counters, reals, ints, weights, columns, n, len(labels), frame, past, looks)
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
        if past is not None:
            if plan[RULES, BIRTH_IOU] < 1:
                drop_crowded(plan, reals, ints, len(labels), weights, columns)
        n = give_birth(plan, counters, reals, ints, labels, n, frame, past)
        if looks is not None:
            _note_centres(reals, ints, n, looks)
        counters[COUNT] = n
        write_boxes(form, reals, n)
        if past is not None:
            if plan[RULES, DETECTION_SHARE] > 0:
                _show_detections(plan[RULES, DETECTION_SHARE], reals, ints, n)
    if plan[RULES, DUPLICATE_IOU] < 1:
        n_pairs = drop_duplicates(plan, reals, ints, weights, columns, n, frame)
        if n_pairs > len(weights):
            counters[RESUME] = ENDING
            return -n_pairs, 0, 0, 0
    counters[RESUME] = START
    n = drop_dead(reals, ints, n, past is not None)
    counters[COUNT] = n
    _mark_used(ints, n, len(labels))
    return write_block(reals, ints, n, len(labels), block)


@inlined
def write_block(reals, ints, n, n_detections, block):  # type: ignore[no-untyped-def]
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
        read_box(boxes, j, reals, ints)
        reals[DETECTION_SCORE, j] = scores[j]
        ints[USABLE, j] &= scores[j] >= reals[LIMIT, j]
    if looks is not None:
        if plan[RULES, MIN_MASK_PX] > 0:
            for j in range(len(scores)):
                ints[USABLE, j] &= looks.mask_areas[j] > plan[RULES, MIN_MASK_PX]


@inlined
def set_steps(plan, reals, ints, n, dt):  # type: ignore[no-untyped-def]
    """Time by which each track moves, and where it stood."""
    still = plan[RULES, TENTATIVE_MOVES] == 0
    for i in range(n):
        reals[STEP, i] = 0.0 if still and ints[PHASE, i] == TENTATIVE else dt
        ints[WAS, i] = i


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
def _show_detections(share, reals, ints, n):  # type: ignore[no-untyped-def]
    """`BOX` of seen tracks becomes this share of the box seen."""
    for i in range(n):
        if ints[SOURCE, i] >= 0:
            for r in range(4):
                reals[BOX + r, i] = (1.0 - share) * reals[BOX + r, i] + share * reals[LAST_BOX + r, i]


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
