"""`tracker mine`: a folder of videos in, annotations out; what is done stays, what was cut is done anew."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.patience import PATIENCE_S, until
from tracker.cli import main
from tracker.cli.crew import Job, News, work_off
from tracker.cli.mine import MineConfig, find_videos
from tracker.errors import ConfigError, SourceError, TrackerError
from tracker.formats.mots import read_mots
from tracker.formats.youtube_vis import read_truth
from tracker.sources.street import Street

SIZE, FRAMES = (480, 270), 12


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short videos of synthetic streets."""
    folder = tmp_path_factory.mktemp("videos")
    for seed in (3, 10):
        with av.open(str(folder / f"street{seed}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "12"})
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            for frame in Street(seed=seed, size=SIZE, frames=FRAMES, objects=10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="bgr24")))
            container.mux(stream.encode())
    return folder


def mine(folder: Path, output: Path, *flags: str) -> int:
    return main(["mine", str(folder), "--segmenter", "street", "-o", str(output), *flags])


@pytest.fixture(scope="module")
def mined(streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The annotations of both videos."""
    output = tmp_path_factory.mktemp("mined")
    assert mine(streets, output, "--quiet") == 0
    return output


def test_every_video_gets_a_mots_file(mined: Path) -> None:
    assert sorted(path.name for path in mined.iterdir()) == ["mine.json", "street10.txt", "street3.txt"]
    for path in mined.glob("*.txt"):
        frames = read_mots(path)
        ids = [number for frame in frames.values() for number in frame.ids.tolist()]
        assert len(frames) > FRAMES // 2 and min(map(ids.count, ids)) >= 5


def test_what_is_done_is_skipped_and_what_was_cut_is_done_anew(
    streets: Path, mined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Path(shutil.copytree(mined, tmp_path / "again"))
    text = (output / "street3.txt").read_text()
    (output / "street3.txt").rename(output / "street3.txt.part")
    (output / "street3.txt.part").write_text(text[:100])
    before = (output / "street10.txt").stat().st_mtime_ns
    assert mine(streets, output) == 0
    printed = capsys.readouterr()
    assert "street3: 12 frames" in printed.out and "street10:" not in printed.out and printed.err == ""
    assert printed.out.endswith(f"2 of 2 videos are annotated in {output}\n")
    assert (output / "street3.txt").read_text() == text and not (output / "street3.txt.part").exists()
    assert (output / "street10.txt").stat().st_mtime_ns == before


def test_a_video_that_cannot_be_read_is_named_and_the_others_go_on(
    streets: Path, mined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(streets, tmp_path / "videos"))
    (folder / "broken.mp4").write_bytes(b"no video at all")
    assert mine(folder, tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert "2 of 3 videos are annotated" in printed.out
    assert printed.err.startswith("tracker mine: broken: ") and printed.err.count("\n") == 1
    assert (tmp_path / "out" / "street3.txt").read_text() == (mined / "street3.txt").read_text()


@pytest.mark.slow
def test_several_processes_give_the_same_bytes(streets: Path, mined: Path, tmp_path: Path) -> None:
    assert mine(streets, tmp_path / "out", "--jobs", "2") == 0
    for path in mined.glob("*.txt"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_youtube_vis_is_one_file_of_all_videos(streets: Path, tmp_path: Path) -> None:
    flags = "--format", "youtube-vis", "--max-frames", "8", "--quiet", "--classes", "car,person"
    assert mine(streets, tmp_path, *flags) == 0
    truth = read_truth(tmp_path / "annotations.json")
    assert [video.file_names[0] for video in truth.videos.values()] == ["street3/00000.jpg", "street10/00000.jpg"]
    assert [len(video) for video in truth.videos.values()] == [8, 8] and len(truth.tracks) > 2
    assert {truth.categories[track.category] for track in truth.tracks} <= {"car", "person"}


def test_a_folder_holds_annotations_of_one_kind(
    streets: Path, mined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Path(shutil.copytree(mined, tmp_path / "again"))
    assert mine(streets, output, "--min-length", "3") == 2
    assert "has annotations made with min_length 5, now it is 3" in capsys.readouterr().err
    assert mine(streets, output, "--jobs", "2", "--quiet") == 0  # how it is done does not matter
    (output / "mine.json").write_text("{")
    assert mine(streets, output) == 2
    assert "mine.json is damaged" in capsys.readouterr().err


def test_what_is_a_video(tmp_path: Path) -> None:
    for name in ("b10.mp4", "b2.AVI", "notes.txt", "frames/0.png", "empty/readme.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(find_videos(tmp_path)) == ["b2", "b10", "frames"]
    (tmp_path / "b10.mov").touch()
    with pytest.raises(ConfigError, match="would both be annotated as b10"):
        find_videos(tmp_path)
    for folder, words in ((tmp_path / "empty", "nothing to annotate"), (tmp_path / "no", "no such folder")):
        with pytest.raises(SourceError, match=words):
            find_videos(folder)


@pytest.mark.parametrize("flags", [("--min-length", "0"), ("--jobs", "0"), ("--max-frames", "0")])
def test_bad_numbers(streets: Path, tmp_path: Path, flags: tuple[str, str]) -> None:
    assert mine(streets, tmp_path / "out", *flags) == 2
    assert not (tmp_path / "out").exists()


def test_a_segmenter_is_needed(streets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mine", str(streets)]) == 2
    assert "no segmenter given" in capsys.readouterr().err


def test_the_defaults_are_those_of_the_parts() -> None:
    from tracker.annotation import FORMAT_OF, MIN_LENGTH
    from tracker.association.mining import Vetoes

    config = MineConfig("folder")
    assert Vetoes(config.min_lead, config.min_overlap, config.min_ratio) == Vetoes()
    assert config.min_length == MIN_LENGTH
    assert MineConfig.__dataclass_fields__["format"].metadata["choices"] == tuple(FORMAT_OF)


@pytest.mark.slow
@pytest.mark.usefixtures("sigint_reaches_children")
def test_ctrl_c_leaves_whole_files_only(streets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(40):
        os.link(streets / "street3.mp4", folder / f"{number}.mp4")
    command = [
        sys.executable,
        "-m",
        "tracker",
        "mine",
        str(folder),
        "--segmenter",
        "street",
        "-o",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen([*command, "--jobs", "2"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until(lambda: len(list((tmp_path / "out").glob("*.txt"))) >= 2, process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and "interrupted" in error and "Traceback" not in error
    done = {path.read_text() for path in (tmp_path / "out").glob("*.txt")}
    assert len(done) == 1 and len(list((tmp_path / "out").glob("*.txt"))) < 40


def open_bench():
    def bench(job, tell):
        tell(1, 2)
        if job.source == "broken":
            raise SourceError("cannot open it")
        if job.source == "killed":
            os._exit(9)
        if job.source == "full":
            raise TrackerError("the disk is full")
        return len(job.source)

    return bench


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_crew_tells_what_became_of_every_job(processes: int) -> None:
    jobs = [Job(str(k), source, Path()) for k, source in enumerate(["a", "broken", "abc"])]
    news: list[News[int]] = []
    work_off(jobs, processes, open_bench, news.append)
    ends = {each.name: (each.result, each.error) for each in news if each.last}
    assert ends == {"0": (1, None), "1": (None, "cannot open it"), "2": (3, None)}
    assert sum((each.frames, each.length) == (1, 2) for each in news) == 3
    with pytest.raises(TrackerError, match="the disk is full"):
        work_off([*jobs, Job("3", "full", Path())], processes, open_bench, news.append)
    work_off([], processes, open_bench, news.append)


@pytest.mark.slow
def test_a_process_that_dies_is_noticed() -> None:
    jobs = [Job("0", "killed", Path()), Job("1", "killed", Path())]
    with pytest.raises(TrackerError, match=r"died \(exit code 9\)"):
        work_off(jobs, 2, open_bench, lambda news: None)


def test_settings_are_kept_beside_the_annotations(mined: Path) -> None:
    settings = json.loads((mined / "mine.json").read_text())
    assert settings["model"] == "street" and "jobs" not in settings and "output" not in settings
