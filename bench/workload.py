"""What the benchmarks of whole pipelines share: videos, networks, warm-up, and one pass with its hash of the tracks."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.accelerator import Sampler, check_placement, describe, nvml
from bench.flags import at_least_one
from bench.result import BenchError, Row, summary
from bench.stages import STAGES, Timed, Times
from bench.timing import quiet_collector
from tracker import pipeline
from tracker.models import DEVICES, Model, SessionConfig, open_model
from tracker.sinks import SINKS, RunInfo
from tracker.sources import Source, open_source
from tracker.systems import SYSTEMS, create
from tracker.types import Frame, Tracks

STREET = "synth:street?seed=7&objects=12&size=960x540&frames=300"
QUICK = {"frames": 12, "warmup_frames": 3, "warmup_s": 0.1, "rounds": 2, "seconds": 2.0, "starts": 1}
"""What `--quick` comes to: enough to see that a command works, too little for a figure."""


def add_flags(parser: argparse.ArgumentParser, frames: int) -> None:
    """Flags of every benchmark of whole pipelines; `frames` is the default of `--frames`."""
    parser.add_argument("--source", nargs="+", default=[STREET], help="video files or other addresses of `tracker run`")
    parser.add_argument("--model", nargs="+", default=["street"], help="ONNX files")
    parser.add_argument("--tracker", default="bytetrack", choices=sorted(SYSTEMS))
    parser.add_argument("--frames", type=at_least_one, default=frames, help="frames measured in a pass")
    parser.add_argument("--warmup-frames", type=int, default=50, help="least number of frames before, not counted")
    parser.add_argument("--warmup-s", type=float, default=3.0, help="least seconds of them")
    parser.add_argument("--quick", action="store_true", help="a few frames, once: to try the command, not for figures")
    parser.add_argument("--device", default="cpu", choices=list(DEVICES))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the network, 0 for one per core")
    parser.add_argument("--spin", action="store_true", help="let the network's idle threads spin, for both sides")
    parser.add_argument("--fp16", action="store_true", help="TensorRT: compute in float16")
    parser.add_argument("--nhwc", action="store_true", help="CUDA: convolutions channels-last")
    parser.add_argument("--cuda-graph", action="store_true", help="record the launches once, replay them")
    parser.add_argument("--bind", action="store_true", help="buffers on the device on the CPU too, as always on a GPU")
    parser.add_argument("--allow-cpu-nodes", action="store_true", help="give GPU figures though nodes fell to the CPU")


def settle(arguments: argparse.Namespace) -> None:
    """Let `--quick` shrink whatever it shrinks."""
    if arguments.quick:
        for name, value in QUICK.items():
            if hasattr(arguments, name):
                setattr(arguments, name, min(getattr(arguments, name), value))
    if arguments.frames < 2:
        raise BenchError(f"expected at least 2 frames, got {arguments.frames}")


@dataclass(frozen=True)
class Case:
    """One network on one source.

    Attributes:
        scene: the source's name without folders.
        address: of the source.
        name: of the network's file.
        model: opened and placed where it was asked for.
        arguments: of the command.
        facts: about the network, for the result.
    """

    scene: str
    address: str
    name: str
    model: Model
    arguments: argparse.Namespace
    facts: dict[str, Any]

    @property
    def bound(self) -> bool:
        """Buffers are held on the device, so that upload and download can be timed."""
        return bool(self.arguments.bind) or self.model.session.device != "cpu"

    def images(self, count: int) -> list[NDArray[np.uint8]]:
        """The first images, decoded."""
        with open_source(self.address) as source:
            return [frame.image for _, frame in zip(range(count), source, strict=False)]

    def inputs(self, count: int) -> list[dict[str, NDArray[Any]]]:
        """What the session gets for the first images, one stream of them."""
        network, given = Timed(self.model, Times(), bound=False), []
        for image in self.images(count):
            network.infer(network.preprocess(image).tensors)
            given.append(dict(network.given))
        return given

    def tracker(self, fps: float | None) -> Any:
        """A fresh one."""
        return create(self.arguments.tracker, frame_rate=fps or 30.0, class_names=self.model.card.class_names or ("",))

    @contextmanager
    def measured(self) -> Iterator[Sampler]:
        """While frames are timed: the collector is quiet, and a GPU is watched."""
        with quiet_collector(), Sampler(nvml() if self.bound else None) as sampler:
            yield sampler

    def row(self, competitor: str, us: dict[str, float], **more: Any) -> Row:
        """A row of the result."""
        place = {"scene": self.scene, "mode": self.name, "competitor": competitor}
        return {**place, "us": us, "model": self.facts, **more}

    def stage_rows(self, times: Times) -> list[Row]:
        """A row for every stage that took place."""
        return [self.row(name, summary(times.ns[name])) for name in STAGES if name in times.ns]


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Every network on every source, warm-up not yet done.

    Raises:
        BenchError: nodes of a network fell to the CPU.
    """
    settle(arguments)
    config = SessionConfig(
        arguments.device, threads=arguments.threads, spin=arguments.spin, fp16=arguments.fp16, nhwc=arguments.nhwc,
        cuda_graph=arguments.cuda_graph,
    )  # fmt: skip
    for path in arguments.model:
        model = open_model(path, session=config)
        check_placement(model.session, allowed=arguments.allow_cpu_nodes)
        for address in arguments.source:
            yield Case(scene_name(address), address, Path(path).stem, model, arguments, describe(model.session, config))


