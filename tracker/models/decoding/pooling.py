"""Pooling: identity vectors from a feature map that the detector's own graph exposes, over each mask or each box.

A graph that has such a map names it in its card (`outputs: {"features": name}`); of a YOLO segmenter without one the
prototypes are taken. Source: MOTSNet, arXiv:1912.02096 (mask-pooling, and pooling over boxes as its ablation).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.errors import ConfigError, DetectionsError
from tracker.masks import Masks
from tracker.models.geometry import Placement
from tracker.models.model import Model, Prepared
from tracker.types import Detections, Frame

POOLINGS = ("mask-pooling", "box-pooling")


class Pooled:
    """A model whose detections have `embeddings` as well: the mean of its feature map over what each one covers.

    It has a model's three steps. Pooling is a part of decoding: there the map, and the frame's place in it, are at
    hand, whichever thread or stream the frame comes from.

    Args:
        model: with a map in its card.
        pooling: one of `POOLINGS`.

    Attributes:
        card: of the model.

    Raises:
        ConfigError: another pooling, or a model without a feature map.
    """

    def __init__(self, model: Model, pooling: str = "mask-pooling") -> None:
        if pooling not in POOLINGS:
            raise ConfigError(f"expected a pooling of {', '.join(POOLINGS)}, got {pooling!r}")
        name = model.card.outputs.get("features", "")
        spec = model.session.outputs.get(name)
        if spec is None or len(spec.shape) != 4:
            listed = ", ".join(str(spec) for spec in model.session.outputs.values())
            raise ConfigError(
                f"{pooling} needs a feature map [1, channels, height, width], which the card of {model.session.path} "
                f"names as output 'features'; it has {listed}"
            )
        self.card = model.card
        self._model, self._name, self._masked = model, name, pooling == "mask-pooling"

    def for_stream(self) -> Pooled:
        """See `Model.for_stream`."""
        other = copy.copy(self)
        other._model = self._model.for_stream()
        return other

    def preprocess(self, image: NDArray[np.uint8]) -> Prepared:
        """As the model's."""
        return self._model.preprocess(image)

    def infer(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """As the model's."""
        return self._model.infer(tensors)

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """The model's detections with `embeddings`, (N, channels)."""
        detections = self._model.decode(outputs, placement)
        features = np.ascontiguousarray(outputs[self._name][0], np.float32)
        masks = detections.masks if self._masked else None
        return replace(detections, embeddings=pool(features, placement, detections.boxes, masks))

    def __call__(self, frame: Frame | NDArray[np.uint8]) -> Detections:
        """All three steps on one frame, or on a bare image (H, W, 3) uint8 BGR."""
        image = frame.image if isinstance(frame, Frame) else Frame(0, 0.0, frame).image
        tensors, placement = self.preprocess(image)
        return self.decode(self.infer(tensors), placement)


def pool(
    features: NDArray[np.float32], placement: Placement, boxes: NDArray[np.float32], masks: Masks | None = None
) -> NDArray[np.float32]:
    """Mean feature of every object, as unit vectors.

    Every source pixel of an object counts once, with the cell of the map that it lies in: what is smaller than a cell
    has that cell's feature.

    Args:
        features: (C, H, W) float32, a map that covers the whole network input.
        placement: where the frame lies in that input.
        boxes: (N, 4) float32 xyxy, source pixels.
        masks: pixels of the objects; None, or an empty mask, for those of the box.

    Returns:
        (N, C) float32 of length 1; zeros for a box that shows nothing of the frame. N may be 0.

    Raises:
        DetectionsError: a map that holds NaN or infinity there.
    """
    sums = sum_under(features, placement, boxes, masks)
    norms = np.sqrt(np.einsum("nc,nc->n", sums, sums))
    unit: NDArray[np.float32] = sums / np.maximum(norms, np.float32(1e-12))[:, None]
    return unit


def sum_under(
    features: NDArray[np.float32], placement: Placement, boxes: NDArray[np.float32], masks: Masks | None = None
) -> NDArray[np.float32]:
    """As `pool`, but the sum over each object's pixels, (N, C) float32, instead of a unit vector."""
    channels, height, width = features.shape
    way = placement.on_map(width, height)
    counts, sums = np.zeros((height, width), np.float32), np.empty((len(boxes), channels), np.float32)
    frame = np.array(placement.source * 2)
    for row, box in enumerate(boxes):
        inside, corner = np.zeros((0, 0), np.bool_), (0, 0)
        if masks is not None and masks.starts[row + 1] > masks.starts[row]:
            corner, inside = (int(masks.rects[row, 0]), int(masks.rects[row, 1])), masks.crop(row)
        if not inside.any():
            x0, y0, x1, y1 = (int(side) for side in np.clip(np.round(box), 0, frame))
            corner, inside = (x0, y0), np.ones((max(y1 - y0, 0), max(x1 - x0, 0)), np.bool_)
        add_up(features, inside, *corner, *way, counts, sums[row])
    if not np.isfinite(sums).all():
        raise DetectionsError("expected finite features from the network, got NaN or infinity")
    return sums


@kernel
def add_up(features, inside, left, top, ax, bx, ay, by, counts, out):  # type: ignore[no-untyped-def]
    """Sum of the features under an object, each as often as the object has pixels there.

    Args:
        features: (C, H, W) float32.
        inside: (h, w) bool, the object's pixels.
        left: column of the frame where `inside` begins.
        top: row likewise.
        ax: the centre of column x stands at index ax * x + bx of the map.
        bx: likewise.
        ay: likewise for rows.
        by: likewise.
        counts: (H, W) float32 scratch, zeros before and after.
        out: (C,) float32, written.
    """
    channels, height, width = features.shape
    low, high, first, last = height, 0, width, 0
    for i in range(inside.shape[0]):
        v = min(max(int(np.floor(ay * (top + i) + by + 0.5)), 0), height - 1)
        for j in range(inside.shape[1]):
            if inside[i, j]:
                u = min(max(int(np.floor(ax * (left + j) + bx + 0.5)), 0), width - 1)
                counts[v, u] += 1
                low, high, first, last = min(low, v), max(high, v + 1), min(first, u), max(last, u + 1)
    for c in range(channels):
        total = np.float32(0)
        for v in range(low, high):
            for u in range(first, last):
                total += counts[v, u] * features[c, v, u]
        out[c] = total
    counts[low:high, first:last] = 0
