"""From a network's maps to detections: our fusion of panoptic maps and our masks beside the published way in numpy.

`panoptic`: logits, heat and votes at a quarter of the input's size become the class of every pixel, instances, boxes
and masks (Panoptic-DeepLab). `motion`: also where instances were before, and the heat that the network sees with its
next picture (Motion-DeepLab). `paste`: the small maps of Mask R-CNN become masks of the frame.

The published way upsamples every map to the input's size first, as deeplab2 does; answers are compared before anything
is timed. The maps are those of a network that sees a synthetic street well, but not sharply.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.flags import at_least_one, frame_size
from bench.markdown import number, table
from bench.result import BenchError, Row, ratios, summary
from bench.timing import time_calls
from tracker.models.decoding.fusion import Axis, Fusion, fuse, map_axis, paint
from tracker.models.decoding.pasting import paste_masks
from tracker.models.motion_deeplab import SPREAD_PX, draw_spots, read_map
from tracker.sources.street import Street
from tracker.types import Detections

STRIDE = 4  # of the maps
CLASSES, THINGS = 19, (11, 13)  # KITTI-STEP's
NUMBERS = (0, 1, 2, 8, 10, 11, 13)  # of the street's classes there
FUSION = Fusion(parts=STRIDE)
_APART = 1e-5  # share of pixels that rounding may decide otherwise
_WINDOW = FUSION.window


class Maps(NamedTuple):
    """What a network says: (C, h, w) logits, (h, w) heat, (2, h, w) votes and (2, h, w) votes for the frame before."""

    semantic: NDArray[np.float32]
    heat: NDArray[np.float32]
    offset: NDArray[np.float32]
    before: NDArray[np.float32]


class Answer(NamedTuple):
    """Class and row (from 1) of every pixel; boxes; centres y, x, offsets y, x, and heat for the next picture."""

    classes: NDArray[np.uint8]
    rows: NDArray[np.int32]
    boxes: NDArray[np.float32]
    centres: NDArray[np.int64] | None = None
    offsets: NDArray[np.float64] | None = None
    spots: NDArray[np.float32] | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument(
        "--sizes",
        type=frame_size,
        nargs="*",
        metavar="WxH",
        default=[(961, 545), (1921, 1089)],
        help="of inputs, 4 k + 1 each",
    )
    parser.add_argument("--objects", type=at_least_one, default=40, help="in the street")
    parser.add_argument("--masks", type=at_least_one, nargs="*", default=[10, 100], help="of a picture of Mask R-CNN")
    parser.add_argument("--rounds", type=at_least_one, default=30, help="at most so many measurements of each")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure; returns rows and notes."""
    rows: list[Row] = []
    for width, height in arguments.sizes:
        scene = f"{width}x{height}"
        if width % STRIDE != 1 or height % STRIDE != 1:
            raise BenchError(f"expected --sizes of {STRIDE} k + 1, got {scene}")
        maps = street_maps((width, height), arguments.objects)
        for mode, motion in (("panoptic", False), ("motion", True)):
            calls: dict[str, Callable[[], Any]] = {
                "trackstream": lambda maps=maps, motion=motion: ours(maps, motion=motion),
                "numpy": lambda maps=maps, motion=motion: published(maps, motion=motion),
            }
            answer = _demand_equal(*(call() for call in calls.values()))
            rows += _measure(scene, mode, len(answer.boxes), calls, arguments.rounds)
    for count in arguments.masks:
        rows += _measure("1920x1080", "paste", count, _pastes(count), arguments.rounds)
    return rows, ["motion fuses twice, as the family does: once for the frame, once for all of the network's input"]


def tabulate(rows: list[Row]) -> str:
    """Every case, with its time per object where that is what counts."""
    body = []
    for row in rows:
        each = number(row["us"]["p50"] / row["objects"]) if row["mode"] == "paste" else ""
        times = [f"{number(row['us'][name] / 1e3)}" for name in ("p50", "p99")]
        ratio = f"{number(row['times_ours']['p50'])}x" if "times_ours" in row else ""
        body.append([row["mode"], row["scene"], f"{row['objects']}", row["competitor"], *times, each, ratio])
    return table(["", "pixels", "objects", "", "median ms", "p99 ms", "us per object", "times ours"], body)


def _measure(scene: str, mode: str, objects: int, calls: dict[str, Callable[[], Any]], rounds: int) -> list[Row]:
    times = time_calls(calls, rounds)
    own, rows = next(iter(times.values()))[1], []
    for name, (measured, cost) in times.items():
        row: Row = {"scene": scene, "mode": mode, "competitor": name, "objects": objects, "us": summary(measured)}
        if cost is not own:
            row["times_ours"] = ratios(own, cost)
        rows.append(row)
    return rows


