"""Cameras and network streams: the newest frame, and a count of those that were dropped to keep it new."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.errors import SourceError
from tracker.sources.address import mask_credentials
from tracker.sources.container import (
    Converter,
    open_container,
    rate_of,
    reason_of,
    size_of,
    stamp_of,
    video_stream,
)
from tracker.sources.source import Source, SourceOptions
from tracker.sources.timeline import Timeline
from tracker.types import Frame

_logger = logging.getLogger(__name__)

_STAMPLESS = ("mpjpeg", "mjpeg", "h264", "hevc", "m4v", "image2pipe")
"""Formats without time stamps; FFmpeg makes them up at 25 per second, the moment of arrival is nearer to the truth."""

_CLOSE_WAIT_S = 1.0


class Capture(Protocol):
    """A device or connection that delivers pictures as they come."""

    fps: float | None
    size: tuple[int, int] | None

    def pictures(self) -> Iterator[tuple[float | None, Any]]:
        """Pairs of time stamp (seconds, or None) and picture until the other side ends or a `SourceError`."""

    def to_image(self, picture: Any) -> NDArray[np.uint8]:
        """A picture as (H, W, 3) uint8 BGR; called for delivered ones only, from the consumer's thread."""

    def close(self) -> None:
        """Let go; called by the thread that reads."""


class LiveSource(Source):
    """Reads a capture in a thread into a slot for one picture; a newer picture replaces one that nobody took.

    The frame's index counts pictures that arrived, so `dropped` ones leave gaps. `time_s` comes from the stream's
    time stamps where it has any, else from the moment of arrival; the first frame is at 0. When the stream is lost
    the last picture is still delivered, then the iteration ends and the reason is logged: nothing is made up. A
    stream that ends without a single picture raises `SourceError`.
    """

    length = None
    live = True

    def __init__(self, name: str, capture: Capture) -> None:
        """Start reading an opened capture."""
        self.name = name
        self.fps = capture.fps
        self.size = capture.size
        self.dropped = 0
        self._capture = capture
        self._news = threading.Condition()
        self._slot: tuple[int, float, Any] | None = None
        self._arrived = 0
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._frames = self._take()
        self._thread = threading.Thread(target=self._work, name=f"source {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Stop the reading thread: at the next picture, or when the connection's time limit passes."""
        with self._news:
            self._closed = True
            self._slot = None
            self._news.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_WAIT_S)

    def _work(self) -> None:
        timeline = Timeline()
        last = monotonic()
        try:
            for stamp_s, picture in self._capture.pictures():
                now = monotonic()
                time_s = timeline.place(stamp_s, now - last)
                last = now
                with self._news:
                    if self._closed:
                        return
                    self.dropped += self._slot is not None
                    self._slot = (self._arrived, time_s, picture)
                    self._arrived += 1
                    self._news.notify_all()
        except BaseException as error:  # handed over: the consumer logs or raises it in its own thread
            self._error = error
        finally:
            self._capture.close()
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _take(self) -> Iterator[Frame]:
        while True:
            with self._news:
                while self._slot is None and not self._ended and not self._closed:
                    self._news.wait(0.5)  # a wait without limit cannot be interrupted on Windows
                entry, self._slot = self._slot, None
            if entry is None or self._closed:
                break
            index, time_s, picture = entry
            yield Frame(index, time_s, self._capture.to_image(picture))
        if self._closed:
            return
        if self._error is not None and not isinstance(self._error, SourceError):
            raise self._error
        reason = str(self._error or "the other side ended it")
        if self._arrived == 0:
            raise SourceError(f"{self.name} sent no picture: {reason}")
        _logger.warning("%s ended after %d frames: %s", self.name, self._arrived, reason)


class StreamCapture:
    """A network stream or Linux camera through FFmpeg."""

    def __init__(self, uri: str, name: str, options: SourceOptions, format: str | None = None) -> None:
        """Connect.

        Args:
            uri: as FFmpeg takes it; may hold a password.
            name: as people may see it.
            options: time limit.
            format: FFmpeg's demuxer, for devices.

        Raises:
            SourceError: refused, missing, no answer within the limit, no video in it.
        """
        # `timeout` is a socket limit for rtsp, but would make rtmp listen for a caller. No `fflags=nobuffer`: it
        # throws away the packets read for probing, and the first picture then waits for the next key frame.
        rtsp = uri.lower().startswith("rtsp")
        micros = str(int(options.timeout_s * 1e6))
        extra = {"rtsp_transport": "tcp", "timeout": micros} if rtsp else {}
        self._name = name
        self._container = open_container(uri, name, format=format, timeout_s=options.timeout_s, options=extra)
        try:
            self._stream = video_stream(self._container, name)
        except SourceError:
            self._container.close()
            raise
        self._stream.thread_type = "SLICE"  # frame threads would hold back one picture each
        names = self._container.format.name.split(",")
        self._stamped = not any(known in names for known in _STAMPLESS)
        self._converter = Converter()
        self.fps = rate_of(self._stream) if self._stamped else None
        self.size = size_of(self._stream)

    def pictures(self) -> Iterator[tuple[float | None, Any]]:
        """Decode until the connection is lost; a damaged packet costs its own pictures only.

        Raises:
            SourceError: the connection broke or stalled.
        """
        import av

        try:
            for packet in self._container.demux(self._stream):
                with suppress(av.error.InvalidDataError):
                    for picture in packet.decode():
                        yield (stamp_of(picture) if self._stamped else None), picture
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(reason_of(error)) from None

    def to_image(self, picture: Any) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR."""
        return self._converter.to_image(picture)

    def close(self) -> None:
        """Disconnect."""
        self._container.close()


class CameraCapture:
    """A camera through OpenCV, for systems where FFmpeg has no numbered devices (macOS, Windows)."""

    def __init__(self, device: int | str, name: str) -> None:
        """Open a camera by its number.

        Raises:
            SourceError: no such camera.
        """
        import cv2

        self._camera = cv2.VideoCapture(device)
        if not self._camera.isOpened():
            raise SourceError(f"cannot open {name}: no such camera, or another program uses it")
        fps = float(self._camera.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps <= 1000 else None
        width, height = (int(self._camera.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.size = (width, height) if width > 0 and height > 0 else None

    def pictures(self) -> Iterator[tuple[float | None, Any]]:
        """Grab until the camera stops."""
        while True:
            alive, image = self._camera.read()
            if not alive:
                return
            yield None, image

    def to_image(self, picture: Any) -> NDArray[np.uint8]:
        """OpenCV delivers BGR already."""
        return np.asarray(picture, np.uint8)

    def close(self) -> None:
        """Release the camera."""
        self._camera.release()


def open_stream(uri: str, options: SourceOptions) -> LiveSource:
    """A network stream: rtsp, rtmp, http (MJPEG, HLS, MPEG-TS), udp, tcp, srt.

    Raises:
        SourceError: it cannot be opened.
    """
    name = mask_credentials(uri)
    return LiveSource(name, StreamCapture(uri, name, options))


def open_camera(uri: str, options: SourceOptions) -> LiveSource:
    """A camera by its number or, on Linux, its `/dev/videoN`.

    Raises:
        SourceError: missing, busy, or not allowed.
    """
    number = int(uri.rpartition("video")[2])
    if not sys.platform.startswith("linux"):
        name = f"camera {number}"
        return LiveSource(name, CameraCapture(number, name))
    device = f"/dev/video{number}"
    return LiveSource(device, StreamCapture(device, device, options, format="v4l2"))
