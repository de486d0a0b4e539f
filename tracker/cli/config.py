"""One dataclass is the flags, the TOML keys and the defaults of a command.

Every field of a config carries its help text; `add_flags` makes argparse flags of them and `load` merges, in this
order, what was typed, what the TOML file says, and the defaults.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tracker.errors import ConfigError, why

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")


def option(
    default: Any,
    help: str,
    *,
    parse: Callable[[str], Any] = str,
    short: str | None = None,
    metavar: str | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A config field that is also a flag; `default` may be a tuple, then the flag takes a comma-separated list."""
    metadata = {"help": help, "parse": parse, "short": short, "metavar": metavar, "choices": choices}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def add_flags(parser: argparse.ArgumentParser, config: type[Any]) -> None:
    """One flag per field: `max_frames` becomes `--max-frames`; bools get a `--no-` form, dicts repeat `name=value`.

    Flags that a base class brings stand under the first line of its docstring.
    """
    groups: dict[type[Any], argparse._ActionsContainer] = {config: parser}
    for field in dataclasses.fields(config):
        meta = field.metadata
        if not meta:
            continue
        owner = next(kind for kind in config.__mro__ if field.name in vars(kind).get("__annotations__", {}))
        if owner not in groups:
            groups[owner] = parser.add_argument_group(str(owner.__doc__).partition("\n")[0].rstrip("."))
        names = [f"--{field.name.replace('_', '-')}"] + ([meta["short"]] if meta["short"] else [])
        keywords: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS}
        default = _default(field)
        shown = "" if default in (None, (), {}, False) else f" (default: {_show(default)})"
        keywords["help"] = (meta["help"] + shown).replace("%", "%%")
        if isinstance(default, bool):
            keywords["action"] = argparse.BooleanOptionalAction
        else:
            keywords["metavar"] = meta["metavar"] or field.name.upper()
            if isinstance(default, dict):
                keywords.update(action="append", type=_pair)
            elif isinstance(default, tuple):
                keywords["type"] = lambda text: tuple(part for part in text.split(",") if part)
            else:
                keywords.update(type=meta["parse"], choices=meta["choices"])
                if meta["choices"]:
                    keywords["metavar"] = "{" + ",".join(meta["choices"]) + "}"
        groups[owner].add_argument(*names, **keywords)


def load(config: type[_T], arguments: argparse.Namespace, toml: str | None = None, **fixed: Any) -> _T:
    """Build the config from what was typed, the TOML file and the defaults, in this order of precedence.

    Raises:
        ConfigError: the TOML file cannot be read, has an unknown key, or a value of the wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(config) if field.metadata}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    if toml is not None:
        for key, value in _read(toml).items():
            name = key.replace("-", "_")
            if name not in fields:
                raise ConfigError(f"{toml}: unknown key {key!r}; known keys are {', '.join(sorted(fields))}")
            values[name] = _checked(toml, fields[name], value)
    for name, field in fields.items():
        if hasattr(arguments, name):
            typed = getattr(arguments, name)
            if isinstance(_default(field), dict):
                typed = {**values.get(name, {}), **dict(typed)}
            values[name] = typed
    return config(**fixed, **values)


def _read(path: str) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {why(error)}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _checked(path: str, field: dataclasses.Field[Any], value: Any) -> Any:
    default = _default(field)
    if isinstance(default, tuple):
        if isinstance(value, str):
            value = [part for part in value.split(",") if part]
        if isinstance(value, list):
            return tuple(str(item) for item in value)
    elif isinstance(default, bool | dict):
        if isinstance(value, type(default)):
            return value
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        choices = field.metadata["choices"]
        if choices and value not in choices:
            raise ConfigError(f"{path}: {field.name} must be one of {', '.join(choices)}, got {value!r}")
        try:
            return field.metadata["parse"](str(value))
        except ValueError:
            pass
    raise ConfigError(f"{path}: {field.name} cannot be {value!r}")


def _pair(text: str) -> tuple[str, Any]:
    """`name=value` of a `--set` flag, the value read as TOML does."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected name=value, got {text!r}")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if callable(field.default_factory) else field.default


def _show(default: Any) -> str:
    return ",".join(default) if isinstance(default, tuple) else str(default)
