"""README's Python runs as it stands; its commands and files exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tracker.cli import COMMANDS
from tracker.sinks import SINKS
from tracker.systems import SYSTEMS

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_python_examples_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def my_detector() -> Any:
        yield from ((i / 30, [[10 + 2 * i, 20, 40 + 2 * i, 90, 0.9, 0], [200, 20, 230, 90, 0.8, 1]]) for i in range(5))
        yield 5 / 30, []

    names: dict[str, Any] = {"my_detector": my_detector}
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 10 and printed[0].split()[1] == "1"
    assert len(names["tracks"].confirmed) > 0
    assert [event.kind for event in names["events"]][:2] == ["born", "confirmed"] and len(names["now"].boxes) == 1
    assert names["mine"].needs == {"masks", "embeddings"}


def test_the_ten_lines_are_ten() -> None:
    block = re.findall(r"```python\n(.*?)```", README, re.S)[0]
    assert len([line for line in block.splitlines() if line.strip()]) <= 10


def test_commands_systems_and_links_exist() -> None:
    for command in COMMANDS:
        assert f"tracker {command}" in README or f"make {command}" in README
    assert [name for name in SYSTEMS if f"`{name}`" not in README] == []
    assert all(file in README for file in ("tracks.txt", "masks.txt", "tracks.jsonl", "video.mp4")) and len(SINKS) >= 4
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (Path(__file__).parent.parent / link).exists(), link
