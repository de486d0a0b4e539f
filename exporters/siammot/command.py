"""`python -m exporters siammot`: a SiamMOT (DLA-34) as four ONNX graphs in a folder.

From an official checkpoint, which has the explicit track head; or, with --train, a small one trained on rendered
streets with both heads, in the folders `emm` and `imm`: 40 minutes of optimisation by default on two CPU cores. Nothing
is written where ONNX Runtime and torch disagree, or where the checkpoint holds other tensors.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx
import torch

from exporters import delivery
from exporters.delivery import draft_folder, parse_size, say, say_worst
from exporters.scenes import MOMENTS, fill_pool
from exporters.siammot.agreement import check_graphs, examples
from exporters.siammot.checkpoint import load_checkpoint
from exporters.siammot.dla import STRIDES
from exporters.siammot.graphs import GRAPHS
from exporters.siammot.network import WINDOWS, Design, SiamMot
from exporters.siammot.operators import DOMAIN, unroll_correlation
from exporters.siammot.quality import measure, validation_steps
from exporters.siammot.small import CLASSES, Recipe, TwoHeads, load_weights
from exporters.siammot.training import train
from exporters.tracing import trace_graph
from tracker.errors import ConfigError
from tracker.models import open_model
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD, ImageInput, ModelCard, write_card
from tracker.models.siammot.graphs import SiamMotGraphs

HOST = {
    "proposal_nms": 0.7, "proposals": 300, "min_score": 0.05, "detection_nms": 0.5, "strides": list(STRIDES),
}  # fmt: skip
"""Thresholds of the authors' configuration that the host applies; they travel in the cards."""
OF_HEAD = ("template", "motion")
"""Graphs that know the track head; the others are the same file for both heads of one network."""
SEEN = ("ap50", "recall")
"""Figures of those others."""
SOURCE = (
    "trained by `{command}` on rendered frames of tracker.sources.street only: "
    "it knows that synthetic street and nothing of the real world"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this family."""
    design, recipe = Design(size=(1280, 704)), Recipe()
    parser.add_argument("--checkpoint", type=Path, help="official .pth file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write; made if missing")
    parser.add_argument("--size", default="1280x704", help="input WIDTHxHEIGHT, multiples of 32 (default %(default)s)")
    parser.add_argument(
        "--motion", choices=sorted(GRAPHS), default="emm",
        help="track head of the checkpoint: explicit or implicit; official ones are explicit (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--amodal", action="store_true", help="boxes may leave the image (the authors' MOT17 models)")
    parser.add_argument(
        "--window", choices=WINDOWS, default=design.window,
        help="Hann window over the search region: mixed in as in the authors' code, or a factor as in the paper "
        "(default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--window-weight", type=float, default=design.window_weight, help="share of the window (default %(default)s)"
    )
    parser.add_argument(
        "--fp16", action="store_true", help="layers compute in float16, for GPUs; maps and boxes stay float32"
    )
    parser.add_argument("--no-centerness", action="store_true", help="choose places by visibility alone")
    small = parser.add_argument_group("a small network of the synthetic street")
    small.add_argument("--train", action="store_true", help="train it; needs none of the flags above but -o")
    small.add_argument("--start", type=Path, help="train on from this file of --save-checkpoint")
    small.add_argument("--weights", type=Path, help="export this file of --save-checkpoint instead of training")
    small.add_argument("--minutes", type=float, default=recipe.minutes, help="time to optimise (default %(default)s)")
    small.add_argument("--steps", type=int, help="optimise for this many steps, whatever time that takes")
    small.add_argument("--seed", type=int, default=recipe.seed, help="of weights and samples (default %(default)s)")
    small.add_argument("--threads", type=int, default=recipe.threads, help="CPU threads (default %(default)s)")
    small.add_argument("--device", default=recipe.device, help="of torch, such as cuda (default %(default)s)")
    small.add_argument("--frames", type=int, default=800, help="pairs of frames to render (default %(default)s)")
    small.add_argument("--cache", type=Path, help="folder that keeps the rendered frames (default: a temporary one)")
    small.add_argument("--save-checkpoint", type=Path, help="also keep the torch weights here")


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the folder; `command` is what the user typed, for the cards."""
    if arguments.train + (arguments.checkpoint is not None) + (arguments.weights is not None) != 1:
        raise ConfigError("give one of --train, --weights FILE and --checkpoint FILE")
    if arguments.start is not None and not arguments.train:
        raise ConfigError("--start says where --train begins; give both")
    if arguments.train:
        return _train(arguments, command)
    if arguments.weights is not None:
        model = TwoHeads(Recipe())
        load_weights(model, arguments.weights)
        write_both(model.eval(), arguments.output, SOURCE.format(command=command))
        return 0
    if not 0 <= arguments.window_weight <= 1:
        raise ConfigError(f"expected --window-weight in 0..1, got {arguments.window_weight}")
    design = Design(
        size=parse_size("--size", arguments.size, least=64, step=32), amodal=arguments.amodal,
        window=arguments.window, window_weight=arguments.window_weight, centerness=not arguments.no_centerness,
    )  # fmt: skip
    network = SiamMot(motion=arguments.motion)
    digest = load_checkpoint(arguments.checkpoint, network)
    if arguments.fp16:
        network.halve()
    say_worst(arguments.output, write_models(network, design, arguments.output, f"exported by `{command}`", digest))
    return 0


def _train(arguments: argparse.Namespace, command: str) -> int:
    counts = (arguments.frames, arguments.threads, 1 if arguments.steps is None else arguments.steps)
    if arguments.minutes <= 0 or min(counts) < 1 or not 0 <= arguments.seed < 1000:
        raise ConfigError("expected --minutes > 0, --steps, --frames and --threads >= 1, and --seed in 0..999")
    recipe = Recipe(
        minutes=arguments.minutes, steps=arguments.steps, seed=arguments.seed, threads=arguments.threads,
        device=arguments.device, start=arguments.start,
    )  # fmt: skip
    if recipe.start is not None:
        load_weights(TwoHeads(recipe), recipe.start)  # a wrong file is found before all the rendering
    with tempfile.TemporaryDirectory(prefix="siammot-") as folder:
        model = train_on_streets(recipe, arguments.frames, arguments.cache or Path(folder))
    if arguments.save_checkpoint is not None:
        torch.save(model.state_dict(), arguments.save_checkpoint)
    write_both(model, arguments.output, SOURCE.format(command=command))
    return 0


def train_on_streets(recipe: Recipe, frames: int, cache: Path) -> TwoHeads:
    """Render, then train; progress goes to stderr."""
    began = time.monotonic()

    def rendered(done: int) -> None:
        if done % 200 < MOMENTS or done == frames:
            say(f"{done} of {frames} pairs of frames rendered, {time.monotonic() - began:.0f} s")

    return train(fill_pool(cache, frames, recipe.seed, recipe.threads, rendered), recipe, say)


def write_both(model: TwoHeads, folder: Path, source: str) -> dict[str, dict[str, float]]:
    """Export a trained network with either head, measured on the validation streets, to `emm` and `imm` in a folder.

    Returns:
        Head -> figures in its cards, see `quality.Quality`.

    Raises:
        ParityError: see `write_models`.
    """
    networks, steps, digest = model.networks(), list(validation_steps()), hashlib.sha256()
    out: dict[str, dict[str, float]] = {}
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())

    for motion, network in networks.items():

        def facts(draft: Path, motion: str = motion) -> Mapping[str, Mapping[str, Any]]:
            opened = open_model(draft, "siammot", "cpu")
            assert isinstance(opened, SiamMotGraphs)
            out[motion] = measure(opened, steps)
            seen = {name: out[motion][name] for name in SEEN}
            return {name: {"validation": out[motion] if name in OF_HEAD else seen} for name in GRAPHS[motion]}

        own, beside = folder / motion, folder / "emm" if motion != "emm" else None
        worst = write_models(
            network, model.recipe.design, own, source, digest.hexdigest(), CLASSES, "Apache-2.0", facts, beside
        )
        say_worst(own, worst)
        say(f"{own}: {sum(file.stat().st_size for file in own.iterdir())} bytes, on held-out streets {out[motion]}")
    return out


