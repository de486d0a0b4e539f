"""Do two results give every object the same identity, whatever the ids are called? `iddiff`'s reading and comparing.

In each frame the objects of both sides are paired by their boxes, one to one. The ids of a pair are then held together
for the whole sequence: the first pair of an id says what it is called on the other side. The two agree if no object is
alone and no pair contradicts this; as far as that is so, one renaming of ids turns one result into the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import FormatError, why
from tracker.formats.mot import read_mot
from tracker.formats.mots import read_mots
from tracker.formats.recording import Recording, is_recording
from tracker.types import TrackState

LEAST_IOU = 0.5
"""Two boxes that overlap less are not the same object."""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Reported objects of one frame: ids (N,) int64 and boxes (N, 4) float64 xyxy."""

    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]


NOTHING = Objects(np.zeros(0, np.int64), np.zeros((0, 4)))


@dataclass(frozen=True, slots=True)
class Event:
    """One object of one frame on which the two do not agree.

    Attributes:
        frame: index from 0.
        kind: "only a", "only b", "id" (paired with another id than before) or "shift" (boxes too far apart).
        a: its id there; None for "only b".
        b: likewise.
        expected: with "id", what the renaming says instead: b's id for a's and a's id for b's, None where new.
        box: xyxy, of a where it is there.
    """

    frame: int
    kind: str
    a: int | None
    b: int | None
    expected: tuple[int | None, int | None]
    box: tuple[float, ...]


@dataclass(slots=True)
class Comparison:
    """How two results differ.

    Attributes:
        frames: (of a, of b) with an object.
        ids: likewise, how many.
        boxes: likewise, how many.
        only_a: objects without a partner in b.
        only_b: and the other way round.
        other_id: pairs that contradict the renaming that came first.
        switches: of these, pairs that also contradict the pair before: how often an identity moves.
        shifted: pairs whose boxes are further apart than allowed.
        frames_apart: frames with any of these.
        largest_shift_px: largest difference of a coordinate between the boxes of a pair.
        first: all events of the first frame with one.
        first_id: the "id" events of the first frame with one of these; objects may have been missing long before.
    """

    frames: tuple[int, int] = (0, 0)
    ids: tuple[int, int] = (0, 0)
    boxes: tuple[int, int] = (0, 0)
    only_a: int = 0
    only_b: int = 0
    other_id: int = 0
    switches: int = 0
    frames_apart: int = 0
    shifted: int = 0
    largest_shift_px: float = 0.0
    first: list[Event] = field(default_factory=list)
    first_id: list[Event] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """One renaming of ids turns one into the other."""
        return not self.first


def compare(a: dict[int, Objects], b: dict[int, Objects], max_shift_px: float = math.inf) -> Comparison:
    """Compare two results, frame index -> objects; frames that one side lacks have no objects there.

    Args:
        a: one result.
        b: the other.
        max_shift_px: boxes of a pair with a coordinate further apart are a difference too.
    """
    (frames_a, ids_a, boxes_a), (frames_b, ids_b, boxes_b) = _count(a), _count(b)
    found = Comparison((frames_a, frames_b), (ids_a, ids_b), (boxes_a, boxes_b))
    names, lately = _Renaming(), _Renaming()
    for frame in sorted(a.keys() | b.keys()):
        left, right = a.get(frame, NOTHING), b.get(frame, NOTHING)
        events = _compare_frame(frame, left, right, max_shift_px, names, lately, found)
        found.frames_apart += bool(events)
        found.first = found.first or events
        found.first_id = found.first_id or [event for event in events if event.kind == "id"]
    return found


class _Renaming:
    """A one-to-one map between the ids of a and b, made from pairs as they come."""

    def __init__(self) -> None:
        self.of_a: dict[int, int] = {}
        self.of_b: dict[int, int] = {}

    def agrees(self, a: int, b: int) -> bool:
        """The pair does not contradict an earlier one."""
        return self.of_a.get(a, b) == b and self.of_b.get(b, a) == a

    def take(self, a: int, b: int) -> None:
        """From now on these belong together; what they belonged to before is forgotten."""
        self.of_b.pop(self.of_a.get(a, b), None)
        self.of_a.pop(self.of_b.get(b, a), None)
        self.of_a[a], self.of_b[b] = b, a


