"""Does an ONNX file compute what it should: what torch, or the file that it was made from, computes?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIMIT = 1e-4  # of the largest magnitude of an output


class ParityError(Exception):
    """A file computes something else; it does not get to its place."""


def check_parity(
    path: Path,
    network: Callable[..., Sequence[NDArray[np.float32]]],
    inputs: Sequence[NDArray[np.float32] | tuple[NDArray[np.float32], ...]],
    limit: float = LIMIT,
) -> float:
    """Run the file in ONNX Runtime on the CPU and compare every output on every input.

    Args:
        path: ONNX file.
        network: the truth: same inputs -> arrays in the order of the file's outputs.
        inputs: arrays for the file's input, or tuples of one array for each of its inputs.
        limit: largest allowed difference, relative to an output's largest magnitude (at least 1).

    Returns:
        The largest relative difference seen.

    Raises:
        ParityError: an output is missing, has another shape, is not finite or differs by more than `limit`.
    """
    session, worst = open_graph(path), 0.0
    names, outputs = ([end.name for end in ends] for ends in (session.get_inputs(), session.get_outputs()))
    for i, given in enumerate(inputs):
        tensors = given if isinstance(given, tuple) else (given,)
        found, wanted = session.run(None, dict(zip(names, tensors, strict=True))), network(*tensors)
        if len(found) != len(wanted):
            raise ParityError(f"expected {len(wanted)} outputs, got {', '.join(outputs)}: not written")
        for name, got, truth in zip(outputs, found, wanted, strict=True):
            worst = max(worst, relative_difference(name, got, truth))
        if worst > limit:
            raise ParityError(f"ONNX and torch differ by {worst:.1e} (limit {limit:.0e}) on input {i}: not written")
    return worst


def open_graph(path: Path) -> Any:
    """The `onnxruntime.InferenceSession` of a file, on the CPU.

    Raises:
        ParityError: it does not open.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as reason:  # ONNX Runtime has one exception class per status code and no common root
        raise ParityError(f"ONNX Runtime does not open {path.name}: {str(reason).splitlines()[0]}") from None


def relative_difference(name: str, got: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Largest difference of an output from the truth, of the truth's largest magnitude (at least 1); 0 of empty ones.

    Raises:
        ParityError: another shape, or numbers that are not finite.
    """
    if got.shape != wanted.shape:
        raise ParityError(f"expected {name} of shape {wanted.shape}, got {got.shape}: not written")
    if not np.isfinite(got).all() or not np.isfinite(wanted).all():
        raise ParityError(f"{name} is not finite: not written")
    most = max(1.0, float(np.abs(wanted).max(initial=0)))
    return float(np.abs(got.astype(np.float64) - wanted).max(initial=0)) / most
