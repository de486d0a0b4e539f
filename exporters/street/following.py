"""How well a model for video knows where objects were before, and tells them apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporters.street.matching import ious, matches, overlaps
from tracker.types import Detections


class Moment(NamedTuple):
    """A rendered `Scene`, the one before it, and the street that both are of; scenes of a street follow each other."""

    street: int
    before: Any
    scene: Any


@dataclass
class Following:
    """How well objects are followed: by `Detections.offsets` to the picture before, and known again by `embeddings`.

    Only detections that are an object count (see `matching`). An object's way is from the mean of its visible pixels to
    that of the picture before. Embeddings of two frames of a street are compared within a class: `recall_at_1` is the
    share of objects whose nearest one in an earlier frame is the same object, of those that are there beside another
    one; `auc` is the chance that two of the same object are nearer than two of different ones.
    """

    errors: list[float] = field(default_factory=list)
    ways: list[float] = field(default_factory=list)
    same: list[float] = field(default_factory=list)
    different: list[float] = field(default_factory=list)
    _asked: int = 0
    _known: int = 0
    _street: int = -1
    _seen: list[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]] = field(default_factory=list)

    def update(self, moment: Moment, detections: Detections) -> None:
        """One moment, and what the model made of its second picture after its first."""
        if moment.street != self._street:
            self._street, self._seen = moment.street, []
        assert detections.panoptic is not None
        overlap, area, found = overlaps(moment.scene, detections.panoptic.rows, len(detections))
        objects, rows = np.nonzero(matches(ious(overlap, area, found), moment.scene, detections))
        ids = np.asarray(moment.scene.object_ids)[objects]
        if detections.offsets is not None:
            now, then = _middles(moment.scene), _middles(moment.before)
            for k, row in zip(ids.tolist(), rows.tolist(), strict=True):
                if k in then:
                    way = then[k] - now[k]
                    self.ways.append(float(np.hypot(*way)))
                    self.errors.append(float(np.hypot(*(detections.offsets[row] - way))))
        if detections.embeddings is not None:
            looks = ids, detections.labels[rows], detections.embeddings[rows]
            for earlier in self._seen:
                self._compare(earlier, looks)
            self._seen.append(looks)

    def _compare(self, earlier: Any, now: Any) -> None:
        (ids_then, labels_then, looks_then), (ids, labels, looks) = earlier, now
        distance = np.linalg.norm(looks[:, None] - looks_then[None], axis=2)
        comparable = labels[:, None] == labels_then[None]
        same = comparable & (ids[:, None] == ids_then[None])
        self.same += distance[same].tolist()
        self.different += distance[comparable & ~same].tolist()
        asked = np.flatnonzero(same.any(1) & (comparable.sum(1) > 1))
        if len(asked):
            nearest = np.where(comparable, distance, np.inf)[asked].argmin(1)
            self._asked += len(asked)
            self._known += int(same[asked, nearest].sum())

    def figures(self) -> dict[str, float]:
        """What there is to say of this model, rounded; errors are means in source pixels, `still_px` is that of 0."""
        out = {}
        if self.errors:
            out |= {"motion_px": round(float(np.mean(self.errors)), 2), "still_px": round(float(np.mean(self.ways)), 2)}
        if self._asked and self.different:
            out |= {
                "recall_at_1": round(self._known / self._asked, 3),
                "auc": round(_auc(self.same, self.different), 3),
            }
        return out


def _middles(scene: Any) -> dict[int, NDArray[np.float64]]:
    """Object id -> mean x, y of its visible pixels."""
    ids, index = np.unique(scene.ids, return_inverse=True)
    index = index.ravel()
    area = np.bincount(index)
    height, width = scene.ids.shape
    x = np.bincount(index, np.tile(np.arange(width), height)) / area
    y = np.bincount(index, np.repeat(np.arange(height), width)) / area
    return {k: np.array([x[i], y[i]]) for i, k in enumerate(ids.tolist()) if k > 0}


def _auc(near: list[float], far: list[float]) -> float:
    """Chance that one of `near` is below one of `far`; equals count half."""
    ordered = np.sort(far)
    below, upto = (np.searchsorted(ordered, near, side) for side in ("left", "right"))
    return float(1 - (below + upto).mean() / (2 * len(far)))
