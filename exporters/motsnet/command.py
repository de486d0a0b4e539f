"""`python -m exporters motsnet`: a snapshot with seamseg's names, with or without a tracking head, as one ONNX graph.

Without a tracking head the graph has no identity vectors of its own: add `--features 2`, and `tracker run --reid
mask-pooling` pools them from that map, or `--no-head`. Nothing is written where ONNX Runtime and torch disagree, or
where the snapshot holds other tensors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from exporters.delivery import parse_size, say, say_worst
from exporters.maskrcnn.command import SMALLEST, write_detector
from exporters.motsnet.checkpoint import load_checkpoint
from exporters.motsnet.graph import POOLINGS, MotsnetDesign, MotsnetDetector
from tracker.errors import ConfigError
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
    parser.add_argument("-o", "--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--names", required=True, help="names of the thing classes in the order of the labels")
    parser.add_argument(
        "--size", default="1242x375", help="input WIDTHxHEIGHT; frames are scaled to fit into it (default %(default)s)"
    )
    parser.add_argument("--proposals", type=int, default=design.proposals, help="regions looked at (%(default)s)")
    parser.add_argument("--detections", type=int, default=design.detections, help="at most so many (%(default)s)")
    parser.add_argument("--features", type=int, choices=range(2, 6), help="pyramid level that becomes an output, too")
    parser.add_argument(
        "--pooling", choices=POOLINGS, default=design.pooling,
        help="what of a region an identity vector sees: the cells of its mask, or all of the box (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--no-head", action="store_true", help="identity vectors are pooled features, untransformed")
    parser.add_argument("--anchor-scale", type=float, help="anchors' side in strides (3 ratios: 8, 5 ratios: 2)")
    parser.add_argument("--colours", choices=list(COLOURS), default="vistas", help="normalisation (%(default)s)")
    parser.add_argument(
        "--plain-abn", action="store_true", help="trained with ABN, which takes weights as they are, not InPlaceABN"
    )


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the file; `command` is what the user typed, for the card."""
    design = MotsnetDesign(
        size=parse_size("--size", arguments.size, least=SMALLEST), proposals=arguments.proposals,
        detections=arguments.detections,
        features=arguments.features, pooling=arguments.pooling, head=not arguments.no_head,
        anchor_scale=arguments.anchor_scale,
    )  # fmt: skip
    network, digest, passed = load_checkpoint(arguments.weights, inplace=not arguments.plain_abn)
    detector = MotsnetDetector(network, design)
    names = tuple(arguments.names.split(","))
    card = describe(detector, names, arguments.colours, source=f"exported by `{command}`", digest=digest)
    worst = write_detector(detector, arguments.output, card)
    if passed:
        say(f"{arguments.weights}: {passed} tensors of a semantic head were passed over")
    if "embeddings" not in detector.outputs:
        say(f"{arguments.output}: no tracking head, no identity vectors; --no-head or --features 2 give some")
    say_worst(arguments.output, worst)
    return 0


def describe(
    detector: MotsnetDetector, names: tuple[str, ...], colours: str = "vistas", *, source: str, digest: str
) -> ModelCard:
    """The card of an exported graph, which the family `maskrcnn` opens.

    Raises:
        ConfigError: not as many names as the network has classes.
    """
    design, count = detector.design, detector.network.layout.classes
    if len(names) != count:
        raise ConfigError(f"expected --names with the {count} class names of this snapshot, got {len(names)}")
    mean, std = COLOURS[colours]
    return ModelCard(
        family="maskrcnn",
        task="segment",
        class_names=names,
        image=ImageInput(name="image", size=design.size, mean=mean, std=std, resize="letterbox-corner"),
        outputs={key: key for key in detector.outputs},
        source=source,
        checkpoint_sha256=digest,
        facts={
            "class_ids": list(range(1, count + 1)), "min_score": design.min_score, "nms_iou": design.nms,
            "detections": design.detections, "pooling": design.pooling, "tracking_head": design.head,
        },
    )  # fmt: skip
