"""ROS 2 without ROS: image messages become frames, tracks become `vision_msgs` and a label image.

Nothing here imports ROS. Functions that make messages are given the message classes (`Messages`): those of a running
node, or those of the `rosbags` package, which reads and writes bags on any machine. Functions that read messages look
at fields only, so messages of ROS 1 do as well.

A track is a `vision_msgs/Detection2D` (4.x, Humble and later):

    header          the image's own, stamp and frame_id
    id              the track's id in decimal; never reused
    bbox            centre and size in pixels of the image, 0-based: pixel column k covers [k, k + 1); theta is 0
    results[0]      class name (its index in decimal where no name is known) and score
    results[1] ...  what the message type has no field for, as `key=value` in `class_id`, each with the score 0, which
                    says of a class that it is not this one: `status=` confirmed, tentative or coasting, `age=` seconds
                    since the track began, `hits=` detections taken, `misses=` frames since the last one

The label image is mono16 with the same header: pixel k + 1 belongs to `detections[k]` of the array with that stamp, 0
to none. It holds rows and not ids because ids of a robot that runs for months do not fit into 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import FrameError
from tracker.types import Frame, Tracks, TrackState

TRACKS_TYPE, IMAGE_TYPE, COMPRESSED_TYPE = (
    "vision_msgs/msg/Detection2DArray",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
)
_SECOND = 1_000_000_000
_MOST_LABELS = 65_535
_STATUS = {int(state): state.name.lower() for state in TrackState}

_ENCODINGS: dict[str, tuple[int, str | None]] = {
    "bgr8": (3, None), "8UC3": (3, None), "rgb8": (3, "COLOR_RGB2BGR"),
    "mono8": (1, "COLOR_GRAY2BGR"), "8UC1": (1, "COLOR_GRAY2BGR"), "mono16": (2, "COLOR_GRAY2BGR"),
    "bgra8": (4, "COLOR_BGRA2BGR"), "8UC4": (4, "COLOR_BGRA2BGR"), "rgba8": (4, "COLOR_RGBA2BGR"),
    "yuv422": (2, "COLOR_YUV2BGR_UYVY"), "uyvy": (2, "COLOR_YUV2BGR_UYVY"),
    "yuv422_yuy2": (2, "COLOR_YUV2BGR_YUY2"), "yuyv": (2, "COLOR_YUV2BGR_YUY2"),
}  # fmt: skip
"""`Image.encoding` -> bytes per pixel, OpenCV's conversion to BGR."""


@dataclass(frozen=True, slots=True)
class Header:
    """`Frame.header` of a frame that came as a message; whatever is made of it carries the same.

    Attributes:
        stamp_ns: the stamp, in nanoseconds as it stood there; `Frame.time_s` is what trackers go by.
        frame_id: the frame of reference.
    """

    stamp_ns: int
    frame_id: str

    @classmethod
    def of(cls, message: Any) -> Header:
        """That of an image message."""
        return cls(stamp_of(message.header), str(message.header.frame_id))


@dataclass(frozen=True, slots=True)
class Messages:
    """Where message classes come from.

    Attributes:
        find: full name (`std_msgs/msg/Header`) -> class that takes its fields as keywords. In a node this is
            `rosidl_runtime_py.utilities.get_message`, for bags `typestore.types.__getitem__`.
        pack: (n,) uint8 -> what this side takes for `uint8[]`: a node wants `array.array("B", ...)`.
    """

    find: Callable[[str], Any]
    pack: Callable[[NDArray[np.uint8]], Any]

    def make(self, name: str, **fields: Any) -> Any:
        """A message; `name` without the `msg/` in its middle."""
        package, _, kind = name.partition("/")
        return self.find(f"{package}/msg/{kind}")(**fields)


class Ages:
    """Remembers when tracks began; holds live tracks only."""

    def __init__(self) -> None:
        self._born: dict[int, float] = {}

    def update(self, tracks: Tracks) -> NDArray[np.float64]:
        """(T,) seconds since each track was first in a snapshot; to be called with every snapshot, all tracks."""
        born, now = self._born, tracks.time_s
        self._born = {track_id: born.get(track_id, now) for track_id in tracks.ids.tolist()}
        return now - np.fromiter(self._born.values(), np.float64, len(self._born))


