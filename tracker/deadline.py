"""Deadlines: what a frame goes without, so that its tracks come in time.

A frame whose tracks would come too late loses steps in the order of `STEPS`, only as many as it takes. What each step
costs is measured while the run goes on and estimated much as in TCP's retransmission timer: smoothed mean plus twice
the smoothed deviation (upwards). The estimate of a step that is left out fades by 1 % a frame until the step is tried
again: one that is a little too slow soon, one that is far too slow rarely.

Source of the estimator: V. Jacobson, Congestion Avoidance and Control, SIGCOMM 1988.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic

from tracker.errors import ConfigError
from tracker.types import Frame

STEPS = ("flow", "embeddings", "detector")
"""What a frame can go without, in the order in which it does. Without the detector tracks are only predicted."""

_MEAN_GAIN, _EXCESS_GAIN = 1 / 8, 1 / 4
_FADE = 0.99


class _Cost:
    """Seconds that a step takes; 0 until it was measured."""

    def __init__(self) -> None:
        self._mean_s = self._excess_s = 0.0
        self._guessed = True

    @property
    def estimate_s(self) -> float:
        return self._mean_s + 2 * self._excess_s

    def observe(self, seconds: float) -> None:
        if self._guessed:
            self._mean_s, self._guessed = seconds, False
            return
        error = seconds - self._mean_s
        self._mean_s += _MEAN_GAIN * error
        self._excess_s += _EXCESS_GAIN * (max(error, 0.0) - self._excess_s)

    def fade(self) -> None:
        self._mean_s *= _FADE
        self._excess_s *= _FADE
        self._guessed = True


@dataclass(slots=True)
class _Course:
    """A frame between `look` and `finish`; times on the monotonic clock, those of steps in seconds."""

    arrived: float
    looked: float
    shed: tuple[str, ...]
    detector: bool
    reached: float = 0.0
    steps_s: float = 0.0


class Deadline:
    """Decides for each frame of one stream, when its turn comes, what to leave out.

    A frame calls `look` (before the network), `reach` (its detections are there) and `finish` (its tracks are), and
    `time` around steps of its own. Frames may overlap; each method has one thread that calls it.

    Args:
        budget_s: from the arrival of a frame (for sources that are not live: from `look`) to its tracks.
        steps: of `STEPS`, those that the run has and can do without.
        most_blind: frames in a row without detector; the next one has it even if it will be late, because tracks that
            are only predicted are soon worth nothing.

    Attributes:
        late: frames whose tracks came after the deadline.
        shed: step -> frames that went without it.

    Raises:
        ConfigError: a budget that is no time, or an unknown step.
    """

    def __init__(self, budget_s: float, steps: Iterable[str] = STEPS, most_blind: int = 4) -> None:
        if not (math.isfinite(budget_s) and budget_s > 0):
            raise ConfigError(f"expected a deadline as a positive number, got {budget_s}")
        if unknown := sorted(set(steps) - set(STEPS)):
            raise ConfigError(f"cannot leave out {unknown[0]!r}; steps are {', '.join(STEPS)}")
        self.budget_s = budget_s
        self.steps = tuple(step for step in STEPS if step in set(steps))
        self.late = 0
        self.shed = dict.fromkeys(self.steps, 0)
        self._most_blind = most_blind
        self._blind = 0
        self._costs = {name: _Cost() for name in (*STEPS, "rest")}
        self._courses: dict[int, _Course] = {}
        self._lock = threading.Lock()

    def look(self, frame: Frame, wanted: bool = True) -> bool:
        """Decide for a frame; whether the detector runs on it.

        Args:
            frame: whose turn it is.
            wanted: False where it would not run in any case; that is not shedding.
        """
        now = monotonic()
        arrived = now if frame.arrived_s is None else frame.arrived_s
        with self._lock:
            shed = self._choose(self.budget_s - (now - arrived), wanted)
            self._blind = self._blind + 1 if "detector" in shed else 0 if wanted else self._blind
            for step in shed:
                self.shed[step] += 1
                self._costs[step].fade()
            looks = wanted and "detector" not in shed
            self._courses[frame.index] = _Course(arrived, now, shed, looks)
        return looks

    def after(self, look: Callable[[Frame], bool]) -> Callable[[Frame], bool]:
        """A `look` that lets another one decide first, such as every n-th frame."""
        return lambda frame: self.look(frame, look(frame))

    def reach(self, frame: Frame) -> tuple[str, ...]:
        """The frame's detections are there: the steps that it goes without."""
        course = self._courses.get(frame.index)
        if course is None:
            return ()
        course.reached = monotonic()
        if course.detector:
            self._costs["detector"].observe(course.reached - course.looked - course.steps_s)
        course.steps_s = 0.0
        return course.shed

    @contextlib.contextmanager
    def time(self, frame: Frame, step: str) -> Iterator[None]:
        """Measure the body as the frame's share of a step, which is then no part of the detector or the rest."""
        begin = monotonic()
        yield
        seconds = monotonic() - begin
        self._costs[step].observe(seconds)
        if (course := self._courses.get(frame.index)) is not None:
            course.steps_s += seconds

    def finish(self, frame: Frame) -> bool:
        """The frame's tracks are there: whether they are in time."""
        now = monotonic()
        with self._lock:
            course = self._courses.pop(frame.index, None)
            for index in [index for index in self._courses if index < frame.index]:
                del self._courses[index]  # frames that got lost on the way
        if course is None:
            return True
        self._costs["rest"].observe(now - course.reached - course.steps_s)
        late = now - course.arrived > self.budget_s
        self.late += late
        return not late

    def __str__(self) -> str:
        """One line about the run so far."""
        shed = ", ".join(f"{count} without {step}" for step, count in self.shed.items() if count)
        return f"deadline {1e3 * self.budget_s:g} ms: {self.late} frames late" + (f"; {shed}" if shed else "")

    def _choose(self, left_s: float, wanted: bool) -> tuple[str, ...]:
        """Steps to leave out, so that what remains is estimated to take no more than `left_s`."""
        costs_s = {step: self._costs[step].estimate_s for step in STEPS if wanted or step == "flow"}
        total_s = self._costs["rest"].estimate_s + sum(costs_s.values())
        shed: list[str] = []
        for step, cost_s in costs_s.items():
            if total_s <= left_s:
                break
            blind = step == "detector" and self._blind >= self._most_blind
            if step in self.steps and cost_s > 0 and not blind:
                shed.append(step)
                total_s -= cost_s
        return tuple(shed)
