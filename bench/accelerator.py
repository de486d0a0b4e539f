"""What a figure taken on a GPU depends on, and what the GPU did meanwhile. Without one all of this is empty.

`nvidia-ml-py` (NVML) is optional; the module `pynvml` is handed in by tests.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from importlib import metadata
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from bench.result import BenchError
from tracker.models import DEVICES, Session, SessionConfig

LIBRARIES = (
    "nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "tensorrt-cu13",
    "tensorrt-cu12", "nvidia-ml-py",
)  # fmt: skip
SAMPLE_S = 0.1


def nvml() -> Any:
    """The initialised module `pynvml`; None where it or the driver is missing."""
    try:
        module: ModuleType = importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return None
    try:
        module.nvmlInit()
    except module.NVMLError:
        return None
    return module


def gpus(found: Any = None) -> list[dict[str, Any]]:
    """Name, driver, newest CUDA of the driver and memory of every GPU; [] without NVML.

    Args:
        found: a module like `pynvml`, initialised; None looks for the real one.
    """
    found = nvml() if found is None else found
    if found is None:
        return []
    newest = found.nvmlSystemGetCudaDriverVersion()
    handles = [found.nvmlDeviceGetHandleByIndex(k) for k in range(found.nvmlDeviceGetCount())]
    return [
        {
            "name": _text(found.nvmlDeviceGetName(handle)),
            "driver": _text(found.nvmlSystemGetDriverVersion()),
            "cuda_of_driver": f"{newest // 1000}.{newest % 1000 // 10}",
            "memory_mb": round(found.nvmlDeviceGetMemoryInfo(handle).total / 1e6),
        }
        for handle in handles
    ]


def libraries() -> dict[str, str]:
    """Versions of the CUDA, cuDNN and TensorRT packages, and the CUDA that ONNX Runtime is made for."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    runtime = sys.modules.get("onnxruntime")
    if runtime is not None and getattr(runtime, "cuda_version", ""):
        versions["onnxruntime's cuda"] = runtime.cuda_version
    return versions


def describe(session: Session, config: SessionConfig) -> dict[str, Any]:
    """Facts about an opened network: where and how it really runs, and the file's hash."""
    kind = str(next(iter(session.inputs.values())).dtype)
    on_gpu = session.device != "cpu"
    return {
        "file": session.path.name,
        "sha256": session.sha256,
        "device": session.device,
        "providers": session.providers,
        "nodes": session.nodes,
        "cpu_nodes": cpu_nodes(session),
        "precision": "fp16 by TensorRT" if config.fp16 and on_gpu else kind + (", tf32 allowed" if on_gpu else ""),
        "tunings": list(config.tunings),
        "threads": config.threads,
        "spin": config.spin,
    }


def cpu_nodes(session: Session) -> int | None:
    """Nodes that fell to the CPU although another device was asked for; None where nobody can tell."""
    if session.device == "cpu" or session.whole:
        return 0
    return session.nodes.get(DEVICES["cpu"].provider, 0) if session.nodes else None


def check_placement(session: Session, *, allowed: bool) -> None:
    """Refuse a figure of a GPU that is partly one of the CPU.

    Raises:
        BenchError: nodes fell to the CPU, or nobody can tell, and that is not allowed.
    """
    count = cpu_nodes(session)
    if count == 0 or allowed:
        return
    told = "some" if count is None else str(count)
    raise BenchError(
        f"expected all of {session.path.name} on {session.device}, but {told} of its nodes run on the CPU; "
        "--allow-cpu-nodes measures it all the same, and the result says so"
    )


class Sampler:
    """Power, utilisation and memory of a GPU, ten times a second while the body of `with` runs.

    Args:
        found: a module like `pynvml`, initialised; None for no GPU: then nothing is sampled.
        index: of the GPU.
        wait: sleeps between samples, until told to stop.
    """

    def __init__(self, found: Any, index: int = 0, wait: Callable[[threading.Event], bool] | None = None) -> None:
        self._nvml = found
        self._device = None if found is None else found.nvmlDeviceGetHandleByIndex(index)
        self._wait = (lambda event: event.wait(SAMPLE_S)) if wait is None else wait
        self._stop = threading.Event()
        self._samples: list[tuple[float, float, float]] = []
        self._thread = threading.Thread(target=self._work, name="nvml", daemon=True)

    def __enter__(self) -> Sampler:
        if self._nvml is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._nvml is not None:
            self._thread.join()

    def figures(self) -> dict[str, float]:
        """Median and greatest power (W), mean utilisation (%), greatest memory (MB); {} without samples."""
        if not self._samples:
            return {}
        power, use, memory = np.array(self._samples).T
        return {
            "gpu_power_w": round(float(np.median(power)), 1),
            "gpu_power_max_w": round(float(power.max()), 1),
            "gpu_percent": round(float(use.mean()), 1),
            "gpu_memory_mb": round(float(memory.max()), 1),
        }

    def _work(self) -> None:
        while True:
            self._samples.append(
                (
                    self._nvml.nvmlDeviceGetPowerUsage(self._device) / 1e3,
                    float(self._nvml.nvmlDeviceGetUtilizationRates(self._device).gpu),
                    self._nvml.nvmlDeviceGetMemoryInfo(self._device).used / 1e6,
                )
            )
            if self._wait(self._stop):
                return


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
