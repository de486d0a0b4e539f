"""The projector of one channel: paints its newest frame once for everybody who watches, and nothing for nobody."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.serving.board import Channel, Shot
from tracker.sinks.overlay import Overlay, colour_of
from tracker.types import TrackState

_STATES = {int(state): state.name.lower() for state in TrackState}


@dataclass(frozen=True, slots=True)
class Projection:
    """How pictures are sent.

    Attributes:
        most_fps: pictures per second at most.
        longest_px: longer sides are scaled down to this.
        quality: of the JPEG, 1..100.
    """

    most_fps: float = 25.0
    longest_px: int = 1280
    quality: int = 80


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A painted frame: its number in the channel, JPEG bytes, and what is to be said about it (fit for JSON)."""

    number: int
    jpeg: bytes
    facts: dict[str, Any]


class Projector:
    """Paints in a thread that lives as long as somebody watches. Apart from that thread, all calls are the loop's.

    Every viewer gets the newest picture whenever he is ready for one: one who is slow misses pictures and holds up
    neither the others nor the run.

    Args:
        channel: what is shown.
        loop: of the viewers.
        projection: how.
    """

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop, projection: Projection | None = None) -> None:
        self._channel = channel
        self._loop = loop
        self._projection = projection or Projection()
        self._picture: Picture | None = None
        self._fresh = asyncio.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def enter(self) -> None:
        """One viewer more."""
        self._channel.viewers += 1
        if self._thread is None:
            self._picture, self._stop = None, threading.Event()
            name = f"projector {self._channel.name}"
            self._thread = threading.Thread(target=self._work, args=(self._stop,), name=name, daemon=True)
            self._thread.start()

    def leave(self) -> None:
        """One viewer less."""
        self._channel.viewers -= 1
        if not self._channel.viewers:
            self._stop.set()
            self._thread = None

    async def newer(self, number: int, timeout_s: float) -> Picture | None:
        """The newest picture as soon as there is a later one than `number`; None if none comes in time."""
        end = self._loop.time() + timeout_s
        while self._picture is None or self._picture.number <= number:
            try:
                await asyncio.wait_for(self._fresh.wait(), end - self._loop.time())
            except asyncio.TimeoutError:
                return None
        return self._picture

    def _work(self, stop: threading.Event) -> None:
        overlay = Overlay(self._channel.info)
        number = 0
        while not stop.is_set():
            shot = self._channel.wait(number, 0.25)
            if shot is None:
                continue
            begin = monotonic()
            number = shot.number
            picture = Picture(
                number, self._encode(overlay.paint(shot.frame, shot.tracks)), facts_of(self._channel, shot)
            )
            try:
                self._loop.call_soon_threadsafe(self._show, picture, stop)
            except RuntimeError:  # the server has closed meanwhile
                return
            stop.wait(max(0.0, begin + 1 / self._projection.most_fps - monotonic()))

    def _show(self, picture: Picture, stop: threading.Event) -> None:
        if not stop.is_set():
            self._picture = picture
            self._fresh.set()  # wakes all who wait; who comes later waits for the next
            self._fresh = asyncio.Event()

    def _encode(self, image: NDArray[np.uint8]) -> bytes:
        import cv2

        ratio = self._projection.longest_px / max(image.shape[:2])
        if ratio < 1:
            image = np.asarray(cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA), np.uint8)
        return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._projection.quality])[1])


def facts_of(channel: Channel, shot: Shot) -> dict[str, Any]:
    """What the page says about a frame: its number, time and size, and its tracks."""
    tracks = shot.tracks
    columns = zip(
        tracks.ids.tolist(), tracks.states.tolist(), tracks.labels.tolist(), tracks.scores.tolist(),
        tracks.boxes.tolist(), tracks.hits.tolist(), tracks.misses.tolist(), strict=True,
    )  # fmt: skip
    rows = [
        {
            "id": number, "state": _STATES[state], "class": channel.info.class_name(label), "score": round(score, 3),
            "box": [round(side, 1) for side in box], "hits": hits, "misses": misses, "colour": _css(number),
        }
        for number, state, label, score, box, hits, misses in columns
    ]  # fmt: skip
    size = [shot.frame.width, shot.frame.height]
    return {"frame": shot.frame.index, "time_s": round(shot.frame.time_s, 3), "size": size, "tracks": rows}


def _css(track_id: int) -> str:
    blue, green, red = colour_of(track_id)
    return f"#{red:02x}{green:02x}{blue:02x}"
