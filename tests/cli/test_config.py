"""Flags, TOML and defaults are one dataclass."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tracker.cli import config
from tracker.cli.run import RunConfig, add_arguments
from tracker.errors import ConfigError


def parse(*argv: str) -> RunConfig:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["clip.mp4", *argv])
    return config.load(RunConfig, arguments, arguments.config, source=arguments.source[0])


def test_defaults_come_from_the_dataclass() -> None:
    assert parse() == RunConfig("clip.mp4")


def test_flags_are_typed() -> None:
    run = parse(
        "--max-frames", "5", "--min-score", "0.25", "--classes", "person,car", "--overlap", "no", "--show",
        "--set", "max_coast_frames=60", "--set", "mode=fast", "--save", "mot,video=a.mp4",
    )  # fmt: skip
    assert (run.max_frames, run.min_score, run.classes, run.overlap, run.show) == (
        5,
        0.25,
        ("person", "car"),
        False,
        True,
    )
    assert run.set == {"max_coast_frames": 60, "mode": "fast"}
    assert run.save == ("mot", "video=a.mp4")


def test_toml_stands_between_flags_and_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('max_frames = 7\nmin-score = 0.5\nsave = ["mot"]\nshow = true\n[set]\nbirth_score = 0.7\nx = 1\n')
    run = parse("--config", str(file), "--max-frames", "9", "--set", "x=2")
    assert (run.max_frames, run.min_score, run.save, run.show) == (9, 0.5, ("mot",), True)
    assert run.set == {"birth_score": 0.7, "x": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frames = 7", "unknown key 'frames'; known keys are"),
        ("max_frames = 'many'", "max_frames cannot be 'many'"),
        ("show = 1", "show cannot be 1"),
        ("device = 'tpu'", "device must be one of auto, cpu"),
        ("max_frames = 0", "at least 1"),
        ("max_frames =", "not valid TOML"),
        ("set = 3", "set cannot be 3"),
    ],
)
def test_a_wrong_toml_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        parse("--config", str(file))
    assert "\n" not in str(caught.value)


def test_a_missing_toml_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config file nowhere\.toml: no such file"):
        parse("--config", "nowhere.toml")


def test_every_option_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.print_help()
    text = capsys.readouterr().out
    for name in RunConfig.__dataclass_fields__:
        assert name == "source" or f"--{name.replace('_', '-')}" in text
