"""SYSTEMS: each published system, and our own, as one row of data, and trackers made from it by name.

A row's options are the names that the command line and TOML files use. Every number of the plan's life cycle is one
(`max_coast_frames`, `birth_score`, ...); a row adds names for what its stages mean (`match_iou`, `low_score`, ...) and
may have presets. Defaults stand in the plan, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from tracker.association import Plan, Tracker
from tracker.association.events import Event
from tracker.errors import ConfigError
from tracker.systems.boxes import BOTSORT, BOTSORT_PLUS, BYTETRACK, OCSORT, SORT, STEADY
from tracker.systems.segments import (
    MOTION_DEEPLAB,
    MOTSNET,
    SIAMMOT,
    SIAMMOT_EMM,
    SIAMMOT_FLOW,
    SIAMMOT_IMM,
    SIAMMOT_LAST,
    SIAMMOT_PLUS,
    STEP_B1,
    STEP_B2,
    STEP_B3,
    TRACK_RCNN,
    TRACK_RCNN_CENTRE,
    TRACK_RCNN_MASK,
    VPSNET,
)
from tracker.systems.system import Option, System

__all__ = ["SYSTEMS", "Option", "System", "create", "options", "plan"]

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        SORT, BYTETRACK, OCSORT, BOTSORT, BOTSORT_PLUS, STEADY, STEP_B1, STEP_B2, STEP_B3, MOTION_DEEPLAB, MOTSNET,
        TRACK_RCNN, TRACK_RCNN_CENTRE, TRACK_RCNN_MASK, VPSNET, SIAMMOT, SIAMMOT_EMM, SIAMMOT_IMM, SIAMMOT_LAST,
        SIAMMOT_FLOW, SIAMMOT_PLUS,
    )
}  # fmt: skip


def create(
    name: str,
    *,
    frame_rate: float = 30.0,
    class_names: Sequence[str] | Mapping[int, str] = (),
    on_event: Callable[[Event], object] | None = None,
    explain: bool = False,
    **overrides: Any,
) -> Tracker:
    """Make a fresh tracker of a published system.

    Args:
        name: key of `SYSTEMS`.
        frame_rate: nominal frames per second of the stream.
        class_names: the model's, or a mapping of its numbers to names, for systems with rules for classes.
        on_event: see `Tracker`.
        explain: see `Tracker`.
        overrides: options of this system, by the names that `options(name)` lists.

    Raises:
        ConfigError: no such system or option, or a value that makes no sense.
    """
    return Tracker(plan(name, **overrides), frame_rate, class_names, on_event=on_event, explain=explain)


def plan(name: str, **overrides: Any) -> Plan:
    """Plan of a published system with some options changed; arguments and errors as `create`."""
    system = _find(name)
    known = options(name)
    unknown = [option for option in overrides if option not in known]
    if unknown:
        raise ConfigError(f"tracker {name!r} has no option {unknown[0]!r}; it has {', '.join(known)}")
    base = _preset(system, overrides.pop("preset", None))
    stages: list[dict[str, Any]] = [{} for _ in base.stages]
    rules: dict[str, Any] = {}
    for option, given in overrides.items():
        value = given.item() if isinstance(given, np.generic) else given  # of a sweep over np.arange
        if option in system.options:
            for stage, field in system.options[option].targets:
                stages[stage][field] = value
        else:
            rules[option] = value
    try:
        changed = tuple(replace(stage, **values) for stage, values in zip(base.stages, stages, strict=True))
        return replace(base, stages=changed, **rules)
    except ConfigError as error:
        typed = ", ".join(f"{option}={value!r}" for option, value in overrides.items())
        raise ConfigError(f"tracker {name!r} with {typed}: {error}") from None


def options(name: str) -> dict[str, tuple[Any, str]]:
    """Options of a system: name -> (default, help). The default's type is the type that a value must have.

    Raises:
        ConfigError: no such system.
    """
    system = _find(name)
    table: dict[str, tuple[Any, str]] = {}
    if system.presets:
        table["preset"] = next(iter(system.presets)), f"numbers for a data set: {', '.join(system.presets)}"
    for option, row in system.options.items():
        stage, field = row.targets[0]
        table[option] = getattr(system.plan.stages[stage], field), row.help
    for rule in fields(Plan):
        if "help" in rule.metadata and rule.metadata["needs"] <= system.plan.needs:
            table[rule.name] = getattr(system.plan, rule.name), rule.metadata["help"]
    return table


def _preset(system: System, name: str | None) -> Plan:
    if name is None:
        return system.plan
    if name not in system.presets:
        raise ConfigError(f"tracker {system.name!r} has no preset {name!r}; there are {', '.join(system.presets)}")
    return replace(system.plan, **system.presets[name])


def _find(name: str) -> System:
    if name not in SYSTEMS:
        raise ConfigError(f"no tracker named {name!r}; there are {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
