"""Metrics, one file each: `update` with what came next, `merge` other sequences, `result` at any time.

An object of a metric is one sequence while `update` feeds it; `merge(other)` adds the sequences of another object,
which stays as it was, and ends the own one: an update after it begins a new sequence. Sequences are combined from
counts (or as the metric's paper says), never by averaging their scores. `result()` is a flat dict of plain numbers and
changes nothing. A new metric is one file here and one row in `METRICS`.

What `update` takes depends on the metric (`Row.takes`):

`overlaps`  `update(overlaps)`: an `Overlaps`, one frame or any number of consecutive ones. It says which true object
            overlaps which result by how much; `compare_boxes` and `compare_masks` make one, once for all metrics.
`panoptic`  `update(truth_classes, truth_ids, classes, ids)`: four (H, W) integer maps of the next frame. The object is
            made as `row.metric(class_set)`. `add(segments)` takes the frame compared, once for all metrics.
`masks`     `update(truth, result, mots_class)`: two `MotsFrame` (or None) of the next frame, ignore regions among them,
            and the class that is judged.
`contours`  `update(truth_ids, truth_masks, ids, masks)`: ids and `Masks` of the next frame, of both sides.
`tracks`    `update(truth, results)`: whole tracks of one video (`VisTrack`) with masks, categories and scores.
"""

from __future__ import annotations

from tracker.evaluation.clear import Clear, Mots
from tracker.evaluation.hota import Hota
from tracker.evaluation.identity import Identity
from tracker.evaluation.jf import Jf
from tracker.evaluation.metric import Metric, Row
from tracker.evaluation.mots_strict import MotsStrict
from tracker.evaluation.overlaps import Objects, Overlaps, compare_boxes, compare_masks
from tracker.evaluation.ptq import Ptq
from tracker.evaluation.stq import Stq
from tracker.evaluation.track_ap import TrackAp
from tracker.evaluation.vpq import Vpq
from tracker.formats.class_set import ClassSet

__all__ = [
    "METRICS", "ClassSet", "Clear", "Hota", "Identity", "Jf", "Metric", "Mots", "MotsStrict", "Objects", "Overlaps",
    "Ptq", "Row", "Stq", "TrackAp", "Vpq", "compare_boxes", "compare_masks",
]  # fmt: skip

METRICS: dict[str, Row] = {
    "hota": Row(Hota, "overlaps", ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")),
    "clear": Row(
        Clear, "overlaps",
        ("MOTA", "MOTP", "sMOTA", "CLR_Re", "CLR_Pr", "CLR_TP", "CLR_FP", "CLR_FN", "IDSW", "Frag", "MT", "PT", "ML"),
    ),
    "identity": Row(Identity, "overlaps", ("IDF1", "IDR", "IDP", "IDTP", "IDFP", "IDFN")),
    "mots": Row(Mots, "overlaps", ("sMOTSA", "MOTSA", "MOTSP", "TP", "FP", "FN", "IDSW")),
    "mots-strict": Row(
        MotsStrict, "masks", ("sMOTSA", "MOTSA", "MOTSP", "MODSA", "MODSP", "TP", "FP", "FN", "IDS", "Frag"),
    ),
    "stq": Row(Stq, "panoptic", ("STQ", "AQ", "SQ", "tubes")),
    "vpq": Row(Vpq, "panoptic", ("VPQ", "VPQ_1", "VPQ_2", "VPQ_3", "VPQ_4", "VPQ_things", "VPQ_stuff")),
    "ptq": Row(Ptq, "panoptic", ("PTQ", "sPTQ", "PQ", "IDS", "sIDS")),
    "jf": Row(Jf, "contours", ("J&F", "J_mean", "J_recall", "J_decay", "F_mean", "F_recall", "F_decay")),
    "track-ap": Row(TrackAp, "tracks", ("AP", "AP50", "AP75", "AR1", "AR10")),
}  # fmt: skip
"""Name on the command line -> metric."""
