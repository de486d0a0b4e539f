"""Fetching a registered model into the cache: resumed, checked, then renamed into place.

A file appears in the cache whole and with its pinned SHA-256, or not at all. What was fetched before a cut stays beside
it as `.part` and the next pull goes on from there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from tracker._writing import write_whole
from tracker.errors import ModelError, why
from tracker.models.registry.entry import Entry
from tracker.models.registry.folders import CACHE_VARIABLE
from tracker.models.registry.transfer import Progress, Transfer, shown
from tracker.onnx.file import sha256_of

_BLOCK = 1 << 20


def pull(entry: Entry, *, offline: bool = False, timeout_s: float = 30.0, on_progress: Progress | None = None) -> Path:
    """The cached file of an entry, fetched if it is not there or damaged.

    Two processes may pull the same entry: the second waits and takes what the first fetched. Beside the file stands a
    record of where it came from, when, and under which licence.

    Args:
        entry: from `tracker.models.registry`.
        offline: never touch the network; `file:` addresses are still read.
        timeout_s: give up when nothing comes for so long.
        on_progress: told how far the download is.

    Raises:
        ModelError: no hash, another hash (the file is removed), an address that is refused or fails, a cache that
            cannot be written. What arrived before a cut is kept.
    """
    if not entry.sha256:
        raise ModelError(
            f"{entry.origin} pins no sha256 for {entry.name}, so nothing could tell what was fetched; add it"
        )
    if entry.intact():
        return entry.file
    local = entry.address.startswith("file:")
    if offline and not local:
        raise ModelError(
            f"model {entry.name} is not in the cache {entry.file.parent}, and --offline forbids fetching it"
        )
    tell = on_progress or (lambda done, total: None)
    part = entry.file.with_suffix(".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part.with_suffix(".lock"), lambda: tell(_size(part), entry.size)):
            if not entry.intact():
                entry.file.unlink(missing_ok=True)
                _check_space(part, entry)
                if local:
                    _copy(entry, part, tell)
                else:
                    Transfer(entry, part, timeout_s, tell).run()
                _accept(entry, part)
    except OSError as reason:
        mend = "free some space" if reason.errno == errno.ENOSPC else f"set {CACHE_VARIABLE} to a folder that can"
        raise ModelError(f"the cache {part.parent} cannot be written ({why(reason)}); {mend}") from None
    return entry.file


def remove(entry: Entry) -> int:
    """Take an entry's files of any version, records and partial downloads out of the cache; returns the bytes freed.

    Raises:
        ModelError: a file cannot be removed.
    """
    freed = 0
    for file in entry.file.parent.glob("[0-9a-f]" * 16 + ".*"):
        try:
            freed += file.stat().st_size
            file.unlink()
        except OSError as reason:
            raise ModelError(f"{file} cannot be removed ({why(reason)})") from None
    with contextlib.suppress(OSError):  # it was not there at all, or holds files of somebody else
        entry.file.parent.rmdir()
    return freed


def _accept(entry: Entry, part: Path) -> None:
    """Rename a complete download into place, if its hash is the pinned one; remove it otherwise."""
    found = sha256_of(part)
    part.with_suffix(".tag").unlink(missing_ok=True)
    if found != entry.sha256:
        size, head = _size(part), _head(part)
        part.unlink()
        raise ModelError(
            f"expected {entry.name} with SHA-256 {entry.sha256}, got {found} ({size} bytes{head}); the file was removed"
        )
    record = {
        "name": entry.name, "address": shown(entry.address), "sha256": found, "size": _size(part),
        "licence": entry.licence, "source": entry.source,
        "pulled_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }  # fmt: skip
    write_whole(entry.file.with_suffix(".json"), (json.dumps(record, indent=2) + "\n").encode())
    os.replace(part, entry.file)


def _head(file: Path) -> str:
    """What a file that is not the model looks like, for the two usual cases."""
    with file.open("rb") as stream:
        start = stream.read(64).lstrip()
    if start.startswith(b"version https://git-lfs"):
        return ", a Git LFS pointer instead of the file"
    return ", a web page instead of the file" if start.startswith(b"<") else ""


def _check_space(part: Path, entry: Entry) -> None:
    """Refuse what cannot fit before fetching it."""
    if entry.size is not None and shutil.disk_usage(part.parent).free < entry.size - _size(part):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _copy(entry: Entry, part: Path, tell: Progress) -> None:
    """A `file:` address."""
    parts = urlsplit(entry.address)
    source = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not source.is_absolute():
        raise ModelError(f"expected a file address such as file:///folder/net.onnx, got {entry.address!r}")
    try:
        stream = source.open("rb")
    except OSError as reason:
        raise ModelError(f"{source} cannot be read ({why(reason)})") from None
    with stream, part.open("wb") as file:
        total = source.stat().st_size
        while block := stream.read(_BLOCK):
            file.write(block)
            tell(file.tell(), total)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@contextlib.contextmanager
def _alone(file: Path, while_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file while the body runs; the system frees it when the process dies."""
    with file.open("ab") as stream:
        while not _lock(stream):
            while_waiting()
            time.sleep(0.1)
        yield


def _lock(stream: IO[bytes]) -> bool:
    """Take the lock if nobody has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as reason:
        if reason.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True
