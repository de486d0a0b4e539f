"""ONNX Runtime itself: imported on first use, and kept from writing banners to the process's streams.

Where a library of a provider is missing it prints to stderr, and in places to stdout, where a JSON stream may run.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tracker.errors import ProviderError


@cache
def onnxruntime() -> Any:
    """The module, imported on first use; what its import prints on some machines is swallowed.

    Raises:
        ProviderError: not installed, or broken by installing and removing its CPU and GPU wheels over each other.
    """
    with quiet():
        try:
            import onnxruntime as module
        except ImportError as reason:
            raise ProviderError(
                f"ONNX Runtime cannot be imported ({one_line(str(reason))}); run `tracker doctor`"
            ) from None
    if not hasattr(module, "InferenceSession"):
        raise ProviderError(
            "ONNX Runtime is damaged, as when onnxruntime and onnxruntime-gpu were both installed; "
            "uninstall both, then install trackstream again"
        )
    return module


@dataclass(slots=True)
class Noise:
    """What was held back; filled when `quiet` ends."""

    text: str = ""


_streams = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[Noise]:
    """Hold back what is written to the process's stdout and stderr while the body runs, from Python or native code.

    Used only where ONNX Runtime is imported and where a GPU is tried: other threads' output in that time is held back
    too.
    """
    noise = Noise()
    printed = io.StringIO()
    with _streams, tempfile.TemporaryFile() as file:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), _descriptors(file.fileno()):
            yield noise
        file.seek(0)
        noise.text = printed.getvalue() + file.read().decode("utf-8", "replace")


@contextlib.contextmanager
def _descriptors(target: int) -> Iterator[None]:
    """Let file descriptors 1 and 2 lead to `target` for a while; one that is closed stays closed."""
    saved: dict[int, int] = {}
    try:
        for fd in (1, 2):
            with contextlib.suppress(OSError):
                saved[fd] = os.dup(fd)
                os.dup2(target, fd)
        yield
    finally:
        for fd, copy in saved.items():
            os.dup2(copy, fd)
            os.close(copy)


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def one_line(text: str) -> str:
    """The most telling piece of an ONNX Runtime message, on one line and short."""
    lines = [line.strip() for line in _COLOUR.sub("", text).splitlines() if line.strip(" *")]
    told = next(
        (line for line in lines if "error" in line.lower() or "fail" in line.lower()), lines[0] if lines else ""
    )
    if told.startswith("[ONNXRuntimeError]"):
        told = told.rsplit(" : ", 1)[-1]
    told = told.rsplit(" with error: ", 1)[-1]
    return told if len(told) <= 200 else told[:197] + "..."
