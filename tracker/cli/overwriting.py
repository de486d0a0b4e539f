"""Outputs that would take the place of what is read: refused before anything is written, renamed or emptied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from tracker.errors import ConfigError, SourceError


def refuse_inputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Make sure that no output is an input under whatever name (links included), or a folder that an input lies in.

    Args:
        outputs: paths of files and folders that are to be written; `-` is standard output.
        inputs: files and folders that are read.

    Raises:
        ConfigError: one line that names the output.
    """
    existing = _found(path for path in outputs if str(path) != "-")
    if not existing:  # the usual case: nothing to lose
        return
    read = _found(inputs)
    identities = {identity for identity, _ in read}
    parents = [parent.resolve() for parent in {path.parent for _, path in read}]
    folders = {folder for parent in parents for folder in (parent, *parent.parents)}
    for identity, output in existing:
        if identity in identities:
            raise ConfigError(f"cannot write {output}: it is the source; choose another output")
        if output.resolve() in folders:
            raise ConfigError(f"cannot write {output}: the source lies in it; choose another output")


def files_of(source: str) -> list[Path]:
    """Files that a source reads; none of a camera, a stream, stdin, a made scene, or what cannot be opened."""
    from tracker.sources import kind_of
    from tracker.sources.images import list_images

    try:
        kind = kind_of(source)
        if kind == "images":
            return list(list_images(source))
    except SourceError:  # the stream of that source says so
        return []
    if kind == "rosbag":
        bag = Path(source.removeprefix("rosbag:").partition("?")[0])
        return sorted(bag.iterdir()) if bag.is_dir() else [bag]
    return [Path(source)] if kind == "video" else []


def _found(paths: Iterable[str | Path]) -> list[tuple[tuple[int, int], Path]]:
    """Those that exist, each with what is the same under all its names."""
    found = []
    for path in map(Path, paths):
        with contextlib.suppress(OSError, ValueError):
            facts = path.stat()
            found.append(((facts.st_dev, facts.st_ino), path))
    return found
