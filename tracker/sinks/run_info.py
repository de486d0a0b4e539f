"""What a sink is told about the run before its first frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Facts about a run, for headers and labels.

    Attributes:
        source: name of the source, passwords masked.
        fps: frames per second as the source states it; None if unknown.
        size: (width, height) of the first frame; None if unknown.
        class_names: name of every class index; indices beyond it are shown as numbers.
        model: name of the model.
        system: name of the tracking system.
        stream: name of the stream among several that share an output; "" for the only one.
    """

    source: str = ""
    fps: float | None = None
    size: tuple[int, int] | None = None
    class_names: tuple[str, ...] = ()
    model: str = ""
    system: str = ""
    stream: str = ""

    def class_name(self, label: int) -> str:
        """Name of a class index; the index itself as text where no name is known."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)

    def header(self) -> dict[str, Any]:
        """All of it, for the first line of a JSON output."""
        stream = {"stream": self.stream} if self.stream else {}
        return stream | {
            "source": self.source, "fps": self.fps, "size": self.size, "model": self.model, "system": self.system,
            "class_names": self.class_names,
        }  # fmt: skip
