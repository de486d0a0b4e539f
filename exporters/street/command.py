"""`python -m exporters street`: train the embedded network on rendered streets, export it, prove it, describe it.

The file knows the synthetic street and nothing else; its card says so. Training stops by the clock: 22 minutes of
optimisation by default, plus the rendering of the frames, on two CPU cores. `--start` goes on from the weights of an
earlier file, also from one that knew no picture before and no identities, which takes about half of that.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from exporters import delivery
from exporters.checkpoint import load_state, read_checkpoint
from exporters.delivery import draft_file, say
from exporters.parity import check_parity
from exporters.scenes import MOMENTS, fill_pool
from exporters.street.network import Maps, StreetNet
from exporters.street.training import MEAN, STD, Recipe, train
from exporters.street.validation import measure, validation_moments
from exporters.street.warm_start import load_weights
from exporters.tracing import trace_graph
from tracker.errors import ConfigError
from tracker.models import open_model
from tracker.models.card import ImageInput, ModelCard, write_card
from tracker.models.panoptic_video import PanopticVideoNet
from tracker.sources.street import STREET_CLASSES

INPUTS = ("image", "previous")
OUTPUTS = {"semantic": "semantic", "heat": "heat", "offset": "offset", "motion": "motion", "features": "embedding"}
"""Meaning in the card -> field of `Maps`, which is the output's name."""
FUSION = {"threshold": 0.1, "window": 9, "centres": 200, "reach": 20.0, "min_area": 40, "homeless": "stuff"}
SOURCE = (
    "trained by `{command}` on rendered frames of tracker.sources.street only: "
    "it knows that synthetic street and nothing of the real world"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this family."""
    recipe = Recipe()
    parser.add_argument("--train", action="store_true", help="train; needs no checkpoint")
    parser.add_argument(
        "--start", type=Path, metavar="FILE.onnx", help="train on from this file instead of from nothing"
    )
    parser.add_argument("--checkpoint", type=Path, help="export this file of weights instead of training")
    parser.add_argument("-o", "--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--minutes", type=float, default=recipe.minutes, help="time to optimise (default %(default)s)")
    parser.add_argument("--steps", type=int, help="optimise for this many steps, whatever time that takes")
    parser.add_argument("--seed", type=int, default=recipe.seed, help="of weights, scenes, order (default %(default)s)")
    parser.add_argument("--threads", type=int, default=recipe.threads, help="CPU threads (default %(default)s)")
    parser.add_argument("--frames", type=int, default=1200, help="pairs of frames to render (default %(default)s)")
    parser.add_argument("--cache", type=Path, help="folder that keeps the rendered frames (default: a temporary one)")
    parser.add_argument("--save-checkpoint", type=Path, help="also keep the torch weights here")


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the file; `command` is what the user typed, for the card."""
    recipe = read_recipe(arguments)
    if arguments.train:
        with tempfile.TemporaryDirectory(prefix="street-") as folder:
            network = train_on_streets(recipe, arguments.frames, arguments.cache or Path(folder))
        source = SOURCE.format(command=command)
    else:
        network, source = load_network(arguments.checkpoint), f"exported by `{command}`"
    if arguments.save_checkpoint is not None:
        torch.save(network.state_dict(), arguments.save_checkpoint)
    figures = write_model(network, recipe, arguments.output, source)
    say(f"{arguments.output}: {arguments.output.stat().st_size} bytes, on held-out streets {figures}")
    return 0


def read_recipe(arguments: argparse.Namespace) -> Recipe:
    """What was typed, checked before minutes go by.

    Raises:
        ConfigError: numbers that make no sense, or flags that contradict each other.
        ModelError: `--start` is not a file to start from.
    """
    if arguments.train == (arguments.checkpoint is not None):
        raise ConfigError("give either --train or --checkpoint FILE")
    if arguments.start is not None and not arguments.train:
        raise ConfigError("--start says where --train begins; give both")
    counts = (arguments.frames, arguments.threads, 1 if arguments.steps is None else arguments.steps)
    if arguments.minutes <= 0 or min(counts) < 1 or not 0 <= arguments.seed < 1000:
        raise ConfigError("expected --minutes > 0, --steps, --frames and --threads >= 1, and --seed in 0..999")
    if arguments.start is not None:
        load_weights(StreetNet(len(STREET_CLASSES)), arguments.start)
    return Recipe(
        minutes=arguments.minutes, steps=arguments.steps, seed=arguments.seed, threads=arguments.threads,
        start=arguments.start,
    )  # fmt: skip


def load_network(path: Path) -> StreetNet:
    """The network whose weights `--save-checkpoint` kept.

    Raises:
        ConfigError: no such file, or tensors that are missing, unknown or of another shape: all are named.
    """
    state, _ = read_checkpoint(path)
    network = StreetNet(len(STREET_CLASSES))
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ConfigError(f"expected a dict of tensors in {path}, as --save-checkpoint writes it")
    try:
        load_state(state, network)
    except ConfigError as reason:
        raise ConfigError(f"{path} does not hold the weights of a StreetNet: {reason}") from None
    return network


def train_on_streets(recipe: Recipe, frames: int, cache: Path) -> StreetNet:
    """Render, then train; progress goes to stderr."""
    began = time.monotonic()

    def rendered(done: int) -> None:
        if done % 200 < MOMENTS or done == frames:
            say(f"{done} of {frames} pairs of frames rendered, {time.monotonic() - began:.0f} s")

    pool = fill_pool(cache, frames, recipe.seed, recipe.threads, rendered)
    return train(pool, recipe, say)


def write_model(network: StreetNet, recipe: Recipe, path: Path, source: str) -> dict[str, float]:
    """Export, check against torch, measure on the validation streets, and write the card; all or nothing.

    Args:
        network: in any mode; it is left in evaluation mode.
        recipe: says the input's size.
        path: ONNX file, replaced only by a file that passed.
        source: for the card.

    Returns:
        The figures in the card.

    Raises:
        ParityError: ONNX Runtime and torch disagree; nothing is written.
    """
    with draft_file(path) as draft:
        export(network, recipe.size, draft)
        card = describe(network, recipe, source)
        write_card(draft, card)
        moments = list(validation_moments())
        model = open_model(draft, device="cpu")
        pairs = [
            tuple(model.preprocess(scene.image).tensors["image"] for scene in (moment.scene, moment.before))
            for moment in moments[::15]
        ]
        noise = np.random.default_rng(0).uniform(-2, 2, (2, 2, *pairs[0][0].shape)).astype(np.float32)
        worst = check_parity(draft, lambda *given: run(network, *given), [*pairs, *map(tuple, noise)])
        say(f"largest difference between ONNX Runtime and torch: {worst:.1e} of an output's magnitude")
        figures = measure(model, moments).figures()
        write_card(draft, replace(card, facts={**card.facts, "validation": figures}))
    return figures


def describe(network: StreetNet, recipe: Recipe, source: str) -> ModelCard:
    """The card of an exported network, still without its figures."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    image = ImageInput(name="image", size=recipe.size, mean=(MEAN / 255,) * 3, std=(STD / 255,) * 3, resize="stretch")
    return ModelCard(
        family=PanopticVideoNet.family,
        task="panoptic",
        class_names=tuple(STREET_CLASSES),
        thing_ids=tuple(STREET_CLASSES.index(name) for name in ("person", "car")),
        image=image,
        outputs=OUTPUTS,
        stride=16,
        licence="Apache-2.0",
        source=source,
        checkpoint_sha256=digest.hexdigest(),
        facts={**FUSION, "previous_image": "previous"},
    )


def export(network: StreetNet, size: tuple[int, int], path: Path) -> None:
    """Write the bare graph: batch 1, fixed size, batch normalisation folded into the convolutions."""
    image = torch.zeros(1, 3, size[1], size[0])
    trace_graph(network, (image, image), path, INPUTS, Maps._fields)


@torch.no_grad()
def run(network: StreetNet, image: NDArray[np.float32], previous: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The torch network on one pair of input tensors, in evaluation mode."""
    return [output.numpy() for output in network.eval()(torch.from_numpy(image), torch.from_numpy(previous))]


def typed(words: list[str]) -> str:
    """The command line as it belongs into the card: without what else was kept, which changes nothing."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--cache", "--save-checkpoint"):
        parser.add_argument(flag)
    return delivery.typed(parser.parse_known_args(words)[1])
