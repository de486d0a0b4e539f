"""What the commands of Mask R-CNN, MOTSNet and TrackR-CNN do alike: flags, card, and a file that torch agrees with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from exporters.delivery import draft_file, parse_size
from exporters.maskrcnn.agreement import INSIGHTS, Insight, check_graph, examples
from exporters.maskrcnn.graph import Design, Detector
from exporters.tracing import trace_graph
from tracker.errors import ConfigError
from tracker.models.card import ImageInput, ModelCard

SMALLEST = 64
"""Least width and height of an input."""


def add_design_arguments(parser: argparse.ArgumentParser, design: Design, frames: str) -> None:
    """Flags of every design, with its defaults; `frames` says what becomes of frames of another size."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx", help="file to write")
    parser.add_argument(
        "--size",
        metavar="WxH",
        default="{}x{}".format(*design.size),
        help=f"input size; {frames} (default %(default)s)",
    )
    parser.add_argument(
        "--proposals", type=int, default=design.proposals, metavar="N",
        help="regions that the box head looks at: fewer are quicker (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--detections", type=int, default=design.detections, metavar="N", help="at most so many (default %(default)s)"
    )


def read_design(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_design_arguments` added, as arguments of a `Design`.

    Raises:
        ConfigError: a size that is none, or too small.
    """
    size = parse_size("--size", arguments.size, least=SMALLEST)
    return {"size": size, "proposals": arguments.proposals, "detections": arguments.detections}


def describe_detector(
    detector: Detector, family: str, names: Sequence[str], image: ImageInput, *, ids: Sequence[int] | None = None,
    licence: str = "", source: str, digest: str, **facts: Any,
) -> ModelCard:  # fmt: skip
    """The card of an exported graph.

    Args:
        detector: what is exported.
        family: that opens it in the engine.
        names: of the classes, in the order of the labels.
        image: its input.
        ids: of the classes in its dataset; 1, 2, 3 ... by default.
        licence: of the weights.
        source: where the graph comes from.
        digest: SHA-256 of the checkpoint.
        facts: more of them.

    Raises:
        ConfigError: not as many names as the network has classes.
    """
    design, ids = detector.design, list(range(1, detector.class_count + 1)) if ids is None else list(ids)
    if len(names) != len(ids):
        raise ConfigError(
            f"expected --names with the {len(ids)} class names of this checkpoint, got {len(names) or 'none'}"
        )
    return ModelCard(
        family=family,
        task="segment",
        class_names=tuple(names),
        image=image,
        outputs={name: name for name in detector.outputs},
        licence=licence,
        source=source,
        checkpoint_sha256=digest,
        facts={
            "class_ids": ids, "min_score": design.min_score, "nms_iou": design.nms, "detections": design.detections,
            **facts,
        },
    )  # fmt: skip


def write_model(detector: Detector, path: Path, card: ModelCard) -> dict[str, float]:
    """Export the graph, compare it with torch, write the card; all or nothing.

    Args:
        detector: in any mode; it is left in evaluation mode.
        path: replaced only by a file that passed.
        card: of the graph.

    Returns:
        Output -> largest difference seen, see `check_graph`.

    Raises:
        ParityError: ONNX Runtime and torch disagree; nothing is written.
    """
    detector.eval()
    with draft_file(path, card) as draft:
        export(detector, draft)
        worst = check_graph(draft, detector)
        drop_outputs(draft, INSIGHTS)
    return worst


def export(detector: Detector, path: Path) -> None:
    """Write the bare graph with its `INSIGHTS`; the number of rows is free, the size of the image is not."""
    graph, given = Insight(detector), next(examples(detector))
    tensors = [torch.from_numpy(given[key]) for key in graph.inputs]
    axes = {key: {0: "rows"} for key in detector.outputs if key not in detector.fixed}
    trace_graph(graph, tensors, path, graph.inputs, graph.outputs, dynamic_axes=axes)


def drop_outputs(path: Path, names: tuple[str, ...]) -> None:
    """Take outputs from a graph; what computes them stays, as other outputs need it."""
    model = onnx.load(path)
    kept = [output for output in model.graph.output if output.name not in names]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.checker.check_model(model)
    onnx.save(model, path)
