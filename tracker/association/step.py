"""One frame: predict, match stage by stage, correct, age, give birth, end. One compiled call for any plan.

`report` then writes the snapshot into arrays that Python made to measure: returning nine arrays from compiled code
would cost twice as much as making them with numpy and filling them.
"""

from __future__ import annotations

from tracker._jit import inlined, kernel
from tracker.association.cues import add_direction, drop_other_classes, fill_pairs, find_pairs, overlap
from tracker.association.history import note, remember, replay
from tracker.association.lifecycle import age, drop_duplicates, give_birth
from tracker.association.matching import GREEDY, match_certain, match_exact, match_greedy
from tracker.association.motion import correct, measure, predict, write_boxes
from tracker.association.plan import (
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
    MEMORY,
    MIN_SCORE,
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
    TENTATIVE_MOVES,
    TRACKS,
)
from tracker.association.state import (
    BOX,
    COASTING,
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
    MATE_OF_COLUMN,
    MATE_OF_ROW,
    MISSES,
    PHASE,
    RESUME,
    ROWS,
    SCORE,
    SEEN,
    SOURCE,
    STARTS,
    STEP,
    TAKEN,
    TENTATIVE,
    USABLE,
    drop_dead,
)

_FARTHEST_PX = 1e9  # a corner beyond this is no place in a picture, and keeps every number of the filters finite

_LEAST_WEIGHT = 0.01  # of any pair where all pairs compete: above 0, so that nobody prefers to stay alone

START, MATCHING, ENDING = 0, 1, 2
"""Where a step goes on: from the beginning, or where the pair buffers were too small."""


@kernel
def step(plan, counters, reals, ints, weights, columns, boxes, scores, labels, dt):  # type: ignore[no-untyped-def]
    """Take one frame into the state.

    Takes the table from `Plan.encode`, `State.arrays` with room for this frame, the detections as (N, 4) float32
    xyxy, (N,) float32, (N,) int32, and the time since the frame before in nominal frames.

    Returns:
        Live tracks, and detections that no track took. A negative first number -P asks for pair buffers of length P
        and the same call again, which goes on where this one stopped.
    """
    form = int(plan[RULES, FORM])
    if counters[RESUME] == START:
        counters[FRAME] += 1
        _read_detections(plan, boxes, scores, reals, ints)
        _set_steps(plan, reals, ints, counters[COUNT], dt)
        predict(plan, reals, ints, counters[COUNT])
        write_boxes(form, reals, counters[COUNT])
    n, frame = counters[COUNT], counters[FRAME]
    if counters[RESUME] <= MATCHING:
        for i in range(n):
            ints[SOURCE, i] = -1
        _mark_used(ints, 0, len(labels))
        for s in range(FIRST_STAGE, len(plan)):
            n_pairs = _run_stage(plan, s, reals, ints, weights, columns, labels, n, frame)
            if n_pairs > len(weights):
                counters[RESUME] = MATCHING
                return -n_pairs, 0
        _take_detections(plan, reals, ints, labels, n, frame)
        correct(plan, reals, n)
        if plan[RULES, MEMORY] != 0:
            remember(reals, ints, n)
        age(plan, ints, n, frame)
        n = give_birth(plan, counters, reals, ints, labels, n, frame)
        counters[COUNT] = n
        write_boxes(form, reals, n)
        if plan[RULES, SHOW_LAST] != 0:
            _show_last(reals, ints, n)
    if plan[RULES, DUPLICATE_IOU] < 1:
        n_pairs = drop_duplicates(plan, reals, ints, weights, columns, n, frame)
        if n_pairs > len(weights):
            counters[RESUME] = ENDING
            return -n_pairs, 0
    counters[RESUME] = START
    n = drop_dead(reals, ints, n, plan[RULES, MEMORY] != 0)
    counters[COUNT] = n
    return n, len(labels) - _mark_used(ints, n, len(labels))


@kernel
def report(reals, ints, ids, boxes, scores, states, numbers, unmatched):  # type: ignore[no-untyped-def]
    """Write the snapshot that `Tracks` describes: confirmed, tentative, coasting tracks, each in order of birth.

    `numbers` is (4, T) int32: labels, source, hits, misses.
    """
    n, k = len(ids), 0
    for phase in (CONFIRMED, TENTATIVE, COASTING):
        for i in range(n):
            if ints[PHASE, i] == phase:
                ids[k], scores[k], states[k] = ints[ID, i], reals[SCORE, i], phase
                boxes[k, 0], boxes[k, 1] = reals[BOX, i], reals[BOX + 1, i]
                boxes[k, 2], boxes[k, 3] = reals[BOX + 2, i], reals[BOX + 3, i]
                numbers[0, k], numbers[1, k] = ints[LABEL, i], ints[SOURCE, i]
                numbers[2, k], numbers[3, k] = ints[HITS, i], ints[MISSES, i]
                k += 1
    j = 0
    for k in range(len(unmatched)):
        while ints[TAKEN, j] != 0:
            j += 1
        unmatched[k] = j
        j += 1