# ---------------------------------------------------------------------- what is given
def street_maps(size: tuple[int, int], objects: int, seed: int = 7) -> Maps:
    """Maps whose corners stand on the corners of a picture of `size`."""
    import cv2

    rng = np.random.default_rng(seed)
    scene = Street(seed=seed, objects=objects, size=size, frames=3).render(1)
    labels, ids = np.array(NUMBERS)[scene.classes][::STRIDE, ::STRIDE], scene.ids[::STRIDE, ::STRIDE]

    def smooth(plane: NDArray[Any], spread: float) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(plane.astype(np.float32), (0, 0), spread), np.float32)

    semantic = [8 * smooth(labels == c, 0.75) + 2 * smooth(rng.normal(0, 1, ids.shape), 4) for c in range(CLASSES)]
    yy, xx = np.indices(ids.shape)
    heat, offset = np.zeros(ids.shape), rng.normal(0, 0.3, (2, *ids.shape))
    for thing, (x0, y0, x1, y1) in zip(scene.object_ids, scene.boxes / STRIDE, strict=True):
        y, x, own = (y0 + y1) / 2, (x0 + x1) / 2, ids == thing
        heat = np.maximum(heat, 0.9 * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 8))
        offset[:, own] += np.stack([y - yy[own], x - xx[own]])
    heat += rng.uniform(0, 1e-3, ids.shape)  # no plateaus
    before = offset + rng.normal(0, 1, (2, 1, 1))
    return Maps(*(np.ascontiguousarray(part, np.float32) for part in (semantic, heat, offset, before)))


def _axes(maps: Maps) -> tuple[Axis, Axis]:
    height, width = maps.heat.shape
    rows, columns = (map_axis((side - 1) * STRIDE + 1, side, 1 / STRIDE, 0.0) for side in (height, width))
    return rows, columns


# ---------------------------------------------------------------------- our way
def ours(maps: Maps, *, motion: bool) -> tuple[Detections, Answer]:
    """What `PanopticNet` or `MotionDeepLab` do with such maps, instances in the order of their centres."""
    semantic, heat, offset, before = maps
    things, (rows, columns) = np.isin(np.arange(CLASSES), THINGS), _axes(maps)
    fused = fuse(semantic, heat, offset, things, FUSION, rows, columns)
    keep = np.flatnonzero(fused.areas)
    picture = paint(fused, keep, semantic, things, FUSION, rows, columns)
    boxes = fused.rects[keep].astype(np.float32)
    found = Detections(boxes, fused.scores[keep], fused.labels[keep], fused.cut(keep), panoptic=picture)
    answer = Answer(picture.classes, picture.rows, boxes)
    if motion:
        places = fuse(semantic, heat, offset, things, FUSION, rows, columns).places[keep]
        centres = np.rint(places[:, 1:3] / places[:, :1]).astype(np.int64)
        offsets = read_map(before, centres, rows, columns) * STRIDE
        spots = draw_spots(centres, SPREAD_PX, *picture.classes.shape)
        answer = answer._replace(centres=centres, offsets=offsets, spots=spots)
    return found, answer


# ---------------------------------------------------------------------- the published way
def published(maps: Maps, *, motion: bool) -> tuple[list[NDArray[np.bool_]], Answer]:
    """Panoptic-DeepLab, arXiv:1911.10194, section 3.3, with deeplab2's rules, on maps at the input's size.

    Returns:
        The instances' masks (H, W), and the answer.
    """
    semantic = np.stack([_upsample(plane) for plane in maps.semantic])
    heat, offset = _upsample(maps.heat), np.stack([STRIDE * _upsample(plane) for plane in maps.offset])
    classes = semantic.argmax(0)
    height, width = heat.shape
    heat = np.where(heat > FUSION.threshold, heat, 0)
    centres = np.argwhere((heat == _highest_around(heat)) & (heat > 0))
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    vote_y, vote_x = yy + offset[0], xx + offset[1]
    instance, shortest = np.zeros((height, width), np.int32), np.full((height, width), np.inf, np.float32)
    for k, (y, x) in enumerate(centres):
        distance = (vote_y - np.float32(y)) ** 2 + (vote_x - np.float32(x)) ** 2
        nearer = distance < shortest
        instance[nearer], shortest[nearer] = k + 1, distance[nearer]
    stuff = ~np.isin(classes, THINGS)
    instance[stuff] = 0
    picture, rows = np.where(stuff, classes, 255).astype(np.uint8), np.zeros((height, width), np.int32)
    masks, boxes = [], []
    for k in range(1, len(centres) + 1):
        mask = instance == k
        if mask.any():
            masks.append(mask)
            picture[mask], rows[mask] = np.bincount(classes[mask]).argmax(), len(masks)
            ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes.append([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1])
    answer = Answer(picture, rows, np.array(boxes, np.float32).reshape(-1, 4))
    if motion:
        middles = np.array([np.rint(np.argwhere(mask).mean(0)) for mask in masks], np.int64).reshape(-1, 2)
        before = np.stack([STRIDE * _upsample(plane) for plane in maps.before])
        offsets = before[:, middles[:, 0], middles[:, 1]].T.astype(np.float64)
        answer = answer._replace(centres=middles, offsets=offsets, spots=_spots(middles, height, width))
    return masks, answer


