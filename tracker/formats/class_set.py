"""The classes of a panoptic dataset: their numbers, names, and which of them are things.

Source: STEP, arXiv:2102.11859; class numbers as in the datasets' own label files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Classes of a dataset whose every pixel has one.

    Attributes:
        names: of the classes, in the order of their numbers.
        things: numbers of the classes that have instances.
        void: number that means "not labelled", 0 to 255.
    """

    names: tuple[str, ...]
    things: tuple[int, ...]
    void: int = 255

    def numbers_of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """(N,) number of each class name, -1 for names that the dataset does not have.

        Names of models count as well: `pedestrian` is `person`, `bike` is `bicycle` (see `SAME_CLASS`).
        """
        table = {name: number for number, name in enumerate(self.names)}
        return np.array([table.get(SAME_CLASS.get(name, name), -1) for name in names], np.int64)

    def thing_table(self) -> NDArray[np.bool_]:
        """(256,) True for the numbers of things."""
        table = np.zeros(256, np.bool_)
        table[list(self.things)] = True
        table[self.void] = False
        return table


SAME_CLASS = {
    "pedestrian": "person", "bike": "bicycle", "motorbike": "motorcycle", "traffic_light": "traffic light",
    "traffic_sign": "traffic sign",
}  # fmt: skip
"""Names that models use -> name of the class in the STEP datasets."""

KITTI_STEP = ClassSet(
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    things=(11, 13),
)  # fmt: skip
"""Cityscapes' 19 classes; things are person (11) and car (13)."""

MOTCHALLENGE_STEP = ClassSet(("sidewalk", "building", "vegetation", "sky", "person", "rider", "bicycle"), things=(4,))
"""Seven classes; things are person (4)."""

PANOPTIC_SETS = {"kitti-step": KITTI_STEP, "mot-step": MOTCHALLENGE_STEP}
"""Name of the dataset on the command line -> its classes."""
