"""A progress line on stderr; nothing at all when stderr is not a terminal."""

from __future__ import annotations

import shutil
import sys
from time import monotonic
from typing import TYPE_CHECKING

from tracker.types import Frame, Tracks

if TYPE_CHECKING:
    from tracker.serving import Channel


class Progress:
    """Draws `[####    ]  120/300 frames  41.3 FPS  11 tracks  p50 23.1 p99 31.9 ms`, at most ten times a second.

    The latencies are end to end, or of a live source's results the age, over the last 512 frames.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.frames = 0
        self._length: int | None = None
        self._channel: Channel | None = None
        self._shown = not quiet and sys.stderr.isatty()
        self._start = self._drawn = monotonic()
        self._width = 0
        if self._shown:
            self._print("opening and compiling (a first run takes some seconds) ...")

    def start(self, length: int | None, channel: Channel | None = None) -> None:
        """The first frame comes now, of `length` ones where that is known; `channel` knows latencies and drops."""
        self._length = length
        self._channel = channel
        self._start = self._drawn = monotonic()

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """Count a frame."""
        self.frames += 1
        now = monotonic()
        if self._shown and now - self._drawn >= 0.1:
            self._drawn = now
            self._draw(len(tracks.confirmed), now)

    def close(self) -> None:
        """Leave the line; what follows starts on a new one."""
        if self._shown:
            self._print("")
            print("\r", end="", file=sys.stderr, flush=True)

    def _draw(self, tracks: int, now: float) -> None:
        rate = self.frames / max(now - self._start, 1e-9)
        count = f"{self.frames}/{self._length}" if self._length else str(self.frames)
        bar = ""
        if self._length:
            done = min(self.frames * 16 // self._length, 16)
            bar = f"[{'#' * done}{' ' * (16 - done)}] "
        self._print(f"{bar}{count} frames  {rate:.1f} FPS  {tracks} tracks{self._latency()}")

    def _latency(self) -> str:
        """What the channel adds to the line."""
        if self._channel is None:
            return ""
        stages = self._channel.clock.recent()
        name = "age" if "age" in stages else "end_to_end"
        if name not in stages:
            return ""
        word = "age " if name == "age" else ""
        text = f"  {word}p50 {stages[name].p50:.1f} p99 {stages[name].p99:.1f} ms"
        counts = (("dropped", self._channel.dropped), ("late", self._channel.late))
        return text + "".join(f"  {count} {word}" for word, count in counts if count)

    def _print(self, line: str) -> None:
        """Replace the line by this one, as far as the terminal has room."""
        line = line[: shutil.get_terminal_size().columns - 1]
        print(f"\r{line:<{self._width}}", end="", file=sys.stderr, flush=True)
        self._width = len(line)
