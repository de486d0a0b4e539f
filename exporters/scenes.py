"""Rendered streets as training material: a pool of moments with truth, and samples cut from it.

A moment is a frame and the one before. Several moments come from each street, so that the same people and cars are seen
again, and keep their ids: that is what identity vectors are learned from. Seeds below 500 belong to demo, tests and
benchmarks, 500..519 to validation; training starts at 1000.
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

from tracker.models.card import Size

SIZE = (960, 540)  # pixels of a rendered frame, (width, height)
FIRST_TRAINING_SEED = 1000
VALIDATION_SEEDS = range(500, 520)
MOMENTS = 4  # taken from one street: N_w of MOTSNet, as long as a batch takes whole streets
GAPS = (5, 40)  # frames between two of them: as long as objects are hidden
BEFORE = (1, 1, 1, 1, 2, 3)  # frames between a moment and the picture before; one of these, as cameras drop frames
LENGTH = 300  # frames of a street
MAX_OBJECTS = 24
ZOOM = (0.75, 1.25)  # of a training window, see `cut_sample`
MIN_CENTRE_PIXELS = 3  # head pixels below which an object gets no centre to learn
_SAME, _OTHER = 0.05, 0.1  # shares of samples whose picture before is the same one, or one of something else


@dataclass(frozen=True)
class Pool:
    """Moments with truth, row i is moment i, `MOMENTS` rows a street; memory-mapped files, read at random.

    Attributes:
        images: (N, H, W, 3) uint8 BGR.
        classes: (N, H, W) uint8, index into STREET_CLASSES.
        ids: (N, H, W) uint8, 0 for stuff, else the object's id in its street.
        images_before: (N, H, W, 3) uint8 BGR, the picture before.
        ids_before: (N, H, W) uint8, likewise.
    """

    images: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    images_before: NDArray[np.uint8]
    ids_before: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)


def open_pool(folder: Path, count: int) -> Pool:
    """The pool's files of `count` moments in `folder`, created where they are missing."""
    width, height = SIZE
    maps = []
    for name in Pool.__dataclass_fields__:
        shape = (count, height, width, 3) if name.startswith("images") else (count, height, width)
        path = folder / f"{name}-{count}.u8"
        mode: Any = "r+" if path.exists() and path.stat().st_size == int(np.prod(shape)) else "w+"
        maps.append(np.memmap(path, np.uint8, mode, shape=shape))
    return Pool(*maps)


