"""What is read is never overwritten, renamed or emptied by what is written."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tracker.cli import main
from tracker.cli.overwriting import files_of, refuse_inputs
from tracker.errors import ConfigError

STREET = "synth:street?seed=7&size=320x180&frames=2&objects=4"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two grey frames."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(2):
            image = np.full((48, 64, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("flag", ["--record", "jsonl=", "mot=", "video="])
@pytest.mark.parametrize("several", [False, True])
def test_a_video_that_is_read(
    tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str], flag: str, several: bool
) -> None:
    (link := tmp_path / ("link-a.mp4" if several else "link.mp4")).symlink_to(video)
    typed = str(tmp_path / "link.mp4")  # of two streams, the first one's output is the second one's source
    flags = [flag, typed] if flag.startswith("--") else ["--save", flag + typed]
    sources = ["--streams", f"a={STREET}", "--streams", f"b={video}"] if several else [str(video)]
    before = video.read_bytes()
    assert main(["run", *sources, "--model", "street", "--quiet", "-o", str(tmp_path / "out"), *flags]) == 1 + (
        not several
    )
    printed = capsys.readouterr().err
    assert f"cannot write {link}: it is the source; choose another output" in printed and printed.count("\n") == 1
    assert video.read_bytes() == before and link.is_symlink()


def test_a_run_that_goes_on_renames_no_source(tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["run", str(video), "--model", "street", "--quiet", "--state", str(tmp_path / "state")]
    assert main([*argv, "--save", f"jsonl={tmp_path / 'a.jsonl'}"]) == 0
    before = video.read_bytes()
    assert main([*argv, "--save", f"video={video}"]) == 2
    assert "it is the source" in capsys.readouterr().err
    assert video.read_bytes() == before and not list(tmp_path.glob("clip.*.mp4"))


def test_a_recording_and_its_video(tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "run.trk"
    assert main(["run", str(video), "--model", "street", "--quiet", "-o", str(tmp_path), "--record", str(record)]) == 0
    kept = {path: path.read_bytes() for path in (video, record)}
    argv = ["replay", str(record), "--source", str(video), "-o", str(tmp_path / "again"), "--save"]
    for name, path in (("jsonl", record), ("video", video)):
        assert main([*argv, f"{name}={path}"]) == 2
        assert capsys.readouterr().err == (
            f"tracker replay: cannot write {path}: it is the source; choose another output\n"
        )
    assert {path: path.read_bytes() for path in kept} == kept


def test_pictures_that_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(folder / name), np.zeros((4, 4, 3), np.uint8))
    os.link(folder / "2.png", tmp_path / "hard.png")
    (folder / "notes.txt").write_text("of somebody")
    for source in (str(folder), f"{folder}/*.png", f"{folder}/%d.png"):
        inputs = files_of(source)
        assert [path.name for path in inputs] == ["1.png", "2.png"]
        for output in (folder / "1.png", tmp_path / "hard.png", folder / ".." / "frames" / "2.png"):
            with pytest.raises(ConfigError, match="it is the source"):
                refuse_inputs([output], inputs)
        for output in (folder, tmp_path):  # a run that goes on renames folders, one of pictures empties them
            with pytest.raises(ConfigError, match="the source lies in it"):
                refuse_inputs([output], inputs)
        refuse_inputs(["-", folder / "3.png", folder / "tracks.txt", folder / "notes.txt"], inputs)


def test_sources_without_files(tmp_path: Path) -> None:
    for source in ("-", "0", STREET, "rtsp://127.0.0.1/x", "moon://x", str(tmp_path / "*.png")):
        assert files_of(source) == []
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "a.mcap").touch()
    assert files_of(f"rosbag:{tmp_path / 'bag'}?topic=/x") == [tmp_path / "bag" / "a.mcap"]


def test_a_conversion_leaves_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = "1,3,83,56,38,56,1,1,0.9\n"
    (tmp_path / "set").mkdir()
    for path in (tmp_path / "gt.txt", tmp_path / "set" / "a.v1.txt"):
        path.write_text(row)
    flags = ("--from", "mot-gt", "--to", "kitti")
    for given, output in (("gt.txt", "gt.txt"), ("set/a.v1.txt", "set/../set/a.v1.txt")):
        assert main(["convert", str(tmp_path / given), str(tmp_path / output), *flags]) == 2
        printed = capsys.readouterr().err
        assert "it is the source; choose another output" in printed and printed.count("\n") == 1
        assert (tmp_path / given).read_text() == row
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out"), *flags]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.v1.txt"]
