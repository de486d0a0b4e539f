"""Tracker: the stateful thing. One call per frame, empty frames included."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from numpy import empty, float32, int32, int64, uint8

from tracker.association.backend import solve_outside
from tracker.association.looks import Wardrobe
from tracker.association.plan import Plan
from tracker.association.state import State
from tracker.association.step import ASK_SOLVER, report, step
from tracker.errors import ConfigError, DetectionsError, FrameError
from tracker.types import Detections, Frame, Tracks

_STEADY = 0.05  # a gap this close to a whole number of frames is that number: jitter of the clock changes nothing
_LONGEST_STEP_FRAMES = 10_000.0  # a longer gap counts as this; a prediction over it is meaningless anyway


class Clock:
    """Time of a stream, and how far it moved, in nominal frames.

    A frame without a stamp comes one nominal frame after the one before. The first stamp of all only sets the clock:
    it is no gap, whatever it says. Stamped and unstamped frames may be mixed.

    Attributes:
        frame_rate: nominal frames per second.
        time_s: time of the last frame.
    """

    __slots__ = ("_anchor_s", "_frames", "_stamp_s", "frame_rate", "time_s")

    def __init__(self, frame_rate: float) -> None:
        self.frame_rate = frame_rate
        self.time_s = 0.0
        self._anchor_s = 0.0  # time of the last stamp, from which unstamped frames are counted
        self._frames = -1
        self._stamp_s: float | None = None

    def advance(self, time_s: float | None) -> float:
        """Go to the next frame; returns the step in nominal frames, exactly 1.0 without a stamp.

        Raises:
            FrameError: a stamp that is not finite or lies before the last stamp. The clock stays as it was.
        """
        if time_s is None:
            self._frames += 1
            self.time_s = self._anchor_s + self._frames / self.frame_rate
            return 1.0
        now = float(time_s)
        if not math.isfinite(now):
            raise FrameError(f"expected a finite time in seconds, got {now}")
        first = self._stamp_s is None
        if self._stamp_s is not None and now < self._stamp_s:
            raise FrameError(
                f"expected time to go on from {self._stamp_s} s, got {now} s; reset() the tracker for a new stream"
            )
        steps = 1.0 if first else max(0.0, (now - self.time_s) * self.frame_rate)
        self._stamp_s = self._anchor_s = self.time_s = now
        self._frames = 0
        whole = round(min(steps, _LONGEST_STEP_FRAMES))
        return float(whole) if whole and abs(steps - whole) <= _STEADY else min(steps, _LONGEST_STEP_FRAMES)


class Tracker:
    """Follows the objects of one stream. Ids count from 1, are never reused and belong to this instance.

    Args:
        plan: what tracker this is; `tracker.systems.create` has the published ones by name.
        frame_rate: nominal frames per second: the unit of velocities and noise, and the pace of unstamped frames.
        class_names: the model's, for plans whose class rules name classes.

    Raises:
        ConfigError: a frame rate that is not a positive number; class names are missing.
    """

    def __init__(self, plan: Plan, frame_rate: float = 30.0, class_names: Sequence[str] = ()) -> None:
        if isinstance(frame_rate, bool) or not isinstance(frame_rate, (int, float)) or not 0 < frame_rate < math.inf:
            raise ConfigError(f"expected frame_rate as frames per second above 0, got {frame_rate!r}")
        self.plan = plan
        self.frame_rate = float(frame_rate)
        self.class_names = tuple(class_names)
        self._table = plan.encode(self.frame_rate, class_names)
        self._past = 1 if plan.looks_back else None
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first one, the next id is 1."""
        self._state = State()
        self._wardrobe = Wardrobe(self.plan) if self.plan.needs else None
        self._clock = Clock(self.frame_rate)
        self._alive = 0

    def update(self, detections: Detections, frame: Frame | None = None, *, time_s: float | None = None) -> Tracks:
        """Take the detections of the next frame.

        A box without area (or beyond 1e9 px) is never matched and starts no track; it comes back in `unmatched`.

        Args:
            detections: this frame's; `Detections.empty()` where nothing was seen, time passes all the same.
            frame: the image that they belong to; gives the time unless `time_s` does.
            time_s: capture time in seconds. Without any the frame comes one nominal frame after the last. An equal
                stamp moves nothing; a later one moves the tracks by the real time.

        Returns:
            All live tracks after this frame.

        Raises:
            DetectionsError: something else than `Detections`.
            FrameError: a time that is not finite or runs backwards. In both cases nothing has changed.
        """
        if not isinstance(detections, Detections):
            raise DetectionsError(
                f"expected Detections, got {type(detections).__name__}; Detections.from_array takes rows of numbers"
            )
        wardrobe = self._wardrobe
        looks = None if wardrobe is None else wardrobe.show(detections)
        dt = self._clock.advance(frame.time_s if time_s is None and frame is not None else time_s)
        state = self._state
        scores = detections.scores
        if self._alive + len(scores) >= state.capacity:
            state.reserve(self._alive + len(scores))
        frame_of = detections.boxes, scores, detections.labels, dt, self._past, looks
        alive, alone = step(self._table, *state.arrays, *frame_of)
        while alive < 0:
            if alive == ASK_SOLVER:
                solve_outside(state)
            else:
                state.reserve_edges(-alive)
            alive, alone = step(self._table, *state.arrays, *frame_of)
        self._alive = alive
        if wardrobe is not None:
            wardrobe.keep(state, detections, looks)
        ids, boxes, seen_scores = empty(alive, int64), empty((alive, 4), float32), empty(alive, float32)
        states, numbers, unmatched = empty(alive, uint8), empty((4, alive), int32), empty(alone, int32)
        report(state.reals, state.ints, ids, boxes, seen_scores, states, numbers, unmatched)
        return Tracks(
            ids, boxes, seen_scores, numbers[0], states, numbers[1], numbers[2], numbers[3], unmatched,
            detections, self._clock.time_s,
        )  # fmt: skip

    def warmup(self) -> float:
        """Compile the step (or load it from the cache) without touching the tracks.

        Returns:
            Seconds that it took; next to nothing when it was compiled before, by any tracker of the process.
        """
        begin = time.perf_counter()
        Tracker(self.plan, self.frame_rate, self.class_names).update(Detections.empty())
        return time.perf_counter() - begin
