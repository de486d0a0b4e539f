"""`python -m exporters motsnet`: a snapshot with seamseg's names, with or without a tracking head, as one ONNX graph.

Without a tracking head the graph has no identity vectors of its own: add `--features 2`, and `tracker run --reid
mask-pooling` pools them from that map, or `--no-head`. Nothing is written where ONNX Runtime and torch disagree, or
where the snapshot holds other tensors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from exporters.delivery import say, say_worst
from exporters.maskrcnn.delivery import add_design_arguments, describe_detector, read_design, write_model
from exporters.motsnet.checkpoint import load_checkpoint
from exporters.motsnet.graph import POOLINGS, MotsnetDesign, MotsnetDetector
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD, ImageInput, ModelCard

COLOURS = {
    "vistas": ((0.41738699, 0.45732192, 0.46886091), (0.25685097, 0.26509955, 0.29067996)),
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
}
"""Mean and deviation of a network's input; seamseg's configurations for Vistas and Cityscapes say the first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this family."""
    design = MotsnetDesign()
    parser.add_argument("--weights", type=Path, required=True, help="a snapshot (.pth, .tar)")
    parser.add_argument(
        "--names", required=True, help="names of the thing classes in the order of the labels, with commas"
    )
    add_design_arguments(parser, design, "frames are scaled to fit into it")
    parser.add_argument("--features", type=int, choices=range(2, 6), help="pyramid level that becomes an output, too")
    parser.add_argument(
        "--pooling", choices=POOLINGS, default=design.pooling,
        help="what of a region an identity vector sees: the cells of its mask, or all of the box (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--no-head", action="store_true", help="identity vectors are pooled features, untransformed")
    parser.add_argument("--anchor-scale", type=float, help="anchors' side in strides (3 ratios: 8, 5 ratios: 2)")
    parser.add_argument(
        "--colours", choices=list(COLOURS), default="vistas", help="normalisation (default %(default)s)"
    )
    parser.add_argument(
        "--plain-abn", action="store_true", help="trained with ABN, which takes weights as they are, not InPlaceABN"
    )


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the file; `command` is what the user typed, for the card."""
    design = MotsnetDesign(
        **read_design(arguments), features=arguments.features, pooling=arguments.pooling, head=not arguments.no_head,
        anchor_scale=arguments.anchor_scale,
    )  # fmt: skip
    network, digest, passed = load_checkpoint(arguments.weights, inplace=not arguments.plain_abn)
    detector = MotsnetDetector(network, design)
    names, source = arguments.names.split(","), f"exported by `{command}`"
    worst = write_model(detector, arguments.output, describe(detector, names, arguments.colours, source, digest))
    if passed:
        say(f"{arguments.weights}: {passed} tensors of a semantic head were passed over")
    if "embeddings" not in detector.outputs:
        say(f"{arguments.output}: no tracking head, no identity vectors; --no-head or --features 2 give some")
    say_worst(arguments.output, worst)
    return 0


def describe(detector: MotsnetDetector, names: Sequence[str], colours: str, source: str, digest: str) -> ModelCard:
    """The card of an exported graph, which the family `maskrcnn` opens; `colours` is a row of `COLOURS`.

    Raises:
        ConfigError: not as many names as the network has classes.
    """
    design, (mean, std) = detector.design, COLOURS[colours]
    image = ImageInput(name="image", size=design.size, mean=mean, std=std, resize="letterbox-corner")
    return describe_detector(
        detector, "maskrcnn", names, image, source=source, digest=digest, pooling=design.pooling,
        tracking_head=design.head,
    )  # fmt: skip
