"""What every sink offers."""

from __future__ import annotations

import os
from types import TracebackType
from typing import ClassVar, Protocol, TypeVar

from tracker.sinks.run_info import RunInfo
from tracker.types import Frame, Tracks

_Self = TypeVar("_Self", bound="Sink")


class Sink(Protocol):
    """Takes every frame with its tracks, in order, and is closed once at the end, also after an error.

    Attributes:
        needs_masks: it can do nothing for a model that gives boxes only.
        by_default: written where nobody says what to write.
    """

    needs_masks: ClassVar[bool] = False
    by_default: ClassVar[bool] = True

    def __init__(self, path: str | os.PathLike[str], info: RunInfo) -> None: ...

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame and the snapshot of the tracks after it."""

    def close(self) -> None:
        """Finish the output. Calling it twice is harmless."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
