"""The association core: detections of one frame and the tracks so far in, tracks out, in one compiled call.

plan.py      what a published tracker is, as data, and its encoding for the compiled step
state.py     the arrays of all tracks, how they grow, and the names of their rows
motion.py    Kalman filters as 2x2 blocks (MOTIONS)
history.py   what a track remembers: where it was, its direction, its filter before a gap
sway.py      camera motion from boxes
pairs.py     the search for pairs of tracks and detections that are worth a look
cues.py      reasons to match (CUES)
terms.py     what a pair is worth by several cues
looks.py     what tracks and detections have beside boxes: embeddings, masks, centres, claims
solvers.py   pairs to one-to-one matches (SOLVERS): matching.py sparse, dense.py, rectangular.py, choosing.py,
             backend.py `lap`
suppression.py  SiamMOT's solver
lifecycle.py births, ages, classes, duplicates, ends
table.py     where the numbers of an encoded plan stand; checks.py what plans must be
stages.py    one round of matching
step.py      one frame: everything above, fused
tracker.py   `Tracker`, the thin object around the step, and its clock
snapshot.py  save and load; query.py any moment; events.py what happens to tracks
camera.py    camera motion that is given; warp.py, mining.py what optical flow says
explain.py   why a frame came out as it did: rerun.py its stages once more, rounds.py their pairs, explanation.py values
"""

from tracker.association.plan import ClassRule, Plan, Stage, Term
from tracker.association.tracker import Tracker

__all__ = ["ClassRule", "Plan", "Stage", "Term", "Tracker"]
