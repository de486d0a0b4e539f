"""What a SiamMOT remembers of the tracks of a stream, and where it searches for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SEARCHES", "SPEED_GAIN", "Memory", "new_speeds"]

SEARCHES = {
    "seen": "where it was seen last, as in the authors' code",
    "found": "if it is out of sight, where it was found last, however unsurely, as in the paper",
    "moving": "where it is by now if it kept its speed; neither in the paper nor in the code",
}
"""Where a track is searched for; its template is that of the last frame in which it was seen."""

SPEED_GAIN = 0.2
"""How much of what a speed got wrong the newest step corrects; chosen on streets with validation seeds."""


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What is known of every live track, coasting ones included; row i of each field is track i.

    Attributes:
        ids: (T,) int64.
        boxes: (T, 4) float32, network pixels, legacy convention: where each is searched for.
        labels: (T,) int64, class index.
        held: templates, where the graphs run; of no track where motion is not learned.
        speeds: (T, 2) float32 network pixels a second, x and y, with which `boxes` go on; 0 where nothing moves them.
        steps: (T,) int64, how many steps of the track that is made of.
        unseen_s: (T,) float32 seconds since each was seen.
        seen: so many of the first tracks were seen in the last frame.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    held: Any
    speeds: NDArray[np.float32]
    steps: NDArray[np.int64]
    unseen_s: NDArray[np.float32]
    seen: int = 0

    @classmethod
    def empty(cls, held: Any) -> Memory:
        """Of no track."""
        boxes, speeds, unseen_s = (np.zeros((0, *shape), np.float32) for shape in ((4,), (2,), ()))
        none = np.zeros(0, np.int64)
        return cls(none, boxes, none, held, speeds, none, unseen_s)

    @property
    def templates(self) -> NDArray[np.float32]:
        """(T, C, side, side): features of each track where it was seen last; fetched from the device."""
        array: NDArray[np.float32] = self.held if isinstance(self.held, np.ndarray) else self.held.numpy()
        return array

    def after(self, seconds: float) -> Memory:
        """Some time later, nobody seen since."""
        boxes = self.boxes + np.tile(self.speeds, 2) * np.float32(seconds)
        return replace(self, boxes=boxes, unseen_s=self.unseen_s + np.float32(seconds))


def new_speeds(
    memory: Memory, ids: NDArray[np.int64], boxes: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Speeds of tracks that were seen again, each corrected by how far it was off.

    Args:
        memory: at the time of this frame.
        ids: (N,) tracks that were seen in it.
        boxes: (N, 4) where, network pixels.

    Returns:
        (N, 2) float32 network pixels a second, and of how many steps that is made: 0 where a track is new. The first
        steps are averaged, later ones correct by `SPEED_GAIN`.
    """
    speeds, steps = np.zeros((len(ids), 2), np.float32), np.zeros(len(ids), np.int64)
    _, new, old = np.intersect1d(ids, memory.ids, return_indices=True)
    later = memory.unseen_s[old] > 0
    new, old = new[later], old[later]
    steps[new] = memory.steps[old] + 1
    off = boxes[new] - memory.boxes[old]
    gain = np.maximum(SPEED_GAIN, 1 / steps[new]) / memory.unseen_s[old]
    speeds[new] = memory.speeds[old] + gain[:, None] * (off[:, :2] + off[:, 2:]) / 2
    return speeds, steps
