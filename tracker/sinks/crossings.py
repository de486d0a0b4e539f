"""`crossings.jsonl`: who crossed which line, and who entered or left which zone, with counts.

A track stands where the middle of its box's lower edge is. Only confirmed tracks count, so that nobody without an id of
his own is ever counted; where a track was unseen in between, its way is the straight one. A track that ends inside a
zone has not exited.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tracker.errors import ConfigError
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.sinks.textfile import TextFile, as_line
from tracker.types import Frame, Tracks

SCHEMA = "trackstream.crossings/1"
"""Name and version of the layout; the number rises when a reader would have to change."""

Point = tuple[float, float]


@dataclass(slots=True)
class _Way:
    """Of one track: where it last stood clearly on a side of each line, and the zones that it is in."""

    clear: dict[str, tuple[Point, float]] = field(default_factory=dict)  # line -> place, distance with the side's sign
    zones: set[str] = field(default_factory=set)


class CrossingsSink(Sink):
    """Counts at lines and zones; it has no row in `SINKS`, because it must be told where these are.

    The first line is the header: what `tracks.jsonl` has, with `lines` and `zones`. Each further one is an event:
    `event` ("to_right" or "to_left": a line was crossed to its right or left, seen from its first point to its second;
    "entered" or "exited": a zone, which a track that begins there has entered), `where` (name), `id`, `frame`,
    `time_s`, `class`, `class_name`, and `count`, how often that event has happened there so far; among several streams
    also `stream`.

    Attributes:
        lines: name -> both ends (x, y), source pixels.
        zones: name -> corners of a polygon.
        counts: (name, event) -> how often.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        info: RunInfo,
        *,
        lines: Mapping[str, tuple[Point, Point]] | None = None,
        zones: Mapping[str, Sequence[Point]] | None = None,
        margin_px: float = 2.0,
    ) -> None:
        """Create the file and write the header; `-` is standard output.

        Args:
            path: of the file.
            info: goes into the header.
            lines: name -> both ends (x, y), source pixels. A track crosses one where its way meets it between the ends.
            zones: name -> corners (x, y) of a polygon; its edges may cross (even-odd rule).
            margin_px: nearer to a line a track is on neither side, so that a box that trembles there counts once.

        Raises:
            ConfigError: neither lines nor zones, one without extent, a name twice, or a negative margin.
            SinkError: it cannot be created or written.
        """
        self.lines = {name: (_point(a), _point(b)) for name, (a, b) in (lines or {}).items()}
        self.zones = {name: [_point(corner) for corner in corners] for name, corners in (zones or {}).items()}
        if not self.lines and not self.zones:
            raise ConfigError("expected lines or zones, got none")
        for name in self.lines.keys() & self.zones.keys():
            raise ConfigError(f"expected lines and zones with different names, got {name!r} twice")
        for name, points in (*self.lines.items(), *self.zones.items()):
            wanted = 2 if name in self.lines else 3
            if len(set(points)) < wanted:
                raise ConfigError(f"expected {wanted} different points of {name!r} or more, got {list(points)}")
        if not 0 <= margin_px < math.inf:
            raise ConfigError(f"expected margin_px of 0 or more, got {margin_px!r}")
        self._info, self._margin = info, margin_px
        self._ways: dict[int, _Way] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self._file = TextFile(path)
        self._file.write(as_line({"schema": SCHEMA, **info.header(), "lines": self.lines, "zones": self.zones}))

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append a line for each event of the frame.

        Raises:
            SinkError: the disk is full, the pipe is closed, or another failure to write.
        """
        alive = set(tracks.ids.tolist())
        self._ways = {number: way for number, way in self._ways.items() if number in alive}
        seen = tracks.confirmed
        stream = {"stream": self._info.stream} if self._info.stream else {}
        text = ""
        for number, (x0, _, x1, y1), label in zip(
            seen.ids.tolist(), seen.boxes.tolist(), seen.labels.tolist(), strict=True
        ):
            for where, event in self._follow(self._ways.setdefault(number, _Way()), ((x0 + x1) / 2, y1)):
                self.counts[where, event] += 1
                facts = {**stream, "event": event, "where": where, "id": number, "frame": frame.index}
                facts |= {"time_s": round(frame.time_s, 6), "class": label, "class_name": self._info.class_name(label)}
                text += as_line({**facts, "count": self.counts[where, event]})
        self._file.write(text)

    def close(self) -> None:
        """Close the file; standard output stays open."""
        self._file.close()

    def _follow(self, way: _Way, place: Point) -> list[tuple[str, str]]:
        """What a track does that has come to this place: names and events."""
        events = []
        for name, (a, b) in self.lines.items():
            side = _distance(a, b, place)
            if abs(side) <= self._margin:
                continue
            last, before = way.clear.get(name, (place, side))
            way.clear[name] = place, side
            if (before > 0) != (side > 0) and _distance(last, place, a) * _distance(last, place, b) <= 0:
                events.append((name, "to_right" if side > 0 else "to_left"))
        for name, corners in self.zones.items():
            inside = _inside(corners, place)
            if inside != (name in way.zones):
                events.append((name, "entered" if inside else "exited"))
                (way.zones.add if inside else way.zones.discard)(name)
        return events


def touches(points: Sequence[Point], size: tuple[int, int]) -> bool:
    """Whether a picture of `size` (width, height) shows any of a line (two points) or a zone (more)."""
    middle = size[0] / 2, size[1] / 2
    around = zip(points, [*points[1:], points[0]], strict=True)
    return any(_meets(a, b, size) for a, b in around) or (len(points) > 2 and _inside(points, middle))


def _meets(a: Point, b: Point, size: tuple[int, int]) -> bool:
    """Whether some of the way from a to b lies in the picture: what its left and right, top and bottom leave of it."""
    begin, end = 0.0, 1.0
    for start, step, side in ((a[0], b[0] - a[0], size[0]), (a[1], b[1] - a[1], size[1])):
        if step == 0:
            if not 0 <= start <= side:
                return False
            continue
        enters, leaves = sorted((-start / step, (side - start) / step))
        begin, end = max(begin, enters), min(end, leaves)
    return begin <= end


def _point(numbers: Sequence[float]) -> Point:
    x, y = map(float, numbers)
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ConfigError(f"expected finite pixels, got {x}, {y}")
    return x, y


def _distance(a: Point, b: Point, p: Point) -> float:
    """Of p from the line through a and b, px; above 0 on its right as one goes from a to b in a picture (y down)."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    return (dx * (p[1] - a[1]) - dy * (p[0] - a[0])) / math.hypot(dx, dy)


def _inside(corners: Sequence[Point], p: Point) -> bool:
    """Even-odd rule: how many edges a ray to the right of p meets."""
    hits = 0
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        hits += (y0 > p[1]) != (y1 > p[1]) and p[0] < x0 + (p[1] - y0) * (x1 - x0) / (y1 - y0)
    return hits % 2 == 1
