"""Checks of configuration: each raises `ConfigError` with one line that says what was wanted and what came."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tracker.errors import ConfigError


def listed(names: Iterable[str]) -> str:
    """Names, with commas."""
    return ", ".join(names)


def known(name: str, value: object, names: Iterable[str]) -> None:
    """`value` is one of `names`."""
    if value not in tuple(names):
        raise ConfigError(f"expected {name} to be one of {listed(names)}, got {value!r}")


def tuple_of(name: str, value: object, kind: type) -> None:
    """`value` is a tuple of `kind`."""
    if not isinstance(value, tuple) or not all(isinstance(item, kind) for item in value):
        raise ConfigError(f"expected {name} as a tuple of {kind.__name__}, got {value!r}")


def flags(owner: object, *names: str) -> None:
    """These attributes are true or false."""
    for name in names:
        if not isinstance(getattr(owner, name), bool):
            raise ConfigError(f"expected {name} to be true or false, got {getattr(owner, name)!r}")


def number(name: str, value: object, low: float, high: float) -> None:
    """`value` is a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        limits = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
        raise ConfigError(f"expected {name} as a number{limits}, got {value!r}")


def count(name: str, value: object, low: int = 0, high: int = 2**31 - 1) -> None:
    """`value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"expected {name} as a whole number from {low} to {high}, got {value!r}")
