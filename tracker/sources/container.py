"""Opening what FFmpeg reads (through PyAV): one place for its time limits, its errors and its pictures.

PyAV keeps FFmpeg's own messages off stderr by default; nothing here changes that. Its exceptions carry the address
they were given, so only their reason is passed on.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import SourceError, why
from tracker.sources.address import mask_credentials

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_TEXT_CODECS = ("ansi", "bintext", "xbin", "idf")  # FFmpeg draws text files as if they were terminals
_PLAUSIBLE_FPS = 1000.0  # a rate above is a time base (90000) in the wrong field


def open_container(
    uri: str, name: str, *, format: str | None = None, timeout_s: float | None = None, options: dict[str, str]
) -> InputContainer:
    """Open for reading, or say in one line why not.

    Args:
        uri: as FFmpeg takes it; may hold a password.
        name: as people may see it.
        format: FFmpeg's name of the demuxer, None to let it look.
        timeout_s: limit for opening and for every later read; None for local files.
        options: FFmpeg's options.

    Raises:
        SourceError: whatever the reason.
    """
    import av

    limits = None if timeout_s is None else (timeout_s, timeout_s)
    start = monotonic()
    try:
        container = av.open(uri, mode="r", format=format, timeout=limits, options=options)
    except (av.FFmpegError, ValueError, OSError) as error:
        if timeout_s is not None and monotonic() - start >= timeout_s:
            reason = f"no answer within {timeout_s:g} s"
        elif isinstance(error, av.error.InvalidDataError) and _is_mp4(uri):
            reason = "the MP4 is damaged or cut short: its index, which is written last, is missing"
        else:
            reason = reason_of(error)
        raise SourceError(f"cannot open {name}: {reason}") from None
    return container


def _is_mp4(uri: str) -> bool:
    """True for a local file that begins as MP4 and MOV files do."""
    try:
        with Path(uri.removeprefix("file:")).open("rb") as file:
            return file.read(8)[4:] == b"ftyp"
    except (OSError, ValueError):
        return False


def reason_of(error: BaseException) -> str:
    """FFmpeg's reason in words, without the address."""
    import av

    if isinstance(error, av.error.InvalidDataError):
        return "not a video, or a broken one"
    if isinstance(error, FileNotFoundError):
        return "no such file or device"
    if isinstance(error, av.error.ExitError):
        return "no answer within the time limit"
    return mask_credentials(why(error))


def video_stream(container: InputContainer, name: str) -> VideoStream:
    """The container's picture stream; cover art does not count.

    Raises:
        SourceError: there is none, or no decoder for it.
    """
    import av

    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if stream.disposition & cover:
            continue
        codec = stream.codec_context
        if codec is None:
            raise SourceError(f"cannot open {name}: this FFmpeg has no decoder for its video stream")
        if codec.name in _TEXT_CODECS:
            break
        return stream
    kinds = sorted({str(stream.type) for stream in container.streams} - {"video"})
    found = f"it holds only {', '.join(kinds)}" if kinds else "it is not a video"
    raise SourceError(f"cannot open {name}: no video stream, {found}")


def rate_of(stream: VideoStream) -> float | None:
    """Frames per second as the container says; None where it says nothing believable."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate is not None:
            fps = float(rate)
            if math.isfinite(fps) and 0 < fps <= _PLAUSIBLE_FPS:
                return fps
    return None


def size_of(stream: VideoStream) -> tuple[int, int] | None:
    """(width, height) as coded, before any rotation; None where the container does not know."""
    width, height = stream.codec_context.width, stream.codec_context.height
    return (width, height) if width > 0 and height > 0 else None


def stamp_of(picture: VideoFrame) -> float | None:
    """The picture's presentation time in seconds of the stream's clock; None if it has none."""
    if picture.pts is None or picture.time_base is None:
        return None
    return float(picture.pts * picture.time_base)


class Converter:
    """Decoded pictures to BGR arrays; belongs to one thread.

    One reformatter for all pictures halves the cost of PyAV's own `to_ndarray`. Rotation that the file's display
    matrix asks for (telephones) is done in quarter turns; other angles are left alone.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()

    def to_image(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR, a new array."""
        image: NDArray[Any] = self._reformatter.reformat(picture, format="bgr24").to_ndarray()
        quarters = quarter_turns(picture)
        return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


def quarter_turns(picture: VideoFrame) -> int:
    """How many quarter turns counter-clockwise make the picture upright: 0..3; 0 for other angles."""
    turns, rest = divmod(int(picture.rotation), 90)
    return turns % 4 if rest == 0 else 0


def check_local_file(path: str) -> None:
    """Say plainly what FFmpeg would say obscurely.

    Raises:
        SourceError: no such file, a folder, no permission, or 0 bytes.
    """
    file = Path(path)
    if not file.exists():
        hint = " (a camera is its number, or /dev/videoN)" if re.fullmatch(r"(cam|camera|video)\d*", path) else ""
        raise SourceError(f"cannot open {path}: no such file{hint}")
    if file.is_file() and file.stat().st_size == 0:
        raise SourceError(f"cannot open {path}: the file is empty (0 bytes)")
    if not os.access(file, os.R_OK):
        raise SourceError(f"cannot open {path}: permission denied")
