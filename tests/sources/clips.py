"""Small videos for tests; frame k shows the number k as 16 black or white stripes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

BITS = 16
WIDTH, HEIGHT = 16 * BITS, 64


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Image that carries `number` so that no codec can lose it."""
    bits = [(number >> k) & 1 for k in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 200 + 25, width // BITS)
    row = np.concatenate([row, np.zeros(width - len(row), np.uint8)])
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_of(image: np.ndarray) -> int:
    """The number that `picture` put in."""
    stripe = image.shape[1] // BITS
    means = image[:, : stripe * BITS].reshape(image.shape[0], BITS, stripe, 3).mean(axis=(0, 2, 3))
    return sum(1 << k for k, mean in enumerate(means) if mean > 125)


def write_video(
    path, count=12, *, codec="libx264", rate=30, times=None, gop=6, noise=0, format=None, movflags=None, size=None
):
    """Encode pictures 0..count-1; `times` are their seconds where the rate is not constant."""
    import av

    container = av.open(str(path), "w", format=format, options={"movflags": movflags} if movflags else {})
    options = {"preset": "ultrafast", "bf": "0"} if codec == "libx264" else {}
    stream = container.add_stream(codec, rate=rate, options=options)
    width, height = size or (WIDTH, HEIGHT)
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    stream.codec_context.gop_size = gop
    if times is not None:
        stream.codec_context.time_base = Fraction(1, 1000)
    rng = np.random.default_rng(0)
    for k in range(count):
        image = picture(k, width, height)
        if noise:
            image[HEIGHT // 2 :] = rng.integers(0, 255, (HEIGHT - HEIGHT // 2, WIDTH, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        if times is not None:
            frame.pts, frame.time_base = round(times[k] * 1000), Fraction(1, 1000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    container.close()
    return path
