"""Events: what happened to each track from one snapshot to the next.

They are read off the snapshots alone, so whoever sees every `Tracks` can keep a log. What a snapshot does not say is
why a track ended. With the plan the reason often follows: a rule that would have ended the track if it was missed,
rules that could not. Where two reasons are possible the log names none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from tracker.association.plan import Plan
from tracker.errors import SnapshotError
from tracker.types import Tracks, TrackState

KINDS = ("born", "confirmed", "lost", "recovered", "ended", "open")
"""What can happen; `open` is not an event of the track but the end of the log."""

NEVER_CONFIRMED = "never confirmed"
COASTED = "coasted too long"
MISSED = "missed while tentative"
DUPLICATE = "duplicate of another track"
RESET = "reset"
OLDER = "older than its first snapshot"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one track.

    Attributes:
        kind: one of `KINDS`. born: the id is there for the first time. confirmed: it is reported for the first time,
            once per track. lost: it was not seen in this frame and coasts. recovered: it coasted and was seen again.
            ended: the id will not come back. open: it was alive when the log was closed.
        id: of the track.
        frame: number of the frame, from 0.
        time_s: time of the frame.
        state: of the track after the frame, `TrackState`; in ended and open the last one it had.
        label: its class.
        box: x1 y1 x2 y2, source pixels: where it was last seen.
        score: of the last detection taken.
        hits: detections taken since birth.
        age_frames, age_s: since the frame of its birth.
        reason: of ended: "never confirmed" (the system did not report it once), "coasted too long", "missed while
            tentative" (and confirmed before), "duplicate of another track", "reset", or None where the snapshots leave
            it open. Of born: "older than its first snapshot" (the log began later, or something held it back; its age
            counts from there). Otherwise None.
    """

    kind: str
    id: int
    frame: int
    time_s: float
    state: TrackState
    label: int
    box: tuple[float, float, float, float]
    score: float
    hits: int
    age_frames: int
    age_s: float
    reason: str | None = None


@dataclass(slots=True)
class _Life:
    """What the log knows of a live track."""

    born_count: int
    born_s: float
    whole: bool  # seen from its birth on
    state: int = TrackState.TENTATIVE
    confirmed: bool = False
    expired: bool = False  # it once coasted beyond the limit, and was left one more frame (late expiry)
    label: int = 0
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    score: float = 0.0
    hits: int = 0
    misses: int = 0


