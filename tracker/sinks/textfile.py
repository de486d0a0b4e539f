"""A text output that is readable at every moment: each write reaches the operating system at once."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from tracker.errors import SinkError


class TextFile:
    """Writes whole lines to a file (parents are made) or, for the path `-`, to standard output.

    Raises:
        SinkError: in every method, if it cannot be created or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = "stdout" if os.fspath(path) == "-" else os.fspath(path)
        self._file: TextIO | None
        if self.name == "stdout":
            self._file = sys.stdout
            return
        make_parent(path)
        try:
            self._file = Path(path).open("w", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise _cannot_write(self.name, error) from None

    def write(self, lines: str) -> None:
        """Append lines that end with a line end; a killed process loses none of them."""
        if self._file is None:
            raise SinkError(f"cannot write {self.name}: it is closed")
        if not lines:
            return
        try:
            self._file.write(lines)
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # closing tries to write what is left once more
                self.close()
            raise _cannot_write(self.name, error) from None

    def close(self) -> None:
        """Close the file; standard output stays open. Calling it twice is harmless."""
        file, self._file = self._file, None
        if file is None or file is sys.stdout:
            return
        try:
            file.close()
        except OSError as error:
            raise _cannot_write(self.name, error) from None


def make_parent(path: str | os.PathLike[str]) -> None:
    """Create the folder that `path` lies in.

    Raises:
        SinkError: it cannot be created.
    """
    parent = Path(path).parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"cannot create the folder {parent}: {_reason(error)}") from None


def as_line(value: dict[str, Any]) -> str:
    """A line of JSON: compact, and an error rather than a number that JSON does not have."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def _cannot_write(name: str, error: OSError) -> SinkError:
    return SinkError(f"cannot write {name}: {_reason(error)}")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
