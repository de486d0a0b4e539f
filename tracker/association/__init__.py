"""The association core: detections of one frame and the tracks so far in, tracks out, in one compiled call.

plan.py      what a published tracker is, as data, and its encoding for the compiled step
state.py     the arrays of all tracks, how they grow, and the names of their rows
motion.py    Kalman filters as 2x2 blocks (MOTIONS)
history.py   what a track remembers: where it was, its direction, its filter before a gap
cues.py      reasons to match (CUES) and the search for pairs that are worth a look
matching.py  pairs to one-to-one matches (SOLVERS)
lifecycle.py births, ages, duplicates, ends
step.py      one frame: everything above, fused
tracker.py   `Tracker`, the thin object around the step, and its clock
"""

from tracker.association.plan import Plan, Stage
from tracker.association.tracker import Tracker

__all__ = ["Plan", "Stage", "Tracker"]
