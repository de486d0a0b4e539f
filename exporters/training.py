"""Losses and the training loop of the embedded network: plain torch on a few CPU cores, stopped by the clock.

Source of the losses: Panoptic-DeepLab, arXiv:1911.10194 (hard pixels, L1 offsets); Objects as Points,
arXiv:1904.07850, equation 1 (heatmap).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.network import HEAD_STRIDE, StreetNet
from exporters.scenes import Pool, Sample, cut_sample

MEAN, STD = 127.5, 63.75  # of every channel; the card says the same in its own terms


@dataclass(frozen=True)
class Recipe:
    """How the network is trained.

    Attributes:
        size: (width, height) of the network's input.
        crop: (width, height) of what it learns from: windows of frames at that scale.
        minutes: wall clock for the optimisation; the learning rate follows the clock, so a slower machine takes fewer
            steps, not longer.
        batch: samples a step.
        rate: highest learning rate of AdamW, reached after the first twentieth of the time.
        decay: weight decay.
        hard_share: share of pixels, the worst ones, that the semantic loss averages.
        heat_weight: weight of the heatmap's loss.
        offset_weight: weight of the offsets' loss, per head pixel.
        average: decay of the moving average of the weights, which is what gets exported.
        seed: of weights, samples and order.
        threads: of torch.
        steps: optimise for this many steps instead of by the clock; then the result does not depend on speed.
    """

    size: tuple[int, int] = (576, 320)
    crop: tuple[int, int] = (448, 256)
    minutes: float = 22.0
    batch: int = 10
    rate: float = 4e-3
    decay: float = 0.02
    hard_share: float = 0.25
    heat_weight: float = 1.0
    offset_weight: float = 0.1
    average: float = 0.998
    seed: int = 1
    threads: int = 2
    steps: int | None = None


Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # image, classes, heat, offset, weight: as in Sample, stacked


def collate(samples: list[Sample]) -> Batch:
    """Samples -> tensors; images become normalised float32."""
    stacks = (np.stack([getattr(s, name) for s in samples]) for name in Sample.__dataclass_fields__)
    image, classes, heat, offset, weight = (torch.from_numpy(stack) for stack in stacks)
    return (image.float() - MEAN) / STD, classes.long(), heat, offset, weight


def losses(outputs: tuple[Tensor, Tensor, Tensor], batch: Batch, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """Semantic, heat and offset loss, each already weighted; the training loss is their sum.

    Args:
        outputs: of `StreetNet` in training mode (heat as logits).
        batch: from `collate`.
        recipe: weights.
    """
    semantic, heat, offset = (output.float() for output in outputs)
    _, classes, heat_truth, offset_truth, weight = batch
    pixel = functional.cross_entropy(semantic, classes, reduction="none") * (1 + weight)
    hard = torch.topk(pixel.flatten(), max(1, int(recipe.hard_share * pixel.numel()))).values.mean()
    centre = centre_loss(heat[:, 0], heat_truth)
    distance = (offset - offset_truth).abs().sum(1)
    vote = (distance * weight).sum() / weight.sum().clamp(min=1)
    return hard, recipe.heat_weight * centre, recipe.offset_weight * vote


def centre_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Focal loss of a heatmap, summed over pixels and divided by the number of centres (truth = 1)."""
    probability = logits.sigmoid()
    centre = truth > 0.999
    seen = -((1 - probability) ** 2) * functional.logsigmoid(logits)
    unseen = -((1 - truth) ** 4) * probability**2 * functional.logsigmoid(-logits)
    return torch.where(centre, seen, unseen).sum() / centre.sum().clamp(min=1)


def samples_forever(pool: Pool, recipe: Recipe) -> Iterator[Batch]:
    """Batches without end, each frame once per round; the next two are cut while the network learns."""
    rng = np.random.default_rng(recipe.seed)

    def rows() -> Iterator[int]:
        while True:
            yield from rng.permutation(len(pool)).tolist()

    source = rows()

    def make(chosen: list[tuple[int, int]]) -> Batch:
        return collate(
            [
                cut_sample(pool, row, recipe.size, recipe.crop, HEAD_STRIDE, np.random.default_rng(seed))
                for row, seed in chosen
            ]
        )

    def choose() -> list[tuple[int, int]]:
        return [(next(source), int(rng.integers(1 << 62))) for _ in range(recipe.batch)]

    with ThreadPoolExecutor(1) as worker:
        waiting: list[Future[Batch]] = [worker.submit(make, choose()) for _ in range(2)]
        while True:
            waiting.append(worker.submit(make, choose()))
            yield waiting.pop(0).result()


def train(pool: Pool, recipe: Recipe, report: Callable[[str], None]) -> StreetNet:
    """Train until the recipe's time is over.

    Args:
        pool: frames with truth.
        recipe: how.
        report: gets a line of progress now and then.

    Returns:
        The moving average of the weights, in evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    network = StreetNet().to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(network, recipe.decay), lr=recipe.rate)
    batches = samples_forever(pool, recipe)
    half = prefers_bfloat16(network, next(batches))
    network.train()
    began, spoke, step = time.monotonic(), 0.0, 0
    means = np.zeros(3)
    while True:
        seconds = time.monotonic() - began
        passed = seconds / (60 * recipe.minutes) if recipe.steps is None else step / recipe.steps
        if passed >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * learning_rate(passed)
        parts = take_step(network, optimizer, next(batches), recipe, half=half)
        step += 1
        _follow(average, network, min(recipe.average, (1 + step) / (10 + step)))
        means += (np.array(parts) - means) * max(0.02, 1 / step)
        if time.monotonic() - spoke > 15:
            spoke = time.monotonic()
            text = " ".join(
                f"{name} {value:.3f}" for name, value in zip(("semantic", "heat", "offset"), means, strict=True)
            )
            report(f"{100 * passed:3.0f} %, {seconds:.0f} s, step {step}, losses {text}")
    report(f"{step} steps of {recipe.batch} samples, {'bfloat16' if half else 'float32'}")
    return average


def take_step(
    network: StreetNet, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe, *, half: bool
) -> tuple[float, float, float]:
    """One step of the optimiser; returns the three losses before it."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs = network(batch[0].to(memory_format=torch.channels_last))
    parts = losses(outputs, batch, recipe)
    optimizer.zero_grad()
    sum(parts).backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    first, second, third = (float(part.detach()) for part in parts)
    return first, second, third


def learning_rate(passed: float) -> float:
    """Share of the highest rate at a share of the time: linear warm-up over 5 %, then a cosine to zero."""
    return min(passed / 0.05 + 0.01, 0.5 + 0.5 * math.cos(math.pi * passed), 1.0)


def prefers_bfloat16(network: StreetNet, batch: Batch) -> bool:
    """True where this processor runs forward and backward faster in bfloat16; tried, not guessed."""
    trial = copy.deepcopy(network).train()
    seconds = {False: math.inf, True: math.inf}
    for half in (False, True) * 3:  # the first round warms up, a busy machine may spoil another
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            outputs = trial(batch[0].to(memory_format=torch.channels_last))
        sum(output.float().mean() for output in outputs).backward()
        seconds[half] = min(seconds[half], time.perf_counter() - began)
    return seconds[True] < seconds[False]


def _groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weights decay, biases and normalisation do not."""
    plain = [p for p in network.parameters() if p.ndim < 2]
    return [
        {"params": [p for p in network.parameters() if p.ndim >= 2], "weight_decay": decay},
        {"params": plain, "weight_decay": 0.0},
    ]


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)
