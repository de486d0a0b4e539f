"""MLPerf's single stream: the next frame when the last one is done, from the source to a written line; read the p90.

After every frame ONNX Runtime's own `session.run` takes its turn on the same inputs; that time is in no other figure.
"""

from __future__ import annotations

import argparse

import numpy as np

from bench.result import Row, ratios, summary
from bench.stages import Timed, Times, run_bare
from bench.workload import Case, add_flags, cases, play, warm_up
from tracker.types import Frame, Tracks

REPEATS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    add_flags(parser, frames=300)


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure every network on every source."""
    rows = [row for case in cases(arguments) for row in measure(case)]
    return rows, ["`frame` is asked for -> written; its ratio is to the bare run after the same frame"]


def measure(case: Case) -> list[Row]:
    """One network on one source, nothing overlapping."""
    warmed = warm_up(case)
    times = Times()
    network = Timed(case.model, times, bound=case.bound)
    bare: list[int] = []

    def compare(frame: Frame, tracks: Tracks) -> None:
        bare.append(run_bare(network.session, network.given))

    with case.measured() as sampler:
        _, digest = play(
            case, network, frames=case.arguments.frames, overlap=False, times=times, on_frame=compare
        )  # fmt: skip
    frames = times.frames()
    figures = {
        "fps": round(1e9 / float(np.median(frames)), 2),
        "overhead_percent": round(100 * float(np.median(frames / bare) - 1), 1),
        "warmup_frames": warmed,
        **sampler.figures(),
    }
    return [
        *case.stage_rows(times),
        case.row("bare session.run", summary(bare)),
        case.row(
            "frame", summary(frames), times_bare=ratios(np.array(bare, np.float64), frames), figures=figures,
            objects=digest.objects, tracks_sha256=digest.sha256,
        ),
    ]  # fmt: skip
