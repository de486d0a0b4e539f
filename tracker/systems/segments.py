"""Systems that compare masks, embeddings, centres, or boxes that a network searched for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tracker.association import ClassRule, Plan, Stage, Term
from tracker.systems.relinking import AGAIN, KEPT_FRAMES, MOMENTUM
from tracker.systems.system import Option, System

_FOR_EVER = 2**31 - 1

STEP_B1 = System(
    name="step-b1",
    title="STEP: Segmenting and Tracking Every Pixel, baseline 1 (mask IoU)",
    paper="2102.11859",
    plan=Plan(
        stages=(Stage(terms=(Term("mask_iou"),), gate=0.3, gate_when="after", solver="rectangular", all_pairs=True),),
        motion="none",
        per_class=True,
        confirm_hits=0,
        max_coast_frames=10,
        tentative_coasts=True,
        births="classes",
    ),
    needs=("boxes", "masks"),
    options={"match_iou": Option("a track and its detection overlap more than this", ((0, "gate"),))},
    notes="A track keeps the mask it was last seen with. The overlaps of a class are matched for the greatest "
    "total, and pairs at or below the gate are dissolved afterwards, as in the authors' code; gate_when "
    "before refuses them first. Ids count over all classes, in the authors' order: those of new tracks depend on which "
    "pairs without overlap were matched, so the solver takes scipy's ties.",
)

STEP_B3 = System(
    name="step-b3",
    title="STEP: Segmenting and Tracking Every Pixel, baseline 3 (masks carried by optical flow)",
    paper="2102.11859",
    plan=replace(STEP_B1.plan, flow="cur_to_prev"),
    needs=("boxes", "masks", "flow"),
    options={"match_iou": Option("a track and its detection overlap more than this", ((0, "gate"),))},
    notes="As step-b1, but masks are compared after optical flow moved the new ones back (cur_to_prev, as in the "
    "authors' code) or the tracks' forth (prev_to_cur, as the paper says). Flow spans one frame however old a "
    "track's mask is, unless chain_masks carries these on (prev_to_cur). --flow chooses whose flow it is.",
)

STEP_B2 = System(
    name="step-b2",
    title="STEP: Segmenting and Tracking Every Pixel, baseline 2 (SORT on enclosing boxes)",
    paper="2102.11859",
    plan=Plan(
        stages=(Stage(gate=0.3, gate_when="after", shortcut=True),),
        motion="xysr",
        per_class=True,
        confirm_hits=3,
        confirm_once=False,
        grace_frames=3,
        max_coast_frames=1,
        tentative_coasts=True,
    ),
    needs=("boxes", "masks"),
    options={"match_iou": Option("least overlap of a track and its detection", ((0, "gate"),))},
    notes="SORT with its authors' numbers, one class at a time; STEP names none. The boxes are those that enclose "
    "the masks. In panoptic output a track that SORT does not report yet is painted with its id all the same.",
)

MOTION_DEEPLAB = System(
    name="motion-deeplab",
    title="STEP, baseline 4: Motion-DeepLab's greedy matching of predicted centres",
    paper="2102.11859",
    plan=Plan(
        stages=(
            Stage(
                terms=(Term("shifted_distance", weight=-1.0), Term("shifted_reach", weight=0.0, most=1.0 - 1e-9)),
                gate=-math.inf,
                gate_when="after",
                solver="nearest",
                all_pairs=True,
            ),
        ),
        motion="none",
        per_class=True,
        confirm_hits=0,
        max_coast_frames=5,
        tentative_coasts=True,
    ),
    needs=("boxes", "offsets"),
    options={},
    notes="In the order of the detections, which is that of the image's rows; each takes the nearest track of its "
    "class that is left, measured from where its network says that it was, if that is nearer than the root of "
    "the track's width - 1 times height - 1. The authors' sigma of 7 counts the frame of the last sight, so 5 "
    "missed frames.",
)


def _motsnet(*terms: Term, window: int, gate: float = -1.0) -> dict[str, Any]:
    """Fields of MOTSNet's plan: what a pair costs, and for how many frames a track can be seen again."""
    return {"stages": (Stage(terms=terms, box="last", gate=gate, all_pairs=True),), "max_coast_frames": window - 1}


def _time(window: int) -> Term:
    return Term("time_gap", weight=-1.0 / window)


_DISTANCE = Term("embedding_l2", weight=-1.0)

