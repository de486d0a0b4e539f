"""The same benchmark in several fresh processes: median of the repeats, their spread, and equal tracks or nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from bench import result
from bench.result import BenchError, Row
from bench.table import print_rows

_KEY = ("scene", "mode", "competitor")


def repeat(what: str, words: list[str], count: int, output: Path) -> None:
    """Run `python -m bench what words` `count` times, and write one result with the medians.

    Raises:
        BenchError: a run failed, or two runs gave different tracks.
    """
    bodies = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            path = Path(folder, f"{number}.json")
            done = subprocess.run(
                [sys.executable, "-m", "bench", what, *words, "--repeats", "1", "-o", str(path)],
                stdout=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            if done.returncode:
                raise BenchError(f"run {number + 1} of {count} ended with exit code {done.returncode}")
            bodies.append(result.read(path))
    rows = merge([body["rows"] for body in bodies])
    print_rows(rows)
    head = {key: value for key, value in bodies[0].items() if key not in ("rows", "notes", "load_after")}
    head["options"]["repeats"] = count
    head["command"] = result.command(what, words)
    head["load_each"] = [body["load_before"] for body in bodies]
    result.finish(head, rows, bodies[0]["notes"], output)
    print(output)


def merge(runs: list[list[Row]]) -> list[Row]:
    """Rows of several runs as one: medians of all figures, and the lowest and highest.

    The latter are `p50_spread_us` for times and `figures_spread` for other figures.

    Raises:
        BenchError: the runs have different rows or different tracks.
    """
    keys = [[tuple(row.get(name) for name in _KEY) for row in rows] for rows in runs]
    if any(other != keys[0] for other in keys[1:]):
        raise BenchError("expected every run to measure the same; a competitor came or went")
    merged = []
    for rows in zip(*runs, strict=True):
        hashes = {row.get("tracks_sha256") for row in rows}
        if len(hashes) > 1:
            raise BenchError(f"{rows[0]['competitor']} gave different tracks on {rows[0]['scene']} in two runs")
        row = dict(rows[0])
        for name in ("us", "times_ours", "times_bare", "figures"):
            if name in row:
                row[name] = {key: _median([other[name][key] for other in rows]) for key in row[name]}
        if "us" in row:
            row["p50_spread_us"] = [
                min(other["us"]["p50"] for other in rows),
                max(other["us"]["p50"] for other in rows),
            ]
        if "figures" in row:
            row["figures_spread"] = {
                key: [min(other["figures"][key] for other in rows), max(other["figures"][key] for other in rows)]
                for key, value in row["figures"].items()
                if isinstance(value, int | float)
            }
        merged.append({**row, "repeats": len(rows)})
    return merged


def _median(values: list[Any]) -> Any:
    return round(median(values), 3) if all(isinstance(value, int | float) for value in values) else values[0]
