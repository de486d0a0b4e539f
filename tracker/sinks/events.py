"""`events.jsonl`: one JSON object per line, a header and then everything that happened to a track."""

from __future__ import annotations

import os
from typing import Any

from tracker.association.events import Event, EventLog
from tracker.association.plan import Plan
from tracker.errors import SinkError
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.sinks.textfile import TextFile, as_line
from tracker.types import Frame, Tracks

SCHEMA = "trackstream.events/1"
"""Name and version of the layout; the number rises when a reader would have to change."""


class EventsSink(Sink):
    """The life of every track: born, confirmed, lost, recovered, ended.

    The first line is the header: `schema`, `source`, `fps`, `size`, `model`, `system`, `class_names`, as in
    `tracks.jsonl`. Each further line is an event: `event` (its kind), `id`, `frame` (index from 0), `time_s`, `state`,
    `box` (x0 y0 x1 y1 where the track was last seen, two decimals), `score`, `class`, `class_name`, `hits` (detections
    taken), `age_frames`, `age_s` and `reason` (why it ended; null for other events, or if it cannot be known).
    `tracker.association.events.Event` says what the kinds and reasons mean. When the sink is closed each track that
    still lives gets an `open`: a file without one for them was cut short.
    """

    def __init__(self, path: str | os.PathLike[str], info: RunInfo, *, plan: Plan | None = None) -> None:
        """Create the file and write the header; `-` is standard output.

        Args:
            path: of the file.
            info: goes into the header.
            plan: of the tracker; without it the reasons "coasted too long" and "duplicate of another track" are not
                known.

        Raises:
            SinkError: it cannot be created or written.
        """
        self._info = info
        self._log = EventLog(plan)
        self._file = TextFile(path)
        self._file.write(as_line({"schema": SCHEMA, **info.header()}))

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append a line for each event of the frame.

        Raises:
            SinkError: the disk is full, the pipe is closed, or another failure to write.
        """
        self._append(self._log.observe(tracks, frame.index))

    def close(self) -> None:
        """Append an `open` for every living track and close the file; standard output stays open."""
        alive = self._log.close()
        if alive:
            self._append(alive)
        self._file.close()

    def _append(self, events: list[Event]) -> None:
        try:
            self._file.write("".join(as_line(facts_of(event, self._info)) for event in events))
        except SinkError:
            self._log.close()  # `close` is still to come and would fail again
            raise


def facts_of(event: Event, info: RunInfo) -> dict[str, Any]:
    """An event as its JSON object has it."""
    return {
        "event": event.kind,
        "id": event.id,
        "frame": event.frame,
        "time_s": round(event.time_s, 6),
        "state": event.state.name.lower(),
        "box": [round(x, 2) for x in event.box],
        "score": round(event.score, 4),
        "class": event.label,
        "class_name": info.class_name(event.label),
        "hits": event.hits,
        "age_frames": event.age_frames,
        "age_s": round(event.age_s, 6),
        "reason": event.reason,
    }
