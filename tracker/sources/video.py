"""Video files and standard input: every frame, in order."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from tracker.errors import SourceError
from tracker.sources.address import is_url, mask_credentials
from tracker.sources.container import (
    Converter,
    check_local_file,
    open_container,
    quarter_turns,
    rate_of,
    reason_of,
    stamp_of,
    video_stream,
)
from tracker.sources.source import Source, SourceOptions
from tracker.sources.timeline import Timeline
from tracker.types import Frame

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_UNKNOWN_FPS = 30.0  # step between frames of a file that knows neither stamps nor rate

_CLOSE_WAIT_S = 2.0


class VideoSource(Source):
    """Reads a container with FFmpeg; drops nothing, reads no faster than it is asked.

    `time_s` is the container's time stamp minus that of the first frame (see `Timeline` for bad ones), so files with
    a variable rate keep their true times. Frames before a break in the file are all delivered; then `SourceError`
    names the frame after which it broke. Damage that FFmpeg repairs or skips by itself (MPEG-TS, Matroska, AVI find
    their way again) costs its own pictures and is no error.
    """

    live = False
    dropped = 0

    def __init__(self, uri: str, options: SourceOptions) -> None:
        """Open a path, an http(s) address of a video file, or `-` for standard input.

        Raises:
            SourceError: missing, empty, not a video, no video stream.
        """
        self.name = "stdin" if uri == "-" else mask_credentials(uri)
        timeout_s = None
        if uri == "-":
            if sys.__stdin__ is None or sys.__stdin__.isatty():
                raise SourceError("cannot read a video from stdin: it is a terminal; pipe MPEG-TS, Matroska or Y4M in")
            uri = "pipe:0"
        elif is_url(uri):
            timeout_s = options.timeout_s
        else:
            check_local_file(uri)
            uri = f"file:{uri}"
        self._container = open_container(uri, self.name, timeout_s=timeout_s, options={})
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._start()
        except SourceError:
            self.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Close the file; a frame that another thread is reading right now is finished first.

        A read that does not come back (a pipe whose writer sleeps) is not waited for: the process's end closes it.
        """
        self._closed = True
        if self._lock.acquire(timeout=_CLOSE_WAIT_S):
            try:
                self._container.close()
            finally:
                self._lock.release()

    def _start(self) -> None:
        self._stream = video_stream(self._container, self.name)
        self._stream.thread_type = "AUTO"
        self._stated_length = self._stream.frames or None
        self.fps = rate_of(self._stream)
        self.length = self._stated_length or self._estimated_length()
        self._pictures = self._decode()
        self._first = self._next_picture()
        if self._first is None:
            raise SourceError(f"cannot read {self.name}: its video stream holds no picture")
        width, height = self._first.width, self._first.height
        self.size = (height, width) if quarter_turns(self._first) % 2 else (width, height)
        self._frames = self._read()

    def _estimated_length(self) -> int | None:
        """Duration times rate, where the header does not count frames (Matroska, MPEG-TS)."""
        duration = self._container.duration  # microseconds
        return round(duration / 1e6 * self.fps) if duration and duration > 0 and self.fps else None

    def _read(self) -> Iterator[Frame]:
        timeline, converter = Timeline(), Converter()
        step_s = 1.0 / (self.fps or _UNKNOWN_FPS)
        picture = self._first
        self._first = None
        index = 0
        while picture is not None and not self._closed:
            yield Frame(index, timeline.place(stamp_of(picture), step_s), converter.to_image(picture))
            index += 1
            picture = self._next_picture()

    def _next_picture(self) -> VideoFrame | None:
        with self._lock:
            return None if self._closed else next(self._pictures, None)

    def _decode(self) -> Iterator[VideoFrame]:
        import av

        count = 0
        broken = None
        cut = False
        try:
            for packet in self._container.demux(self._stream):
                cut = packet.is_corrupt if packet.size else cut
                for picture in packet.decode():
                    count += 1
                    yield picture
        except (av.FFmpegError, OSError, ValueError) as error:
            damaged = isinstance(error, av.error.InvalidDataError)
            broken = "the file is damaged or cut short" if damaged else reason_of(error)
        if broken is not None:  # pictures that the decoder's threads still hold are good
            with suppress(av.FFmpegError, OSError, ValueError):
                for picture in self._stream.codec_context.decode(None):
                    count += 1
                    yield picture
        elif cut and self._stated_length:
            broken = f"the file is cut short, its header says {self._stated_length} frames"
        complete = self._stated_length is not None and count >= self._stated_length  # then nothing is missing
        if broken is not None and not complete:
            place = f"after frame {count - 1} (counted from 0)" if count else "before its first frame"
            raise SourceError(f"{self.name} broke {place}: {broken}")
