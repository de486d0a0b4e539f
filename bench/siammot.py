"""SiamMOT's graphs, one by one and a whole frame, with different numbers of targets.

Targets are places all over the picture, of all sizes; what the network makes of them does not matter for the time, so
any weights do. Feature maps and templates stay on the device, as in a run; times include what crosses the bus.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import monotonic, perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.accelerator import check_placement, describe
from bench.flags import at_least_one
from bench.markdown import number, table
from bench.result import BenchError, Row, summary
from bench.timing import quiet_collector
from tracker.models import DEVICES, SessionConfig, open_model
from tracker.models.siammot import Memory, SiamMot
from tracker.models.siammot.graphs import SiamMotGraphs

_SIDES = (20.0, 60.0, 150.0, 280.0)  # of targets, network pixels: most levels of the pyramid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--model", type=Path, required=True, help="folder of `python -m exporters siammot`")
    parser.add_argument("--targets", type=int, nargs="+", default=[10, 50, 100])
    parser.add_argument("--rounds", type=at_least_one, default=20, help="calls of each graph that are measured")
    parser.add_argument("--seconds", type=float, default=30.0, help="most time for the rounds of one graph")
    parser.add_argument("--device", default="cpu", choices=list(DEVICES))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for one per core")
    parser.add_argument("--allow-cpu-nodes", action="store_true", help="give GPU figures though nodes fell to the CPU")
    parser.add_argument("--quick", action="store_true", help="two rounds: to try the command, not for figures")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure every stage for every number of targets."""
    config = SessionConfig(arguments.device, threads=arguments.threads)
    model = open_model(arguments.model, "siammot", session=config, min_score=0.0)
    if not isinstance(model, SiamMotGraphs):
        raise BenchError(f"expected SiamMOT's graphs, got {model.family}")
    for session in model.sessions.values():
        check_placement(session, allowed=arguments.allow_cpu_nodes)
    facts = describe(model.session, config)
    rounds, scene = min(arguments.rounds, 2) if arguments.quick else arguments.rounds, "x".join(map(str, model.size))
    rows: list[Row] = []
    for count in arguments.targets:
        for stage, times in measure(model, count, rounds, arguments.seconds).items():
            place = {"scene": scene, "mode": model.head, "competitor": f"{stage} {count}"}
            rows.append({**place, "objects": count, "us": summary(times), "model": facts})
    return rows, ["boxes takes the proposals together with the targets; frame is all stages, every target seen"]


def measure(model: SiamMotGraphs, count: int, rounds: int, seconds: float) -> dict[str, list[int]]:
    """Stage -> nanoseconds of every round."""
    rng = np.random.default_rng(count)
    image = rng.integers(0, 256, (model.size[1], model.size[0], 3), np.uint8)
    targets, ids = _targets(count, model.size, rng), np.arange(1, count + 1)
    outputs = model.infer(model.preprocess(image).tensors)
    none = np.zeros(0, np.int64)
    held = model.remember(outputs, targets, model.no_templates, none)
    both = np.concatenate([model.propose(outputs), targets])
    stream = SiamMot(model)
    first, still = np.zeros(count, np.int64), np.zeros((count, 2), np.float32)
    stream.memory = Memory(ids, targets, first, held, speeds=still, steps=first, unseen_s=still[:, 0])

    def frame() -> None:
        tensors, placement = model.preprocess(image)
        now = model.infer(tensors)
        stream.look(now, placement)
        model.remember(now, targets, held, none)

    prepared = model.preprocess(image).tensors
    stages: dict[str, Callable[[], Any]] = {
        "preprocess": lambda: model.preprocess(image),
        "trunk": lambda: model.infer(prepared),
        "proposals": lambda: model.propose(outputs),
        "motion": lambda: model.move(outputs, targets, held),
        "boxes": lambda: model.refine(outputs, both),
        "template": lambda: model.remember(outputs, targets, held, none),
        "frame": frame,
    }
    return {name: time_call(call, rounds, seconds) for name, call in stages.items()}


def tabulate(rows: list[Row]) -> str:
    """Targets down, stages across."""
    cells = {tuple(row["competitor"].rsplit(" ", 1)): number(row["us"]["p50"] / 1e3) for row in rows}
    stages, counts = (list(dict.fromkeys(key[part] for key in cells)) for part in (0, 1))
    size = rows[0]["scene"]
    body = [[count, *(cells[stage, count] for stage in stages)] for count in counts]
    return f"Median milliseconds at {size}.\n\n" + table(["targets", *stages], body)


def time_call(call: Callable[[], Any], rounds: int, seconds: float) -> list[int]:
    """Nanoseconds of each call but the first; after two of them no new one begins once `seconds` are over."""
    call()
    times: list[int] = []
    end = monotonic() + seconds
    with quiet_collector():
        while len(times) < rounds and (len(times) < 2 or monotonic() < end):
            start = perf_counter_ns()
            call()
            times.append(perf_counter_ns() - start)
    return times


def _targets(count: int, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """(count, 4) boxes of all sizes, their middles in the picture."""
    sides = np.array([_SIDES[i % len(_SIDES)] for i in range(count)])[:, None] * rng.uniform(0.8, 1.2, (count, 2))
    middles = rng.uniform(0.0, 1.0, (count, 2)) * size
    return np.concatenate([middles - sides / 2, middles + sides / 2], 1).astype(np.float32)
