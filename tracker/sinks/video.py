"""`video.mp4`: the frames with their tracks painted on, as H.264 that every browser plays."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import SinkError, why
from tracker.sinks.crossings import CrossingsSink
from tracker.sinks.overlay import Overlay, OverlayStyle
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.sinks.textfile import make_parent
from tracker.types import Frame, Tracks

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_CLOCK = 90_000  # ticks per second of the video's time stamps
_UNKNOWN_FPS = 30.0


class VideoSink(Sink):
    """Encodes with libx264 (yuv420p) through PyAV.

    Every frame keeps its own time, so a live source that dropped frames plays at true speed. The first frame decides
    the size; odd sides get one more row or column, frames of another size are scaled to the first. While it is made
    the file is fragmented, so that what a killed process leaves can be played; `close` makes a plain MP4 of it.
    """

    def __init__(
        self, path: str | os.PathLike[str], info: RunInfo, *, style: OverlayStyle | None = None,
        counts: CrossingsSink | None = None,
    ) -> None:  # fmt: skip
        """Create the file (parents are made); one that is there already is emptied, whoever else reads it.

        Args:
            path: of the file; its suffix says the container.
            info: about the run.
            style: how to paint.
            counts: its lines and zones are painted with their counts; it is to be written before this sink.

        Raises:
            SinkError: it cannot be created.
        """
        import av

        self._name = os.fspath(path)
        self._fps = info.fps or _UNKNOWN_FPS
        self._overlay = Overlay(info, style, counts)
        self._stream: VideoStream | None = None
        self._start_s = 0.0
        self._last_pts = -1
        make_parent(path)
        options = {"flush_packets": "1"}
        if self._name.endswith((".mp4", ".mov")):
            options["movflags"] = "+hybrid_fragmented+frag_keyframe"
        try:
            Path(path).open("wb").close()  # PyAV opens it with the first frame only
            self._container: OutputContainer | None = av.open(self._name, "w", options=options)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise self._cannot_write(error) from None

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Paint and encode one frame.

        Raises:
            SinkError: the disk is full, the encoder refuses, or the sink is closed.
        """
        import av

        if self._container is None:
            raise SinkError(f"cannot write {self._name}: it is closed")
        image = self._overlay.paint(frame, tracks)
        try:
            if self._stream is None:
                self._stream = self._add_stream(frame)
            picture = av.VideoFrame.from_ndarray(_fit(image, self._stream.width, self._stream.height), format="bgr24")
            self._last_pts = max(round((frame.time_s - self._start_s) * _CLOCK), self._last_pts + 1)
            picture.pts = self._last_pts
            picture.time_base = Fraction(1, _CLOCK)
            self._container.mux(self._stream.encode(picture))
        except (av.FFmpegError, ValueError, OSError) as error:
            raise self._cannot_write(error) from None

    def close(self) -> None:
        """Encode what the encoder still holds and finish the file. Without a single frame the file is removed.

        Raises:
            SinkError: the end of the file cannot be written.
        """
        import av

        container, self._container = self._container, None
        if container is None:
            return
        try:
            if self._stream is not None:
                container.mux(self._stream.encode(None))
            container.close()
        except (av.FFmpegError, ValueError, OSError) as error:
            raise self._cannot_write(error) from None
        if self._stream is None:
            Path(self._name).unlink(missing_ok=True)

    def _add_stream(self, frame: Frame) -> VideoStream:
        assert self._container is not None
        rate = Fraction(self._fps).limit_denominator(1001)
        # without B-frames (bf=0) the first picture is at 0 in a fragmented file too
        options = {"preset": "superfast", "crf": "21", "bf": "0"}
        stream = self._container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height = frame.width + frame.width % 2, frame.height + frame.height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _CLOCK)
        stream.codec_context.gop_size = max(1, round(2 * self._fps))  # a key frame, and a fragment, every two seconds
        self._start_s = frame.time_s
        return stream

    def _cannot_write(self, error: BaseException) -> SinkError:
        return SinkError(f"cannot write {self._name}: {why(error)}")


def _fit(image: NDArray[np.uint8], width: int, height: int) -> NDArray[Any]:
    """`image` at the video's size: padded by one pixel where a side was odd, else scaled."""
    import cv2

    more = height - image.shape[0], width - image.shape[1]
    if more == (0, 0):
        return image
    if more[0] in (0, 1) and more[1] in (0, 1):
        fitted = cv2.copyMakeBorder(image, 0, more[0], 0, more[1], cv2.BORDER_REPLICATE)
    else:
        fitted = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(fitted)
