"""VitTrack, a follower: a transformer that looks at template and search crop together."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ModelError
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD
from tracker.onnx.devices import SessionConfig
from tracker.onnx.session import Session


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
        row = np.hanning(self._cells + 2)[1:-1]  # without its border of zeros
        self._window = np.outer(row, row).reshape(-1)

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


def _root_area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    root: NDArray[np.float64] = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    return root
