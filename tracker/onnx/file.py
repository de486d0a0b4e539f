"""A model's file on the disk, before anybody opens it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tracker.errors import ModelError, ModelNotFoundError, why


def model_file(path: str | os.PathLike[str]) -> Path:
    """The path of a file that is there and not empty.

    Raises:
        ModelNotFoundError: no such file.
        ModelError: a folder, an empty file, or one that cannot be looked at.
    """
    file = Path(path)
    if file.is_dir():
        raise ModelError(f"expected an ONNX file, got the folder {file}")
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        raise ModelNotFoundError(f"no model file {file}") from None
    except OSError as reason:
        raise ModelError(f"model file {file} cannot be read ({why(reason)})") from None
    if size == 0:
        raise ModelError(f"model file {file} is empty; download or export it again")
    return file


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
