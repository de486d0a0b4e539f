"""Session: an ONNX file opened on a device that is proven to run it.

`get_available_providers()` lists what the wheel was built with, not what works here, and ONNX Runtime falls back to
the CPU with no more than a warning. So a device is believed only when the created session says so, and asking for one
and getting another is an error.

Outputs are new arrays in every run: they belong to the caller, and a later run never writes into them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ModelError, ProviderError
from tracker.onnx.binding import Binding
from tracker.onnx.devices import AUTO, DEVICES, SessionConfig
from tracker.onnx.file import model_file, sha256_of
from tracker.onnx.runtime import one_line, onnxruntime, quiet
from tracker.onnx.tensors import kind_of, spec_of

_log = logging.getLogger(__name__)


class Session:
    """A graph that can be run from several threads at once.

    Args:
        path: ONNX file.
        config: device and threads.
        change: makes other bytes of the file's before they are opened, such as a graph with free shapes.

    Attributes:
        config: how it was opened.
        path: of the file.
        sha256: of the file.
        metadata: the file's `metadata_props`.
        inputs: name -> TensorSpec, in graph order.
        outputs: likewise.
        device: row of `DEVICES` that really runs.
        providers: what ONNX Runtime says runs, first one first.
        nodes: provider -> nodes of the optimised graph that it runs; empty where ONNX Runtime is too old to tell.
        whole: every node runs on `device`; False where some (usually shape arithmetic) stayed on the CPU.
        open_s: seconds that opening took.
        first_run_s: seconds of the first run, None before it.

    Raises:
        ModelNotFoundError: no such file.
        ModelError: not a file, empty, not an ONNX model, or cut short.
        ProviderError: the asked device does not run here, or has not the tunings that were asked for.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: SessionConfig | None = None,
        *,
        change: Callable[[bytes], bytes] | None = None,
    ) -> None:
        config = SessionConfig() if config is None else config
        if config.device != "auto" and config.device not in DEVICES:
            raise ProviderError(f"expected a device of auto, {', '.join(DEVICES)}, got {config.device!r}")
        _check_tunings(config)
        self.config = config
        self.path = model_file(path)
        self.sha256 = sha256_of(self.path)
        self._graph: str | bytes = str(self.path) if change is None else change(self.path.read_bytes())
        start = perf_counter()
        self.device, self.whole, self._session = self._open(config)
        self.open_s = perf_counter() - start
        self.first_run_s: float | None = None
        self.providers: list[str] = self._session.get_providers()
        self.nodes = _nodes(self._session)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.inputs = {t.name: spec_of(t) for t in self._session.get_inputs()}
        self.outputs = {t.name: spec_of(t) for t in self._session.get_outputs()}
        self._turn = threading.Lock()
        self._replayed = self._recorded() if config.cuda_graph and self.device != "cpu" else None

    @property
    def raw(self) -> Any:
        """ONNX Runtime's own session: the yardstick of benchmarks, and for what this class does not do."""
        return self._session

    def bind(self) -> Binding:
        """Buffers on the device, for one thread at a time: upload, execute and download apart."""
        return Binding(self._session, self.inputs, self.outputs, DEVICES[self.device].memory)

    # ------------------------------------------------------------------ opening
    def _open(self, config: SessionConfig) -> tuple[str, bool, Any]:
        wanted = AUTO if config.device == "auto" else (config.device,)
        for name in wanted:
            if name == "cpu":
                return name, True, self._create(name, config, strict=True)
            session, whole, reason = self._try(name, config)
            if session is not None:
                return name, whole, session
            if config.device != "auto" and not config.allow_cpu:
                self._create("cpu", config, strict=True)  # a broken file is no matter of devices, and says so here
                raise ProviderError(f"device {name!r} does not run here ({reason}); {DEVICES[name].hint}")
            if config.device != "auto" or DEVICES[name].present():
                _log.warning("device %s does not run here (%s); running on the CPU", name, reason)
        return "cpu", True, self._create("cpu", config, strict=True)

    def _try(self, name: str, config: SessionConfig) -> tuple[Any, bool, str]:
        """Session on `name` or None; whether no node is left to the CPU; why not."""
        device = DEVICES[name]
        ort = onnxruntime()
        if device.provider not in ort.get_available_providers():
            return None, False, f"this ONNX Runtime has no {device.provider}"
        if not device.present():
            return None, False, "no driver"
        with quiet() as noise:
            if hasattr(ort, "preload_dlls"):
                ort.preload_dlls()
            for strict in (True, False):  # first without any node on the CPU; then with the few that need it
                try:
                    session = self._create(name, config, strict=strict)
                except ModelError:
                    continue
                if session.get_providers()[0] == device.provider:
                    return session, strict, ""
        return None, False, one_line(noise.text) or f"{device.provider} was not taken"

    def _create(self, name: str, config: SessionConfig, *, strict: bool) -> Any:
        ort = onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = config.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(config.spin)))
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        device = DEVICES[name]
        providers: list[Any] = [(device.provider, device.options(self.sha256, config))]
        if name != "cpu":
            if name == "tensorrt":
                providers.append((DEVICES["cuda"].provider, DEVICES["cuda"].options(self.sha256, config)))
            if strict:
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            else:
                providers.append(DEVICES["cpu"].provider)
        try:
            return ort.InferenceSession(self._graph, options, providers=providers)
        except Exception as reason:  # ONNX Runtime's own classes have no common root below Exception
            raise ModelError(
                f"{self.path} cannot be opened: not an ONNX model, cut short, or too new for ONNX Runtime "
                f"{ort.__version__} ({one_line(str(reason))})"
            ) from None

    # ------------------------------------------------------------------ running
    def run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the graph once.

        Args:
            tensors: input name -> array of the declared shape and dtype; not changed, and free again on return.

        Returns:
            Output name -> array in host memory. Every array is new: it is the caller's, no later run touches it.

        Raises:
            ModelError: missing or unknown inputs, or a shape or dtype that the graph does not take.
        """
        return self.run_held(tensors, ())

    def run_held(self, tensors: Mapping[str, Any], held: Collection[str]) -> dict[str, Any]:
        """As `run`, but what only another graph needs stays on the device instead of crossing the bus twice.

        Args:
            tensors: arrays, or values that were held before, by this session or another one on the same device.
            held: outputs that stay where the graph runs.

        Returns:
            Output name -> array, or `onnxruntime.OrtValue` for held ones (arrays all the same from a session with
            `cuda_graph`, whose buffers are not to be kept). Every value is new; no later run touches it.

        Raises:
            ModelError: as `run`.
        """
        self._check(tensors)
        start = perf_counter()
        try:
            outputs = self._run(tensors, held)
        except Exception as reason:
            raise ModelError(f"{self.path} failed while running on {self.device} ({one_line(str(reason))})") from None
        if self.first_run_s is None:
            self.first_run_s = perf_counter() - start
        return outputs

    def _recorded(self) -> Binding:
        """The buffers whose addresses a CUDA graph keeps."""
        free = [str(spec) for spec in (*self.inputs.values(), *self.outputs.values()) if None in spec.shape]
        if free:
            raise ModelError(f"expected fixed shapes for cuda_graph, got {free[0]} in {self.path}; leave it off")
        if not self.whole:
            raise ModelError(f"expected every node of {self.path} on {self.device} for cuda_graph; leave it off")
        return self.bind()

    def _run(self, tensors: Mapping[str, Any], held: Collection[str]) -> dict[str, Any]:
        if self._replayed is not None:
            with self._turn:
                self._replayed.upload(tensors)
                self._replayed.execute()
                return self._replayed.download()
        value = onnxruntime().OrtValue.ortvalue_from_numpy  # shares the array's memory
        binding = self._session.io_binding()
        given = {n: np.ascontiguousarray(t) if isinstance(t, np.ndarray) else t for n, t in tensors.items()}
        for name, tensor in given.items():
            binding.bind_ortvalue_input(name, value(tensor) if isinstance(tensor, np.ndarray) else tensor)
        outputs: dict[str, Any] = {}
        for spec in self.outputs.values():
            if spec.name in held:
                binding.bind_output(spec.name, DEVICES[self.device].memory)
            elif None in spec.shape:
                binding.bind_output(spec.name, "cpu")
            else:
                outputs[spec.name] = np.empty(spec.shape, spec.dtype)
                binding.bind_ortvalue_output(spec.name, value(outputs[spec.name]))
        self._session.run_with_iobinding(binding)
        if len(outputs) == len(self.outputs):
            return outputs
        binding.synchronize_outputs()
        for name, result in zip(self.outputs, binding.get_outputs(), strict=True):
            if name not in outputs:
                outputs[name] = result if name in held else result.numpy().copy()
        return outputs

    def _check(self, tensors: Mapping[str, Any]) -> None:
        if tensors.keys() != self.inputs.keys():
            raise ModelError(f"expected inputs {', '.join(self.inputs)}, got {', '.join(tensors) or 'none'}")
        for name, spec in self.inputs.items():
            shape, dtype = kind_of(tensors[name])
            fits = len(shape) == len(spec.shape) and all(
                want is None or want == got for want, got in zip(spec.shape, shape, strict=True)
            )
            if not fits or dtype != spec.dtype:
                raise ModelError(f"expected input {spec} {spec.dtype}, got {list(shape)} {dtype}")


def _check_tunings(config: SessionConfig) -> None:
    has = DEVICES[config.device].tunings if config.device in DEVICES else ()
    for name in config.tunings:
        if name not in has:
            having = " or ".join(row for row, device in DEVICES.items() if name in device.tunings)
            raise ProviderError(
                f"expected device {having} for {name}, got {config.device!r}; name it, or leave {name} off"
            )


def _nodes(session: Any) -> dict[str, int]:
    """Provider -> nodes of the optimised graph that it runs."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)
