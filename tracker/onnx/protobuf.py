"""Protobuf messages taken apart and put together, as far as an ONNX file needs it that is changed without `onnx`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping


def write_field(number: int, data: bytes) -> bytes:
    """One length-delimited field."""
    return write_varint(number << 3 | 2) + write_varint(len(data)) + data


def write_varint(value: int) -> bytes:
    """A variable-length integer, >= 0."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer and where it ends.

    Raises:
        IndexError: the data end before it does.
    """
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def field_places(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of every field of a message.

    Raises:
        ValueError, IndexError: not a protobuf message.
    """
    start = 0
    while start < len(data):
        tag, at = read_varint(data, start)
        if tag & 7 == 0:
            _, at = read_varint(data, at)
        elif tag & 7 == 2:
            length, at = read_varint(data, at)
            at += length
        else:
            at += {1: 8, 5: 4}.get(tag & 7, len(data) + 1)
        if at > len(data) or tag < 8:
            raise ValueError("not a protobuf message")
        yield start, at
        start = at


def read_fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and payload of every length-delimited field, in order; plain numbers are passed over.

    Raises as `field_places`.
    """
    for start, end in field_places(data):
        tag, at = read_varint(data, start)
        if tag & 7 == 2:
            _, at = read_varint(data, at)
            yield tag >> 3, data[at:end]


def change_fields(data: bytes, changes: Mapping[int, Callable[[bytes], bytes | None]]) -> bytes:
    """The message with the length-delimited fields of these numbers changed, or left out where the change says None.

    Raises as `field_places`.
    """
    parts = []
    for start, end in field_places(data):
        tag, at = read_varint(data, start)
        if tag & 7 != 2 or tag >> 3 not in changes:
            parts.append(data[start:end])
            continue
        _, at = read_varint(data, at)
        changed = changes[tag >> 3](data[at:end])
        if changed is not None:
            parts.append(write_field(tag >> 3, changed))
    return b"".join(parts)
