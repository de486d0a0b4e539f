"""`synth:street?seed=7&objects=12&size=960x540&frames=300`: the synthetic street as a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any
from urllib.parse import parse_qsl

from tracker.errors import ConfigError, SourceError
from tracker.sources.source import Source, SourceOptions
from tracker.types import Frame


class StreetSource(Source):
    """Frames of a `Street`, rendered as they are asked for.

    Attributes:
        street: the street itself, whose `render(i)` also gives the ground truth of frame i.
    """

    live = False
    dropped = 0

    def __init__(self, uri: str, options: SourceOptions) -> None:
        """Build the street that a `synth:` address describes, ready to render.

        Raises:
            SourceError: another scene than `street`, an unknown key, a value that makes no sense.
        """
        from tracker.sources.street import Street

        self.name = uri
        try:
            self.street = Street(**parse_address(uri))
        except ConfigError as error:
            raise SourceError(f"cannot open {uri}: {error}") from None
        self.street.render(0)  # compiles the renderer: the first frame shall come as fast as the others
        config = self.street.config
        self.fps = config.fps
        self.size = config.size
        self.length = config.frames
        self._closed = False
        self._frames = self._render(config.frames, config.fps)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """End the iteration."""
        self._closed = True

    def _render(self, frames: int, fps: float) -> Iterator[Frame]:
        for index in range(frames):
            if self._closed:
                return
            yield Frame(index, index / fps, self.street.render(index).image)


def parse_address(uri: str) -> dict[str, Any]:
    """Options of a `synth:street?key=value&...` address; keys and types are those of `StreetConfig`.

    Raises:
        SourceError: another scene than `street`, an unknown or repeated key, a value of the wrong type.
    """
    from tracker.sources.street.config import StreetConfig

    scene, _, query = uri.removeprefix("synth:").partition("?")
    if scene != "street":
        raise SourceError(f"cannot open {uri}: unknown scene {scene!r}; known is synth:street")
    known = {field.name: field.default for field in fields(StreetConfig)}
    values: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise SourceError(f"cannot open {uri}: unknown option {key!r}; known are {', '.join(sorted(known))}")
        if key in values:
            raise SourceError(f"cannot open {uri}: option {key!r} is given twice")
        values[key] = _parsed(uri, key, text, known[key])
    return values


def _parsed(uri: str, key: str, text: str, default: Any) -> Any:
    try:
        if isinstance(default, tuple):
            width, height = text.lower().split("x")
            return int(width), int(height)
        return type(default)(text)
    except ValueError:
        what = (
            "WIDTHxHEIGHT" if isinstance(default, tuple) else "a whole number" if type(default) is int else "a number"
        )
        raise SourceError(f"cannot open {uri}: expected {key}={what}, got {text!r}") from None
