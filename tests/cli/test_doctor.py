"""`doctor` tells what runs; `models info` tells what a file is."""

from __future__ import annotations

import importlib.abc
import json
import re
import sys
from pathlib import Path

import pytest

from tracker.cli import COMMANDS, doctor, main
from tracker.onnx import devices
from tracker.systems import SYSTEMS, options


def test_doctor_reports_what_really_runs(capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    printed = capfd.readouterr()
    findings = json.loads(printed.out)
    cpu = findings["devices"]["cpu"]
    assert cpu["runs"] and cpu["providers"] == ["CPUExecutionProvider"]
    assert all(cpu[name] > 0 for name in ("open_s", "first_run_s", "second_run_s"))
    for device in ("cuda", "tensorrt"):
        found = findings["devices"][device]
        assert found["runs"] or f"device '{device}' does not run here" in found["why"]
    assert findings["opencv"] and set(findings["cuda"]) == {"driver", "onnxruntime"}
    assert findings["packages"]["numpy"] and findings["codecs"]["h264 decode"]
    assert code == (1 if findings["problems"] else 0) and printed.err == ""


def test_the_text_has_a_line_for_every_device(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    (cpu,) = [line for line in lines if line.startswith("  cpu ")]
    assert "runs: " in cpu and "first run" in cpu and not any("{" in line for line in lines)


def test_a_double_install_is_found_and_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "1.0")
    problems: list[str] = []
    doctor._packages(problems)
    assert len(problems) == len(doctor.CLASHES) == 3
    assert any("lap and lapx are installed together and overwrite each other's lap; run: " in p for p in problems)
    assert all(f"&& pip install {rivals[0]}" in p for p, rivals in zip(problems, doctor.CLASHES.values(), strict=True))


@pytest.mark.parametrize(
    ("installed", "line"),
    [
        (
            {"onnxruntime-gpu", "onnxruntime"},
            "pip uninstall -y onnxruntime-gpu onnxruntime && pip install onnxruntime-gpu",
        ),
        (
            {"opencv-python-headless", "opencv-contrib-python"},
            "pip uninstall -y opencv-contrib-python opencv-python-headless && pip install opencv-contrib-python",
        ),
        ({"lapx"}, None),
        ({"onnxruntime-gpu", "opencv-python", "lap"}, None),
    ],
)
def test_only_rivals_are_a_problem(monkeypatch: pytest.MonkeyPatch, installed: set[str], line: str | None) -> None:
    def version(name: str) -> str:
        if name not in installed:
            raise doctor.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor.metadata, "version", version)
    problems: list[str] = []
    doctor._packages(problems)
    assert [problem.partition("run: ")[2] for problem in problems] == ([line] if line else [])


@pytest.mark.parametrize(
    ("driver", "wanted", "told"),
    [
        ((12, 4), "13.0", "takes CUDA up to 12.4, .* made for 13.0; .*580 or newer, or run: pip install '.*cuda12"),
        ((13, 0), "13.0", "CUDA does not run .no cuDNN.; run: pip install 'trackstream.cuda.'"),
        ((12, 4), "12.8", "CUDA does not run .no cuDNN.; run: pip install 'trackstream.cuda12.'"),
        ((13, 1), None, "without CUDA; run: pip uninstall -y onnxruntime && pip install 'trackstream.cuda.'"),
        ((0, 0), "13.0", "run: pip install 'trackstream.cuda.'"),
    ],
)
def test_a_driver_that_does_not_fit_has_its_line(driver: tuple[int, int], wanted: str | None, told: str) -> None:
    line = doctor.cuda_mend(driver, wanted, "no cuDNN")
    assert re.search(told, line) and "\n" not in line


def test_a_driver_without_cuda_is_a_problem_and_none_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for driver, count in ((None, 0), ((12, 4), 1)):
        monkeypatch.setattr(devices, "cuda_driver", lambda driver=driver: driver)
        problems: list[str] = []
        found = doctor._cuda({"runs": False, "why": "x"}, True, problems)
        assert len(problems) == count and found["driver"] == (None if driver is None else "12.4")
        problems.clear()
        doctor._cuda({"runs": True}, True, problems)
        assert problems == []


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("libGL.so.1: cannot open shared object file", "pip install opencv-python-headless"),
        ("No module named 'cv2'", "pip install --force-reinstall --no-deps opencv-python"),
    ],
)
def test_an_opencv_that_does_not_load(monkeypatch: pytest.MonkeyPatch, reason: str, line: str) -> None:
    class Broken(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == "cv2":
                raise ImportError(reason)

    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    problems: list[str] = []
    assert doctor._opencv(problems) is None
    assert len(problems) == 1 and problems[0].endswith(line) and reason in problems[0]


def test_missing_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_has_codec", lambda av, name, mode: name not in ("libx264", "av1"))
    problems: list[str] = []
    found = doctor._codecs(problems)
    assert found["h264 decode"] and not found["h264 encode"] and not found["av1 decode"]
    assert problems == ["h264 encode is missing from PyAV; run: pip install --force-reinstall av"]
    import av

    monkeypatch.undo()
    assert doctor._has_codec(av, "h264", "r") and not doctor._has_codec(av, "nothing", "r")


def test_cameras_are_listed_and_locked_ones_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("video10", "video2", "null"):
        (tmp_path / name).touch()
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: "video10" in str(path))
    problems: list[str] = []
    found = doctor._cameras(tmp_path, problems)
    assert found == {str(tmp_path / "video2"): "not allowed", str(tmp_path / "video10"): "may be opened"}
    assert len(problems) == 1 and "usermod -aG video" in problems[0]


def test_models_info_prints_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", "street"]) == 0
    assert "panoptic" in capsys.readouterr().out
    assert main(["models", "info", "street", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["family"] == "panoptic-video"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0 and "usage: tracker" in capsys.readouterr().out


def test_an_unknown_command_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fly"])
    assert caught.value.code == 2


def test_systems_lists_every_row_and_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["systems"]) == 0
    listed = capsys.readouterr().out
    for name in SYSTEMS:
        assert name in listed and main(["systems", name]) == 0
        printed = capsys.readouterr().out
        assert all(f"{option}=" in printed for option in options(name))
    assert main(["systems", "magic"]) == 2
    assert "no system 'magic'; there are sort" in capsys.readouterr().err
