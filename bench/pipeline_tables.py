"""README's tables of the benchmarks of whole pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.markdown import number, table
from bench.result import Row


def stages(rows: list[Row]) -> str:
    """Percentiles of every stage in milliseconds, and how much more than the bare network a whole frame takes."""
    body = [
        [f"{row['scene']}, {row['mode']}", row["competitor"],
         *(number(row["us"][name] / 1e3) for name in ("p50", "p90", "p95", "p99", "max")), _over(row)]
        for row in rows
    ]  # fmt: skip
    return table(["ms", "", "p50", "p90", "p95", "p99", "max", "over bare session.run"], body)


def offline(rows: list[Row]) -> str:
    """Frames per second of the bare network, of the stages in turn and overlapping."""
    body = [
        [f"{row['scene']}, {row['mode']}", row["competitor"], number(row["figures"]["fps"]), _spread(row), _over(row)]
        for row in rows
    ]
    return table(["", "", "frames per second", "lowest to highest", "over bare session.run"], body)


def multi_stream(rows: list[Row]) -> str:
    """Steps of all streams together."""
    body = [
        [f"{row['scene']}, {row['mode']}", row["competitor"],
         *(number(row["us"][name] / 1e3) for name in ("p50", "p99")), number(row["figures"]["fps"]),
         number(row["figures"]["mean_batch"])]
        for row in rows
    ]  # fmt: skip
    return table(["", "streams", "step p50 ms", "step p99 ms", "frames per second, all", "mean batch"], body)


def live(rows: list[Row]) -> str:
    """Age of the results and drops."""
    body = [
        [f"{row['scene']}, {row['mode']}", *(number(row["us"][name] / 1e3) for name in ("p50", "p95", "p99", "max")),
         f"{row['figures']['dropped']:g} of {row['figures']['arrived']:g}"]
        for row in rows if row["competitor"] == "age"
    ]  # fmt: skip
    return table(["age in ms", "p50", "p95", "p99", "max", "dropped"], body)


def cold(rows: list[Row]) -> str:
    """Seconds from the start of a process to each milestone."""
    body = [
        [f"{row['scene']}, {row['mode']}", row["competitor"], number(row["us"]["p50"] / 1e6),
         number(row["us"]["max"] / 1e6)]
        for row in rows
    ]  # fmt: skip
    return table(["seconds from the start of the process", "to", "median", "most"], body)


TABLES: dict[str, Callable[[list[Row]], str]] = {
    "model": stages,
    "single-stream": stages,
    "multi-stream": multi_stream,
    "offline": offline,
    "live": live,
    "cold": cold,
}
"""Benchmark -> its table."""


def _over(row: Row) -> str:
    """Overhead in percent with the range of the paired ratios; "" for what is no whole frame."""
    ratio = row.get("times_bare")
    if ratio is None:
        return ""
    p5, p50, p95 = (_percent(ratio[name]) for name in ("p5", "p50", "p95"))
    return f"{p50} ({p5} to {p95})"


def _percent(times: float) -> str:
    return f"{100 * (times - 1):+.0f} %"


def _spread(row: Row) -> str:
    found: Iterable[float] = row.get("figures_spread", {}).get("fps", ())
    return " to ".join(number(value) for value in found)
