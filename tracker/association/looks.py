"""Looks: what tracks and detections have beside boxes - embeddings, masks, centres, claimed ids.

`Looks` is what the step reads of one frame. `Wardrobe` keeps what tracks have shown before: their last mask and a ring
of embeddings. It is updated between the steps, because nothing in it decides who lives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.association.plan import Plan
from tracker.association.state import COUNT, FRAME, SOURCE, WAS, State
from tracker.association.warp import warp_by_forward, warp_to_current, warp_to_previous
from tracker.errors import DetectionsError, FrameError, SnapshotError
from tracker.masks import Masks
from tracker.types import Detections, Flow

SHOWN = "shown."
"""Prefix of a snapshot's arrays that belong to the wardrobe."""


class Looks(NamedTuple):
    """Arrays of one frame: detections by row, tracks by column of the state, embeddings kept by slot.

    Attributes:
        embeddings, norms: (N, D) float32 and (N,) float32; a norm of 0 says that there is no embedding.
        slots: (T,) int64, where each track's embeddings are kept; -1 for none.
        gallery, kept_norms, kept_frames, kept: (slots, K, D) float32, (slots, K) float32, (slots, K) int64 frame
            numbers, and (slots,) int64 how many of the K there are.
        centres, offsets: (N, 2) float64, px.
        track_ids: (N,) int64, the track that a row says it is, or -1.
        mask_words, mask_rects, mask_starts, mask_areas: the detections' masks as they are compared, see `Masks`.
        track_words, track_rects, track_starts, track_areas: the tracks' last masks, likewise.
    """

    embeddings: NDArray[np.float32]
    norms: NDArray[np.float32]
    slots: NDArray[np.int64]
    gallery: NDArray[np.float32]
    kept_norms: NDArray[np.float32]
    kept_frames: NDArray[np.int64]
    kept: NDArray[np.int64]
    centres: NDArray[np.float64]
    offsets: NDArray[np.float64]
    track_ids: NDArray[np.int64]
    mask_words: NDArray[np.uint64]
    mask_rects: NDArray[np.int32]
    mask_starts: NDArray[np.int64]
    mask_areas: NDArray[np.int64]
    track_words: NDArray[np.uint64]
    track_rects: NDArray[np.int32]
    track_starts: NDArray[np.int64]
    track_areas: NDArray[np.int64]


