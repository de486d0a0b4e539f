"""Panoptic fusion: from logits, heat of centres and votes for them to instances and the class of every pixel.

The decision is made as if logits and votes had been upsampled bilinearly to source pixels, but nearly all of that work
is spared: where the four corners of a cell of the network's map agree, every pixel between them agrees too (a class
that is largest at four points is largest in any mean of them, and the region nearest to a centre is convex). What comes
out are runs of equal pixels, not a map. `centres`, `voting` and `runs` have the kernels.

Source: Panoptic-DeepLab, arXiv:1911.10194, section 3.3, with the rules of deeplab2's post-processing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.errors import ModelError
from tracker.masks import Masks
from tracker.models.decoding.centres import find_centres, spread_centres
from tracker.models.decoding.runs import STUFF_THERE, Runs, cut_runs, measure_runs, paint_runs
from tracker.models.decoding.voting import key_runs
from tracker.models.geometry import Placement
from tracker.types import Panoptic

Axis = tuple[NDArray[np.int32], NDArray[np.float32]]
"""For every pixel along one side of the picture: the map cell before its centre, and how far it is towards the next."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """How a panoptic network's maps become a picture; the model's card says it under `facts`.

    Attributes:
        threshold: a centre's heat is above this.
        window: odd side of the square in which a centre has the highest heat, in parts of map pixels.
        parts: so many parts has a map pixel along each side; between map pixels heat is interpolated.
        centres: at most this many, the hottest ones; among equals the first in raster order.
        reach: a vote further than this from every centre, in map pixels, is homeless; None for no limit.
        min_area: instances with fewer pixels in the picture are dissolved, their pixels are homeless.
        stuff_area: a stuff class with fewer pixels in the picture becomes void.
        homeless: what thing pixels without an instance become: "void", "stuff" (the likeliest stuff class there) or
            "single" (deeplab2's C++ rule: without any centre, all thing pixels are one instance; else void).
    """

    threshold: float = 0.1
    window: int = 13
    parts: int = 1
    centres: int = 400
    reach: float | None = None
    min_area: int = 0
    stuff_area: int = 0
    homeless: str = "void"

    def __post_init__(self) -> None:
        if self.homeless not in ("void", "stuff", "single"):
            raise ModelError(f"expected homeless to be void, stuff or single, got {self.homeless!r}")
        if not 0 <= self.threshold < 1 or self.window < 1 or self.window % 2 == 0 or min(self.centres, self.parts) < 1:
            raise ModelError(
                "expected a threshold in [0, 1), an odd window, at least one centre and one part, "
                f"got {self.threshold}, {self.window}, {self.centres} and {self.parts}"
            )
        if self.window == 1 < self.parts:
            raise ModelError(f"expected a window of at least 3 with {self.parts} parts, got 1")
        if self.min_area < 0 or self.stuff_area < 0 or (self.reach is not None and not self.reach >= 0):
            raise ModelError(
                "expected areas and a reach of at least 0, "
                f"got min_area {self.min_area}, stuff_area {self.stuff_area} and reach {self.reach}"
            )

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Fusion:
        """The rules among a card's facts; what it does not name has its default.

        Raises:
            ModelError: a value of the wrong type or out of range.
        """
        known = {f.name: facts[f.name] for f in fields(cls) if f.name in facts}
        for name, value in known.items():
            kind = {"homeless": str, "threshold": (int, float), "reach": (int, float, type(None))}.get(name, int)
            if not isinstance(value, kind) or isinstance(value, bool):  # type: ignore[arg-type]
                raise ModelError(f"broken model card: {name} is {value!r}")
        return cls(**known)


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """Instances found in one picture, in the raster order of their centres; instance k is row k.

    Attributes:
        centres: (N, 2) int64, row and column of each centre on the network's map.
        scores: (N,) float32, heat at the centre.
        labels: (N,) int32, class of most of the instance's pixels, the lowest on ties; 0 without a pixel.
        areas: (N,) int64, pixels in the picture. May be 0.
        places: (N, 4) float64: pixels, sum of their rows, sum of their columns, place of the first in raster order.
        rects: (N, 4) int32, x0, y0, x1, y1 of the pixels, half-open; zeros without a pixel.
        runs: of the picture's keys: class + classes * (k + 1), or the class alone for stuff and homeless thing pixels.
        counts: (N + 1, classes) int64, how often each key occurs.
    """

    centres: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    areas: NDArray[np.int64]
    places: NDArray[np.float64]
    rects: NDArray[np.int32]
    runs: Runs
    counts: NDArray[np.int64]

    def cut(self, keep: ArrayLike) -> Masks:
        """Masks of these instances in the picture, in this order."""
        chosen = np.asarray(keep, np.int64)
        row_of = np.zeros(len(self.areas) + 1, np.int64)
        row_of[1 + chosen] = np.arange(1, len(chosen) + 1)
        rects = self.rects[chosen]
        starts, words = cut_runs(self.runs, self.counts.shape[1], row_of, rects)
        return Masks(*self.runs.shape, rects, starts, words)


def map_axis(pixels: int, cells: int, factor: float, offset: float) -> Axis:
    """Pixel i stands at `factor * i + offset` on a map side of `cells`; beyond the outer centres a map is constant."""
    place = np.clip(factor * np.arange(pixels) + offset, 0, cells - 1)
    first = np.minimum(place.astype(np.int32), max(cells - 2, 0))
    return first, (place - first).astype(np.float32)


def frame_axes(placement: Placement, height: int, width: int, *, corners: bool = False) -> tuple[Axis, Axis]:
    """Where a frame's rows and columns stand on a map (height, width) that covers the network's whole input."""
    ax, bx, ay, by = placement.on_map(width, height, corners=corners)
    return map_axis(placement.source[1], height, ay, by), map_axis(placement.source[0], width, ax, bx)


def fuse(
    semantic: NDArray[np.float32],
    heat: NDArray[np.float32],
    offset: NDArray[np.float32],
    things: NDArray[np.bool_],
    fusion: Fusion,
    rows: Axis | None = None,
    columns: Axis | None = None,
) -> Fused:
    """Group thing pixels into instances.

    Args:
        semantic: (C, h, w) logits; the lowest class wins ties.
        heat: (h, w).
        offset: (2, h, w), (dy, dx) to the centre in map pixels.
        things: (C,) which classes are things.
        fusion: the rules.
        rows: where the picture's rows stand on the map; by default the picture is the map itself.
        columns: likewise.

    Returns:
        Instances and keys of the picture. No centre gives N = 0, but see `Fusion.homeless`.
    """
    height, width = heat.shape
    rows = rows or map_axis(height, height, 1.0, 0.0)
    columns = columns or map_axis(width, width, 1.0, 0.0)
    centres = find_centres(heat, np.float32(fusion.threshold), fusion.window, fusion.parts, fusion.centres)
    scores = heat[centres[:, 0], centres[:, 1]]
    if len(centres) == 0 and fusion.homeless == "single":
        centres, scores = np.zeros((1, 2), np.int64), heat.max(initial=0, keepdims=True).reshape(1)
    reach = np.inf if fusion.reach is None else fusion.reach
    targets = spread_centres(centres, np.float32(reach * reach))
    counts = np.zeros((len(centres) + 1, len(things)), np.int64)
    runs = Runs(*key_runs(semantic, offset, things, targets, rows, columns, counts.reshape(-1)))
    places, rects = measure_runs(runs, len(things), len(centres) + 1)
    labels, areas = counts[1:].argmax(1).astype(np.int32), counts[1:].sum(1)
    return Fused(centres, scores, labels, areas, places[1:], rects[1:], runs, counts)


def paint(
    fused: Fused,
    keep: ArrayLike,
    semantic: NDArray[np.float32],
    things: NDArray[np.bool_],
    fusion: Fusion,
    rows: Axis | None = None,
    columns: Axis | None = None,
) -> Panoptic:
    """The picture of every pixel.

    Args:
        fused: of `fuse`, called with the same other arguments.
        keep: (K,) instances that become rows 0..K-1 of the detections, in this order. Others keep their class with
            row 0, unless they are smaller than `Fusion.min_area`: then their pixels are homeless.
        semantic: see `fuse`, as for the following ones.
        things: likewise.
        fusion: likewise.
        rows: likewise.
        columns: likewise.
    """
    rows = rows or map_axis(semantic.shape[1], semantic.shape[1], 1.0, 0.0)
    columns = columns or map_axis(semantic.shape[2], semantic.shape[2], 1.0, 0.0)
    lost = STUFF_THERE if fusion.homeless == "stuff" and not things.all() else Panoptic.VOID
    class_of = np.empty((len(fused.areas) + 1, len(things)), np.int32)
    class_of[0] = np.where(things, lost, np.arange(len(things)))
    class_of[0, ~things & (fused.counts[0] < fusion.stuff_area)] = Panoptic.VOID
    class_of[1:] = np.where(fused.areas < fusion.min_area, lost, fused.labels)[:, None]
    row_of = np.zeros((len(fused.areas) + 1, len(things)), np.int32)
    row_of[1 + np.asarray(keep, np.int64)] = np.arange(1, np.size(keep) + 1)[:, None]
    picture = Panoptic(np.empty(fused.runs.shape, np.uint8), np.empty(fused.runs.shape, np.int32))
    tables = class_of.reshape(-1), row_of.reshape(-1)
    paint_runs(fused.runs, *tables, semantic, things, rows, columns, picture.classes, picture.rows)
    return picture
