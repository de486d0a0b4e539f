"""Life cycle: which tracks are reported, which coast, which end, which detections start new ones, and their class."""

from __future__ import annotations

import math

import numpy as np

from tracker._jit import inlined
from tracker.association.history import forget_past
from tracker.association.motion import start
from tracker.association.pairs import find_pairs
from tracker.association.state import (
    BORN,
    BOX,
    COASTING,
    COLUMNS,
    CONFIRMED,
    DEAD,
    DETECTION_BOX,
    DETECTION_SCORE,
    EXPIRED,
    FACTOR,
    GROUP,
    HITS,
    ID,
    KIND,
    LABEL,
    LAST_ID,
    LASTING,
    LIMIT,
    MISSES,
    ORDER,
    PHASE,
    REFUSED,
    ROWS,
    SCORE,
    SETTLED,
    SOURCE,
    STARTS,
    STREAK,
    TAKEN,
    TENTATIVE,
    UNSEEN,
    USABLE,
    VOTE_LABEL,
    VOTE_WEIGHT,
    VOTES,
    WAS,
)
from tracker.association.suppression import TAKEN_WEAKLY
from tracker.association.table import (
    BIRTH_IOU,
    BIRTH_SCORE,
    BIRTHS,
    CLASS_BIRTH_SCORE,
    CLASS_GROUP,
    CLASS_LABEL,
    CLASS_MAX_COAST,
    CLASS_MIN_SCORE,
    CLASSES_FROM,
    CONFIRM_HITS,
    CONFIRM_ONCE,
    CONFIRM_TIME,
    DUPLICATE_IOU,
    FORM,
    GRACE_FRAMES,
    LATE_EXPIRY,
    MAX_COAST_FRAMES,
    MAX_COAST_TIME,
    MIN_SCORE,
    NAMED_BY_VOTE,
    NAMED_FIRST,
    NAMING,
    PIXEL,
    RULES,
    TENTATIVE_COASTS,
    VOTE_MARGIN,
)

_STEADY = 1e-6  # frames by which sums of time steps may miss a limit


@inlined
def rule_of(plan, label, column, otherwise):  # type: ignore[no-untyped-def]
    """What the rules of a class say, or `otherwise`."""
    for r in range(int(plan[RULES, CLASSES_FROM]), len(plan)):
        if plan[r, CLASS_LABEL] == label and not math.isnan(plan[r, column]):
            return plan[r, column]
    return otherwise


@inlined
def read_classes(plan, labels, reals, ints):  # type: ignore[no-untyped-def]
    """`KIND` and least score (`LIMIT`) of every detection."""
    plain, least = int(plan[RULES, CLASSES_FROM]) == len(plan), plan[RULES, MIN_SCORE]
    for j in range(len(labels)):
        ints[KIND, j] = labels[j]
        reals[LIMIT, j] = least
        if not plain:
            ints[KIND, j] = int(rule_of(plan, labels[j], CLASS_GROUP, float(labels[j])))
            reals[LIMIT, j] = rule_of(plan, labels[j], CLASS_MIN_SCORE, least)


@inlined
def name(plan, reals, ints, i, j, labels, past):  # type: ignore[no-untyped-def]
    """Class of track `i`, which takes detection `j`."""
    naming = plan[RULES, NAMING]
    if naming == NAMED_FIRST:
        return
    if naming != NAMED_BY_VOTE:
        ints[LABEL, i] = labels[j]
        ints[GROUP, i] = ints[KIND, j]
    elif past is not None:
        _vote(plan, reals, ints, i, labels[j], reals[DETECTION_SCORE, j])


@inlined
def _vote(plan, reals, ints, i, label, score):  # type: ignore[no-untyped-def]
    """Add a score to a class; the track changes to the class that leads its own by `VOTE_MARGIN`.

    A track keeps `VOTES` candidates, its own class first; a new one takes the place of the weakest other.
    """
    place, weakest = -1, 1
    for k in range(VOTES):
        if reals[VOTE_WEIGHT + k, i] > 0 and reals[VOTE_LABEL + k, i] == label:
            place = k
        if k > 0 and reals[VOTE_WEIGHT + k, i] < reals[VOTE_WEIGHT + weakest, i]:
            weakest = k
    if place < 0:
        place = weakest
        reals[VOTE_LABEL + place, i], reals[VOTE_WEIGHT + place, i] = label, 0.0
    reals[VOTE_WEIGHT + place, i] += max(score, 1e-6)
    if place > 0 and reals[VOTE_WEIGHT + place, i] > reals[VOTE_WEIGHT, i] * (1.0 + plan[RULES, VOTE_MARGIN]):
        for row in (VOTE_LABEL, VOTE_WEIGHT):
            reals[row, i], reals[row + place, i] = reals[row + place, i], reals[row, i]
        ints[LABEL, i] = label
        ints[GROUP, i] = int(rule_of(plan, label, CLASS_GROUP, float(label)))


