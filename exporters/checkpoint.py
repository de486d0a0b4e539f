"""Reading what torch saved; each family maps the names of its own tensors."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch

from tracker.errors import ConfigError


def read_checkpoint(path: Path) -> tuple[Any, str]:
    """What a `.pth` file holds, on the CPU and without running any code of it, and the SHA-256 of the file.

    Raises:
        ConfigError: no such file, or not one of torch's.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        return data, hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as reason:
        why = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
        raise ConfigError(f"{path} cannot be read as a checkpoint: {why}") from None