def fill_pool(
    folder: Path, count: int, seed: int = 0, workers: int = 1, report: Callable[[int], None] | None = None
) -> Pool:
    """Render `count` moments of streets that nobody else uses into `folder`; a pool that is already there is kept.

    Args:
        folder: where the files lie; made if missing.
        count: moments, two frames each.
        seed: moves the range of scene seeds; 0..999.
        workers: processes that render.
        report: called with the number of moments rendered so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"complete-{count}-{seed}"
    pool = open_pool(folder, count)
    if done.exists():
        return pool
    jobs = [(folder, count, seed, start) for start in range(0, count, MOMENTS)]
    with contextlib.ExitStack() as stack:
        results: Iterable[int] = map(_render_street, jobs)
        if workers > 1:  # "spawn": a fork would inherit torch's threads
            spawn = multiprocessing.get_context("spawn")
            results = stack.enter_context(spawn.Pool(workers)).imap(_render_street, jobs, chunksize=4)
        rendered = 0
        for moments in results:
            rendered += moments
            if report is not None:
                report(rendered)
    done.touch()
    return pool


def _render_street(job: tuple[Path, int, int, int]) -> int:
    """Render the moments `start`, `start + 1` ... of a pool from one street; returns how many."""
    folder, count, seed, start = job
    pool = open_pool(folder, count)
    rng = np.random.default_rng((seed, start))
    street = _training_street(FIRST_TRAINING_SEED + 100_000 * seed + start // MOMENTS, rng)
    gaps = rng.integers(GAPS[0], GAPS[1] + 1, MOMENTS - 1)
    first = int(rng.integers(max(BEFORE), LENGTH - int(gaps.sum())))
    frames = first + np.concatenate([[0], np.cumsum(gaps)])
    rows = range(start, min(start + MOMENTS, count))
    for row, frame in zip(rows, frames[: len(rows)].tolist(), strict=True):
        now, then = street.render(frame), street.render(frame - int(rng.choice(BEFORE)))
        pool.images[row], pool.classes[row], pool.ids[row] = now.image, now.classes, _small(now.ids)
        pool.images_before[row], pool.ids_before[row] = then.image, _small(then.ids)
    return len(rows)


def _small(ids: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Ids of one street as bytes: it sees at most `MAX_OBJECTS` times 8 lives."""
    assert ids.max(initial=0) < 256
    return ids.astype(np.uint8)


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
    """One training sample at network resolution; h and w are head pixels, v and u are pixels of half that resolution.

    Attributes:
        image: (3, H, W) uint8 RGB.
        before: (3, H, W) uint8 RGB, the same window of the picture before, or of a picture of something else.
        classes: (h, w) uint8.
        heat: (h, w) float32, 1 at every centre.
        offset: (2, h, w) float32, (dy, dx) in head pixels; 0 on stuff.
        weight: (h, w) float32, how much a pixel of an object counts: small objects count more. 0 on stuff.
        motion: (2, v, u) float32, (dy, dx) from an object's centre to where it was before, in pixels of this map.
        moved: (v, u) float32, how much the motion of a pixel counts: more where things move, as most hardly do. 0 on
            stuff and where it is not known.
        ids: (v, u) uint8, the object's id in its street, 0 for stuff.
        labels: (v, u) uint8 classes.
    """

    image: NDArray[np.uint8]
    before: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    heat: NDArray[np.float32]
    offset: NDArray[np.float32]
    weight: NDArray[np.float32]
    motion: NDArray[np.float32]
    moved: NDArray[np.float32]
    ids: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def cut_sample(
    pool: Pool, row: int, size: Size, crop: Size, stride: int, rng: np.random.Generator,
    light: NDArray[np.uint8] | None = None, zoom: float | None = None,
) -> Sample:  # fmt: skip
    """A random window of a moment, mirrored or not, with changed colours.

    Now and then the picture before is the same picture, as at the beginning of a stream, or one of something else, as
    after a cut.

    Args:
        pool: where the moment is.
        row: which one.
        size: (width, height) at which the network sees a whole frame.
        crop: (width, height) of the sample, network pixels; at most `size`.
        stride: network pixels per head pixel.
        rng: decides everything else.
        light: of `draw_light`, where several samples of a street shall have the same; random by default.
        zoom: how many pixels of the frame fall on one of the network's, relative to the scale of `size`; random by
            default.
    """
    full = np.array(SIZE)
    share = np.array(crop) / np.array(size)
    zoom = float(rng.uniform(*ZOOM)) if zoom is None else zoom
    width, height = np.minimum(np.rint(full * share * zoom).astype(int), full)
    x, y = rng.integers(full[0] - width + 1), rng.integers(full[1] - height + 1)
    window = (row, slice(y, y + height), slice(x, x + width))
    head, half = ((crop[0] // s, crop[1] // s) for s in (stride, 2 * stride))
    chance = rng.random()
    if chance < _SAME:
        image_before, ids_before = pool.images[window], pool.ids[window]
    elif chance < _SAME + _OTHER:
        image_before, ids_before = pool.images_before[(int(rng.integers(len(pool))), *window[1:])], None
    else:
        image_before, ids_before = pool.images_before[window], pool.ids_before[window]
    light = draw_light(rng) if light is None else light
    pictures = [
        recolour(cv2.resize(picture, crop, interpolation=cv2.INTER_LINEAR), light, rng)
        for picture in (pool.images[window], image_before)
    ]
    classes, ids = (sample_centres(labels[window], head) for labels in (pool.classes, pool.ids))
    ids_before = np.zeros_like(ids) if ids_before is None else sample_centres(ids_before, head)
    if rng.random() < 0.5:
        pictures = [picture[:, ::-1] for picture in pictures]
        classes, ids, ids_before = classes[:, ::-1], ids[:, ::-1], ids_before[:, ::-1]
    heat, offset, weight = draw_targets(ids)
    ids_half, labels_half = sample_centres(ids, half), sample_centres(classes, half)
    motion, moved = draw_motion(ids, ids_before, ids_half)
    image, before = (np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1)) for picture in pictures)
    return Sample(
        image, before, np.ascontiguousarray(classes), heat, offset, weight, motion, moved, ids_half, labels_half
    )


