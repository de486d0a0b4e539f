"""The training loop of every network that is trained here: a few CPU cores, stopped by the clock.

The learning rate follows the share of the time that has passed, batches are made while the network learns, and the
result is a moving average of the weights. What a step does belongs to the network.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
Network = TypeVar("Network", bound=nn.Module)
AHEAD = 2  # batches made beforehand
_SPEAK_S = 15.0


class Pace(Protocol):
    """What the loop needs of a recipe.

    Attributes:
        minutes: wall clock; the learning rate follows it, so a slower machine takes fewer steps, not longer.
        steps: optimise for this many steps instead of by the clock; then the result does not depend on speed.
        rate: highest learning rate, reached after the first twentieth of the time.
        average: decay of the moving average of the weights.
    """

    minutes: float
    steps: int | None
    rate: float
    average: float


def optimise(
    network: Network,
    optimizer: torch.optim.Optimizer,
    step: Callable[[], dict[str, float]],
    pace: Pace,
    report: Callable[[str], None],
) -> Network:
    """Take steps until the time is over.

    Args:
        network: in training mode; changed in place.
        optimizer: of its parameters; a group may have a "share" of the learning rate.
        step: takes one step of the optimiser and returns its losses by name.
        pace: for how long, how fast.
        report: gets a line of progress now and then.

    Returns:
        The moving average of the weights, in evaluation mode.
    """
    average = copy.deepcopy(network).eval().requires_grad_(False)
    means: dict[str, float] = {}
    began, spoke, done = time.monotonic(), 0.0, 0
    while True:
        seconds = time.monotonic() - began
        passed = seconds / (60 * pace.minutes) if pace.steps is None else done / pace.steps
        if passed >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = group.get("share", 1.0) * pace.rate * learning_rate(passed)
        losses = step()
        done += 1
        follow(average, network, min(pace.average, (1 + done) / (10 + done)))
        for name, value in losses.items():
            mean = means.get(name, 0.0)
            means[name] = mean + (value - mean) * max(0.02, 1 / done)
        if time.monotonic() - spoke > _SPEAK_S:
            spoke = time.monotonic()
            text = " ".join(f"{name} {mean:.3f}" for name, mean in means.items())
            report(f"{100 * passed:3.0f} %, {seconds:.0f} s, step {done}, losses {text}")
    report(f"{done} steps in {time.monotonic() - began:.0f} s")
    return average


def learning_rate(passed: float) -> float:
    """Share of the highest rate at a share of the time: linear warm-up over 5 %, then a cosine to zero."""
    return min(passed / 0.05 + 0.01, 0.5 + 0.5 * math.cos(math.pi * passed), 1.0)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move an average of weights and statistics towards a network's; what is not a real number is copied."""
    for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)


def made_ahead(jobs: Iterator[Callable[[], T]]) -> Iterator[T]:
    """Results of jobs, in their order; a thread makes the next `AHEAD` while the caller works on the last one."""
    with ThreadPoolExecutor(1) as worker:
        waiting: list[Future[T]] = [worker.submit(next(jobs)) for _ in range(AHEAD)]
        while True:
            waiting.append(worker.submit(next(jobs)))
            yield waiting.pop(0).result()


def faster_in_bfloat16(forward: Callable[[], Tensor], device: str = "cpu") -> bool:
    """True where this machine runs `forward`, and backward from what it gives, faster in bfloat16; tried, not guessed.

    Gradients add up meanwhile; the caller drops them, or tries a copy.
    """
    seconds = {False: math.inf, True: math.inf}
    for half in (False, True) * 3:  # the first round warms up, a busy machine may spoil another
        began = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            output = forward()
        output.backward()
        seconds[half] = min(seconds[half], time.perf_counter() - began)
    return seconds[True] < seconds[False]
