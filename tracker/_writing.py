"""The one place that says how a file is replaced: as a whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes, *, lasting: bool = True) -> None:
    """Write a file beside its place and move it there; if anything fails, `path` is what it was.

    Args:
        path: of the file; its folder is there.
        content: all of it.
        lasting: whole after a loss of power too, which costs some milliseconds.

    Raises:
        OSError: it cannot be written.
    """
    part = Path(f"{os.fspath(path)}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it is gone, unless something failed
            part.unlink()
