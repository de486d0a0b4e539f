"""Panoptic networks for video: they also say where objects were in the picture before, and who they are.

One graph feeds all systems that compare masks, boxes, centres or embeddings. Both additions are maps, of which an
object has the mean over its mask: pixels of one object agree about its motion, and mask-pooling keeps what is around it
out of its identity vector. The picture before belongs to the model object: one object serves one stream (`for_stream`).

Source: STEP, arXiv:2102.11859 (offsets to the picture before); MOTSNet, arXiv:1912.02096 (mask-pooled vectors, a space
for each class).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.masks import Masks
from tracker.models.card import ModelCard
from tracker.models.decoding.pooling import sum_under
from tracker.models.geometry import Placement
from tracker.models.model import ModelConfig
from tracker.models.panoptic import PanopticNet
from tracker.onnx.session import Session
from tracker.types import Detections


class PanopticVideoNet(PanopticNet):
    """A `PanopticNet` with one more input and two more outputs.

    The card's fact `previous_image` names the input, which is like the image; for a stream's first frame it is the
    frame itself. Outputs named in the card cover the whole input, edge to edge: `motion` (1, 2, h, w), (dy, dx) in map
    pixels from the centre of a pixel's object to where that was in the frame before; `features` (1, things * D, h, w),
    a vector of length D for each thing class, in the order of the card's `thing_ids`.

    Detections come, best score first, with `centres` (the means of their pixels), `offsets` and `embeddings` (N, D) of
    length 1. Call `infer` for the frames of one stream, in order.
    """

    family = "panoptic-video"
    remembers = True

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        self._previous = str(self.card.facts.get("previous_image", "previous"))
        self._motion, self._features = (self.output(meaning, 4).name for meaning in ("motion", "features"))
        image, inputs = self.image_spec, self.session.inputs
        if inputs.keys() != {image.name, self._previous} or inputs[self._previous].shape != image.shape:
            raise self.misfit(
                f"inputs {image.name} and {self._previous} of one shape", ", ".join(map(str, inputs.values()))
            )
        ids = self.card.thing_ids or ()
        channels = [self.session.outputs[name].shape[1] for name in (self._motion, self._features)]
        if channels[0] != 2 or not ids or not channels[1] or channels[1] % len(ids):
            raise self.misfit(f"2 motion channels and as many features for each of {len(ids)} things", f"{channels}")
        self._place_of = np.zeros(len(self._things), np.int64)
        self._place_of[list(ids)] = np.arange(len(ids))
        self.reset()

    @property
    def gives(self) -> frozenset[str]:
        """Masks, where they were before, and who they are."""
        return super().gives | {"offsets", "embeddings"}

    def reset(self) -> None:
        """See `Model.reset`."""
        self._image: NDArray[Any] | None = None

    def feed(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The image tensor and the one before."""
        image = tensors[self.image_spec.name]
        return {self.image_spec.name: image, self._previous: image if self._image is None else self._image}

    def keep(self, given: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """The image tensor is the next frame's one before."""
        self._image = given[self.image_spec.name]

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """As `PanopticNet.decode`, with `centres`, `offsets` and `embeddings`.

        Raises:
            DetectionsError: NaN or infinite numbers in the maps.
        """
        seen, places = self._detect(outputs, placement)
        assert seen.masks is not None
        centres = places[:, [2, 1]] / places[:, :1] + 0.5  # a pixel's middle, as boxes are measured
        return replace(
            seen,
            centres=centres.astype(np.float32),
            offsets=self._offsets(outputs, placement, seen, seen.masks),
            embeddings=self.identify(outputs, placement, seen, seen.masks),
        )

    def _offsets(
        self, outputs: Mapping[str, NDArray[Any]], placement: Placement, seen: Detections, masks: Masks
    ) -> NDArray[np.float32]:
        motion = np.ascontiguousarray(outputs[self._motion][0], np.float32)
        ax, _, ay, _ = placement.on_map(motion.shape[2], motion.shape[1])
        sums = sum_under(motion, placement, seen.boxes, masks)
        means: NDArray[np.float32] = sums[:, ::-1] / np.maximum(masks.areas, 1)[:, None] / np.array([ax, ay])
        return means.astype(np.float32)

    def identify(
        self, outputs: Mapping[str, NDArray[Any]], placement: Placement, seen: Detections, masks: Masks | None
    ) -> NDArray[np.float32]:
        """Identity vectors (N, D) of length 1, of each detection's class.

        Args:
            outputs: of `infer`.
            placement: of the frame.
            seen: what was detected there.
            masks: over which to pool; None for the boxes, MOTSNet's ablation.

        Raises:
            DetectionsError: NaN or infinite numbers under a detection.
        """
        features = np.ascontiguousarray(outputs[self._features][0], np.float32)
        sums = sum_under(features, placement, seen.boxes, masks)
        things = int(self._things.sum())
        spaces = sums.reshape(len(seen), things, sums.shape[1] // things)
        own = spaces[np.arange(len(seen)), self._place_of[seen.labels]]
        norms = np.sqrt(np.einsum("nd,nd->n", own, own))
        unit: NDArray[np.float32] = own / np.maximum(norms, np.float32(1e-12))[:, None]
        return unit
