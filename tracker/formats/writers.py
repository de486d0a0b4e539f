"""Outputs of datasets: a text file line by line, or a folder with a picture per frame."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TextIO

from tracker._writing import write_whole
from tracker.formats.frame_objects import FrameObjects


class Writer(Protocol):
    """Takes frames in ascending order; every method may raise OSError, and `write` a FormatError."""

    def write(self, frame: FrameObjects) -> None:
        """Take one frame."""

    def close(self) -> None:
        """Finish the output; twice is harmless."""


class TextWriter:
    """A text file; what `encode` makes of a frame reaches the operating system at once."""

    def __init__(self, path: str | os.PathLike[str], encode: Callable[[FrameObjects], str]) -> None:
        self._encode = encode
        self._file: TextIO = Path(path).open("w", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by `close`

    def write(self, frame: FrameObjects) -> None:
        """Append the frame's lines."""
        self._file.write(self._encode(frame))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class FolderWriter:
    """A folder (it is made, its parents too) with one file per frame, whose bytes `encode` makes."""

    def __init__(
        self, path: str | os.PathLike[str], encode: Callable[[FrameObjects], bytes], name: str, first_frame: int = 0
    ) -> None:
        """Make the folder.

        Args:
            path: of the folder.
            encode: makes a file's bytes.
            name: of a file, with one field for the number, as `{:06d}.png`.
            first_frame: number of the first frame.
        """
        self._folder = Path(path)
        self._encode, self._name, self._first_frame = encode, name, first_frame
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, frame: FrameObjects) -> None:
        """Write the frame's file, whole or not at all."""
        data = self._encode(frame)
        path = self._folder / self._name.format(frame.index + self._first_frame)
        write_whole(path, data, lasting=False)

    def close(self) -> None:
        """Nothing is left to do."""