def stamp_of(header: Any) -> int:
    """Stamp of a `std_msgs/Header` in nanoseconds; 0 where a driver left it empty."""
    return int(header.stamp.sec) * _SECOND + int(header.stamp.nanosec)


def make_header(header: Header, messages: Messages) -> Any:
    """A `std_msgs/Header`."""
    seconds, nanoseconds = divmod(header.stamp_ns, _SECOND)
    stamp = messages.make("builtin_interfaces/Time", sec=seconds, nanosec=nanoseconds)
    return messages.make("std_msgs/Header", stamp=stamp, frame_id=header.frame_id)


def read_frame(message: Any, index: int, time_s: float) -> Frame:
    """A `sensor_msgs/Image` or `CompressedImage` as a frame; arguments, and errors of `read_image`, as of `Frame`."""
    return Frame(index, time_s, read_image(message), header=Header.of(message))


def read_image(message: Any) -> NDArray[np.uint8]:
    """Pixels of a `sensor_msgs/Image` or `CompressedImage`, of ROS 2 or 1.

    `bgr8` without padding is not copied where its memory may be written. mono16 is scaled to 8 bits as cv_bridge does.
    The byte order flag counts for mono16 only; drivers set it at random where it means nothing.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        FrameError: an encoding that is no colour or grey picture (depth, Bayer), too few bytes, big-endian mono16, or
            compressed data that is not a picture.
    """
    return _read_compressed(message) if hasattr(message, "format") else _read_raw(message)


def _read_raw(message: Any) -> NDArray[np.uint8]:
    height, width, step, encoding = int(message.height), int(message.width), int(message.step), str(message.encoding)
    if encoding not in _ENCODINGS:
        raise FrameError(f"expected an image in one of {', '.join(_ENCODINGS)}, got {encoding!r}; convert it first")
    depth, conversion = _ENCODINGS[encoding]
    data = np.frombuffer(message.data, np.uint8)
    row = width * depth
    if row == 0 or height == 0:
        raise FrameError(f"expected an image with pixels, got {width}x{height}")
    if step < row or len(data) < step * (height - 1) + row:
        raise FrameError(
            f"expected {width}x{height} {encoding} in rows of {row} bytes or more, got a step of {step} and "
            f"{len(data)} bytes"
        )
    if encoding == "mono16":
        if message.is_bigendian:
            raise FrameError("expected mono16 in little-endian bytes, got big-endian; republish it on its own machine")
        wide = np.ndarray((height, width), "<u2", data, strides=(step, 2))
        pixels = np.round(wide * np.float32(255 / 65535)).astype(np.uint8)
    else:
        shape, strides = ((height, width), (step, 1)) if depth == 1 else ((height, width, depth), (step, depth, 1))
        pixels = np.ndarray(shape, np.uint8, data, strides=strides)
    if conversion is None:
        return np.require(pixels, np.uint8, ("C", "W"))
    if encoding.startswith(("yuv", "uyvy", "yuyv")) and width % 2:
        raise FrameError(f"expected {encoding} with an even width, got {width}: two pixels share their colour")
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, conversion)), np.uint8)


