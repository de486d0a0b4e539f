"""SiamMOT: detections, and where a network finds each track again, in one pass per frame.

    network, tracker = open_siammot("folder"), create("siammot")
    for frame in frames:
        tracks = tracker.update(network(frame))
        network.follow(tracks)

The trunk runs once per frame; then motion, on the templates of all live tracks; then one call of the box head for
proposals and tracks together; and after the tracker decided, templates of the tracks that it saw. Without learned
motion the box head alone finds a track again, from where it was seen last, as Tracktor does, or from where optical flow
moved it: the baselines of the paper's Table 1.

In the frame loop it is `tracker.models.siammot.loop` that calls these steps.
Source: SiamMOT, arXiv:2105.11595, and the authors' code (`spec/siammot.md`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ConfigError, DetectionsError, ModelNotFoundError, SnapshotError
from tracker.models.geometry import Placement
from tracker.models.opening import open_model
from tracker.models.siammot.graphs import GRAPHS, SiamMotGraphs, to_half_open, to_legacy
from tracker.models.siammot.memory import SEARCHES, Memory, new_speeds
from tracker.types import Detections, Flow, Frame, Tracks, TrackState

__all__ = ["SiamMot", "median_flow", "open_siammot"]


_DUMPED = ("ids", "boxes", "labels", "templates", "speeds", "steps", "unseen_s")


class SiamMot:
    """What a network remembers of one stream. Several may share the graphs; `open_siammot` opens both.

    Args:
        model: the graphs.
        learned: the track head finds tracks again, and a row scores the mean of its visibility and the class score.
            Otherwise track head and templates stay out of it, and the class score is all.
        search: where tracks are searched for, one of `SEARCHES`.

    Attributes:
        model: the graphs.
        memory: of the live tracks.

    Raises:
        ConfigError: another `search`.
    """

    def __init__(self, model: SiamMotGraphs, *, learned: bool = True, search: str = "seen") -> None:
        if search not in SEARCHES:
            raise ConfigError(f"expected a search of {', '.join(SEARCHES)}, got {search!r}")
        self.model = model
        self._learned = learned
        self._search_place = search
        self.reset()

    def reset(self) -> None:
        """Forget all tracks, as before a new video."""
        self.memory = Memory.empty(self.model.no_templates)
        self._time_s: float | None = None
        self._outputs: Mapping[str, Any] = {}
        self._last: Detections | None = None
        self._rows = np.zeros((0, 4), np.float32)

    def __call__(self, frame: Frame | NDArray[np.uint8], **options: Any) -> Detections:
        """One frame, or a bare image (H, W, 3) uint8 BGR: the trunk, then `look` with its options."""
        if isinstance(frame, Frame):
            options = {"time_s": frame.time_s, **options}
        else:
            frame = Frame(0, 0.0, frame)
        tensors, placement = self.model.preprocess(frame.image)
        return self.look(self.model.infer(tensors), placement, **options)

    def look(
        self,
        outputs: Mapping[str, Any],
        placement: Placement,
        *,
        time_s: float | None = None,
        public: NDArray[np.float32] | None = None,
        flow: Flow | None = None,
        fresh: bool = True,
    ) -> Detections:
        """What the next frame of the stream shows.

        Args:
            outputs: of the trunk.
            placement: of the frame.
            time_s: of the frame; None is one second after the last one.
            public: (N, 4) xyxy source pixels: given boxes instead of the network's own proposals. They are scored and
                refined all the same.
            flow: from the frame before: tracks that were seen there are searched for where it moved them.
            fresh: search for what is new too; otherwise for the tracks alone, as on a frame that nobody looks at.

        Returns:
            Fresh detections (`track_ids` -1), by class and proposal, then one row for each remembered track: its
            refined box and its score. Source pixels; boxes of an amodal network may leave the frame.
        """
        self._pass_time(time_s)
        model, memory = self.model, self.memory
        if not fresh:
            proposals = np.zeros((0, 4), np.float32)
        elif public is None:
            proposals = model.propose(outputs)
        else:
            proposals = to_legacy(np.asarray(public, np.float32).reshape(-1, 4), placement)
        found, visibility = self._search(outputs, memory.boxes if flow is None else self._moved(flow, placement))
        scores, boxes = model.refine(outputs, np.concatenate([proposals, found]))
        n = len(proposals)
        rows, labels = model.detect(scores[:n], boxes[:n])
        known = np.arange(n, n + len(found))
        own = scores[known, memory.labels + 1]
        sure = own if visibility is None else visibility
        mean = ((own + 1) + (sure + 1)) / 2 - 1  # rounded as the authors' code rounds it
        chosen, kinds = np.concatenate([rows, known]), np.concatenate([labels, memory.labels])
        self._outputs, self._rows = outputs, boxes[chosen, kinds + 1]
        self._last = Detections(
            to_half_open(self._rows, placement),
            np.concatenate([scores[rows, labels + 1], mean]),
            kinds.astype(np.int32),
            track_ids=np.concatenate([np.full(len(rows), -1), memory.ids]),
            looked=fresh,
        )
        return self._last

    def _pass_time(self, time_s: float | None) -> None:
        """The memory goes on to the time of the next frame."""
        last = self._time_s
        self._time_s = (0.0 if last is None else last + 1) if time_s is None else time_s
        if last is not None:
            self.memory = self.memory.after(max(0.0, self._time_s - last))

    def _search(
        self, outputs: Mapping[str, Any], places: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Where tracks are now, before the box head: boxes (T, 4), and their visibility (T,) if somebody knows it."""
        return self.model.move(outputs, places, self.memory.held) if self._learned else (places, None)

    def _moved(self, flow: Flow, placement: Placement) -> NDArray[np.float32]:
        """Boxes of the memory, network pixels, those that were seen in the last frame moved along."""
        boxes = self.memory.boxes.copy()
        seen = slice(self.memory.seen)
        shifts = median_flow(flow, to_half_open(boxes[seen], placement)) * np.array(placement.scale, np.float32)
        boxes[seen] += np.tile(shifts, 2)
        return boxes

    def follow(self, tracks: Tracks, search_frames: int = 0) -> None:
        """Remember what the tracker made of the last detections: new templates of tracks that were seen, others kept.

        Args:
            tracks: the tracker's snapshot.
            search_frames: as in the tracker's plan: tracks unseen for more frames are not searched for any more, 0
                for all that live.

        Raises:
            DetectionsError: `tracks` are not those of the detections that this network gave last.
        """
        if self._last is None or not np.array_equal(tracks.detections.boxes, self._last.boxes):
            raise DetectionsError("expected the tracks of this network's last detections; update the tracker with them")
        over = (tracks.states == TrackState.TENTATIVE) & (tracks.misses > 0)  # a last row, too weak to bring it back
        seen = (tracks.states != TrackState.COASTING) & (tracks.source >= 0) & ~over
        searched = ~seen & ~over & ((tracks.misses <= search_frames) | (search_frames == 0))
        old = self.memory
        kept = np.flatnonzero(np.isin(old.ids, tracks.ids[searched]))
        boxes = self._rows[tracks.source[seen]]
        before = self._rows[len(self._rows) - len(old.ids) :] if self._search_place == "found" else old.boxes
        speeds, steps = new_speeds(old, tracks.ids[seen], boxes)
        if self._search_place != "moving":
            speeds[:] = 0
        self.memory = Memory(
            np.concatenate([tracks.ids[seen], old.ids[kept]]),
            np.concatenate([boxes, before[kept]]),
            np.concatenate([tracks.labels[seen].astype(np.int64), old.labels[kept]]),
            self.model.remember(self._outputs, boxes, old.held, kept) if self._learned else old.held,
            np.concatenate([speeds, old.speeds[kept]]),
            np.concatenate([steps, old.steps[kept]]),
            np.concatenate([np.zeros(len(boxes), np.float32), old.unseen_s[kept]]),
            len(boxes),
        )

    def dump(self) -> dict[str, NDArray[Any]]:
        """The memory, as plain arrays."""
        memory = self.memory
        return {name: getattr(memory, name) for name in _DUMPED}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Remember what `dump` gave, as before the next frame of its stream; no time passes until then.

        Raises:
            SnapshotError: the memory of another network or version. The own one stays.
        """
        if not arrays.keys() >= set(_DUMPED):
            raise SnapshotError(f"expected {', '.join(_DUMPED)}, got {', '.join(arrays)}; was it an earlier version?")
        tracks, shape = len(arrays["ids"]) if self._learned else 0, self.model.no_templates.shape[1:]
        if arrays["templates"].shape != (tracks, *shape):
            got = arrays["templates"].shape
            raise SnapshotError(f"expected templates of shape {(tracks, *shape)}, got {got}; was it another network?")
        fields: dict[str, Any] = {name: arrays[name] for name in _DUMPED if name != "templates"}
        self.memory, self._time_s = Memory(**fields, held=arrays["templates"]), None


def median_flow(flow: Flow, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far the pixels in each box went, in the middle.

    Args:
        flow: from the frame before to this one.
        boxes: (N, 4) xyxy, half-open, source pixels of the frame before.

    Returns:
        (N, 2) float32 source pixels, x and y; 0 for a box outside the picture, or of which nothing stays in sight.
    """
    height, width = flow.forward.shape[:2]
    shifts = np.zeros((len(boxes), 2), np.float32)
    corners = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], 1)
    corners = np.clip(corners, 0, [width, height, width, height])
    for row, (x1, y1, x2, y2) in enumerate(corners.astype(np.int64).tolist()):
        vectors = flow.forward[y1:y2, x1:x2]
        stays = np.isfinite(vectors[..., 0]) & np.isfinite(vectors[..., 1])
        if flow.occluded is not None:
            stays &= ~flow.occluded[y1:y2, x1:x2]
        if stays.any():
            shifts[row] = np.median(vectors[stays], axis=0)
    return shifts


def open_siammot(
    folder: str | os.PathLike[str], device: str = "auto", *, allow_cpu: bool = False, threads: int = 0
) -> SiamMot:
    """Open a set of graphs that belong together.

    Args:
        folder: with the files of `GRAPHS`, from one run of `python -m exporters siammot`, or any of the files.
        device: see `SessionConfig`, as for the following ones.
        allow_cpu: likewise.
        threads: likewise.

    Raises:
        ModelNotFoundError: a file of the set is missing.
        ModelError: a file of another family or graph, or graphs of different checkpoints, sizes or settings.
        ProviderError: the device does not run here.
    """
    if os.path.isdir(folder) and not any(os.path.isfile(os.path.join(folder, f"{name}.onnx")) for name in GRAPHS):
        listed = ", ".join(f"{name}.onnx" for name in GRAPHS)
        raise ModelNotFoundError(f"expected {', '.join(GRAPHS)} (.onnx) in {folder}, {listed} missing")
    model = open_model(folder, "siammot", device, allow_cpu=allow_cpu, threads=threads, min_score=0.0)
    assert isinstance(model, SiamMotGraphs)
    return SiamMot(model)
