"""What both networks of this family share: flags, export, the comparison with torch, the card."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from exporters.deeplab.checkpoint import load_checkpoint
from exporters.deeplab.network import HEAD_STRIDE, STRIDE, DeepLab, Layout, initialise
from exporters.delivery import draft_file, parse_size, say
from exporters.parity import LIMIT, check_parity
from exporters.tracing import trace_graph
from tracker.errors import ConfigError
from tracker.formats.class_set import KITTI_STEP, MOTCHALLENGE_STEP
from tracker.models.card import ImageInput, ModelCard, Size

POSTPROCESSING = {"threshold": 0.1, "window": 13, "centres": 400, "homeless": "void"}
"""Of deeplab2's configurations; the window is in input pixels, where deeplab2 looks for centres."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Classes that a network was trained for, and the size of its crops."""

    names: tuple[str, ...]
    things: tuple[int, ...]
    size: Size


DATASETS = {
    "kitti-step": Dataset(KITTI_STEP.names, KITTI_STEP.things, (1249, 385)),
    "mot-step": Dataset(MOTCHALLENGE_STEP.names, MOTCHALLENGE_STEP.things, (1921, 1089)),
    "cityscapes": Dataset(KITTI_STEP.names, tuple(range(11, 19)), (2049, 1025)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this family."""
    parser.add_argument("--weights", type=Path, metavar="FILE.npz", help="variables of a deeplab2 checkpoint")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument(
        "--dataset", choices=sorted(DATASETS), default="kitti-step", help="whose classes (default %(default)s)"
    )
    parser.add_argument("--size", metavar="WxH", help="input size, 32 k + 1 each (default: the dataset's)")
    parser.add_argument(
        "--crop", metavar="WxH", help="training crops, which pooling depends on (default: the input size)"
    )
    parser.add_argument("--width", type=float, default=1.0, help="share of channels, of random weights (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of random weights (default %(default)s)")


def write_file(arguments: argparse.Namespace, command: str, *, motion: bool) -> int:
    """Make the file; `command` is what the user typed, for the card."""
    dataset = DATASETS[arguments.dataset]
    rule = {"least": STRIDE + 1, "step": STRIDE, "over": 1}
    size = dataset.size if arguments.size is None else parse_size("--size", arguments.size, **rule)
    crop = size if arguments.crop is None else parse_size("--crop", arguments.crop, **rule)
    if crop[0] > size[0] or crop[1] > size[1]:
        raise ConfigError(f"expected --crop within --size {size[0]}x{size[1]}, got {crop[0]}x{crop[1]}")
    if not 0 < arguments.width <= 1:
        raise ConfigError(f"expected --width in 0..1, got {arguments.width}")
    if arguments.weights is not None:
        network, digest = load_checkpoint(arguments.weights, motion=motion, crop=crop)
        source = f"exported by `{command}`"
    else:
        network = DeepLab(Layout(len(dataset.names), motion, arguments.width), crop).eval()
        initialise(network, arguments.seed)
        digest, source = "", f"random weights by `{command}`: it knows nothing"
    if network.layout.classes != len(dataset.names):
        raise ConfigError(f"{arguments.dataset} has {len(dataset.names)} classes, the weights {network.layout.classes}")
    card = describe(network.layout, dataset, size, source=source, digest=digest)
    name = f"{'motion' if motion else 'panoptic'}-deeplab-{size[0]}x{size[1]}.onnx"
    worst = write_model(network, card, arguments.output / name)
    say(f"{arguments.output / name}: largest difference between ONNX Runtime and torch, of an output's: {worst:.1e}")
    return 0


def describe(layout: Layout, dataset: Dataset, size: Size, *, source: str = "", digest: str = "") -> ModelCard:
    """The card: frames stand in the upper left corner as they are, beside them is grey; maps align their corners."""
    network = ("semantic", "heat", "offset", "previous_offset")
    state = {"previous_image": "previous_image", "previous_heat": "previous_heat"} if layout.motion else {}
    return ModelCard(
        family="motion-deeplab" if layout.motion else "panoptic",
        task="panoptic",
        class_names=dataset.names,
        thing_ids=dataset.things,
        image=ImageInput(name="image", size=size, scale=1 / 127.5, mean=(1.0,) * 3, resize="corner", pad=127.5),
        outputs={name: name for name in network[: 4 if layout.motion else 3]},
        stride=STRIDE,
        source=source,
        checkpoint_sha256=digest,
        facts={**POSTPROCESSING, "parts": HEAD_STRIDE, "corners": True, **state},
    )


def write_model(network: DeepLab, card: ModelCard, path: Path) -> float:
    """Export, compare with torch, write the card; a file at `path` is replaced only by one that passed.

    Returns:
        Largest difference seen, see `check_graph`.

    Raises:
        ParityError: ONNX Runtime and torch disagree; nothing is written.
    """
    assert card.image.size is not None
    with draft_file(path, card) as draft:
        export(network, card.image.size, draft)
        return check_graph(draft, network, card.image.size)


def export(network: DeepLab, size: Size, path: Path) -> None:
    """Write the bare graph of one input size."""
    given = [torch.from_numpy(array) for array in next(examples(network, size)).values()]
    trace_graph(network, given, path, network.inputs, network.outputs)


def check_graph(path: Path, network: DeepLab, size: Size, limit: float = LIMIT) -> float:
    """Run the file in ONNX Runtime on the CPU and compare every output with torch's, on some inputs.

    Returns:
        Largest difference, of an output's largest magnitude (at least 1).

    Raises:
        ParityError: a file that does not run, another shape, numbers not finite or that differ by more than `limit`.
    """

    @torch.no_grad()
    def run(*given: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return [tensor.numpy() for tensor in network(*(torch.from_numpy(array) for array in given))]

    return check_parity(path, run, [tuple(given.values()) for given in examples(network, size)], limit)


def examples(network: DeepLab, size: Size) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Inputs by name: noise, and a picture of patches that moves, with a heat of one spot."""
    rng = np.random.default_rng(0)
    width, height = size
    patches = rng.uniform(-1, 1, (1, 3, height // 16 + 1, width // 16 + 1)).repeat(16, 2).repeat(16, 3)
    patches = patches[:, :, :height, :width]
    yy, xx = np.mgrid[:height, :width]
    spot = np.exp(-((yy - height / 2) ** 2 + (xx - width / 2) ** 2) / 128)[None, None]
    noise = rng.uniform(-1, 1, (2, 1, 3, height, width))
    for values in (
        (noise[0], noise[1], rng.uniform(0, 1, (1, 1, height, width))),
        (patches, np.roll(patches, (3, -8), (2, 3)), spot),
    ):
        yield {name: array.astype(np.float32) for name, array in zip(network.inputs, values, strict=False)}
