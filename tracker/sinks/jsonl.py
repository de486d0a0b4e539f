"""`tracks.jsonl`: one JSON object per line, a header and then every frame; also for pipes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tracker.masks import Rle
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.sinks.textfile import TextFile, as_line
from tracker.types import Frame, Panoptic, Tracks, TrackState

SCHEMA = "trackstream.tracks/1"
"""Name and version of the layout; the number rises when a reader would have to change."""

_STATES = {int(state): state.name.lower() for state in TrackState}


class JsonlSink(Sink):
    """The whole snapshot of every frame, tentative and coasting tracks included.

    The first line is the header: `schema`, `source`, `fps`, `size` [width, height], `model`, `system`, `class_names`.
    Each further line is a frame: `frame` (index from 0; a live source that dropped frames leaves gaps), `time_s`,
    `tracks`, for live sources also `epoch` (how often the stream was lost and found again) and `age_ms` (from the
    frame's arrival to this line), where several streams share the output `stream`, and of a frame that went without
    some steps to meet its deadline `shed` (their names, see `tracker.deadline`); each track has `id`, `state`
    (confirmed, tentative, coasting), `box` (x0 y0 x1 y1, source pixels from 0, two decimals), `score`, `class`,
    `class_name`, `misses` (frames since it was seen), `detection` (row of the detection it took, null for none) and,
    if the model gives masks, `mask` (COCO run lengths, null where it took no detection). Of a panoptic model the frame
    has `stuff` before its tracks: `class`, `class_name` and `area` (pixels) of what is no detection, largest first.
    """

    def __init__(self, path: str | os.PathLike[str], info: RunInfo, *, masks: bool = True) -> None:
        """Create the file and write the header; `-` is standard output.

        Args:
            path: of the file.
            info: goes into the header.
            masks: write masks, if there are any.

        Raises:
            SinkError: it cannot be created or written.
        """
        self._info = info
        self._masks = masks
        self._file = TextFile(path)
        self._file.write(as_line({"schema": SCHEMA, **info.header()}))

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append the frame's line.

        Raises:
            SinkError: the disk is full, the pipe is closed, or another failure to write.
        """
        masks = tracks.masks if self._masks else None
        rles: list[Rle] | None = None if masks is None else masks.to_rle()
        boxes = np.round(tracks.boxes.astype(np.float64), 2).tolist()
        scores = np.round(tracks.scores.astype(np.float64), 4).tolist()
        columns = zip(
            tracks.ids.tolist(), tracks.states.tolist(), boxes, scores, tracks.labels.tolist(), tracks.misses.tolist(),
            tracks.source.tolist(), strict=True,
        )  # fmt: skip
        rows: list[dict[str, Any]] = []
        for row, (track_id, state, box, score, label, misses, source) in enumerate(columns):
            taken = source >= 0
            entry: dict[str, Any] = {
                "id": track_id,
                "state": _STATES[state],
                "box": box,
                "score": score,
                "class": label,
                "class_name": self._info.class_name(label),
                "misses": misses,
                "detection": source if taken else None,
            }
            if rles is not None:
                entry["mask"] = rles[row] if taken else None
            rows.append(entry)
        line: dict[str, Any] = {"frame": frame.index, "time_s": round(frame.time_s, 6)}
        if self._info.stream:
            line = {"stream": self._info.stream, **line}
        if (age_s := frame.age_s) is not None:
            line |= {"epoch": frame.epoch, "age_ms": round(1e3 * age_s, 1)}
        if tracks.detections.shed:
            line["shed"] = tracks.detections.shed
        if tracks.detections.panoptic is not None:
            line["stuff"] = self._stuff(tracks.detections.panoptic)
        self._file.write(as_line({**line, "tracks": rows}))

    def _stuff(self, picture: Panoptic) -> list[dict[str, Any]]:
        """One entry per class that is seen without a detection."""
        areas = picture.areas()[: Panoptic.VOID]
        return [
            {"class": label, "class_name": self._info.class_name(label), "area": int(areas[label])}
            for label in np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)].tolist()
        ]

    def close(self) -> None:
        """Close the file; standard output stays open."""
        self._file.close()
