"""What importing costs, and what the root offers."""

from __future__ import annotations

import subprocess
import sys
import time

import tracker

HEAVY = ("onnxruntime", "cv2", "av", "torch", "filterpy", "pycocotools", "matplotlib")


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_after("import tracker") & {*HEAVY, "numpy", "numba"}


def test_own_detector_needs_neither_onnxruntime_nor_opencv() -> None:
    code = (
        "import tracker; t = tracker.create('bytetrack'); t.update(tracker.Detections.from_array([[0, 0, 9, 9, 0.9]]))"
    )
    assert not loaded_after(code) & set(HEAVY)


def test_every_public_name_is_there_and_no_other() -> None:
    for name in tracker.__all__:
        assert getattr(tracker, name) is not None
    assert sorted(tracker.__all__) == sorted({*tracker.__all__})
    homes = [name for names in tracker._HOMES.values() for name in names]
    assert sorted(homes) == sorted(tracker.__all__)


def test_help_starts_fast() -> None:
    """A user waits for it; the limit is loose because test machines are shared."""
    best = 9.0
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tracker", "--help"], capture_output=True, check=True)
        best = min(best, time.perf_counter() - start)
    assert best < 0.5
    assert not loaded_after("import tracker.cli; import tracker.cli.run, tracker.cli.doctor") & {
        *HEAVY,
        "numpy",
        "numba",
    }
