"""Files that are replaced as a whole, or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tracker import _writing
from tracker._writing import write_whole


@pytest.mark.parametrize("lasting", [True, False])
def test_the_content_replaces_what_was_there(tmp_path: Path, lasting: bool) -> None:
    for content in (b"one", b"", b"three"):
        write_whole(tmp_path / "file", content, lasting=lasting)
        assert (tmp_path / "file").read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("failure", [OSError("no space left"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_the_old_file_alone(tmp_path: Path, monkeypatch, failure) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def fail(_number: int) -> None:
        raise failure

    monkeypatch.setattr(_writing.os, "fsync", fail)
    with pytest.raises(type(failure)):
        write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_place_that_cannot_be_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(NotADirectoryError):
        write_whole(tmp_path / "file" / "below", b"new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="irectory"):
        write_whole(tmp_path / "folder", b"new")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_readers_and_other_writers_never_see_a_part(tmp_path: Path) -> None:
    place, contents = tmp_path / "file", {bytes([value]) * 200_000 for value in range(4)}
    write_whole(place, min(contents), lasting=False)

    def write(content: bytes) -> None:
        for _ in range(20):
            write_whole(place, content, lasting=False)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert place.read_bytes() in contents
    assert os.listdir(tmp_path) == ["file"]
