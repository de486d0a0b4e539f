"""Panoptic networks: semantic logits, a heatmap of object centres, and offsets that vote for a centre.

This is the family of the embedded model and of the nets of STEP. Every thing pixel votes for a place, joins the
nearest centre, and an instance takes the class that most of its pixels have. The decision is made as if logits and
votes had been upsampled bilinearly to source pixels, but nearly all of that work is spared: where the four corners of
a cell of the network's map agree, every pixel between them agrees too (a class that is largest at four points is
largest in any mean of them, and the region nearest to a centre is convex).

Source: Panoptic-DeepLab, arXiv:1911.10194, section 3.3, with the rules of deeplab2's post-processing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker._jit import inlined, kernel
from tracker.errors import DetectionsError, ModelError
from tracker.masks import Masks
from tracker.models.card import ModelCard
from tracker.models.geometry import Placement
from tracker.models.model import Model, ModelConfig
from tracker.models.session import Session
from tracker.types import Detections, Panoptic

Axis = tuple[NDArray[np.int32], NDArray[np.float32]]
"""For every pixel along one side of the picture: the map cell before its centre, and how far it is towards the next."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """How a panoptic network's maps become a picture; the model's card says it under `facts`.

    Attributes:
        threshold: a centre's heat is above this.
        window: odd side, in map pixels, of the square in which a centre has the highest heat.
        centres: at most this many, the hottest ones; among equals the first in raster order.
        reach: a vote further than this from every centre, in map pixels, is homeless; None for no limit.
        min_area: instances with fewer pixels in the picture are dissolved, their pixels are homeless.
        stuff_area: a stuff class with fewer pixels in the picture becomes void.
        homeless: what thing pixels without an instance become: "void", "stuff" (the likeliest stuff class there) or
            "single" (deeplab2's C++ rule: without any centre, all thing pixels are one instance; else void).
    """

    threshold: float = 0.1
    window: int = 13
    centres: int = 400
    reach: float | None = None
    min_area: int = 0
    stuff_area: int = 0
    homeless: str = "void"

    def __post_init__(self) -> None:
        if self.homeless not in ("void", "stuff", "single"):
            raise ModelError(f"expected homeless to be void, stuff or single, got {self.homeless!r}")
        if not 0 <= self.threshold < 1 or self.window < 1 or self.window % 2 == 0 or self.centres < 1:
            raise ModelError(
                "expected a threshold in [0, 1), an odd window and at least one centre, "
                f"got {self.threshold}, {self.window} and {self.centres}"
            )
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
        keys: (H, W) int32, class + classes * (k + 1), or the class alone for stuff and homeless thing pixels.
        counts: (N + 1, classes) int64, how often each key occurs.
    """

    centres: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    areas: NDArray[np.int64]
    keys: NDArray[np.int32]
    counts: NDArray[np.int64]


class PanopticNet(Model):
    """Networks of the Panoptic-DeepLab kind.

    Outputs named in the card: `semantic` (1, C, h, w) logits, `heat` (1, 1, h, w) in 0..1, `offset` (1, 2, h, w),
    (dy, dx) from a pixel to its centre in map pixels. The maps cover the whole input. Detections come with disjoint
    masks, boxes tight around them, the heat at their centre as score, and the `panoptic` picture. Instances that the
    user's settings leave out keep their class in the picture, with row 0.
    """

    family = "panoptic"
    tasks = ("panoptic",)

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        names, ids = self.card.class_names, self.card.thing_ids
        if not names or ids is None or any(not 0 <= i < len(names) for i in ids):
            raise self.misfit("a card with class names and the indices of its things", f"{len(names)} names and {ids}")
        self.fusion = Fusion.from_facts(self.card.facts)
        self._things = np.isin(np.arange(len(names)), ids)
        self._outputs = [self.output(meaning, 4).name for meaning in ("semantic", "heat", "offset")]
        channels = [self.session.outputs[name].shape[1] for name in self._outputs]
        if channels != [len(names), 1, 2]:
            raise self.misfit(f"{len(names)} semantic, 1 heat and 2 offset channels", f"{channels}")

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """Maps to instances and the picture of every pixel, in source pixels; best score first.

        Raises:
            DetectionsError: NaN or infinite numbers in the maps.
        """
        semantic, heat, offset = (np.ascontiguousarray(outputs[name][0], np.float32) for name in self._outputs)
        for name, values in zip(self._outputs, (semantic, heat, offset), strict=True):
            if not np.isfinite(values.sum()):
                raise DetectionsError(f"expected finite numbers in the network's output {name!r}, got NaN or infinity")
        ax, bx, ay, by = placement.on_map(heat.shape[2], heat.shape[1])
        columns = map_axis(placement.source[0], heat.shape[2], ax, bx)
        rows = map_axis(placement.source[1], heat.shape[1], ay, by)
        fused = fuse(semantic, heat[0], offset, self._things, self.fusion, rows, columns)
        keep = np.flatnonzero(self._kept(fused))
        keep = keep[np.argsort(-fused.scores[keep], kind="stable")][: self.config.max_detections]
        picture = paint(fused, keep, semantic, self._things, self.fusion, rows, columns)
        masks = Masks.from_label_map(picture.rows, len(keep))
        return Detections(masks.boxes, fused.scores[keep], fused.labels[keep], masks, panoptic=picture)

    def _kept(self, fused: Fused) -> NDArray[np.bool_]:
        kept = (fused.areas >= max(1, self.fusion.min_area)) & (fused.scores > self.config.min_score)
        return kept if self.classes is None else kept & np.isin(fused.labels, self.classes)


def map_axis(pixels: int, cells: int, factor: float, offset: float) -> Axis:
    """Pixel i stands at `factor * i + offset` on a map side of `cells`; beyond the outer centres a map is constant."""
    place = np.clip(factor * np.arange(pixels) + offset, 0, cells - 1)
    first = np.minimum(place.astype(np.int32), max(cells - 2, 0))
    return first, (place - first).astype(np.float32)


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
    centres = find_centres(heat, np.float32(fusion.threshold), fusion.window, fusion.centres)
    scores = heat[centres[:, 0], centres[:, 1]]
    if len(centres) == 0 and fusion.homeless == "single":
        centres, scores = np.zeros((1, 2), np.int64), heat.max(initial=0, keepdims=True).reshape(1)
    reach = np.inf if fusion.reach is None else fusion.reach
    targets = spread_centres(centres, np.float32(reach * reach))
    keys = np.empty(heat.shape, np.int32)
    key_map(semantic, offset, things, targets, keys)
    counts = np.zeros((len(centres) + 1, len(things)), np.int64)
    out = np.empty((len(rows[0]), len(columns[0])), np.int32)
    key_pixels(keys, semantic, offset, things, targets, rows, columns, out, counts.reshape(-1))
    labels = counts[1:].argmax(1).astype(np.int32)
    return Fused(centres, scores, labels, counts[1:].sum(1), out, counts)


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
    picture = Panoptic(np.empty(fused.keys.shape, np.uint8), np.empty(fused.keys.shape, np.int32))
    settle(
        fused.keys,
        class_of.reshape(-1),
        row_of.reshape(-1),
        semantic,
        things,
        rows,
        columns,
        picture.classes,
        picture.rows,
    )
    return picture


# ---------------------------------------------------------------------- kernels

STUFF_THERE = -1  # in `settle`'s class table: the likeliest stuff class of the nearest map pixel


@kernel
def find_centres(heat, threshold, window, limit):  # type: ignore[no-untyped-def]
    """Peaks of a heatmap (h, w) float32: (n, 2) int64 rows (y, x) in raster order, n <= limit.

    A peak is above `threshold`, and no pixel of the window around it is higher: a plateau keeps all its pixels. Of
    more than `limit` peaks the highest stay; among equals the first in raster order.
    """
    reach = window // 2
    found = np.empty((heat.size, 2), np.int64)
    values = np.empty(heat.size, np.float32)
    n = 0
    for y in range(heat.shape[0]):
        for x in range(heat.shape[1]):
            if heat[y, x] > threshold and _is_peak(heat, y, x, reach):
                found[n, 0], found[n, 1] = y, x
                values[n] = heat[y, x]
                n += 1
    if n <= limit:
        return found[:n].copy()
    order = np.argsort(-values[:n], kind="mergesort")  # stable
    return found[np.sort(order[:limit])]


@inlined
def _is_peak(heat, y, x, reach):  # type: ignore[no-untyped-def]
    for v in range(max(0, y - reach), min(heat.shape[0], y + reach + 1)):
        for u in range(max(0, x - reach), min(heat.shape[1], x + reach + 1)):
            if heat[v, u] > heat[y, x]:
                return False
    return True


@kernel
def spread_centres(centres, reach2):  # type: ignore[no-untyped-def]
    """Centres as `_join` wants them: (4, n) float32 rows y, x, squared reach, and the squared radius of a sure hit.

    Within half the distance to the next centre no other centre can be nearer, so one look is enough there.
    """
    n = len(centres)
    out = np.empty((4, n), np.float32)
    for i in range(n):
        nearest = np.inf
        for j in range(n):
            if j != i:
                dy, dx = centres[i, 0] - centres[j, 0], centres[i, 1] - centres[j, 1]
                nearest = min(nearest, float(dy * dy + dx * dx))
        out[0, i], out[1, i] = centres[i, 0], centres[i, 1]
        out[2, i] = reach2
        out[3, i] = min(np.float32(0.2499 * nearest), reach2)
    return out


@inlined
def _join(y, x, targets, guess):  # type: ignore[no-untyped-def]
    """1 + index of the centre nearest to a vote, the lowest on ties; 0: none within reach. `guess` is tried first."""
    if guess > 0:
        dy, dx = y - targets[0, guess - 1], x - targets[1, guess - 1]
        if dy * dy + dx * dx < targets[3, guess - 1]:
            return guess
    best = 0
    shortest = np.float32(np.inf)
    for i in range(targets.shape[1]):
        dy, dx = y - targets[0, i], x - targets[1, i]
        distance = dy * dy + dx * dx
        if distance < shortest:
            shortest = distance
            best = i + 1
    return best if best > 0 and shortest <= targets[2, best - 1] else 0


@kernel
def key_map(semantic, offset, things, targets, out):  # type: ignore[no-untyped-def]
    """Key (see `Fused`) of every pixel of the network's map: out (h, w) int32."""
    classes, height, width = semantic.shape
    best = np.empty(width, np.float32)
    for y in range(height):
        line = out[y]
        best[:] = semantic[0, y]
        line[:] = 0
        for c in range(1, classes):
            values = semantic[c, y]
            for x in range(width):
                if values[x] > best[x]:
                    best[x] = values[x]
                    line[x] = c
        guess = 0
        for x in range(width):
            if things[line[x]]:
                guess = _join(np.float32(y) + offset[0, y, x], np.float32(x) + offset[1, y, x], targets, guess)
                line[x] += classes * guess


@inlined
def _bilinear(plane, i, j, below, right, w):  # type: ignore[no-untyped-def]
    return w[0] * plane[i, j] + w[1] * plane[i, right] + w[2] * plane[below, j] + w[3] * plane[below, right]


@kernel
def key_pixels(keys, semantic, offset, things, targets, rows, columns, out, counts):  # type: ignore[no-untyped-def]
    """Key of every pixel of the picture, from logits and votes interpolated bilinearly; counts[key] is incremented.

    Runs of pixels whose four map corners have one key are filled; only the others are computed.
    """
    classes = len(things)
    height, width = keys.shape
    agreed = np.empty(width, np.int32)  # the key of the four corners of a cell, -1 where they differ
    before, guess = -1, 0
    for y in range(len(rows[0])):
        i, south = rows[0][y], rows[1][y]
        below = min(i + 1, height - 1)
        if i != before:
            before = i
            for j in range(width):
                k, right = keys[i, j], min(j + 1, width - 1)
                same = k == keys[i, right] and k == keys[below, j] and k == keys[below, right]
                lone = targets.shape[1] > 0 and k < classes and things[k]  # between four far votes one may be near
                agreed[j] = k if same and not lone else -1
        x = 0
        while x < len(columns[0]):
            j = columns[0][x]
            k = agreed[j]
            if k >= 0:
                first = x
                while x < len(columns[0]) and agreed[columns[0][x]] == k:
                    x += 1
                out[y, first:x] = k
                counts[k] += x - first
                continue
            right, east = min(j + 1, width - 1), columns[1][x]
            north, west = np.float32(1) - south, np.float32(1) - east
            w = (north * west, north * east, south * west, south * east)
            key = 0
            best = _bilinear(semantic[0], i, j, below, right, w)
            for c in range(1, classes):
                value = _bilinear(semantic[c], i, j, below, right, w)
                if value > best:
                    key, best = c, value
            if things[key]:
                vote_y = np.float32(i) + south + _bilinear(offset[0], i, j, below, right, w)
                vote_x = np.float32(j) + east + _bilinear(offset[1], i, j, below, right, w)
                guess = _join(vote_y, vote_x, targets, guess)
                key += classes * guess
            out[y, x] = key
            counts[key] += 1
            x += 1


@kernel
def settle(keys, class_of, row_of, semantic, things, rows, columns, classes_out, rows_out):  # type: ignore[no-untyped-def]
    """Keys (H, W) -> class map and row map by table; `STUFF_THERE` is looked up at the nearest map pixel."""
    for y in range(keys.shape[0]):
        for x in range(keys.shape[1]):
            k = keys[y, x]
            c = class_of[k]
            rows_out[y, x] = row_of[k]
            if c == STUFF_THERE:
                v = rows[0][y] + (1 if rows[1][y] > 0.5 else 0)
                u = columns[0][x] + (1 if columns[1][x] > 0.5 else 0)
                for stuff in range(len(things)):
                    if not things[stuff] and (c < 0 or semantic[stuff, v, u] > semantic[c, v, u]):
                        c = stuff
            classes_out[y, x] = c
