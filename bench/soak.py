"""A million frames of detections that never match: memory must not grow, and the last frame costs what the first did.

`--engine 108000` adds an hour of the whole engine, accelerated: pictures of the synthetic street through `pipeline.run`
with its threads, the built-in network, masks, and four outputs into a scratch folder; open files are counted too.

Nothing is timed frame by frame but in blocks; drift compares the CPU time of the median block of the last tenth with
that of the first tenth after warm-up, so that a busy machine is no drift.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.competitors import box_systems
from bench.flags import at_least_one
from bench.result import BenchError, Row, summary
from bench.scenes import strangers
from tracker import pipeline
from tracker.models import Model, open_model
from tracker.sinks import SINKS, RunInfo
from tracker.sources import open_source
from tracker.systems import create
from tracker.types import Detections, Frame, Tracks

COUNT = 10
PERIOD = 512
"""Frames made beforehand and used again and again, far longer apart than any track lives."""

ENGINE = "bytetrack"
STREET = "synth:street?seed=3&objects=6&size=320x180&frames={}"
ROUND = 500
"""Pictures that the engine gets over and over: every round begins with a cut, so tracks end and begin all the time."""
NETWORK_EVERY = 20
"""Of so many frames the network runs on one; the others get what it saw of the same picture before the run."""
OUTPUTS = ("mot", "mots", "jsonl", "events")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--frames", type=at_least_one, default=1_000_000)
    parser.add_argument("--trackers", nargs="*", default=box_systems(), help="systems of ours")
    parser.add_argument("--block", type=at_least_one, default=1000, help="frames that are timed together")
    parser.add_argument("--engine", type=at_least_one, metavar="FRAMES", help="also the whole engine, so many frames")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure; returns rows and notes."""
    rows = [soak(name, arguments.frames, arguments.block) for name in arguments.trackers]
    notes = [f"{COUNT} detections per frame, none matches another; us are means of blocks"] if rows else []
    if arguments.engine:
        rows.append(soak_engine(arguments.engine, arguments.block))
        notes.append(
            f"engine: {arguments.engine / 30 / 60:.3g} minutes at 30 per second, outputs {', '.join(OUTPUTS)}; the "
            f"network runs on one frame of {NETWORK_EVERY}; drift is of the CPU time of all threads"
        )
    return rows, notes


def soak(name: str, frames: int, block: int = 1000) -> Row:
    """Run one system and say what it cost.

    Raises:
        BenchError: fewer than 20 blocks, or a track took a second detection.
    """
    meter = Meter(frames, block)
    scene, associator = strangers(COUNT, PERIOD), create(name)
    tracks = [associator.update(detections) for detections in scene[:100]][-1]
    at, most = 100, 0
    meter.start()
    for _ in range(meter.blocks):
        for _ in range(block):
            tracks = associator.update(scene[at % PERIOD])
            at += 1
        meter.end_block()
        most = max(most, len(tracks))
        if int(tracks.hits.max(initial=0)) > 1:
            raise BenchError(f"{name} matched detections that never match: the scene is not what it should be")
    return {
        "scene": "strangers",
        "objects": COUNT,
        "competitor": f"trackstream {name}",
        "figures": {"frames": meter.blocks * block, "live_tracks": most, **meter.figures()},
        "block_us": summary(meter.times),
    }


def soak_engine(frames: int, block: int = 1000) -> Row:
    """Run source, network, tracker and outputs together and say what it cost.

    Raises:
        BenchError: fewer than 20 blocks, or the output does not hold the frames that went in.
    """
    meter = Meter(frames, block)
    with open_source(STREET.format(min(ROUND, block))) as street:
        pictures = [frame.image for frame in street]
    model = open_model("street", device="cpu", threads=1)
    network = Sampled(model, pictures)
    info = RunInfo(street.name, street.fps, street.size, model.card.class_names, "street", ENGINE)
    tracker = create(ENGINE, frame_rate=30, class_names=model.card.class_names)
    count, most = 0, 0

    def on_frame(frame: Frame, tracks: Tracks) -> None:
        nonlocal count, most
        count, most = count + 1, max(most, len(tracks))
        if count % block == 0:
            meter.end_block()

    source = open_source(_endless(pictures), fps=30)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, SINKS[name][1]) for name in OUTPUTS}
        sinks = [SINKS[name][0](path, info) for name, path in paths.items()]
        meter.start()
        report = pipeline.run(source, network, tracker, sinks, max_frames=meter.blocks * block, on_frame=on_frame)
        with paths["jsonl"].open("rb") as file:
            lines = sum(1 for _ in file)
        written = sum(path.stat().st_size for path in paths.values())
    if lines != report.frames + 1:
        raise BenchError(f"expected {report.frames} frames in the output, got {lines - 1}")
    return {
        "scene": "street",
        "objects": round(float(np.mean([len(detections) for detections in network.seen])), 1),
        "competitor": f"trackstream engine {ENGINE}",
        "figures": {
            "frames": report.frames, "live_tracks": most, **meter.figures(), "reported_tracks": report.tracks,
            "written_mb": round(written / 1e6, 1), "open_files": int(meter.files[-1]),
            "open_files_growth": meter.most_grown(meter.files), "threads_growth": meter.most_grown(meter.threads),
        },
        "block_us": summary(meter.times),
    }  # fmt: skip


