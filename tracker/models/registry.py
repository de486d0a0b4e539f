"""Registry: models that can be fetched by name, and where this machine keeps them.

The wheel carries `assets/models.toml`; a user's own TOML is laid over it, key by key, so it can add models or point a
known one at a mirror. Every entry is pinned by the SHA-256 of its file. Nothing here touches the network: fetching is
`tracker.models.download`, and only `tracker models pull` and `--pull` call it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from tracker.errors import ConfigError, ModelError, ModelNotFoundError, why
from tracker.models.card import ModelCard
from tracker.models.coco import COCO_CLASSES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CACHE_VARIABLE = "TRACKSTREAM_CACHE"
REGISTRY_VARIABLE = "TRACKSTREAM_REGISTRY"

_BUILT_IN = Path(__file__).resolve().parent.parent / "assets" / "models.toml"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the registry.

    Attributes:
        name: what the user types.
        task: "detect", "segment" ...; "checkpoint" for one that `python -m exporters` turns into a model.
        licence: of the weights.
        address: `https://...`, `hf://organisation/repository/file@revision` or `file:///...`.
        sha256: of the file, 64 hexadecimal digits; "" cannot be fetched.
        family: row of `FAMILIES` that opens it; another word where this version has none.
        size: bytes, None where the registry does not know.
        source: who made the weights.
        accuracy: as its makers state it.
        card: what the file does not say about itself, in the shape of a `ModelCard`.
        origin: the TOML file that says so.
    """

    name: str
    task: str
    licence: str
    address: str
    sha256: str = ""
    family: str = ""
    size: int | None = None
    source: str = ""
    accuracy: str = ""
    card: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.endswith(".onnx"):
            raise ConfigError(f"expected a model's name of small letters, digits, '.', '_' and '-', got {self.name!r}")
        for key in ("task", "licence", "address"):
            if not getattr(self, key):
                raise ConfigError(f"model {self.name!r} says nothing about its {key}; add it")
        for key, kind in (("size", int | None), ("card", Mapping)):
            if not isinstance(getattr(self, key), kind):
                raise ConfigError(f"model {self.name!r}: {key} cannot be {getattr(self, key)!r}")
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            raise ConfigError(f"model {self.name!r}: expected a sha256 of 64 hexadecimal digits, got {self.sha256!r}")

    @property
    def file(self) -> Path:
        """Where the cache keeps it, whether it is there or not."""
        suffix = PurePosixPath(urlsplit(self.address).path.partition("@")[0]).suffix or ".onnx"
        return cache_folder() / self.name / f"{self.sha256[:16] or 'unpinned'}{suffix}"

    @property
    def cached(self) -> bool:
        """Whether the file is there; `intact` says whether it is the right one."""
        return bool(self.sha256) and self.file.is_file()

    def intact(self) -> bool:
        """Whether the cached file has the pinned SHA-256; reads all of it.

        Raises:
            ModelError: it cannot be read.
        """
        return self.cached and sha256_of(self.file) == self.sha256

    def describe(self, base: ModelCard | None) -> ModelCard:
        """The model's card: what the file or its family says, overlaid by what the registry knows.

        Args:
            base: card of the file, or what its family assumes; None for neither.

        Raises:
            ModelError: the file is of another family, or the registry's card is broken.
        """
        if base is not None and base.family != self.family:
            raise ModelError(f"{self.origin} says {self.name} is of the family {self.family!r}, not {base.family!r}")
        data = json.loads((base or ModelCard(self.family, self.task)).to_json())
        data |= {"task": self.task, "licence": self.licence, "source": self.source or data["source"]}
        for key, value in self.card.items():
            known = data.get(key)
            data[key] = {**known, **value} if isinstance(known, dict) and isinstance(value, Mapping) else value
        if data["class_names"] == "coco":
            data["class_names"] = COCO_CLASSES
        try:
            return ModelCard.from_json(json.dumps(data))
        except (ModelError, TypeError) as reason:
            raise ModelError(f"{self.origin}: card of {self.name}: {reason}") from None

    def __str__(self) -> str:
        size = "size unknown" if self.size is None else f"{self.size / 1e6:.1f} MB"
        return f"{self.name} ({self.task}, licence {self.licence}, {size})"


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
    if not _NAME.fullmatch(text) or text.endswith(".onnx"):
        return None
    return read_registry().get(text)


def locate(entry: Entry) -> Path:
    """The cached file of an entry, hashed before anybody opens it; nothing is fetched.

    Raises:
        ModelNotFoundError: it is not in the cache; the message says which command fetches it.
        ModelError: it has not the pinned SHA-256.
    """
    if not entry.cached:
        raise ModelNotFoundError(
            f"model {entry} is not on this machine; fetch it with: tracker models pull {entry.name}"
        )
    found = sha256_of(entry.file)
    if found != entry.sha256:
        raise ModelError(
            f"expected {entry.file} to have SHA-256 {entry.sha256}, got {found}; fetch it again with: tracker models "
            f"pull {entry.name}"
        )
    return entry.file


def cache_folder() -> Path:
    """Folder of the fetched models, `models` in the user's cache; `TRACKSTREAM_CACHE` names another cache.

    Raises:
        ConfigError: there is no home folder and no variable that names one.
    """
    return _own_folder(CACHE_VARIABLE, "XDG_CACHE_HOME", ".cache", "Library/Caches", "LOCALAPPDATA") / "models"


def user_registry() -> Path | None:
    """The user's own registry: what `TRACKSTREAM_REGISTRY` names, or `models.toml` in his configuration folder."""
    named = os.environ.get(REGISTRY_VARIABLE)
    if named:
        return Path(named)
    try:
        folder = _own_folder("", "XDG_CONFIG_HOME", ".config", "Library/Application Support", "APPDATA")
    except ConfigError:
        return None
    file = folder / "models.toml"
    return file if file.is_file() else None


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        ModelError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as reason:
        raise ModelError(f"model file {file} cannot be read ({why(reason)})") from None
    return digest.hexdigest()


def _own_folder(variable: str, xdg: str, unix: str, mac: str, windows: str) -> Path:
    """The engine's folder among a user's folders of one kind, by the platform's rule."""
    if os.environ.get(variable):
        return Path(os.environ[variable])
    if os.environ.get(xdg):
        return Path(os.environ[xdg], "trackstream")
    if sys.platform == "win32" and os.environ.get(windows):
        return Path(os.environ[windows], "trackstream")
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise ConfigError(f"there is no home folder to keep models in; set {variable or xdg} to a folder")
    return Path(home, mac if sys.platform == "darwin" else unix, "trackstream")


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
