"""What every source offers, and the options that they share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

from tracker.errors import ConfigError
from tracker.types import Frame

_Self = TypeVar("_Self", bound="Source")


@runtime_checkable
class Source(Protocol):
    """Frames in order, once. Iterating again goes on where the last loop stopped, as with an open file.

    Attributes:
        name: for people, logs and outputs; never holds a password.
        fps: frames per second as the source states it; None if it does not.
        size: (width, height) of the first frame; None where that is not known before reading. Frames may differ.
        length: frames as the header states it, which may be wrong; None for streams.
        live: frames arrive whether or not they are read; the newest is delivered, the others are dropped.
        dropped: frames that arrived and were never delivered; their indices are missing.
    """

    name: str
    fps: float | None
    size: tuple[int, int] | None
    length: int | None
    live: bool
    dropped: int

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Let go of file, camera or connection; iteration ends. Calling it twice is harmless."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to open a source.

    Attributes:
        fps: frame rate of sources that have no clock of their own (images, arrays); others ignore it.
        timeout_s: longest wait for a network source or camera to open, and for its next picture.
        reconnect_s: how long to try to get a live source back that was lost; 0 for not at all.

    Raises:
        ConfigError: a number that is not positive and finite; a `reconnect_s` below 0.
    """

    fps: float = 30.0
    timeout_s: float = 10.0
    reconnect_s: float = math.inf

    def __post_init__(self) -> None:
        for name, value in (("fps", self.fps), ("timeout_s", self.timeout_s)):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"expected {name} as a positive number, got {value}")
        if not self.reconnect_s >= 0:
            raise ConfigError(f"expected reconnect_s as seconds, 0 or more, got {self.reconnect_s}")
