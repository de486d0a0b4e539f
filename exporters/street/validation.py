"""All figures of a model on streets that nobody trains on: what it sees, and whom it follows.

`python -m exporters.street.validation FILE.onnx` prints them, with the file's size, the time of its network and, where
torch is there, its parity with torch. The tests hold the shipped file to the figures in its card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporters.parity import ParityError, check_parity
from exporters.scenes import SIZE, VALIDATION_SEEDS
from exporters.street.following import Following, Moment
from exporters.street.quality import Quality
from tracker.errors import TrackerError
from tracker.models import open_model
from tracker.sources.street import STREET_CLASSES, Street
from tracker.types import Detections

GOOD_SCORE = 0.3  # detections below are not counted in a file's figures
VALIDATION_FRAMES = (20, 130, 140, 160, 260)  # of every validation street: gaps of 10, 20 and 30 frames, and long ones


def validation_moments() -> Iterator[Moment]:
    """Some moments of every validation street."""
    for k, seed in enumerate(VALIDATION_SEEDS):
        street = Street(seed=seed, objects=6 + k % 10, size=SIZE, frames=300)
        for index in VALIDATION_FRAMES:
            yield Moment(seed, street.render(index - 1), street.render(index))


class Findings(NamedTuple):
    """What a model sees, and whom it follows."""

    quality: Quality
    following: Following

    def figures(self) -> dict[str, float]:
        """All that there are."""
        return {**self.quality.figures(), **self.following.figures()}


def measure(model: Any, moments: Iterable[Moment], min_score: float = GOOD_SCORE) -> Findings:
    """Run a model on rendered moments.

    Args:
        model: image BGR -> detections with a panoptic picture; one with `for_stream` is shown the picture before first.
        moments: scenes of a street follow each other.
        min_score: detections below are not counted.
    """
    findings = Findings(Quality(len(STREET_CLASSES), tuple(map(STREET_CLASSES.index, ("person", "car")))), Following())
    for moment in moments:
        fresh: Callable[[NDArray[np.uint8]], Detections] = model
        if hasattr(model, "for_stream"):
            fresh = model.for_stream()
            if fresh is not model:
                fresh(moment.before.image)
        seen = fresh(moment.scene.image)
        seen = seen.select(seen.scores >= min_score)
        findings.quality.update(moment.scene, seen)
        findings.following.update(moment, seen)
    return findings


def main(words: list[str] | None = None) -> int:
    """Print the figures of a file; returns the exit code: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m exporters.street.validation", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("model", metavar="FILE.onnx|NAME", help="panoptic network that knows the synthetic street")
    try:
        figures = examine(open_model(parser.parse_args(words).model, device="cpu", threads=2))
    except (ParityError, TrackerError) as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    for name, value in figures.items():
        print(f"{name:16} {value}")
    return 0


def examine(model: Any) -> dict[str, float]:
    """All figures of an opened model by name.

    Raises:
        ModelError: it takes what the street's network takes, but has other weights.
        ParityError: it computes something else than torch.
    """
    given = model.feed(model.preprocess(np.zeros((540, 960, 3), np.uint8)).tensors)
    times = []
    for _ in range(100):
        since = perf_counter()
        model.session.run(given)
        times.append(1e3 * (perf_counter() - since))
    figures = measure(model, validation_moments()).figures()
    figures["mb"] = round(model.session.path.stat().st_size / 1e6, 3)
    figures["network_ms_p50"], figures["network_ms_min"] = round(float(np.median(times)), 2), round(min(times), 2)
    parity = _parity(model)
    return figures if parity is None else {**figures, "parity": parity}


def _parity(model: Any) -> float | None:
    """Largest relative difference of the file and a torch network with its weights; None without torch, or its like."""
    try:
        from exporters.street.command import INPUTS, run
        from exporters.street.network import StreetNet
        from exporters.street.warm_start import load_weights
    except ModuleNotFoundError:
        return None
    if tuple(model.session.inputs) != INPUTS:
        return None
    network = StreetNet(len(model.card.class_names))
    load_weights(network, model.session.path)
    pairs = np.random.default_rng(0).uniform(-2, 2, (3, 2, *model.image_spec.shape)).astype(np.float32)
    return check_parity(model.session.path, lambda *given: run(network, *given), [tuple(pair) for pair in pairs])


if __name__ == "__main__":
    raise SystemExit(main())
