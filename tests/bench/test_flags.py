"""Types of flags: what fits, and one line on what does not."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest

from bench import __main__ as command
from bench.flags import at_least_one, frame_size


def test_what_fits() -> None:
    assert at_least_one("12") == 12 and frame_size("960x540") == (960, 540)


@pytest.mark.parametrize(
    ("kind", "texts", "message"),
    [
        (at_least_one, ("0", "-1", "1.5", "", "x"), "whole number of at least 1"),
        (frame_size, ("960", "960x", "x540", "0x540", "960x540x3", "big"), "expected WIDTHxHEIGHT"),
    ],
)
def test_what_does_not(kind: Callable[[str], object], texts: tuple[str, ...], message: str) -> None:
    for text in texts:
        with pytest.raises(ArgumentTypeError, match=message):
            kind(text)


@pytest.mark.parametrize(
    "words",
    [
        ["videos", "--source", "a", "--model", "b", "--every", "0"],
        ["streets", "--size", "big"],
        ["fast", "--seeds", "0"],
        ["kernels", "--rounds", "0"],
        ["postprocess", "--sizes", "961"],
        ["masks", "--repeats", "0"],
    ],
)
def test_commands_refuse_what_does_not_fit(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command.main(words)
    assert end.value.code == 2
    assert "error: argument --" in capsys.readouterr().err
