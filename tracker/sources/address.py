"""What a `--source` text means, and how it may be shown: passwords are masked everywhere."""

from __future__ import annotations

import re
from pathlib import Path

from tracker.errors import SourceError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv")
STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "srt")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_USERINFO = re.compile(r"://[^\s'\"]*@")
_SECRET_FIELD = re.compile(r"(?i)([?&][^=&\s]*(?:pass|pwd|token|secret|key|auth|sig|user|login)[^=&\s]*=)[^&\s'\"]+")
_NUMBERED = re.compile(r"%0?\d*d")


def mask_credentials(text: str) -> str:
    """`text` with the user and password of every URL, and query fields that look like secrets, as `***`.

    Rather too much than too little: everything between `://` and the last `@` goes, because passwords with an
    unescaped `/` or `@` are common.
    """
    return _SECRET_FIELD.sub(r"\1***", _USERINFO.sub("://***@", text))


def kind_of(uri: str) -> str:
    """Which row of `SOURCES` opens this text: stdin, synth, rosbag, camera, stream, images or video.

    An `http(s)` address that ends like a video file (`.mp4` ...) is a file: nothing of it is dropped.

    Raises:
        SourceError: empty, or a scheme that no source knows.
    """
    if not uri:
        raise SourceError("expected a source (file, folder, camera number, URL, '-' or synth:street), got nothing")
    if uri == "-":
        return "stdin"
    if uri.startswith("synth:"):
        return "synth"
    if uri.startswith("rosbag:"):
        return "rosbag"
    if uri.isdecimal() or re.fullmatch(r"/dev/video\d+", uri):
        return "camera"
    if found := _SCHEME.match(uri):
        scheme = found[1].lower()
        if scheme not in STREAM_SCHEMES:
            known = ", ".join(f"{name}://" for name in STREAM_SCHEMES)
            raise SourceError(f"cannot open {mask_credentials(uri)}: unknown scheme; known are {known}")
        path = re.split(r"[?#]", uri, maxsplit=1)[0].lower()
        return "video" if scheme in ("http", "https") and path.endswith(VIDEO_SUFFIXES) else "stream"
    path_ = Path(uri)
    if path_.is_dir() or path_.suffix.lower() in IMAGE_SUFFIXES:
        return "images"
    if not path_.exists() and (_NUMBERED.search(uri) or any(letter in uri for letter in "*?[")):
        return "images"
    return "video"


def is_url(uri: str) -> bool:
    """True for `scheme://...`."""
    return _SCHEME.match(uri) is not None
