"""`python -m exporters raft`: a RAFT checkpoint (small or large, of its authors or of torchvision) as one ONNX file.

Two images in, the flow of the last iteration out. Nothing is written where ONNX Runtime and torch disagree, or where
the checkpoint holds other tensors.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from exporters.delivery import draft_file, parse_size, say
from exporters.parity import ParityError, open_graph
from exporters.raft.checkpoint import load_checkpoint
from exporters.raft.network import SMALLEST, STRIDE, Raft
from exporters.tracing import trace_graph
from tracker.errors import ConfigError
from tracker.models.card import ImageInput, ModelCard
from tracker.models.registry import Entry, find
from tracker.models.registry.download import pull

LIMIT_PX = 1e-3
"""Largest difference between ONNX Runtime and torch."""
WEIGHTS = {"torchvision:raft_small": "torchvision-raft-small", "torchvision:raft_large": "torchvision-raft-large"}
"""Names for `--weights` -> entries of the registry, which pins them."""

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this family."""
    parser.add_argument(
        "--weights", required=True, metavar="FILE|NAME", help=f".pth file, or a name to fetch: {', '.join(WEIGHTS)}"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--size", default="512x288", help="input WIDTHxHEIGHT, multiples of 8 (default %(default)s)")
    parser.add_argument(
        "--iterations", type=int, default=12, help="fewer are faster, more are finer (default %(default)s)"
    )


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the file; `command` is what the user typed, for the card."""
    size = parse_size("--size", arguments.size, least=SMALLEST, step=STRIDE)
    if not 1 <= arguments.iterations <= 64:
        raise ConfigError(f"expected --iterations in 1..64, got {arguments.iterations}")
    entry = find(WEIGHTS[arguments.weights]) if arguments.weights in WEIGHTS else None
    network, variant, digest = load_checkpoint(_fetched(arguments.weights, entry), arguments.iterations)
    source = f"exported by `{command}`" + (f" from {entry.source}" if entry else "")
    card = describe(variant, size, arguments.iterations, source, digest, entry.licence if entry else "")
    worst = write_model(network, card, arguments.output)
    say(f"{arguments.output}: RAFT {variant}, largest difference between ONNX Runtime and torch: {worst:.1e} px")
    return 0


def _fetched(weights: str, entry: Entry | None) -> Path:
    """The checkpoint's file; a named one is fetched where this machine does not have it yet."""
    if entry is not None:
        say(f"{entry} of {entry.source}")
        return pull(entry)
    if weights.startswith("torchvision:"):
        raise ConfigError(f"expected --weights to be a file, {' or '.join(WEIGHTS)}, got {weights!r}")
    return Path(weights)


def describe(
    variant: str, size: tuple[int, int], iterations: int, source: str, digest: str, licence: str = ""
) -> ModelCard:
    """The card: frames keep their aspect and stand in the middle; beside them their edges are repeated."""
    return ModelCard(
        family="raft",
        task="flow",
        image=ImageInput(name="image1", size=size, scale=1.0, resize="letterbox"),
        outputs={"flow": "flow"},
        stride=STRIDE,
        licence=licence,
        source=source,
        checkpoint_sha256=digest,
        facts={"second_image": "image2", "border": "replicate", "variant": variant, "iterations": iterations},
    )


def write_model(network: Raft, card: ModelCard, path: Path) -> float:
    """Export, compare with torch, write the card; a file at `path` is replaced only by one that passed.

    Returns:
        Largest difference seen, in pixels.

    Raises:
        ParityError: ONNX Runtime and torch disagree; nothing is written.
    """
    assert card.image.size is not None
    with draft_file(path, card) as draft:
        export(network, card.image.size, draft)
        return check_flow(draft, network, card.image.size)


def export(network: Raft, size: tuple[int, int], path: Path) -> None:
    """Write the bare graph, its iterations one after the other."""
    images = [torch.zeros(1, 3, size[1], size[0]) for _ in range(2)]
    trace_graph(network, images, path, ["image1", "image2"], ["flow"])


def check_flow(path: Path, network: Raft, size: tuple[int, int], limit_px: float = LIMIT_PX) -> float:
    """Run the file in ONNX Runtime on the CPU and compare the flow of some pairs with torch's.

    Raises:
        ParityError: a file that does not run, another shape, numbers that are not finite or differ too much.
    """
    session, worst = open_graph(path), 0.0
    for before, after in examples(size):
        got = session.run(None, {"image1": before, "image2": after})[0]
        with torch.no_grad():
            wanted = network(torch.from_numpy(before), torch.from_numpy(after)).numpy()
        if got.shape != wanted.shape or not np.isfinite(got).all() or not np.isfinite(wanted).all():
            raise ParityError(f"expected finite flow of shape {wanted.shape}, got {got.shape}: not written")
        worst = max(worst, float(np.abs(got - wanted).max()))
        if worst > limit_px:
            raise ParityError(f"ONNX and torch differ by {worst:.1e} px (limit {limit_px:.0e}): not written")
    return worst


def examples(size: tuple[int, int]) -> Iterator[Pair]:
    """Image pairs (1, 3, H, W) in 0..255: patches with some noise that move by a few pixels, and by many."""
    rng = np.random.default_rng(0)
    width, height = size
    coarse = rng.uniform(0, 200, (1, 3, -(-height // 16), -(-width // 16))).repeat(16, 2).repeat(16, 3)
    image = (coarse[:, :, :height, :width] + rng.uniform(0, 55, (1, 3, height, width))).astype(np.float32)
    for shift in ((3, -7), (-24, 40)):
        yield image, np.roll(image, shift, (2, 3))
