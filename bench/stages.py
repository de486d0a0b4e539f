"""Every duration of every stage, for exact percentiles, and the network's part of a frame split in three.

Stage names are the pipeline's; `session` consists of `h2d` (upload), `infer` and `d2h` (download), each ended by an
explicit synchronisation, and `keep` where a network needs earlier frames. On the CPU, where nothing is uploaded,
the first three are `infer` alone unless buffers are asked for.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.models import Model, Prepared, Session
from tracker.models.geometry import Placement
from tracker.pipeline import StageClock
from tracker.types import Detections

STAGES = ("source", "preprocess", "h2d", "infer", "d2h", "keep", "decode", "associate", "sink")
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

    It has seen nothing yet, whatever the model has, and so has every `for_stream`: passes do not depend on each other.

    Args:
        model: the network.
        times: where durations go.
        bound: hold the buffers on the device (`Session.bind`) and time upload, run and download apart.

    Attributes:
        session: the model's.
        given: what the session got last, for whichever stream.
    """

    def __init__(self, model: Model, times: Times, *, bound: bool) -> None:
        self.session = model.session
        self.given: dict[str, NDArray[Any]] = {}
        self._model = model.for_stream()
        self._times = times
        self._binding = model.session.bind() if bound else None

    def for_stream(self) -> Timed:
        """As the model's; clock, buffers and `given` are shared."""
        model = self._model.for_stream()
        if model is self._model:
            return self
        other = copy.copy(self)
        other._model = model
        return other

    def preprocess(self, image: NDArray[np.uint8]) -> Prepared:
        """As the model's."""
        return self._model.preprocess(image)

    def infer(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """As the model's, one thread at a time."""
        self.given.update(self._model.feed(tensors))
        outputs = self._run(self.given)
        if self._model.remembers:
            with self._times.time("keep"):
                self._model.keep(self.given, outputs)
        return outputs

    def _run(self, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if self._binding is None:
            with self._times.time("infer"):
                return self.session.run(given)
        with self._times.time("h2d"):
            self._binding.upload(given)
        with self._times.time("infer"):
            self._binding.execute()
        with self._times.time("d2h"):
            return self._binding.download()

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """As the model's."""
        return self._model.decode(outputs, placement)


def run_bare(session: Session, given: Mapping[str, NDArray[Any]]) -> int:
    """Time of ONNX Runtime's own `session.run`, in ns: what nobody can do without."""
    raw = session.raw
    start = perf_counter_ns()
    raw.run(None, given)
    return perf_counter_ns() - start
