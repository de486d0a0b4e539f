"""Where the numbers of an encoded plan stand; `Plan.encode` writes the table, kernels read it.

It is one float64 table: a row of rules, four rows of motion (one per coordinate, columns in motion.py), a row per
stage, a row per term of the stages that have any, a row per class with rules of its own.
"""

RULES, FIRST_STAGE = 0, 5

# columns of the rules
(
    FORM, PIXEL, PER_CLASS, MIN_SCORE, BIRTH_SCORE, CONFIRM_HITS, CONFIRM_ONCE, GRACE_FRAMES, MAX_COAST_FRAMES,
    LATE_EXPIRY, TENTATIVE_COASTS, TENTATIVE_MOVES, DUPLICATE_IOU, DETECTION_SHARE, REPLAY, LOOK_BACK_FRAMES,
    CONFIRM_TIME, MAX_COAST_TIME, STAGES_END, CLASSES_FROM,
    NAMING, VOTE_MARGIN, MIN_MASK_PX, GALLERY_FRAMES, SUPPRESS_IOU, RESUME_SCORE, KEEP_SCORE,
    BIRTH_IOU, CAMERA, FOLLOW_SCORE, SEARCH_FRAMES, SUPPRESS_APART, BIRTHS,
    WIDTH,
) = range(34)  # fmt: skip
"""Times in nominal frames; stages end where terms begin, and terms end where classes begin."""

NAMED_LAST, NAMED_FIRST, NAMED_BY_VOTE = 0, 1, 2

# columns of a stage
(
    TRACKS, SCORE_ABOVE, SCORE_BELOW, ON_LAST, GATE, GATE_AFTER, SHORTCUT, FUSE_SCORE, SOLVER, DIRECTION, ALL_PAIRS,
    LEAST_HITS, FULL, BEST_TERM, TERMS_FROM, TERMS_END, HEIGHT_POWER, MOST_MISSES,
) = range(18)  # fmt: skip
"""A stage that only compares overlaps the short way has no terms: `TERMS_FROM` is 0."""

CUE, WEIGHT, BIAS, LEAST, MOST, LEAST_OVERLAP = range(6)
"""Columns of a term."""

CLASS_LABEL, CLASS_GROUP, CLASS_MIN_SCORE, CLASS_BIRTH_SCORE, CLASS_MAX_COAST, CLASS_GATE = range(6)
"""Columns of a class; NaN where the plan's own number holds."""
