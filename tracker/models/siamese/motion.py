"""Siamese: learned motion for any detector. A small network finds every track again in a crop of the next picture.

    motion = open_siamese("nanotrackv2_backbone.onnx")
    tracker = create("bytetrack", **motion_options(plan("bytetrack")))
    for frame in frames:
        tracks = tracker.update(motion.predict(frame, model(frame)), frame)
        motion.follow(frame, tracks)

`tracker.guide.Guided` does the same. Each track has a template, made of the crop in which a detector saw it last; in
the next frame the network looks for it in a wider crop around the place where the track is known to be. Which rows the
tracker believes, and what it does with them, stands in its plan (`Plan.follow_score`, or SiamMOT's rules).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ModelError, SnapshotError
from tracker.models.registry import locate, lookup
from tracker.models.siamese.crops import cut_crops
from tracker.models.siamese.followers import FOLLOWERS, Follower
from tracker.models.siamese.rows import adopt, append, contested, meets, padded
from tracker.onnx.devices import SessionConfig
from tracker.types import Detections, Frame, Tracks

if TYPE_CHECKING:
    from tracker.association import Plan

CHUNK = 16
"""Tracks whose crops are cut and looked through at once: bounds the memory, whatever the number of tracks."""

FOLLOW_SCORE = 0.5
"""`Plan.follow_score` of `motion_options`."""

ADOPT_IOU = 0.5
"""`SiameseConfig.adopt_iou` for plans with SiamMOT's rules."""

_FARTHEST_PX = 1e6


@dataclass(frozen=True, slots=True)
class SiameseConfig:
    """What is done with what the network finds.

    Attributes:
        refresh_score: least score of a detection whose crop becomes its track's new template; of a lower one, only
            where the track has none yet: somebody half hidden is described with who hides him.
        rival_iou: rows that overlap this much, and clearly more than their tracks did before, are left out, both: two
            tracks were found in one place, and one of them is wrong. 1 for never.
        adopt_iou: a row takes the box of the best detection of its class that overlaps it this much, and the mean of
            both scores: what SiamMOT's box head does to its rows. 1 for never.
        search_frames: as in the plan: tracks unseen for more frames are not searched for any more; 0 for all that live.
    """

    refresh_score: float = 0.6
    rival_iou: float = 0.4
    adopt_iou: float = 1.0
    search_frames: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What is known of every live track; row i of each field is track i.

    Attributes:
        ids: (T,) int64, ascending.
        boxes: (T, 4) float32, xyxy, source pixels: where it was in the last frame.
        labels: (T,) int32, class index.
        templates: (T, ...) float32, as its `Follower` describes a crop.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int32]
    templates: NDArray[np.float32]


