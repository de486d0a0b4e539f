"""`python -m exporters maskrcnn`: a Mask R-CNN checkpoint with torchvision's names as one ONNX graph.

Nothing is written where ONNX Runtime and torch disagree, or where the checkpoint holds other tensors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from exporters.delivery import say_worst
from exporters.maskrcnn.checkpoint import load_checkpoint
from exporters.maskrcnn.delivery import add_design_arguments, describe_detector, read_design, write_model
from exporters.maskrcnn.graph import Design, Detector
from tracker.errors import ConfigError
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD, ImageInput, ModelCard
from tracker.models.coco import COCO_CLASSES, COCO_IDS
from tracker.models.registry import find
from tracker.models.registry.download import pull

PUBLISHED = {
    "maskrcnn_resnet50_fpn": "torchvision-maskrcnn",
    "maskrcnn_resnet50_fpn_v2": "torchvision-maskrcnn-v2",
}
"""torchvision's name -> entry of the model registry, which pins address and SHA-256."""

_SCHEME = "torchvision:"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this family."""
    parser.add_argument(
        "--weights", required=True, metavar="FILE|NAME",
        help=f"a .pth file, or one of {', '.join(_SCHEME + name for name in PUBLISHED)}: fetched, pinned by SHA-256",
    )  # fmt: skip
    add_design_arguments(parser, Design(), "frames are scaled to fit into it")
    parser.add_argument("--names", help="class names in the order of the labels, with commas; COCO's for 91 classes")
    parser.add_argument(
        "--features", type=int, choices=range(2, 6), help="pyramid level that becomes an output named `features`"
    )
    parser.add_argument("--offline", action="store_true", help="take named weights from the cache only")


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the file; `command` is what the user typed, for the card."""
    design = Design(**read_design(arguments), features=arguments.features)
    path, licence = locate(arguments.weights, offline=arguments.offline)
    network, digest = load_checkpoint(path)
    detector = Detector(network, design)
    names = arguments.names.split(",") if arguments.names else ()
    card = describe(detector, names, licence=licence, source=f"exported by `{command}`", digest=digest)
    say_worst(arguments.output, write_model(detector, arguments.output, card))
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


def describe(detector: Detector, names: Sequence[str], *, licence: str = "", source: str, digest: str) -> ModelCard:
    """The card of an exported graph; a network of COCO's 91 classes needs no names.

    Raises:
        ConfigError: names are needed, or not as many as the network has classes.
    """
    image = ImageInput(
        name="image", size=detector.design.size, mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="letterbox-corner"
    )
    coco = not names and detector.class_count == max(COCO_IDS)
    return describe_detector(
        detector, "maskrcnn", COCO_CLASSES if coco else names, image, ids=COCO_IDS if coco else None, licence=licence,
        source=source, digest=digest,
    )  # fmt: skip
