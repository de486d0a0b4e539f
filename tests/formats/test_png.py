"""PNG: exact numbers both ways, against Pillow's and OpenCV's files, and damage that is named."""

from __future__ import annotations

import base64
import json
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tracker.errors import FormatError
from tracker.formats.png import decode_png, encode_png, read_png

SHAPES = {np.uint8: [(5, 7), (1, 1), (4, 9, 3)], np.uint16: [(5, 7), (1, 3)]}


@pytest.mark.parametrize(("dtype", "shape"), [(dtype, shape) for dtype, shapes in SHAPES.items() for shape in shapes])
@given(st.data())
def test_numbers_go_through(dtype, shape, data):
    pixels = data.draw(arrays(dtype, shape))
    found = decode_png(encode_png(pixels))
    assert found.palette is None and found.pixels.dtype == dtype
    np.testing.assert_array_equal(found.pixels, pixels)


@pytest.mark.parametrize(("dtype", "shape"), [(dtype, shape) for dtype, shapes in SHAPES.items() for shape in shapes])
@pytest.mark.parametrize("smooth", [False, True])
def test_opencv_reads_ours_and_we_read_opencvs(dtype, shape, smooth):
    """OpenCV filters rows, so smooth pictures try every filter that it chooses."""
    rng = np.random.default_rng(0)
    tall = (64, 64, *shape[2:]) if smooth else shape
    pixels = rng.integers(0, np.iinfo(dtype).max, tall, endpoint=True).astype(dtype)
    if smooth:
        pixels = cv2.GaussianBlur(pixels, (0, 0), 5)
    read = cv2.imdecode(np.frombuffer(encode_png(pixels), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1] if pixels.ndim == 3 else read, pixels)
    for options in ([], *([cv2.IMWRITE_PNG_STRATEGY, strategy] for strategy in range(5))):
        turned = np.ascontiguousarray(pixels[..., ::-1]) if pixels.ndim == 3 else pixels
        theirs = cv2.imencode(".png", turned, options)[1]
        np.testing.assert_array_equal(decode_png(theirs.tobytes()).pixels, pixels)


def filtered(pixels, rule):
    """A grey PNG whose rows all have one filter, from the specification's own formulas."""
    rows, before = [], [0] * pixels.shape[1]
    for row in pixels.tolist():
        line = []
        for x, value in enumerate(row):
            a, b, c = (row[x - 1] if x else 0), before[x], (before[x - 1] if x else 0)
            p = a + b - c
            paeth = min((a, b, c), key=lambda v: abs(p - v))
            line.append((value - [0, a, b, (a + b) // 2, paeth][rule]) % 256)
        rows.append(bytes([rule, *line]))
        before = row
    data = encode_png(pixels)
    body = zlib.compress(b"".join(rows))
    at = data.index(b"IDAT")
    chunk = b"IDAT" + body
    return data[: at - 4] + len(body).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[-12:]


@pytest.mark.parametrize("rule", range(5))
def test_every_row_filter(rule):
    pixels = np.random.default_rng(rule).integers(0, 256, (9, 13)).astype(np.uint8)
    np.testing.assert_array_equal(decode_png(filtered(pixels, rule)).pixels, pixels)


def test_palettes(tmp_path):
    palette = np.array([[0, 0, 0], [128, 0, 0], [128, 0, 0]], np.uint8)  # two places of one colour stay two places
    pixels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(pixels, palette))
    found = read_png(tmp_path / "a.png")
    np.testing.assert_array_equal(found.pixels, pixels)
    np.testing.assert_array_equal(found.palette, palette)
    assert cv2.imread(str(tmp_path / "a.png"))[0, 1].tolist() == [0, 0, 128]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_samples_below_a_byte(depth):
    """Made by hand: a grey picture of 5 pixels a row."""
    values = np.arange(10).reshape(2, 5) % (1 << depth)
    lines = b""
    for row in values:
        bits = "".join(f"{value:0{depth}b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        lines += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    template = encode_png(np.zeros((2, 5), np.uint8))
    header = b"IHDR" + template[16:24] + bytes([depth, 0, 0, 0, 0])
    body = b"IDAT" + zlib.compress(lines)
    data = template[:8]
    for chunk in (header, body, b"IEND"):
        data += (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    np.testing.assert_array_equal(decode_png(data).pixels, values)


def test_pillows_files(golden):
    expected = json.loads((golden / "formats" / "expected.json").read_text())
    for name, key in (("step_png", "rgb"), ("mots_png16", "values")):
        data = base64.b64decode(expected[name]["png_base64"])
        np.testing.assert_array_equal(decode_png(data).pixels, expected[name][key])


GOOD = encode_png(np.arange(60, dtype=np.uint8).reshape(6, 10))
SWAPPED = bytearray(GOOD)
SWAPPED[50] ^= 0xFF
EMPTY = b"IHDR" + bytes(13)
BAD = {
    "not a PNG": b"GIF89a" + GOOD,
    "cut short": GOOD[:-15],
    "cut short ": GOOD[:30],
    "checksum": bytes(SWAPPED),
    "not a PNG ": b"",
    "header": GOOD[:12] + EMPTY + zlib.crc32(EMPTY).to_bytes(4, "big") + GOOD[33:],
}


@pytest.mark.parametrize("reason", BAD)
def test_damage_is_named(tmp_path, reason):
    path = tmp_path / "000003.png"
    path.write_bytes(BAD[reason])
    with pytest.raises(FormatError, match=reason.strip()) as caught:
        read_png(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_flipped_byte_goes_unnoticed(place, change):
    data = bytearray(GOOD)
    data[place] ^= change
    with pytest.raises(FormatError):
        decode_png(bytes(data))


def test_what_cannot_be_written():
    for pixels in (np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            encode_png(pixels)
    with pytest.raises(ValueError, match="palette of 2"):
        encode_png(np.full((2, 2), 2, np.uint8), np.zeros((2, 3), np.uint8))