def write_models(
    network: SiamMot,
    design: Design,
    folder: Path,
    source: str,
    digest: str,
    class_names: tuple[str, ...] = ("person",),
    licence: str = "",
    measured: Callable[[Path], Mapping[str, Mapping[str, Any]]] | None = None,
    beside: Path | None = None,
) -> dict[str, float]:
    """Export all graphs, compare them with torch, write the cards; all or nothing.

    Args:
        network: in any mode; it is left in evaluation mode.
        design: what is not in the weights.
        folder: gets `trunk.onnx`, `boxes.onnx`, `template.onnx`, `motion.onnx`; files there are replaced only by ones
            that passed.
        source: for the cards.
        digest: SHA-256 of the checkpoint; the host refuses graphs of different ones.
        class_names: for the cards, without background.
        licence: for the cards.
        measured: graph -> more facts for its card, from a folder with the finished graphs.
        beside: folder of the same network with another head: its other graphs are taken over, so that they are the same
            files, which torch's exporter does not promise.

    Returns:
        Graph -> largest difference seen, see `check_graphs`.

    Raises:
        ParityError: ONNX Runtime and torch disagree; nothing is written.
    """
    network.eval()
    with draft_folder(folder) as draft:
        graphs, inputs = GRAPHS[network.motion], {}
        truth = copy.deepcopy(network).float() if network.halved else network
        for name, given in examples(truth, design):
            inputs.setdefault(name, given)  # the first ones have regions on every level
        for name in graphs:
            if beside is not None and name not in OF_HEAD:
                shutil.copyfile(beside / f"{name}.onnx", draft / f"{name}.onnx")
            else:
                export(name, network, design, inputs[name], draft / f"{name}.onnx")
        worst = check_graphs(draft, truth, design, half=network.halved)
        cards = {name: describe(name, design, source, digest, network, class_names, licence) for name in graphs}
        for name, card in cards.items():
            write_card(draft / f"{name}.onnx", card)
        if measured is not None:
            more = measured(draft)
            for name, card in cards.items():
                write_card(draft / f"{name}.onnx", replace(card, facts={**card.facts, **more[name]}))
    return worst


