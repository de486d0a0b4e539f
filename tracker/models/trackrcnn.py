"""TrackR-CNN: a Mask R-CNN with association vectors that remembers the frames before.

A graph of the family `maskrcnn` with more inputs: the card's fact `memory` says which output of one frame goes into
which input at the next, {"before": "before_after"}; all are zeros before the first frame. That is the network's own
state, not the tracks', and belongs to the model object: one object serves one stream (`for_stream`).

Boxes and masks are put into the frame as the authors do: the map covers exactly the box, whose sides are rounded to
whole pixels.

Source: MOTS: Multi-Object Tracking and Segmentation, arXiv:1902.03604, and its code TrackR-CNN (MIT).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tracker.masks import Masks
from tracker.models.card import ModelCard
from tracker.models.maskrcnn import MaskRcnn, stretch_masks
from tracker.models.model import ModelConfig
from tracker.models.session import Session


class TrackRcnn(MaskRcnn):
    """TrackR-CNN as `python -m exporters trackrcnn` writes it.

    Call `infer` for the frames of one stream, in order.
    """

    family: ClassVar[str] = "trackrcnn"

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        self._links = {str(name): str(output) for name, output in dict(card.facts.get("memory", {})).items()}
        inputs, outputs = session.inputs, session.outputs
        for name, output in self._links.items():
            if name not in inputs or output not in outputs or inputs[name].shape != outputs[output].shape:
                got = f"inputs {', '.join(map(str, inputs.values()))}, outputs {', '.join(map(str, outputs.values()))}"
                raise self.misfit(f"an input {name!r} and an output {output!r} of one shape", got)
            if any(side is None for side in inputs[name].shape):
                raise self.misfit(f"an input {name!r} of fixed shape", str(inputs[name]))
        self.reset()

    def for_stream(self) -> TrackRcnn:
        """A copy on the same session that has seen nothing yet."""
        other = copy.copy(self)
        other.reset()
        return other

    def reset(self) -> None:
        """Forget all frames: the next one is the first of a stream."""
        self._memory: dict[str, NDArray[Any]] = {}
        for name in self._links:
            spec = self.session.inputs[name]
            self._memory[name] = np.zeros([side or 0 for side in spec.shape], spec.dtype)

    def warmup(self) -> float:
        """See `Model.warmup`; nothing of it is remembered."""
        seconds = super().warmup()
        self.reset()
        return seconds

    def infer(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Input tensors to raw outputs, with what is remembered; remembers this frame.

        A frame whose memory would hold NaN or infinity is not remembered, so that no later one suffers.
        """
        outputs = self.session.run({**tensors, **self._memory})
        memory = {name: outputs[output] for name, output in self._links.items()}
        if all(np.isfinite(values.sum()) for values in memory.values()):
            self._memory = memory
        return outputs

    def paste(self, maps: NDArray[np.float32], boxes: NDArray[np.float32], height: int, width: int) -> Masks:
        """See `paste_exactly`."""
        return paste_exactly(maps, boxes, height, width)


def paste_exactly(maps: NDArray[np.float32], boxes: NDArray[np.float32], height: int, width: int) -> Masks:
    """Masks of N objects, each from a small map that covers its box: bilinear, above one half is object.

    Args:
        maps: (N, m, m) float32 in 0..1.
        boxes: (N, 4) float32 xyxy, source pixels; corners are rounded, and a mask is at least one pixel wide and high.
        height: rows of the frame.
        width: columns of the frame.
    """
    first, last = (boxes[:, :2] + 0.5).astype(np.int64), (boxes[:, 2:] - 0.5).astype(np.int64)
    return stretch_masks(maps, first, last, height, width)
