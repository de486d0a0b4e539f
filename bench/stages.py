"""Every duration of every stage, for exact percentiles, and the network's part of a frame split in three.

Stage names are the pipeline's; `session` consists of `h2d` (upload), `infer` and `d2h` (download), each ended by an
explicit synchronisation. On the CPU, where nothing is uploaded, it is `infer` alone unless buffers are asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.models import Model, Prepared
from tracker.pipeline import StageClock
from tracker.types import Detections

STAGES = ("source", "preprocess", "h2d", "infer", "d2h", "decode", "associate", "sink")
"""In the order of a frame's way."""


class Times(StageClock):
    """A stage clock that keeps every duration, in ns."""

    def __init__(self) -> None:
        super().__init__()
        self.ns: dict[str, list[int]] = {}

    @contextlib.contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Measure the body as one frame's share of `stage`."""
        start = perf_counter_ns()
        yield
        self.add(stage, perf_counter_ns() - start)

    def add(self, stage: str, duration_ns: int) -> None:
        """Count a duration measured elsewhere."""
        super().add(stage, duration_ns)
        self.ns.setdefault(stage, []).append(duration_ns)

    def frames(self) -> NDArray[np.float64]:
        """Time of each frame from being asked for to being written, in ns; only where nothing overlaps."""
        return np.add(self.ns["source"], self.ns["end_to_end"], dtype=np.float64)


class Timed:
    """A model in the form that `pipeline.run` and `Streams` want, its session's three steps on a clock.

    Args:
        model: the network.
        times: where durations go.
        bound: hold the buffers on the device (`Session.bind`) and time upload, run and download apart.

    Attributes:
        session: the model's.
        tensors: of the last frame.
        calls: how often the network ran.
    """

    def __init__(self, model: Model, times: StageClock, *, bound: bool) -> None:
        self.session = model.session
        self.tensors: Any = None
        self.calls = 0
        self._model = model
        self._times = times
        self._binding = model.session.bind() if bound else None

    def preprocess(self, image: NDArray[np.uint8]) -> Prepared:
        """As the model's."""
        return self._model.preprocess(image)

    def infer(self, tensors: Any) -> dict[str, NDArray[Any]]:
        """As the model's, one thread at a time."""
        self.tensors = tensors
        self.calls += 1
        if self._binding is None:
            with self._times.time("infer"):
                return self._model.infer(tensors)
        with self._times.time("h2d"):
            self._binding.upload(tensors)
        with self._times.time("infer"):
            self._binding.execute()
        with self._times.time("d2h"):
            return self._binding.download()

    def decode(self, outputs: Any, placement: Any) -> Detections:
        """As the model's."""
        return self._model.decode(outputs, placement)


def run_bare(model: Model, tensors: Any) -> int:
    """Time of ONNX Runtime's own `session.run`, in ns: what nobody can do without."""
    raw = model.session.raw
    start = perf_counter_ns()
    raw.run(None, tensors)
    return perf_counter_ns() - start
