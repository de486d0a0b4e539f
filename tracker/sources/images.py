"""Image folders, glob patterns and numbered patterns: one frame per file, in natural order."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker.errors import SourceError, why
from tracker.sources.address import IMAGE_SUFFIXES
from tracker.sources.source import Source, SourceOptions
from tracker.types import Frame

_NUMBER = re.compile(r"%0?(\d*)d")


class ImagesSource(Source):
    """Reads images one by one with OpenCV, as 8-bit BGR, upright by their EXIF tag.

    Frame k is at k / fps seconds. The images may differ in size; every frame carries its own.
    """

    live = False
    dropped = 0

    def __init__(self, uri: str, options: SourceOptions) -> None:
        """Open a folder, one image, a glob (`shots/*.jpg`) or a numbered pattern (`img1/%06d.jpg`).

        Raises:
            SourceError: nothing there, or the first image cannot be read.
        """
        self.name = uri
        self.fps = options.fps
        self._paths = list_images(uri)
        self.length = len(self._paths)
        first = read_image(self._paths[0])
        self.size = (first.shape[1], first.shape[0])
        self._closed = False
        self._frames = self._read()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """End the iteration."""
        self._closed = True

    def _read(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            if self._closed:
                return
            yield Frame(index, index / self.fps, read_image(path))


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts 2.jpg before 10.jpg: runs of digits compare as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in parts if part]


def list_images(uri: str) -> Sequence[Path]:
    """Image files that a folder, file, glob or numbered pattern means, in natural order.

    Raises:
        SourceError: none.
    """
    path = Path(uri)
    if path.is_dir():
        found = [file for file in path.iterdir() if _is_image(file)]
        if not found:
            inside = sorted(sub.name for sub in path.iterdir() if sub.is_dir() and any(map(_is_image, sub.iterdir())))
            hint = f"; there are some in {path / inside[0]}" if inside else ""
            raise SourceError(f"cannot open {uri}: the folder holds no images ({' '.join(IMAGE_SUFFIXES)}){hint}")
    elif path.exists():
        found = [path]
    elif number := _NUMBER.search(path.name):
        wanted = re.escape(path.name[: number.start()]), re.escape(path.name[number.end() :])
        digits = rf"\d{{{int(number[1])},}}" if number[1] else r"\d+"
        pattern = re.compile(rf"{wanted[0]}{digits}{wanted[1]}")
        folder = path.parent
        found = [file for file in folder.iterdir() if pattern.fullmatch(file.name)] if folder.is_dir() else []
    else:
        found = [Path(file) for file in glob.glob(uri, recursive=True) if _is_image(Path(file))]
    if not found:
        what = "no image matches" if _NUMBER.search(uri) or glob.has_magic(uri) else "no such file"
        raise SourceError(f"cannot open {uri}: {what}")
    return sorted(found, key=lambda file: (str(file.parent), natural_key(file)))


def read_image(path: Path) -> NDArray[np.uint8]:
    """One image as (H, W, 3) uint8 BGR.

    Raises:
        SourceError: missing, or not an image that OpenCV reads.
    """
    import cv2

    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except OSError as error:
        raise SourceError(f"cannot read {path}: {why(error)}") from None
    except cv2.error:
        image = None
    if image is None:
        what = "not an image, or a broken one" if data.size else "the file is empty (0 bytes)"
        raise SourceError(f"cannot read {path}: {what}")
    return np.asarray(image, np.uint8)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
