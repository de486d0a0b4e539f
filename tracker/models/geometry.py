"""Between the frame's pixels and the network's: the only file that knows both.

Coordinates are continuous: pixel i covers [i, i + 1), its centre is i + 0.5. A resize maps edges to edges, so boxes
need one factor and one offset per axis, and nothing is off by half a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.errors import FrameError
from tracker.models.card import ImageInput, Size


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a frame lies inside a network's input.

    Attributes:
        source: (width, height) of the frame.
        network: (width, height) of the input.
        inside: (width, height) of the resized frame, network pixels.
        offset: (x, y) of its upper left corner, network pixels.
    """

    source: Size
    network: Size
    inside: Size
    offset: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Network pixels per source pixel, in x and in y."""
        return self.inside[0] / self.source[0], self.inside[1] / self.source[1]

    def to_source(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Boxes (N, 4) xyxy from network to source pixels, clipped to the frame; one outside it loses its area."""
        (sx, sy), (ox, oy), (w, h) = self.scale, self.offset, self.source
        out = (np.asarray(boxes, np.float64).reshape(-1, 4) - (ox, oy, ox, oy)) / (sx, sy, sx, sy)
        return np.clip(out, 0.0, (w, h, w, h)).astype(np.float32)

    def on_map(self, width: int, height: int, *, corners: bool = False) -> tuple[float, float, float, float]:
        """How source pixels land on a map (height, width) that covers the whole input (prototypes, logits).

        Args:
            width: of the map.
            height: of the map.
            corners: its outer cells stand at the centres of the input's outer pixels, not its edges at the edges.

        Returns:
            (ax, bx, ay, by): the centre of source pixel x stands at index `ax * x + bx` of a map row, where 0 is the
            centre of the first cell; y likewise. Bilinear sampling there is the inverse of the network's downscaling.
        """
        (sx, sy), (ox, oy) = self.scale, self.offset
        if corners:
            kx, ky = (width - 1) / max(self.network[0] - 1, 1), (height - 1) / max(self.network[1] - 1, 1)
            return sx * kx, (0.5 * sx + ox - 0.5) * kx, sy * ky, (0.5 * sy + oy - 0.5) * ky
        kx, ky = width / self.network[0], height / self.network[1]
        return sx * kx, (0.5 * sx + ox) * kx - 0.5, sy * ky, (0.5 * sy + oy) * ky - 0.5


def place(source: Size, network: Size, resize: str) -> Placement:
    """Where a frame of size `source` (w, h) goes inside an input of size `network`, by a rule of `ImageInput.resize`.

    "letterbox" is Ultralytics' rule (largest fit, rounded, centred, an odd pixel of border goes right and down),
    "letterbox-corner" is YOLOX's (rounded down, top left), "corner" is deeplab2's (likewise, but a frame that fits
    stays as it is), "stretch" fills the input.
    """
    if resize == "stretch":
        return Placement(source, network, network, (0, 0))
    ratio = min(network[0] / source[0], network[1] / source[1])
    corner = resize in ("letterbox-corner", "corner")
    if resize == "corner":
        ratio = min(ratio, 1.0)
    exact = source[0] * ratio, source[1] * ratio
    w, h = (max(1, int(side + 1e-6) if corner else round(side)) for side in exact)
    offset = (0, 0) if corner else ((network[0] - w) // 2, (network[1] - h) // 2)
    return Placement(source, network, (w, h), offset)


def to_tensor(image: NDArray[np.uint8], placement: Placement, spec: ImageInput) -> NDArray[np.float32]:
    """Resize, pad, reorder and normalise a frame in one pass over the resized pixels.

    Args:
        image: (H, W, 3) uint8 BGR of the placement's source size.
        placement: from `place`.
        spec: the card's rules.

    Returns:
        A new array (1, 3, h, w) or (1, h, w, 3) float32, C-contiguous.

    Raises:
        FrameError: not such an image.
    """
    width, height = placement.source
    if image.shape != (height, width, 3) or image.dtype != np.uint8:
        raise FrameError(
            f"expected an image of shape ({height}, {width}, 3) uint8 BGR, got {image.dtype} {image.shape}"
        )
    if placement.inside != placement.source:
        import cv2

        image = cv2.resize(np.ascontiguousarray(image), placement.inside, interpolation=cv2.INTER_LINEAR)
    std = np.asarray(spec.std, np.float64)
    gain = (spec.scale / std).astype(np.float32)
    bias = (-np.asarray(spec.mean, np.float64) / std).astype(np.float32)
    order = (2, 1, 0) if spec.colour == "rgb" else (0, 1, 2)
    w, h = placement.network
    out = np.empty((h, w, 3) if spec.layout == "nhwc" else (3, h, w), np.float32)
    planes = out.transpose(2, 0, 1) if spec.layout == "nhwc" else out
    _normalise(np.ascontiguousarray(image), placement.offset, order, gain, bias, np.float32(spec.pad), planes)
    return out[None]


def to_upload(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame (H, W, 3) uint8 BGR as (1, H, W, 3), C-contiguous, for graphs that prepare it themselves.

    Raises:
        FrameError: not such an image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise FrameError(f"expected an image of shape (H, W, 3) uint8 BGR, got {image.dtype} {image.shape}")
    return np.ascontiguousarray(image)[None]


@kernel
def _normalise(image, offset, order, gain, bias, pad, out):  # type: ignore[no-untyped-def]
    """out[c, y, x] = pixel * gain[c] + bias[c], the border like a pixel of value `pad`; all float32."""
    height, width = image.shape[:2]
    left, top = offset
    for c in range(3):
        fill = pad * gain[c] + bias[c]
        out[c, :top] = fill
        out[c, top + height :] = fill
        out[c, top : top + height, :left] = fill
        out[c, top : top + height, left + width :] = fill
    k0, k1, k2 = order
    g0, g1, g2 = gain[0], gain[1], gain[2]
    b0, b1, b2 = bias[0], bias[1], bias[2]
    for y in range(height):
        row0, row1, row2 = out[0, top + y], out[1, top + y], out[2, top + y]
        for x in range(width):
            row0[left + x] = np.float32(image[y, x, k0]) * g0 + b0
            row1[left + x] = np.float32(image[y, x, k1]) * g1 + b1
            row2[left + x] = np.float32(image[y, x, k2]) * g2 + b2
