"""A progress line on stderr; nothing at all when stderr is not a terminal."""

from __future__ import annotations

import sys
from time import monotonic

from tracker.types import Frame, Tracks


class Progress:
    """Draws `[####    ]  120/300 frames  41.3 FPS  11 tracks`, at most ten times a second."""

    def __init__(self, *, quiet: bool) -> None:
        self.frames = 0
        self._length: int | None = None
        self._shown = not quiet and sys.stderr.isatty()
        self._start = self._drawn = monotonic()
        if self._shown:
            print("opening and compiling (a first run takes some seconds) ...", end="", file=sys.stderr, flush=True)

    def start(self, length: int | None) -> None:
        """The first frame comes now, of `length` ones where that is known."""
        self._length = length
        self._start = self._drawn = monotonic()

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """Count a frame."""
        self.frames += 1
        now = monotonic()
        if self._shown and now - self._drawn >= 0.1:
            self._drawn = now
            self._draw(len(tracks.confirmed), now)

    def _draw(self, tracks: int, now: float) -> None:
        rate = self.frames / max(now - self._start, 1e-9)
        count = f"{self.frames}/{self._length}" if self._length else str(self.frames)
        bar = ""
        if self._length:
            done = min(self.frames * 24 // self._length, 24)
            bar = f"[{'#' * done}{' ' * (24 - done)}] "
        print(f"\r{bar}{count} frames  {rate:.1f} FPS  {tracks} tracks   ", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line; what follows starts on a new one."""
        if self._shown:
            print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)
