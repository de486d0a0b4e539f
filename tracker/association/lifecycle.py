"""Life cycle: which tracks are reported, which coast, which end, and which detections start new ones."""

from __future__ import annotations

from tracker._jit import inlined
from tracker.association.cues import find_pairs
from tracker.association.history import forget_past
from tracker.association.motion import start
from tracker.association.plan import (
    BIRTH_SCORE,
    CONFIRM_HITS,
    CONFIRM_ONCE,
    DUPLICATE_IOU,
    FORM,
    GRACE_FRAMES,
    LATE_EXPIRY,
    MAX_COAST_FRAMES,
    PIXEL,
    RULES,
    TENTATIVE_COASTS,
)
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
    HITS,
    ID,
    LABEL,
    LAST_ID,
    MISSES,
    PHASE,
    ROWS,
    SCORE,
    SETTLED,
    SOURCE,
    STARTS,
    STREAK,
    TAKEN,
    TENTATIVE,
    USABLE,
)


@inlined
def age(plan, ints, n, frame):  # type: ignore[no-untyped-def]
    """New phase of every track, from whether it took a detection in this frame (`SOURCE`)."""
    phases = ints[PHASE]
    for i in range(n):
        if ints[SOURCE, i] >= 0:
            ints[HITS, i] += 1
            ints[STREAK, i] += 1
            ints[MISSES, i] = 0
            _confirm(plan, ints, i, frame)
            continue
        ints[STREAK, i] = 0
        ints[MISSES, i] += 1
        if phases[i] == TENTATIVE and plan[RULES, TENTATIVE_COASTS] == 0:
            phases[i] = DEAD
            continue
        phases[i] = COASTING
        if plan[RULES, LATE_EXPIRY] != 0:
            if ints[EXPIRED, i] != 0:
                phases[i] = DEAD
            elif ints[MISSES, i] > plan[RULES, MAX_COAST_FRAMES]:
                ints[EXPIRED, i] = 1
        elif ints[MISSES, i] > plan[RULES, MAX_COAST_FRAMES]:
            phases[i] = DEAD


@inlined
def give_birth(plan, counters, reals, ints, labels, n, frame):  # type: ignore[no-untyped-def]
    """Start a track from every usable detection that nobody took; returns the new number of tracks."""
    form = int(plan[RULES, FORM])
    for j in range(len(labels)):
        score = reals[DETECTION_SCORE, j]
        if ints[TAKEN, j] != 0 or ints[USABLE, j] == 0 or score < plan[RULES, BIRTH_SCORE]:
            continue
        x1, y1 = reals[DETECTION_BOX, j], reals[DETECTION_BOX + 1, j]
        x2, y2 = reals[DETECTION_BOX + 2, j], reals[DETECTION_BOX + 3, j]
        start(form, plan, reals, n, x1, y1, x2, y2)
        reals[SCORE, n] = score
        counters[LAST_ID] += 1
        ints[ID, n] = counters[LAST_ID]
        ints[SOURCE, n] = j
        ints[HITS, n] = 1
        ints[STREAK, n] = 0
        ints[MISSES, n] = 0
        ints[BORN, n] = frame
        ints[LABEL, n] = labels[j]
        ints[SETTLED, n] = 0
        ints[EXPIRED, n] = 0
        forget_past(reals, ints, n)
        _confirm(plan, ints, n, frame)
        n += 1
    return n


@inlined
def _confirm(plan, ints, i, frame):  # type: ignore[no-untyped-def]
    settled = ints[SETTLED, i] != 0 and plan[RULES, CONFIRM_ONCE] != 0
    if settled or ints[STREAK, i] >= plan[RULES, CONFIRM_HITS] or frame <= plan[RULES, GRACE_FRAMES]:
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
    n_seen, n_coasting = 0, 0
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
    n_pairs = find_pairs(n_seen, n_coasting, BOX, BOX, gate, pixel, reals, ints, weights, columns)
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
