"""From the start of `tracker run` to its first track: with every cache empty, and with what an earlier start left.

`first-ever` compiles all kernels (and TensorRT its engines) into an empty folder; `cached` starts again with that
folder. The clock begins before the process is started. `opened` is the header of its JSON lines: source, network and
outputs are open and everything is compiled; `first track` is the first line with a confirmed track.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter_ns

from bench.flags import at_least_one
from bench.result import BenchError, Row, summary
from bench.workload import add_flags, scene_name, settle

MODES = ("first-ever", "cached")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    add_flags(parser, frames=300)
    parser.add_argument(
        "--starts", type=at_least_one, default=5, help="starts with warm caches; with empty ones a third of it"
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Start fresh processes for every network on every source."""
    settle(arguments)
    rows = [
        row for model in arguments.model for address in arguments.source for row in measure(arguments, model, address)
    ]
    notes = ["the program's and the network's files are in the operating system's cache"]
    if "first-ever" not in arguments.modes:
        notes.append("cached: the caches of this user, after one start that is not counted")
    return rows, notes


def measure(arguments: argparse.Namespace, model: str, address: str) -> list[Row]:
    """The modes of one network on one source."""
    rows = []
    with tempfile.TemporaryDirectory() as root:
        caches = None
        for mode in sorted(arguments.modes, key=MODES.index):
            marks = []
            if mode == "first-ever":
                for k in range(max(1, arguments.starts // 3)):
                    caches = Path(root, str(k))
                    marks.append(start(arguments, model, address, caches))
            else:
                if caches is None:
                    start(arguments, model, address, None)
                marks = [start(arguments, model, address, caches) for _ in range(arguments.starts)]
            place = {"scene": scene_name(address), "mode": f"{Path(model).stem}, {mode}"}
            rows += [{**place, "competitor": name, "us": summary([m[name] for m in marks])} for name in marks[0]]
    return rows


def start(arguments: argparse.Namespace, model: str, address: str, caches: Path | None) -> dict[str, int]:
    """Milestones of one process, in ns since its start was asked for; it is killed at the last one.

    Args:
        arguments: device, threads, tracker and the most frames to wait for.
        model: ONNX file.
        address: of the source.
        caches: folder for everything that is kept between starts; None for the user's own.

    Raises:
        BenchError: no track came; the child's last line says why.
    """
    words = [
        sys.executable, "-m", "tracker", "run", address, "--model", model, "--tracker", arguments.tracker,
        "--device", arguments.device, "--max-frames", str(arguments.frames), "-o", "-",
    ]  # fmt: skip
    if arguments.threads:
        words += ["--threads", str(arguments.threads)]
    environment = dict(os.environ)
    if caches is not None:
        environment.pop("NUMBA_CACHE_DIR", None)
        environment["XDG_CACHE_HOME"] = str(caches)
    marks: dict[str, int] = {}
    with tempfile.TemporaryFile("w+") as told:
        begin = perf_counter_ns()
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=told, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                body = json.loads(line)
                marks.setdefault("opened", perf_counter_ns() - begin)
                if any(track["state"] == "confirmed" for track in body.get("tracks", ())):
                    marks["first track"] = perf_counter_ns() - begin
                    break
            child.kill()
        if "first track" not in marks:
            told.seek(0)
            reason = (told.read().strip().splitlines() or ["no message"])[-1]
            raise BenchError(f"no track in {arguments.frames} frames of a fresh process: {reason}")
    return marks
