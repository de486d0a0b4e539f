"""Cameras and network streams: the newest frame, a count of the dropped ones, and the way back when they are lost."""

from __future__ import annotations

import logging
import math
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple, Protocol

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

_PLAYLISTS = ("hls", "dash")  # formats whose file has a size, but not that of the video

_ENDED_BY_OTHER = "the other side ended it"

_CLOSE_WAIT_S = 1.0
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 30.0  # between two tries to reconnect: doubled each time, cut by up to a half


class Capture(Protocol):
    """A device or connection that delivers pictures as they come.

    Attributes:
        fps: as in `Source`.
        size: as in `Source`.
        finite: what it delivers has an end, like a recording that a server plays: ending is no loss.
    """

    fps: float | None
    size: tuple[int, int] | None
    finite: bool

    def pictures(self) -> Iterator[tuple[float | None, float, Any]]:
        """Time stamp (seconds, or None), moment of arrival (`monotonic`) and picture, until the other side ends.

        Raises:
            SourceError: the connection broke.
        """

    def to_image(self, picture: Any) -> NDArray[np.uint8]:
        """A picture as (H, W, 3) uint8 BGR; called for delivered ones only, from the consumer's thread."""

    def close(self) -> None:
        """Let go; called by the thread that reads."""


class _Arrival(NamedTuple):
    """A picture that waits to be taken, what `Frame` says about it, and who can convert it."""

    number: int
    time_s: float
    picture: Any
    epoch: int
    arrived_s: float
    capture: Capture


