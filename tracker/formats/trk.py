"""Blocks and values of a `.trk` file, the layout under `tracker.formats.recording`.

    magic    8 bytes, 89 54 52 4B 0D 0A 1A 0A
    blocks   kind (4 ASCII letters), length (uint32), payload, CRC-32 of kind and payload (uint32)

All numbers are little-endian. The first block is `HEAD`, a JSON object: `schema` and the fields of `Header`. Then comes
one `FRAM` per frame: a zlib stream of a length (uint32), a JSON object of that length, and the bytes of all arrays.
The JSON object has `index`, `time_s`, `width`, `height`, `detections` and `result`. In the last two a list
`[dtype, shape, offset]` is an array: dtype as NumPy writes it ("<f4"), C order, offset in bytes after the JSON object.
An object with a `kind` is a struct of such values; fields that are None or have their default are absent. One with
`items` is a tuple of such values. The last block, `DONE`, is a JSON object with the number of `frames`; without it the
run was killed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tracker.errors import FormatError, MasksError, SinkError, TrackerError, why
from tracker.masks import Masks

MAGIC = b"\x89TRK\r\n\x1a\n"
HEAD, FRAM, DONE = b"HEAD", b"FRAM", b"DONE"

Structs = Mapping[str, type[Any]]
"""Name -> the struct of that name: what a frame may hold beside numbers and arrays."""

_LEVEL = 1  # of zlib: level 6 takes twice (boxes and masks) to 9 times (panoptic maps) as long for 20 to 40 % less
_PREFIX = struct.Struct("<4sI")
_NUMBER = struct.Struct("<I")


def pack_block(kind: bytes, payload: bytes) -> bytes:
    """A whole block."""
    return _PREFIX.pack(kind, len(payload)) + payload + _NUMBER.pack(zlib.crc32(payload, zlib.crc32(kind)))


def read_blocks(path: str | os.PathLike[str], *, skim: bool = False) -> Iterator[tuple[int, bytes, bytes]]:
    """Place, kind and payload of every whole block; one that is cut short ends the file. `skim` leaves payloads unread.

    Raises:
        FormatError: it cannot be read, is not a recording, or has a damaged block.
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise FormatError(f"{path} is not a recording; `tracker run --record` makes one")
            size = os.fstat(file.fileno()).st_size
            while True:
                at = file.tell()
                prefix = file.read(_PREFIX.size)
                if len(prefix) < _PREFIX.size:
                    return
                kind, length = _PREFIX.unpack(prefix)
                end = at + _PREFIX.size + length + _NUMBER.size
                if end > size:  # cut short; or the file has grown since, then the next reader sees it
                    return
                if kind not in (HEAD, FRAM, DONE):
                    fail_at(path, at, f"an unknown block {kind!r}")
                if skim:
                    file.seek(end)
                    yield at, kind, b""
                    continue
                payload = file.read(length)
                if file.read(_NUMBER.size) != _NUMBER.pack(zlib.crc32(payload, zlib.crc32(kind))):
                    fail_at(path, at, "the block's checksum does not fit")
                yield at, kind, payload
    except OSError as error:
        raise FormatError(f"cannot read {path}: {why(error)}") from None


def fail_at(path: str | os.PathLike[str], at: int, reason: str) -> NoReturn:
    """Raise a `FormatError` that names file, byte and reason."""
    raise FormatError(f"{path}, byte {at}: {reason}; the frames before it can be read")


def pack_frame(facts: dict[str, Any], structs: Structs) -> bytes:
    """Payload of a frame's block.

    Args:
        facts: JSON values, arrays and structs by name.
        structs: that it may hold.

    Raises:
        SinkError: something else is in it.
    """
    arrays = _Arrays(structs)
    text = json.dumps({name: arrays.describe(value) for name, value in facts.items()}, separators=(",", ":")).encode()
    return zlib.compress(_NUMBER.pack(len(text)) + text + b"".join(arrays.parts), _LEVEL)


