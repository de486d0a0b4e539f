"""One picture turned into two, with the boxes of both: what a SiamMOT learns from without any video.

Both are windows of the same rendered frame, at nearly the same place and scale, each with light, blur and noise of its
own. Into both go some objects cut from other frames, here and there a little apart: they move before a background that
stays, hide others and are hidden.

Source: SiamMOT, arXiv:2105.11595, section 4.2 (image-based training); Simple Copy-Paste, arXiv:2012.07177.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from exporters.scenes import MOMENTS, Pool, Size, draw_light, recolour
from tracker.sources.street.paint import census

FIRST_THING = 5  # person, car: the last classes of the street
FIRST_PASTED = 200  # ids of objects that came from elsewhere
MAX_PASTED = 6
LEAST_PASTED = 300  # pixels of a frame
ALONE = 0.07  # share of pasted objects that are not in the first picture, or not in the second
REACH = 0.8  # sides by which a pasted object moves at most
GROWTH = 0.22  # logarithm of the largest change of scale between both pictures
LEAST_SIDE, LEAST_HEIGHT = 4.0, 9.0  # network pixels; smaller objects are neither right nor wrong
LEAST_SHARE = 0.3  # of an object's pixels; likewise if fewer are in the picture


class Objects(NamedTuple):
    """What one picture shows. Boxes are xyxy network pixels, the last pixel included.

    Attributes:
        ids: (N,) int64.
        labels: (N,) int64, 1 person, 2 car.
        boxes: (N, 4) float32, tight around visible pixels.
        unsure: (M, 4) float32, objects too small or too hidden to ask for.
        hidden: ids of those.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]
    unsure: NDArray[np.float32]
    hidden: NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """Two pictures of the same objects: (2, 3, H, W) uint8 RGB, and what each shows; ids are those of both."""

    images: NDArray[np.uint8]
    objects: tuple[Objects, Objects]


@dataclass
class Canvas:
    """A frame while it is changed: image (H, W, 3), ids (H, W), and of each id its class and how large it is whole."""

    image: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    labels: NDArray[np.int64]
    areas: NDArray[np.int64]

    def copy(self) -> Canvas:
        """Another one to change."""
        return Canvas(self.image.copy(), self.ids.copy(), self.labels.copy(), self.areas.copy())


def open_canvas(pool: Pool, number: int) -> Canvas:
    """Frame `number` of a pool, which has two of each moment; classes of the earlier one are read from the street."""
    row, before = divmod(number, 2)
    ids = (pool.ids_before if before else pool.ids)[row]
    labels = np.zeros(256, np.int64)  # 0: never seen in a picture whose classes are known
    street = row - row % MOMENTS
    for other in range(street, min(street + MOMENTS, len(pool))):
        own = pool.ids[other][::2, ::2]
        labels[own] = np.maximum(pool.classes[other][::2, ::2].astype(np.int64) - FIRST_THING + 1, 0)
    labels[0] = 0
    image = (pool.images_before if before else pool.images)[row]
    return Canvas(np.array(image), np.array(ids), labels, np.bincount(ids.ravel(), minlength=256))


def make_pair(pool: Pool, number: int, size: Size, crop: Size, rng: np.random.Generator) -> Pair:
    """Two windows of a frame of a pool.

    Args:
        pool: where the frames are.
        number: which one, see `open_canvas`.
        size: (width, height) at which the network sees a whole frame.
        crop: (width, height) of both pictures, network pixels.
        rng: decides everything else.
    """
    first = open_canvas(pool, number)
    second = first.copy()
    for k in range(int(rng.integers(MAX_PASTED + 1))):
        paste(open_canvas(pool, int(rng.integers(2 * len(pool)))), FIRST_PASTED + k, first, second, rng)
    full = np.array([first.ids.shape[1], first.ids.shape[0]])
    share = np.array(crop) / np.array(size)
    zoom, still = rng.uniform(0.7, 1.2), rng.random() < 0.5
    middle = rng.uniform(0.3, 0.7, 2) * full
    light = draw_light(rng)
    pictures, objects, mirrored = [], [], rng.random() < 0.5
    for canvas in (first, second):
        extent = np.minimum(np.rint(full * share * zoom).astype(int), full)
        corner = np.clip(np.rint(middle - extent / 2).astype(int), 0, full - extent)
        window = np.s_[corner[1] : corner[1] + extent[1], corner[0] : corner[0] + extent[0]]
        picture = blur(cv2.resize(canvas.image[window], crop, interpolation=cv2.INTER_AREA), rng)
        found = find_objects(canvas, window, crop)
        if mirrored:
            picture, found = picture[:, ::-1], mirror(found, crop[0])
        pictures.append(recolour(picture, light, rng)[..., ::-1].transpose(2, 0, 1))
        objects.append(found)
        middle = middle + rng.normal(0, 2 if still else 16, 2)
        zoom *= 1.0 if still else np.exp(rng.uniform(-GROWTH, GROWTH))
        light = light if rng.random() < 0.5 else draw_light(rng)
    return Pair(np.ascontiguousarray(pictures), (objects[0], objects[1]))


