"""Minimum track length in an online engine: when tracks of fewer than n detections are left out, and what that costs.

A track's length is `Tracks.hits`: the detections that it took since birth, not the frames that it spans. The offline
filter drops every track that never reaches the minimum; online, nobody knows that yet:

none       everything at once, nothing is left out
suppress   a track appears with its n-th detection; its first frames are missing
delay      frame t comes at t + lag, with the tracks that were long enough by then; equal to the offline filter once
           lag is (n - 1) * (longest gap that the system bridges + 1)
retract    at once, too young tracks as tentative, and an event says later which ones stay; for a file the frames are
           held until all their tracks are decided, which is the offline filter, exactly

Memory: `delay` holds lag frames of tracks and masks. `retract` for a file holds frames as long as the oldest undecided
track lives, at most (n - 1) * (longest gap + 1); a system whose tracks never end may hold them until the end.

Source: N_t of Learning Multi-Object Tracking and Segmentation from Automatic Annotations, arXiv:1912.02096.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ConfigError
from tracker.formats.recording import BareFrame
from tracker.sinks.sink import Sink
from tracker.types import Frame, Tracks, TrackState

Item = tuple[Frame, Tracks]


@dataclass(frozen=True, slots=True)
class LengthEvent:
    """A decision about a track that `Flag` had shown as tentative because it was too short.

    Attributes:
        kind: "confirm" (it stays) or "retract" (it ended too short).
        track_id: of the track.
        frames: indices of the frames that showed it so; fewer than the minimum length.
        frame: index of the frame in which this was decided; the last one where the stream ended.
        time_s: its time.
    """

    kind: str
    track_id: int
    frames: tuple[int, ...]
    frame: int
    time_s: float


class LengthFilter(Protocol):
    """Frames in, in order; the same frames out, in order, some later, with fewer tracks.

    Detections of tracks that are left out become `unmatched`.
    """

    def push(self, frame: Frame, tracks: Tracks) -> list[Item]:
        """Take the next frame; returns those that are ready."""

    def finish(self) -> list[Item]:
        """The stream has ended: returns the frames that were held."""


class Everything:
    """Policy `none`."""

    def push(self, frame: Frame, tracks: Tracks) -> list[Item]:
        """As it is."""
        return [(frame, tracks)]

    def finish(self) -> list[Item]:
        """Nothing is held."""
        return []


class Suppress(Everything):
    """Policy `suppress`; keeps no state."""

    def __init__(self, min_length: int) -> None:
        self._min_length = min_length

    def push(self, frame: Frame, tracks: Tracks) -> list[Item]:
        """Without the tracks that are too short so far."""
        return [(frame, _keep(tracks, tracks.hits >= self._min_length))]


class Delay:
    """Policy `delay`: holds `lag_frames` frames."""

    def __init__(self, min_length: int, lag_frames: int) -> None:
        self._min_length, self._lag_frames = min_length, lag_frames
        self._held: deque[Item] = deque()
        self._long: dict[int, int] = {}  # id that reached the length -> number of the last frame that showed it
        self._number = 0

    def push(self, frame: Frame, tracks: Tracks) -> list[Item]:
        """Hold this one; returns the frame of `lag_frames` ago, once there is one."""
        self._held.append((frame, tracks))
        self._long |= dict.fromkeys(tracks.ids[tracks.hits >= self._min_length].tolist(), self._number)
        self._number += 1
        return [self._release()] if len(self._held) > self._lag_frames else []

    def finish(self) -> list[Item]:
        """The last frames, judged by what is known at the end."""
        return [self._release() for _ in range(len(self._held))]

    def _release(self) -> Item:
        first = self._number - len(self._held)
        self._long = {track: last for track, last in self._long.items() if last >= first}
        frame, tracks = self._held.popleft()
        return frame, _keep(tracks, _among(tracks.ids, self._long))


class Settle:
    """Policy `retract` for files: holds frames until every track in them has reached the length or has ended."""

    def __init__(self, min_length: int) -> None:
        self._min_length = min_length
        self._held: deque[Item] = deque()
        self._open: dict[int, int] = {}  # undecided id -> number of the first frame that showed it, ascending
        self._short: dict[int, int] = {}  # ended too short -> number of the frame after its last, ascending
        self._number = 0

    def push(self, frame: Frame, tracks: Tracks) -> list[Item]:
        """Hold this one; returns all frames that are decided now."""
        long = tracks.hits >= self._min_length
        young = dict.fromkeys(tracks.ids[~long].tolist(), self._number)
        grown = set(tracks.ids[long].tolist())
        for track in [track for track in self._open if track not in young]:
            del self._open[track]
            if track not in grown:
                self._short[track] = self._number
        self._open = {**self._open, **{track: n for track, n in young.items() if track not in self._open}}
        self._held.append((frame, tracks))
        self._number += 1
        return self._release(next(iter(self._open.values()), self._number))

    def finish(self) -> list[Item]:
        """The frames that were held; tracks that are too short now stay so."""
        self._short |= dict.fromkeys(self._open, self._number)
        self._open = {}
        return self._release(self._number)

    def _release(self, end: int) -> list[Item]:
        """Frames before number `end`."""
        ready = []
        for number in range(self._number - len(self._held), end):
            while self._short and next(iter(self._short.values())) <= number:
                del self._short[next(iter(self._short))]
            frame, tracks = self._held.popleft()
            ready.append((frame, _keep(tracks, ~_among(tracks.ids, self._short))))
        return ready


class Flag:
    """Policy `retract` for what is shown at once: tracks that are too short so far are tentative, events decide later.

    Args:
        min_length: detections that make a track count.
        on_event: called for every track that was shown as tentative only because it was short, when it is decided:
            before the frame that makes it long enough, or the first one without it, is returned.
    """

    def __init__(self, min_length: int, on_event: Callable[[LengthEvent], None] | None = None) -> None:
        self._min_length = min_length
        self._on_event = on_event
        self._shown: dict[int, tuple[int, ...]] = {}  # undecided id -> indices of the frames that showed it
        self._now = (0, 0.0)

    def push(self, frame: Frame, tracks: Tracks) -> list[Item]:
        """The same frame, young tracks flagged."""
        self._now = frame.index, frame.time_s
        young = tracks.hits < self._min_length
        ids = tracks.ids.tolist()
        alive = dict(zip(ids, young.tolist(), strict=True))
        for track in [track for track in self._shown if not alive.get(track)]:
            self._decide(track, "confirm" if track in alive else "retract")
        flagged = young & (tracks.states == TrackState.CONFIRMED)
        if not flagged.any():
            return [(frame, tracks)]
        for track in tracks.ids[flagged].tolist():
            self._shown[track] = (*self._shown.get(track, ()), frame.index)
        return [(frame, _flagged(tracks, flagged))]

    def finish(self) -> list[Item]:
        """Nothing is held; what is undecided is retracted."""
        for track in list(self._shown):
            self._decide(track, "retract")
        return []

    def _decide(self, track: int, kind: str) -> None:
        frames = self._shown.pop(track)
        if self._on_event is not None:
            self._on_event(LengthEvent(kind, track, frames, *self._now))


POLICIES = ("none", "suppress", "delay", "retract")
"""What to do with short tracks, see the module's text."""