MOTSNET = System(
    name="motsnet",
    title="Learning Multi-Object Tracking and Segmentation from Automatic Annotations (MOTSNet)",
    paper="1912.02096",
    plan=Plan(
        motion="none",
        per_class=True,
        confirm_hits=0,
        tentative_coasts=True,
        **_motsnet(_time(12), _DISTANCE, window=12),
    ),
    needs=("boxes", "embeddings"),
    options={
        "match_value": Option("minus the largest distance plus share of the window", ((0, "gate"),)),
        "full": Option("as many matches as possible first (max-cardinality form)", ((0, "full"),)),
    },
    presets={
        "kitti": {},
        "mots-challenge": _motsnet(_time(10), _DISTANCE, window=10),
        "bdd": _motsnet(_time(10), _DISTANCE, window=10),
        "embedding": _motsnet(_DISTANCE, window=12),
        "siou": _motsnet(Term("signed_iou"), window=12, gate=0.0),
        "siou-time": _motsnet(_time(12), Term("signed_iou"), window=12, gate=0.0),
    },
    notes="A pair costs the distance of unit embeddings plus the share of the window that has passed, at most 1 in "
    "all. The paper's equation is best solved by matching nothing; here a match is worth what it stays below "
    "that limit (full=true: what most codes do). The window is 12 frames (preset kitti) or 10 "
    "(mots-challenge, bdd). The presets embedding, siou and siou-time are the ablations, with KITTI's window: distance "
    "without time, or 1 - sIoU of the boxes in its place. The paper adds sIoU itself, which would punish overlap.",
)


def _track_rcnn(numbers: dict[str, tuple[float, float, int]]) -> tuple[ClassRule, ...]:
    """Rules of TrackR-CNN: class -> (least score, largest distance, frames that a track outlives unseen)."""
    return tuple(
        ClassRule(label, min_score=score, birth_score=score, max_coast_frames=frames, gate=-distance)
        for name, (score, distance, frames) in numbers.items()
        for label in ((name, "person") if name == "pedestrian" else (name,))
    )


_TRACK_RCNN: dict[str, Any] = {
    "motion": "none",
    "per_class": True,
    "min_mask_px": 10,
    "confirm_hits": 0,
    "tentative_coasts": True,
    "max_coast_frames": 0,
}

TRACK_RCNN = System(
    name="trackrcnn",
    title="MOTS: Multi-Object Tracking and Segmentation (TrackR-CNN), association vectors",
    paper="1902.03604",
    plan=Plan(
        stages=(Stage(terms=(Term("embedding_l2", weight=-1.0),), gate=-8.0, all_pairs=True, full=True),),
        classes=_track_rcnn(
            {
                "car": (0.8469800990815324, 8.810218833503743 - 0.8165986526897969 / 1.0090931467228708, 4),
                "pedestrian": (0.93688, 9.447084376750222 - 0.47985540892434836 / 1.3437965549876354, 6),
            }
        ),
        **_TRACK_RCNN,
    ),
    needs=("boxes", "masks", "embeddings"),
    options={
        "match_value": Option("minus the largest distance, of classes without numbers of their own", ((0, "gate"),)),
        "solver": Option("exact, or greedy: the best pair first", ((0, "solver"),)),
    },
    presets={
        "kitti": {},
        "mots-challenge": {"classes": _track_rcnn({"pedestrian": (0.9722, 9.17685 - 0.92731 / 1.11581, 9)})},
        "defaults": {"classes": _track_rcnn({"car": (0.55, 4.7, 0), "pedestrian": (0.95, 4.7, 0)})},
    },
    notes="Only the last embedding of a track counts, unnormalised; numbers are those tuned per class. The authors' "
    "similarity, scale * (offset - distance) above a threshold, is the same as a largest distance. As many "
    "matches as possible come first, as in the authors' code.",
)

TRACK_RCNN_CENTRE = System(
    name="trackrcnn-centre",
    title="MOTS (TrackR-CNN), ablation: distance of box centres",
    paper="1902.03604",
    plan=Plan(
        stages=(
            Stage(terms=(Term("centre_distance", weight=-1.0),), box="last", gate=-35.0, all_pairs=True, full=True),
        ),
        **{**_TRACK_RCNN, "min_score": 0.5},
    ),
    needs=("boxes", "masks"),
    options={"match_value": Option("minus the largest distance of the centres, px", ((0, "gate"),))},
    notes="Similarity 0.02 * (50 - distance) above a threshold of 0.3 is a distance below 35 px.",
)

TRACK_RCNN_MASK = System(
    name="trackrcnn-mask",
    title="MOTS (TrackR-CNN), ablation: masks propagated by optical flow",
    paper="1902.03604",
    plan=Plan(
        stages=(Stage(terms=(Term("mask_iou"),), gate=0.3, all_pairs=True, full=True),),
        flow="forward",
        **{**_TRACK_RCNN, "min_score": 0.5},
    ),
    needs=("boxes", "masks", "flow"),
    options={"match_iou": Option("a track and its detection overlap more than this", ((0, "gate"),))},
    notes="The masks of the frame before, carried along the forward flow, against the new ones; a track that is "
    "missed ends.",
)

