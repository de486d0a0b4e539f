"""What importing costs, and what the root offers."""

from __future__ import annotations

import subprocess
import sys

import tracker

HEAVY = {"onnxruntime", "cv2", "av", "torch", "filterpy", "pycocotools", "matplotlib"}

STEPS = """
import sys
def tell():
    print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)
import tracker
tell()
import tracker.cli, tracker.cli.run, tracker.cli.doctor
try: tracker.cli.main(["--help"])
except SystemExit as end: assert not end.code
tell()
robot = tracker.create("bytetrack")
robot.update(tracker.Detections.from_array([[0, 0, 9, 9, 0.9]]))
tell()
"""


def test_nothing_is_loaded_before_it_is_needed() -> None:
    """Neither by the package, nor for `--help`; own detections need neither onnxruntime nor OpenCV."""
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    imported, helped, tracked = (set(line.split()) for line in done.stderr.splitlines())
    assert "tracker" in imported and not imported & {*HEAVY, "numpy", "numba"}
    assert "usage: tracker" in done.stdout and not helped & {*HEAVY, "numpy", "numba"}
    assert {"numpy", "numba"} <= tracked and not tracked & HEAVY


def test_every_public_name_is_there_and_no_other() -> None:
    for name in tracker.__all__:
        assert getattr(tracker, name) is not None
    assert sorted(tracker.__all__) == sorted({*tracker.__all__})
    homes = [name for names in tracker._HOMES.values() for name in names]
    assert sorted(homes) == sorted(tracker.__all__)
