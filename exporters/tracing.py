"""How a torch module becomes an ONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

OPSET = 17


def trace_graph(
    network: nn.Module, given: Sequence[Tensor], path: Path, inputs: Sequence[str], outputs: Sequence[str],
    **options: Any,
) -> None:  # fmt: skip
    """Write the bare graph of a module, as it runs on some inputs.

    Args:
        network: in any mode; it is left in evaluation mode.
        given: one tensor for each input.
        path: ONNX file to write.
        inputs: their names.
        outputs: names of what the module returns.
        options: more of `torch.onnx.export`, such as `dynamic_axes`.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the TorchScript exporter: deprecation, shapes that are fixed on purpose
        torch.onnx.export(
            network.eval(), tuple(given), str(path), opset_version=OPSET, dynamo=False,
            input_names=list(inputs), output_names=list(outputs), **options,
        )  # fmt: skip
    onnx.checker.check_model(str(path))
