"""Python in docs/ runs as it stands, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_on_embedding_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "embedding.md").read_text(), re.S):
        exec(compile(block, "embedding.md", "exec"), names)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]
    assert names["speeds"].shape == (2, 2) and names["spread"].shape == (2, 2, 2)
    assert names["tracks"].ids.tolist() == [1, 2], "ids live on where the clock began anew"
    assert list(names["found"]) == ["front", "rear"]
    assert names["report"].frames == 5 and names["report"].tracks == 1


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert "://" in link or (page.parent / link).exists(), link