def scene_name(address: str) -> str:
    """A source's name without folders and options."""
    return address.partition("?")[0] if address.startswith("synth:") else Path(address).name


class Digest:
    """A sink that keeps the hash of what was reported: ids, and boxes to 0.01 px."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._reported = self._frames = 0

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take a frame's tracks."""
        shown = tracks.confirmed
        self._reported, self._frames = self._reported + len(shown), self._frames + 1
        self._hash.update(np.int64([frame.index, len(shown)]).tobytes() + shown.ids.tobytes())
        self._hash.update(np.round(shown.boxes.astype(np.float64), 2).tobytes())

    def close(self) -> None:
        """Nothing to finish."""

    @property
    def objects(self) -> float:
        """Tracks reported per frame."""
        return round(self._reported / max(self._frames, 1), 1)

    @property
    def sha256(self) -> str:
        """Of everything so far."""
        return self._hash.hexdigest()


@contextmanager
def outputs(case: Case, source: Source) -> Iterator[list[Any]]:
    """Sinks of one stream: JSON lines with masks, as `tracker run --save jsonl` writes, and their hash (the last)."""
    info = RunInfo(case.scene, source.fps, source.size, case.model.card.class_names, case.name, case.arguments.tracker)
    with tempfile.TemporaryDirectory() as folder:
        yield [SINKS["jsonl"][0](Path(folder, SINKS["jsonl"][1]), info), Digest()]


def play(
    case: Case,
    network: Any,
    *,
    frames: int,
    overlap: bool,
    times: Times | None = None,
    on_frame: Callable[[Frame, Tracks], None] | None = None,
    source: Source | None = None,
) -> tuple[pipeline.Report, Digest]:
    """One pass over the beginning of a source with a fresh tracker.

    Raises:
        BenchError: the source is shorter than the pass.
    """
    with ExitStack() as stack:
        source = stack.enter_context(open_source(case.address) if source is None else source)
        sinks = stack.enter_context(outputs(case, source))
        report = pipeline.run(
            source, network, case.tracker(source.fps), sinks, overlap=overlap, max_frames=frames, clock=times,
            on_frame=on_frame,
        )  # fmt: skip
    if report.frames < frames and not source.live:
        raise BenchError(f"expected {frames} frames of {case.scene}, it has {report.frames}; ask for fewer (--frames)")
    return report, sinks[-1]


def warm_up(case: Case) -> int:
    """Run frames until both least counts are reached; returns how many. Kernels compile here."""
    arguments, done, start = case.arguments, 0, monotonic()
    while done < arguments.warmup_frames or monotonic() - start < arguments.warmup_s:
        some = min(arguments.frames, 10)
        play(case, Timed(case.model, Times(), bound=case.bound), frames=some, overlap=False)
        done += some
    return done
