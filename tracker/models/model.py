"""Model: the fixed steps of every family.

preprocess: frame -> input tensors + where the frame lies in them; infer: tensors -> raw outputs; decode: raw outputs ->
`Detections` in source pixels. A family fills in `decode`, and `preprocess` where its input is more than one image.
Steps hold no state between frames, so they may run in different threads; a family that `remembers` frames does so
around the session alone (`feed`, `keep`), and gives each stream a copy (`for_stream`).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from time import perf_counter
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ConfigError, ModelError
from tracker.models.card import ModelCard, Size
from tracker.models.coco import COCO_CLASSES
from tracker.models.geometry import Placement, place, to_tensor, to_upload
from tracker.onnx.session import Session
from tracker.onnx.tensors import TensorSpec
from tracker.types import Detections, Frame

_Self = TypeVar("_Self", bound="Model")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What a user may set about any model.

    Attributes:
        min_score: a score must be above it. Low, because trackers such as ByteTrack use low scores too.
        nms_iou: a box that overlaps a better one of its class by more than this is dropped (families with NMS).
        max_detections: best ones kept per frame.
        classes: names or indices of the classes to keep; None keeps all.
        size: (width, height) of the input, or one number for both, for graphs with a free input size.
        names: class names for files that carry none; "coco" for COCO's 80.
        multi_label: every class of a place that reaches `min_score` is a detection of its own, as in COCO's
            evaluation; off, a place has its best class only, which is what a tracker wants.
    """

    min_score: float = 0.1
    nms_iou: float = 0.65
    max_detections: int = 100
    classes: Sequence[str | int] | None = None
    size: Size | int | None = None
    names: Sequence[str] | str | None = None
    multi_label: bool = False

    def __post_init__(self) -> None:
        for name in ("min_score", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"expected {name} in 0..1, got {getattr(self, name)}")
        if self.max_detections < 1:
            raise ConfigError(f"expected max_detections of at least 1, got {self.max_detections}")
        if isinstance(self.names, str) and self.names != "coco":
            raise ConfigError(f"expected a list of class names or 'coco', got {self.names!r}")


class Prepared(NamedTuple):
    """A frame ready for the network: its input tensors, and where the frame lies in them."""

    tensors: dict[str, NDArray[Any]]
    placement: Placement


