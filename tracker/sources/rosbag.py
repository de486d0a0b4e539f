"""`rosbag:FILE_OR_FOLDER?topic=/camera/image`: the images of a ROS 2 or ROS 1 bag, through the `rosbags` package."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np

from tracker.errors import FrameError, SourceError
from tracker.ros import COMPRESSED_TYPE, IMAGE_TYPE, read_frame, stamp_of
from tracker.sources.source import Source, SourceOptions
from tracker.sources.timeline import Timeline
from tracker.types import Frame

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

_SECOND = 1_000_000_000
_LOOK_AHEAD = 16  # messages from which the frame rate is guessed
_UNKNOWN_FPS = 30.0
_CLOSE_WAIT_S = 2.0


class RosbagSource(Source):
    """Reads `sensor_msgs/Image` or `CompressedImage` messages of one topic, in the order of the bag; drops nothing.

    A folder with `metadata.yaml`, a single `.mcap` or `.db3` file, or a ROS 1 `.bag`. `time_s` comes from the headers'
    stamps (see `Timeline` for bad ones), or from the times of recording where the first header has none.
    `Frame.header` is the message's, which the `rosbag` sink gives to the tracks. `fps` is the usual rate at the
    beginning.

    Attributes:
        topic: the one that is read.
    """

    live = False
    dropped = 0

    def __init__(self, uri: str, options: SourceOptions) -> None:
        """Open a bag; the topic may be left out where only one has images.

        Raises:
            SourceError: no bag, no topic with images or several, another topic, `rosbags` is not installed.
        """
        self.name = uri
        path, wanted = parse_address(uri)
        self._reader = _open(uri, path)
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._connections = _choose(uri, self._reader.connections, wanted)
            self.topic = self._connections[0].topic
            self.length = sum(connection.msgcount for connection in self._connections)
            self._messages = self._read_messages()
            self._ahead = list(islice(self._messages, _LOOK_AHEAD))
            if not self._ahead:
                raise SourceError(f"cannot read {uri}: {self.topic} holds no message")
            self._by_header = stamp_of(self._ahead[0][1].header) > 0
            self.fps = _usual_rate([self._stamp(*entry) for entry in self._ahead])
            first = self._frame(0, 0.0, self._ahead[0][1])
            self.size = (first.width, first.height)
        except BaseException:
            self.close()
            raise
        self._frames = self._read()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Close the bag; a message that another thread is reading right now is finished first."""
        already, self._closed = self._closed, True
        if not already and self._lock.acquire(timeout=_CLOSE_WAIT_S):
            try:
                self._reader.close()
            finally:
                self._lock.release()

    def _read(self) -> Iterator[Frame]:
        timeline, step_s = Timeline(), 1.0 / (self.fps or _UNKNOWN_FPS)
        start = self._stamp(*self._ahead[0]) or 0
        index = 0
        while (entry := self._next()) is not None:
            stamp = self._stamp(*entry)
            since_s = None if stamp is None else (stamp - start) / _SECOND  # a difference of integers loses nothing
            yield self._frame(index, timeline.place(since_s, step_s), entry[1])
            index += 1

    def _next(self) -> tuple[int, Any] | None:
        with self._lock:
            if self._closed:
                return None
            return self._ahead.pop(0) if self._ahead else next(self._messages, None)

    def _read_messages(self) -> Iterator[tuple[int, Any]]:
        """Pairs of time of recording (ns) and message."""
        count = 0
        try:
            for connection, recorded, data in self._reader.messages(self._connections):
                yield recorded, self._reader.deserialize(data, connection.msgtype)
                count += 1
        except _bag_errors() as error:
            raise SourceError(f"{self.name} broke after {count} messages of {self.topic}: {_line(error)}") from None

    def _stamp(self, recorded: int, message: Any) -> int | None:
        """Nanoseconds on the clock that was chosen; None where a header has none."""
        return (stamp_of(message.header) or None) if self._by_header else recorded

    def _frame(self, index: int, time_s: float, message: Any) -> Frame:
        try:
            return read_frame(message, index, time_s)
        except FrameError as error:
            raise SourceError(f"cannot read frame {index} of {self.topic} in {self.name}: {error}") from None


def parse_address(uri: str) -> tuple[Path, str | None]:
    """Path and topic of a `rosbag:PATH?topic=NAME` address; None for no topic.

    Raises:
        SourceError: no path, or another option than `topic`.
    """
    path, _, query = uri.removeprefix("rosbag:").partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    topic = options.pop("topic", None)
    if not path or options or topic == "":
        raise SourceError(f"cannot open {uri}: expected rosbag:FILE_OR_FOLDER?topic=/camera/image")
    return Path(path), topic


def _open(uri: str, path: Path) -> AnyReader:
    if not path.exists():
        raise SourceError(f"cannot open {uri}: no such file or folder: {path}")
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ModuleNotFoundError as error:
        raise SourceError(f"cannot open {uri}: {error.name} is missing; pip install 'trackstream[ros]'") from None
    try:
        # bags of Humble and before hold no definitions; those of image messages have not changed since
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except _bag_errors() as error:
        raise SourceError(f"cannot open {uri}: not a bag, or a damaged one: {_line(error)}") from None
    return reader


def _choose(uri: str, connections: list[Connection], wanted: str | None) -> list[Connection]:
    """Connections of the wanted topic, or of the only one with images."""
    images = [connection for connection in connections if connection.msgtype in (IMAGE_TYPE, COMPRESSED_TYPE)]
    topics = sorted({connection.topic for connection in images})
    known = ", ".join(topics) or "none"
    if wanted is None and len(topics) != 1:
        raise SourceError(f"cannot open {uri}: add ?topic=NAME; topics with images are {known}")
    topic = topics[0] if wanted is None else wanted
    if topic not in topics:
        raise SourceError(f"cannot open {uri}: no images under {topic}; topics with images are {known}")
    return [connection for connection in images if connection.topic == topic]


def _usual_rate(stamps: list[int | None]) -> float | None:
    """Frames per second, from the middle one of the gaps; None from fewer than two good stamps."""
    known = np.array([stamp for stamp in stamps if stamp is not None], np.int64)
    gaps = np.diff(known)
    gaps = gaps[gaps > 0]
    return _SECOND / float(np.median(gaps)) if len(gaps) else None


def _bag_errors() -> tuple[type[Exception], ...]:
    """What reading a bag that is none, or a damaged one, raises."""
    from rosbags.highlevel import AnyReaderError
    from rosbags.rosbag1 import ReaderError as Ros1Error
    from rosbags.rosbag2 import ReaderError as Ros2Error

    # damage shows as whatever the parsers of lengths, texts and rows make of it
    found: tuple[type[Exception], ...] = (AnyReaderError, Ros1Error, Ros2Error, OSError, ValueError, LookupError)
    with suppress(ModuleNotFoundError):
        from apsw import Error as SqliteError

        found += (SqliteError,)
    return (*found, EOFError, AssertionError)


def _line(error: Exception) -> str:
    """The reason in one line."""
    return " ".join(str(error).split()) or type(error).__name__
