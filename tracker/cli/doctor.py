"""Say what is installed, which devices really run a network, and what to mend.

Every device is tried with a real inference of the built-in network, because ONNX Runtime lists providers that cannot
run. Nothing is changed, no camera is switched on. The exit code is 1 when something needs mending.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

PACKAGES = ("numpy", "numba", "lap", "filterpy", "opencv-python", "av", "pycocotools", "onnxruntime-gpu", "onnxruntime")
CLASHES = {
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime", "onnxruntime-directml", "onnxruntime-openvino"),
    "cv2": ("opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless"),
    "lap": ("lap", "lapx"),
}
"""Module -> distributions that write its files; of several that are installed the first is the one to keep."""
CODECS = {"h264": True, "hevc": False, "vp9": False, "av1": False, "mjpeg": False}
"""Codec -> whether its absence is something to mend."""

_CUDA_13_DRIVER = 580  # the first driver that takes CUDA 13


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def execute(arguments: argparse.Namespace) -> int:
    """Print the findings."""
    findings = examine()
    print(json.dumps(findings, indent=2) if arguments.json else _text(findings))
    return 1 if findings["problems"] else 0


def examine() -> dict[str, Any]:
    """All findings as plain data; `problems` is a list of one-line instructions."""
    from tracker import __version__

    problems: list[str] = []
    packages = _packages(problems)
    devices = _devices(problems)
    return {
        "trackstream": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": packages,
        "opencv": _opencv(problems),
        "devices": devices,
        "cuda": _cuda(devices["cuda"], packages["onnxruntime-gpu"] is not None, problems),
        "kernel_cache": _kernel_cache(problems),
        "codecs": _codecs(problems),
        "cameras": _cameras(Path("/dev"), problems) if sys.platform.startswith("linux") else None,
        "display": _display(),
        "problems": problems,
    }


def _packages(problems: list[str]) -> dict[str, str | None]:
    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    for module, rivals in CLASHES.items():
        found = [name for name in rivals if version(name)]
        if len(found) > 1:
            problems.append(
                f"{' and '.join(found)} are installed together and overwrite each other's {module}; run: "
                f"pip uninstall -y {' '.join(found)} && pip install {found[0]}"
            )
    return {name: version(name) for name in PACKAGES}


def _opencv(problems: list[str]) -> str | None:
    """Version of the module that really loads."""
    try:
        import cv2
    except ImportError as reason:
        told = " ".join(str(reason).split())
        slim = "libGL" in told or "libgthread" in told
        mend = (
            "pip uninstall -y opencv-python && pip install opencv-python-headless"
            if slim
            else "pip install --force-reinstall --no-deps opencv-python"
        )
        problems.append(f"OpenCV cannot be imported ({told}); run: {mend}")
        return None
    return str(cv2.__version__)


def _devices(problems: list[str]) -> dict[str, dict[str, Any]]:
    """What became of a real inference on each device, and what the first one cost."""
    from tracker.errors import ModelError

    found: dict[str, dict[str, Any]] = {}
    for device in ("cpu", "cuda", "tensorrt"):
        try:
            found[device] = _try(device)
        except ModelError as error:
            found[device] = {"runs": False, "why": str(error)}
            if device == "cpu":
                problems.append(str(error))
    return found


def _try(device: str) -> dict[str, Any]:
    """Run the built-in network twice.

    Raises:
        ModelError: it does not run there.
    """
    import numpy as np

    from tracker.models import open_model

    model = open_model("street", device=device, warmup=False)
    session = model.session
    given = model.feed(model.preprocess(np.full((model.size[1], model.size[0], 3), 114, np.uint8)).tensors)
    session.run(given)
    start = perf_counter()
    session.run(given)
    return {
        "runs": True,
        "providers": session.providers,
        "nodes": session.nodes,
        "open_s": round(session.open_s, 4),
        "first_run_s": round(session.first_run_s or 0.0, 4),
        "second_run_s": round(perf_counter() - start, 4),
    }


def _cuda(device: dict[str, Any], gpu_wheel: bool, problems: list[str]) -> dict[str, str | None]:
    """CUDA of the driver and of ONNX Runtime; None for what is not there."""
    from tracker.errors import ProviderError
    from tracker.onnx.devices import cuda_driver
    from tracker.onnx.runtime import onnxruntime

    driver = cuda_driver()
    try:
        wanted = str(getattr(onnxruntime(), "cuda_version", "")) or None
    except ProviderError:
        wanted = None  # the devices say it already
    if driver is not None and not device["runs"]:
        problems.append(cuda_mend(driver, wanted if gpu_wheel else None, device["why"]))
    return {"driver": None if driver is None else f"{driver[0]}.{driver[1]}", "onnxruntime": wanted}


def cuda_mend(driver: tuple[int, int], wanted: str | None, why: str) -> str:
    """What to do where there is a driver, but CUDA does not run.

    Args:
        driver: newest CUDA (major, minor) that the driver takes; (0, 0) where it does not say.
        wanted: CUDA that the installed ONNX Runtime is made for; None for one without CUDA.
        why: what was said when a network was opened.
    """
    extra = "cuda" if driver[0] >= 13 or driver[0] == 0 else "cuda12"
    if wanted is None:
        line = f"pip uninstall -y onnxruntime && pip install 'trackstream[{extra}]'"
        return f"there is an NVIDIA driver, but an ONNX Runtime without CUDA; run: {line}"
    if 0 < driver[0] < int(wanted.partition(".")[0]):
        return (
            f"the NVIDIA driver takes CUDA up to {driver[0]}.{driver[1]}, ONNX Runtime is made for {wanted}; update "
            f"the driver to {_CUDA_13_DRIVER} or newer, or run: pip install 'trackstream[cuda12]'"
        )
    return f"there is an NVIDIA driver, but CUDA does not run ({why}); run: pip install 'trackstream[{extra}]'"


def _kernel_cache(problems: list[str]) -> str | None:
    from tracker._jit import cache_folder

    folder = cache_folder()
    if folder is None:
        problems.append(
            "no folder for compiled kernels can be written; set NUMBA_CACHE_DIR, or every start compiles anew"
        )
    return None if folder is None else str(folder)


def _codecs(problems: list[str]) -> dict[str, bool]:
    import av

    found = {f"{name} decode": _has_codec(av, name, "r") for name in CODECS}
    found["h264 encode"] = _has_codec(av, "libx264", "w")
    problems += [
        f"{name} is missing from PyAV; run: pip install --force-reinstall av"
        for name, has in found.items()
        if not has and CODECS[name.partition(" ")[0]]
    ]
    return found


def _has_codec(av: Any, name: str, mode: str) -> bool:
    try:
        av.CodecContext.create(name, mode)
    except (av.FFmpegError, ValueError):  # the latter for names that FFmpeg does not know
        return False
    return True


def _cameras(folder: Path, problems: list[str]) -> dict[str, str]:
    """Video devices of Linux, and whether this user may open them."""
    found = {}
    for device in sorted(folder.glob("video[0-9]*"), key=lambda path: (len(path.name), path.name)):
        allowed = os.access(device, os.R_OK | os.W_OK)
        found[str(device)] = "may be opened" if allowed else "not allowed"
        if not allowed:
            problems.append(f"{device} may not be opened; run: sudo usermod -aG video $USER, then log in again")
    return found


def _display() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _text(findings: dict[str, Any]) -> str:
    lines = []
    for name, value in findings.items():
        if name == "problems":
            continue
        if isinstance(value, dict) and value:
            lines.append(f"{name}:")
            lines += [f"  {key:<18}{_plain(entry)}" for key, entry in value.items()]
        else:
            lines.append(f"{name:<20}{_plain(value)}")
    problems = findings["problems"]
    lines += [f"MEND: {problem}" for problem in problems] or ["nothing to mend"]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return _device_line(value) if value else "none"
    return {None: "-", True: "yes", False: "no"}.get(value, str(value))


def _device_line(device: dict[str, Any]) -> str:
    if not device["runs"]:
        return f"no: {device['why']}"
    where = ", ".join(f"{count} nodes on {name}" for name, count in device["nodes"].items()) or device["providers"][0]
    times = (1e3 * device[name] for name in ("open_s", "first_run_s", "second_run_s"))
    return "runs: {}; opened in {:.0f} ms, first run {:.0f} ms, second {:.0f} ms".format(where, *times)