class Model(ABC):
    """One opened network. Build it with `open_model`.

    Attributes:
        session: the graph on its device.
        card: the file's facts, with `sha256` and class names filled in.
        config: the user's settings.
        image_spec: the image input of the graph.
        size: (width, height) of the input in network pixels.
        classes: indices of the classes to keep, None for all.
        fused: resize, letterbox and normalisation are part of the graph (`python -m exporters fuse`); its input is the
            frame itself, (1, H, W, 3) uint8 BGR.
        warmup_s: seconds of the last warm-up, None before it.

    Raises:
        ModelError: a card, an input or outputs that do not fit the family.
        ConfigError: a setting that does not fit this model.
    """

    family: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    assumed: ClassVar[ModelCard | None] = None
    """Card of a file that says nothing about itself; None where the family needs a card."""
    remembers: bool = False
    """What the network says of a frame depends on those before: one object serves one stream, its frames in order."""

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        self.session = session
        self.card = replace(card, sha256=session.sha256, class_names=_class_names(card, config))
        self.config = config
        self.fused = bool(card.facts.get("fused"))
        if card.task and card.task not in self.tasks:
            raise self.misfit(f"the task {' or '.join(self.tasks)}", f"{card.task!r}")
        self.image_spec = self._image_spec()
        self.size = self._network_size()
        self.classes = _class_indices(config.classes, self.card.class_names)
        self.warmup_s: float | None = None

    # ------------------------------------------------------------------ the steps
    def preprocess(self, image: NDArray[np.uint8]) -> Prepared:
        """Frame image (H, W, 3) uint8 BGR to input tensors.

        Raises:
            FrameError: not such an image.
        """
        placement = place((image.shape[1], image.shape[0]), self.size, self.card.image.resize)
        if self.fused:
            return Prepared({self.image_spec.name: to_upload(image)}, placement)
        tensor = to_tensor(image, placement, self.card.image)
        return Prepared({self.image_spec.name: tensor.astype(self.image_spec.dtype, copy=False)}, placement)

    def infer(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Input tensors to raw outputs by name; the arrays are the caller's (see `Session.run`)."""
        given = self.feed(tensors)
        outputs = self.session.run(given)
        self.keep(given, outputs)
        return outputs

    def feed(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All that the graph takes: a frame's tensors and what is remembered of the frames before."""
        return dict(tensors)

    def keep(self, given: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:  # noqa: B027
        """Keep what the next frame needs of this one.

        Args:
            given: what the graph took, from `feed`.
            outputs: what it made of that.
        """

    @abstractmethod
    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """Raw outputs to detections in source pixels, best score first."""

    def __call__(self, frame: Frame | NDArray[np.uint8]) -> Detections:
        """All three steps on one frame, or on a bare image (H, W, 3) uint8 BGR."""
        image = frame.image if isinstance(frame, Frame) else Frame(0, 0.0, frame).image
        tensors, placement = self.preprocess(image)
        return self.decode(self.infer(tensors), placement)

    def warmup(self) -> float:
        """Run once on a grey frame: kernels compile, ONNX Runtime allocates. Returns seconds, kept in `warmup_s`."""
        start = perf_counter()
        height, width = self.size[1] + 2, self.size[0] + 6
        if self.fused:  # its graph may be for frames of one size
            height, width = self.image_spec.shape[1] or height, self.image_spec.shape[2] or width
        self(np.full((height, width, 3), 114, np.uint8))
        self.reset()
        self.warmup_s = perf_counter() - start
        return self.warmup_s

    # ------------------------------------------------------------------ for those who run it
    @property
    def gives(self) -> frozenset[str]:
        """Optional parts of `Detections` that come from here."""
        return frozenset() if self.card.task == "detect" else frozenset({"masks"})

    def for_stream(self: _Self) -> _Self:
        """The model for one more stream: itself, or where it `remembers`, a copy on the same session, fresh."""
        if not self.remembers:
            return self
        other = copy.copy(self)
        other.reset()
        return other

    def reset(self) -> None:  # noqa: B027
        """Forget all frames: the next one is the first of a stream."""

    # ------------------------------------------------------------------ for families
    def misfit(self, wanted: str, got: str) -> ModelError:
        """The error for a file that is not what its family needs."""
        return ModelError(f"{self.session.path}: a {self.family} model needs {wanted}, got {got}")

    def output(self, meaning: str, rank: int) -> TensorSpec:
        """The output of a meaning: the card's if it names one, else the only output of this rank."""
        name = self.card.outputs.get(meaning)
        found = [s for s in self.session.outputs.values() if (s.name == name if name else len(s.shape) == rank)]
        if len(found) != 1 or len(found[0].shape) != rank:
            wanted = f"an output {name!r}" if name else "one output"
            listed = ", ".join(str(s) for s in self.session.outputs.values())
            raise self.misfit(f"{wanted} of {rank} dimensions ({meaning})", listed)
        return found[0]

    def class_filter(self, count: int) -> NDArray[np.bool_]:
        """(count,) bool: the classes that the user wants, of the `count` that the network has."""
        if self.classes is None:
            return np.ones(count, np.bool_)
        if self.classes and self.classes[-1] >= count:
            raise ConfigError(f"expected classes below {count}, got {self.classes[-1]}")
        return np.isin(np.arange(count), self.classes)

    def _image_spec(self) -> TensorSpec:
        inputs = self.session.inputs
        name = self.card.image.name or next(iter(inputs), "")
        listed = ", ".join(str(s) for s in inputs.values()) or "no input"
        if name not in inputs:
            raise self.misfit(f"an input {name!r}", listed)
        spec = inputs[name]
        channel = 1 if self.card.image.layout == "nchw" else 3
        if len(spec.shape) != 4 or spec.shape[0] not in (1, None) or spec.shape[channel] not in (3, None):
            wanted = "[1, 3, height, width]" if channel == 1 else "[1, height, width, 3]"
            raise self.misfit(f"an image input {wanted}", listed)
        return spec

    def _network_size(self) -> Size:
        """Fixed sides of the graph; free ones from the user or from the card."""
        asked, stride = self.config.size, self.card.stride
        wanted = (asked, asked) if isinstance(asked, int) else asked and (int(asked[0]), int(asked[1]))
        shape = self.image_spec.shape
        height, width = shape[2:] if self.card.image.layout == "nchw" else shape[1:3]
        if self.fused:  # the graph's sides are the frame's
            if self.card.image.size is None:
                raise self.misfit("a size on the card of a fused graph", "none; fuse it again")
            width, height = self.card.image.size
        given = wanted or self.card.image.size
        if given is None:
            if width is None or height is None:
                raise ConfigError(f"{self.session.path} takes any input size; name one (size=), a multiple of {stride}")
            return width, height
        if (width or given[0], height or given[1]) != tuple(given):
            raise self.misfit(f"its fixed input size {width}x{height}", f"{given[0]}x{given[1]}")
        if (width is None or height is None) and (given[0] % stride or given[1] % stride):
            raise ConfigError(f"expected an input size of multiples of {stride}, got {given[0]}x{given[1]}")
        return int(given[0]), int(given[1])


def _class_names(card: ModelCard, config: ModelConfig) -> tuple[str, ...]:
    if config.names is None:
        return card.class_names
    names = COCO_CLASSES if isinstance(config.names, str) else tuple(config.names)
    if card.class_names and card.class_names != names:
        raise ConfigError(f"the model names its {len(card.class_names)} classes itself; leave names out")
    return names


def _known_classes(names: tuple[str, ...], text: str) -> str:
    """What could have been meant by a class that is not there."""
    if not names:
        return "by index, as this model does not name its classes (names=)"
    if text.lstrip("-").isdecimal():
        return f"from 0 to {len(names) - 1}"
    if near := get_close_matches(text.lower(), names, n=3):
        return f"such as {' or '.join(near)}"
    return "of " + ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")


def _class_indices(wanted: Sequence[str | int] | None, names: tuple[str, ...]) -> tuple[int, ...] | None:
    if wanted is None:
        return None
    out = []
    for item in wanted:
        text = str(item)
        if text in names:
            out.append(names.index(text))
        elif text.isdecimal() and (not names or int(text) < len(names)):
            out.append(int(text))
        else:
            raise ConfigError(f"expected a class {_known_classes(names, text)}, got {text!r}")
    return tuple(sorted(set(out)))