def paste(donor: Canvas, number: int, first: Canvas, second: Canvas, rng: np.random.Generator) -> None:
    """Put an object of another frame into both, mostly; it stays near its height, as far things are small."""
    large = np.flatnonzero((donor.areas >= LEAST_PASTED) & (donor.labels > 0))
    if not len(large):
        return
    chosen = int(rng.choice(large))
    mask = donor.ids == chosen
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    look, shape = donor.image[part], mask[part].astype(np.uint8)
    height, width = (float(side) for side in shape.shape)
    if rng.random() < 0.5:
        look, shape = np.ascontiguousarray(look[:, ::-1]), np.ascontiguousarray(shape[:, ::-1])
    x = rng.uniform(-0.3 * width, first.ids.shape[1] - 0.7 * width)
    y = rows[0] + rng.normal(0, 8)
    chance = rng.random()
    for canvas, shown in ((first, chance >= ALONE), (second, chance < 1 - ALONE)):
        if shown:
            scaled = (max(2, round(width)), max(2, round(height)))
            put(
                canvas, number, int(donor.labels[chosen]), (round(x), round(y)),
                cv2.resize(look, scaled, interpolation=cv2.INTER_LINEAR),
                cv2.resize(shape, scaled, interpolation=cv2.INTER_NEAREST) > 0,
            )  # fmt: skip
        x += rng.uniform(-REACH, REACH) * width * (rng.random() < 0.8)
        y += rng.normal(0, 0.05) * height
        growth = np.exp(rng.uniform(-0.1, 0.1))
        width, height = width * growth, height * growth


def put(
    canvas: Canvas, number: int, label: int, corner: Size, look: NDArray[np.uint8], shape: NDArray[np.bool_]
) -> None:
    """Paint an object with its upper left corner at a place that may be outside."""
    (x, y), (height, width) = corner, shape.shape
    bottom, right = canvas.ids.shape
    own = np.s_[max(0, -y) : max(0, min(height, bottom - y)), max(0, -x) : max(0, min(width, right - x))]
    here = np.s_[max(0, y) : max(0, min(bottom, y + height)), max(0, x) : max(0, min(right, x + width))]
    mask = shape[own]
    canvas.image[here][mask] = look[own][mask]
    canvas.ids[here][mask] = number
    canvas.labels[number], canvas.areas[number] = label, int(shape.sum())


def find_objects(canvas: Canvas, window: tuple[slice, slice], crop: Size) -> Objects:
    """Objects of a window (rows, columns) of a frame, as a picture of size `crop` shows them."""
    ids = np.ascontiguousarray(canvas.ids[window]).astype(np.int32)
    counts = np.bincount(ids.ravel(), minlength=256)
    counts[0] = 0
    owners = np.flatnonzero(counts).astype(np.int64)
    boxes, areas = np.zeros((len(owners), 4), np.float32), np.zeros(len(owners), np.int64)
    if len(owners):
        census(ids, owners, boxes, areas)
    boxes *= np.array([crop[0] / ids.shape[1], crop[1] / ids.shape[0]] * 2, np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes[:, 2:] -= 1
    sure = (areas >= LEAST_SHARE * canvas.areas[owners]) & (sides[:, 0] >= LEAST_SIDE) & (sides[:, 1] >= LEAST_HEIGHT)
    sure &= canvas.labels[owners] > 0
    return Objects(owners[sure], canvas.labels[owners[sure]], boxes[sure], boxes[~sure], owners[~sure])


def mirror(objects: Objects, width: int) -> Objects:
    """Left and right exchanged."""

    def swap(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        left = width - 1 - boxes[:, 2]
        return np.stack([left, boxes[:, 1], width - 1 - boxes[:, 0], boxes[:, 3]], 1)

    return objects._replace(boxes=swap(objects.boxes), unsure=swap(objects.unsure))


def blur(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Now and then blurred along a line, as by a camera or an object that moves."""
    if rng.random() > 0.2:
        return image
    length, angle = int(rng.integers(2, 7)), rng.normal(0, 0.3)
    kernel = np.zeros((7, 7), np.float32)
    for t in np.linspace(-length / 2, length / 2, 32):
        kernel[round(3 + t * np.sin(angle)), round(3 + t * np.cos(angle))] = 1
    return cv2.filter2D(image, -1, kernel / kernel.sum())