class Siamese:
    """Learned motion of one stream; a `tracker.guide.MotionSource`. Open it with `open_siamese`.

    Attributes:
        follower: the network.
        memory: of the live tracks.
    """

    def __init__(self, follower: Follower, config: SiameseConfig | None = None) -> None:
        self.follower = follower
        self._config = SiameseConfig() if config is None else config
        self.reset()

    def reset(self) -> None:
        """Forget all tracks, as before a new video."""
        none = np.zeros((0, *self.follower.template_shape), np.float32)
        self.memory = Memory(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.int32), none)

    def predict(self, frame: Frame, detections: Detections) -> Detections:
        """The detections, and one row more for each remembered track that is in the picture: where it is now.

        Rows have the track's id (`track_ids`) and class, an empty mask where detections have masks, a zero embedding
        where they have embeddings, and as score how sure the network is, 0 to 1. Where nobody looked
        (`Detections.unlooked()`) they are all there is. A track wholly outside the picture gets no row.
        """
        memory = self.memory
        inside = np.flatnonzero(meets(memory.boxes, frame.width, frame.height))
        boxes, scores = self._find(frame, inside)
        rivals = contested(boxes, memory.boxes[inside], self._config.rival_iou)
        good = np.flatnonzero(np.isfinite(boxes).all(1) & np.isfinite(scores) & ~rivals)
        boxes = np.clip(boxes[good], -_FARTHEST_PX, _FARTHEST_PX)
        rows = inside[good]
        labels = memory.labels[rows]
        if detections.looked and self._config.adopt_iou < 1:
            boxes, scores = adopt(boxes, scores[good], labels, detections, self._config.adopt_iou)
        else:
            scores = scores[good]
        return append(detections, boxes, np.clip(scores, 0.0, 1.0), labels, memory.ids[rows])

    def follow(self, frame: Frame, tracks: Tracks) -> None:
        """Remember where the tracks are after the frame that `predict` saw, and what they look like where seen.

        Tracks that are not among them are forgotten; a coasting one keeps its last template.
        """
        old, given = self.memory, tracks.detections
        order = np.argsort(tracks.ids, kind="stable")
        if self._config.search_frames:
            order = order[tracks.misses[order] <= self._config.search_frames]
        ids, boxes, source = tracks.ids[order], tracks.boxes[order].copy(), tracks.source[order]
        place = np.searchsorted(old.ids, ids)
        known = np.zeros(len(ids), bool)
        known[place < len(old.ids)] = old.ids[place[place < len(old.ids)]] == ids[place < len(old.ids)]
        seen = source >= 0
        if given.track_ids is not None:
            seen[seen] = given.track_ids[source[seen]] < 0
        boxes[seen] = given.boxes[source[seen]]
        fresh = seen.copy()
        fresh[seen] = given.scores[source[seen]] >= self._config.refresh_score
        fresh |= seen & ~known
        fresh &= meets(boxes, frame.width, frame.height)
        kept = np.flatnonzero(fresh | known)
        templates = np.zeros((len(ids), *self.follower.template_shape), np.float32)
        templates[known] = old.templates[place[known]]
        rows = np.flatnonzero(fresh)
        templates[rows] = self._describe(frame, boxes[rows])
        labels = tracks.labels[order]
        self.memory = Memory(ids[kept], boxes[kept], labels[kept], templates[kept])

    def dump(self) -> dict[str, NDArray[Any]]:
        """The memory, as plain arrays."""
        return {f.name: getattr(self.memory, f.name) for f in fields(Memory)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Remember what `dump` gave, as before the next frame of its stream.

        Raises:
            SnapshotError: the memory of another network. The own one stays.
        """
        wanted, got = self.follower.template_shape, arrays["templates"].shape[1:]
        if got != wanted:
            raise SnapshotError(f"expected templates of shape {wanted}, got {got}; was it another network?")
        self.memory = Memory(**arrays)

    def _find(self, frame: Frame, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes (N, 4), source pixels, and scores (N,) of these rows of the memory."""
        follower, memory = self.follower, self.memory
        found, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        fill = follower.fill(frame.image) if len(rows) else (0.0, 0.0, 0.0)
        for begin in range(0, len(rows), CHUNK):
            part = rows[begin : begin + CHUNK]
            boxes = padded(memory.boxes[part])
            centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, follower.search_sides(boxes)
            crops = cut_crops(frame.image, centres, sides, follower.search_px, fill, colour=follower.colour)
            scale = (follower.search_px / sides)[:, None]
            sizes = (boxes[:, 2:] - boxes[:, :2]) * scale
            offsets, sure = follower.find(memory.templates[part], crops, sizes)  # from the crop's centre, crop pixels
            found.append((np.concatenate([centres, centres], 1) + offsets / scale).astype(np.float32))
            scores.append(sure)
        return np.concatenate(found), np.concatenate(scores)

    def _describe(self, frame: Frame, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Templates (N, ...) of boxes."""
        follower = self.follower
        templates = [np.zeros((0, *follower.template_shape), np.float32)]
        fill = follower.fill(frame.image) if len(boxes) else (0.0, 0.0, 0.0)
        for begin in range(0, len(boxes), CHUNK):
            part = padded(boxes[begin : begin + CHUNK])
            centres, sides = (part[:, :2] + part[:, 2:]) / 2, follower.template_sides(part)
            crops = cut_crops(frame.image, centres, sides, follower.template_px, fill, colour=follower.colour)
            templates.append(follower.describe(crops))
        return np.concatenate(templates)


def open_siamese(
    path: str | os.PathLike[str],
    family: str | None = None,
    config: SiameseConfig | None = None,
    session: SessionConfig | None = None,
) -> Siamese:
    """Open a siamese network as learned motion.

    Args:
        path: ONNX file, or a name of the registry; of a network in two files the backbone, the head is looked for
            beside it (a name with "head" instead of "backbone").
        family: row of `FOLLOWERS`; by default what the registry says, or the one whose name is part of the file's.
        config: what is done with what it finds.
        session: device and threads.

    Raises:
        ModelNotFoundError: no such file, or no head beside it.
        ModelError: an unknown family, or another kind of network.
        ProviderError: the device does not run here.
    """
    entry = lookup(os.fspath(path))
    if entry is not None:
        path, family = locate(entry), family or entry.family
    if family is None:
        name = Path(path).name.lower()
        family = next((known for known in FOLLOWERS if known in name), "of an unknown kind")
    if family not in FOLLOWERS:
        raise ModelError(
            f"{os.fspath(path)} is {family}; expected learned motion, one of {', '.join(FOLLOWERS)}, as its name says"
        )
    return Siamese(FOLLOWERS[family](path, SessionConfig() if session is None else session), config)


def motion_options(plan: Plan) -> dict[str, Any]:
    """Options of a system that make it use learned motion, beside those that it has anyway.

    Plans with SiamMOT's rules take rows as they are. In all others the filter of a track measures its row before
    detections are matched: filter and network err in different ways, and both together were better than either one on
    TUD-Campus with a detector on every third or fifth frame. Option motion "none" leaves it to the network alone.
    """
    return {} if plan.suppress_iou < 1 else {"follow_score": FOLLOW_SCORE}
