"""Session: an ONNX file opened on a device that is proven to run it.

`get_available_providers()` lists what the wheel was built with, not what works here, and ONNX Runtime falls back to
the CPU with no more than a warning. So a device is believed only when the created session says so, and asking for one
and getting another is an error.

Outputs are new arrays in every run: they belong to the caller, and a later run never writes into them.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ModelError, ModelNotFoundError, ProviderError
from tracker.models.runtime import one_line, onnxruntime, quiet

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph; a free dimension is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name} [{', '.join('?' if n is None else str(n) for n in self.shape)}]"


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How a session is opened.

    Attributes:
        device: row of `DEVICES`, or "auto": the first of `AUTO` that works here.
        allow_cpu: take the CPU, with a warning in the log, where the asked device does not work.
        threads: CPU threads inside one operator; 0 lets ONNX Runtime take one per core.
        spin: let idle threads spin: lower latency on an idle machine, one burnt core per thread.
    """

    device: str = "auto"
    allow_cpu: bool = False
    threads: int = 0
    spin: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """One way to run a graph; another execution provider is one more row of `DEVICES`.

    Attributes:
        provider: ONNX Runtime's name.
        hint: what to do when it does not work.
        options: provider options, from the model's SHA-256.
        present: a quick test that prints nothing; False means there is no point in trying.
    """

    provider: str
    hint: str = ""
    options: Callable[[str], dict[str, str]] = field(default=lambda _: {})
    present: Callable[[], bool] = field(default=lambda: True)


@cache
def _driver_present() -> bool:
    """True where NVIDIA's driver can be loaded; without it no CUDA library can work."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _tensorrt_options(sha256: str) -> dict[str, str]:
    """Engines take minutes to build, so they are kept, one folder per model file."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "trackstream", "tensorrt", sha256)
    with contextlib.suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
    if not os.access(root, os.W_OK):
        return {}
    return {
        "trt_engine_cache_enable": "True", "trt_engine_cache_path": str(root),
        "trt_timing_cache_enable": "True", "trt_timing_cache_path": str(root),
    }  # fmt: skip


DEVICES: dict[str, Device] = {
    "cpu": Device("CPUExecutionProvider"),
    "cuda": Device(
        "CUDAExecutionProvider",
        "install an NVIDIA driver and `trackstream[cuda]` (`[cuda12]` for drivers before CUDA 13)",
        lambda _: {"cudnn_conv_algo_search": "HEURISTIC"},
        _driver_present,
    ),
    "tensorrt": Device(
        "TensorrtExecutionProvider",
        "install an NVIDIA driver, `trackstream[cuda]` and `tensorrt-cu13>=10.13,<11`",
        _tensorrt_options,
        _driver_present,
    ),
}
AUTO = ("cuda", "cpu")


class Session:
    """A graph that can be run from several threads at once.

    Args:
        path: ONNX file.
        config: device and threads.

    Attributes:
        path: of the file.
        sha256: of the file.
        metadata: the file's `metadata_props`.
        inputs: name -> TensorSpec, in graph order.
        outputs: likewise.
        device: row of `DEVICES` that really runs.
        providers: what ONNX Runtime says runs, first one first.
        whole: every node runs on `device`; False where some (usually shape arithmetic) stayed on the CPU.
        open_s: seconds that opening took.
        first_run_s: seconds of the first run, None before it.

    Raises:
        ModelNotFoundError: no such file.
        ModelError: not a file, empty, not an ONNX model, or cut short.
        ProviderError: the asked device does not run here.
    """

    def __init__(self, path: str | os.PathLike[str], config: SessionConfig | None = None) -> None:
        config = SessionConfig() if config is None else config
        if config.device != "auto" and config.device not in DEVICES:
            raise ProviderError(f"expected a device of auto, {', '.join(DEVICES)}, got {config.device!r}")
        self.path = _model_file(path)
        with self.path.open("rb") as file:
            self.sha256 = _sha256(file)
        start = perf_counter()
        self.device, self.whole, self._session = self._open(config)
        self.open_s = perf_counter() - start
        self.first_run_s: float | None = None
        self.providers: list[str] = self._session.get_providers()
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.inputs = {t.name: _spec(t) for t in self._session.get_inputs()}
        self.outputs = {t.name: _spec(t) for t in self._session.get_outputs()}

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
        device = DEVICES[name]
        providers: list[Any] = [(device.provider, device.options(self.sha256))]
        if name != "cpu":
            if name == "tensorrt":
                providers.append((DEVICES["cuda"].provider, DEVICES["cuda"].options(self.sha256)))
            if strict:
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            else:
                providers.append(DEVICES["cpu"].provider)
        try:
            return ort.InferenceSession(str(self.path), options, providers=providers)
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
        self._check(tensors)
        start = perf_counter()
        try:
            outputs = self._run(tensors)
        except Exception as reason:
            raise ModelError(f"{self.path} failed while running on {self.device} ({one_line(str(reason))})") from None
        if self.first_run_s is None:
            self.first_run_s = perf_counter() - start
        return outputs

    def _run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        value = onnxruntime().OrtValue.ortvalue_from_numpy  # shares the array's memory
        binding = self._session.io_binding()
        kept = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        for name, array in kept.items():
            binding.bind_ortvalue_input(name, value(array))
        outputs: dict[str, NDArray[Any]] = {}
        for spec in self.outputs.values():
            if None in spec.shape:
                binding.bind_output(spec.name, "cpu")
            else:
                outputs[spec.name] = np.empty(spec.shape, spec.dtype)  # type: ignore[arg-type]
                binding.bind_ortvalue_output(spec.name, value(outputs[spec.name]))
        self._session.run_with_iobinding(binding)
        if len(outputs) == len(self.outputs):
            return outputs
        bound = zip(self.outputs, binding.get_outputs(), strict=True)
        return {name: outputs[name] if name in outputs else array.numpy().copy() for name, array in bound}

    def _check(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        if tensors.keys() != self.inputs.keys():
            raise ModelError(f"expected inputs {', '.join(self.inputs)}, got {', '.join(tensors) or 'none'}")
        for name, spec in self.inputs.items():
            array = tensors[name]
            fits = len(array.shape) == len(spec.shape) and all(
                want is None or want == got for want, got in zip(spec.shape, array.shape, strict=True)
            )
            if not fits or array.dtype != spec.dtype:
                raise ModelError(f"expected input {spec} {spec.dtype}, got {list(array.shape)} {array.dtype}")


# ---------------------------------------------------------------------- files and specs


def _model_file(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if file.is_dir():
        raise ModelError(f"expected an ONNX file, got the folder {file}")
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        raise ModelNotFoundError(f"no model file {file}") from None
    except OSError as reason:
        raise ModelError(f"model file {file} cannot be read ({reason.strerror})") from None
    if size == 0:
        raise ModelError(f"model file {file} is empty; download or export it again")
    return file


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


_DTYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32, "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}  # fmt: skip


def _spec(node: Any) -> TensorSpec:
    if node.type not in _DTYPES:
        raise ModelError(f"expected tensors of numbers, got {node.type} for {node.name}")
    shape = tuple(n if isinstance(n, int) and n >= 0 else None for n in node.shape)
    return TensorSpec(node.name, shape, np.dtype(_DTYPES[node.type]))
