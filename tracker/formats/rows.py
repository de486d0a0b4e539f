"""Lines of a dataset's text file, and errors that name the line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from tracker.errors import FormatError, why

MAX_FRAME = 10_000_000
"""Highest frame number that a file is believed to mean: four days of video. Gaps are filled frame by frame."""

MAX_ID = 2**53
"""Highest id: up to it a float64 holds every whole number."""


def lines_of(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Numbered lines (from 1) of a text file without their ends; empty lines are skipped.

    Raises:
        FormatError: it cannot be read, or is not text.
    """
    try:
        with Path(path).open(encoding="ascii", newline=None) as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield number, text
    except OSError as error:
        raise FormatError(f"cannot read {path}: {why(error)}") from None
    except UnicodeDecodeError:
        raise FormatError(f"cannot read {path}: not a text file of plain ASCII") from None


def fail(path: str | os.PathLike[str], line: int, reason: str) -> NoReturn:
    """Raise a `FormatError` that names file, line and reason."""
    raise FormatError(f"{path}, line {line}: {reason}")