class EventLog:
    """Turns the snapshots of one tracker, each of them in order, into events.

    An id that a tracker gave and took back within one frame (a duplicate in the frame of its birth) is in no snapshot
    and has no events. Every other id has exactly one born, at most one confirmed and at most one ended.

    Args:
        plan: the tracker's; without it the only reasons are "never confirmed" and "reset".
    """

    def __init__(self, plan: Plan | None = None) -> None:
        self._plan = plan if plan is not None and _ends_are_known(plan) else None
        self._begin()

    def _begin(self) -> None:
        self._lives: dict[int, _Life] = {}
        self._last_id = 0
        self._count = 0  # snapshots since the first one or a reset
        self._frame = -1
        self._time_s = 0.0

    def observe(self, tracks: Tracks, frame: int | None = None) -> list[Event]:
        """Events of the next frame: ends first, then by id; a track's own in the order of `KINDS`.

        A new track with an id that was given before says that the tracker was reset: all others end with that reason.

        Args:
            tracks: the snapshot after the frame.
            frame: its number; one more than the last one if not given.
        """
        columns = zip(
            tracks.ids.tolist(), tracks.states.tolist(), tracks.labels.tolist(), tracks.scores.tolist(),
            tracks.hits.tolist(), tracks.misses.tolist(), tracks.boxes.tolist(), strict=True,
        )  # fmt: skip
        rows = sorted(columns)
        looked = tracks.detections.looked  # else the ages stand still, and a newborn is one for another frame
        fresh = [row[0] for row in rows if row[4] == 1 and row[5] == 0] if looked else []
        events = self.reset() if fresh and fresh[0] <= self._last_id else []
        self._frame = self._frame + 1 if frame is None else frame
        self._time_s = tracks.time_s
        self._count += 1
        alive = {row[0] for row in rows}
        for number in [number for number in self._lives if number not in alive]:
            life = self._lives.pop(number)
            events.append(self._event("ended", number, life, self._why(life, tracks)))
        for number, state, label, score, hits, misses, (x1, y1, x2, y2) in rows:
            kinds = []
            if number not in self._lives:
                self._lives[number] = _Life(self._count, self._time_s, hits == 1 and misses == 0)
                self._last_id = max(self._last_id, number)
                kinds.append("born")
            life = self._lives[number]
            coasted, coasts = life.state == TrackState.COASTING, state == TrackState.COASTING
            if not coasts or "born" in kinds:
                life.box = (x1, y1, x2, y2)
            if state == TrackState.CONFIRMED and not life.confirmed:
                kinds.append("confirmed")
                life.confirmed = True
            if coasts != coasted and (coasts or misses == 0):
                kinds.append("lost" if coasts else "recovered")
            life.state, life.label, life.score, life.hits, life.misses = state, label, score, hits, misses
            if self._plan is not None and misses > self._plan.max_coast_frames:
                life.expired = True
            for kind in sorted(kinds, key=KINDS.index):
                reason = OLDER if kind == "born" and not life.whole else None
                events.append(self._event(kind, number, life, reason))
        return events

    def reset(self) -> list[Event]:
        """The tracker is reset: what lives ends now, in the last frame seen, and ids begin anew."""
        events = [self._event("ended", number, life, RESET) for number, life in self._lives.items()]
        self._begin()
        return events

    def close(self) -> list[Event]:
        """An `open` for every track that is still alive; the log begins anew."""
        events = [self._event("open", number, life, None) for number, life in self._lives.items()]
        self._begin()
        return events

    def dump(self) -> dict[str, Any]:
        """What the log knows, as plain data for JSON."""
        return {
            "lives": {str(number): asdict(life) for number, life in self._lives.items()},
            "last_id": self._last_id, "count": self._count, "frame": self._frame, "time_s": self._time_s,
        }  # fmt: skip

    def restore(self, data: dict[str, Any]) -> None:
        """Become the log that `dump` described.

        Raises:
            SnapshotError: something else. Nothing has changed.
        """
        try:
            lives = {int(number): _Life(**life) for number, life in data["lives"].items()}
            counters = data["last_id"], data["count"], data["frame"], data["time_s"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SnapshotError(f"expected an event log, got {error!r}") from None
        for life in lives.values():
            x1, y1, x2, y2 = life.box
            life.box = (x1, y1, x2, y2)
        self._lives = lives
        self._last_id, self._count, self._frame, self._time_s = counters

    def _event(self, kind: str, number: int, life: _Life, reason: str | None) -> Event:
        return Event(
            kind, number, self._frame, self._time_s, TrackState(life.state), life.label, life.box, life.score,
            life.hits, self._count - life.born_count, self._time_s - life.born_s, reason,
        )  # fmt: skip

    def _why(self, life: _Life, tracks: Tracks) -> str | None:
        """Reason for the end of a track between the last snapshot and this one, if there is only one."""
        fact = None if life.confirmed else NEVER_CONFIRMED
        plan = self._plan
        if plan is None or not life.whole:
            return fact
        duplicates = plan.duplicate_iou < 1
        if life.state == TrackState.TENTATIVE and not plan.tentative_coasts:
            missing_ends_it, reason = True, MISSED
        elif plan.max_coast_s > 0 or any(rule.max_coast_frames is not None for rule in plan.classes):
            return fact if duplicates or fact is not None else COASTED
        elif plan.late_expiry:
            missing_ends_it, reason = life.expired, COASTED
        else:
            missing_ends_it, reason = life.misses + 1 > plan.max_coast_frames, COASTED
        if not missing_ends_it:
            return DUPLICATE if duplicates else fact
        if fact is None and not (duplicates and _may_be_seen(plan, life.state, tracks)):
            return reason
        return fact


def _may_be_seen(plan: Plan, state: int, tracks: Tracks) -> bool:
    """Whether a track in this state may have taken one of the detections that nobody has after the frame.

    A duplicate that was seen and then ended gives its detection back.
    """
    detections = tracks.detections
    scores = detections.scores[tracks.unmatched].astype(np.float64)
    phase = TrackState(state).name.lower()
    return any(
        phase in stage.tracks and bool(((scores > stage.score_above) & (scores < stage.score_below)).any())
        for stage in plan.stages
    )


_RULES = {
    "stages", "motion", "per_class", "inclusive_boxes", "min_score", "birth_score", "confirm_hits", "confirm_once",
    "grace_frames", "max_coast_frames", "late_expiry", "tentative_coasts", "tentative_moves", "duplicate_iou",
    "birth_iou", "detection_share", "camera", "replay", "look_back_frames", "confirm_s", "max_coast_s", "min_mask_px",
    "label", "vote_margin", "flow", "chain_masks", "gallery", "gallery_frames", "gallery_momentum", "suppress_iou",
    "resume_score", "keep_score", "follow_score", "search_frames", "classes", "groups", "births",
}  # fmt: skip
"""Fields of `Plan` that `EventLog._why` was written for: none but those that it reads ends a track."""


def _ends_are_known(plan: Plan) -> bool:
    """Whether the plan uses no rule beyond `_RULES`; one that does may end tracks for other reasons."""
    return all(f.name in _RULES or getattr(plan, f.name) == f.default for f in fields(plan))
