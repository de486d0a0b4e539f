"""MLPerf's offline: all frames of a file as fast as they go, stages in turn and overlapping, beside the bare network.

Rounds: bare `session.run` as often as there are frames, a pass with the stages in turn, a pass with them overlapping, a
pass of each peer (`bench.loops`), in changing order. A time is a whole pass over its number of frames; ratios are taken
within a round.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import cycle, islice

import numpy as np

from bench.flags import at_least_one
from bench.loops import LOOPS, Loop, open_loops
from bench.result import BenchError, Row, ratios, summary
from bench.stages import Timed, Times, run_bare
from bench.workload import Case, add_flags, cases, play, warm_up

REPEATS = 5
_INPUTS = 8  # different ones for the bare network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    add_flags(parser, frames=100)
    parser.add_argument("--rounds", type=at_least_one, default=3, help="bare, in turn and overlapping count as one")
    parser.add_argument(
        "--peers", nargs="*", default=list(LOOPS), help="packages with a loop of their own; none: ours only"
    )


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure every network on every source."""
    rows, notes = [], ["the time of a frame is that of a whole pass, from the first frame asked for, over its frames"]
    for case in cases(arguments):
        with open_loops(case, arguments.peers) as (loops, absent):
            rows += measure(case, loops)
        notes += [note for note in absent if note not in notes]
    return rows, notes


def measure(case: Case, loops: Sequence[Loop] = ()) -> list[Row]:
    """One network on one source, and whole pipelines of others beside it."""
    count = case.arguments.frames
    warmed = warm_up(case)
    inputs = case.inputs(min(count, _INPUTS))
    hashes: dict[str, str] = {}
    objects: dict[str, float] = {}

    def bare() -> float:
        return float(sum(run_bare(case.model.session, given) for given in islice(cycle(inputs), count)))

    def played(name: str, *, overlap: bool) -> Callable[[], float]:
        def once() -> float:
            network = Timed(case.model, Times(), bound=case.bound)
            report, digest = play(case, network, frames=count, overlap=overlap)
            hashes[name], objects[name] = digest.sha256, digest.objects
            if len(set(hashes.values())) > 1:
                raise BenchError(f"{case.name} gave different tracks on {case.scene} with and without overlap")
            return report.wall_s * 1e9

        return once

    lanes: dict[str, Callable[[], float]] = {
        "bare session.run": bare,
        "in turn": played("in turn", overlap=False),
        "overlap": played("overlap", overlap=True),
        **{loop.name: loop for loop in loops},
    }
    names = list(lanes)
    spent: dict[str, list[float]] = {name: [] for name in lanes}
    with case.measured() as sampler:
        for number in range(case.arguments.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                spent[name].append(lanes[name]() / count)
    objects |= {loop.name: loop.objects for loop in loops}
    rows = []
    for name, times in spent.items():
        figures = {"fps": round(1e9 / float(np.median(times)), 2)}
        if name == "bare session.run":
            rows.append(case.row(name, summary(times), figures=figures))
            continue
        ratio = np.array(times) / np.array(spent["bare session.run"])
        figures |= {"overhead_percent": round(100 * float(np.median(ratio) - 1), 1), "warmup_frames": warmed}
        rows.append(
            case.row(
                name, summary(times), figures=figures | sampler.figures(), objects=objects[name],
                times_bare=ratios(np.array(spent["bare session.run"]), np.array(times)),
                **({"tracks_sha256": hashes[name]} if name in hashes else {}),
            )
        )  # fmt: skip
    return rows
