"""Whole pipelines of others, timed beside ours: one call of theirs, from the video file to tracks.

Each lives in a process of its own, since importing such a package changes what the others do in the same one (threads
of OpenCV and torch), and waits there while others have their turn. Only what its documentation names is used.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from bench.result import BenchError

if TYPE_CHECKING:
    from bench.workload import Case


@dataclass(frozen=True)
class Job:
    """What a loop is asked for: the network's file, its task, its input (width, height), the video file, the device."""

    model: str
    task: str
    size: tuple[int, int]
    source: str
    device: str


def ultralytics(job: Job) -> Callable[[], Iterator[int]]:
    """`YOLO(file).track(...)` with ByteTrack and its own settings; yields the number of tracks of each frame.

    Its settings file goes into a folder of this process, where sending statistics home is off.
    """
    folder = tempfile.TemporaryDirectory()
    os.environ["YOLO_CONFIG_DIR"] = folder.name
    module = importlib.import_module("ultralytics")
    module.settings.update({"sync": False})
    model = module.YOLO(job.model, task=job.task)
    width, height = job.size

    def track() -> Iterator[int]:
        assert folder  # lives as long as this
        results = model.track(
            source=job.source, stream=True, tracker="bytetrack.yaml", persist=False, imgsz=[height, width],
            device="cpu" if job.device == "cpu" else 0, verbose=False,
        )  # fmt: skip
        for result in results:
            yield 0 if result.boxes is None or result.boxes.id is None else len(result.boxes.id)

    return track


LOOPS: dict[str, Callable[[Job], Callable[[], Iterator[int]]]] = {"ultralytics": ultralytics}
"""Package -> what opens its loop; a call of that plays the video from its beginning."""


class Loop:
    """A loop in its process, warmed up by one pass.

    Args:
        package: row of `LOOPS`.
        job: what it is asked for.
        frames: of a pass.

    Attributes:
        name: what results call it.
        objects: tracks per frame of the last pass.

    Raises:
        BenchError: it failed, or the video has fewer frames.
    """

    def __init__(self, package: str, job: Job, frames: int) -> None:
        self.name = f"{package} track"
        self.objects = 0.0
        self._frames = frames
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, package, job), daemon=True)
        self._process.start()
        other.close()
        try:
            self()
        except BaseException:
            self.close()
            raise

    def __call__(self) -> float:
        """A pass; returns its time in ns.

        The clock starts when the first frame's tracks are there, and what it shows is scaled to all frames: opening the
        video is not counted.
        """
        try:
            self._pipe.send(self._frames)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise BenchError(f"{self.name} ended early, with exit code {self._process.exitcode}") from None
        if isinstance(answer, str):
            raise BenchError(f"{self.name} failed: {answer}")
        spent, frames, objects = answer
        if frames < self._frames:
            raise BenchError(
                f"expected {self._frames} frames of {self.name}, it gave {frames}; ask for fewer (--frames)"
            )
        self.objects = round(objects / frames, 1)
        return float(spent * frames / (frames - 1))

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


@contextmanager
def open_loops(case: Case, packages: list[str]) -> Iterator[tuple[list[Loop], list[str]]]:
    """Loops that can do the case, until the end of the block, and a note on each that cannot.

    Raises:
        BenchError: an unknown package, or a loop that failed.
    """
    loops: list[Loop] = []
    notes: list[str] = []
    with ExitStack() as stack:
        for package in packages:
            if package not in LOOPS:
                raise BenchError(f"no loop of {package!r}; there are {', '.join(LOOPS)}")
            reason = _refusal(case, package)
            if reason:
                notes.append(f"{package} is left out: {reason}")
                continue
            model = case.model
            job = Job(str(model.session.path), model.card.task, model.size, case.address, model.session.device)
            loops.append(stack.enter_context(closing(Loop(package, job, case.arguments.frames))))
        yield loops, notes


def _refusal(case: Case, package: str) -> str:
    """Why a case is not for others; "" if it is."""
    if find_spec(package) is None:
        return "it is not installed"
    if case.model.family != "yolo" or case.model.fused:
        return f"it takes no {'fused graphs' if case.model.fused else f'network of the family {case.model.family}'}"
    if case.model.session.device not in ("cpu", "cuda"):
        return f"it does not run ONNX files on {case.model.session.device}"
    if not Path(case.address).is_file():
        return f"{case.scene} is no video file"
    return ""


def _serve(pipe: Connection, package: str, job: Job) -> None:
    """Play a pass of as many frames as are asked for, again and again, until nobody asks."""
    os.dup2(2, 1)  # what it prints is not part of our table
    try:
        play: Any = None
        while True:
            count = pipe.recv()
            play = play or LOOPS[package](job)
            pipe.send(_time(play(), count))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as reason:  # whatever its makers raise is told in one line on the other side
        pipe.send(" ".join(f"{type(reason).__name__}: {reason}".split())[:300])


def _time(passing: Iterator[int], count: int) -> tuple[int, int, int]:
    """Time in ns from the first frame's end to the last one's, frames, and objects of all."""
    objects, frames, start = 0, 0, 0
    for found in islice(passing, count):
        start = start or perf_counter_ns()
        objects, frames = objects + found, frames + 1
    return perf_counter_ns() - start, frames, objects
