"""A camera of 30 frames per second that does not wait: how old results are, and how many frames are dropped.

Images are decoded beforehand and arrive on time, whatever the engine does; it takes the newest (`LiveSource`). What is
tracked depends on the machine's speed, so there is no hash of the tracks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import cycle
from time import monotonic, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.result import BenchError, Row, summary
from bench.stages import Timed, Times
from bench.workload import Case, add_flags, cases, play, warm_up
from tracker.sources.live import LiveSource

REPEATS = 5
_IMAGES = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    add_flags(parser, frames=_IMAGES)
    parser.add_argument("--fps", type=float, default=30.0, help="of the camera")
    parser.add_argument("--seconds", type=float, default=20.0, help="that it delivers")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure every network on every source."""
    rows = [row for case in cases(arguments) for row in measure(case, arguments.fps, arguments.seconds)]
    return rows, ["`age` is arrived -> tracks known", f"the camera shows the first {_IMAGES} frames again and again"]


def measure(case: Case, fps: float, seconds: float) -> list[Row]:
    """One network on one paced source.

    Raises:
        BenchError: frames were lost that nobody counted.
    """
    images = case.images(min(case.arguments.frames, _IMAGES))
    warm_up(case)
    times = Times()
    network = Timed(case.model, times, bound=case.bound)
    arriving = max(1, round(fps * seconds))
    with case.measured() as sampler:
        source = LiveSource(f"{case.scene} at {fps:g} fps", PacedCapture(images, fps, arriving))
        report, digest = play(case, network, frames=arriving, overlap=False, times=times, source=source)
    if report.frames + report.dropped != arriving:
        raise BenchError(f"expected {arriving} frames tracked or dropped, got {report.frames} and {report.dropped}")
    figures = {
        "arrived": arriving, "frames": report.frames, "dropped": report.dropped,
        "dropped_percent": round(100 * report.dropped / arriving, 1), "fps": round(report.fps, 2), **sampler.figures(),
    }  # fmt: skip
    age = case.row("age", summary(times.ns["age"]), figures=figures, objects=digest.objects)
    return [*case.stage_rows(times), age]


class PacedCapture:
    """Images that arrive at a steady rate, one after the other and again from the first.

    Args:
        images: (H, W, 3) uint8 BGR each.
        fps: how many arrive in a second.
        count: how many arrive in all.
    """

    finite = True

    def __init__(self, images: list[NDArray[np.uint8]], fps: float, count: int) -> None:
        if not images:
            raise BenchError("expected images for the camera, got none")
        self.fps: float | None = fps
        self.size: tuple[int, int] | None = (images[0].shape[1], images[0].shape[0])
        self._images, self._count = images, count

    def pictures(self) -> Iterator[tuple[float | None, float, Any]]:
        """Time stamp, moment of arrival and image; a late reader gets the missed ones at once, as from a socket."""
        start = monotonic()
        for k, image in zip(range(self._count), cycle(self._images), strict=False):
            due = start + k / self.fps  # type: ignore[operator]
            sleep(max(0.0, due - monotonic()))
            yield k / self.fps, due, image  # type: ignore[operator]

    def to_image(self, picture: Any) -> NDArray[np.uint8]:
        """The picture is the image."""
        return np.asarray(picture, np.uint8)

    def close(self) -> None:
        """Nothing to let go of."""
