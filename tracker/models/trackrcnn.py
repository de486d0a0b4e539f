"""TrackR-CNN: a Mask R-CNN with association vectors that remembers the frames before.

A graph of the family `maskrcnn` with more inputs: the card's fact `memory` says which output of one frame goes into
which input at the next, {"before": "before_after"}; all are zeros before the first frame. That is the network's own
state, not the tracks', and belongs to the model object: one object serves one stream (`for_stream`).

Boxes and masks are put into the frame as the authors do: the map covers exactly the box, whose sides are rounded to
whole pixels.

Source: MOTS: Multi-Object Tracking and Segmentation, arXiv:1902.03604, and its code TrackR-CNN (MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tracker.masks import Masks
from tracker.models.card import ModelCard
from tracker.models.decoding.pasting import stretch_masks
from tracker.models.maskrcnn import MaskRcnn
from tracker.models.model import ModelConfig
from tracker.onnx.session import Session


class TrackRcnn(MaskRcnn):
    """TrackR-CNN as `python -m exporters trackrcnn` writes it.

    Call `infer` for the frames of one stream, in order.
    """

    family: ClassVar[str] = "trackrcnn"
    remembers = True

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

    def reset(self) -> None:
        """See `Model.reset`."""
        self._memory: dict[str, NDArray[Any]] = {}
        for name in self._links:
            spec = self.session.inputs[name]
            self._memory[name] = np.zeros([side or 0 for side in spec.shape], spec.dtype)

    def feed(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """A frame's tensors and the memory."""
        return {**tensors, **self._memory}

    def keep(self, given: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """The memory of this frame, unless it holds NaN or infinity: no later frame suffers from that."""
        memory = {name: outputs[output] for name, output in self._links.items()}
        if all(np.isfinite(values.sum()) for values in memory.values()):
            self._memory = memory

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
