"""SiamMOT in the frame loop: the trunk may work ahead of the tracks, everything else waits for them.

The loop's network is `Ahead`, and what comes after the trunk waits in the detections for `SiamMotMotion`, the
`MotionSource` of the stream's tracker, which knows the tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.formats.mot import MotRows
from tracker.models.geometry import Placement
from tracker.models.model import Prepared
from tracker.models.siammot.graphs import SiamMotGraphs
from tracker.models.siammot.stream import SiamMot
from tracker.types import Detections, Flow, Frame, Tracks

__all__ = ["Ahead", "SiamMotMotion", "Unrefined"]


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


class FlowSource(Protocol):
    """Optical flow of a stream, as in `tracker.guide`."""

    def update(self, frame: Frame) -> Flow:
        """Flow from the frame of the last call to this one."""

    def reset(self) -> None:
        """Forget the last frame."""


class SiamMotMotion:
    """The rest, for the tracker of one stream; a `tracker.guide.MotionSource` beside an `Ahead` on the same model.

    Args:
        stream: its memory.
        search_frames: see `SiamMot.follow`.
        public: detections of each frame that take the place of proposals, such as a MOTChallenge `det.txt`; their
            scores do not count.
        flow: moves tracks before they are searched for; not beside a search that moves them itself.
        look: asked for each frame that went through the trunk, in order, whether to detect on it, such as
            `tracker.pipeline.every(3)`; on the others tracks are searched for all the same.
    """

    def __init__(
        self,
        stream: SiamMot,
        search_frames: int = 0,
        public: MotRows | None = None,
        flow: FlowSource | None = None,
        look: Callable[[Frame], bool] = lambda _: True,
    ) -> None:
        self.stream = stream
        self._search_frames, self._public, self._flow, self._look = search_frames, public, flow, look
        self._went = False
        self._epoch = 0

    def predict(self, frame: Frame, detections: Detections) -> Detections:
        """Detections and one row for each remembered track, see `SiamMot.look`.

        What did not come from an `Ahead` is left as it is, and so are frames that did not go through the trunk.
        """
        if self._flow is not None and frame.epoch != self._epoch:  # how the picture moved meanwhile cannot be seen
            self._flow.reset()
        self._epoch, self._went = frame.epoch, isinstance(detections, Unrefined)
        if not isinstance(detections, Unrefined):
            return detections
        assert detections.placement is not None
        return self.stream.look(
            detections.outputs,
            detections.placement,
            time_s=frame.time_s,
            public=None if self._public is None else self._public.detections(frame.index).boxes,
            flow=None if self._flow is None else self._flow.update(frame),
            fresh=self._look(frame),
        )

    def follow(self, frame: Frame, tracks: Tracks) -> None:
        """See `SiamMot.follow`; where the frame did not go through the trunk the memory stays as it is."""
        if self._went:
            self.stream.follow(tracks, self._search_frames)

    def dump(self) -> dict[str, NDArray[Any]]:
        """See `SiamMot.dump`."""
        return self.stream.dump()

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See `SiamMot.restore`."""
        self.stream.restore(arrays)

    def reset(self) -> None:
        """Forget all tracks and the last picture."""
        self.stream.reset()
        if self._flow is not None:
            self._flow.reset()