class Gallery:
    """Embeddings of tracks: a ring of `size` per track, or one running mean of unit vectors.

    Attributes:
        slots: (T,) int64 row of each track, -1 while it has shown none.
        vectors, norms, frames, counts: as `Looks` describes (gallery, kept_norms, kept_frames, kept).
        next: (slots,) int64, place in the ring that is written next.
    """

    def __init__(self, size: int, momentum: float) -> None:
        self._size, self._momentum = size, momentum
        self.slots = np.zeros(0, np.int64)
        self.vectors = np.zeros((0, size, 0), np.float32)
        self.norms = np.zeros((0, size), np.float32)
        self.frames = np.zeros((0, size), np.int64)
        self.counts = np.zeros(0, np.int64)
        self.next = np.zeros(0, np.int64)

    def check(self, width: int) -> None:
        """Make ready for embeddings of this length.

        Raises:
            DetectionsError: tracks have embeddings of another length.
        """
        if width and width != self.vectors.shape[2]:
            if self.counts.any():
                raise DetectionsError(
                    f"expected embeddings of length {self.vectors.shape[2]} as before, got {width}; "
                    "reset() the tracker for another network"
                )
            self.vectors = np.zeros((len(self.counts), self._size, width), np.float32)

    def keep(
        self,
        was: NDArray[np.int64],
        source: NDArray[np.int64],
        embeddings: NDArray[np.float32],
        norms: NDArray[np.float32],
        frame: int,
    ) -> None:
        """After a step: follow the tracks to their new columns and take the embeddings of the detections they took."""
        slots = np.where(was >= 0, self.slots[was] if len(self.slots) else -1, -1)
        kept = np.zeros(len(self.counts), bool)
        kept[slots[slots >= 0]] = True
        self.counts[~kept] = 0
        self.slots = slots
        if not embeddings.size:  # nobody, or nobody's
            return
        shown = np.flatnonzero((source >= 0) & (norms[source] > 0))
        fresh = shown[slots[shown] < 0]
        slots[fresh] = self._free(len(fresh), slots)
        rows, seen = slots[shown], embeddings[source[shown]]
        if self._momentum > 0:
            unit = seen / norms[source[shown], None]
            old = self.counts[rows] > 0
            unit[old] = self._momentum * self.vectors[rows[old], 0] + (1 - self._momentum) * unit[old]
            seen = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
            place = np.zeros(len(rows), np.int64)
        else:
            self.next[slots[fresh]] = 0
            place = self.next[rows] % self._size
            self.next[rows] += 1
        self.vectors[rows, place] = seen
        self.norms[rows, place] = np.linalg.norm(seen, axis=1)
        self.frames[rows, place] = frame
        self.counts[rows] = np.maximum(self.counts[rows], place + 1)

    def _free(self, count: int, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows that nobody uses; doubles the room when there are too few."""
        used = np.zeros(len(self.counts), bool)
        used[slots[slots >= 0]] = True
        free = np.flatnonzero(~used)
        if len(free) < count:
            more = max(count - len(free), len(used), 16)
            self.vectors = np.concatenate([self.vectors, np.zeros((more, *self.vectors.shape[1:]), np.float32)])
            self.norms = np.concatenate([self.norms, np.zeros((more, self._size), np.float32)])
            self.frames = np.concatenate([self.frames, np.zeros((more, self._size), np.int64)])
            self.counts = np.concatenate([self.counts, np.zeros(more, np.int64)])
            self.next = np.concatenate([self.next, np.zeros(more, np.int64)])
            free = np.concatenate([free, np.arange(len(used), len(used) + more)])
        self.counts[free[:count]] = 0
        return free[:count]


class Wardrobe:
    """What the tracks of one tracker have shown, as far as its plan compares it.

    Attributes:
        gallery: their embeddings.
        masks: their last masks, row i for column i of the state; None before there were any.
        areas: (T,) int64, pixels of these.
    """

    def __init__(self, plan: Plan) -> None:
        self.gallery = Gallery(plan.gallery, plan.gallery_momentum)
        self.masks: Masks | None = None
        self.areas = np.zeros(0, np.int64)
        self._carried: tuple[Masks, NDArray[np.int64]] | None = None  # of this frame, until it is certain
        self._needs = plan.needs
        self._flow, self._chain = plan.flow, plan.chain_masks
        self._optional = frozenset(
            need
            for stage in plan.stages
            if stage.combine == "best"
            for need in stage.needs
        )  # fmt: skip

    def show(self, detections: Detections, flow: Flow | None = None) -> Looks:
        """What the step compares in this frame.

        Args:
            detections: this frame's.
            flow: optical flow from the frame before, for plans that carry masks along it (`Plan.flow`).

        Raises:
            DetectionsError: parts that the plan compares are missing, or do not fit to earlier ones.
            FrameError: flow is missing.
        """
        n = len(detections)
        for need in self._needs - self._optional:
            if n and getattr(detections, need) is None:
                raise DetectionsError(f"expected detections with {need}, which this tracker compares; got none")
        embeddings = detections.embeddings if "embeddings" in self._needs else None
        if embeddings is None:
            embeddings = np.zeros((n, 0), np.float32)
        self.gallery.check(embeddings.shape[1])
        norms = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
        own = detections.masks if "masks" in self._needs else None
        if own is None:
            own = Masks.empty(1, 1, n) if self.masks is None else Masks.empty(self.masks.height, self.masks.width, n)
        last, areas = self.masks, self.areas
        if last is None:
            last, areas = Masks.empty(own.height, own.width, len(self.gallery.slots)), self.gallery.slots * 0
        if len(last) and n and (last.height, last.width) != (own.height, own.width):
            raise DetectionsError(
                f"expected masks of frames of {last.height} x {last.width} px as before, got {own.height} x "
                f"{own.width}; reset() the tracker for another stream"
            )
        own, last, areas = self._carry(own, last, areas, flow)
        centres, offsets = detections.centres, detections.offsets
        if centres is None:
            centres = (detections.boxes[:, :2] + detections.boxes[:, 2:]) * np.float32(0.5)
        ids = detections.track_ids
        return Looks(
            embeddings, norms, self.gallery.slots, self.gallery.vectors, self.gallery.norms, self.gallery.frames,
            self.gallery.counts, np.asarray(centres, np.float64),
            np.zeros((n, 2)) if offsets is None else np.asarray(offsets, np.float64),
            np.full(n, -1, np.int64) if ids is None else ids,
            own.words, own.rects, own.starts, own.areas, last.words, last.rects, last.starts, areas,
        )  # fmt: skip

    def _carry(
        self, own: Masks, last: Masks, areas: NDArray[np.int64], flow: Flow | None
    ) -> tuple[Masks, Masks, NDArray[np.int64]]:
        """The detections' and the tracks' masks where they can be compared, and the areas of the latter."""
        self._carried = None
        if self._flow == "none" or not len(last) or not (len(own) or self._chain):
            return own, last, areas
        if flow is None:
            raise FrameError("expected optical flow (update(..., flow=...)), along which this tracker carries masks")
        if self._flow == "cur_to_prev":
            return warp_to_previous(own, flow.forward, flow.occluded), last, areas
        if self._flow == "forward":
            last = warp_by_forward(last, flow.forward)
        elif flow.backward is None:
            raise FrameError("expected optical flow in both directions, got no backward flow")
        else:
            last = warp_to_current(last, flow.backward, flow.revealed)
        areas = last.areas
        if self._chain:
            self._carried = last, areas
        return own, last, areas

    def dump(self) -> dict[str, NDArray[Any]]:
        """Copies of all that the tracks have shown, for a snapshot."""
        g = self.gallery
        arrays: dict[str, NDArray[Any]] = {"slots": g.slots, "vectors": g.vectors, "norms": g.norms, "frames": g.frames}
        arrays |= {"counts": g.counts, "next": g.next}
        if self.masks is not None:
            size = np.array([self.masks.height, self.masks.width])
            arrays |= {"size": size, "rects": self.masks.rects, "starts": self.masks.starts, "words": self.masks.words}
        return {SHOWN + name: array.copy() for name, array in arrays.items()}

    def restore(self, arrays: dict[str, NDArray[Any]], alive: int) -> None:
        """Become the wardrobe that `dump` copied, of `alive` tracks.

        Raises:
            SnapshotError: names, shapes or dtypes do not fit.
        """
        given = {name.removeprefix(SHOWN): array for name, array in arrays.items()}
        masks = None
        if "size" in given:
            height, width = (int(side) for side in given.pop("size"))
            masks = Masks(height, width, given.pop("rects"), given.pop("starts"), given.pop("words"))
        g = self.gallery
        wanted = {name: getattr(g, name).dtype for name in ("slots", "vectors", "norms", "frames", "counts", "next")}
        if {name: array.dtype for name, array in given.items()} != wanted or not (
            (len(given["slots"]) == alive or not len(given["slots"])) and (masks is None or len(masks) == alive)
        ):
            raise SnapshotError(f"expected what {alive} tracks have shown, got {sorted(arrays)}")
        for name, array in given.items():
            setattr(g, name, array)
        if masks is not None:
            self.masks, self.areas = masks, masks.areas

    def keep(self, state: State, detections: Detections, looks: Looks) -> None:
        """After a step: what every live track has shown by now."""
        alive, frame = int(state.counters[COUNT]), int(state.counters[FRAME])
        was, source = state.ints[WAS, :alive], state.ints[SOURCE, :alive]
        self.gallery.keep(was, source, looks.embeddings, looks.norms, frame)
        if "masks" not in self._needs:
            return
        if self._carried is not None:
            self.masks, self.areas = self._carried
        before, shown = self.masks, detections.masks
        if shown is not None and len(shown):
            if before is None or not len(before):
                place, parts, areas = source, [shown], shown.areas
            else:
                place, parts = np.where(source >= 0, len(before) + source, was), [before, shown]
                areas = np.concatenate([self.areas, shown.areas])
        elif before is not None:
            place, parts, areas = was, [before], self.areas
        else:
            return
        self.masks = Masks.join(parts).select(place)
        self.areas = np.append(areas, 0)[place]  # place -1: a mask without a pixel