def _read_compressed(message: Any) -> NDArray[np.uint8]:
    import cv2

    kind = str(message.format)
    if "compressedDepth" in kind:
        raise FrameError(f"expected a colour or grey picture, got {kind!r}: depth is no picture to track in")
    data = np.frombuffer(message.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    if image is None:
        raise FrameError(f"expected a JPEG or PNG picture ({kind!r}), got {data.size} bytes that are none, or damaged")
    return np.asarray(image, np.uint8)


def make_tracks(
    tracks: Tracks,
    header: Any,
    messages: Messages,
    class_names: Sequence[str] = (),
    ages: NDArray[np.float64] | None = None,
) -> Any:
    """Tracks as a `vision_msgs/Detection2DArray`, see the module's head.

    Args:
        tracks: what to tell; `tracks.confirmed` is what the system reports.
        header: of the image, or `make_header`.
        messages: the classes.
        class_names: of the model.
        ages: (T,) seconds, as `Ages.update` gives them; None leaves `age=` out.

    Returns:
        The message; detections are in the order of the tracks.
    """
    make = messages.make
    nowhere = make(
        "geometry_msgs/PoseWithCovariance",
        pose=make(
            "geometry_msgs/Pose",
            position=make("geometry_msgs/Point", x=0.0, y=0.0, z=0.0),
            orientation=make("geometry_msgs/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        ),
        covariance=np.zeros(36),
    )

    def result(name: str, score: float) -> Any:
        hypothesis = make("vision_msgs/ObjectHypothesis", class_id=name, score=score)
        return make("vision_msgs/ObjectHypothesisWithPose", hypothesis=hypothesis, pose=nowhere)

    boxes = tracks.boxes.astype(np.float64)
    columns = zip(
        tracks.ids.tolist(), tracks.labels.tolist(), tracks.scores.tolist(), tracks.states.tolist(),
        tracks.hits.tolist(), tracks.misses.tolist(), ((boxes[:, :2] + boxes[:, 2:]) / 2).tolist(),
        (boxes[:, 2:] - boxes[:, :2]).tolist(), strict=True,
    )  # fmt: skip
    detections = []
    for row, (track_id, label, score, state, hits, misses, (x, y), (width, height)) in enumerate(columns):
        details = {"status": _STATUS[state], "hits": hits, "misses": misses}
        if ages is not None:
            details["age"] = f"{ages[row]:.3f}"
        name = class_names[label] if label < len(class_names) else str(label)
        results = [result(name, score), *(result(f"{key}={value}", 0.0) for key, value in details.items())]
        centre = make("vision_msgs/Pose2D", position=make("vision_msgs/Point2D", x=x, y=y), theta=0.0)
        box = make("vision_msgs/BoundingBox2D", center=centre, size_x=width, size_y=height)
        detections.append(make("vision_msgs/Detection2D", header=header, results=results, bbox=box, id=str(track_id)))
    return make("vision_msgs/Detection2DArray", header=header, detections=detections)


def read_details(detection: Any) -> dict[str, str]:
    """What `make_tracks` says beside class and box: status, age, hits, misses; empty for others' detections."""
    texts = (str(result.hypothesis.class_id) for result in detection.results[1:] if result.hypothesis.score == 0)
    return {key: value for key, equals, value in (text.partition("=") for text in texts) if equals}


def make_labels(tracks: Tracks, header: Any, messages: Messages, size: tuple[int, int] | None = None) -> Any | None:
    """The masks of tracks as a mono16 `sensor_msgs/Image`; pixel k + 1 belongs to track k of these, 0 to none.

    Where masks overlap, the higher score keeps the pixels, of equal ones the earlier track. A track that took no
    detection has no pixels.

    Args:
        tracks: whose masks to paint.
        header: of the image, or `make_header`.
        messages: the classes.
        size: (height, width) of the message, by nearest pixels; that of the masks by default.

    Returns:
        The message; None where the model gave no masks.

    Raises:
        FrameError: over 65,535 tracks.
    """
    if len(tracks) > _MOST_LABELS:
        raise FrameError(f"expected at most {_MOST_LABELS} tracks for a mono16 image, got {len(tracks)}")
    masks = tracks.masks
    if masks is None:
        return None
    labels = masks.disjoint(tracks.scores).to_label_map().astype("<u2")
    if size is not None and size != labels.shape:
        rows, columns = ((np.arange(to) + 0.5) * of / to for of, to in zip(labels.shape, size, strict=True))
        labels = labels[rows.astype(np.int64)[:, None], columns.astype(np.int64)]
    height, width = labels.shape
    return messages.make(
        "sensor_msgs/Image",
        header=header, height=height, width=width, encoding="mono16", is_bigendian=0, step=2 * width,
        data=messages.pack(labels.reshape(-1).view(np.uint8)),
    )  # fmt: skip
