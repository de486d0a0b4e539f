"""Losses and training of the embedded network.

Source of the losses: Panoptic-DeepLab, arXiv:1911.10194 (hard pixels, L1 offsets); Objects as Points,
arXiv:1904.07850, equation 1 (heatmap); In Defense of the Triplet Loss, arXiv:1703.07737 (batch-hard, soft margin), over
vectors pooled from masks and within a class, as in MOTSNet, arXiv:1912.02096.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.optimisation import faster_in_bfloat16, made_ahead, optimise
from exporters.scenes import MOMENTS, Pool, Sample, cut_sample, draw_light
from exporters.street.network import HEAD_STRIDE, VECTOR, Maps, StreetNet
from exporters.street.warm_start import calibrate, load_weights

MEAN, STD = 127.5, 63.75  # of every channel; the card says the same in its own terms
FIRST_THING = 5  # person, car: the last classes of the street
LEAST_CELLS = 4  # map pixels that an object must have for its vector to be compared
SOFTNESS = 5.0  # of the triplet loss: distances of unit vectors are 0..2


@dataclass(frozen=True)
class Recipe:
    """How the network is trained.

    Attributes:
        size: (width, height) of the network's input.
        crop: (width, height) of what it learns from: windows of frames at that scale.
        minutes: wall clock for the optimisation; the learning rate follows the clock, so a slower machine takes fewer
            steps, not longer.
        streets: streets a step, with all their moments (`scenes.MOMENTS`).
        rate: highest learning rate of AdamW, reached after the first twentieth of the time.
        start: ONNX file of an earlier network to go on from; None to begin with random weights.
        start_share: share of the learning rate for the weights that come from it.
        decay: weight decay.
        hard_share: share of pixels, the worst ones, that the semantic loss averages.
        heat_weight: weight of the heatmap's loss.
        offset_weight: weight of the offsets' loss, per head pixel.
        motion_weight: weight of the motion's loss, per map pixel.
        triplet_weight: weight of the identity vectors' loss.
        average: decay of the moving average of the weights, which is what gets exported.
        seed: of weights, samples and order.
        threads: of torch.
        steps: optimise for this many steps instead of by the clock; then the result does not depend on speed.
    """

    size: tuple[int, int] = (576, 320)
    crop: tuple[int, int] = (448, 256)
    minutes: float = 22.0
    streets: int = 3
    rate: float = 4e-3
    start: Path | None = None
    start_share: float = 0.1
    decay: float = 0.02
    hard_share: float = 0.25
    heat_weight: float = 1.0
    offset_weight: float = 0.1
    motion_weight: float = 1.0
    triplet_weight: float = 1.0
    average: float = 0.998
    seed: int = 1
    threads: int = 2
    steps: int | None = None


class Batch(NamedTuple):
    """Samples, stacked: fields as in `Sample`, images normalised float32, and which street each sample shows."""

    image: Tensor
    before: Tensor
    classes: Tensor
    heat: Tensor
    offset: Tensor
    weight: Tensor
    motion: Tensor
    moved: Tensor
    ids: Tensor
    labels: Tensor
    streets: Tensor


class Losses(NamedTuple):
    """Each already weighted; the training loss is their sum."""

    semantic: Tensor
    heat: Tensor
    offset: Tensor
    motion: Tensor
    triplet: Tensor


def collate(samples: list[Sample], streets: list[int]) -> Batch:
    """Samples, and the street that each shows -> tensors."""
    fields = {
        name: torch.from_numpy(np.stack([getattr(s, name) for s in samples])) for name in Sample.__dataclass_fields__
    }
    for name in ("image", "before"):
        fields[name] = (fields[name].float() - MEAN) / STD
    for name in ("classes", "ids", "labels"):
        fields[name] = fields[name].long()
    return Batch(**fields, streets=torch.tensor(streets))


def losses(outputs: Maps, batch: Batch, recipe: Recipe) -> Losses:
    """What is wrong with the outputs of `StreetNet` in training mode (heat as logits)."""
    semantic, heat, offset, motion, embedding = (output.float() for output in outputs)
    pixel = functional.cross_entropy(semantic, batch.classes, reduction="none") * (1 + batch.weight)
    hard = torch.topk(pixel.flatten(), max(1, int(recipe.hard_share * pixel.numel()))).values.mean()
    vote = _mean_distance(offset - batch.offset, batch.weight)
    way = _mean_distance(motion - batch.motion, batch.moved)
    vectors, labels, identities = pool_vectors(embedding, batch)
    return Losses(
        hard,
        recipe.heat_weight * centre_loss(heat[:, 0], batch.heat),
        recipe.offset_weight * vote,
        recipe.motion_weight * way,
        recipe.triplet_weight * triplet_loss(vectors, labels, identities),
    )


def _mean_distance(difference: Tensor, weight: Tensor) -> Tensor:
    """L1 over the channels (B, 2, h, w), weighted mean over pixels (B, h, w)."""
    return (difference.abs().sum(1) * weight).sum() / weight.sum().clamp(min=1)


def pool_vectors(embedding: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Identity vectors of the objects in a batch: the mean over the true mask, of the channels of the object's class.

    Args:
        embedding: (B, things * VECTOR, h, w).
        batch: objects of fewer than `LEAST_CELLS` pixels are left out.

    Returns:
        (N, VECTOR) of length 1, (N,) classes, and (N,) numbers that are equal for the same object of the same street.
    """
    count, channels = embedding.shape[:2]
    keys = (torch.arange(count)[:, None, None] * 256 + batch.ids).flatten()
    areas = torch.bincount(keys, minlength=count * 256)
    sums = embedding.new_zeros(count * 256, channels)
    sums = sums.index_add(0, keys, embedding.permute(0, 2, 3, 1).reshape(-1, channels))
    labels = torch.zeros(count * 256, dtype=torch.long)
    labels[keys] = batch.labels.flatten()
    rows = torch.nonzero((areas >= LEAST_CELLS) & (labels >= FIRST_THING))[:, 0]
    slices = sums[rows].view(len(rows), -1, VECTOR)
    own = slices[torch.arange(len(rows)), labels[rows] - FIRST_THING]
    return functional.normalize(own, dim=1), labels[rows], batch.streets[rows // 256] * 256 + rows % 256


def triplet_loss(vectors: Tensor, labels: Tensor, identities: Tensor) -> Tensor:
    """Batch-hard: the farthest of the same object against the nearest of another object of the class; 0 without any.

    The margin is soft, because trackers gate distances: being farther apart is always better.
    """
    if not len(vectors):
        return vectors.sum()
    distance = (2 - 2 * vectors @ vectors.T).clamp(min=1e-6).sqrt()
    same = identities[:, None] == identities
    other = ~same & (labels[:, None] == labels)
    same = same & ~torch.eye(len(vectors), dtype=torch.bool)
    whole = same.any(1) & other.any(1)
    farthest = torch.where(same, distance, 0).amax(1)
    nearest = torch.where(other, distance, 2).amin(1)
    soft = functional.softplus(SOFTNESS * (farthest - nearest)) / SOFTNESS
    return (soft * whole).sum() / whole.sum().clamp(min=1)


def centre_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Focal loss of a heatmap, summed over pixels and divided by the number of centres (truth = 1)."""
    probability = logits.sigmoid()
    centre = truth > 0.999
    seen = -((1 - probability) ** 2) * functional.logsigmoid(logits)
    unseen = -((1 - truth) ** 4) * probability**2 * functional.logsigmoid(-logits)
    return torch.where(centre, seen, unseen).sum() / centre.sum().clamp(min=1)


def samples_forever(pool: Pool, recipe: Recipe) -> Iterator[Batch]:
    """Batches without end, each street once per round; the next ones are cut while the network learns."""
    rng = np.random.default_rng(recipe.seed)

    def streets() -> Iterator[int]:
        while True:
            yield from rng.permutation(-(-len(pool) // MOMENTS)).tolist()

    def jobs() -> Iterator[Callable[[], Batch]]:
        source = streets()
        while True:
            chosen = [(next(source), int(rng.integers(1 << 62))) for _ in range(recipe.streets)]
            yield partial(make_batch, pool, recipe, chosen)

    return made_ahead(jobs())


def make_batch(pool: Pool, recipe: Recipe, chosen: list[tuple[int, int]]) -> Batch:
    """All moments of the chosen streets, (number, seed) each; one light a street, as people are known by colours."""
    samples, streets = [], []
    for street, seed in chosen:
        rng = np.random.default_rng(seed)
        light = draw_light(rng)
        for row in range(street * MOMENTS, min((street + 1) * MOMENTS, len(pool))):
            samples.append(cut_sample(pool, row, recipe.size, recipe.crop, HEAD_STRIDE, rng, light))
            streets.append(street)
    return collate(samples, streets)


def train(pool: Pool, recipe: Recipe, report: Callable[[str], None]) -> StreetNet:
    """Train until the recipe's time is over.

    Args:
        pool: moments with truth.
        recipe: how.
        report: gets a line of progress now and then.

    Returns:
        The moving average of the weights, in evaluation mode.

    Raises:
        ModelError: the recipe starts from a file that has not the weights.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    network = StreetNet()
    batches = samples_forever(pool, recipe)
    if recipe.start is not None:
        load_weights(network, recipe.start)
        first = next(batches)
        calibrate(network, first.image, first.before)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(_groups(network, recipe), lr=recipe.rate)
    half = prefers_bfloat16(network, next(batches))
    report(f"{recipe.streets} streets a step, {'bfloat16' if half else 'float32'}")
    network.train()

    def step() -> dict[str, float]:
        return dict(zip(Losses._fields, take_step(network, optimizer, next(batches), recipe, half=half), strict=True))

    return optimise(network, optimizer, step, recipe, report)


def take_step(
    network: StreetNet, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe, *, half: bool
) -> list[float]:
    """One step of the optimiser; returns the losses before it, in the order of `Losses`."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs = network(*_pictures(batch))
    parts = losses(outputs, batch, recipe)
    optimizer.zero_grad()
    sum(parts).backward()  # type: ignore[union-attr]
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return [float(part.detach()) for part in parts]


def _pictures(batch: Batch) -> list[Tensor]:
    return [picture.to(memory_format=torch.channels_last) for picture in (batch.image, batch.before)]


def prefers_bfloat16(network: StreetNet, batch: Batch) -> bool:
    """See `faster_in_bfloat16`."""
    trial, pictures = copy.deepcopy(network).train(), _pictures(batch)

    def forward() -> Tensor:
        means: Tensor = sum(output.float().mean() for output in trial(*pictures))
        return means

    return faster_in_bfloat16(forward)


def _groups(network: StreetNet, recipe: Recipe) -> list[dict[str, object]]:
    """Weights decay, biases and normalisation do not; what was learned before learns more slowly than what was not."""
    groups = []
    for old in (False, True):
        share = recipe.start_share if old and recipe.start is not None else 1.0
        own = [p for name, p in network.named_parameters() if (name.split(".")[0] not in StreetNet.FRESH) == old]
        for matrix in (False, True):
            params = [p for p in own if (p.ndim >= 2) == matrix]
            groups.append({"params": params, "weight_decay": recipe.decay if matrix else 0.0, "share": share})
    return groups
