"""`--count`: lines and zones as they are typed, the output that counts there, and the totals that end a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.sinks import RunInfo
    from tracker.sinks.crossings import CrossingsSink

Points = list[tuple[float, float]]


def parse_places(count: Mapping[str, Any]) -> dict[str, Points]:
    """Points (x, y) of each place, source pixels: two of a line, three or more of a zone.

    Args:
        count: name -> `x1,y1,x2,y2,...`, or a list of these numbers, as in a TOML file.

    Raises:
        ConfigError: another number of coordinates, or something that is none.
    """
    places = {}
    for name, typed in count.items():
        try:
            numbers = [float(part) for part in (typed.split(",") if isinstance(typed, str) else typed)]
        except (TypeError, ValueError):
            numbers = []
        if not name or len(numbers) < 4 or len(numbers) % 2 or not all(map(math.isfinite, numbers)):
            raise ConfigError(
                "expected --count as NAME=x1,y1,x2,y2 (a line), or with three points or more (a zone), got "
                f"{name}={typed if isinstance(typed, str) else ','.join(map(str, numbers)) or typed}"
            )
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        if len(set(points)) < min(len(points), 3):
            raise ConfigError(f"expected different points of --count {name}, got {typed}")
        places[name] = points
    return places


def check_places(places: Mapping[str, Points], size: tuple[int, int] | None) -> None:
    """Make sure that something can happen at every place; single points may lie outside the picture.

    Raises:
        ConfigError: a place of which the picture, (width, height), shows nothing.
    """
    from tracker.sinks.crossings import touches

    for name, points in places.items():
        if size is not None and not touches(points, size):
            kind = "line" if len(points) == 2 else "zone"
            raise ConfigError(f"--count {name} is a {kind} outside the picture, which has {size[0]} x {size[1]} px")


def counts_path(output: str) -> str:
    """Where the counts of a run go that has this `--output`."""
    return "-" if output == "-" else str(Path(output) / "counts.jsonl")


def open_counts(path: str, info: RunInfo, places: Mapping[str, Points]) -> CrossingsSink:
    """The output that counts at these places."""
    from tracker.sinks.crossings import CrossingsSink

    lines = {name: (points[0], points[1]) for name, points in places.items() if len(points) == 2}
    zones = {name: points for name, points in places.items() if len(points) > 2}
    return CrossingsSink(path, info, lines=lines, zones=zones)


def totals(places: Mapping[str, Sequence[Any]], counts: Mapping[tuple[str, str], int], stream: str = "") -> list[str]:
    """A line of text for each place, in the order in which they were typed."""
    lines = []
    for name, points in places.items():
        events = ("to_left", "to_right") if len(points) == 2 else ("entered", "exited")
        told = ", ".join(f"{counts.get((name, event), 0)} {event.replace('_', ' ')}" for event in events)
        lines.append(f"count {name}{stream and f' of {stream}'}: {told}")
    return lines
