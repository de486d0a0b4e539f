"""Does the ONNX file compute what the torch network computes? A file that does not is not kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIMIT = 1e-4  # of the largest magnitude of an output


class ParityError(Exception):
    """ONNX and torch disagree; the file has been removed."""


def check_parity(
    path: Path,
    network: Callable[..., Sequence[NDArray[np.float32]]],
    inputs: Sequence[NDArray[np.float32] | tuple[NDArray[np.float32], ...]],
    limit: float = LIMIT,
) -> float:
    """Run the file in ONNX Runtime on the CPU and compare every output on every input.

    Args:
        path: ONNX file; removed if it fails.
        network: the truth: same inputs -> arrays in the order of the file's outputs.
        inputs: arrays for the file's input, or tuples of one array for each of its inputs.
        limit: largest allowed difference, relative to an output's largest magnitude (at least 1).

    Returns:
        The largest relative difference seen.

    Raises:
        ParityError: an output is missing, has another shape, is not finite or differs by more than `limit`.
    """
    worst = 0.0
    try:
        run = _runner(path)
        for i, given in enumerate(inputs):
            tensors = given if isinstance(given, tuple) else (given,)
            worst = max(worst, _compare(run(*tensors), network(*tensors), i))
            if worst > limit:
                raise ParityError(f"ONNX and torch differ by {worst:.1e} (limit {limit:.0e}) on input {i}: not written")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return worst


def _runner(path: Path) -> Callable[..., list[Any]]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as reason:  # ONNX Runtime has one exception class per status code and no common root
        raise ParityError(f"ONNX Runtime does not open the exported file: {reason}") from None
    names = [spec.name for spec in session.get_inputs()]
    return lambda *tensors: session.run(None, dict(zip(names, tensors, strict=True)))


def _compare(got: Sequence[Any], wanted: Sequence[NDArray[np.float32]], index: int) -> float:
    """Largest relative difference of all outputs."""
    if [a.shape for a in got] != [b.shape for b in wanted]:
        raise ParityError(
            f"expected outputs of shapes {[b.shape for b in wanted]} on input {index}, got {[a.shape for a in got]}"
        )
    worst = 0.0
    for a, b in zip(got, wanted, strict=True):
        if not np.isfinite(a).all() or not np.isfinite(b).all():
            raise ParityError(f"an output is not finite on input {index}: not written")
        worst = max(worst, float(np.abs(a - b).max(initial=0) / max(1.0, float(np.abs(b).max(initial=0)))))
    return worst
