"""`python -m exporters siammot`: a SiamMOT checkpoint (DLA-34; official ones have EMM) as four ONNX graphs in a folder.

Nothing is written where ONNX Runtime and torch disagree, or where the checkpoint holds other tensors.
"""

from __future__ import annotations

import argparse
import copy
import os
import shlex
import shutil
import sys
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from exporters.siammot.agreement import check_graphs, examples
from exporters.siammot.checkpoint import load_checkpoint
from exporters.siammot.dla import STRIDES
from exporters.siammot.graphs import GRAPHS
from exporters.siammot.network import WINDOWS, Design, SiamMot
from exporters.siammot.operators import DOMAIN, unroll_correlation
from tracker.errors import ConfigError
from tracker.models.card import ImageInput, ModelCard, write_card

OPSET = 17
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HOST = {
    "proposal_nms": 0.7, "proposals": 300, "min_score": 0.05, "detection_nms": 0.5, "strides": list(STRIDES),
}  # fmt: skip
"""Thresholds of the authors' configuration that the host applies; they travel in the cards."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this family."""
    design = Design(size=(1280, 704))
    parser.add_argument("--checkpoint", type=Path, required=True, help="official .pth file")
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


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the folder; `command` is what the user typed, for the cards."""
    if not 0 <= arguments.window_weight <= 1:
        raise ConfigError(f"expected --window-weight in 0..1, got {arguments.window_weight}")
    design = Design(
        size=parse_size(arguments.size), amodal=arguments.amodal, window=arguments.window,
        window_weight=arguments.window_weight, centerness=not arguments.no_centerness,
    )  # fmt: skip
    network = SiamMot(motion=arguments.motion)
    digest = load_checkpoint(arguments.checkpoint, network)
    if arguments.fp16:
        network.halve()
    worst = write_models(network, design, arguments.output, f"exported by `{command}`", digest)
    figures = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    say(f"{arguments.output}: largest difference between ONNX Runtime and torch, of an output's magnitude: {figures}")
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of a text like 1280x704."""
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise ConfigError(f"expected --size as WIDTHxHEIGHT, got {text!r}") from None
    if width < 64 or height < 64 or width % 32 or height % 32:
        raise ConfigError(f"expected --size in multiples of 32, at least 64x64, got {text!r}")
    return width, height


def write_models(network: SiamMot, design: Design, folder: Path, source: str, digest: str) -> dict[str, float]:
    """Export all graphs, compare them with torch, write the cards; all or nothing.

    Args:
        network: in any mode; it is left in evaluation mode.
        design: what is not in the weights.
        folder: gets `trunk.onnx`, `boxes.onnx`, `template.onnx`, `motion.onnx`; files there are replaced only by ones
            that passed.
        source: for the cards.
        digest: SHA-256 of the checkpoint; the host refuses graphs of different ones.

    Returns:
        Graph -> largest difference seen, see `check_graphs`.

    Raises:
        ParityError: ONNX Runtime and torch disagree; nothing is written.
    """
    network.eval()
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".siammot-", dir=folder))
    try:
        graphs, inputs = GRAPHS[network.motion], {}
        truth = copy.deepcopy(network).float() if network.halved else network
        for name, given in examples(truth, design):
            inputs.setdefault(name, given)  # the first ones have regions on every level
        for name in graphs:
            export(name, network, design, inputs[name], draft / f"{name}.onnx")
        worst = check_graphs(draft, truth, design, half=network.halved)
        for name in graphs:
            card = describe(name, design, source, digest, network.motion, half=network.halved)
            write_card(draft / f"{name}.onnx", card)
        for name in graphs:
            os.replace(draft / f"{name}.onnx", folder / f"{name}.onnx")
    finally:
        shutil.rmtree(draft)
    return worst


def export(name: str, network: SiamMot, design: Design, inputs: dict[str, Any], path: Path) -> None:
    """Write one bare graph; the number of targets is free, the size of the image is not."""
    import onnx

    graph = GRAPHS[network.motion][name](network, design).eval()
    free = [key for key in (*graph.inputs, *graph.outputs) if name != "trunk" and not key.startswith("p")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the TorchScript exporter: deprecation, shapes that are fixed on purpose
        torch.onnx.export(
            graph, tuple(torch.from_numpy(inputs[key]) for key in graph.inputs), str(path),
            opset_version=OPSET, dynamo=False, input_names=list(graph.inputs), output_names=list(graph.outputs),
            dynamic_axes={key: {0: _axis(key)} for key in free},
            custom_opsets={DOMAIN: 1} if name == "motion" and network.motion == "emm" else None,
        )  # fmt: skip
    model = onnx.load(path)
    if name == "motion" and network.motion == "emm":
        unroll_correlation(model, network.track.cls.in_channels, design.response, half=network.halved)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _axis(key: str) -> str:
    """Name of the free dimension of an input or output."""
    own = key.startswith("rois") or key in ("before", "kept", "templates")
    return key if own else "targets"


def describe(
    name: str, design: Design, source: str, digest: str, motion: str = "emm", *, half: bool = False
) -> ModelCard:
    """The card of one graph; its facts say which set it belongs to and what the host needs."""
    graph = GRAPHS[motion][name]
    choices = {key: value for key, value in asdict(design).items() if key != "size"}
    return ModelCard(
        family="siammot",
        task=name,
        class_names=("person",),
        image=ImageInput(name="image", size=design.size, mean=MEAN, std=STD, resize="stretch"),
        outputs={key: key for key in graph.outputs},
        stride=32,
        source=source,
        checkpoint_sha256=digest,
        facts={"motion": motion, "half": half, "level_counts": list(design.level_counts), **choices, **HOST},
    )


def say(text: str) -> None:
    """A line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def typed(words: list[str]) -> str:
    """The command line as it belongs into the cards: without the folders, which are nobody's business."""
    kept = [str(Path(word).name) if "/" in word and not word.startswith("-") else word for word in words]
    return "python -m exporters " + shlex.join(kept)
