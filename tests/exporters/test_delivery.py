"""Words, sizes, and files that get to their place whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters.delivery import draft_file, draft_folder, parse_size, say_worst, typed
from tests.models import graphs
from tracker.errors import ConfigError
from tracker.models.card import ModelCard, read_card
from tracker.onnx.session import Session


def test_what_was_typed_goes_into_cards_without_folders() -> None:
    words = ["raft", "--weights", "/home/me/a b.pth", "-o", "out/net.onnx", "--size=1x1"]
    assert typed(words) == "python -m exporters raft --weights 'a b.pth' -o net.onnx --size=1x1"


def test_sizes() -> None:
    assert parse_size("--size", "1280X704") == (1280, 704)
    assert parse_size("--size", "1249x385", least=33, step=32, over=1) == (1249, 385)


@pytest.mark.parametrize(
    ("text", "rules", "message"),
    [
        ("640", {}, "expected --crop as WIDTHxHEIGHT, got '640'"),
        ("1x2x3", {}, "as WIDTHxHEIGHT"),
        ("0x5", {}, "expected --crop of at least 1x1, got '0x5'"),
        ("640x32", {"least": 64}, "expected --crop of at least 64x64, got '640x32'"),
        ("640x100", {"least": 128, "step": 8}, "in multiples of 8, at least 128x128, got '640x100'"),
        ("97x96", {"least": 33, "step": 32, "over": 1}, "in multiples of 32 plus 1, at least 33x33, got '97x96'"),
    ],
)
def test_other_sizes_are_refused(text: str, rules: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_size("--crop", text, **rules)
    assert message in str(raised.value)


def test_drafts_take_their_places_together(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "set"
    with draft_folder(folder) as drafts:
        for name in ("a.onnx", "b.onnx"):
            (drafts / name).write_text(name)
        assert [file.name for file in folder.iterdir()] == [drafts.name]
    assert sorted(file.name for file in folder.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_failure_leaves_the_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), draft_file(path) as draft:
        draft.write_text("half of")
        raise KeyboardInterrupt
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError), draft_file(path, ModelCard("yolo", "detect")) as draft:
        draft.write_text("no ONNX file, which takes no card")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_card_comes_with_the_file(tmp_path: Path) -> None:
    with draft_file(tmp_path / "net.onnx", ModelCard("yolo", "detect", ("person",))) as draft:
        graphs.doubler(draft)
    card = read_card(Session(tmp_path / "net.onnx").metadata)
    assert card is not None and card.class_names == ("person",)


def test_figures_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say_worst(Path("net.onnx"), {"boxes": 1e-6, "masks": 0.0})
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("net.onnx: largest") and err.endswith("boxes 1.0e-06, masks 0.0e+00\n")
