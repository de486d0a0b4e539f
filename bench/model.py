"""A network's three steps, frame by frame, beside ONNX Runtime's own `session.run` on the same inputs.

No tracker, no source, no output: images are decoded beforehand. After every frame the bare run takes its turn.
"""

from __future__ import annotations

import argparse
import hashlib
from itertools import cycle, islice
from time import perf_counter_ns

import numpy as np

from bench.result import BenchError, Row, ratios, summary
from bench.stages import Timed, Times, run_bare
from bench.workload import Case, add_flags, cases, warm_up

REPEATS = 5
_IMAGES = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    add_flags(parser, frames=300)


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure every network on every source."""
    rows = [row for case in cases(arguments) for row in measure(case)]
    return rows, ["`call` is preprocess, the network and decode; its ratio is to the bare run after the same frame"]


def measure(case: Case) -> list[Row]:
    """One network on the images of one source."""
    count = case.arguments.frames
    images = case.images(min(count, _IMAGES))
    if not images:
        raise BenchError(f"expected frames in {case.scene}, got none")
    warmed = warm_up(case)
    times, calls, bare = Times(), [], []
    network = Timed(case.model, times, bound=case.bound)
    digest, objects = hashlib.sha256(), 0
    with case.measured() as sampler:
        for image in islice(cycle(images), count):
            start = perf_counter_ns()
            with times.time("preprocess"):
                tensors, placement = network.preprocess(image)
            outputs = network.infer(tensors)
            with times.time("decode"):
                detections = network.decode(outputs, placement)
            calls.append(perf_counter_ns() - start)
            bare.append(run_bare(network.session, network.given))
            objects += len(detections)
            digest.update(np.round(detections.boxes.astype(np.float64), 2).tobytes() + detections.labels.tobytes())
    figures = {"warmup_frames": warmed, **sampler.figures()}
    times_bare = ratios(np.array(bare, np.float64), np.array(calls, np.float64))
    return [
        *case.stage_rows(times),
        case.row("bare session.run", summary(bare)),
        case.row(
            "call", summary(calls), times_bare=times_bare, figures=figures, objects=round(objects / count, 1),
            tracks_sha256=digest.hexdigest(),
        ),
    ]  # fmt: skip
