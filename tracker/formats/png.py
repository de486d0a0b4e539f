"""PNG files that carry numbers: label maps of 8 or 16 bits, RGB and palette, read and written exactly.

Image libraries turn palettes into colours and 16 bits into 8 where nobody asks; a label map survives neither. This
reads every PNG that is not interlaced and writes four kinds of it.

Source: PNG specification, third edition, W3C 2025.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.errors import FormatError, why

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE = 0, 2, 3
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, 4: 2, 6: 4}
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _RGB: (8, 16), _PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_MAX_PIXELS = 1 << 28  # of a picture; a broken header would otherwise ask for terabytes
_LEVEL = 3  # zlib's: a STEP picture of 1080p takes 9 ms and 54 kB; level 6 takes 24 ms for half the bytes


@dataclass(frozen=True, slots=True, eq=False)
class Png:
    """A picture as its file has it.

    Attributes:
        pixels: (H, W) or (H, W, C) uint8 or uint16; samples of 1, 2 and 4 bits stand in uint8 with their own values.
        palette: (N, 3) uint8 RGB if the pixels are places in it, else None.
    """

    pixels: NDArray[Any]
    palette: NDArray[np.uint8] | None = None


def read_png(path: str | os.PathLike[str]) -> Png:
    """Read a file.

    Raises:
        FormatError: it cannot be read, is no PNG, is damaged or cut short, or is interlaced.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"cannot read {path}: {why(error)}") from None
    return decode_png(data, str(path))


def encode_png(pixels: NDArray[Any], palette: NDArray[np.uint8] | None = None) -> bytes:
    """A PNG file's bytes.

    Args:
        pixels: (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB, with at least one pixel.
        palette: (N, 3) uint8 RGB, N up to 256; pixels must then be (H, W) uint8 below N.

    Raises:
        ValueError: any other array.
    """
    grey = pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16)
    rgb = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    if not (grey or rgb) or pixels.size == 0:
        raise ValueError(f"expected uint8 or uint16 (H, W) or uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    if palette is not None and (not grey or pixels.dtype != np.uint8 or int(pixels.max()) >= len(palette)):
        raise ValueError(f"expected places in a palette of {len(palette)} colours as uint8 (H, W)")
    kind = _RGB if rgb else _GREY if palette is None else _PALETTE
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, kind, 0, 0, 0)
    rows = np.ascontiguousarray(pixels, f">u{pixels.itemsize}").view(np.uint8).reshape(height, -1)
    lines = np.zeros((height, rows.shape[1] + 1), np.uint8)  # a zero before every row: no filter
    lines[:, 1:] = rows
    parts = [_chunk(b"IHDR", header)]
    if palette is not None:
        parts.append(_chunk(b"PLTE", np.ascontiguousarray(palette, np.uint8).tobytes()))
    parts += [_chunk(b"IDAT", zlib.compress(lines.tobytes(), _LEVEL)), _chunk(b"IEND", b"")]
    return _SIGNATURE + b"".join(parts)


def decode_png(data: bytes, name: str = "the picture") -> Png:
    """A picture from a PNG file's bytes; `name` stands in messages. Raises as `read_png`."""
    header, palette, packed = _parse(data, name)
    width, height, depth, kind, interlaced = header
    samples = width * _CHANNELS[kind]
    stride = (samples * depth + 7) // 8
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, height * (stride + 1) + 1)
    except zlib.error as error:
        raise FormatError(f"cannot read {name}: a damaged PNG ({error})") from None
    if interlaced:
        raise FormatError(f"cannot read {name}: interlaced PNG; save it without interlacing")
    if len(raw) != height * (stride + 1):
        raise FormatError(f"cannot read {name}: a damaged PNG, its pixels do not fill {height} x {width}")
    lines = np.frombuffer(raw, np.uint8).reshape(height, stride + 1).copy()
    if lines[:, 0].any() and not _unfilter(lines, max(1, depth * _CHANNELS[kind] // 8)):
        raise FormatError(f"cannot read {name}: a damaged PNG, unknown row filter")
    rows: NDArray[Any] = np.ascontiguousarray(lines[:, 1:])
    if depth == 16:
        rows = rows.view(">u2").astype(np.uint16)
    elif depth < 8:
        shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
        rows = ((rows[:, :, None] >> shifts) & ((1 << depth) - 1)).reshape(height, -1)[:, :samples]
    pixels = rows if _CHANNELS[kind] == 1 else rows.reshape(height, width, -1)
    if kind != _PALETTE:
        return Png(pixels)
    if palette is None or int(pixels.max()) >= len(palette):
        raise FormatError(f"cannot read {name}: a damaged PNG, pixels outside its palette")
    return Png(pixels, palette)


def _parse(data: bytes, name: str) -> tuple[tuple[int, int, int, int, bool], NDArray[np.uint8] | None, bytes]:
    """Header (width, height, depth, kind, interlaced), palette and packed pixels."""
    if data[:8] != _SIGNATURE:
        raise FormatError(f"cannot read {name}: not a PNG file")
    header: tuple[int, int, int, int, bool] | None = None
    palette: NDArray[np.uint8] | None = None
    packed: list[bytes] = []
    at, ended = 8, False
    while not ended:
        if at + 12 > len(data):
            raise FormatError(f"cannot read {name}: the PNG is cut short")
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        check = data[at + 8 + size : at + 12 + size]
        if len(check) < 4:
            raise FormatError(f"cannot read {name}: the PNG is cut short")
        if struct.unpack(">I", check)[0] != zlib.crc32(kind + body):
            raise FormatError(f"cannot read {name}: a damaged PNG, wrong checksum")
        at += 12 + size
        if kind == b"IHDR" and size == 13:
            width, height, depth, colours, method, filters, interlace = struct.unpack(">IIBBBBB", body)
            if depth not in _DEPTHS.get(colours, ()) or method or filters or not 0 < width * height <= _MAX_PIXELS:
                raise FormatError(f"cannot read {name}: a damaged PNG header")
            header = width, height, depth, colours, interlace != 0
        elif kind == b"PLTE" and 0 < size <= 768 and size % 3 == 0:
            palette = np.frombuffer(body, np.uint8).reshape(-1, 3)
        elif kind == b"IDAT":
            packed.append(body)
        ended = kind == b"IEND"
    if header is None or not packed:
        raise FormatError(f"cannot read {name}: a PNG without a picture")
    return header, palette, b"".join(packed)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@kernel
def _unfilter(lines, step):  # type: ignore[no-untyped-def]
    """Undo the filter of every row in place (its number stands first); False for an unknown one."""
    height, size = lines.shape
    for y in range(height):
        rule = lines[y, 0]
        if rule > 4:
            return False
        for x in range(1, size):
            left = np.int64(lines[y, x - step]) if x > step else np.int64(0)
            up = np.int64(lines[y - 1, x]) if y > 0 else np.int64(0)
            corner = np.int64(lines[y - 1, x - step]) if y > 0 and x > step else np.int64(0)
            guess = np.int64(0)
            if rule == 1:
                guess = left
            elif rule == 2:
                guess = up
            elif rule == 3:
                guess = (left + up) // 2
            elif rule == 4:
                near = left + up - corner
                a, b, c = abs(near - left), abs(near - up), abs(near - corner)
                guess = left if a <= b and a <= c else up if b <= c else corner
            lines[y, x] = np.uint8((np.int64(lines[y, x]) + guess) & 255)
    return True
