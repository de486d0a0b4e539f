"""Reading what networks were saved as, and saying what does not fit; each family maps the names of its own tensors."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tracker.errors import ConfigError, why

COUNTER = ".num_batches_tracked"
"""End of the name of a tensor that only training needs."""

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


def require(names: Iterable[str], given: Container[str]) -> None:
    """Those tensors are there that say which network it is.

    Raises:
        ConfigError: some are not: all are named.
    """
    missing = [name for name in names if name not in given]
    if missing:
        raise ConfigError(f"missing {len(missing)}: {', '.join(missing)}")


def count_parts(names: Iterable[str], prefix: str, separator: str = ".") -> int:
    """How many parts with tensors a prefix has: as many as there are names after it."""
    return len({name[len(prefix) :].split(separator)[0] for name in names if name.startswith(prefix)})


def load_state(state: Mapping[str, Tensor], network: nn.Module) -> None:
    """Fill a network from tensors of its own names; a `COUNTER` may be missing. Nothing is changed where it raises.

    Raises:
        ConfigError: see `find_misfits`.
    """
    misfits = find_misfits(state, network)
    if misfits:
        raise ConfigError(misfits)
    network.load_state_dict(state, strict=False)  # everything but the counters was compared


def find_misfits(state: Mapping[str, Tensor], network: nn.Module) -> str:
    """Which tensors are missing, unknown or of another shape; "" where all fit."""
    given, own = (
        {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}
        for tensors in (state, network.state_dict())
    )
    misshapen = [
        f"{name} {list(given[name].shape)} instead of {list(own[name].shape)}"
        for name in set(own) & set(given)
        if own[name].shape != given[name].shape
    ]
    missing, unknown = set(own) - set(given), set(given) - set(own)
    return list_misfits({"missing": missing, "unknown": unknown, "of another shape": misshapen})


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
