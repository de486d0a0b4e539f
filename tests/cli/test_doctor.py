"""`doctor` tells what runs; `models info` tells what a file is."""

from __future__ import annotations

import json

import pytest

from tracker.cli import COMMANDS, doctor, main
from tracker.systems import SYSTEMS, options


def test_doctor_reports_what_really_runs(capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    printed = capfd.readouterr()
    findings = json.loads(printed.out)
    assert findings["devices"]["cpu"] == "runs"
    assert findings["packages"]["numpy"] and findings["codecs"]["h264 decode"]
    assert code == (1 if findings["problems"] else 0) and printed.err == ""


def test_a_double_install_is_found_and_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "1.0")
    problems: list[str] = []
    doctor._packages(problems)
    assert any("onnxruntime-gpu and onnxruntime are both installed" in problem for problem in problems)
    assert all("pip install" in problem for problem in problems) and len(problems) == 3


def test_models_info_prints_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", "street"]) == 0
    assert "panoptic" in capsys.readouterr().out
    assert main(["models", "info", "street", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["family"] == "panoptic"


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
