"""`python -m exporters trackrcnn`: a numpy dump of TrackR-CNN's weights as one ONNX graph with memory.

See `exporters/trackrcnn/checkpoint.py` for how a dump is made. The temporal part becomes the step of a stream: 3D
convolutions see the two frames before and no later one, LSTMs go on with their state. Nothing is written where ONNX
Runtime and torch disagree, or where the dump holds other tensors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from exporters.delivery import parse_size, say_worst
from exporters.maskrcnn.command import SMALLEST, write_detector
from exporters.trackrcnn.checkpoint import load_checkpoint
from exporters.trackrcnn.graph import AFTER, TrackDesign, TrackDetector
from tracker.errors import ConfigError
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD, ImageInput, ModelCard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this family."""
    design = TrackDesign()
    parser.add_argument("--weights", type=Path, required=True, help="a .npz with one array for each tensor")
    parser.add_argument("-o", "--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--names", default="car,pedestrian", help="class names, label 1 first (default %(default)s)")
    parser.add_argument(
        "--size", default="{}x{}".format(*design.size),
        help="input WIDTHxHEIGHT, which frames are stretched to (default %(default)s, KITTI)",
    )  # fmt: skip
    parser.add_argument("--proposals", type=int, default=design.proposals, help="regions looked at (%(default)s)")
    parser.add_argument("--detections", type=int, default=design.detections, help="at most so many (%(default)s)")
    parser.add_argument("--features", action="store_true", help="the heads' map becomes an output, too")


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the file; `command` is what the user typed, for the card."""
    design = TrackDesign(
        size=parse_size("--size", arguments.size, least=SMALLEST), proposals=arguments.proposals,
        detections=arguments.detections,
        features=4 if arguments.features else None,
    )  # fmt: skip
    network, digest = load_checkpoint(arguments.weights)
    detector = TrackDetector(network, design)
    names = tuple(arguments.names.split(","))
    card = describe(detector, names, source=f"exported by `{command}`", digest=digest)
    say_worst(arguments.output, write_detector(detector, arguments.output, card))
    return 0


def describe(detector: TrackDetector, names: tuple[str, ...], *, source: str, digest: str) -> ModelCard:
    """The card of an exported graph.

    Raises:
        ConfigError: not as many names as the network has classes.
    """
    design, layout = detector.design, detector.network.layout
    count = layout.classes - 1
    if len(names) != count:
        raise ConfigError(f"expected --names with the {count} class names of this dump, got {len(names)}")
    return ModelCard(
        family="trackrcnn",
        task="segment",
        class_names=names,
        image=ImageInput(name="image", size=design.size, mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="stretch"),
        outputs={key: key for key in detector.outputs},
        source=source,
        checkpoint_sha256=digest,
        facts={
            "class_ids": list(range(1, count + 1)), "min_score": design.min_score, "nms_iou": design.nms,
            "detections": design.detections, "temporal": layout.temporal,
            "memory": {name: f"{name}{AFTER}" for name in detector.memory},
        },
    )  # fmt: skip
