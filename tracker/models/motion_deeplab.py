"""Motion-DeepLab: a panoptic network that also sees the frame before, and where it found objects there.

Beside its maps it says for every pixel where the centre of its object was one frame ago, which the system
`motion-deeplab` compares with the centres of its tracks. What goes from frame to frame - the last picture, and the
instances of it drawn as spots of heat - are the network's own findings, not tracks, and belongs to the model object:
one object serves one stream (`for_stream`).

Source: STEP, arXiv:2102.11859, section 4 (Motion-DeepLab), with the rules of deeplab2's post-processing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.models.card import ModelCard
from tracker.models.decoding.fusion import Axis, Fused, fuse
from tracker.models.geometry import Placement, place
from tracker.models.model import ModelConfig
from tracker.models.panoptic import PanopticNet
from tracker.onnx.session import Session
from tracker.types import Detections

SPREAD_PX = 8
"""Standard deviation of a spot of heat, input pixels."""


class MotionDeepLab(PanopticNet):
    """Networks of the Motion-DeepLab kind: a `PanopticNet` with two more inputs and one more output.

    The card's facts name the inputs `previous_image` (like the image) and `previous_heat` (1, 1, H, W), 0..1; before
    the first frame these are the frame itself and zeros. Output `previous_offset` (1, 2, h, w): (dy, dx) from a pixel
    to where the centre of its object was in the frame before, in map pixels.

    Detections come with `centres`, the rounded means of their pixels, and `offsets` from these, and in the order in
    which the picture's rows first meet them: that is the order in which deeplab2 matches them. The card's fact `order`:
    "score" has the best first, as the paper says.

    Call `infer` for the frames of one stream, in order.
    """

    family = "motion-deeplab"
    remembers = True

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        super().__init__(session, card, config)
        self._motion = self.output("previous_offset", 4).name
        if self.session.outputs[self._motion].shape[1] != 2:
            raise self.misfit("2 previous_offset channels", str(self.session.outputs[self._motion]))
        facts = self.card.facts
        self._previous = [str(facts.get(name, name)) for name in ("previous_image", "previous_heat")]
        height, width = self.size[1], self.size[0]
        wanted = {self.image_spec.name: 3, self._previous[0]: 3, self._previous[1]: 1}
        got = {name: spec.shape for name, spec in self.session.inputs.items()}
        if got != {name: (1, channels, height, width) for name, channels in wanted.items()}:
            raise self.misfit(f"inputs {', '.join(wanted)} of 3, 3 and 1 channels and one fixed size", f"{got}")
        self.order = str(facts.get("order", "raster"))
        if self.order not in ("raster", "score"):
            raise self.misfit("the order raster or score", repr(self.order))
        self.reset()

    @property
    def gives(self) -> frozenset[str]:
        """Masks, and where they were before."""
        return super().gives | {"offsets"}

    def reset(self) -> None:
        """See `Model.reset`."""
        self._image: NDArray[Any] | None = None
        self._heat = np.zeros((self.size[1], self.size[0]), np.float32)

    def feed(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The image tensor, the one before and the heat drawn for that."""
        image = tensors[self.image_spec.name]
        before = image if self._image is None else self._image
        heat = self._heat.astype(self.session.inputs[self._previous[1]].dtype, copy=False)[None, None]
        return {self.image_spec.name: image, self._previous[0]: before, self._previous[1]: heat}

    def keep(self, given: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """The image tensor, and the heat of what was found in it.

        Raises:
            DetectionsError: NaN or infinite numbers in the maps; the frame is not remembered.
        """
        self._heat = self._spots(outputs)
        self._image = given[self.image_spec.name]

    def decode(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Detections:
        """As `PanopticNet.decode`, in the order of this family, with `centres` and `offsets`."""
        detections, places = self._detect(outputs, placement)
        centres = np.rint(places[:, 1:3] / places[:, :1]).astype(np.int64)
        motion = np.ascontiguousarray(outputs[self._motion][0], np.float32)
        height, width = motion.shape[1:]
        ax, _, ay, _ = placement.on_map(width, height, corners=self.corners)
        offsets = read_map(motion, centres, *self._axes(placement, height, width)) / (ay, ax)
        return replace(
            detections, centres=centres[:, ::-1].astype(np.float32), offsets=offsets[:, ::-1].astype(np.float32)
        )

    def _chosen(self, fused: Fused) -> NDArray[np.int64]:
        """The best ones, in the order of their first pixels or of their scores."""
        keep = super()._chosen(fused)
        if self.order == "score":
            return keep
        return keep[np.argsort(fused.places[keep, 3], kind="stable")]

    def _spots(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Every instance of the whole input, what lies beside the frame included, as a spot of heat: (H, W)."""
        maps = self._maps(outputs)
        rows, columns = self._axes(place(self.size, self.size, "stretch"), *maps.heat.shape)
        fused = fuse(*maps, self._things, self.fusion, rows, columns)
        seen = fused.places[fused.areas >= max(1, self.fusion.min_area)]
        centres = np.rint(seen[:, 1:3] / seen[:, :1]).astype(np.int64)
        heat: NDArray[np.float32] = draw_spots(centres, SPREAD_PX, self.size[1], self.size[0])
        return heat


def read_map(planes: NDArray[np.float32], places: NDArray[np.int64], rows: Axis, columns: Axis) -> NDArray[np.float64]:
    """Bilinear values of (C, h, w) at pixels (N, 2) y, x of the picture, whose axes stand on it: (N, C)."""
    y, x = rows[0][places[:, 0]], columns[0][places[:, 1]]
    south, east = rows[1][places[:, 0]].astype(np.float64), columns[1][places[:, 1]].astype(np.float64)
    below, right = np.minimum(y + 1, planes.shape[1] - 1), np.minimum(x + 1, planes.shape[2] - 1)
    top = planes[:, y, x] * (1 - east) + planes[:, y, right] * east
    bottom = planes[:, below, x] * (1 - east) + planes[:, below, right] * east
    values: NDArray[np.float64] = top * (1 - south) + bottom * south
    return values.T


# ---------------------------------------------------------------------- kernels


@kernel
def draw_spots(centres, spread, height, width):  # type: ignore[no-untyped-def]
    """Gaussians of height 1 around centres (N, 2) y, x, the larger where they overlap: (height, width) float32.

    As deeplab2 draws them, each in a square of 6 * spread + 3 pixels.
    """
    out = np.zeros((height, width), np.float32)
    reach = 3 * spread + 1
    values = np.exp(-np.arange(2 * reach * reach + 1) / (2.0 * spread * spread)).astype(np.float32)
    for n in range(len(centres)):
        y, x = centres[n, 0], centres[n, 1]
        for v in range(max(0, y - reach), min(height, y + reach + 1)):
            for u in range(max(0, x - reach), min(width, x + reach + 1)):
                out[v, u] = max(out[v, u], values[(v - y) * (v - y) + (u - x) * (u - x)])
    return out
