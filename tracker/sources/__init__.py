"""Where frames come from: `open_source` turns an address, or any iterable of images, into a `Source`.

A new kind of source is one file here and one row in `SOURCES`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import Any

from tracker.sources.address import kind_of, mask_credentials
from tracker.sources.source import Source, SourceOptions

__all__ = ["SOURCES", "Source", "SourceOptions", "kind_of", "mask_credentials", "open_source"]


def _video(uri: str, options: SourceOptions) -> Source:
    from tracker.sources.video import VideoSource

    return VideoSource(uri, options)


def _images(uri: str, options: SourceOptions) -> Source:
    from tracker.sources.images import ImagesSource

    return ImagesSource(uri, options)


def _camera(uri: str, options: SourceOptions) -> Source:
    from tracker.sources.live import open_camera

    return open_camera(uri, options)


def _stream(uri: str, options: SourceOptions) -> Source:
    from tracker.sources.live import open_stream

    return open_stream(uri, options)


def _synth(uri: str, options: SourceOptions) -> Source:
    from tracker.sources.synth import StreetSource

    return StreetSource(uri, options)


def _rosbag(uri: str, options: SourceOptions) -> Source:
    from tracker.sources.rosbag import RosbagSource

    return RosbagSource(uri, options)


SOURCES: dict[str, Callable[[str, SourceOptions], Source]] = {
    "video": _video,
    "stdin": _video,
    "images": _images,
    "camera": _camera,
    "stream": _stream,
    "synth": _synth,
    "rosbag": _rosbag,
}
"""Kind of address (see `kind_of`) -> what opens it. Imports are lazy: OpenCV and PyAV load with the first need."""


def open_source(
    source: str | os.PathLike[str] | Iterable[Any],
    *,
    fps: float = 30.0,
    timeout_s: float = 10.0,
    reconnect_s: float = math.inf,
) -> Source:
    """Open anything that yields frames.

    Args:
        source: one of
            `street.mp4` or an http(s) address of a video file: every frame;
            `shots/`, `shots/*.jpg`, `img1/%06d.jpg`, `one.png`: images in natural order;
            `0` or `/dev/video0`: camera, newest frame;
            `rtsp:// rtmp:// http(s):// udp:// tcp:// srt://`: live stream, newest frame;
            `-`: a video on standard input (MPEG-TS, Matroska, fragmented MP4, Y4M), every frame;
            `synth:street?seed=7&objects=12&size=960x540&frames=300`: the synthetic street;
            `rosbag:drive/?topic=/camera/image`: a ROS bag, every image of one topic;
            an iterable of (H, W, 3) uint8 BGR arrays or of `Frame`s; a `Source` is returned as it is.
        fps: frame rate of images and arrays; ignored where the source has its own clock.
        timeout_s: longest wait for a network source or camera to open and for its next picture.
        reconnect_s: how long to try to get a lost stream or camera back; 0 for not at all. One that never gave a
            picture fails at once.

    Raises:
        SourceError: it cannot be opened; one line that says what and why, never with a password.
        ConfigError: `fps` or `timeout_s` is not a positive number, `reconnect_s` below 0.
    """
    options = SourceOptions(fps, timeout_s, reconnect_s)
    if isinstance(source, str):
        return SOURCES[kind_of(source)](source, options)
    if isinstance(source, os.PathLike):
        return open_source(os.fspath(source), fps=fps, timeout_s=timeout_s, reconnect_s=reconnect_s)
    if isinstance(source, Source):
        return source
    from tracker.sources.arrays import ArraysSource

    return ArraysSource(source, options)
