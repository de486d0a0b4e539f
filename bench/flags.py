"""Types of flags that many benchmarks have; argparse says in one line what does not fit."""

from __future__ import annotations

from argparse import ArgumentTypeError


def at_least_one(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def frame_size(text: str) -> tuple[int, int]:
    """Width and height of a text like 960x540."""
    width, _, height = text.partition("x")
    try:
        return at_least_one(width), at_least_one(height)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"expected WIDTHxHEIGHT, got {text!r}") from None
