"""SYSTEMS: each published system as one row of data, and trackers made from it by name.

A row's options are the names that the command line and TOML files use. Every number of the plan's life cycle is one
(`max_coast_frames`, `birth_score`, ...); a row adds names for what its stages mean (`match_iou`, `low_score`, ...).
Defaults stand in the plan, once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from tracker.association import Plan, Stage, Tracker
from tracker.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Option:
    """A name for a number of some stages.

    Attributes:
        help: what it means, in a few words.
        targets: (stage, field) pairs that it sets; the first one holds the default.
    """

    help: str
    targets: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class System:
    """A published system.

    Attributes:
        name: what users type.
        title: its name in print.
        paper: arXiv id.
        plan: its association, with the defaults of the authors' code.
        needs: parts of `Detections` that it uses: "boxes", "masks", "embeddings", ...
        options: names for numbers of its stages.
        notes: where the paper and the authors' code differ, and other things worth knowing.
    """

    name: str
    title: str
    paper: str
    plan: Plan
    needs: tuple[str, ...]
    options: dict[str, Option]
    notes: str


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
    "max_coast_frames calls. birth_score is the authors' track_thresh + 0.1. The filter of wide boxes "
    "(w / h > 1.6) and tiny ones that the authors' script applies to its output for pedestrians is left out.",
)

OCSORT = System(
    name="ocsort",
    title="Observation-Centric SORT: Rethinking SORT for Robust Multi-Object Tracking",
    paper="2203.14360",
    plan=Plan(
        stages=(
            Stage(score_above=0.5, gate=0.3, gate_when="after", shortcut=True, direction=0.2, all_pairs=True),
            Stage(score_above=0.5, box="last", gate=0.3, gate_when="after", least_hits=2),
        ),
        motion="xysr",
        birth_score=0.50000006,
        confirm_hits=3,
        confirm_once=False,
        grace_frames=3,
        max_coast_frames=30,
        tentative_coasts=True,
        show_last=True,
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
    "compete; all_pairs=false is quicker in crowds and differs in about one frame of 25. The box of a birth is no "
    "observation: it gives no direction, its gap is not replayed and the second round leaves it out. After a replay "
    "the new box is taken twice. birth_score is the next float32 above 0.5: scores have to exceed the threshold. The "
    "round of low scores (use_byte), off by default in the authors' code, is left out.",
)

SYSTEMS: dict[str, System] = {system.name: system for system in (SORT, BYTETRACK, OCSORT)}


def create(name: str, *, frame_rate: float = 30.0, **overrides: Any) -> Tracker:
    """Make a fresh tracker of a published system.

    Args:
        name: key of `SYSTEMS`.
        frame_rate: nominal frames per second of the stream.
        overrides: options of this system, by the names that `options(name)` lists.

    Raises:
        ConfigError: no such system or option, or a value that makes no sense.
    """
    return Tracker(plan(name, **overrides), frame_rate)


def plan(name: str, **overrides: Any) -> Plan:
    """Plan of a published system with some options changed; arguments and errors as `create`."""
    system = _find(name)
    known = options(name)
    unknown = [option for option in overrides if option not in known]
    if unknown:
        raise ConfigError(f"tracker {name!r} has no option {unknown[0]!r}; it has {', '.join(known)}")
    stages: list[dict[str, Any]] = [{} for _ in system.plan.stages]
    rules: dict[str, Any] = {}
    for option, value in overrides.items():
        if option in system.options:
            for stage, field in system.options[option].targets:
                stages[stage][field] = value
        else:
            rules[option] = value
    try:
        changed = tuple(replace(stage, **values) for stage, values in zip(system.plan.stages, stages, strict=True))
        return replace(system.plan, stages=changed, **rules)
    except ConfigError as error:
        given = ", ".join(f"{option}={value!r}" for option, value in overrides.items())
        raise ConfigError(f"tracker {name!r} with {given}: {error}") from None


def options(name: str) -> dict[str, tuple[Any, str]]:
    """Options of a system: name -> (default, help). The default's type is the type that a value must have.

    Raises:
        ConfigError: no such system.
    """
    system = _find(name)
    table: dict[str, tuple[Any, str]] = {}
    for option, row in system.options.items():
        stage, field = row.targets[0]
        table[option] = getattr(system.plan.stages[stage], field), row.help
    for rule in fields(Plan):
        if rule.name != "stages":
            table[rule.name] = getattr(system.plan, rule.name), rule.metadata["help"]
    return table


def _find(name: str) -> System:
    if name not in SYSTEMS:
        raise ConfigError(f"no tracker named {name!r}; there are {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
