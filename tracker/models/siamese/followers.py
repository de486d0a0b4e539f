"""Followers: siamese networks that find an object again, one file per kind of graph, rows of `FOLLOWERS`.

A follower describes a crop around an object (its template) and finds the object in a wider crop around where it was.
Both crops are squares around the centre of a box. Batches are as large as the caller makes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.models.siamese.nanotrack import NanoTrack
from tracker.models.siamese.vittrack import VitTrack
from tracker.onnx.devices import SessionConfig


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


FOLLOWERS: dict[str, Callable[[str | os.PathLike[str], SessionConfig], Follower]] = {
    "nanotrack": NanoTrack,
    "vittrack": VitTrack,
}
"""Kinds of siamese networks; another one is one file beside this one and one row."""