@inlined
def _read_detections(plan, boxes, scores, reals, ints):  # type: ignore[no-untyped-def]
    """Detections as rows; a box without area, or far outside any picture, is not usable."""
    least = plan[RULES, MIN_SCORE]
    for j in range(len(scores)):
        x1, y1, x2, y2 = boxes[j, 0], boxes[j, 1], boxes[j, 2], boxes[j, 3]
        reals[DETECTION_BOX, j], reals[DETECTION_BOX + 1, j] = x1, y1
        reals[DETECTION_BOX + 2, j], reals[DETECTION_BOX + 3, j] = x2, y2
        reals[DETECTION_SCORE, j] = scores[j]
        near = (x1 > -_FARTHEST_PX) & (y1 > -_FARTHEST_PX) & (x2 < _FARTHEST_PX) & (y2 < _FARTHEST_PX)
        ints[USABLE, j] = near & (x2 > x1) & (y2 > y1) & (scores[j] >= least)


@inlined
def _set_steps(plan, reals, ints, n, dt):  # type: ignore[no-untyped-def]
    """Time by which each track moves."""
    still = plan[RULES, TENTATIVE_MOVES] == 0
    for i in range(n):
        reals[STEP, i] = 0.0 if still and ints[PHASE, i] == TENTATIVE else dt


@inlined
def _run_stage(plan, s, reals, ints, weights, columns, labels, n, frame):  # type: ignore[no-untyped-def]
    """Match what this stage is about; returns the number of pairs, and does nothing if the buffers are too short."""
    after, gate, pixel = plan[s, GATE_AFTER] != 0, plan[s, GATE], plan[RULES, PIXEL]
    longest, weight, fill = int(plan[RULES, LOOK_BACK_FRAMES]), plan[s, DIRECTION], plan[s, ALL_PAIRS] != 0
    box = LAST_BOX if plan[s, ON_LAST] != 0 else BOX
    for last in range(0 if fill else 1, 2):  # where all pairs compete, a first round takes those that are certain
        n_rows = _pick_tracks(int(plan[s, TRACKS]), int(plan[s, LEAST_HITS]), ints, n)
        n_columns = _pick_detections(plan, s, reals, ints, len(labels))
        n_pairs = find_pairs(
            n_rows, n_columns, box, DETECTION_BOX, 0.0 if after else gate, pixel, reals, ints, weights, columns
        )
        if n_pairs == 0 or n_pairs > len(weights):
            return n_pairs
        if plan[RULES, PER_CLASS] != 0:
            n_pairs = drop_other_classes(n_rows, ints, labels, weights, columns)
        one_to_one = plan[s, SHORTCUT] != 0 and (last == 0 or not fill)
        if one_to_one and _one_to_one(n_rows, n_columns, gate if after else 0.0, ints, weights, columns):
            _keep_matches(n_rows, ints)
            return n_pairs
        spread = 0.5 * weight * _best_score(n_columns, reals, ints) if fill else 0.0  # of what direction adds
        if fill and last == 1:
            if not _any_from(gate, n_pairs, weights):
                return n_pairs
            n_pairs = fill_pairs(spread + _LEAST_WEIGHT, n_rows, n_columns, reals, ints, weights, columns)
            if n_pairs > len(weights):
                return n_pairs
            if plan[RULES, PER_CLASS] != 0:
                n_pairs = drop_other_classes(n_rows, ints, labels, weights, columns)
        if weight > 0:
            add_direction(longest, weight, frame, n_rows, reals, ints, weights, columns)
        if last == 0:
            match_certain(n_rows, n_columns, spread, reals, ints, weights, columns)
        elif plan[s, SOLVER] == GREEDY:
            match_greedy(n_rows, n_columns, reals, ints, weights, columns)
        else:
            match_exact(n_rows, n_columns, reals, ints, weights, columns)
        if after:
            _refuse(n_rows, box, gate, pixel, reals, ints)
        _keep_matches(n_rows, ints)
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
def _pick_detections(plan, s, reals, ints, n):  # type: ignore[no-untyped-def]
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
def _refuse(n_rows, box, gate, pixel, reals, ints):  # type: ignore[no-untyped-def]
    """Dissolve matches below the gate."""
    for i in range(n_rows):
        k = ints[MATE_OF_ROW, i]
        if k >= 0:
            iou = overlap(box, ints[ROWS, i], DETECTION_BOX, ints[COLUMNS, k], pixel, reals)
            if iou * reals[FACTOR, k] < gate:
                ints[MATE_OF_ROW, i] = -1


@inlined
def _take_detections(plan, reals, ints, labels, n, frame):  # type: ignore[no-untyped-def]
    """Hand every matched track its detection."""
    form = int(plan[RULES, FORM])
    remembers, replays = plan[RULES, MEMORY] != 0, plan[RULES, REPLAY] != 0
    longest = int(plan[RULES, LOOK_BACK_FRAMES])
    for i in range(n):
        j = ints[SOURCE, i]
        reals[SEEN, i] = j >= 0
        if j >= 0:
            x1, y1 = reals[DETECTION_BOX, j], reals[DETECTION_BOX + 1, j]
            x2, y2 = reals[DETECTION_BOX + 2, j], reals[DETECTION_BOX + 3, j]
            if replays and ints[MISSES, i] > 0 and ints[HITS, i] > 1:
                replay(form, plan, reals, ints, i, x1, y1, x2, y2)
            if remembers:
                note(longest, reals, ints, i, frame, x1, y1, x2, y2)
            measure(form, reals, i, x1, y1, x2, y2)
            reals[SCORE, i] = reals[DETECTION_SCORE, j]
            ints[LABEL, i] = labels[j]


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