def export(name: str, network: SiamMot, design: Design, inputs: dict[str, Any], path: Path) -> None:
    """Write one bare graph; the number of targets is free, the size of the image is not."""
    graph = GRAPHS[network.motion][name](network, design)
    free = [key for key in (*graph.inputs, *graph.outputs) if name != "trunk" and not key.startswith("p")]
    correlates = name == "motion" and network.motion == "emm"
    trace_graph(
        graph, [torch.from_numpy(inputs[key]) for key in graph.inputs], path, graph.inputs, graph.outputs,
        dynamic_axes={key: {0: _axis(key)} for key in free}, custom_opsets={DOMAIN: 1} if correlates else None,
    )  # fmt: skip
    if correlates:
        model = onnx.load(path)
        unroll_correlation(model, network.track.cls.in_channels, design.response, half=network.halved)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def _axis(key: str) -> str:
    """Name of the free dimension of an input or output."""
    own = key.startswith("rois") or key in ("before", "kept", "templates")
    return key if own else "targets"


def describe(
    name: str,
    design: Design,
    source: str,
    digest: str,
    network: SiamMot,
    class_names: tuple[str, ...] = ("person",),
    licence: str = "",
) -> ModelCard:
    """The card of one graph; its facts say which set it belongs to and what the host needs."""
    graph = GRAPHS[network.motion][name]
    choices = {key: value for key, value in asdict(design).items() if key != "size"}
    own: dict[str, Any] = {"half": network.halved, "level_counts": list(design.level_counts)}
    if name in OF_HEAD:
        own["motion"] = network.motion
    return ModelCard(
        family="siammot",
        task=name,
        class_names=class_names,
        image=ImageInput(name="image", size=design.size, mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="stretch"),
        outputs={key: key for key in graph.outputs},
        stride=32,
        licence=licence,
        source=source,
        checkpoint_sha256=digest,
        facts={**own, **choices, **HOST},
    )


def typed(words: list[str]) -> str:
    """The command line as it belongs into the cards: without what else was kept, which changes nothing."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--cache", "--save-checkpoint"):
        parser.add_argument(flag)
    return delivery.typed(parser.parse_known_args(words)[1])
