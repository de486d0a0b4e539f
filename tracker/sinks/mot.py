"""`tracks.txt`: confirmed tracks as MOTChallenge results."""

from __future__ import annotations

import os

from tracker.formats.mot import write_row
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.sinks.textfile import TextFile
from tracker.types import Frame, Tracks


class MotSink(Sink):
    """One line per confirmed track and frame, of every class; frames, ids and pixels count from 1."""

    def __init__(self, path: str | os.PathLike[str], info: RunInfo) -> None:
        """Create the file; `-` is standard output.

        Raises:
            SinkError: it cannot be created.
        """
        self._file = TextFile(path)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append the frame's rows.

        Raises:
            SinkError: the disk is full, or another failure to write.
        """
        seen = tracks.confirmed
        rows = zip(seen.ids.tolist(), seen.boxes.tolist(), seen.scores.tolist(), strict=True)
        self._file.write("".join(write_row(frame.index, track_id, box, score) for track_id, box, score in rows))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