def unpack_frame(payload: bytes, structs: Structs) -> dict[str, Any]:
    """Inverse of `pack_frame`; arrays are copies that may be written to.

    Raises:
        TrackerError: of the structs, which refuse what does not fit.
        FormatError: anything else that does not fit.
    """
    try:
        data = zlib.decompress(payload)
        start = _NUMBER.size + _NUMBER.unpack_from(data)[0]
        facts = json.loads(data[_NUMBER.size : start])
        return {name: _restore(value, data, start, structs) for name, value in facts.items()}
    except TrackerError:
        raise
    except (zlib.error, struct.error, ValueError, TypeError, LookupError, AttributeError) as error:
        raise FormatError(f"a frame that cannot be read ({type(error).__name__}: {error})") from None


class _Arrays:
    """Bytes of a frame's arrays, in the order in which their descriptions are made."""

    def __init__(self, structs: Structs) -> None:
        self._structs = structs
        self.parts: list[bytes] = []
        self._offset = 0

    def describe(self, value: Any) -> Any:
        """JSON description of a number, a text, an array, a tuple or a struct."""
        if isinstance(value, np.ndarray):
            part = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
            place = [part.dtype.str, list(value.shape), self._offset]
            self.parts.append(part.tobytes())
            self._offset += part.nbytes
            return place
        if isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, tuple):
            return {"items": [self.describe(part) for part in value]}
        kind = type(value).__name__
        if kind not in self._structs:
            raise SinkError(f"cannot record a {kind}")
        fields = ((f.name, getattr(value, f.name), f.default) for f in dataclasses.fields(value))
        told = {name: self.describe(part) for name, part, usual in fields if part is not None and part is not usual}
        return {"kind": kind, **told}


def _restore(value: Any, data: bytes, start: int, structs: Structs) -> Any:
    """Inverse of `_Arrays.describe`."""
    if isinstance(value, list):
        dtype, shape, offset = np.dtype(value[0]), tuple(value[1]), value[2]
        if dtype.kind not in "biuf" or min(shape, default=0) < 0 or offset < 0:
            raise ValueError(f"an array of {value}")
        count = int(np.prod(shape, dtype=np.int64))
        if count == 0:
            return np.zeros(shape, dtype.newbyteorder("="))
        return np.frombuffer(data, dtype, count, start + offset).reshape(shape).astype(dtype.newbyteorder("="))
    if not isinstance(value, dict):
        return value
    if "items" in value:
        return tuple(_restore(part, data, start, structs) for part in value["items"])
    kind = structs[value["kind"]]
    restored = kind(**{name: _restore(part, data, start, structs) for name, part in value.items() if name != "kind"})
    if isinstance(restored, Masks):
        _check(restored)
    return restored


def _check(masks: Masks) -> None:
    """`Masks` trusts what it is given, and compiled code reads where its numbers point.

    Raises:
        MasksError: crops outside the frame, or words that do not fit them.
    """
    x0, y0, x1, y1 = masks.rects.astype(np.int64).reshape(-1, 4).T
    inside = (x0 >= 0) & (y0 >= 0) & (x1 >= x0) & (y1 >= y0) & (x1 <= masks.width) & (y1 <= masks.height)
    columns = np.where(x1 > x0, (x1 - 1) // 64 - x0 // 64 + 1, 0)  # a crop's row takes the 64-pixel columns it touches
    starts = np.concatenate([[0], np.cumsum(columns * (y1 - y0))])
    shapes = masks.rects.shape == (len(x0), 4) and masks.words.shape == (starts[-1],)
    dtypes = [str(part.dtype) for part in (masks.rects, masks.starts, masks.words)] == ["int32", "int64", "uint64"]
    if not (shapes and dtypes and inside.all() and np.array_equal(masks.starts, starts)):
        raise MasksError("masks whose crops and words do not fit together")
