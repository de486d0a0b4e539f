"""Rendered streets as training material: a pool of frames with truth, and samples cut from it.

Seeds below 500 belong to demo, tests and benchmarks, 500..519 to validation; training starts at 1000.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = (960, 540)  # pixels of a rendered frame, (width, height)
FIRST_TRAINING_SEED = 1000
VALIDATION_SEEDS = range(500, 520)
FRAMES_PER_SCENE = 4  # frames taken from one street, far apart
LENGTH = 300  # frames of a street
MAX_OBJECTS = 24
ZOOM = (0.75, 1.25)  # of a training window, see `cut_sample`
MIN_CENTRE_PIXELS = 3  # head pixels below which an object gets no centre to learn


Size = tuple[int, int]


@dataclass(frozen=True)
class Pool:
    """Frames with truth, row i is frame i; memory-mapped files, read at random.

    Attributes:
        images: (N, H, W, 3) uint8 BGR.
        classes: (N, H, W) uint8, index into STREET_CLASSES.
        ids: (N, H, W) uint8, 0 for stuff, else 1 + the object's row in its frame.
    """

    images: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    ids: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)


def open_pool(folder: Path, count: int) -> Pool:
    """The pool's files of `count` frames in `folder`, created where they are missing."""
    width, height = SIZE
    maps = []
    for name, shape in (("images", (count, height, width, 3)), ("classes", (count, height, width)),
                        ("ids", (count, height, width))):  # fmt: skip
        path = folder / f"{name}-{count}.u8"
        mode: Any = "r+" if path.exists() and path.stat().st_size == int(np.prod(shape)) else "w+"
        maps.append(np.memmap(path, np.uint8, mode, shape=shape))
    return Pool(*maps)


def fill_pool(
    folder: Path, count: int, seed: int = 0, workers: int = 1, report: Callable[[int], None] | None = None
) -> Pool:
    """Render `count` frames of streets that nobody else uses into `folder`; a pool that is already there is kept.

    Args:
        folder: where the files lie; made if missing.
        count: frames.
        seed: moves the range of scene seeds; 0..999.
        workers: processes that render.
        report: called with the number of frames rendered so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"complete-{count}-{seed}"
    pool = open_pool(folder, count)
    if done.exists():
        return pool
    starts = range(0, count, FRAMES_PER_SCENE)
    jobs = [(folder, count, seed, start) for start in starts]
    with contextlib.ExitStack() as stack:
        results: Iterable[int] = map(_render_street, jobs)
        if workers > 1:  # "spawn": a fork would inherit torch's threads
            spawn = multiprocessing.get_context("spawn")
            results = stack.enter_context(spawn.Pool(workers)).imap(_render_street, jobs, chunksize=4)
        rendered = 0
        for frames in results:
            rendered += frames
            if report is not None:
                report(rendered)
    done.touch()
    return pool


def _render_street(job: tuple[Path, int, int, int]) -> int:
    """Render the frames `start`, `start + 1` ... of a pool from one street; returns how many."""
    folder, count, seed, start = job
    pool = open_pool(folder, count)
    rng = np.random.default_rng((seed, start))
    street = _training_street(FIRST_TRAINING_SEED + 100_000 * seed + start // FRAMES_PER_SCENE, rng)
    share = LENGTH // FRAMES_PER_SCENE
    rows = range(start, min(start + FRAMES_PER_SCENE, count))
    for part, row in enumerate(rows):
        scene = street.render(part * share + int(rng.integers(share)))
        ids, places = np.unique(scene.ids, return_inverse=True)  # ids of any size -> 0, 1, 2 ...
        first = 0 if ids[0] == 0 else 1
        pool.images[row], pool.classes[row] = scene.image, scene.classes
        pool.ids[row] = (places.reshape(scene.ids.shape) + first).astype(np.uint8)
    return len(rows)


def _training_street(seed: int, rng: np.random.Generator) -> Any:
    from tracker.sources.street import Street

    return Street(
        seed=seed,
        objects=int(rng.integers(4, MAX_OBJECTS + 1)),
        size=SIZE,
        frames=LENGTH,
        cars=float(rng.uniform(0.1, 0.6)),
        occluders=float(rng.uniform(0, 1.5)),
        crossing=float(rng.uniform(0, 0.7)),
        shake=float(rng.choice([0, 4])),
        pan=float(rng.choice([0, 60])),
        light=float(rng.choice([0, 0.5])),
        noise=float(rng.uniform(0, 6)),
    )


@dataclass(frozen=True)
class Sample:
    """One training sample at network resolution; h and w are head pixels.

    Attributes:
        image: (3, H, W) uint8 RGB.
        classes: (h, w) uint8.
        heat: (h, w) float32, 1 at every centre.
        offset: (2, h, w) float32, (dy, dx) in head pixels; 0 on stuff.
        weight: (h, w) float32, how much a pixel of an object counts: small objects count more. 0 on stuff.
    """

    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    heat: NDArray[np.float32]
    offset: NDArray[np.float32]
    weight: NDArray[np.float32]


def cut_sample(
    pool: Pool, row: int, size: Size, crop: Size, stride: int, rng: np.random.Generator, zoom: float | None = None
) -> Sample:
    """A random window of a frame, mirrored or not, with changed colours.

    Args:
        pool: where the frame is.
        row: which one.
        size: (width, height) at which the network sees a whole frame.
        crop: (width, height) of the sample, network pixels; at most `size`.
        stride: network pixels per head pixel.
        rng: decides everything else.
        zoom: how many pixels of the frame fall on one of the network's, relative to the scale of `size`; random by
            default.
    """
    full = np.array(SIZE)
    share = np.array(crop) / np.array(size)
    zoom = float(rng.uniform(*ZOOM)) if zoom is None else zoom
    width, height = np.minimum(np.rint(full * share * zoom).astype(int), full)
    x, y = rng.integers(full[0] - width + 1), rng.integers(full[1] - height + 1)
    window = (row, slice(y, y + height), slice(x, x + width))
    image = cv2.resize(pool.images[window], crop, interpolation=cv2.INTER_LINEAR)
    head = (crop[0] // stride, crop[1] // stride)
    classes = sample_centres(pool.classes[window], head)
    ids = sample_centres(pool.ids[window], head)
    if rng.random() < 0.5:
        image, classes, ids = image[:, ::-1], classes[:, ::-1], ids[:, ::-1]
    heat, offset, weight = draw_targets(ids)
    pixels = np.ascontiguousarray(recolour(image, rng)[..., ::-1].transpose(2, 0, 1))
    return Sample(pixels, np.ascontiguousarray(classes), heat, offset, weight)


def sample_centres(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels (H, W) at the centres of a grid of size (width, height) pixels: what bilinear maps should interpolate."""
    rows = ((np.arange(size[1]) + 0.5) * labels.shape[0] / size[1]).astype(np.int64)
    columns = ((np.arange(size[0]) + 0.5) * labels.shape[1] / size[0]).astype(np.int64)
    return labels[rows[:, None], columns]