def _compare_frame(
    frame: int,
    left: Objects,
    right: Objects,
    max_shift_px: float,
    names: _Renaming,
    lately: _Renaming,
    found: Comparison,
) -> list[Event]:
    """One frame's events; counts go to `found`, new names to `names` and the latest ones to `lately`."""
    pairs = _pair(left, right, names)
    events = []
    for i, j in pairs:
        a, b = int(left.ids[i]), int(right.ids[j])
        expected, box = (names.of_a.get(a), names.of_b.get(b)), tuple(left.boxes[i].tolist())
        shift_px = float(np.abs(left.boxes[i] - right.boxes[j]).max())
        found.largest_shift_px = max(found.largest_shift_px, shift_px)
        if shift_px > max_shift_px:
            events.append(Event(frame, "shift", a, b, expected, box))
            found.shifted += 1
        if names.agrees(a, b):
            names.take(a, b)
        else:
            events.append(Event(frame, "id", a, b, expected, box))
            found.other_id += 1
            found.switches += not lately.agrees(a, b)
    for i, j in pairs:
        lately.take(int(left.ids[i]), int(right.ids[j]))
    for i in sorted(set(range(len(left.ids))) - {i for i, _ in pairs}):
        a = int(left.ids[i])
        events.append(Event(frame, "only a", a, None, (names.of_a.get(a), None), tuple(left.boxes[i].tolist())))
        found.only_a += 1
    for j in sorted(set(range(len(right.ids))) - {j for _, j in pairs}):
        b = int(right.ids[j])
        events.append(Event(frame, "only b", None, b, (None, names.of_b.get(b)), tuple(right.boxes[j].tolist())))
        found.only_b += 1
    return events


def _pair(left: Objects, right: Objects, names: _Renaming) -> list[tuple[int, int]]:
    """One-to-one pairs (row of a, row of b), greedily by overlap.

    Of boxes that overlap equally (twins on top of each other) those go together whose ids already do.
    """
    overlap = _overlap(left.boxes, right.boxes)
    candidates = []
    for i, j in np.argwhere(overlap >= LEAST_IOU).tolist():
        a, b = int(left.ids[i]), int(right.ids[j])
        candidates.append((-round(float(overlap[i, j]), 3), names.of_a.get(a) != b, not names.agrees(a, b), i, j))
    pairs, taken_a, taken_b = [], set(), set()
    for *_, i, j in sorted(candidates):
        if i not in taken_a and j not in taken_b:
            pairs.append((i, j))
            taken_a.add(i)
            taken_b.add(j)
    return sorted(pairs)


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, M) intersection over union; equal boxes give 1 even without area."""
    shared = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    area = np.maximum(shared, 0).prod(2)
    union = (a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1)[None, :] - area
    iou: NDArray[np.float64] = np.divide(area, union, out=np.zeros_like(area), where=union > 0)
    return np.where((a[:, None] == b[None]).all(2), 1.0, iou)


def _count(result: dict[int, Objects]) -> tuple[int, int, int]:
    """Frames with an object, ids, boxes."""
    ids = [objects.ids for objects in result.values() if len(objects.ids)]
    return len(ids), len(np.unique(np.concatenate(ids))) if ids else 0, sum(map(len, ids))


# ---------------------------------------------------------------------- reading
def read_result(path: str) -> dict[int, Objects]:
    """Reported objects of a result file, by frame index from 0; what kind of file it is says its beginning.

    Takes `.trk` recordings (what the run made of them), tracks.jsonl (its confirmed tracks), tracks.txt (MOTChallenge)
    and masks.txt (MOTS; boxes around the masks).

    Raises:
        FormatError: it cannot be read or is none of these.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise FormatError(f"cannot read {path}: {why(error)}") from None
    if is_recording(path):
        return dict(_of_recording(path))
    line = start.lstrip().partition(b"\n")[0]
    if line.startswith(b"{"):
        return dict(_of_json_lines(path))
    if line and b"," not in line and len(line.split()) == 6:
        found = read_mots(path)
        return {n: Objects(frame.ids, frame.masks.boxes.astype(np.float64)) for n, frame in found.items()}
    return _of_mot(path)


def _of_recording(path: str) -> Iterator[tuple[int, Objects]]:
    for frame, _, result in Recording.open(path).records():
        seen = result.states == TrackState.CONFIRMED
        yield frame.index, Objects(result.ids[seen], result.boxes[seen].astype(np.float64))


def _of_mot(path: str) -> dict[int, Objects]:
    rows = read_mot(path)
    if (rows.ids < 1).any():
        raise FormatError(f"{path} has detections without ids; iddiff compares tracks")
    order = np.argsort(rows.frames, kind="stable")
    frames, starts = np.unique(rows.frames[order], return_index=True)
    parts = np.split(order, starts[1:])
    return {n: Objects(rows.ids[part], rows.boxes[part]) for n, part in zip(frames.tolist(), parts, strict=False)}


def _of_json_lines(path: str) -> Iterator[tuple[int, Objects]]:
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                facts: dict[str, Any] = json.loads(line)
                if "frame" not in facts or "tracks" not in facts:  # the header, or an event
                    continue
                rows = [(row["id"], *row["box"]) for row in facts["tracks"] if row["state"] == "confirmed"]
                table = np.array(rows, np.float64).reshape(-1, 5)
                yield int(facts["frame"]), Objects(table[:, 0].astype(np.int64), table[:, 1:])
            except (ValueError, TypeError, LookupError) as error:
                raise FormatError(f"{path}, line {number}: not a line of tracks.jsonl ({error})") from None
