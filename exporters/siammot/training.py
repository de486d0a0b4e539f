"""Training of a small SiamMOT from nothing, on single pictures of rendered streets: detector and both track heads.

Loss: L_rpn + L_detect + L_motion, the last one of the explicit and of the implicit head.
Source: SiamMOT, arXiv:2105.11595, section 4.2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from exporters.optimisation import faster_in_bfloat16, made_ahead, optimise
from exporters.scenes import Pool
from exporters.siammot.dla import STRIDES
from exporters.siammot.graphs import Trunk, by_anchor, pool, widen
from exporters.siammot.heads import POOLED, place_anchors
from exporters.siammot.losses import (
    detection_loss,
    explicit_loss,
    implicit_loss,
    match_anchors,
    match_proposals,
    proposal_loss,
)
from exporters.siammot.network import SiamMot
from exporters.siammot.pairs import Pair, make_pair
from exporters.siammot.small import Recipe, TwoHeads, load_weights
from exporters.siammot.triplets import Triplets, disturb, draw_triplets
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD
from tracker.models.siammot.regions import by_level, choose_proposals, levels_of


class Losses(NamedTuple):
    """The training loss is their sum."""

    rpn: Tensor
    detect: Tensor
    explicit_seen: Tensor
    explicit_box: Tensor
    explicit_centre: Tensor
    implicit_seen: Tensor
    implicit_box: Tensor


class Lesson(NamedTuple):
    """A pair of pictures, what to search for, and what decides the random choices of the losses."""

    pair: Pair
    triplets: Triplets
    seed: int


def lessons_forever(frames: Pool, recipe: Recipe) -> Iterator[list[Lesson]]:
    """Lessons of each step without end, every picture once per round; made while the network learns."""
    rng = np.random.default_rng(recipe.seed)

    def numbers() -> Iterator[int]:
        while True:
            yield from rng.permutation(2 * len(frames)).tolist()

    def jobs() -> Iterator[Callable[[], list[Lesson]]]:
        source = numbers()
        while True:
            chosen = [(next(source), int(rng.integers(1 << 62))) for _ in range(recipe.pairs)]
            yield partial(make_lessons, frames, recipe, chosen)

    return made_ahead(jobs())


def make_lessons(frames: Pool, recipe: Recipe, chosen: list[tuple[int, int]]) -> list[Lesson]:
    """Of the chosen pictures, (number, seed) each."""
    out = []
    for number, seed in chosen:
        rng = np.random.default_rng(seed)
        pair = make_pair(frames, number, recipe.design.size, recipe.crop, rng)
        out.append(Lesson(pair, draw_triplets(pair, recipe.triplets, rng), seed))
    return out


def train(frames: Pool, recipe: Recipe, report: Callable[[str], None]) -> TwoHeads:
    """Train until the recipe's time is over.

    Args:
        frames: pictures with truth.
        recipe: how.
        report: gets a line of progress now and then.

    Returns:
        The moving average of the weights, in evaluation mode.

    Raises:
        ConfigError: the recipe starts from a file that has not the weights.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    lessons = lessons_forever(frames, recipe)
    model = TwoHeads(recipe)
    if recipe.start is not None:
        load_weights(model, recipe.start)
    model = model.to(recipe.device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(_groups(model, recipe), lr=recipe.rate)
    half = prefers_bfloat16(model, next(lessons)[0])
    report(f"{recipe.pairs} pairs a step, the trunk in {'bfloat16' if half else 'float32'}")
    with ThreadPoolExecutor(recipe.threads, initializer=torch.set_num_threads, initargs=(1,)) as workers:

        def step() -> dict[str, float]:
            return take_step(model, optimizer, next(lessons), workers, half=half)

        return optimise(model, optimizer, step, recipe, report)


def take_step(
    model: TwoHeads, optimizer: torch.optim.Optimizer, lessons: list[Lesson], workers: Executor, *, half: bool
) -> dict[str, float]:
    """One step of the optimiser; returns the losses before it.

    Each lesson by a thread of its own: on a busy machine threads within every small operation wait for each other. With
    several of them the order in which running statistics follow is not fixed.
    """
    params = list(model.parameters())

    def learn(lesson: Lesson) -> tuple[list[float], Sequence[Tensor | None]]:
        parts = losses(model, lesson, half=half)
        gradients = torch.autograd.grad(torch.stack(parts).sum(), params, allow_unused=True)
        return [float(part.detach()) for part in parts], gradients

    found = list(workers.map(learn, lessons))
    for param, *own in zip(params, *(gradients for _, gradients in found), strict=True):
        known = [gradient for gradient in own if gradient is not None]
        param.grad = torch.stack(known).sum(0) / len(own) if known else None
    nn.utils.clip_grad_norm_(params, 5.0)
    optimizer.step()
    return dict(zip(Losses._fields, np.mean([parts for parts, _ in found], 0).tolist(), strict=True))


def losses(model: TwoHeads, lesson: Lesson, *, half: bool = False) -> Losses:
    """What is wrong with a network, in training mode; `half`: the trunk computes in bfloat16."""
    recipe, network, device = model.recipe, model.network, model.recipe.device
    dice = torch.Generator().manual_seed(lesson.seed)
    with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=half):
        both = network.fpn(network.body(normalise(lesson.pair.images, device)))
        found = [network.rpn(level) for level in both]
    maps = [level.float() for level in both]
    trunk = Trunk(network, recipe.design)
    cells = [getattr(network.anchors, str(level)) for level in range(len(maps))]
    anchors = torch.cat([place_anchors(cells[k], *maps[k].shape[-2:], STRIDES[k]) for k in range(len(maps))])
    views = [[level[view : view + 1] for level in maps] for view in (0, 1)]
    rpn, detect = [], []
    for view, objects in enumerate(lesson.pair.objects):
        raw = [(logits[view : view + 1].float(), deltas[view : view + 1].float()) for logits, deltas in found]
        truth, unsure = (torch.from_numpy(boxes).to(device) for boxes in (objects.boxes, objects.unsure))
        scores = torch.cat([by_anchor(logits)[:, 0] for logits, _ in raw])
        deltas = torch.cat([by_anchor(deltas) for _, deltas in raw])
        matched = match_anchors(anchors, truth, unsure, recipe.anchors, dice)
        rpn.append(proposal_loss(scores, deltas, anchors, truth, matched))
        with torch.no_grad():
            proposals = _propose(trunk, raw)
        labels = torch.from_numpy(objects.labels).to(device)
        detect.append(_detect(network, views[view], proposals, truth, labels, unsure, recipe, dice))
    return Losses(sum(rpn) / 2, sum(detect) / 2, *_follow_targets(model, views, lesson.triplets))


