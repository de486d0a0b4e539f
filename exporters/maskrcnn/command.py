"""`python -m exporters maskrcnn`: a Mask R-CNN checkpoint with torchvision's names as one ONNX graph.

Nothing is written where ONNX Runtime and torch disagree, or where the checkpoint holds other tensors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
import torch

from exporters.delivery import draft_file, parse_size, say_worst
from exporters.maskrcnn.agreement import INSIGHTS, Insight, check_graph, examples
from exporters.maskrcnn.checkpoint import load_checkpoint
from exporters.maskrcnn.graph import Design, Detector
from exporters.maskrcnn.network import MaskRcnn
from exporters.tracing import trace_graph
from tracker.errors import ConfigError
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD, ImageInput, ModelCard
from tracker.models.coco import COCO_CLASSES, COCO_IDS
from tracker.models.download import pull
from tracker.models.registry import find

SMALLEST = 64
"""Least width and height of an input."""

PUBLISHED = {
    "maskrcnn_resnet50_fpn": "torchvision-maskrcnn",
    "maskrcnn_resnet50_fpn_v2": "torchvision-maskrcnn-v2",
}
"""torchvision's name -> entry of the model registry, which pins address and SHA-256."""

_SCHEME = "torchvision:"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this family."""
    design = Design()
    parser.add_argument(
        "--weights", required=True,
        help=f"a .pth file, or one of {', '.join(_SCHEME + name for name in PUBLISHED)}: fetched, pinned by SHA-256",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument(
        "--size", default="{}x{}".format(*design.size),
        help="input WIDTHxHEIGHT; frames are scaled to fit into it (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--names", help="class names in the order of the labels, with commas; COCO's for 91 classes")
    parser.add_argument(
        "--proposals", type=int, default=design.proposals,
        help="regions that the box head looks at: fewer are quicker (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--detections", type=int, default=design.detections, help="at most so many objects (default %(default)s)"
    )
    parser.add_argument(
        "--features", type=int, choices=range(2, 6), help="pyramid level that becomes an output named `features`"
    )
    parser.add_argument("--offline", action="store_true", help="take named weights from the cache only")


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the file; `command` is what the user typed, for the card."""
    design = Design(
        size=parse_size("--size", arguments.size, least=SMALLEST), proposals=arguments.proposals,
        detections=arguments.detections, features=arguments.features,
    )  # fmt: skip
    path, licence = locate(arguments.weights, offline=arguments.offline)
    network, digest = load_checkpoint(path)
    names = tuple(arguments.names.split(",")) if arguments.names else None
    card = describe(network, design, names, licence=licence, source=f"exported by `{command}`", digest=digest)
    say_worst(arguments.output, write_model(network, design, arguments.output, card))
    return 0


def locate(weights: str, *, offline: bool = False) -> tuple[Path, str]:
    """The checkpoint's file and its licence; `torchvision:NAME` is fetched into the cache where it is not there yet.

    Raises:
        ConfigError: no such published checkpoint.
        ModelError: it cannot be fetched, or has not the pinned SHA-256.
    """
    if not weights.startswith(_SCHEME):
        return Path(weights), ""
    name = weights.removeprefix(_SCHEME)
    if name not in PUBLISHED:
        raise ConfigError(f"expected weights of {', '.join(_SCHEME + known for known in PUBLISHED)}, got {weights!r}")
    entry = find(PUBLISHED[name])
    return pull(entry, offline=offline), entry.licence


def describe(
    network: MaskRcnn, design: Design, names: tuple[str, ...] | None, *, licence: str, source: str, digest: str
) -> ModelCard:
    """The card of an exported graph.

    Raises:
        ConfigError: names are needed, or not as many as the network has classes.
    """
    count = network.layout.classes - 1
    ids = list(range(1, count + 1))
    if names is None and count == max(COCO_IDS):
        names, ids = COCO_CLASSES, COCO_IDS
    if names is None or len(names) != len(ids):
        got = "none" if names is None else f"{len(names)}"
        raise ConfigError(f"expected --names with the {count} class names of this checkpoint, got {got}")
    outputs = Detector(network, design).outputs
    return ModelCard(
        family="maskrcnn",
        task="segment",
        class_names=names,
        image=ImageInput(
            name="image", size=design.size, mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="letterbox-corner"
        ),
        outputs={key: key for key in outputs},
        licence=licence,
        source=source,
        checkpoint_sha256=digest,
        facts={"class_ids": ids, "min_score": design.min_score, "nms_iou": design.nms, "detections": design.detections},
    )


def write_model(network: MaskRcnn, design: Design, path: Path, card: ModelCard) -> dict[str, float]:
    """Export the graph, compare it with torch, write the card; all or nothing.

    Args:
        network: in any mode; it is left in evaluation mode.
        design: what is not in the weights.
        path: replaced only by a file that passed.
        card: of the graph.

    Returns:
        Output -> largest difference seen, see `check_graph`.

    Raises:
        ParityError: ONNX Runtime and torch disagree; nothing is written.
    """
    return write_detector(Detector(network, design), path, card)


def write_detector(detector: Detector, path: Path, card: ModelCard) -> dict[str, float]:
    """As `write_model`, for a detector of any kind."""
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