class LiveSource(Source):
    """Reads a capture in a thread into a slot for one picture; a newer picture replaces one that nobody took.

    The frame's index counts pictures that arrived, so `dropped` ones leave gaps. `time_s` comes from the stream's
    time stamps where it has any, else from the moment of arrival; the first frame is at 0.

    When the stream is lost, the last picture is still delivered; then nothing comes, and nothing is made up, until the
    stream is back: its next frame has a higher `epoch` and is as much later as time has passed. Tries to reconnect
    come at growing intervals with jitter. Where that is not wanted, takes too long, or the capture is finite, the
    iteration ends and the reason is logged. A stream that ends without a single picture raises `SourceError`.

    All frames have the size of the first: where the stream changes it (adaptive streaming, another camera), pictures
    are scaled, so tracks go on in the same pixels.

    Args:
        name: for people.
        capture: an opened one.
        connect: opens the next one, or raises `SourceError`; None for never.
        reconnect_s: seconds after the last picture at which a lost stream is given up.
    """

    length = None
    live = True

    def __init__(
        self,
        name: str,
        capture: Capture,
        connect: Callable[[], Capture] | None = None,
        reconnect_s: float = math.inf,
    ) -> None:
        self.name = name
        self.fps = capture.fps
        self.size = capture.size
        self.dropped = 0
        self.on_news: Callable[[], object] | None = None
        """Called by the reading thread when `pending` has become true."""
        self._connect = connect
        self._reconnect_s = reconnect_s
        self._delay_s = _FIRST_DELAY_S
        self._news = threading.Condition()
        self._slot: _Arrival | None = None
        self._timeline = Timeline()
        self._arrived = self._epoch = 0
        self._last_s = monotonic()
        self._first_shape: tuple[int, ...] | None = None
        self._last_shape: tuple[int, ...] | None = None
        self._ended = self._closed = self._told = False
        self._reason = ""
        self._error: BaseException | None = None
        self._frames = iter(self.take, None)
        self._thread = threading.Thread(target=self._work, args=(capture,), name=f"source {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    @property
    def pending(self) -> bool:
        """`take` would not wait: there is a frame that nobody took, or the end."""
        return self._slot is not None or self._ended or self._closed

    def take(self) -> Frame | None:
        """The newest frame, once; waits for one. None at the end.

        Raises:
            SourceError: the stream ended without a single picture.
        """
        with self._news:
            while not self.pending:
                self._news.wait(0.5)  # a wait without limit cannot be interrupted on Windows
            entry, self._slot = self._slot, None
        if self._closed:
            return None
        if entry is None:
            self._tell_end()
            return None
        image = self._fit(entry.capture.to_image(entry.picture))
        return Frame(entry.number, entry.time_s, image, entry.epoch, entry.arrived_s)

    def close(self) -> None:
        """Stop the reading thread: at the next picture, or when the connection's time limit passes."""
        with self._news:
            self._closed = True
            self._slot = None
            self._news.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_WAIT_S)

    # ------------------------------------------------------------------ in the reading thread
    def _work(self, capture: Capture | None) -> None:
        try:
            while capture is not None:
                start = monotonic()
                self._reason = self._read(capture)
                if self._last_s - start > self._delay_s:  # it did bring pictures for a while
                    self._delay_s = _FIRST_DELAY_S
                capture = None if capture.finite and not self._reason else self._reconnect()
        except BaseException as error:  # handed over: the consumer raises it in its own thread
            self._error = error
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()
            self._call_out()

    def _read(self, capture: Capture) -> str:
        """Read to the end of a connection; returns why it broke, "" where the other side ended it."""
        found_again = self._arrived > 0
        self._timeline.restart()
        try:
            for stamp_s, arrived_s, picture in capture.pictures():
                time_s = self._timeline.place(stamp_s, arrived_s - self._last_s)
                self._last_s = arrived_s
                self._epoch += found_again
                found_again = False
                with self._news:
                    if self._closed:
                        return ""
                    self.dropped += self._slot is not None
                    self._slot = _Arrival(self._arrived, time_s, picture, self._epoch, arrived_s, capture)
                    self._arrived += 1
                    self._news.notify_all()
                self._call_out()
        except SourceError as error:
            return str(error)
        finally:
            capture.close()
        return ""

    def _reconnect(self) -> Capture | None:
        """The next connection, after as many tries as it takes; None where there shall be none."""
        if self._connect is None or not self._arrived or self._closed or not self._reconnect_s:
            return None
        _logger.warning(
            "%s lost after %d frames: %s; reconnecting", self.name, self._arrived, self._reason or _ENDED_BY_OTHER
        )
        while (left_s := self._last_s + self._reconnect_s - monotonic()) > 0:
            with self._news:
                wait_s = min(left_s, self._delay_s * random.uniform(0.5, 1.0))
                if self._news.wait_for(lambda: self._closed, wait_s):
                    return None
            self._delay_s = min(2 * self._delay_s, _LONGEST_DELAY_S)
            try:
                return self._connect()
            except SourceError as error:
                self._reason = str(error)
        return None

    def _call_out(self) -> None:
        tell = self.on_news
        if tell is not None:
            tell()

    # ------------------------------------------------------------------ in the consumer's thread
    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image at the size of the first one."""
        if self._first_shape is None:
            self._first_shape = self._last_shape = image.shape
            self.size = (image.shape[1], image.shape[0])
        if image.shape != self._last_shape:
            _logger.warning(
                "%s sends %dx%d now; scaled to %dx%d", self.name, image.shape[1], image.shape[0], *(self.size or ())
            )
            self._last_shape = image.shape
        if image.shape == self._first_shape:
            return image
        import cv2

        return np.asarray(cv2.resize(image, self.size, interpolation=cv2.INTER_AREA), np.uint8)

    def _tell_end(self) -> None:
        if self._told:
            return
        self._told = True
        if self._error is not None:
            raise self._error
        reason = self._reason or _ENDED_BY_OTHER
        if self._arrived == 0:
            raise SourceError(f"{self.name} sent no picture: {reason}")
        _logger.warning("%s ended after %d frames: %s", self.name, self._arrived, reason)


class StreamCapture:
    """A network stream or Linux camera through FFmpeg.

    FFmpeg hands out a picture of H.264 in MPEG-TS when the second one after it begins, and it arrives only then; RTSP
    and MJPEG have no such delay (`tests/sources/test_live.py` shows both).
    """

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
        stated = (self._container.duration or 0) > 0  # neither cameras nor live playlists state one
        self.finite = stated or (self._container.size > 0 and not any(known in names for known in _PLAYLISTS))
        self._converter = Converter()
        self.fps = rate_of(self._stream) if self._stamped else None
        self.size = size_of(self._stream)

    def pictures(self) -> Iterator[tuple[float | None, float, Any]]:
        """Decode until the connection is lost; a picture arrives with its last packet.

        A damaged packet costs its own pictures only.

        Raises:
            SourceError: the connection broke or stalled.
        """
        import av

        try:
            for packet in self._container.demux(self._stream):
                arrived_s = monotonic()
                with suppress(av.error.InvalidDataError):
                    for picture in packet.decode():
                        yield (stamp_of(picture) if self._stamped else None), arrived_s, picture
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

    finite = False

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

    def pictures(self) -> Iterator[tuple[float | None, float, Any]]:
        """Grab until the camera stops."""
        while True:
            alive, image = self._camera.read()
            if not alive:
                return
            yield None, monotonic(), image

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
    return _open(name, lambda: StreamCapture(uri, name, options), options)


def open_camera(uri: str, options: SourceOptions) -> LiveSource:
    """A camera by its number or, on Linux, its `/dev/videoN`.

    Raises:
        SourceError: missing, busy, or not allowed.
    """
    number = int(uri.rpartition("video")[2])
    if not sys.platform.startswith("linux"):
        name = f"camera {number}"
        return _open(name, lambda: CameraCapture(number, name), options)
    device = f"/dev/video{number}"
    return _open(device, lambda: StreamCapture(device, device, options, format="v4l2"), options)


def _open(name: str, connect: Callable[[], Capture], options: SourceOptions) -> LiveSource:
    return LiveSource(name, connect(), connect, options.reconnect_s)
