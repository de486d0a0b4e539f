"""Tensors: what a graph says about its inputs and outputs, and what an array says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tracker.errors import ModelError


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph; a free dimension is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name} [{', '.join('?' if n is None else str(n) for n in self.shape)}]"


DTYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32, "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}  # fmt: skip


def kind_of(tensor: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array or a held value."""
    if isinstance(tensor, np.ndarray):
        return tensor.shape, tensor.dtype
    return tuple(tensor.shape()), np.dtype(DTYPES[tensor.data_type()])


def spec_of(node: Any) -> TensorSpec:
    """From ONNX Runtime's description of an input or output.

    Raises:
        ModelError: no tensor of numbers.
    """
    if node.type not in DTYPES:
        raise ModelError(f"expected tensors of numbers, got {node.type} for {node.name}")
    shape = tuple(n if isinstance(n, int) and n >= 0 else None for n in node.shape)
    return TensorSpec(node.name, shape, np.dtype(DTYPES[node.type]))
