"""What a run is made of: how its modules depend on each other, and pictures that do not go together."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tracker.cli
from tracker.cli.opening import choose_looks
from tracker.cli.run_config import RunConfig
from tracker.errors import SourceError
from tracker.guide import Guided
from tracker.sources import open_source
from tracker.systems import create


def imported(path: Path) -> set[str]:
    """Modules of the room that a file imports, at its top or inside functions; not for annotations alone."""
    nodes, found = [ast.parse(path.read_text("utf-8"))], set()
    while nodes:
        node: Any = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tracker.cli."):
            found.add(str(node.module).split(".")[2])
    return found


def test_the_modules_of_the_room_import_each_other_one_way() -> None:
    folder = Path(tracker.cli.__file__).parent
    needs = {path.stem: imported(path) for path in folder.glob("*.py") if path.stem != "__init__"}
    assert "run_config" in needs["run"]
    while free := [name for name, others in needs.items() if not others & needs.keys()]:
        for name in free:
            del needs[name]
    assert not needs, f"a circle of imports is among {sorted(needs)}"


@pytest.mark.parametrize(
    ("system", "flags"), [("step-b1", {}), ("step-b3", {}), ("bytetrack", {"camera": True}), ("bytetrack", {})]
)
def test_pictures_of_other_sizes_are_refused_where_pixels_are_followed(
    tmp_path: Path, system: str, flags: dict[str, Any]
) -> None:
    for name, size in (("a1.png", (48, 64)), ("a2.png", (48, 64)), ("a10.png", (50, 64))):
        cv2.imwrite(str(tmp_path / name), np.zeros((*size, 3), np.uint8))
    config = RunConfig(str(tmp_path), tracker=system, **flags)
    with open_source(str(tmp_path)) as source:
        look = choose_looks(config, Guided(create(system)), None, source)  # type: ignore[arg-type]
        frames = list(source)
        assert look(frames[0]) and look(frames[1])
        if (system, flags) == ("bytetrack", {}):
            assert look(frames[2])
            return
        with pytest.raises(SourceError) as caught:
            look(frames[2])
    assert str(caught.value).startswith(f"{tmp_path / 'a10.png'} is 64 x 50 px, the first picture 64 x 48: tracker ")
    assert system in str(caught.value) and "\n" not in str(caught.value)
