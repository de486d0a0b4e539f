"""Snapshots: a tracker in one file, to go on later, in another process or on another machine, with the same ids.

The file is a line that names the format and its version, a line of JSON (package, layout of the state, plan, settings,
clock, events, and name, dtype and shape of each array), the arrays' numbers (little-endian, one after the other), and
a checksum over all of it. Plans travel field by field, so a plan with new fields needs nothing here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

import tracker
from tracker._writing import write_whole
from tracker.association.plan import Plan
from tracker.association.state import layout
from tracker.errors import ConfigError, SnapshotError, why

FORMAT, VERSION = b"trackstream.tracker", 1
"""Name and version of the layout of the file; the number rises when a reader would have to change."""

_FIRST_LINE = re.compile(rb"%s/(\d{1,9})\n" % re.escape(FORMAT))
_CHECKSUM_BYTES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What a tracker is made of.

    Attributes:
        plan: what tracker it is.
        settings: its other arguments; values that JSON has, lists come back as tuples.
        clock: fields of its `Clock`.
        arrays: its `State`, as `State.dump` gives it.
        events: its `EventLog`, as `EventLog.dump` gives it; None without one.
    """

    plan: Plan
    settings: dict[str, Any]
    clock: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    events: dict[str, Any] | None


def write_snapshot(path: str | os.PathLike[str], snapshot: Snapshot) -> None:
    """Write the file; another one of this name is replaced as a whole, and stays if anything fails.

    Raises:
        SnapshotError: it cannot be written.
    """
    arrays = {name: _little_endian(array) for name, array in snapshot.arrays.items()}
    header = {
        "package": tracker.__version__,
        "layout": layout(),
        "plan": _encode(snapshot.plan),
        "settings": _encode(snapshot.settings),
        "clock": snapshot.clock,
        "events": snapshot.events,
        "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()],
    }
    content = b"%s/%d\n%s\n" % (FORMAT, VERSION, json.dumps(header).encode())
    content += b"".join(array.tobytes() for array in arrays.values())
    try:
        write_whole(path, content + _checksum(content))
    except OSError as error:
        raise SnapshotError(f"cannot write {os.fspath(path)}: {why(error)}") from None


def read_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """Read a file of `write_snapshot`.

    Raises:
        SnapshotError: no such file, not a snapshot, damaged, or of a version that cannot be continued here.
    """
    name = os.fspath(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SnapshotError(f"cannot read {name}: {why(error)}") from None
    first = _FIRST_LINE.match(content)
    if first is None:
        raise SnapshotError(f"{name} is not a saved tracker: expected a file that Tracker.save wrote")
    if int(first[1]) > VERSION:
        raise SnapshotError(f"{name} has format {int(first[1])}, this trackstream reads up to {VERSION}: update it")
    body, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if _checksum(body) != checksum:
        raise SnapshotError(f"{name} is damaged: its checksum does not fit; start a new tracker")
    try:
        return _parse(body[first.end() :])
    except SnapshotError as error:
        raise SnapshotError(f"{name}: {error}") from None
    except (KeyError, TypeError, ValueError) as error:  # the checksum fits, so this file was made by hand
        raise SnapshotError(f"{name} breaks the format of saved trackers: {error}") from None


def _parse(body: bytes) -> Snapshot:
    line, _, numbers = body.partition(b"\n")
    header = json.loads(line)
    plan = _decode(header["plan"], _parts_of(Plan), header["package"])
    if not isinstance(plan, Plan):
        raise SnapshotError(f"expected a plan, got {type(plan).__name__}")
    if header["layout"] != layout():
        raise SnapshotError(
            f"trackstream {header['package']} saved it, whose state is laid out differently from that of "
            f"{tracker.__version__}: load it with that version"
        )
    arrays, begin = {}, 0
    for name, dtype, shape in header["arrays"]:
        count = math.prod(shape)
        array = np.frombuffer(numbers, dtype, count, begin).reshape(shape)
        arrays[name] = array.astype(array.dtype.newbyteorder("="))
        begin += array.nbytes
    if begin != len(numbers):
        raise SnapshotError(f"expected {begin} bytes of numbers, got {len(numbers)}")
    settings = {name: _decode(value, {}, header["package"]) for name, value in header["settings"].items()}
    return Snapshot(plan, settings, header["clock"], arrays, header["events"])


def _encode(value: Any) -> Any:
    """Plain data for JSON; a dataclass becomes its fields and, under `is` (no field can have that name), its class."""
    if is_dataclass(value):
        return {"is": type(value).__name__} | {f.name: _encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {name: _encode(item) for name, item in value.items()}
    return [_encode(item) for item in value] if isinstance(value, (tuple, list)) else value


def _decode(value: Any, classes: dict[str, type], package: str) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, classes, package) for item in value)
    if not isinstance(value, dict):
        return value
    values = {name: _decode(item, classes, package) for name, item in value.items() if name != "is"}
    kind = classes.get(value["is"])
    unknown = [value["is"]] if kind is None else sorted(values.keys() - {f.name for f in fields(kind)})
    if kind is None or unknown:
        what = f"{value['is']}.{unknown[0]}" if kind else unknown[0]
        raise SnapshotError(
            f"its plan has {what}, which trackstream {tracker.__version__} does not know; {package} saved it: update"
        )
    try:
        return kind(**values)
    except ConfigError as error:
        raise SnapshotError(f"trackstream {package} saved a plan that {tracker.__version__} refuses: {error}") from None


def _parts_of(kind: type) -> dict[str, type]:
    """The dataclass and every one that its fields can hold, by name."""
    found, waiting = {}, [kind]
    while waiting:
        hint = waiting.pop()
        waiting += get_args(hint)
        if is_dataclass(hint) and isinstance(hint, type) and hint.__name__ not in found:
            found[hint.__name__] = hint
            waiting += get_type_hints(hint).values()
    return found


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
