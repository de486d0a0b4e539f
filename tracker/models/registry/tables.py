"""The registry's tables: the wheel's `assets/models.toml`, and a user's own laid over it."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from tracker.errors import ConfigError, ModelNotFoundError, why
from tracker.models.registry.entry import NAME, Entry
from tracker.models.registry.folders import user_registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BUILT_IN = Path(__file__).resolve().parents[2] / "assets" / "models.toml"


def read_registry() -> dict[str, Entry]:
    """Every known model by name: the wheel's, overlaid by the user's file where there is one.

    Raises:
        ConfigError: the user's file cannot be read, is not valid TOML, or has unknown keys or values that cannot be.
    """
    tables = _read(_BUILT_IN)
    origins = dict.fromkeys(tables, _BUILT_IN.name)
    own = user_registry()
    if own is not None:
        for name, table in _read(own).items():
            tables[name] = {**tables.get(name, {}), **table}
            origins[name] = str(own)
    known = {f.name for f in fields(Entry)} - {"name", "origin"}
    needed = ("task", "licence", "address")
    entries = {}
    for name, table in tables.items():
        unknown = sorted(set(table) - known)
        if unknown:
            listed = ", ".join(sorted(known))
            raise ConfigError(f"{origins[name]}: [{name}] has the unknown key {unknown[0]!r}; known keys are {listed}")
        wrong = [key for key, value in table.items() if key not in ("size", "card") and not isinstance(value, str)]
        if wrong:
            raise ConfigError(f"{origins[name]}: [{name}] {wrong[0]} cannot be {table[wrong[0]]!r}")
        try:
            entries[name] = Entry(name, origin=origins[name], **{**dict.fromkeys(needed, ""), **table})
        except ConfigError as reason:
            raise ConfigError(f"{origins[name]}: {reason}") from None
    return entries


def find(name: str) -> Entry:
    """The entry of a name.

    Raises:
        ModelNotFoundError: no such entry; the message lists them.
        ConfigError: see `read_registry`.
    """
    entries = read_registry()
    if name not in entries:
        raise ModelNotFoundError(f"no model {name!r} in the registry; it has {', '.join(entries)}")
    return entries[name]


def lookup(text: str) -> Entry | None:
    """The entry that `text` names; None for what is rather a path (`net.onnx`, `./net`) or in no registry."""
    if not NAME.fullmatch(text) or text.endswith(".onnx"):
        return None
    return read_registry().get(text)


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        with file.open("rb") as stream:
            tables = tomllib.load(stream)
    except OSError as reason:
        raise ConfigError(f"cannot read the model registry {file}: {why(reason)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as reason:
        raise ConfigError(f"{file} is not valid TOML: {reason}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: expected a table [{name}] for every model, got {name} = {table!r}")
    return tables
