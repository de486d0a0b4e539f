"""Followers: siamese networks that find an object again, one class per kind of graph, rows of `FOLLOWERS`.

A follower describes a crop around an object (its template) and finds the object in a wider crop around where it was.
Both crops are squares around the centre of a box. Batches are as large as the caller makes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ModelError, ModelNotFoundError
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD
from tracker.models.session import Session, SessionConfig
from tracker.models.siamese_graph import free_shapes


class Follower(Protocol):
    """A siamese network.

    Attributes:
        template_px, search_px: sides of the two crops.
        template_shape: of one description.
        colour: order of the crops' channels, "rgb" or "bgr".
    """

    template_px: int
    search_px: int
    template_shape: tuple[int, ...]
    colour: str

    def template_sides(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sides (N,) of the crops that are described, source pixels, from boxes (N, 4)."""

    def search_sides(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sides (N,) of the crops that are looked through."""

    def fill(self, image: NDArray[np.uint8]) -> tuple[float, float, float]:
        """What crops hold outside of the picture: blue, green, red."""

    def describe(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Templates (N, *template_shape) of crops (N, 3, template_px, template_px), 0..255."""

    def find(
        self, templates: NDArray[np.float32], crops: NDArray[np.float32], sizes: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Where objects are in crops (N, 3, search_px, search_px), 0..255.

        Args:
            templates: of the objects.
            crops: around where they were.
            sizes: (N, 2) width and height that they had, crop pixels.

        Returns:
            Boxes (N, 4) xyxy, crop pixels from the crop's centre, and scores (N,), 0 to 1.
        """


def _window(side: int, *, inner: bool) -> NDArray[np.float64]:
    """(side * side,) cosine window, highest in the middle; `inner`: without its border of zeros."""
    row = np.hanning(side + 2)[1:-1] if inner else np.hanning(side)
    return np.outer(row, row).reshape(-1)


class NanoTrack:
    """NanoTrack v2: a backbone on template and search crop, and a head that compares them, in two files.

    The head gives on a 16 x 16 grid, 16 px apart, a score for background and object, and the distances to the box's
    four sides. A place counts less the more size and shape there differ from before, and the farther it is from the
    middle; the size follows slowly. Source: SiamRPN, CVPR 2018 (penalties); Ocean, arXiv:2006.10721 (distances).
    """

    template_px, search_px, colour = 127, 255, "rgb"
    _STRIDE, _PENALTY, _WINDOW_SHARE, _LEARNING = 16, 0.055, 0.455, 0.37

    def __init__(self, path: str | os.PathLike[str], config: SessionConfig) -> None:
        backbone = Path(path)
        head = backbone.with_name(backbone.name.replace("backbone", "head"))
        if head == backbone or (backbone.is_file() and not head.is_file()):
            raise ModelNotFoundError(
                f"NanoTrack is two files, expected ..._backbone.onnx with ..._head.onnx beside it, got {backbone}"
            )
        self._backbone = Session(backbone, config, change=free_shapes)
        self._head = Session(head, config, change=free_shapes)
        if [len(self._backbone.inputs), len(self._head.inputs), len(self._head.outputs)] != [1, 2, 2]:
            raise ModelError(f"{backbone} and {head} are not NanoTrack's backbone and head; name the family of another")
        self.template_shape: tuple[int, ...] = self._features(
            np.zeros((1, 3, self.template_px, self.template_px), np.float32)
        ).shape[1:]
        blank = np.zeros((2, 3, self.search_px, self.search_px), np.float32)
        scores, distances = self._compare(np.zeros((2, *self.template_shape), np.float32), self._features(blank))
        cells = scores.shape[-1]
        if scores.shape != (2, 2, cells, cells) or distances.shape != (2, 4, cells, cells):
            raise ModelError(f"{head}: expected maps of 2 scores and 4 distances, got {scores.shape} {distances.shape}")
        middle = (np.arange(cells) - cells // 2) * float(self._STRIDE)
        y, x = np.meshgrid(middle, middle, indexing="ij")
        self._centres = np.stack([x, y, x, y]).reshape(4, -1)
        self._window = _window(cells, inner=False)

    def template_sides(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Half of the box's width and height together is added to both; a square of the same area."""
        return _context(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])

    def search_sides(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """As for templates, on the same scale."""
        return self.template_sides(boxes) * (self.search_px / self.template_px)

    def fill(self, image: NDArray[np.uint8]) -> tuple[float, float, float]:
        """The picture's mean colour."""
        import cv2

        blue, green, red, _ = cv2.mean(image)
        return blue, green, red

    def describe(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of the backbone."""
        return self._features(crops)

    def find(
        self, templates: NDArray[np.float32], crops: NDArray[np.float32], sizes: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """See `Follower.find`."""
        scores, distances = self._compare(templates, self._features(crops))
        n = len(scores)
        logits = scores.reshape(n, 2, -1).astype(np.float64)
        sure = 1.0 / (1.0 + np.exp(logits[:, 0] - logits[:, 1]))  # softmax of two
        sides = distances.reshape(n, 4, -1).astype(np.float64) * np.array([-1, -1, 1, 1])[:, None]
        boxes = self._centres + sides
        w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        w, h = np.maximum(w, 1e-3), np.maximum(h, 1e-3)
        before = sizes[:, :, None]
        change = _ratio(_context(w, h), _context(before[:, 0], before[:, 1]))
        change *= _ratio(w / h, before[:, 0] / before[:, 1])
        penalty = np.exp((1.0 - change) * self._PENALTY)
        ranked = penalty * sure * (1.0 - self._WINDOW_SHARE) + self._window * self._WINDOW_SHARE
        rows, best = np.arange(n), ranked.argmax(1)
        share = (penalty[rows, best] * sure[rows, best] * self._LEARNING)[:, None]
        chosen = boxes[rows, :, best]
        centre = (chosen[:, :2] + chosen[:, 2:]) / 2
        half = ((1.0 - share) * sizes + share * np.stack([w[rows, best], h[rows, best]], 1)) / 2
        return np.concatenate([centre - half, centre + half], 1), sure[rows, best].astype(np.float32)

    def _features(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        (name,) = self._backbone.inputs
        (features,) = self._backbone.run({name: crops}).values()
        return features

    def _compare(
        self, templates: NDArray[np.float32], features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores (N, 2, cells, cells) and distances (N, 4, cells, cells)."""
        template, search = self._head.inputs
        scores, distances = self._head.run({template: templates, search: features}).values()
        return scores, distances


class VitTrack:
    """VitTrack of OpenCV Zoo: one graph on template and search crop, with one pair at a time written into it.

    It gives on a 16 x 16 grid a score, the box's size as shares of the crop, and the place of its centre in the cell.
    A box takes over `_LEARNING` of a change in size: with all of it, as in OpenCV's tracker, boxes overlapped the truth
    of PETS09-S2L1 by 0.83 after one frame and 0.78 after three, with next to nothing by 0.87 and 0.81.
    """

    template_px, search_px, colour = 128, 256, "rgb"
    template_shape: tuple[int, ...] = (3, 128, 128)
    _TEMPLATE_FACTOR, _SEARCH_FACTOR, _LEARNING = 2.0, 4.0, 0.3
    _MEAN, _STD = (np.array(three, np.float32)[:, None, None] for three in (IMAGENET_MEAN, IMAGENET_STD))

    def __init__(self, path: str | os.PathLike[str], config: SessionConfig) -> None:
        self._session = Session(path, config)
        shapes = {name: spec.shape for name, spec in self._session.inputs.items()}
        wanted = {"template": (1, 3, 128, 128), "search": (1, 3, 256, 256)}
        if shapes != wanted or [spec.shape[1] for spec in self._session.outputs.values()] != [1, 2, 2]:
            raise ModelError(f"{self._session.path}: expected VitTrack's inputs {wanted} and three maps, got {shapes}")
        self._cells = self._session.outputs[next(iter(self._session.outputs))].shape[-1] or 16
        self._window = _window(self._cells, inner=True)

    def template_sides(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Twice the root of the box's area."""
        return self._TEMPLATE_FACTOR * _root_area(boxes)

    def search_sides(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Four times the root of the box's area."""
        return self._SEARCH_FACTOR * _root_area(boxes)

    def fill(self, image: NDArray[np.uint8]) -> tuple[float, float, float]:
        """Black."""
        return 0.0, 0.0, 0.0

    def describe(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """The normalised crops: the graph looks at template and search crop together."""
        normal: NDArray[np.float32] = (crops / np.float32(255) - self._MEAN) / self._STD
        return normal

    def find(
        self, templates: NDArray[np.float32], crops: NDArray[np.float32], sizes: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """See `Follower.find`."""
        n, cells = len(crops), self._cells
        boxes, sure = np.zeros((n, 4)), np.zeros(n, np.float32)
        for i, crop in enumerate(self.describe(crops)):
            maps = self._session.run({"template": templates[i : i + 1], "search": crop[None]}).values()
            scores, size, offset = (grid.reshape(-1, cells * cells).astype(np.float64) for grid in maps)
            best = int((scores[0] * self._window).argmax())
            place = np.array([best % cells, best // cells]) + offset[:, best]
            centre = (place / cells - 0.5) * self.search_px
            half = (sizes[i] + (size[:, best] * self.search_px - sizes[i]) * self._LEARNING) / 2
            boxes[i] = *(centre - half), *(centre + half)
            sure[i] = scores[0, best]
        return boxes, sure


FOLLOWERS: dict[str, Callable[[str | os.PathLike[str], SessionConfig], Follower]] = {
    "nanotrack": NanoTrack,
    "vittrack": VitTrack,
}
"""Kinds of siamese networks; another one is a class and a row."""


def _context(w: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Side of the square around a box with its surroundings."""
    margin = (w + h) / 2
    side: NDArray[np.float64] = np.sqrt((w + margin) * (h + margin))
    return side


def _root_area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    root: NDArray[np.float64] = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    return root


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The larger over the smaller."""
    ratio: NDArray[np.float64] = np.maximum(a / b, b / a)
    return ratio
