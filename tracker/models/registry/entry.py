"""Entry: one model that can be fetched by name, and its file on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from tracker.errors import ConfigError, ModelError, ModelNotFoundError
from tracker.models.card import ModelCard
from tracker.models.coco import COCO_CLASSES
from tracker.models.registry.folders import cache_folder
from tracker.onnx.file import sha256_of

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
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
        if not NAME.fullmatch(self.name) or self.name.endswith(".onnx"):
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
