"""RAFT: optical flow from a network of two images. `tracker.flow.NetworkFlow` makes a stream's flow of it.

Contract: two image inputs (1, 3, H, W) of one fixed size, an output (1, 2, H, W) in pixels of the input, from the first
image to the second. A card says how frames get there; files without one are taken as the authors' network stands: RGB
in 0..255, the frame stretched to the input.

Source: RAFT, arXiv:2003.12039.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ModelError, ModelNotFoundError
from tracker.models.card import ImageInput, ModelCard, Size, read_card
from tracker.models.geometry import place, to_tensor
from tracker.models.registry import locate, lookup
from tracker.onnx.devices import SessionConfig
from tracker.onnx.session import Session

FAMILY = "raft"
ASSUMED = ModelCard(FAMILY, "flow", image=ImageInput(scale=1.0, resize="stretch"), stride=8)
"""Card of a file that says nothing about itself."""


class Raft:
    """One opened network, warmed up. Build it with `open_raft`.

    Attributes:
        session: the graph on its device.
        card: the file's facts, with `sha256` filled in.
        size: (width, height) of the inputs.

    Raises:
        ModelError: inputs, an output or a card that do not fit the contract.
    """

    def __init__(self, session: Session, card: ModelCard) -> None:
        self.session, self.card = session, replace(card, sha256=session.sha256)
        self._names, self.size = self._find_images()
        self._output = self._find_flow()

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A frame (H, W, 3) uint8 BGR at the size that it has within the input, without what fills the rest."""
        import cv2

        placement = place((image.shape[1], image.shape[0]), self.size, self.card.image.resize)
        way = cv2.INTER_AREA if min(placement.scale) < 1 else cv2.INTER_LINEAR
        small: NDArray[np.uint8] = cv2.resize(image, placement.inside, interpolation=way)
        return small

    def vectors(self, start: NDArray[np.uint8], end: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(h, w, 2) float32 (dx, dy) from one prepared frame (h, w, 3) to another, in prepared pixels."""
        height, width = start.shape[:2]
        left, top = place((width, height), self.size, self.card.image.resize).offset
        raw = self._run(start, end)[self._output][0]
        return np.ascontiguousarray(raw[:, top : top + height, left : left + width].transpose(1, 2, 0))

    def _run(self, start: NDArray[np.uint8], end: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        tensors = (self._tensor(image) for image in (start, end))
        return self.session.run(dict(zip(self._names, tensors, strict=True)))

    def _tensor(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A prepared frame in the input, beside it its edges again and again."""
        import cv2

        height, width = image.shape[:2]
        left, top = place((width, height), self.size, self.card.image.resize).offset
        right, bottom = self.size[0] - width - left, self.size[1] - height - top
        full = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE)
        return to_tensor(full, place(self.size, self.size, "stretch"), self.card.image)

    # ------------------------------------------------------------------ the graph
    def _find_images(self) -> tuple[tuple[str, str], Size]:
        """Names of the first and the second image, and their size."""
        inputs, listed = self.session.inputs, ", ".join(str(spec) for spec in self.session.inputs.values())
        first = self.card.image.name or next(iter(inputs), "")
        rest = [name for name in inputs if name != first]
        second = str(self.card.facts.get("second_image", rest[0] if rest else ""))
        shapes = {inputs[name].shape for name in (first, second) if name in inputs}
        shape = shapes.pop() if len(shapes) == 1 else ()
        fits = len(shape) == 4 and shape[:2] == (1, 3) and None not in shape
        if {first, second} != set(inputs) or not fits or {spec.dtype.name for spec in inputs.values()} != {"float32"}:
            raise self._misfit("two float32 images [1, 3, height, width] of one fixed size", listed)
        size = (int(shape[3] or 0), int(shape[2] or 0))
        if self.card.image.size not in (None, size):
            told = "x".join(str(side) for side in self.card.image.size)
            raise self._misfit(f"images of its card's {told} pixels", listed)
        return (first, second), size

    def _find_flow(self) -> str:
        """The output with a vector for every pixel; the run that shows it is the warm-up."""
        grey = np.full((self.size[1], self.size[0], 3), 114, np.uint8)
        raw, wanted = self._run(grey, grey), (1, 2, self.size[1], self.size[0])
        name = self.card.outputs.get("flow")
        found = [key for key, value in raw.items() if value.shape == wanted and name in (None, key)]
        if len(found) != 1:
            what = f"an output {name!r}" if name else "one output"
            got = ", ".join(f"{key} {list(value.shape)}" for key, value in raw.items())
            raise self._misfit(f"{what} {list(wanted)}", got)
        return found[0]

    def _misfit(self, wanted: str, got: str) -> ModelError:
        return ModelError(f"{self.session.path}: optical flow needs {wanted}, got {got}")


def open_raft(path: str | os.PathLike[str], device: str = "auto", *, allow_cpu: bool = False, threads: int = 0) -> Raft:
    """Open an ONNX file as a network of optical flow.

    Args:
        path: the file, or the name of a registered one which `tracker models pull` has fetched.
        device: see `SessionConfig`, as for the following ones.
        allow_cpu: likewise.
        threads: likewise.

    Raises:
        ModelNotFoundError: no such file, or a registered model that is not on this machine.
        ModelError: not an ONNX model, one of another family, or one that does not fit.
        ProviderError: the device does not run here.
    """
    entry = lookup(str(path))
    if entry is not None and entry.family != FAMILY:
        raise ModelError(f"expected a model for optical flow (family {FAMILY!r}), got {entry}")
    if entry is None and not Path(path).exists():
        raise ModelNotFoundError(f"no flow network {path}: expected an ONNX file, or a flow model's name")
    session = Session(
        Path(path) if entry is None else locate(entry), SessionConfig(device, allow_cpu=allow_cpu, threads=threads)
    )
    try:
        card = read_card(session.metadata) or ASSUMED
    except ModelError as reason:
        raise ModelError(f"{session.path}: {reason}") from None
    if card.family != FAMILY:
        raise ModelError(f"{session.path} says it is of the family {card.family!r}; optical flow needs {FAMILY!r}")
    return Raft(session, card if entry is None else entry.describe(card))
