"""SiamMOT: detections, and where a network finds each track again, in one pass per frame.

    network, tracker = open_siammot("folder"), create("siammot")
    for frame in frames:
        tracks = tracker.update(network(frame))
        network.follow(tracks)

The trunk runs once per frame; then motion, on the templates of all live tracks; then one call of the box head for
proposals and tracks together; and after the tracker decided, templates of the tracks that it saw.

In the frame loop the trunk may work ahead of the tracks: the loop's network is `Ahead`, and what comes after the trunk
waits in the detections for `SiamMotMotion`, the `MotionSource` of the stream's tracker, which knows the tracks.
Source: SiamMOT, arXiv:2105.11595, and the authors' code (`spec/siammot.md`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DetectionsError, ModelNotFoundError
from tracker.formats.mot import MotRows
from tracker.models.geometry import Placement
from tracker.models.model import Prepared, open_model
from tracker.models.siammot_graphs import GRAPHS, SiamMotGraphs, to_half_open, to_legacy
from tracker.types import Detections, Frame, Tracks, TrackState

__all__ = ["GRAPHS", "Ahead", "Memory", "SiamMot", "SiamMotMotion", "Unrefined", "open_siammot"]


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What is known of every live track, coasting ones included; row i of each field is track i.

    Attributes:
        ids: (T,) int64.
        boxes: (T, 4) float32, network pixels, legacy convention: where each is searched for.
        labels: (T,) int64, class index.
        held: templates, where the graphs run.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    held: Any

    @property
    def templates(self) -> NDArray[np.float32]:
        """(T, C, side, side): features of each track where it was seen last; fetched from the device."""
        array: NDArray[np.float32] = self.held if isinstance(self.held, np.ndarray) else self.held.numpy()
        return array


class SiamMot:
    """What a network remembers of one stream. Several may share the graphs; `open_siammot` opens both.

    Args:
        model: the graphs.
        search_predicted: a track out of sight is searched for where it was found last, however unsurely, as in the
            paper; otherwise where it was seen last, as in the authors' code. Its template is the same.

    Attributes:
        model: the graphs.
        memory: of the live tracks.
    """

    def __init__(self, model: SiamMotGraphs, *, search_predicted: bool = False) -> None:
        self.model = model
        self._search_predicted = search_predicted
        self.reset()

    def reset(self) -> None:
        """Forget all tracks, as before a new video."""
        none = np.zeros(0, np.int64)
        self.memory = Memory(none, np.zeros((0, 4), np.float32), none, self.model.no_templates)
        self._outputs: Mapping[str, Any] = {}
        self._last: Detections | None = None
        self._rows = np.zeros((0, 4), np.float32)

    def __call__(self, frame: Frame | NDArray[np.uint8], public: NDArray[np.float32] | None = None) -> Detections:
        """One frame, or a bare image (H, W, 3) uint8 BGR: the trunk, then `look`."""
        image = frame.image if isinstance(frame, Frame) else Frame(0, 0.0, frame).image
        tensors, placement = self.model.preprocess(image)
        return self.look(self.model.infer(tensors), placement, public)

    def look(
        self, outputs: Mapping[str, Any], placement: Placement, public: NDArray[np.float32] | None = None
    ) -> Detections:
        """What the next frame of the stream shows.

        Args:
            outputs: of the trunk.
            placement: of the frame.
            public: (N, 4) xyxy source pixels: given boxes instead of the network's own proposals. They are scored and
                refined all the same.

        Returns:
            Fresh detections (`track_ids` -1), by class and proposal, then one row for each remembered track: its
            refined box, and the mean of its class score and its visibility. Source pixels; boxes of an amodal
            network may leave the frame.
        """
        model, memory = self.model, self.memory
        if public is None:
            proposals = model.propose(outputs)
        else:
            proposals = to_legacy(np.asarray(public, np.float32).reshape(-1, 4), placement)
        moved, visibility = model.move(outputs, memory.boxes, memory.held)
        scores, boxes = model.refine(outputs, np.concatenate([proposals, moved]))
        n = len(proposals)
        rows, labels = model.detect(scores[:n], boxes[:n])
        known = np.arange(n, n + len(moved))
        own = scores[known, memory.labels + 1]
        mean = ((own + 1) + (visibility + 1)) / 2 - 1  # rounded as the authors' code rounds it
        chosen, kinds = np.concatenate([rows, known]), np.concatenate([labels, memory.labels])
        self._outputs, self._rows = outputs, boxes[chosen, kinds + 1]
        self._last = Detections(
            to_half_open(self._rows, placement),
            np.concatenate([scores[rows, labels + 1], mean]),
            kinds.astype(np.int32),
            track_ids=np.concatenate([np.full(len(rows), -1), memory.ids]),
        )
        return self._last

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
        seen = (tracks.states != TrackState.COASTING) & (tracks.source >= 0)
        searched = ~seen & ((tracks.misses <= search_frames) | (search_frames == 0))
        old = self.memory
        kept = np.flatnonzero(np.isin(old.ids, tracks.ids[searched]))
        boxes = self._rows[tracks.source[seen]]
        before = self._rows[len(self._rows) - len(old.ids) :] if self._search_predicted else old.boxes
        self.memory = Memory(
            np.concatenate([tracks.ids[seen], old.ids[kept]]),
            np.concatenate([boxes, before[kept]]),
            np.concatenate([tracks.labels[seen].astype(np.int64), old.labels[kept]]),
            self.model.remember(self._outputs, boxes, old.held, kept),
        )


# ---------------------------------------------------------------------- in the frame loop


@dataclass(frozen=True, slots=True, eq=False)
class Unrefined(Detections):
    """A picture that only the trunk has seen; no rows yet.

    Attributes:
        outputs: of the trunk.
        placement: of the frame.
    """

    outputs: Mapping[str, Any] = field(default_factory=dict)
    placement: Placement | None = None


class Ahead:
    """The part of a model that does not depend on tracks, as the network of a loop; for any number of streams.

    Attributes:
        card: of the model.
    """

    def __init__(self, model: SiamMotGraphs) -> None:
        self.card = model.card
        self._model = model

    def preprocess(self, image: NDArray[np.uint8]) -> Prepared:
        """As the model's."""
        return self._model.preprocess(image)

    def infer(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """The trunk."""
        return self._model.infer(tensors)

    def decode(self, outputs: Mapping[str, Any], placement: Placement) -> Unrefined:
        """Nothing yet: `SiamMotMotion.predict` goes on from here."""
        return Unrefined(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), outputs=outputs, placement=placement)


