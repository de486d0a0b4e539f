"""Does the ONNX graph compute what torch computes? A graph that does not is not kept.

Suppression chooses, and where the margin is the last bit of a float runtimes may choose otherwise, there and in all
that follows. So values are compared on ONNX Runtime's own choices, to `LIMIT`, and nearly all choices must be
torch's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exporters.maskrcnn.graph import Detector
from exporters.parity import LIMIT, ParityError, relative_difference
from tracker.errors import ModelError
from tracker.onnx.devices import SessionConfig
from tracker.onnx.session import Session

Arrays = dict[str, NDArray[Any]]

INSIGHTS = ("all_proposals", "objectness", "chances", "class_boxes")
"""Inner tensors that a graph must give out while it is checked, after its own outputs; see `graph.Found`."""

_SHARED = 0.95  # least part of the choices that are torch's, too
_SAME = 1e-3  # objectness, and coordinates by the image's longer side: proposals as near as that are one


class Insight(torch.nn.Module):
    """A detector that also gives out its `INSIGHTS`."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector, self.inputs = detector, detector.inputs
        self.outputs = (*detector.outputs, *INSIGHTS)

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """All outputs."""
        found = self.detector.find(*given)
        inner = (found.proposals, found.objectness, found.chances, found.class_boxes)
        return (*self.detector.tell(found), *inner)


def examples(detector: Detector, seed: int = 0) -> Iterator[Arrays]:
    """A picture that fills the input, and one that leaves a border; memories of any frame before."""
    rng = np.random.default_rng(seed)
    width, height = detector.design.size
    for share in (1.0, 0.8):
        extent = np.array([int(width * share), height], np.float32)
        image = np.zeros((1, 3, height, width), np.float32)
        coarse = rng.normal(0, 1, (3, height // 16 + 1, width // 16 + 1)).repeat(16, 1).repeat(16, 2)
        image[0, :, :, : int(extent[0])] = coarse[:, :height, : int(extent[0])]
        memory = {key: np.abs(rng.normal(0, 1, shape)).astype(np.float32) for key, shape in detector.memory.items()}
        yield {"image": image + rng.normal(0, 0.1, image.shape).astype(np.float32), "extent": extent, **memory}


@torch.no_grad()
def check_graph(path: Path, detector: Detector) -> dict[str, float]:
    """Run a file with `INSIGHTS` in ONNX Runtime on the CPU and compare it with torch.

    Args:
        path: exported from an `Insight` of `detector`.
        detector: the truth, in evaluation mode.

    Returns:
        Output -> largest difference seen, relative to its magnitude (at least 1).

    Raises:
        ParityError: a value differs by more than `LIMIT`, is not finite, or too many choices differ.
    """
    try:
        session = Session(path, SessionConfig("cpu"))
    except ModelError as reason:
        raise ParityError(f"ONNX Runtime does not open the exported file: {reason}") from None
    worst: dict[str, float] = {}
    for given in examples(detector):
        got = session.run(given)
        for key, (mine, truth) in _pairs(detector, given, got).items():
            worst[key] = max(worst.get(key, 0.0), _difference(key, mine, truth))
    return worst


def _pairs(
    detector: Detector, given: Arrays, got: Mapping[str, NDArray[Any]]
) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """What ONNX Runtime found, and what torch says about the same proposals, rows and boxes."""
    theirs = {key: torch.from_numpy(value) for key, value in got.items()}
    extent = torch.from_numpy(given["extent"])
    found = detector.find(*(torch.from_numpy(given[key]) for key in detector.inputs))
    live, side = theirs["objectness"] >= 0, extent.max()
    mine = torch.cat([found.proposals / side, found.objectness[:, None]], 1)
    other = torch.cat([theirs["all_proposals"] / side, theirs["objectness"][:, None]], 1)[live]
    distance, nearest = torch.cdist(other, mine, p=float("inf")).min(1)
    same = distance <= _SAME
    _demand_shared("proposals", int(same.sum()), int(live.sum()), int((found.objectness >= 0).sum()))
    chances, boxes = detector.judge(found.maps, theirs["all_proposals"], theirs["objectness"], extent)
    pairs = {
        "objectness": (got["objectness"][live][same], found.objectness[nearest[same]].numpy()),
        "all_proposals": (got["all_proposals"][live][same], found.proposals[nearest[same]].numpy()),
        "chances": (got["chances"], chances.numpy()),
        "class_boxes": (got["class_boxes"], boxes.numpy()),
    }
    rows, labels = theirs["proposals"], theirs["labels"]
    chosen = [
        {(row, label) for row, label, score in zip(r.tolist(), k.tolist(), s.tolist(), strict=True) if score > 0}
        for _, s, k, r in (detector.choose(chances, boxes), (None, theirs["scores"], labels, rows))
    ]
    _demand_shared("detections", len(chosen[0] & chosen[1]), *map(len, chosen))
    scores = chances[rows, labels - 1] * (theirs["scores"] > 0)
    twin = found._replace(
        proposals=theirs["all_proposals"], objectness=theirs["objectness"], chances=chances, class_boxes=boxes,
        boxes=boxes[rows, labels - 1], scores=scores, labels=labels, rows=rows, masks=theirs["masks"],
    )  # fmt: skip
    told = dict(zip(detector.outputs, detector.tell(twin), strict=True))
    told["masks"] = detector.draw(found.maps, theirs["boxes"], labels)  # heads after it may cut it at a threshold
    return pairs | {key: (got[key], value.numpy()) for key, value in told.items()}


def _demand_shared(what: str, common: int, *counts: int) -> None:
    if common < _SHARED * max(counts):
        raise ParityError(
            f"ONNX Runtime and torch have only {common} {what} in common, of {counts[0]} and {counts[1]}: not written"
        )


def _difference(key: str, mine: NDArray[Any], truth: NDArray[Any]) -> float:
    worst = relative_difference(key, mine, truth)
    if worst > LIMIT:
        raise ParityError(f"ONNX and torch differ by {worst:.1e} (limit {LIMIT:.0e}) in {key}: not written")
    return worst
