"""NanoTrack, a follower: features of template and search crop, and a head that compares them.

Source: SiamRPN, CVPR 2018 (penalties); Ocean, arXiv:2006.10721 (distances).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ModelError, ModelNotFoundError
from tracker.onnx.devices import SessionConfig
from tracker.onnx.session import Session
from tracker.onnx.shapes import free_shapes


class NanoTrack:
    """NanoTrack v2: a backbone on template and search crop, and a head that compares them, in two files.

    The head gives on a 16 x 16 grid, 16 px apart, a score for background and object, and the distances to the box's
    four sides. A place counts less the more size and shape there differ from before, and the farther it is from the
    middle; the size follows slowly.
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
        self._window = np.outer(np.hanning(cells), np.hanning(cells)).reshape(-1)

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


def _context(w: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Side of the square around a box with its surroundings."""
    margin = (w + h) / 2
    side: NDArray[np.float64] = np.sqrt((w + margin) * (h + margin))
    return side


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The larger over the smaller."""
    ratio: NDArray[np.float64] = np.maximum(a / b, b / a)
    return ratio
