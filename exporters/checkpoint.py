"""Reading what networks were saved as, and saying what does not fit; each family maps the names of its own tensors."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tracker.errors import ConfigError, why

_LISTED = 8


def read_checkpoint(path: Path) -> tuple[Any, str]:
    """What a `.pth` file holds, on the CPU and without running any code of it, and the SHA-256 of the file.

    Raises:
        ConfigError: no such file, or not one of torch's.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        return data, hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as reason:
        raise ConfigError(f"{path} cannot be read as a checkpoint: {why(reason)}") from None


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """The arrays of an `.npz` file by name, and the SHA-256 of the file.

    Raises:
        ConfigError: no such file, or not one of numpy's.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as reason:
        raise ConfigError(f"{path} cannot be read as an .npz file of arrays: {why(reason)}") from None


def list_misfits(kinds: Mapping[str, Iterable[str]]) -> str:
    """Tensors that do not fit, as the end of a line: how many of each kind, and the first names; "" for none.

    Args:
        kinds: what is wrong -> names of tensors.
    """
    phrases = []
    for kind, names in kinds.items():
        found = sorted(names)
        if found:
            more = " ..." if len(found) > _LISTED else ""
            phrases.append(f"{kind} {len(found)}: {', '.join(found[:_LISTED])}{more}")
    return "; ".join(phrases)
