"""Tracker: the stateful thing. One call per frame, empty frames included."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy import empty, uint8
from numpy.typing import ArrayLike

from tracker.association.backend import solve_outside
from tracker.association.camera import as_affine, move_tracks
from tracker.association.events import Event, EventLog
from tracker.association.given import row_ids, take_rows
from tracker.association.glide import glide
from tracker.association.looks import SHOWN, Wardrobe
from tracker.association.motion import MOTIONS
from tracker.association.plan import Plan
from tracker.association.query import Estimates, estimate
from tracker.association.snapshot import Snapshot, read_snapshot, write_snapshot
from tracker.association.stages import ASK_SOLVER
from tracker.association.state import COUNT, LAST_ID, State
from tracker.association.step import step
from tracker.errors import ConfigError, DetectionsError, FrameError, SnapshotError
from tracker.types import Detections, Flow, Frame, Tracks
from tracker.types.tracks import BLOCK_BYTES, tracks_of_block

if TYPE_CHECKING:
    from tracker.association.explain import Explainer
    from tracker.association.explanation import Explanation

_STEADY = 0.05  # a gap this close to a whole number of frames is that number: jitter of the clock changes nothing
_LATEST_S = 1e11  # some 3000 years: whoever stamps frames with more counts from 1970, and in other units
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
            FrameError: a stamp that is no number of seconds, or lies before the last stamp. The clock stays as it was.
        """
        if time_s is None:
            self._frames += 1
            self.time_s = self._anchor_s + self._frames / self.frame_rate
            return 1.0
        try:
            now = float(time_s)
        except (TypeError, ValueError):
            raise FrameError(f"expected a time in seconds, as a number, got {time_s!r}") from None
        if not math.isfinite(now):
            raise FrameError(f"expected a finite time in seconds, got {now}")
        if abs(now) > _LATEST_S:
            raise FrameError(f"expected a time in seconds, got {now:g}; divide milli-, micro- or nanoseconds first")
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

    def move_to(self, time_s: float) -> None:
        """Say when the last frame was, on another clock: that of the stamps to come."""
        self.time_s = self._anchor_s = time_s
        self._frames = 0
        self._stamp_s = None if self._stamp_s is None else time_s

    def dump(self) -> dict[str, Any]:
        """All of it, as plain data for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    def restore(self, data: dict[str, Any]) -> None:
        """Become the clock that `dump` described.

        Raises:
            SnapshotError: something else. Nothing has changed.
        """
        if set(data) != set(self.__slots__):
            raise SnapshotError(f"expected a clock with {', '.join(self.__slots__)}, got {', '.join(data)}")
        for name, value in data.items():
            setattr(self, name, value)


def _names(given: object) -> tuple[str, ...]:
    """Names of classes in the order of their numbers, of a list or a mapping.

    Raises:
        ConfigError: anything else, as one text or numbers that do not count from 0.
    """
    if isinstance(given, Mapping):
        listed = list(given.values()) if list(given) == list(range(len(given))) else None
    else:
        listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str | set | frozenset) else None
    if listed is None or not all(isinstance(name, str) for name in listed):
        raise ConfigError(
            f"expected class_names as a list of texts, or a mapping from 0, 1, 2 ... to them, got {given!r}"
        )
    return tuple(listed)


class Tracker:
    """Follows the objects of one stream. Ids count from 1, are never reused and belong to this instance.

    Args:
        plan: what tracker this is; `tracker.systems.create` has the published ones by name.
        frame_rate: nominal frames per second: the unit of velocities and noise, and the pace of unstamped frames.
        class_names: the model's, for plans whose class rules name classes: texts in the order of their numbers, or a
            mapping from the numbers 0, 1, 2 ... to them.
        on_event: called with each `Event` (born, confirmed, lost, recovered, ended) at the end of the `update` or
            `reset` that it happens in, whose caller gets what it raises. Without it nothing is spent on events.
        explain: keep what `explain` needs, see `keep_explanations`.

    Raises:
        ConfigError: a frame rate that is not a positive number; class names are missing, or no texts in order.
    """

    _SETTINGS = ("frame_rate", "class_names")  # arguments that travel in a snapshot beside the plan

    def __init__(
        self,
        plan: Plan,
        frame_rate: float = 30.0,
        class_names: Sequence[str] | Mapping[int, str] = (),
        *,
        on_event: Callable[[Event], object] | None = None,
        explain: bool = False,
    ) -> None:
        if isinstance(frame_rate, bool) or not isinstance(frame_rate, (int, float)) or not 0 < frame_rate < math.inf:
            raise ConfigError(f"expected frame_rate as frames per second above 0, got {frame_rate!r}")
        self.plan = plan
        self.frame_rate = float(frame_rate)
        self.class_names = _names(class_names)
        self._table = plan.encode(self.frame_rate, self.class_names)
        self._past = 1 if plan.looks_back else None
        self._on_event = on_event
        self._log = EventLog(plan)
        self._explainer: Explainer | None
        self.keep_explanations(explain)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first one, may have any time, and the next id is 1.

        Ids are unique from one reset to the next; whoever stores those of several runs keeps a number of the run too.
        All live tracks end, with the reason "reset".
        """
        self._state = State()
        self._wardrobe = Wardrobe(self.plan) if self.plan.needs else None
        self._clock = Clock(self.frame_rate)
        self._alive = 0
        if self._explainer is not None:
            self._explainer.forget()
        self._tell(self._log.reset())

    def update(
        self,
        detections: Detections,
        frame: Frame | None = None,
        *,
        time_s: float | None = None,
        flow: Flow | None = None,
        camera: ArrayLike | None = None,
    ) -> Tracks:
        """Take the detections of the next frame.

        A box without area (or beyond 1e9 px) is never matched and starts no track; it comes back in `unmatched`.

        Where nobody looked (`Detections.unlooked()`, as between the frames of a detector that runs on every third one)
        tracks are predicted and keep their state: confirmed ones stay confirmed and are reported where they should be
        by now, with `source` -1 unless learned motion gave a row. None counts as missed, none is born, none ends;
        limits in frames stand still, those in seconds go on and take effect in the next frame that is looked at.

        Args:
            detections: this frame's; `Detections.empty()` where nothing was seen, time passes all the same;
                `Detections.unlooked()` where nobody looked.
            frame: the image that they belong to; gives the time unless `time_s` does.
            time_s: capture time in seconds. Without any the frame comes one nominal frame after the last. An equal
                stamp moves nothing; a later one moves the tracks by the real time.
            flow: optical flow between the frame before and this one, for plans that carry masks along it. Where masks
                are not carried on in every frame (`Plan.chain_masks`), it goes from the frame that was looked at last.
            camera: (2, 3) affine map of the picture before onto this one, px, as `tracker.camera` estimates it: every
                track is moved by it before it is predicted. Masks that tracks keep stay where they are.

        Returns:
            All live tracks after this frame.

        Raises:
            DetectionsError: something else than `Detections`, or without what the plan compares.
            FrameError: something else than a `Frame`, a time that is not finite or runs backwards, a camera motion that
                is no invertible map, a plan that needs flow and gets none. In all cases nothing has changed.
        """
        if not isinstance(detections, Detections):
            raise DetectionsError(
                f"expected Detections, got {type(detections).__name__}; Detections.from_array takes rows of numbers, "
                "Detections.empty() is nothing seen, Detections.unlooked() is nobody looked"
            )
        if frame is not None and not isinstance(frame, Frame):
            raise FrameError(
                f"expected a Frame, got {type(frame).__name__}; leave it out, or Frame(index, time_s, image) makes one"
            )
        wardrobe, state, clock, looked = self._wardrobe, self._state, self._clock, detections.looked
        shown = wardrobe is not None and (looked or self.plan.chain_masks)
        looks = wardrobe.show(detections, flow) if wardrobe is not None and shown else None
        affine = None if camera is None else as_affine(camera)
        dt = clock.advance(frame.time_s if time_s is None and frame is not None else time_s)
        scores = detections.scores
        most = self._alive + len(scores)
        if most >= state.capacity:
            state.reserve(most)
        if affine is not None:
            move_tracks(self._table, state.reals, self._alive, affine)
        if self._explainer is not None:
            self._explainer.keep(state, detections, dt, self._past, looks)
        block = empty((most + 7 & -8) * BLOCK_BYTES, uint8)
        if looked:
            if self.plan.follows:
                scores = take_rows(self._table, *state.arrays, detections.boxes, scores, row_ids(detections))
            frame_of = detections.boxes, scores, detections.labels, dt, self._past, looks, block
            counts = step(self._table, *state.arrays, *frame_of)
            while counts[0] < 0:
                if counts[0] == ASK_SOLVER:
                    solve_outside(state)
                else:
                    state.reserve_edges(-counts[0])
                counts = step(self._table, *state.arrays, *frame_of)
        else:
            counts = glide(self._table, *state.arrays, detections.boxes, scores, row_ids(detections), dt, block)
        self._alive = counts[0]
        if wardrobe is not None and looks is not None:
            wardrobe.keep(state, detections, looks)
        tracks = tracks_of_block(block, counts, detections, clock.time_s)
        if self._on_event is not None:
            self._tell(self._log.observe(tracks, None if frame is None else frame.index))
        return tracks

    def at(self, time_s: float, *, half_life_s: float = 1.0) -> Estimates:
        """Where every live track is at a time, how it moves and how sure that is. Changes nothing.

        From the last frame on, a track goes on with the velocity of its filter, which halves every `half_life_s` from
        the moment when the track was last seen: who is out of sight comes to rest. The next frame's prediction (and
        with it the next answer) keeps the full velocity, as the published systems do. In motion "none" boxes rest,
        velocities are 0 and covariances NaN. Where a plan shows detections' own boxes (`detection_share`), this is
        still the filter's estimate.

        Args:
            time_s: on the clock of the stamps given to `update`, not before the last frame. A time more than 10,000
                frames later gives what 10,000 frames later would.
            half_life_s: seconds in which a velocity halves; `math.inf` for never.

        Returns:
            All live tracks, in the order of the last frame's `Tracks`; empty before the first frame.

        Raises:
            FrameError: a time that is not finite or lies before the last frame: what the filters were then is gone.
            ConfigError: a half-life that is not above 0.
        """
        if not (isinstance(half_life_s, (int, float)) and half_life_s > 0):
            raise ConfigError(f"expected half_life_s as seconds above 0, got {half_life_s!r}")
        now, last = float(time_s), self._clock.time_s
        if not math.isfinite(now):
            raise FrameError(f"expected a finite time in seconds, got {now}")
        if now < last and self._alive:
            raise FrameError(f"expected a time from the last frame on ({last} s), got {now} s")
        frames = min(max(now - last, 0.0) * self.frame_rate, _LONGEST_STEP_FRAMES)
        motion = MOTIONS[self.plan.motion]
        return estimate(motion, self._state, frames, now, frame_rate=self.frame_rate, half_life_s=half_life_s)

    def keep_explanations(self, on: bool = True) -> None:
        """Copy all tracks before every frame from now on, so that `explain` can tell about it; or stop that.

        Off, the default, nothing is kept and no time is spent.
        """
        self._explainer = None
        if on:
            from tracker.association.explain import Explainer  # loaded for those who ask

            self._explainer = Explainer(self.plan, self._table, self.class_names)

    def explain(self, track: int | None = None, *, detection: int | None = None) -> Explanation:
        """Why a track took its detection or none, or why a detection went where it went, in the last frame.

        The frame runs again on copies, stage by stage; no result changes. The first time a process asks, a kernel is
        compiled or loaded, which takes seconds.

        Args:
            track: id of a track that lived before or after the frame.
            detection: row of the frame's detections, instead.

        Returns:
            Every stage with every candidate, its cues, total, gate and verdict; `print` shows it as a table.

        Raises:
            ConfigError: explanations are not kept, there is no such track or detection, or both or none are given.
            FrameError: there was no frame since `keep_explanations`, or since a reset, or nobody looked at it.
        """
        if self._explainer is None:
            raise ConfigError("expected a tracker that keeps explanations: call keep_explanations() before the frame")
        return self._explainer.explain(self._state, self._clock.time_s, track, detection)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of the tracker to one file, between two frames; `load` goes on from there.

        A file of this name is replaced at once or not at all. `on_event` is not saved, what its events build on is.

        Raises:
            SnapshotError: the file cannot be written.
        """
        settings = {name: getattr(self, name) for name in self._SETTINGS}
        events = None if self._on_event is None else self._log.dump()
        arrays = self._state.dump()
        if self._wardrobe is not None:
            arrays |= self._wardrobe.dump()
        write_snapshot(path, Snapshot(self.plan, settings, self._clock.dump(), arrays, events))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        on_event: Callable[[Event], object] | None = None,
        time_s: float | None = None,
        skip_ids: int = 0,
    ) -> Tracker:
        """Make the tracker that was saved: same plan, clock and tracks, and from here on the same results, to the bit.

        Args:
            path: file of `save`, from any machine; the version of trackstream must know its plan and state.
            on_event: as for a new tracker. Where the saved one had one, events go on; otherwise the tracks that are
                alive are born, for the log, in the next frame.
            time_s: when the last frame was, on the clock of the frames to come, where that is another one; by default
                the saved clock goes on.
            skip_ids: leave out so many ids, where some may have been given after the file was saved.

        Raises:
            SnapshotError: no such file, not a saved tracker, damaged, or of another version.
        """
        saved = read_snapshot(path)
        try:
            if set(saved.settings) != set(cls._SETTINGS):
                raise SnapshotError(f"expected settings {', '.join(cls._SETTINGS)}, got {', '.join(saved.settings)}")
            loaded = cls(saved.plan, **saved.settings, on_event=on_event)
            looks = {name: saved.arrays.pop(name) for name in list(saved.arrays) if name.startswith(SHOWN)}
            loaded._state.restore(saved.arrays)
            if loaded._wardrobe is not None:
                loaded._wardrobe.restore(looks, int(saved.arrays["counters"][COUNT]))
            loaded._clock.restore(saved.clock)
            loaded._alive = int(saved.arrays["counters"][COUNT])
            loaded._state.counters[LAST_ID] += skip_ids
            if time_s is not None:
                loaded._clock.move_to(time_s)
            if saved.events is not None:
                loaded._log.restore(saved.events)
        except (ConfigError, SnapshotError) as error:
            raise SnapshotError(f"cannot go on from {os.fspath(path)}: {error}") from None
        return loaded

    def _tell(self, events: list[Event]) -> None:
        if self._on_event is not None:
            for event in events:
                self._on_event(event)

    def warmup(self) -> float:
        """Compile the step (or load it from the cache) without touching the tracks.

        Returns:
            Seconds that it took; next to nothing when it was compiled before, by any tracker of the process.
        """
        begin = time.perf_counter()
        Tracker(self.plan, self.frame_rate, self.class_names).update(Detections.empty())
        return time.perf_counter() - begin
