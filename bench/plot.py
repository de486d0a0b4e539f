"""Plots on logarithmic axes, as SVG text that reads well on light and on dark pages: lines, and ranges in rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 800, 460
LEFT, RIGHT, TOP, BOTTOM = 74, 250, 46, 54
COLOURS = ("#2f7ed8", "#d9822b", "#2a9d62", "#c0508f", "#8a6fd1", "#b8a11e", "#d1495b", "#4aa7b5", "#8d8d8d")
"""Of middle brightness, to stand out from white as well as from black; lines after the last one are dashed."""

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #3b424a }
  .title { font-size: 15px; font-weight: 600 } .tick { font-size: 12px } .strong { font-weight: 600 }
  .grid { stroke: #8b949e; stroke-opacity: 0.25 } .line { fill: none; stroke-linejoin: round }
  @media (prefers-color-scheme: dark) { text { fill: #c9d1d9 } }
"""


@dataclass
class Line:
    """One line: its name, its (x, y) points, and whether it is drawn strong."""

    name: str
    points: list[tuple[float, float]]
    strong: bool = False


@dataclass
class Range:
    """One row of a plot of ranges: what it is, whose it is, and its values, least first. All must be above 0."""

    row: str
    owner: str
    values: list[float]


def draw(title: str, x_title: str, y_title: str, lines: list[Line]) -> str:
    """SVG of some lines, with their names where they end. All numbers must be above 0."""
    xs = sorted({x for line in lines for x, _ in line.points})
    ys = [y for line in lines for _, y in line.points]
    axis_x = _Axis(math.log10(xs[0]), math.log10(xs[-1]) or 1.0, LEFT, WIDTH - RIGHT)
    axis_y = _Axis(*_limits(ys), HEIGHT - BOTTOM, TOP)
    parts = _head(title, LEFT, HEIGHT)
    for power in axis_y.decades():
        y = axis_y.at(10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_label(10.0**power)}</text>'
        )
    for x in xs:
        at = axis_x.at(x)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_label(x)}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_title)}</text>')
    half = (TOP + HEIGHT - BOTTOM) / 2
    turn = f'transform="rotate(-90 18 {half:.0f})"'
    parts.append(f'<text x="18" y="{half:.0f}" text-anchor="middle" {turn}>{escape(y_title)}</text>')
    places = _spread([axis_y.at(max(line.points)[1]) for line in lines])
    drawn = [
        _draw_line(line, COLOURS[k % len(COLOURS)], axis_x, axis_y, place, dashed=k >= len(COLOURS))
        for k, (line, place) in enumerate(zip(lines, places, strict=True))
    ]
    for k in sorted(range(len(lines)), key=lambda k: lines[k].strong):  # strong ones lie on top
        parts += drawn[k]
    return "\n".join([*parts, "</svg>\n"])


def draw_ranges(title: str, x_title: str, ranges: list[Range]) -> str:
    """SVG of ranges: a line from the least value to the greatest and a point at each; an owner has one colour."""
    rows, owners = list(dict.fromkeys(r.row for r in ranges)), list(dict.fromkeys(r.owner for r in ranges))
    step, left, right = 13, 150, 30
    block = step * len(owners) + 8
    bottom = TOP + block * len(rows)
    height = bottom + 54 + 18 * len(owners)
    axis = _Axis(*_limits([value for r in ranges for value in r.values]), left, WIDTH - right)
    parts = _head(title, left, height)
    for power in axis.decades():
        x = axis.at(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{_label(10.0**power)}</text>'
        )
    for number, row in enumerate(rows):
        y = TOP + block * (number + 0.5) + 4
        parts.append(f'<text x="{left - 10}" y="{y:.1f}" text-anchor="end">{escape(row)}</text>')
    for r in ranges:
        place = owners.index(r.owner)
        y = TOP + block * rows.index(r.row) + 4 + step * (place + 0.5)
        colour, xs = COLOURS[place % len(COLOURS)], [axis.at(value) for value in r.values]
        parts.append(
            f'<line x1="{xs[0]:.1f}" x2="{xs[-1]:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="2"/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x in xs]
    middle = (left + WIDTH - right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{bottom + 38}" text-anchor="middle">{escape(x_title)}</text>')
    for place, owner in enumerate(owners):
        y = bottom + 60 + 18 * place
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f'<text x="{left}" y="{y}" style="fill:{colour}">{escape(owner)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _head(title: str, left: int, height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{left}" y="24">{escape(title)}</text>',
    ]


@dataclass(frozen=True)
class _Axis:
    """Maps powers of ten from `low` to `high` to pixels."""

    low: float
    high: float
    first: float
    last: float

    def decades(self) -> range:
        """Powers of ten on the axis."""
        return range(math.ceil(self.low), math.floor(self.high) + 1)

    def at(self, value: float) -> float:
        """Pixel of a value."""
        span = (self.high - self.low) or 1.0
        return self.first + (math.log10(value) - self.low) / span * (self.last - self.first)


def _draw_line(line: Line, colour: str, axis_x: _Axis, axis_y: _Axis, place: float, *, dashed: bool) -> list[str]:
    """The line, its points and its name at height `place`, tied to the line's end."""
    points = [(axis_x.at(x), axis_y.at(y)) for x, y in sorted(line.points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    width, radius, style = (3, 4, "strong") if line.strong else (1.75, 3, "")
    end_x, end_y = points[-1]
    edge, dashes = WIDTH - RIGHT, ' stroke-dasharray="7 4"' if dashed else ""
    return [
        f'<polyline class="line" points="{path}" stroke="{colour}" stroke-width="{width}"{dashes}/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>' for x, y in points),
        f'<polyline class="line" points="{end_x + 6:.1f},{end_y:.1f} {edge + 14},{place:.1f}" stroke="{colour}" '
        'stroke-opacity="0.5" stroke-dasharray="2 3"/>',
        f'<text class="{style}" x="{edge + 18}" y="{place + 4:.1f}" style="fill:{colour}">{escape(line.name)}</text>',
    ]


def _spread(places: list[float], gap: float = 17.0) -> list[float]:
    """Heights of the names, near where they belong but `gap` apart."""
    order = sorted(range(len(places)), key=lambda k: places[k])
    out = list(places)
    floor = float(TOP)
    for k in order:
        out[k] = floor = max(out[k], floor)
        floor += gap
    ceiling = float(HEIGHT - BOTTOM)
    for k in reversed(order):
        out[k] = ceiling = min(out[k], ceiling)
        ceiling -= gap
    return out


def _limits(values: list[float]) -> tuple[float, float]:
    """Exponents of the nearest 1, 2 or 5 times a power of ten below and above all values, a decade apart at least."""
    steps = [math.log10(step) for step in (1, 2, 5)]
    marks = [power + step for power in range(-12, 13) for step in steps]
    low = max(mark for mark in marks if mark <= math.log10(min(values)) + 1e-9)
    high = min(mark for mark in marks if mark >= math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