def _upsample(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bilinear, corners on corners: (h, w) to (4 h - 3, 4 w - 3)."""
    for _ in range(2):
        first = np.arange((len(plane) - 1) * STRIDE + 1)
        cell = np.minimum(first // STRIDE, max(len(plane) - 2, 0))
        share = (first / STRIDE - cell).astype(np.float32)[:, None]
        below = np.minimum(cell + 1, len(plane) - 1)
        plane = (plane[cell] * (1 - share) + plane[below] * share).T
    return plane


def _highest_around(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest value in the window around every pixel, zeros outside."""
    for _ in range(2):
        padded = np.pad(heat, ((_WINDOW // 2, _WINDOW // 2), (0, 0)))
        heat = np.max([padded[k : k + len(heat)] for k in range(_WINDOW)], 0).T
    return heat


def _spots(centres: NDArray[np.int64], height: int, width: int) -> NDArray[np.float32]:
    out, reach = np.zeros((height, width), np.float32), 3 * SPREAD_PX + 1
    yy, xx = np.ogrid[:height, :width]
    for y, x in centres:
        near = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
        squared = (yy[near[0]] - y) ** 2 + (xx[:, near[1]] - x) ** 2
        out[near] = np.maximum(out[near], np.exp(-squared / (2.0 * SPREAD_PX**2)))
    return out


def _demand_equal(own: tuple[Detections, Answer], theirs: tuple[list[NDArray[np.bool_]], Answer]) -> Answer:
    """Never time an answer that was not checked."""
    (found, a), (masks, b) = own, theirs
    if len(found) != len(masks):
        raise BenchError(f"{len(found)} instances here, {len(masks)} the published way: nothing is timed")
    apart = max(float((x != y).mean()) for x, y in ((a.classes, b.classes), (a.rows, b.rows)))
    if apart > _APART:
        raise BenchError(f"{apart:.1e} of the pixels differ from the published way: nothing is timed")
    assert found.masks is not None
    if not np.array_equal(found.masks.to_label_map(), a.rows):
        raise BenchError("masks and picture disagree: nothing is timed")
    for name, limit in (("boxes", 1.0), ("centres", 1.0), ("offsets", 1e-2), ("spots", 1e-5)):
        x, y = getattr(a, name), getattr(b, name)
        if x is not None and np.abs(x - y).max(initial=0) > limit:
            raise BenchError(f"{name} differ from the published way: nothing is timed")
    return a


# ---------------------------------------------------------------------- masks of Mask R-CNN
def _pastes(count: int, height: int = 1080, width: int = 1920) -> dict[str, Callable[[], Any]]:
    """`count` round objects of all sizes; the published way is torchvision's, a picture for each mask."""
    import cv2

    rng = np.random.default_rng(count)
    yy, xx = (np.mgrid[:28, :28] - 13.5) / 14
    wide = rng.uniform(0.5, 1, (count, 2, 1, 1))
    maps = (1 / (1 + np.exp(6 * ((yy / wide[:, 0]) ** 2 + (xx / wide[:, 1]) ** 2 - 1)))).astype(np.float32)
    corner, side = rng.uniform(0, 1, (count, 2)) * (width - 100, height - 100), rng.uniform(20, 300, (count, 2))
    boxes = np.concatenate([corner, np.minimum(corner + side, (width, height))], 1).astype(np.float32)

    def stack() -> NDArray[np.bool_]:
        out = np.zeros((count, height, width), np.bool_)
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            reach, middle = np.array([x1 - x0, y1 - y0]) * np.float32(15 / 28), np.array([x0 + x1, y0 + y1]) / 2
            (left, top), (right, bottom) = (middle - reach).astype(int), (middle + reach).astype(int) + 1
            large = cv2.resize(np.pad(maps[i], 1), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR) > 0.5
            u, v = max(left, 0), max(top, 0)
            out[i, v:bottom, u:right] = large[v - top : height - top, u - left : width - left]
        return out

    found = paste_masks(maps, boxes, height, width)
    dense, wanted = found.to_dense(), stack()
    if (dense != wanted).sum() > 1e-3 * wanted.sum():
        raise BenchError(f"{(dense != wanted).sum()} pixels differ from torchvision's way: nothing is timed")
    return {"trackstream": lambda: paste_masks(maps, boxes, height, width), "numpy": stack}
