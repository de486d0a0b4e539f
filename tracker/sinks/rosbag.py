"""`tracks_bag/`: a ROS 2 bag with the tracks as `vision_msgs` and their masks as label images.

`tracker.ros` says how a track stands in a message. Needs the `rosbags` package (extra `ros`), no ROS.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.errors import SinkError, why
from tracker.ros import IMAGE_TYPE, TRACKS_TYPE, Ages, Header, Messages, make_header, make_labels, make_tracks
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.sinks.textfile import make_parent
from tracker.types import Frame, Tracks

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

TRACKS, ALL_TRACKS, LABELS = "/tracks", "/tracks/all", "/tracks/labels"
"""Topics: what the system reports; the whole snapshot, coasting and tentative tracks too; the label image of TRACKS."""

VISION_MSGS = {
    "Point2D": "float64 x\nfloat64 y\n",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta\n",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n",
    "ObjectHypothesis": "string class_id\nfloat64 score\n",
    "ObjectHypothesisWithPose": "ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n",
    "Detection2D": "std_msgs/Header header\nObjectHypothesisWithPose[] results\nBoundingBox2D bbox\nstring id\n",
    "Detection2DArray": "std_msgs/Header header\nDetection2D[] detections\n",
}
"""Fields of the `vision_msgs` 4.x that tracks need; `rosbags` does not carry them."""

_MARK = ".trackstream"
_OURS = (_MARK, "metadata.yaml")


class RosbagSink(Sink):
    """A bag in MCAP files (zstd), of version 8: Humble (with `rosbag2_storage_mcap`) and everything later play it.

    Every frame has a message in `/tracks` and `/tracks/all`, and one in `/tracks/labels` where the model gives masks.
    Headers are those of the image where the frame came from a bag (`Frame.header`); otherwise stamps count from 0 and
    `frame_id` is the name of the source. The bag can be played after `close` only; `mcap recover` saves what a killed
    process wrote.
    """

    by_default = False

    def __init__(self, path: str | os.PathLike[str], info: RunInfo) -> None:
        """Create the folder; the bag of an earlier run, known by the file `.trackstream` in it, is removed.

        Raises:
            SinkError: it cannot be created, something else is there, or `rosbags` is not installed.
        """
        self._name = os.fspath(path)
        if self._name == "-":
            raise SinkError("cannot write a bag to stdout: name a folder, rosbag=FOLDER")
        try:
            from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
        except ModuleNotFoundError as error:
            raise SinkError(f"cannot write a bag: {error.name} is missing; pip install 'trackstream[ros]'") from None
        make_parent(path)
        _clear(Path(path))
        self._info = info
        self._ages = Ages()
        self._types = typestore()
        self._messages = Messages(self._types.types.__getitem__, lambda data: data)
        writer = Writer(Path(path), version=8, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        try:
            writer.open()
            Path(path, _MARK).touch()
        except OSError as error:
            raise self._failed(error) from None
        self._writer: Writer | None = writer
        self._connections = {
            topic: writer.add_connection(topic, kind, typestore=self._types)
            for topic, kind in ((TRACKS, TRACKS_TYPE), (ALL_TRACKS, TRACKS_TYPE), (LABELS, IMAGE_TYPE))
        }

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append the frame's messages.

        Raises:
            SinkError: the disk is full, or another failure to write.
        """
        if self._writer is None:
            raise SinkError(f"cannot write {self._name}: it is closed")
        own = frame.header
        if not isinstance(own, Header):
            own = Header(round(frame.time_s * 1e9), self._info.source)
        header = make_header(own, self._messages)
        seen, ages, names = tracks.confirmed, self._ages.update(tracks), self._info.class_names
        messages = {
            TRACKS: make_tracks(seen, header, self._messages, names, ages[: len(seen)]),
            ALL_TRACKS: make_tracks(tracks, header, self._messages, names, ages),
            LABELS: make_labels(seen, header, self._messages),
        }
        for topic, message in messages.items():
            if message is not None:
                self._put(topic, own.stamp_ns, message)

    def _put(self, topic: str, stamp: int, message: Any) -> None:
        assert self._writer is not None
        connection = self._connections[topic]
        try:
            self._writer.write(connection, stamp, self._types.serialize_cdr(message, connection.msgtype))
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Finish the bag. Calling it twice is harmless."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> SinkError:
        return SinkError(f"cannot write {self._name}: {why(error)}")


def typestore() -> Typestore:
    """Message types of ROS 2 Humble, and those of `vision_msgs` that tracks need, as `rosbags` keeps them."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in VISION_MSGS.items():
        store.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    return store


def _clear(path: Path) -> None:
    """Remove the bag of an earlier run, and nothing else.

    Raises:
        SinkError: there is something else.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise SinkError(f"cannot write {path}: a file of this name is there; name another folder")
    found = sorted(path.iterdir())
    ours = (path / _MARK) in found
    strange = [file.name for file in found if not ours or (file.name not in _OURS and file.suffix != ".mcap")]
    if strange:
        raise SinkError(f"cannot write {path}: {strange[0]} is there, and not from a run; name another folder")
    shutil.rmtree(path)