@inlined
def age(plan, reals, ints, n, frame, dt):  # type: ignore[no-untyped-def]
    """New phase of every track, from whether it took a detection in this frame (`SOURCE`)."""
    phases = ints[PHASE]
    for i in range(n):
        j = ints[SOURCE, i]
        if j >= 0 and ints[TAKEN, j] != TAKEN_WEAKLY:
            ints[HITS, i] += 1
            ints[STREAK, i] += 1
            reals[LASTING, i] = reals[LASTING, i] + dt if ints[MISSES, i] == 0 else 0.0
            ints[MISSES, i] = 0
            reals[UNSEEN, i] = 0.0
            _confirm(plan, reals, ints, i, frame)
            continue
        ints[STREAK, i] = 0
        ints[MISSES, i] += 1
        reals[UNSEEN, i] += dt
        reals[LASTING, i] = 0.0
        if phases[i] == TENTATIVE and plan[RULES, TENTATIVE_COASTS] == 0:
            phases[i] = DEAD
            continue
        phases[i] = COASTING
        too_long = _coasted_too_long(plan, reals, ints, i)
        if plan[RULES, LATE_EXPIRY] == 0:
            if too_long:
                phases[i] = TENTATIVE if j >= 0 else DEAD  # its weak row is reported once more, see `suppression`
        elif ints[EXPIRED, i] != 0:
            phases[i] = DEAD
        elif too_long:
            ints[EXPIRED, i] = 1


@inlined
def _coasted_too_long(plan, reals, ints, i):  # type: ignore[no-untyped-def]
    if plan[RULES, MAX_COAST_TIME] > 0:
        return reals[UNSEEN, i] > plan[RULES, MAX_COAST_TIME] + _STEADY
    return ints[MISSES, i] > rule_of(plan, ints[LABEL, i], CLASS_MAX_COAST, plan[RULES, MAX_COAST_FRAMES])


@inlined
def drop_crowded(plan, reals, ints, n_detections, weights, columns):  # type: ignore[no-untyped-def]
    """Detections that overlap one that a track took by more than `BIRTH_IOU` are not usable any more."""
    n_rows, n_columns = 0, 0
    for j in range(n_detections):
        if ints[TAKEN, j] != 0:
            ints[COLUMNS, n_columns] = j
            reals[FACTOR, n_columns] = 1.0
            n_columns += 1
        elif ints[USABLE, j] != 0:
            ints[ROWS, n_rows] = j
            n_rows += 1
    box, gate, pixel = np.int64(DETECTION_BOX), plan[RULES, BIRTH_IOU], plan[RULES, PIXEL]
    find_pairs(n_rows, n_columns, box, box, gate, pixel, reals, ints, weights, columns)  # counts, whatever the room
    for i in range(n_rows):
        if ints[STARTS, i + 1] > ints[STARTS, i]:
            ints[USABLE, ints[ROWS, i]] = 0


@inlined
def give_birth(plan, counters, reals, ints, labels, n, frame, past):  # type: ignore[no-untyped-def]
    """Start a track from every usable detection that nobody took; returns the new number of tracks."""
    if past is not None:
        _queue(plan[RULES, BIRTHS] != 0, ints, len(labels))
    for k in range(len(labels)):
        j = k
        if past is not None:
            j = ints[ORDER, k]
        least = rule_of(plan, labels[j], CLASS_BIRTH_SCORE, plan[RULES, BIRTH_SCORE])
        if ints[TAKEN, j] == 0 and ints[USABLE, j] != 0 and reals[DETECTION_SCORE, j] >= least:
            _start_track(plan, counters, reals, ints, labels, j, n, frame, past)
            n += 1
    return n