def length_filter(
    min_length: int,
    policy: str,
    lag_frames: int | None = None,
    *,
    at_once: bool = False,
    on_event: Callable[[LengthEvent], None] | None = None,
) -> LengthFilter:
    """Make the filter of a policy.

    Args:
        min_length: detections that make a track count, from 1.
        policy: one of `POLICIES`.
        lag_frames: of `delay`; by default min_length - 1, which suits systems that bridge no gaps.
        at_once: with `retract`: hold nothing, flag young tracks as tentative and tell `on_event` (`Flag`); without it
            the frames are held until they are decided (`Settle`).
        on_event: see `Flag`.

    Raises:
        ConfigError: no such policy, a length below 1, a negative lag or one for another policy.
    """
    if policy not in POLICIES:
        raise ConfigError(f"expected a minimum length policy of {', '.join(POLICIES)}, got {policy!r}")
    if min_length < 1:
        raise ConfigError(f"expected a minimum length of at least 1 detection, got {min_length}")
    if lag_frames is not None and (policy != "delay" or lag_frames < 0):
        raise ConfigError(f"expected a lag of 0 or more frames, with the policy delay, got {lag_frames} with {policy}")
    if policy == "none" or min_length == 1:
        return Everything()
    if policy == "suppress":
        return Suppress(min_length)
    if policy == "delay":
        return Delay(min_length, min_length - 1 if lag_frames is None else lag_frames)
    return Flag(min_length, on_event) if at_once else Settle(min_length)


class LengthSink(Sink):
    """Another sink behind a filter. Closing it, also after an error, writes what is held and closes the sink.

    Args:
        sink: where the frames go.
        gate: belongs to this sink alone.
        images: hold frames with their images; off, they become `BareFrame`s, which costs no memory.
    """

    def __init__(self, sink: Sink, gate: LengthFilter, *, images: bool = True) -> None:
        self._sink, self._gate, self._images = sink, gate, images
        self._sound = True

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Pass on the frames that are ready."""
        if not self._images:
            frame = BareFrame.of(frame)
        self._put(self._gate.push(frame, tracks))

    def close(self) -> None:
        """Write the frames that were held, unless the sink has failed already, and close it."""
        try:
            if self._sound:
                self._put(self._gate.finish())
        finally:
            self._sink.close()

    def _put(self, items: list[Item]) -> None:
        self._sound = False
        for frame, tracks in items:
            self._sink.write(frame, tracks)
        self._sound = True


def _among(ids: NDArray[np.int64], known: dict[int, int]) -> NDArray[np.bool_]:
    return np.fromiter((track in known for track in ids.tolist()), np.bool_, len(ids))


def _keep(tracks: Tracks, rows: NDArray[np.bool_]) -> Tracks:
    """These tracks only; every detection still comes back exactly once."""
    if rows.all():
        return tracks
    taken = tracks.source[~rows]
    unmatched = np.sort(np.concatenate([tracks.unmatched, taken[taken >= 0]]))
    return replace(tracks.select(np.flatnonzero(rows)), unmatched=unmatched)


def _flagged(tracks: Tracks, rows: NDArray[np.bool_]) -> Tracks:
    """These tracks as tentative, in the order that `Tracks` keeps: confirmed, tentative, coasting."""
    states = np.where(rows, np.uint8(TrackState.TENTATIVE), tracks.states)
    order = (TrackState.CONFIRMED, TrackState.TENTATIVE, TrackState.COASTING)
    places = np.concatenate([np.flatnonzero(states == state) for state in order])
    return replace(tracks, states=states).select(places)