def sample_centres(labels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Labels (H, W) at the centres of a grid of size (width, height) pixels: what bilinear maps should interpolate."""
    rows = ((np.arange(size[1]) + 0.5) * labels.shape[0] / size[1]).astype(np.int64)
    columns = ((np.arange(size[0]) + 0.5) * labels.shape[1] / size[0]).astype(np.int64)
    return labels[rows[:, None], columns]


def draw_light(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Another light, contrast, brightness and white balance: (256, 1, 3) uint8, a table for `recolour`."""
    gain = rng.uniform(0.75, 1.3) * rng.uniform(0.93, 1.07, 3)
    table = (np.arange(256)[:, None] - 127.5) * gain + 127.5 + rng.uniform(-25, 25)
    return np.clip(table, 0, 255).astype(np.uint8)[:, None]


def recolour(image: NDArray[np.uint8], light: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The image in another light, and now and then with blur or noise."""
    out = cv2.LUT(np.ascontiguousarray(image), light)
    if rng.random() < 0.15:
        out = cv2.GaussianBlur(out, (3, 3), 0)
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(2, 8), out.shape[:2]).astype(np.float32)
        out = np.clip(out + noise[..., None], 0, 255).astype(np.uint8)
    return out


def find_centres(ids: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixels (256,) and mean (2, 256), y and x, of every id of (h, w); the mean of none is 0."""
    yy, xx = np.indices(ids.shape, np.float32)
    flat = ids.ravel()
    area = np.bincount(flat, minlength=256).astype(np.float32)
    sums = np.stack([np.bincount(flat, grid.ravel(), minlength=256) for grid in (yy, xx)])
    return area, (sums / np.maximum(area, 1)).astype(np.float32)


def draw_targets(ids: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Heat, offset and weight (see `Sample`) from object ids (h, w) at head resolution; 0 is stuff.

    A centre is the mean of an object's visible pixels, rounded to a pixel in the heatmap; its Gaussian grows with the
    root of the visible area.
    """
    grid = np.indices(ids.shape, np.float32)
    area, centres = find_centres(ids)
    thing = ids > 0
    offset = np.where(thing, centres[:, ids] - grid, np.float32(0))
    weight = np.where(thing, np.clip(12 / np.sqrt(np.maximum(area, 1)), 0.5, 3)[ids], 0).astype(np.float32)
    heat = np.zeros(ids.shape, np.float32)
    for k in np.flatnonzero(area[1:] >= MIN_CENTRE_PIXELS) + 1:
        sigma = float(np.clip(0.17 * np.sqrt(area[k]), 1.2, 5.0))
        y, x, reach = round(float(centres[0, k])), round(float(centres[1, k])), int(3 * sigma + 1)
        part = np.s_[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        bump = np.exp(-((grid[0][part] - y) ** 2 + (grid[1][part] - x) ** 2) / np.float32(2 * sigma * sigma))
        heat[part] = np.maximum(heat[part], bump)
    return heat, offset, weight


def draw_motion(
    ids: NDArray[np.uint8], ids_before: NDArray[np.uint8], ids_half: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Motion and moved (see `Sample`) from ids (h, w) of a picture and the one before, and ids (v, u) at half of that.

    Objects of which one of both pictures shows less than `MIN_CENTRE_PIXELS` have none.
    """
    area, centres = find_centres(ids)
    area_before, centres_before = find_centres(ids_before)
    known = np.minimum(area, area_before) >= MIN_CENTRE_PIXELS
    known[0] = False
    way = np.where(known, (centres_before - centres) / 2, 0).astype(np.float32)
    moved = np.where(known, 0.5 + np.minimum(np.hypot(*way), 2), 0).astype(np.float32)
    return way[:, ids_half], moved[ids_half]
