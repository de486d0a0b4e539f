"""Semantic networks: a class for every pixel, and a segmenter's objects laid over one's stuff.

The rule by which both make one panoptic picture: objects come first, best score first; one keeps the pixels that no
better one has, unless these are at most half of its mask: then it is not in the picture. Every other pixel has the
likeliest class of the semantic network, but void where that is a thing: a class that the network's card calls one, or
one whose name the segmenter has too.

Source: Panoptic Segmentation, arXiv:1801.00868, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ConfigError, DetectionsError
from tracker.masks import Masks
from tracker.models.card import ImageInput, ModelCard
from tracker.models.decoding.semantics import Semantics, merge_instances, paint_stuff, stand_on
from tracker.models.geometry import Placement, place
from tracker.models.model import Model, ModelConfig, Prepared
from tracker.onnx.session import Session
from tracker.types import Detections, Panoptic

VOC_CLASSES = (
    "background", "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table",
    "dog", "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
)  # fmt: skip
"""PASCAL VOC's classes, under COCO's names."""


@runtime_checkable
class SemanticSource(Protocol):
    """A model that has a class for every pixel: `Semantic`, `PanopticNet`."""

    def semantics(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Semantics:
        """Raw outputs to logits."""


class Semantic(Model):
    """Networks with one output of logits: (1, C, h, w), or (1, h, w, C) where the image is laid out so too.

    The map covers the whole input; the card's fact `corners` is as for `PanopticNet`. There are no detections but the
    `panoptic` picture, in which all classes are stuff. A file without a card is taken for DeepLab v3 on PASCAL VOC, as
    TensorFlow's makers published it.
    """

    family = "semantic"
    tasks = ("semantic",)
    assumed = ModelCard(
        "semantic", "semantic", VOC_CLASSES, tuple(range(1, len(VOC_CLASSES))),
        ImageInput(layout="nhwc", scale=1 / 127.5, mean=(1.0, 1.0, 1.0), resize="stretch"),
    )  # fmt: skip

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        spec, named = self.output("semantic", 4), len(self.card.class_names)
        self._name, self._last = spec.name, self.card.image.layout == "nhwc"
        channels = spec.shape[3 if self._last else 1]
        if channels != named or not 0 < named < Panoptic.VOID:
            raise self.misfit(f"a name for each of its {channels} classes", f"{named}")

    def semantics(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Semantics:
        """Raw outputs to logits.

        Raises:
            DetectionsError: NaN or infinite numbers.
        """
        given = outputs[self._name][0]
        logits = np.ascontiguousarray(given.transpose(2, 0, 1) if self._last else given, np.float32)
        if not np.isfinite(logits.sum()):
            raise DetectionsError(
                f"expected finite numbers in the network's output {self._name!r}, got NaN or infinity"
            )
        return stand_on(logits, placement, corners=bool(self.card.facts.get("corners", False)))

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """No detection, and the class of every pixel.

        Raises:
            DetectionsError: NaN or infinite numbers.
        """
        things = np.zeros(len(self.card.class_names), np.bool_)
        picture = paint_stuff(self.semantics(outputs, placement), things)
        masks = Masks.empty(placement.source[1], placement.source[0], 0)
        return replace(Detections.empty(), masks=masks, panoptic=picture)


class Merged(Model):
    """A segmenter, and behind its objects the stuff of a semantic or panoptic network. It has a model's three steps.

    Args:
        objects: gives masks and no picture.
        stuff: a `SemanticSource`.

    Raises:
        ConfigError: models that are not these, or more than 255 classes in all.
    """

    family = "merged"
    tasks = ("segment", "panoptic")

    def __init__(self, objects: Model, stuff: Model) -> None:
        if objects.card.task != "segment":
            raise ConfigError(f"stuff goes behind the masks of a segmenter, got a model that gives {objects.card.task}")
        if not isinstance(stuff, SemanticSource):
            raise ConfigError(
                f"expected a semantic or panoptic network for stuff, got one of family {stuff.card.family}"
            )
        super().__init__(objects.session, objects.card, objects.config)
        names, theirs = objects.card.class_names, stuff.card.class_names
        more = tuple(name for name in theirs if name not in names)
        if not names or len(names) + len(more) > Panoptic.VOID:
            raise ConfigError(f"expected named classes, at most 255 in all, got {len(names)} and {len(more)} more")
        self.card = replace(self.card, task="panoptic", class_names=(*names, *more), thing_ids=tuple(range(len(names))))
        self._objects: Model = objects
        self._stuff: Model = stuff
        self.remembers = objects.remembers or stuff.remembers
        things = stuff.card.thing_ids or ()
        self._things = np.array([i in things or name in names for i, name in enumerate(theirs)], np.bool_)
        self._index = np.full(256, Panoptic.VOID, np.uint8)
        self._index[: len(theirs)] = [self.card.class_names.index(name) for name in theirs]

    @property
    def gives(self) -> frozenset[str]:
        """As the segmenter's."""
        return self._objects.gives

    def reset(self) -> None:
        """See `Model.reset`."""
        self._objects, self._stuff = self._objects.for_stream(), self._stuff.for_stream()

    def preprocess(self, image: NDArray[np.uint8]) -> Prepared:
        """Tensors of both networks; the placement is the segmenter's."""
        tensors, placement = self._objects.preprocess(image)
        behind, _ = self._stuff.preprocess(image)
        return Prepared({**tensors, **{_STUFF + name: tensor for name, tensor in behind.items()}}, placement)

    def infer(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of both networks."""
        outputs = self._objects.infer({name: array for name, array in tensors.items() if not name.startswith(_STUFF)})
        behind = self._stuff.infer(
            {name.removeprefix(_STUFF): array for name, array in tensors.items() if name.startswith(_STUFF)}
        )
        return {**outputs, **{_STUFF + name: array for name, array in behind.items()}}

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """The segmenter's detections with the `panoptic` picture of both.

        Raises:
            DetectionsError: NaN or infinite numbers.
        """
        found = self._objects.decode(outputs, placement)
        behind = {name.removeprefix(_STUFF): array for name, array in outputs.items() if name.startswith(_STUFF)}
        stuff = self._stuff
        assert isinstance(stuff, SemanticSource)
        source = placement.source
        picture = paint_stuff(stuff.semantics(behind, place(source, stuff.size, stuff.card.image.resize)), self._things)
        return replace(found, panoptic=merge_instances(found, Panoptic(self._index[picture.classes], picture.rows)))


_STUFF = "stuff/"  # before the names of the semantic network's tensors
