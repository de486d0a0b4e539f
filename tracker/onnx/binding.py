"""Buffers on a session's device: upload, execute and download as three steps, each over when it returns.

`Session.run` does all three in one call. Apart they can be timed, results can stay on the device, and the buffers keep
their addresses, which CUDA graphs need. On the CPU provider the same code runs, with plain copies for transfers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.onnx.runtime import onnxruntime
from tracker.onnx.tensors import TensorSpec


class Binding:
    """The buffers of one user of a session; not for several threads at once. `Session.bind` makes one.

    Args:
        session: ONNX Runtime's.
        inputs: the graph's, by name.
        outputs: likewise.
        memory: ONNX Runtime's name of the device's memory, "cpu" or "cuda".
    """

    def __init__(
        self, session: Any, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec], memory: str
    ) -> None:
        self._session = session
        self._inputs, self._outputs = inputs, outputs
        self._memory = memory
        self._binding = session.io_binding()
        self._uploaded: dict[str, Any] = {}
        self._kept = {
            spec.name: self._room(spec.shape, spec.dtype) for spec in outputs.values() if None not in spec.shape
        }
        self._bind_outputs()

    def upload(self, tensors: Mapping[str, Any]) -> None:
        """Copy inputs to the device.

        Args:
            tensors: input name -> array of the graph's shape and dtype, the caller's again on return; or a value that
                `Session.run_held` held, which takes the way over the host.
        """
        for name in self._inputs:
            tensor = tensors[name]
            array = np.ascontiguousarray(tensor if isinstance(tensor, np.ndarray) else tensor.numpy())
            value = self._uploaded.get(name)
            if value is None or tuple(value.shape()) != array.shape:
                value = self._uploaded[name] = self._room(array.shape, array.dtype)
                self._binding.bind_ortvalue_input(name, value)
            value.update_inplace(array)
        self._binding.synchronize_inputs()

    def execute(self) -> None:
        """Run the graph on what was uploaded, to its end."""
        if len(self._kept) < len(self._outputs):
            self._bind_outputs()  # else the room of the last run would have to fit
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def download(self) -> dict[str, NDArray[Any]]:
        """Output name -> new array in host memory."""
        values = zip(self._outputs, self._binding.get_outputs(), strict=True)
        return {name: value.numpy().copy() if self._memory == "cpu" else value.numpy() for name, value in values}

    def _bind_outputs(self) -> None:
        """Outputs of fixed shape into the same room again, the others into room that the run makes."""
        self._binding.clear_binding_outputs()
        for name in self._outputs:
            if name in self._kept:
                self._binding.bind_ortvalue_output(name, self._kept[name])
            else:
                self._binding.bind_output(name, self._memory)

    def _room(self, shape: tuple[Any, ...], dtype: np.dtype[Any]) -> Any:
        return onnxruntime().OrtValue.ortvalue_from_shape_and_type(list(shape), dtype.type, self._memory, 0)
