"""Rows of a result as text for the terminal."""

from __future__ import annotations

from bench.result import Row

TOLD = {"fps": "fps", "mean_batch": "in a batch", "dropped": "dropped"}
"""Figures of a pipeline that belong beside its times, and how they are called."""


def print_rows(rows: list[Row]) -> None:
    """One line per row: where, who, percentiles and how many times ours."""
    width = max((len(str(row["competitor"])) for row in rows), default=0)
    for row in rows:
        where = " ".join(str(row[key]) for key in ("scene", "mode") if key in row)
        if "us" in row:
            us = row["us"]
            figures = f"p50 {us['p50']:10.1f}  p90 {us['p90']:10.1f}  p99 {us['p99']:10.1f} us"
        else:
            figures = "  ".join(f"{key} {value}" for key, value in row.get("figures", {}).items())
        times = ""
        for key, meaning in (
            ("times_ours", "x ours"), ("times_faster", "x faster than pycocotools"), ("times_bare", "x bare"),
        ):  # fmt: skip
            if key in row:
                ratio = row[key]
                times = f"  {ratio['p50']:.2f}{meaning} ({ratio['p5']:.2f} to {ratio['p95']:.2f})"
        if "us" in row:
            found = row.get("figures", {})
            times += "".join(f"  {found[key]:g} {meaning}" for key, meaning in TOLD.items() if key in found)
        print(f"{where:24} {row['competitor']:{width}}  {figures}{times}")