class Meter:
    """Time, CPU time, memory, open files and threads after each block of frames.

    Raises:
        BenchError: fewer than 20 blocks.
    """

    def __init__(self, frames: int, block: int) -> None:
        self.blocks = frames // block
        if self.blocks < 20:
            raise BenchError(f"expected at least 20 blocks of {block} frames, got {frames} frames")
        self.block = block
        self.tenth = self.blocks // 10
        # touched before the first look at memory
        self.times, self.cpu, self.memory, self.files, self.threads = np.ones((5, self.blocks))
        self._at = 0

    def start(self) -> None:
        """The first block begins."""
        self._begin, self._cpu_begin = time.perf_counter_ns(), time.process_time_ns()

    def end_block(self) -> None:
        """A block ends and the next begins."""
        at, self._at = self._at, self._at + 1
        self.times[at] = (time.perf_counter_ns() - self._begin) / self.block
        self.cpu[at] = (time.process_time_ns() - self._cpu_begin) / self.block
        self.memory[at] = resident_bytes()
        self.files[at], self.threads[at] = open_files(), threading.active_count()
        self.start()

    def figures(self) -> dict[str, Any]:
        """Growth and drift; the first tenth is left out, it fills allocators and pools."""
        tenth, warm = self.tenth, slice(self.tenth, 2 * self.tenth)
        grown = np.median(self.memory[-tenth:]) - np.median(self.memory[warm])
        cpu = self.cpu
        return {
            "bytes_per_frame": round(float(grown) / (self.block * (self.blocks - 2 * tenth)), 2),
            "drift_percent": round(100 * float(np.median(cpu[-tenth:]) / np.median(cpu[warm]) - 1), 1),
            "fastest_drift_percent": round(100 * float(cpu[-tenth:].min() / cpu[warm].min() - 1), 1),
            "resident_mb": round(float(self.memory[-1]) / 1e6, 1),
        }

    def most_grown(self, counts: NDArray[np.float64]) -> int:
        """Most of the last tenth less most of the tenth after warm-up."""
        return int(counts[-self.tenth :].max() - counts[self.tenth : 2 * self.tenth].max())


class Sampled:
    """A network that really runs on one frame of `NETWORK_EVERY`, in the form that `pipeline.run` wants.

    Args:
        model: the network.
        pictures: that come over and over, in this order.
    """

    def __init__(self, model: Model, pictures: Sequence[NDArray[np.uint8]]) -> None:
        self.seen = [model(picture) for picture in pictures]
        self._model = model
        self._count = 0

    def preprocess(self, image: Any) -> Any:
        """Tensors and placement, or the detections and nothing."""
        at, self._count = self._count, self._count + 1
        return (self.seen[at % len(self.seen)], None) if at % NETWORK_EVERY else self._model.preprocess(image)

    def infer(self, tensors: Any) -> Any:
        """Raw outputs, or the detections."""
        return tensors if isinstance(tensors, Detections) else self._model.infer(tensors)

    def decode(self, outputs: Any, placement: Any) -> Detections:
        """Detections of the frame."""
        return outputs if isinstance(outputs, Detections) else self._model.decode(outputs, placement)


def _endless(pictures: Sequence[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    while True:
        yield from pictures


def open_files() -> int:
    """Files, sockets and pipes that this process holds open (Linux); 0 where nobody says."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def resident_bytes() -> float:
    """Memory of this process that is in use now (Linux), else the most that it ever was."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return float(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most) * (1 if sys.platform == "darwin" else 1024)
