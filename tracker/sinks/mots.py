"""`masks.txt`: masks of confirmed tracks as MOTS text."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import numpy as np

from tracker.errors import SinkError
from tracker.formats.mots import CLASS_OF_NAME, write_row
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.sinks.textfile import TextFile
from tracker.types import Frame, Tracks

_logger = logging.getLogger(__name__)


class MotsSink(Sink):
    """One line per confirmed track and frame, for classes that MOTS knows.

    MOTS forbids overlapping masks. Where masks of a frame overlap, the pixels belong to the track of the highest
    score, of equal scores to the one that stands first in `Tracks`; masks that become empty are left out. Tracks of
    classes that are not written take no pixels away.

    Source of the rule: TrackR-CNN, arXiv:1902.03604 (spec mots-step 1.10, policy `score`).
    """

    needs_masks = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        info: RunInfo,
        *,
        classes: Mapping[str, int] = CLASS_OF_NAME,
        first_frame: int = 0,
    ) -> None:
        """Create the file; `-` is standard output.

        Args:
            path: of the file.
            info: its `class_names` say which rows can be written.
            classes: class name -> MOTS class (1 car, 2 pedestrian); other names are left out.
            first_frame: number of the first frame: 0 for KITTI MOTS, 1 for MOTSChallenge.

        Raises:
            SinkError: it cannot be created.
        """
        self._class_of = np.array([classes.get(name, -1) for name in info.class_names], np.int64)
        if not (self._class_of >= 0).any():
            names = ", ".join(info.class_names[:6]) or "unknown; --names gives them"
            _logger.warning(
                "%s will stay empty: of the model's classes (%s) none is one of MOTS (%s)",
                path,
                names,
                ", ".join(classes),
            )
        self._first_frame = first_frame
        self._file = TextFile(path)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append the frame's rows.

        Raises:
            SinkError: the model gives no masks, or a failure to write.
        """
        seen = tracks.confirmed
        known = seen.labels < len(self._class_of)
        classes = np.where(known, self._class_of[np.where(known, seen.labels, 0)] if len(self._class_of) else -1, -1)
        seen, classes = seen.select(classes >= 0), classes[classes >= 0]
        if len(seen) == 0:
            return
        masks = seen.masks
        if masks is None and not tracks.detections.looked:
            return
        if masks is None:
            raise SinkError(f"cannot write {self._file.name}: the model gives boxes without masks; leave out mots")
        masks = masks.disjoint(seen.scores)
        rows = np.flatnonzero(masks.areas > 0)
        rles = masks.select(rows).to_rle()
        self._file.write(
            "".join(
                write_row(frame.index, int(seen.ids[row]), int(classes[row]), rle, first_frame=self._first_frame)
                for row, rle in zip(rows, rles, strict=True)
            )
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()
