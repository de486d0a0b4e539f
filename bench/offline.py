"""MLPerf's offline: all frames of a file as fast as they go, stages in turn and overlapping, beside the bare network.

Rounds: bare `session.run` as often as there are frames, a pass with the stages in turn, a pass with them overlapping,
in changing order. A time is a whole pass over its number of frames; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import cycle, islice

import numpy as np

from bench.accelerator import Sampler, nvml
from bench.result import BenchError, Row, ratios, summary
from bench.stages import Timed, Times, run_bare
from bench.timing import quiet_collector
from bench.workload import Case, add_flags, cases, play, warm_up

REPEATS = 5
_TENSORS = 8  # different ones for the bare network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    add_flags(parser, frames=100)
    parser.add_argument("--rounds", type=int, default=3, help="bare, in turn and overlapping count as one")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure every network on every source."""
    rows = [row for case in cases(arguments) for row in measure(case)]
    return rows, ["the time of a frame is that of a whole pass, from the first frame asked for, over its frames"]


def measure(case: Case) -> list[Row]:
    """One network on one source."""
    count = case.arguments.frames
    warmed = warm_up(case)
    tensors = [case.model.preprocess(image).tensors for image in case.images(min(count, _TENSORS))]
    hashes: dict[str, str] = {}
    objects: dict[str, float] = {}

    def bare() -> float:
        return float(sum(run_bare(case.model, given) for given in islice(cycle(tensors), count)))

    def played(name: str, *, overlap: bool) -> Callable[[], float]:
        def once() -> float:
            network = Timed(case.model, Times(), bound=case.bound)
            report, digest = play(case, network, frames=count, overlap=overlap)
            hashes[name], objects[name] = digest.sha256, digest.objects
            if len(set(hashes.values())) > 1:
                raise BenchError(f"{case.name} gave different tracks on {case.scene} with and without overlap")
            return report.wall_s * 1e9

        return once

    lanes = {
        "bare session.run": bare,
        "in turn": played("in turn", overlap=False),
        "overlap": played("overlap", overlap=True),
    }
    names = list(lanes)
    spent: dict[str, list[float]] = {name: [] for name in lanes}
    with quiet_collector(), Sampler(nvml() if case.bound else None) as sampler:
        for number in range(case.arguments.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                spent[name].append(lanes[name]() / count)
    rows = []
    for name, times in spent.items():
        figures = {"fps": round(1e9 / float(np.median(times)), 2)}
        if name not in hashes:
            rows.append(case.row(name, summary(times), figures=figures))
            continue
        ratio = np.array(times) / np.array(spent["bare session.run"])
        figures |= {"overhead_percent": round(100 * float(np.median(ratio) - 1), 1), "warmup_frames": warmed}
        rows.append(
            case.row(
                name, summary(times), figures=figures | sampler.figures(), objects=objects[name],
                times_bare=ratios(np.array(spent["bare session.run"]), np.array(times)), tracks_sha256=hashes[name],
            )
        )  # fmt: skip
    return rows
