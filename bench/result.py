"""One JSON file per run: what was measured, on what machine, with what. `bench/README.md` describes the schema."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEMA = "trackstream.bench/1"

PACKAGES = (
    "trackstream", "numpy", "numba", "lap", "lapx", "scipy", "filterpy", "pycocotools", "edgefirst-tracker", "trackers",
    "similari-trackers-rs", "supervision", "norfair", "boxmot", "ultralytics", "torch", "trackeval", "motrics",
    "onnxruntime-gpu", "onnxruntime", "opencv-python", "av",
)  # fmt: skip
"""Packages whose versions a result names; absent ones are left out."""

_OUTPUT = ("-o", "--output")

Row = dict[str, Any]


class BenchError(Exception):
    """A benchmark that cannot give an honest figure; the message is one line."""


def summary(nanoseconds: Iterable[float] | NDArray[Any]) -> dict[str, float]:
    """Count, percentiles, maximum and mean of some times, in microseconds."""
    us = np.asarray(list(nanoseconds), np.float64) / 1e3
    p50, p90, p95, p99 = np.percentile(us, [50, 90, 95, 99])
    figures = {"p50": p50, "p90": p90, "p95": p95, "p99": p99, "max": us.max(), "mean": us.mean()}
    return {"n": len(us), **{name: round(float(value), 3) for name, value in figures.items()}}


def ratios(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, float]:
    """How many times slower `theirs` is, from pairs that were measured side by side: p5, p50, p95."""
    p5, p50, p95 = np.percentile(np.asarray(theirs) / np.asarray(ours), [5, 50, 95])
    return {"p5": round(float(p5), 2), "p50": round(float(p50), 2), "p95": round(float(p95), 2)}


def begin(what: str, words: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """The head of a result, from what was typed and what it came to; call it before measuring: it notes the load."""
    return {
        "schema": SCHEMA,
        "benchmark": what,
        "command": command(what, words),
        "options": {name: _plain(value) for name, value in options.items()},
        "time_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git": revision(),
        "system": system(),
        "load_before": load(),
        "gc": "automatic, inputs frozen (gc.collect and gc.freeze before the timed frames)",
    }


def command(what: str, words: list[str]) -> str:
    """What was typed, without `-o` and with the last part of every path: no machine's folders get out."""
    kept = [word for at, word in enumerate(words) if word not in _OUTPUT and (at == 0 or words[at - 1] not in _OUTPUT)]
    return " ".join(["python -m bench", what, *map(_last_part, kept)])


def finish(head: dict[str, Any], rows: list[Row], notes: list[str], path: Path) -> None:
    """Complete a result and write it."""
    body = {**head, "load_after": load(), "notes": notes, "rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=1) + "\n")


def read(path: Path) -> dict[str, Any]:
    """A result that `finish` wrote.

    Raises:
        BenchError: another schema, or no JSON.
    """
    try:
        body = json.loads(path.read_text())
    except ValueError as error:
        raise BenchError(f"expected a result of `python -m bench` in {path.name}: {error}") from None
    found = body.get("schema") if isinstance(body, dict) else None
    if found != SCHEMA:
        raise BenchError(f"expected schema {SCHEMA} in {path.name}, got {found}; run the benchmark again")
    return body


def system() -> dict[str, Any]:
    """What the figures depend on. Neither host names nor paths."""
    from bench import accelerator

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "os": platform.system(),
        "python": platform.python_version(),
        "packages": versions,
        "gpus": accelerator.gpus(),
        "gpu_libraries": accelerator.libraries(),
    }


def load() -> list[float] | None:
    """Load averages over 1, 5 and 15 minutes; None where there are none."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def revision() -> dict[str, Any] | None:
    """Commit of the checkout and whether it was changed; None outside of one."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(here, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _plain(value: Any) -> Any:
    """An option as JSON, with its paths as in `command`."""
    if isinstance(value, str | Path):
        return _last_part(str(value))
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _last_part(word: str) -> str:
    """Of a path or an address what comes after its folders; any other word as it is."""
    return word.rstrip("/").rpartition("/")[2]
