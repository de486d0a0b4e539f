"""The one place that says how kernels are compiled.

`kernel` is numba's njit with the flags every kernel of the engine shares: the GIL is released, division follows
IEEE rules (inf and NaN instead of an exception), and nothing that would delete NaN gates (`fastmath`) or abort under
threads (`parallel=True`) is ever on.

Compiled code is kept on disk. Numba looks only at the file of the *called* function when it decides whether a cached
result is still good, so a change in a kernel that was inlined from another file would go unnoticed; each file's kernels
therefore have a cache folder named after the content of that file and of all that it imports from the package.
Where no folder can be written (read-only package and
read-only HOME) numba would raise at import; then the temporary folder is used, and without that no cache at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import njit

_KEPT_S = 30 * 24 * 3600.0
_FLAGS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}  # nobody passes kernels around as values


_IMPORT = re.compile(r"^(?:from (tracker[\w.]*) import (\([^)]*\)|.*)|import (tracker[\w.]*))", re.MULTILINE)


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    """Files of the package that a source file imports at its top level, where kernels find their globals."""
    found = []
    for module, names, plain in _IMPORT.findall(path.read_text("utf-8")):
        place = Path(__file__).parents[1].joinpath(*(module or plain).split("."))
        parts = [place / name for name in re.findall(r"\w+", names)]
        found += [file for part in [place, *parts] for file in (part.with_suffix(".py"), part / "__init__.py")]
    return tuple(file for file in found if file.exists())


@cache
def _fingerprint(source: Path) -> str:
    """Hash of a source file and of all that it imports: a changed kernel never meets a stale cache."""
    known: set[Path] = set()
    new = {source, Path(__file__)}
    while new:
        known |= new
        new = {file for path in new for file in _imported(path)} - known
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(known):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _writable(folder: Path) -> bool:
    """True for a folder that is ours: compiled code is loaded from it, so one that somebody else owns will not do."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@cache
def cache_folder() -> Path | None:
    """Folder of all compiled kernels, or None where nothing can be written.

    `NUMBA_CACHE_DIR`, `XDG_CACHE_HOME/trackstream`, `~/.cache/trackstream` and the temporary folder are tried in this
    order.
    """
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    owner = os.getuid() if hasattr(os, "getuid") else "user"  # a container's user often has no name
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    roots = [Path(wanted)] if wanted else []
    roots += [Path(user, "trackstream")] if os.path.isabs(user) else []  # "~" stays where there is no home at all
    roots += [Path(tempfile.gettempdir(), f"trackstream-{owner}")]
    folder = next((root / "kernels" for root in roots if _writable(root / "kernels")), None)
    if folder is not None:
        _drop_old(folder)
    return folder


def _drop_old(folder: Path) -> None:
    """Remove what nobody has used in the last month."""
    for version in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - version.stat().st_mtime > _KEPT_S:
                shutil.rmtree(version)


@cache
def _folder_of(source: Path) -> Path | None:
    """Where the kernels of a source file are kept; using it keeps it from being dropped."""
    folder = cache_folder()
    if folder is None:
        return None
    own = folder / _fingerprint(source)
    with contextlib.suppress(OSError):
        own.mkdir(mode=0o700, exist_ok=True)
        os.utime(own)
    return own if _writable(own) else None


@contextlib.contextmanager
def _cache_dir(folder: Path) -> Iterator[None]:
    """Numba reads its cache folder when a function is decorated; other users of numba keep theirs."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on first call, with the engine's flags and its disk cache."""
    folder = _folder_of(Path(function.__code__.co_filename))
    if folder is None:
        return njit(**_FLAGS)(function)  # type: ignore[no-any-return]
    with _cache_dir(folder):
        return njit(**_FLAGS, cache=True)(function)  # type: ignore[no-any-return]


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A small helper that only other kernels call; LLVM inlines it, nothing is cached under its own name."""
    return njit(**_FLAGS)(function)  # type: ignore[no-any-return]


def summing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `inlined`, for a sum whose terms may be added in any order: the loop becomes vector instructions.

    Only the order is free (`reassoc`, `contract`); NaN and infinity stay what they are.
    """
    flags = {"reassoc", "contract"}
    return njit(**_FLAGS, fastmath=flags)(function)  # type: ignore[no-any-return]
