"""Do the four ONNX graphs compute what torch computes? Graphs that do not are not kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exporters.parity import LIMIT, ParityError
from exporters.siammot.graphs import GRAPHS
from exporters.siammot.network import Design, SiamMot
from tracker.models.siammot.regions import by_level, levels_of, search_regions

Arrays = dict[str, NDArray[Any]]
TIE = 1e-5
"""Candidates whose scores differ by less may stand in another order."""
HALF_LIMIT = 5e-3
"""`LIMIT` and `TIE` of graphs that compute in float16, beside torch in float32."""
_BOX_SIDES = (20.0, 150.0, 280.0, 500.0)  # one box of each level


def check_graphs(folder: Path, network: SiamMot, design: Design, *, half: bool = False) -> dict[str, float]:
    """Run every graph in ONNX Runtime on the CPU, with no, one and many targets, and compare with torch.

    Args:
        folder: with `trunk.onnx` and so on.
        network: the truth.
        design: likewise.
        half: the graphs compute in float16, the network does not: torch on a CPU would take minutes.

    Returns:
        Graph -> the largest difference seen of an output, relative to its largest magnitude (at least 1).

    Raises:
        ParityError: a file that cannot be opened, other shapes, numbers that are not finite, or ones that differ by
            more than `LIMIT`.
    """
    limit, tie = (HALF_LIMIT, HALF_LIMIT) if half else (LIMIT, TIE)
    worst = dict.fromkeys(GRAPHS[network.motion], 0.0)
    sessions = {name: _open(folder / f"{name}.onnx") for name in worst}
    for name, given in examples(network, design):
        wanted = run(network, design, name, given)
        try:
            got = dict(zip(wanted, sessions[name].run(list(wanted), given), strict=True))
        except Exception as reason:  # ONNX Runtime has one exception class per status code and no common root
            raise ParityError(f"{name}.onnx fails in ONNX Runtime: {str(reason).splitlines()[0]}") from None
        worst[name] = max(worst[name], compare(name, got, wanted, design, tie))
        if worst[name] > limit:
            raise ParityError(
                f"{name}.onnx and torch differ by {worst[name]:.1e} (limit {limit:.0e}): nothing is written"
            )
    return worst


def examples(network: SiamMot, design: Design) -> Iterator[tuple[str, Arrays]]:
    """Graph and inputs: a noisy picture, then no, one and many targets, some of them outside it."""
    rng = np.random.default_rng(0)
    width, height = design.size
    coarse = rng.normal(0, 1, (1, 3, height // 16, width // 16)).repeat(16, 2).repeat(16, 3)
    image = (coarse + 0.3 * rng.normal(0, 1, coarse.shape)).astype(np.float32)
    yield "trunk", {"image": image}
    maps = run(network, design, "trunk", {"image": image})
    pyramid = {name: maps[name] for name in ("p2", "p3", "p4", "p5")}
    for count in (8, 1, 0):
        boxes = example_boxes(count, design.size, rng)
        levels = levels_of(boxes)
        regions = pyramid | _named(boxes, levels)
        yield "boxes", regions
        templates = run(network, design, "template", regions)["templates"]
        kept = np.arange(count // 2)[::-1].copy()
        yield "template", regions | {"before": templates, "kept": kept}
        search = pyramid | _named(search_regions(boxes, design.search_scale), levels)
        rows = np.roll(np.arange(count), 1)
        yield "motion", search | {"templates": np.roll(templates, -1, 0), "last_boxes": boxes, "rows": rows}


def example_boxes(count: int, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """(count, 4) boxes of all pyramid levels in turn, around places in the picture or just outside it."""
    sides = np.array([_BOX_SIDES[i % 4] for i in range(count)])[:, None] * rng.uniform(0.8, 1.2, (count, 2))
    middles = rng.uniform(-0.1, 1.1, (count, 2)) * size
    return np.concatenate([middles - sides / 2, middles + sides / 2], 1).astype(np.float32)


@torch.no_grad()
def run(network: SiamMot, design: Design, name: str, given: Arrays) -> Arrays:
    """One graph in torch: input arrays to output arrays, by name."""
    graph = GRAPHS[network.motion][name](network, design).eval()
    outputs = graph(*(torch.from_numpy(given[key]) for key in graph.inputs if key in given))
    return {key: tensor.numpy() for key, tensor in zip(graph.outputs, outputs, strict=True)}


def compare(name: str, got: Arrays, wanted: Arrays, design: Design, tie: float = TIE) -> float:
    """Largest relative difference of a graph's outputs."""
    worst = 0.0
    for key, truth in wanted.items():
        if got[key].shape != truth.shape:
            raise ParityError(f"{name}.onnx: expected {key} of shape {truth.shape}, got {got[key].shape}")
        if not np.isfinite(got[key]).all() or not np.isfinite(truth).all():
            raise ParityError(f"{name}.onnx: {key} is not finite")
        difference = np.abs(got[key] - truth)
        if key == "candidates":
            difference = _apart_from_order(got, wanted, design, tie)
        worst = max(worst, float(difference.max(initial=0) / max(1.0, float(np.abs(truth).max(initial=0)))))
    return worst


def _apart_from_order(got: Arrays, wanted: Arrays, design: Design, tie: float = TIE) -> NDArray[Any]:
    """How far each candidate is from the nearest of ours that scores the same; 0 for those at the end of a level."""
    out, begin = [], 0
    for count in design.level_counts:
        scores, boxes = wanted["objectness"][begin : begin + count], wanted["candidates"][begin : begin + count]
        theirs, found = got["objectness"][begin : begin + count], got["candidates"][begin : begin + count]
        low = np.searchsorted(-scores, -theirs - tie, "left")
        high = np.searchsorted(-scores, -theirs + tie, "right")
        for i in range(count):
            if theirs[i] > scores[-1] + tie:
                near = np.abs(boxes[low[i] : high[i]] - found[i]).max(1)
                out.append(near.min(initial=np.inf))
        begin += count
    return np.array(out)


def _named(boxes: NDArray[np.float32], levels: NDArray[np.int64]) -> Arrays:
    regions = by_level(boxes, levels)
    return {f"rois{i}": rois for i, rois in enumerate(regions.rois, 2)} | {"order": regions.order}


def _open(path: Path) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as reason:  # as above
        raise ParityError(f"ONNX Runtime does not open {path.name}: {str(reason).splitlines()[0]}") from None
