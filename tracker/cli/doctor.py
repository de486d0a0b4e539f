"""Say what is installed, which devices really run a network, and what to mend.

Every device is tried with a real inference of the built-in network, because ONNX Runtime lists providers that cannot
run. The exit code is 1 when something needs mending.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import metadata
from typing import Any

PACKAGES = ("numpy", "numba", "lap", "filterpy", "opencv-python", "av", "pycocotools", "onnxruntime-gpu", "onnxruntime")
CLASHES = (("onnxruntime-gpu", "onnxruntime"), ("opencv-python", "opencv-python-headless"), ("lap", "lapx"))
"""Pairs of distributions that write the same files; the first of each is the one to keep."""


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
    return {
        "trackstream": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": _packages(problems),
        "devices": _devices(problems),
        "kernel_cache": _kernel_cache(problems),
        "codecs": _codecs(problems),
        "display": _display(),
        "problems": problems,
    }


def _packages(problems: list[str]) -> dict[str, str | None]:
    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    for kept, other in CLASHES:
        if version(kept) and version(other):
            problems.append(
                f"{kept} and {other} are both installed and overwrite each other; run: "
                f"pip uninstall -y {kept} {other} && pip install {kept}"
            )
    return {name: version(name) for name in PACKAGES}


def _devices(problems: list[str]) -> dict[str, str]:
    """What became of a real inference on each device."""
    from tracker.errors import ModelError
    from tracker.models import open_model

    found = {}
    for device in ("cpu", "cuda", "tensorrt"):
        try:
            open_model("street", device=device)
            found[device] = "runs"
        except ModelError as error:
            found[device] = f"no: {error}"
            if device == "cpu":
                problems.append(str(error))
    return found


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

    found = {"h264 decode": "h264" in av.codecs_available}
    try:
        av.CodecContext.create("libx264", "w")
        found["h264 encode"] = True
    except av.FFmpegError:
        found["h264 encode"] = False
    problems += [
        f"{name} is missing from PyAV; run: pip install --force-reinstall av" for name, ok in found.items() if not ok
    ]
    return found


def _display() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _text(findings: dict[str, Any]) -> str:
    lines = []
    for name, value in findings.items():
        if name == "problems":
            continue
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {key:<18}{_plain(entry)}" for key, entry in value.items()]
        else:
            lines.append(f"{name:<20}{_plain(value)}")
    problems = findings["problems"]
    lines += [f"MEND: {problem}" for problem in problems] or ["nothing to mend"]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return {None: "-", True: "yes", False: "no"}.get(value, str(value))