def normalise(images: NDArray[np.uint8], device: str = "cpu") -> Tensor:
    """(B, 3, H, W) uint8 RGB as the card says."""
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    pictures = torch.from_numpy(images).to(device)
    return ((pictures.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def _propose(trunk: Trunk, raw: list[tuple[Tensor, Tensor]]) -> NDArray[np.float32]:
    """As the host does it, see `tracker.models.siammot.graphs`, but fewer."""
    boxes, scores, counts = [], [], []
    for level, (logits, deltas) in enumerate(raw):
        found, best = trunk.candidates(level, logits, deltas, limit=60)
        boxes.append(found.cpu().numpy())
        scores.append(best.cpu().numpy())
        counts.append(len(best))
    chosen, _ = choose_proposals(np.concatenate(boxes), np.concatenate(scores), counts, 0.7, 100)
    return chosen


def _detect(
    network: SiamMot, maps: list[Tensor], proposals: NDArray[np.float32], truth: Tensor, labels: Tensor,
    unsure: Tensor, recipe: Recipe, dice: torch.Generator,
) -> Tensor:  # fmt: skip
    """Loss of the box head on proposals, and on boxes near the truth, as those that a track head finds."""
    rng = np.random.default_rng(int(torch.randint(1 << 31, (1,), generator=dice)))
    near = [disturb(box, 0.15, 0.2, rng) for box in truth.cpu().numpy().repeat(2, 0)]
    given = torch.from_numpy(np.concatenate([proposals, np.array(near, np.float32).reshape(-1, 4)])).to(truth.device)
    objects, owner, nothing = match_proposals(given, truth, unsure, recipe.regions, dice)
    regions = torch.cat([given[objects], given[nothing]])
    wanted = torch.cat([labels[owner], torch.zeros_like(nothing)])
    targets = torch.cat([truth[owner], given[nothing]])
    logits, deltas = network.box(_pool(maps, regions, levels_of(regions.cpu().numpy()), POOLED))
    return detection_loss(logits, deltas, regions, wanted, targets)


def _follow_targets(model: TwoHeads, views: list[list[Tensor]], triplets: Triplets) -> tuple[Tensor, ...]:
    """Losses of both track heads on one pair."""
    design = model.recipe.design
    before, last, truth, visible = (torch.from_numpy(field).to(views[0][0].device) for field in triplets)
    then, now = levels_of(triplets.before), levels_of(triplets.last)
    region = widen(last, design.search_scale)
    template = _pool(views[0], before, then, design.template)
    search = _pool(views[1], region, now, design.search, border=1)
    explicit = explicit_loss(model.network.track(search, template), last, truth, visible, design)
    around = _pool(views[0], widen(before, design.search_scale), then, design.template, border=1)
    here = _pool(views[1], region, now, design.template, border=1)
    return (*explicit, *implicit_loss(*model.implicit(around, here), last, truth, visible))


def _pool(maps: list[Tensor], boxes: Tensor, levels: NDArray[np.int64], size: int, *, border: int = 0) -> Tensor:
    regions = by_level(boxes.detach().cpu().numpy(), levels)
    rois = [torch.from_numpy(part).to(boxes.device) for part in regions.rois]
    return pool(maps[:4], rois, torch.from_numpy(regions.order).to(boxes.device), size, border=border)


def prefers_bfloat16(model: TwoHeads, lesson: Lesson) -> bool:
    """See `faster_in_bfloat16`."""
    trial, device = copy.deepcopy(model.network), model.recipe.device
    images = normalise(lesson.pair.images, device)

    def forward() -> Tensor:
        found = [trial.rpn(level) for level in trial.fpn(trial.body(images))]
        return torch.stack([output.float().mean() for each in found for output in each]).sum()

    return faster_in_bfloat16(forward, device.partition(":")[0])


def _groups(model: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Weights decay, biases and normalisation do not; what was learned before learns more slowly."""
    params, share = list(model.parameters()), 1.0 if recipe.start is None else recipe.start_share
    return [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": recipe.decay, "share": share},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0, "share": share},
    ]
