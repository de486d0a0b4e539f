"""The tables of README and docs/figures.md and the plots in docs/, from the JSON of benchmarks, and in no other way.

A table stands between `<!-- bench:NAME -->` and `<!-- /bench -->` on one of the pages; NAME is the benchmark.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import fast, pipeline_tables, postprocess, siammot, streets, videos
from bench.competitors import OURS, READ
from bench.markdown import number, table
from bench.plot import Line, Range, draw, draw_ranges
from bench.result import BenchError, Row, read

Result = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("results", type=Path, nargs="*", help="JSON files; by default out/bench/*.json")
    parser.add_argument("--pages", type=Path, nargs="+", default=[Path("README.md"), Path("docs", "figures.md")])
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the plots")


def execute(arguments: argparse.Namespace) -> None:
    """Put each result's table between its markers and draw its plots.

    Raises:
        BenchError: no result, a result without markers, or markers that do not close.
    """
    paths = arguments.results or sorted(Path("out", "bench").glob("*.json"))
    if not paths:
        raise BenchError("no results: run `python -m bench association` first, or name JSON files")
    texts = {page: page.read_text() for page in arguments.pages}
    for path in paths:
        found = read(path)
        texts = insert(texts, found["benchmark"], section(found))
        for name, drawn in plots(found).items():
            arguments.docs.mkdir(parents=True, exist_ok=True)
            (arguments.docs / f"bench-{name}.svg").write_text(drawn)
    for page, text in texts.items():
        page.write_text(text)


def plots(found: Result) -> dict[str, str]:
    """Name -> SVG of every plot that a result gives."""
    if found["benchmark"] == "association":
        modes = {row["mode"] for row in found["rows"]}
        return {f"association-{mode}": plot(found, mode) for mode in MODES if mode in modes}
    if found["benchmark"] in ("model", "single-stream"):
        return {found["benchmark"]: plot_stages(found)}
    return {}


MODES = {"warm": "back to back", "cold": "other work between the frames"}


def insert(texts: dict[Path, str], name: str, body: str) -> dict[Path, str]:
    """The pages with `body` between the markers of `name`, whatever stood there.

    Raises:
        BenchError: no such markers, or more than one pair.
    """
    pattern = re.compile(rf"(<!-- bench:{re.escape(name)} -->\n)(?:(?!<!-- bench:).)*?(<!-- /bench -->)", re.S)
    changed, count = {}, 0
    for page, text in texts.items():
        changed[page], found = pattern.subn(lambda match: f"{match[1]}{body}{match[2]}", text)
        count += found
    if count != 1:
        raise BenchError(f"expected one pair of <!-- bench:{name} --> and <!-- /bench -->, found {count}")
    return changed


def section(found: Result) -> str:
    """Command, tables and what they were measured on, in Markdown."""
    made = TABLES.get(found["benchmark"])
    if made is None:
        raise BenchError(f"no table for benchmark {found['benchmark']!r}; there are {', '.join(TABLES)}")
    if found["options"].get("quick"):
        raise BenchError(f"{found['command']} was only a try; measure without --quick")
    system, packages = found["system"], found["system"]["packages"]
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if name != "trackstream")
    commit = (found.get("git") or {}).get("commit", "unknown")[:10]
    dirty = " with changes" if (found.get("git") or {}).get("dirty") else ""
    load = f", load {found['load_before'][0]} before and {found['load_after'][0]} after" if found["load_before"] else ""
    cards = "".join(f", {gpu['name']}, driver {gpu['driver']}" for gpu in system.get("gpus", ()))
    machine = f"{system['cpu']}, {system['cores']} cores{cards}{load}"
    where = f"{found['time_utc'][:10]}, {machine}; Python {system['python']}, {versions}; {commit}{dirty}."
    return f"\n    {found['command']}\n\n{made(found['rows'])}\n<sub>{where}</sub>\n"


def association(rows: list[Row]) -> str:
    """For each mode one table per method that peers have too, and one for the rest: scenes down, trackers across."""
    out = []
    for mode, meaning in MODES.items():
        chosen = [row for row in rows if row["mode"] == mode]
        if chosen:
            out.append(
                f"Microseconds per update, {mode} ({meaning}): median / p99, and for peers how many times ours.\n"
            )
        rivals = {row["like"] for row in chosen if not _is_ours(row)}
        for method in dict.fromkeys(row["like"] if row["like"] in rivals else "" for row in chosen):
            group = [row for row in chosen if (row["like"] if row["like"] in rivals else "") == method]
            names = list(dict.fromkeys(row["competitor"] for row in group))
            scenes = list(dict.fromkeys((row["scene"], row["objects"]) for row in group))
            cells = {(row["scene"], row["competitor"]): _time_cell(row) for row in group}
            body = [[s, f"{n:g}", *(cells.get((s, name), "") for name in names)] for s, n in scenes]
            out.append(table(["scene", "objects", *names], body))
    return "\n".join(out)


def masks(rows: list[Row]) -> str:
    """Every way in, with its ratio to pycocotools."""
    body = [
        [row["mode"], f"{row['objects']}", row["competitor"], number(row["us"]["p50"]), number(row["us"]["p99"]),
         f"{number(row['times_faster']['p50'])}x" if "times_faster" in row else ""]
        for row in rows
    ]  # fmt: skip
    return table(["masks from", "per frame", "", "median us", "p99 us", "faster than pycocotools"], body)


def kernels(rows: list[Row]) -> str:
    """Kernels down, sizes across."""
    sizes = sorted({row["objects"] for row in rows})
    names = list(dict.fromkeys((row["mode"], row["competitor"]) for row in rows))
    cells = {(row["mode"], row["competitor"], row["objects"]): number(row["us"]["p50"]) for row in rows}
    body = [[mode, name, *(cells.get((mode, name, size), "") for size in sizes)] for mode, name in names]
    return table(["median us", "objects:", *map(str, sizes)], body)


def soak(rows: list[Row]) -> str:
    """Growth and drift of each system."""
    body = [
        [row["competitor"], f"{row['figures']['frames']:,}", f"{row['figures']['bytes_per_frame']:g}",
         number(row["block_us"]["p50"]), f"{row['figures']['drift_percent']:+g} %"]
        for row in rows
    ]  # fmt: skip
    return table(["", "frames", "bytes per frame", "us per frame", "drift"], body)


def quality(rows: list[Row]) -> str:
    """All sequences together, and HOTA of each; trackers down, once for every least score."""
    out = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        chosen = [row for row in rows if row["mode"] == mode]
        names = list(dict.fromkeys(row["competitor"] for row in chosen))
        scenes = list(dict.fromkeys(row["scene"] for row in chosen))
        cells = {(row["competitor"], row["scene"]): row["figures"] for row in chosen}
        body = [[name, *(_score(value) for value in cells[name, scenes[-1]].values())] for name in names]
        out.append(f"All sequences together, {mode}, in percent (IDSW: how often an id changed).\n")
        out.append(table(["", *chosen[0]["figures"]], body))
        body = [[name, *(_score(cells[name, scene]["HOTA"]) for scene in scenes[:-1])] for name in names]
        out.append(f"HOTA of each sequence, {mode}.\n")
        out.append(table(["", *scenes[:-1]], body))
    return "\n".join(out)


def evaluation(rows: list[Row]) -> str:
    """Time of three metrics, and how many times ours the peers take."""
    body = []
    for row in rows:
        ratio = row.get("times_ours")
        times = "" if ratio is None else " / ".join(f"{number(ratio[name])}x" for name in ("p5", "p50", "p95"))
        differs = ", ".join(f"{name} {value:+.2g}" for name, value in row.get("differs", {}).items())
        scene = f"{row['scene']}, {row['frames']:,} x {row['objects']:g}"
        scores = differs or ("equal" if "differs" in row else "")
        body.append([scene, row["mode"], row["competitor"], number(row["us"]["p50"] / 1e3), times, scores])
    return table(["sequence, frames x objects", "from", "", "median ms", "times ours, p5 / p50 / p95", "scores"], body)


TABLES: dict[str, Callable[[list[Row]], str]] = {
    "association": association,
    "masks": masks,
    "kernels": kernels,
    "postprocess": postprocess.tabulate,
    "soak": soak,
    "quality": quality,
    "evaluation": evaluation,
    "streets": streets.tabulate,
    "siammot": siammot.tabulate,
    "fast": fast.tabulate,
    "videos": videos.tabulate,
    **pipeline_tables.TABLES,
}
"""Benchmark -> its table."""


def plot(found: Result, mode: str) -> str:
    """Median time per update against the number of objects, as SVG; synthetic crowds only, ours read."""
    lines: dict[str, Line] = {}
    for row in found["rows"]:
        shown = row["competitor"].endswith(READ) or not _is_ours(row)
        if shown and row["mode"] == mode and row["scene"].startswith("crowd-"):
            line = lines.setdefault(row["competitor"], Line(row["competitor"], [], strong=_is_ours(row)))
            line.points.append((float(row["scene"].removeprefix("crowd-")), row["us"]["p50"]))
    if not lines:
        raise BenchError("no synthetic crowds in this result: there is nothing to plot; leave --sizes alone")
    title = f"Time per update, {mode}: {MODES[mode]}"
    return draw(title, "objects in the frame", "microseconds, median", list(lines.values()))


def plot_stages(found: Result) -> str:
    """Percentiles of every stage in milliseconds, as SVG."""
    ranges = [
        Range(row["competitor"], f"{row['scene']}, {row['mode']}", [row["us"][p] / 1e3 for p in ("p50", "p90", "p99")])
        for row in found["rows"]
    ]
    return draw_ranges(f"Where a frame's time goes, {found['benchmark']}", "milliseconds: p50, p90 and p99", ranges)


def _is_ours(row: Row) -> bool:
    return str(row["competitor"]).startswith(OURS)


def _time_cell(row: Row) -> str:
    times = f"{number(row['us']['p50'])} / {number(row['us']['p99'])}"
    return f"{times} ({number(row['times_ours']['p50'])}x)" if "times_ours" in row else times


def _score(value: float) -> str:
    """Percent with two digits; counts as they are."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