@inlined
def _queue(by_class, ints, n):  # type: ignore[no-untyped-def]
    """`ORDER`: detections as they are given new ids."""
    for j in range(n):
        ints[ORDER, j] = j
    if by_class:
        keys = np.empty(n, np.int64)
        for j in range(n):
            keys[j] = 2 * ints[KIND, j] + (ints[USABLE, j] == REFUSED)
        ints[ORDER, :n] = np.argsort(keys, kind="mergesort")


@inlined
def _start_track(plan, counters, reals, ints, labels, j, n, frame, past):  # type: ignore[no-untyped-def]
    """Start a track from detection `j` in column `n`."""
    score = reals[DETECTION_SCORE, j]
    x1, y1 = reals[DETECTION_BOX, j], reals[DETECTION_BOX + 1, j]
    x2, y2 = reals[DETECTION_BOX + 2, j], reals[DETECTION_BOX + 3, j]
    start(int(plan[RULES, FORM]), plan, reals, n, x1, y1, x2, y2)
    reals[SCORE, n], reals[UNSEEN, n], reals[LASTING, n] = score, 0.0, 0.0
    counters[LAST_ID] += 1
    ints[ID, n] = counters[LAST_ID]
    ints[SOURCE, n] = j
    ints[WAS, n] = -1
    ints[HITS, n] = 1
    ints[STREAK, n] = 0
    ints[MISSES, n] = 0
    ints[BORN, n] = frame
    ints[LABEL, n] = labels[j]
    ints[GROUP, n] = ints[KIND, j]
    ints[SETTLED, n] = 0
    ints[EXPIRED, n] = 0
    if past is not None:
        forget_past(reals, ints, n)
        for k in range(VOTES):
            reals[VOTE_LABEL + k, n], reals[VOTE_WEIGHT + k, n] = -1.0, 0.0
        reals[VOTE_LABEL, n], reals[VOTE_WEIGHT, n] = labels[j], max(score, 1e-6)
    _confirm(plan, reals, ints, n, frame)


@inlined
def _confirm(plan, reals, ints, i, frame):  # type: ignore[no-untyped-def]
    long_enough = ints[STREAK, i] >= plan[RULES, CONFIRM_HITS]
    long_enough &= reals[LASTING, i] >= plan[RULES, CONFIRM_TIME] - _STEADY
    settled = ints[SETTLED, i] != 0 and plan[RULES, CONFIRM_ONCE] != 0
    if settled or long_enough or frame <= plan[RULES, GRACE_FRAMES]:
        ints[PHASE, i] = CONFIRMED
        ints[SETTLED, i] = 1
    else:
        ints[PHASE, i] = TENTATIVE


@inlined
def drop_duplicates(plan, reals, ints, weights, columns, n, frame):  # type: ignore[no-untyped-def]
    """Of a seen and a coasting track on nearly the same box, end the one with the shorter life; the seen one on a tie.

    A life is counted from birth to the last detection. Returns the number of pairs; if the buffers are too short for
    them, nothing was ended.
    """
    n_seen = n_coasting = np.int64(0)  # not literals, for which the search would be compiled once more
    for i in range(n):
        phase = ints[PHASE, i]
        if phase == COASTING:
            ints[COLUMNS, n_coasting] = i
            reals[FACTOR, n_coasting] = 1.0
            n_coasting += 1
        elif phase != DEAD:
            ints[ROWS, n_seen] = i
            n_seen += 1
    gate, pixel = plan[RULES, DUPLICATE_IOU], plan[RULES, PIXEL]
    box = np.int64(BOX)
    n_pairs = find_pairs(n_seen, n_coasting, box, box, gate, pixel, reals, ints, weights, columns)
    if n_pairs == 0 or n_pairs > len(weights):
        return n_pairs
    for i in range(n_seen):
        seen = ints[ROWS, i]
        for e in range(ints[STARTS, i], ints[STARTS, i + 1]):
            coasting = ints[COLUMNS, columns[e]]
            if frame - ints[BORN, seen] > frame - ints[MISSES, coasting] - ints[BORN, coasting]:
                ints[PHASE, coasting] = DEAD
            else:
                ints[PHASE, seen] = DEAD
    return n_pairs
