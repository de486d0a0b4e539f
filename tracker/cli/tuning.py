"""What `tracker tune` searches: the parameters of a system."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracker.errors import ConfigError
from tracker.systems import SYSTEMS, options

_ALWAYS = ("birth_score", "max_coast_frames")  # searched besides what the system's stages are called
_SPREAD = 0.25  # how far a number in 0..1 is searched around its default
_MOST = 2  # and how many times its default a count


@dataclass(frozen=True, slots=True)
class Parameter:
    """One dimension of the search.

    Attributes:
        name: option of the system.
        choices: its values, for an option that is no number; otherwise empty.
        low: least value.
        high: greatest value; both ends count.
        whole: only whole numbers.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False


def parse_space(system: str, texts: Sequence[str]) -> list[Parameter]:
    """What is searched.

    Args:
        system: name of the system.
        texts: `name` (around its default), `name=0.1..0.6`, `name=10..60` or `name=xysr|xyah`; none for the usual.

    Raises:
        ConfigError: no such system or option, or a range that makes no sense.
    """
    known = options(system)
    named = [name for name in SYSTEMS[system].options if not isinstance(known[name][0], str)]
    usual = [*named, *(name for name in _ALWAYS if name in known)]
    space = []
    for text in texts or usual:
        name, equals, values = text.partition("=")
        if name not in known:
            raise ConfigError(f"tracker {system!r} has no option {name!r}; it has {', '.join(known)}")
        default = known[name][0]
        space.append(_parse_values(name, values, default) if equals else _around(name, default))
    return space


def _parse_values(name: str, text: str, default: Any) -> Parameter:
    low, dots, high = text.partition("..")
    if not dots:
        words = text.split("|")
        if isinstance(default, bool):
            return Parameter(name, tuple(_as_bool(name, word) for word in words))
        if isinstance(default, str):
            return Parameter(name, tuple(words))
        raise ConfigError(f"expected {name}=low..high, got {name}={text}")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise ConfigError(f"expected {name}=low..high with numbers, got {name}={text}") from None
    if isinstance(default, str | bool) or not all(map(math.isfinite, ends)) or ends[0] > ends[1]:
        raise ConfigError(f"{name} (default {default!r}) cannot be searched over {text}")
    return Parameter(name, (), *ends, whole=isinstance(default, int))


def _as_bool(name: str, word: str) -> bool:
    if word not in ("true", "false"):
        raise ConfigError(f"expected {name}=true|false, got {word!r}")
    return word == "true"


def _around(name: str, default: Any) -> Parameter:
    if isinstance(default, bool):
        return Parameter(name, (False, True))
    if isinstance(default, int):
        return Parameter(name, (), 0 if default == 0 else max(1, default // _MOST), max(1, _MOST * default), whole=True)
    if isinstance(default, float) and 0 <= default <= 1:
        return Parameter(name, (), max(0.0, default - _SPREAD), min(1.0, default + _SPREAD))
    if isinstance(default, float) and math.isfinite(default):  # a distance, or another number with a unit
        return Parameter(name, (), min(default / 2, default * 2), max(default / 2, default * 2))
    raise ConfigError(f"say which values of {name} (default {default!r}) to search: {name}=low..high or {name}=a|b")