def recolour(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Other light: contrast, brightness, white balance, and now and then blur or noise."""
    gain = rng.uniform(0.75, 1.3) * rng.uniform(0.93, 1.07, 3)
    table = (np.arange(256)[:, None] - 127.5) * gain + 127.5 + rng.uniform(-25, 25)
    out = cv2.LUT(np.ascontiguousarray(image), np.clip(table, 0, 255).astype(np.uint8)[:, None])
    if rng.random() < 0.15:
        out = cv2.GaussianBlur(out, (3, 3), 0)
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(2, 8), out.shape[:2]).astype(np.float32)
        out = np.clip(out + noise[..., None], 0, 255).astype(np.uint8)
    return out


def draw_targets(ids: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Heat, offset and weight (see `Sample`) from object ids (h, w) at head resolution; 0 is stuff.

    A centre is the mean of an object's visible pixels, rounded to a pixel in the heatmap; its Gaussian grows with the
    root of the visible area.
    """
    yy, xx = np.indices(ids.shape, np.float32)
    flat = ids.ravel()
    area = np.bincount(flat, minlength=1).astype(np.float32)
    share = 1 / np.maximum(area, 1)
    cy = (np.bincount(flat, yy.ravel()) * share).astype(np.float32)
    cx = (np.bincount(flat, xx.ravel()) * share).astype(np.float32)
    thing = ids > 0
    offset = np.where(thing, np.stack([cy[ids] - yy, cx[ids] - xx]), np.float32(0))
    weight = np.where(thing, np.clip(12 / np.sqrt(np.maximum(area, 1)), 0.5, 3)[ids], 0).astype(np.float32)
    heat = np.zeros(ids.shape, np.float32)
    for k in np.flatnonzero(area[1:] >= MIN_CENTRE_PIXELS) + 1:
        sigma = float(np.clip(0.17 * np.sqrt(area[k]), 1.2, 5.0))
        y, x, reach = round(float(cy[k])), round(float(cx[k])), int(3 * sigma + 1)
        part = np.s_[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        bump = np.exp(-((yy[part] - y) ** 2 + (xx[part] - x) ** 2) / np.float32(2 * sigma * sigma))
        heat[part] = np.maximum(heat[part], bump)
    return heat, offset, weight
