"""From what was typed to a file in its place: what every family's command does alike. Needs neither torch nor onnx."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tracker.errors import ConfigError
from tracker.models.card import ModelCard, Size, write_card


def typed(words: list[str]) -> str:
    """The command line as it belongs into a card: without the folders, which are nobody's business."""
    kept = []
    for word in words:
        flag, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
        kept.append(flag + equals + (Path(value).name if "/" in value else value))
    return "python -m exporters " + shlex.join(kept)


def say(text: str) -> None:
    """A line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def say_worst(path: Path, worst: Mapping[str, float]) -> None:
    """How near a file is to torch, output by output."""
    figures = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    say(f"{path}: largest difference between ONNX Runtime and torch, of an output's magnitude: {figures}")


def parse_size(flag: str, text: str, *, least: int = 1, step: int = 1, over: int = 0) -> Size:
    """Width and height of a text like 1280x704, for the flag that it was given to.

    Args:
        flag: for messages.
        text: what was typed.
        least: smallest width and height.
        step: sides are multiples of it,
        over: plus this.

    Raises:
        ConfigError: another form, or other sides.
    """
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise ConfigError(f"expected {flag} as WIDTHxHEIGHT, got {text!r}") from None
    if min(width, height) < least or width % step != over or height % step != over:
        rule = f"in multiples of {step}{f' plus {over}' if over else ''}," if step > 1 else "of"
        raise ConfigError(f"expected {flag} {rule} at least {least}x{least}, got {text!r}")
    return width, height


@contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """An empty folder whose files move into `folder` at the end of the block.

    Where the block raises, nothing in `folder` has changed; it is made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder) as drafts:
        yield Path(drafts)
        for file in sorted(Path(drafts).iterdir()):
            os.replace(file, folder / file.name)


@contextmanager
def draft_file(path: Path, card: ModelCard | None = None) -> Iterator[Path]:
    """Where to make the file that takes the place of `path` at the end of the block, with this card if any.

    Where the block raises, `path` is what it was.
    """
    with draft_folder(path.parent) as folder:
        yield folder / path.name
        if card is not None:
            write_card(folder / path.name, card)
