"""Devices: the ways to run a graph, and how a session asks for one of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

TUNINGS = ("fp16", "nhwc", "cuda_graph")
"""Switches of `SessionConfig` that only some devices have."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How a session is opened.

    Attributes:
        device: row of `DEVICES`, or "auto": the first of `AUTO` that works here.
        allow_cpu: take the CPU, with a warning in the log, where the asked device does not work.
        threads: CPU threads inside one operator; 0 lets ONNX Runtime take one per core.
        spin: let idle threads spin: lower latency on an idle machine, one burnt core per thread.
        fp16: let the device compute a float32 graph in float16 (TensorRT; for CUDA the file itself must be float16).
        nhwc: let convolutions run channels-last, which float16 on recent GPUs likes.
        cuda_graph: record the graph's launches once and replay them; every shape must be fixed and every node on the
            device. One thread at a time is let in.
    """

    device: str = "auto"
    allow_cpu: bool = False
    threads: int = 0
    spin: bool = False
    fp16: bool = False
    nhwc: bool = False
    cuda_graph: bool = False

    @property
    def tunings(self) -> tuple[str, ...]:
        """Those of `TUNINGS` that are on."""
        return tuple(name for name in TUNINGS if getattr(self, name))


@dataclass(frozen=True, slots=True)
class Device:
    """One way to run a graph; another execution provider is one more row of `DEVICES`.

    Attributes:
        provider: ONNX Runtime's name.
        hint: what to do when it does not work.
        options: provider options, from the model's SHA-256 and the session's config.
        present: a quick test that prints nothing; False means there is no point in trying.
        tunings: those of `TUNINGS` that it has.
        memory: ONNX Runtime's name of the memory in which it works.
    """

    provider: str
    hint: str = ""
    options: Callable[[str, SessionConfig], dict[str, str]] = field(default=lambda sha256, config: {})
    present: Callable[[], bool] = field(default=lambda: True)
    tunings: tuple[str, ...] = ()
    memory: str = "cpu"


@cache
def driver_present() -> bool:
    """True where NVIDIA's driver can be loaded; without it no CUDA library can work."""
    return cuda_driver() is not None


@cache
def cuda_driver() -> tuple[int, int] | None:
    """Newest CUDA (major, minor) that the installed driver takes, (0, 0) where it does not say; None without one."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(version))
    return version.value // 1000, version.value % 1000 // 10


def _cuda_options(_: str, config: SessionConfig) -> dict[str, str]:
    options = {"cudnn_conv_algo_search": "HEURISTIC"}
    if config.nhwc:
        options["prefer_nhwc"] = "1"
    if config.cuda_graph:
        options["enable_cuda_graph"] = "1"
    return options


def _tensorrt_options(sha256: str, config: SessionConfig) -> dict[str, str]:
    """Engines take minutes to build, so they are kept, one folder per model file.

    ONNX Runtime puts precision, GPU and versions into the names of the files there.
    """
    options = {}
    if config.fp16:
        options["trt_fp16_enable"] = "True"
    if config.cuda_graph:
        options["trt_cuda_graph_enable"] = "True"
    root = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "trackstream", "tensorrt", sha256)
    with contextlib.suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
    if not os.access(root, os.W_OK):
        return options
    return options | {
        "trt_engine_cache_enable": "True", "trt_engine_cache_path": str(root),
        "trt_timing_cache_enable": "True", "trt_timing_cache_path": str(root),
    }  # fmt: skip


DEVICES: dict[str, Device] = {
    "cpu": Device("CPUExecutionProvider"),
    "cuda": Device(
        "CUDAExecutionProvider",
        "install an NVIDIA driver and `trackstream[cuda]` (`[cuda12]` for drivers before CUDA 13)",
        _cuda_options,
        driver_present,
        ("nhwc", "cuda_graph"),
        "cuda",
    ),
    "tensorrt": Device(
        "TensorrtExecutionProvider",
        "install an NVIDIA driver, `trackstream[cuda]` and `tensorrt-cu13>=10.13,<11`",
        _tensorrt_options,
        driver_present,
        ("fp16", "cuda_graph"),
        "cuda",
    ),
}
AUTO = ("cuda", "cpu")
