"""A text output that is readable at every moment: each write reaches the operating system at once."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

if sys.platform != "win32":
    import fcntl

from tracker.errors import SinkError, why


class TextFile:
    """Writes whole lines to a file (parents are made) or, for the path `-`, to standard output.

    A file has one writer at a time: lines of two runs would be mixed up. (On Windows nothing keeps a second one away.)

    Raises:
        SinkError: in every method, if it cannot be created or written; at first if another run still writes it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = "stdout" if os.fspath(path) == "-" else os.fspath(path)
        self._file: TextIO | None
        if self.name == "stdout":
            self._file = sys.stdout
            return
        make_parent(path)
        try:
            self._file = Path(path).open("a", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by `close`
            _claim(self._file)
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
        raise SinkError(f"cannot create the folder {parent}: {why(error)}") from None


def _claim(file: TextIO) -> None:
    """Lock a file until it is closed, then empty it.

    Raises:
        SinkError: somebody else has locked it; nothing of it is lost.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise SinkError(f"cannot write {file.name}: another run is writing it; choose another output") from None
        except OSError:
            pass  # a file system without locks, a pipe
    if Path(file.name).is_file():
        file.truncate(0)


def as_line(value: dict[str, Any]) -> str:
    """A line of JSON: compact, and an error rather than a number that JSON does not have."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def _cannot_write(name: str, error: OSError) -> SinkError:
    return SinkError(f"cannot write {name}: {why(error)}")
