"""`python -m exporters trackrcnn`: a numpy dump of TrackR-CNN's weights as one ONNX graph with memory.

See `exporters/trackrcnn/checkpoint.py` for how a dump is made. The temporal part becomes the step of a stream: 3D
convolutions see the two frames before and no later one, LSTMs go on with their state. Nothing is written where ONNX
Runtime and torch disagree, or where the dump holds other tensors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from exporters.delivery import say_worst
from exporters.maskrcnn.delivery import add_design_arguments, describe_detector, read_design, write_model
from exporters.trackrcnn.checkpoint import load_checkpoint
from exporters.trackrcnn.graph import AFTER, TrackDesign, TrackDetector
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD, ImageInput, ModelCard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this family."""
    parser.add_argument("--weights", type=Path, required=True, help="a .npz with one array for each tensor")
    parser.add_argument(
        "--names", default="car,pedestrian",
        help="class names in the order of the labels, with commas (default %(default)s)",
    )  # fmt: skip
    add_design_arguments(parser, TrackDesign(), "frames are stretched to it")
    parser.add_argument("--features", action="store_true", help="the heads' map becomes an output, too")


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the file; `command` is what the user typed, for the card."""
    design = TrackDesign(**read_design(arguments), features=TrackDetector.first_level if arguments.features else None)
    network, digest = load_checkpoint(arguments.weights)
    detector = TrackDetector(network, design)
    card = describe(detector, arguments.names.split(","), f"exported by `{command}`", digest)
    say_worst(arguments.output, write_model(detector, arguments.output, card))
    return 0


def describe(detector: TrackDetector, names: Sequence[str], source: str, digest: str) -> ModelCard:
    """The card of an exported graph.

    Raises:
        ConfigError: not as many names as the network has classes.
    """
    image = ImageInput(name="image", size=detector.design.size, mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="stretch")
    return describe_detector(
        detector, "trackrcnn", names, image, source=source, digest=digest,
        temporal=detector.network.layout.temporal, memory={name: f"{name}{AFTER}" for name in detector.memory},
    )  # fmt: skip
