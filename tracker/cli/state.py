"""`--state FILE`: the tracker, saved while a run goes on, so that a killed and restarted run goes on with its ids.

What learned motion knows of the tracks is in a second file beside it, `FILE.motion`; without it no track of a SiamMOT
would be found again.
"""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker._writing import write_whole
from tracker.errors import SnapshotError, why

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tracker.guide import Guided

_EVERY_S = 1.0
_SKIPPED_IDS = 1000  # more than a run gives in the time between two saves: none of them is given twice


class StateFile:
    """A file with the tracker of a run. Loading it happens here, saving between two frames.

    The file's own time of change is the moment of the tracker's last frame.

    Args:
        path: of the file; a run without it starts anew, and makes it.
        guided: gets the tracker of the file in place of its own, and its learned motion the memory.
        live: time went on while no run was there; otherwise the first frame is taken as the next one.

    Attributes:
        resumed: there was a file.

    Raises:
        SnapshotError: it cannot be read, or its tracker is not the one that is asked for.
        SinkError: its folder cannot be made.
    """

    def __init__(self, path: str, guided: Guided, *, live: bool) -> None:
        from tracker.association import Tracker
        from tracker.sinks.textfile import make_parent

        make_parent(path)
        self._path, self._motion_path, self._guided = path, f"{path}.motion", guided
        self._saved_s = time.monotonic()
        self._frame_s = time.time()
        self.resumed = Path(path).exists()
        if not self.resumed:
            return
        fresh = guided.tracker
        gap_s = max(1 / fresh.frame_rate, time.time() - Path(path).stat().st_mtime if live else 0.0)
        saved = Tracker.load(path, time_s=-gap_s, skip_ids=_SKIPPED_IDS)
        if (saved.plan, saved.class_names) != (fresh.plan, fresh.class_names):
            raise SnapshotError(
                f"cannot go on from {path}: it was saved with another tracker or classes; ask for those, or remove it"
            )
        if guided.motion is not None:
            try:
                guided.motion.restore(_read(self._motion_path))
            except SnapshotError as error:
                raise SnapshotError(f"cannot go on from {path}: {error}") from None
        guided.tracker = saved

    def tick(self) -> None:
        """After a frame: save, if it is a second since the last time."""
        self._frame_s = time.time()
        if time.monotonic() - self._saved_s >= _EVERY_S:
            self.save()

    def save(self) -> None:
        """Save what was after the last frame.

        Raises:
            SnapshotError: it cannot be written.
        """
        if self._guided.motion is not None:  # first: a tracker without its motion is worth nothing
            _write(self._motion_path, self._guided.motion.dump())
        self._guided.tracker.save(self._path)
        os.utime(self._path, (self._frame_s, self._frame_s))
        self._saved_s = time.monotonic()


def _write(path: str, arrays: dict[str, NDArray[Any]]) -> None:
    """Arrays as a file of numpy's, which replaces an older one as a whole."""
    import numpy as np

    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    try:
        write_whole(path, file.getvalue())
    except OSError as error:
        raise SnapshotError(f"cannot write {path}: {why(error)}") from None


def _read(path: str) -> dict[str, NDArray[Any]]:
    import numpy as np

    try:
        with np.load(io.BytesIO(Path(path).read_bytes())) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        raise SnapshotError(f"learned motion needs {path} beside it, which is missing; remove the state") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise SnapshotError(f"{path} is damaged ({error}); remove the state") from None


def set_aside(paths: Iterable[str]) -> None:
    """Keep what an earlier run wrote: `tracks.jsonl` becomes `tracks.1.jsonl`, or the first number that is free."""
    for path in map(Path, paths):
        if path.exists():
            number = 1
            while (older := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
                number += 1
            path.rename(older)