VPSNET = System(
    name="vpsnet",
    title="Video Panoptic Segmentation (VPSNet), association of tracked features",
    paper="2006.11339",
    plan=Plan(
        stages=(
            Stage(
                terms=(Term("embedding_dot"), Term("iou", weight=2.0), Term("same_class", weight=10.0)),
                box="last",
                gate=10.0,
                solver="claim",
                all_pairs=True,
            ),
        ),
        motion="none",
        confirm_hits=0,
        max_coast_frames=_FOR_EVER,
        tentative_coasts=True,
        label="first",
    ),
    needs=("boxes", "embeddings"),
    options={"match_value": Option("what a new object is worth: its class, and a dot product of 0", ((0, "gate"),))},
    notes="Each detection claims the track with the greatest dot product + 2 IoU + 10 for its class, or a new one; "
    "of two claims the likelier stands and the other becomes a new object. Tracks never end within a video: "
    "reset() between.",
)

SIAMMOT = System(
    name="siammot",
    title="SiamMOT: Siamese Multi-Object Tracking, the solver",
    paper="2105.11595",
    plan=Plan(
        stages=(),
        motion="none",
        suppress_iou=0.5,
        birth_score=0.6,
        keep_score=0.4,
        resume_score=0.4,
        confirm_hits=0,
        max_coast_frames=29,
        tentative_coasts=True,
    ),
    needs=("boxes", "track_ids"),
    options={},
    notes="Rows of `Detections` with `track_ids` say where a motion network found each track again, with the mean "
    "of box score and visibility; the others are fresh. The authors' MAX_DORMANT_FRAMES counts the first bad "
    "frame, so max_coast_frames is one less (their person models use 30, their default is 1). A row of "
    "exactly 1.0 becomes 0, as in their code. A coasting track whose row is strong enough to keep but not to "
    "resume shows that row's box, in its last frame as a tentative one. In their code seen tracks hide sleeping ones, "
    "these detections, and each the weaker of its kind, all in one go; the paper's way is suppress_apart=true. Where "
    "the paper searches for a hidden track is --search found, its window over the search region a choice at export "
    "(--window).",
)

SIAMMOT_EMM = replace(
    SIAMMOT,
    name="siammot-emm",
    title="SiamMOT with the explicit motion model (EMM)",
    motion="emm",
    notes="As siammot, which takes any learned motion, with a SiamMOT whose track head correlates templates with "
    "search regions: that of all official models.",
)

SIAMMOT_IMM = replace(
    SIAMMOT,
    name="siammot-imm",
    title="SiamMOT with the implicit motion model (IMM)",
    motion="imm",
    notes="As siammot, which takes any learned motion, with a SiamMOT whose track head reads the way from features "
    "before and now. There is no official model.",
)

SIAMMOT_LAST = replace(
    SIAMMOT,
    name="siammot-tracktor",
    title="Tracktor in SiamMOT: the box head finds a track from its last box",
    motion="last",
    notes="The first baseline of SiamMOT's Table 1, with a SiamMOT of either head, which is not run: what the box head "
    "makes of a track's last box is its row, and the row's score the class score alone. The idea is that of "
    "Tracktor, arXiv:1903.05625, the solver that of SiamMOT.",
)

SIAMMOT_FLOW = replace(
    SIAMMOT,
    name="siammot-flow",
    title="Optical flow in SiamMOT: the box head finds a track from where flow moved its box",
    motion="flow",
    notes="The second baseline of SiamMOT's Table 1, as siammot-tracktor, but a box is first moved by the median flow "
    "inside it (--flow dis, or a RAFT network; the paper had PWC-Net). Tracks out of sight wait where they were seen.",
)

SIAMMOT_PLUS = System(
    name="siammot+",
    title="SiamMOT+: SiamMOT, and lost tracks known again by their looks",
    paper="2105.11595",
    plan=replace(
        SIAMMOT.plan,
        stages=(AGAIN,),
        search_frames=SIAMMOT.plan.max_coast_frames,
        max_coast_frames=KEPT_FRAMES,
        gallery_momentum=MOMENTUM,
    ),
    needs=("boxes", "track_ids", "embeddings"),
    options={
        "high_score": Option("detections above may be a lost track", ((0, "score_above"),)),
        "match_value": Option("minus the largest cosine distance of a lost track and a detection", ((0, "gate"),)),
    },
    notes="As siammot; but a detection that would start a track is first compared with all tracks that are out of "
    "sight, by the running mean of their embeddings, and takes up the id of one that looks alike. Nobody searches for "
    "a track that was unseen for search_frames; its id can come back for max_coast_frames. The paper merges finished "
    "tracks afterwards, with a re-identification network of Tracktor's; this is its online form. match_value suits "
    "OSNet: on PETS09-S2L1 a largest distance of 0.2 was better than 0.15, and the nearest of 20 kept embeddings "
    "instead of their mean did harm from there on.",
)