class SiamMotMotion:
    """The rest, for the tracker of one stream; a `tracker.guide.MotionSource` beside an `Ahead` on the same model.

    Args:
        stream: its memory.
        search_frames: see `SiamMot.follow`.
        public: detections of each frame that take the place of proposals, such as a MOTChallenge `det.txt`; their
            scores do not count.
    """

    def __init__(self, stream: SiamMot, search_frames: int = 0, public: MotRows | None = None) -> None:
        self.stream = stream
        self._search_frames, self._public = search_frames, public
        self._looked = False

    def predict(self, frame: Frame, detections: Detections) -> Detections:
        """Detections and one row for each remembered track, see `SiamMot.look`.

        What did not come from an `Ahead` is left as it is, and so are frames at which nobody looked.
        """
        self._looked = isinstance(detections, Unrefined)
        if not isinstance(detections, Unrefined):
            return detections
        assert detections.placement is not None
        public = None if self._public is None else self._public.detections(frame.index).boxes
        return self.stream.look(detections.outputs, detections.placement, public)

    def follow(self, frame: Frame, tracks: Tracks) -> None:
        """See `SiamMot.follow`; where nobody looked the memory stays as it is."""
        if self._looked:
            self.stream.follow(tracks, self._search_frames)

    def reset(self) -> None:
        """Forget all tracks."""
        self.stream.reset()


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
