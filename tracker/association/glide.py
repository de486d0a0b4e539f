"""Glide: a frame on which nobody looked. Time passes and tracks move; none is seen, missed, born or ended."""

from __future__ import annotations

import numpy as np

from tracker._jit import inlined, kernel
from tracker.association.given import follow_rows, note_rows
from tracker.association.motion import predict, write_boxes
from tracker.association.state import COUNT, LASTING, MISSES, SOURCE, TAKEN, UNSEEN, WAS, carve
from tracker.association.step import set_steps, write_block
from tracker.association.table import FOLLOW_SCORE, FORM, KEEP_SCORE, RULES, SUPPRESS_IOU

_carve = inlined(carve)


@kernel
def glide(plan, memory, boxes, scores, track_ids, dt, block):  # type: ignore[no-untyped-def]
    """Take such a frame into the state.

    Tracks keep the phase that they had. Where the plan knows learned motion, rows (`track_ids`) correct the filters of
    their tracks: those from `follow_score` up, or for SiamMOT's rules from `keep_score` up. Other plans and tracks
    without such a row go by their filters alone. The frame has no number: what a plan counts in frames stays as it is.

    Args and result as in `step.step`, with (N,) int64 `track_ids` >= 0 and room in `block` for tracks and rows.
    """
    counters, reals, ints, _, _ = _carve(memory)
    n, m = counters[COUNT], len(track_ids)
    set_steps(plan, reals, ints, n, dt)
    predict(plan, reals, ints, n)
    write_boxes(int(plan[RULES, FORM]), reals, n)
    for i in range(n):
        reals[UNSEEN, i] += dt
        if ints[MISSES, i] == 0:
            reals[LASTING, i] += dt
    least = plan[RULES, FOLLOW_SCORE]
    if plan[RULES, SUPPRESS_IOU] < 1:
        least = min(least, plan[RULES, KEEP_SCORE])
    note_rows(plan, np.float64(least), boxes, scores, track_ids, reals, ints, n)
    follow_rows(plan, reals, n)
    for j in range(m):
        ints[TAKEN, j] = 0
    for i in range(n):
        ints[WAS, i] = i
        if ints[SOURCE, i] >= 0:
            ints[TAKEN, ints[SOURCE, i]] = 1
    return write_block(reals, ints, n, m, block)
