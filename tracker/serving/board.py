"""The board: what is known about every stream of a run at this moment."""

from __future__ import annotations

import re
import threading
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from tracker.deadline import Deadline
from tracker.serving.clock import RecentClock
from tracker.sinks.run_info import RunInfo
from tracker.types import Frame, Tracks

_RATE_FRAMES = 60  # the frame rate is that of these many frames
_STALLED_S = 2.0


class Droppable(Protocol):
    """A source, as far as the board is concerned."""

    @property
    def dropped(self) -> int:
        """Frames that arrived and were never delivered."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One tracked frame; `number` counts those of its channel from 1."""

    number: int
    frame: Frame
    tracks: Tracks


class Channel:
    """One stream on the board. It takes its place among the sinks of the run and keeps the newest frame only.

    Args:
        name: of the stream in addresses and labels: letters, digits, `.`, `_` and `-`.
        info: about the run; its source is the title.
        source: counts dropped frames.
    """

    def __init__(self, name: str, info: RunInfo, source: Droppable | None = None) -> None:
        self.name = name
        self.info = info
        self.clock = RecentClock()
        self.deadline: Deadline | None = None
        """Of the run, where it has one."""
        self.viewers = 0
        self.ended = False
        self._source = source
        self._news = threading.Condition()
        self._newest: Shot | None = None
        self._moments: deque[float] = deque(maxlen=_RATE_FRAMES)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Show a frame and its tracks; whoever has not looked at the one before will not see it."""
        with self._news:
            self._newest = Shot(self.frames + 1, frame, tracks)
            self._moments.append(monotonic())
            self._news.notify_all()

    def close(self) -> None:
        """The stream is over; its last frame stays on the board."""
        with self._news:
            self.ended = True
            self._news.notify_all()

    @property
    def newest(self) -> Shot | None:
        """The last frame; None before the first."""
        return self._newest

    def wait(self, number: int, timeout_s: float) -> Shot | None:
        """The newest frame as soon as it is a later one than `number`; None if none comes in time."""
        with self._news:
            self._news.wait_for(lambda: self.frames > number, timeout_s)
            return self._newest if self.frames > number else None

    @property
    def frames(self) -> int:
        """Frames tracked so far."""
        return 0 if self._newest is None else self._newest.number

    @property
    def reconnects(self) -> int:
        """How often the stream was lost and found again."""
        return 0 if self._newest is None else self._newest.frame.epoch

    @property
    def dropped(self) -> int:
        """Frames that the source dropped to stay current."""
        return 0 if self._source is None else self._source.dropped

    @property
    def late(self) -> int:
        """Frames that missed the deadline."""
        return 0 if self.deadline is None else self.deadline.late

    @property
    def shed(self) -> dict[str, int]:
        """Step -> frames that went without it to meet the deadline."""
        return {} if self.deadline is None else dict(self.deadline.shed)

    @property
    def idle_s(self) -> float:
        """Seconds since the last frame; 0 before the first."""
        with self._news:
            return monotonic() - self._moments[-1] if self._moments else 0.0

    @property
    def fps(self) -> float:
        """Frames per second of late; falls towards 0 when none come any more."""
        with self._news:
            if len(self._moments) < 2:
                return 0.0
            span = self._moments[-1] - self._moments[0]
            silent = monotonic() - self._moments[-1]
            steps = len(self._moments) - 1
        usual = span / steps
        return steps / max(span + (silent if silent > 2 * usual else 0.0), 1e-9)

    @property
    def condition(self) -> str:
        """`waiting` for the first frame, `live`, `stalled` (no frame for two seconds) or `ended`."""
        if self.ended:
            return "ended"
        if self._newest is None:
            return "waiting"
        return "stalled" if self.idle_s > _STALLED_S else "live"


class Board:
    """All channels of a run, by name; streams may come and go meanwhile."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}
        self._lock = threading.Lock()

    def add(self, info: RunInfo, source: Droppable | None = None, name: str | None = None) -> Channel:
        """A new channel, called `name` (by default after its source), with a number behind it where that is taken."""
        wanted = _slug(name or info.source)
        with self._lock:
            free, count = wanted, 1
            while free in self._channels:
                count += 1
                free = f"{wanted}-{count}"
            self._channels[free] = Channel(free, info, source)
            return self._channels[free]

    def remove(self, name: str) -> None:
        """Take a channel off the board and end it."""
        with self._lock:
            channel = self._channels.pop(name, None)
        if channel is not None:
            channel.close()

    def find(self, name: str) -> Channel | None:
        """The channel of this name, if there is one."""
        return self._channels.get(name)

    @property
    def channels(self) -> list[Channel]:
        """All of them, in the order in which they came."""
        with self._lock:
            return list(self._channels.values())


def _slug(text: str) -> str:
    """Text as it may stand in an address."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[-80:] or "stream"
