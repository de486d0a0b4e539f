"""Re-identification: networks that turn the picture of one object into a vector that says who it is.

Such a network is opened like any other model (`open_model`), but it does not find objects: `describe` gives those that
a detector found their `embeddings`. Contract: an image input (any number at once, or one), and one output of one
vector per image. OSNet and Youtu's network, which say nothing about themselves, are of the family "reid" as it stands:
RGB, ImageNet's mean and deviation, the box stretched to the input.

Source: OSNet, arXiv:1905.00953; the crops' masks as in MOTSNet, arXiv:1912.02096 (what is not the object is left out).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.errors import DetectionsError
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD, ImageInput, ModelCard
from tracker.models.geometry import Placement
from tracker.models.model import Model, ModelConfig
from tracker.onnx.session import Session
from tracker.onnx.tensors import TensorSpec
from tracker.types import Detections, Frame

CHUNK, CPU_CHUNK = 32, 8
"""Most crops that go through the network at once, which bounds the memory: 13 MB of input for OSNet, a quarter of that
on a CPU, where more at once take longer (2.6 to 3.0 ms a crop for 4 to 8, 3.6 ms for 32, on two cores)."""


class Reid(Model):
    """OSNet, Youtu's re-id and their kin. As a model of whole frames it takes a frame for one object."""

    family: ClassVar[str] = "reid"
    tasks: ClassVar[tuple[str, ...]] = ("embed",)
    assumed: ClassVar[ModelCard | None] = ModelCard(
        "reid",
        "embed",
        image=ImageInput(mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="stretch"),
        stride=16,
    )

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        if self.card.image.resize != "stretch":
            raise self.misfit("crops stretched to its input", f"a card that says {self.card.image.resize!r}")
        self._vectors, self._length = self._find_vectors()
        self._batch = self.image_spec.shape[0]

    @property
    def length(self) -> int:
        """Numbers of one vector; where the graph does not tell, it runs once on nothing."""
        if self._length is None:
            self._length = self._embed(self._room(1)).shape[1]
        return self._length

    def describe(self, frame: Frame, detections: Detections, *, masked: bool = False) -> Detections:
        """The same detections with `embeddings`: (N, `length`) float32 unit vectors of what their boxes show.

        A box that shows nothing of the frame has a row of zeros, which is no embedding. Without a single such box
        the network does not run.

        Args:
            frame: the image that the detections belong to.
            detections: any; those that have embeddings get new ones.
            masked: paint what lies outside a detection's mask in the mean colour. Detections without masks, and
                those whose mask is empty, are taken as they are.

        Raises:
            DetectionsError: masks of another size than the frame, or a network that gives NaN or infinity.
        """
        masks = detections.masks if masked else None
        if masks is not None and len(masks) and (masks.height, masks.width) != (frame.height, frame.width):
            raise DetectionsError(
                f"expected masks of the frame's {frame.height} x {frame.width} px, got {masks.height} x {masks.width}"
            )
        corners = np.clip(detections.boxes, 0, np.array([frame.width, frame.height] * 2, np.float32))
        seen = np.flatnonzero((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1]))
        embeddings = np.zeros((len(detections), self.length), np.float32)
        image = np.ascontiguousarray(frame.image)
        most = self._batch or (CPU_CHUNK if self.session.device == "cpu" else CHUNK)
        for begin in range(0, len(seen), most):
            rows = seen[begin : begin + most]
            tensor = self._room(len(rows))
            for plane, row in zip(tensor, rows, strict=False):
                left, top, inside = 0, 0, _WHOLE
                if masks is not None and masks.starts[row + 1] > masks.starts[row]:
                    (left, top), inside = masks.rects[row, :2].tolist(), masks.crop(row)
                    if not inside.any():
                        inside = _WHOLE
                cut(image, corners[row], inside, left, top, *self._colours(), plane)
            embeddings[rows] = self._embed(tensor)[: len(rows)]
        return replace(detections, embeddings=embeddings)

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """The whole frame as one detection of class 0, score 1, with its embedding."""
        width, height = placement.source
        box = np.array([[0, 0, width, height]], np.float32)
        return Detections(box, np.ones(1, np.float32), embeddings=_unit(outputs[self._vectors]))

    # ------------------------------------------------------------------ the graph
    def _room(self, count: int) -> NDArray[np.float32]:
        """Zeros (N, 3, height, width) for `count` crops.

        A CPU takes any number. Other devices look for their fastest kernels anew whenever the number is new, so they
        get the next power of two; the crops too many stay zeros.
        """
        if self._batch is not None:
            count = self._batch
        elif self.session.device != "cpu":
            count = min(1 << (count - 1).bit_length(), CHUNK)
        return np.zeros((count, 3, self.size[1], self.size[0]), np.float32)

    def _embed(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors of length 1 of normalised crops (N, 3, height, width)."""
        if self.card.image.layout == "nhwc":
            tensor = tensor.transpose(0, 2, 3, 1)
        outputs = self.infer({self.image_spec.name: tensor.astype(self.image_spec.dtype, copy=False)})
        vectors = _unit(outputs[self._vectors])
        if len(vectors) != len(tensor):
            raise self.misfit(f"one vector for each of {len(tensor)} crops", f"{len(vectors)}")
        return vectors

    def _colours(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Order, factor and offset of the channels."""
        spec = self.card.image
        std = np.asarray(spec.std, np.float64)
        gain, bias = spec.scale / std, -np.asarray(spec.mean, np.float64) / std
        order = np.array([2, 1, 0] if spec.colour == "rgb" else [0, 1, 2])
        return order, gain.astype(np.float32), bias.astype(np.float32)

    def _find_vectors(self) -> tuple[str, int | None]:
        """Name and length of the output: [N, D], or [N, D, 1, 1]."""
        name = self.card.outputs.get("embeddings")
        found = [spec for spec in self.session.outputs.values() if name in (None, spec.name)]
        if len(found) != 1 or not _is_vector(found[0]):
            listed = ", ".join(str(spec) for spec in self.session.outputs.values())
            raise self.misfit(f"{'an output ' + repr(name) if name else 'one output'} [crops, length]", listed)
        return found[0].name, found[0].shape[1]


@dataclass(frozen=True, slots=True)
class Crops:
    """Looks of detections from their crops: what `tracker.guide.Guided` takes as `looks`.

    Attributes:
        network: makes the vectors.
        masked: see `Reid.describe`.
    """

    network: Reid
    masked: bool = False

    def describe(self, frame: Frame, detections: Detections) -> Detections:
        """The same detections with `embeddings`; arguments and errors as `Reid.describe`."""
        return self.network.describe(frame, detections, masked=self.masked)


_WHOLE = np.zeros((0, 0), np.bool_)


def _is_vector(spec: TensorSpec) -> bool:
    return len(spec.shape) >= 2 and all(side in (1, None) for side in spec.shape[2:])


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """(N, D, ...) as (N, D) float32 rows of length 1; zeros stay zeros."""
    rows = np.asarray(vectors, np.float32).reshape(len(vectors), -1)
    if not np.isfinite(rows).all():
        raise DetectionsError("expected finite embeddings from the network, got NaN or infinity")
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    unit: NDArray[np.float32] = rows / np.maximum(norms, np.float32(1e-12))[:, None]
    return unit


@kernel
def cut(image, box, inside, left, top, order, gain, bias, out):  # type: ignore[no-untyped-def]
    """One box of a frame, stretched to a network's input and normalised: one pass over the input's pixels.

    Bilinear between pixel centres, as far as the box reaches: what lies beside it never mixes in.

    Args:
        image: (H, W, 3) uint8 BGR.
        box: (4,) float32 xyxy inside the image, with an area.
        inside: (h, w) bool, the object's mask; elsewhere the crop is 0, the mean colour. (0, 0) for no mask.
        left: column of the image where `inside` begins.
        top: row likewise.
        order: (3,) image channel of each of the tensor's.
        gain: (3,) float32.
        bias: (3,) float32: a value is pixel * gain + bias.
        out: (3, height, width) float32, written.
    """
    _, height, width = out.shape
    x1, y1, x2, y2 = np.float64(box[0]), np.float64(box[1]), np.float64(box[2]), np.float64(box[3])
    first_x, last_x = int(x1), max(int(np.ceil(x2)) - 1, int(x1))
    first_y, last_y = int(y1), max(int(np.ceil(y2)) - 1, int(y1))
    for v in range(height):
        y = y1 + (v + 0.5) * (y2 - y1) / height
        upper = int(np.floor(y - 0.5))
        b = np.float32(y - 0.5 - upper)
        row, below = max(upper, first_y), min(upper + 1, last_y)
        for u in range(width):
            x = x1 + (u + 0.5) * (x2 - x1) / width
            if inside.size > 0:
                i, j = int(y) - top, int(x) - left
                if i < 0 or j < 0 or i >= inside.shape[0] or j >= inside.shape[1] or not inside[i, j]:
                    out[0, v, u] = out[1, v, u] = out[2, v, u] = 0
                    continue
            before = int(np.floor(x - 0.5))
            a = np.float32(x - 0.5 - before)
            column, after = max(before, first_x), min(before + 1, last_x)
            for c in range(3):
                k = order[c]
                p, q = np.float32(image[row, column, k]), np.float32(image[row, after, k])
                r, s = np.float32(image[below, column, k]), np.float32(image[below, after, k])
                upper_value, lower_value = p + a * (q - p), r + a * (s - r)
                out[c, v, u] = (upper_value + b * (lower_value - upper_value)) * gain[c] + bias[c]
