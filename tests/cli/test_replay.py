"""Recorded runs: the same again without the network, other systems, outputs that need images, the minimum length."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.patience import until
from tracker import create, pipeline
from tracker.cli import main
from tracker.cli.outputs import OutputConfig
from tracker.formats.recording import Header, Recorder, Recording
from tracker.sinks.length import POLICIES
from tracker.types import Detections, Frame

STREET = "synth:street?seed=7&size=320x180&frames=40&objects=9"
FILES = ("tracks.txt", "masks.txt", "tracks.jsonl")
TEXTS = ("--save", "mot,mots,jsonl")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run's results and its recording, run.trk."""
    folder = tmp_path_factory.mktemp("run")
    command = ["run", STREET, "--model", "street", "-o", str(folder), "--record", str(folder / "run.trk"), *TEXTS]
    assert main([*command, "--set", "max_coast_frames=9", "--quiet"]) == 0
    return folder


def replay(folder: Path, out: Path, *argv: str) -> int:
    return main(["replay", str(folder / "run.trk"), "-o", str(out), *argv])


def test_the_same_run_again_to_the_byte(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(run, tmp_path, *TEXTS) == 0
    printed = capsys.readouterr()
    assert "tracks: as recorded, bit for bit" in printed.out and printed.err == ""
    assert "40 frames" in printed.out and "associate" in printed.out and "session" not in printed.out
    for name in FILES:
        assert (run / name).read_bytes() == (tmp_path / name).read_bytes() != b""


def test_the_recording_knows_the_run(run: Path) -> None:
    recording = Recording.open(run / "run.trk")
    header = recording.header
    assert (header.source, header.size, header.masks, header.model) == (STREET, (320, 180), True, "street")
    assert (header.system, dict(header.options), len(header.model_sha256)) == ("bytetrack", {"max_coast_frames": 9}, 64)
    assert len(recording) == 40 and recording.complete
    assert all(detections.panoptic is not None for _, detections in recording)  # the built-in network is panoptic


def test_other_options_and_systems_give_other_tracks(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(run, tmp_path / "a", *TEXTS, "--set", "max_coast_frames=0", "--set", "birth_score=0.9") == 0
    assert replay(run, tmp_path / "b", *TEXTS, "--tracker", "sort") == 0
    assert "as recorded" not in capsys.readouterr().out
    texts = {(folder / "tracks.txt").read_bytes() for folder in (run, tmp_path / "a", tmp_path / "b")}
    assert len(texts) == 3
    header = json.loads((tmp_path / "b" / "tracks.jsonl").read_text().splitlines()[0])
    assert (header["system"], header["model"], header["source"]) == ("sort", "street", STREET)


def test_the_library_does_the_same(run: Path) -> None:
    """README's three lines."""
    associator = create("bytetrack", frame_rate=30.0, max_coast_frames=9)
    found = [associator.update(detections, frame) for frame, detections in Recording.open(run / "run.trk")]
    for record, tracks in zip(Recording.open(run / "run.trk").records(), found, strict=True):
        assert np.array_equal(record.result.ids, tracks.ids) and np.array_equal(record.result.boxes, tracks.boxes)


def test_tracks_other_than_recorded_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a later version of the engine would find: here the recorded tracks come from another system than it says."""
    other = create("bytetrack")
    with Recorder(tmp_path / "run.trk", Header(system="sort", version="0.0.7")) as recorder:
        for k in range(9):
            frame = Frame(k, k / 30, np.zeros((9, 9, 3), np.uint8))
            rows = [[k, 0, k + 9, 9, 0.9]] if k != 4 else []
            recorder.write(frame, other.update(Detections.from_array(rows), frame))
    assert main(["replay", str(tmp_path / "run.trk"), "-o", str(tmp_path)]) == 0
    assert "tracks: other than recorded (by trackstream 0.0.7) from frame" in capsys.readouterr().out
    assert not (tmp_path / "masks.txt").exists() and not (tmp_path / "video.mp4").exists()


def test_video_needs_the_source(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(run, tmp_path / "a", "--save", "mot,video") == 2
    printed = capsys.readouterr().err
    assert printed == (
        "tracker replay: cannot save video: a recording holds no images; add --source with the run's video\n"
    )
    assert not (tmp_path / "a").exists()
    assert replay(run, tmp_path / "b", "--save", "mot,video", "--source", STREET) == 0
    assert (tmp_path / "b" / "tracks.txt").read_bytes() == (run / "tracks.txt").read_bytes()
    with av.open(str(tmp_path / "b" / "video.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 40
    capsys.readouterr()
    for other, words in (
        (STREET.replace("frames=40", "frames=9"), "no frame 9"),
        ("synth:street", "expected frames of"),
    ):
        assert replay(run, tmp_path / "c", "--save", "video", "--source", other, "--quiet") == 2
        printed = capsys.readouterr().err
        assert words in printed and "is it the same video?" in printed and len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--tracker", "magic"], "no tracker named 'magic'"),
        (["--set", "magic=1"], "has no option 'magic'"),
        (["--save", "gif"], "cannot save 'gif'"),
        (["--max-frames", "0"], "max_frames must be at least 1"),
        (["--source", "none.mp4"], "none.mp4"),
    ],
)
def test_bad_input_is_one_line(
    run: Path, tmp_path: Path, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = tmp_path / "tracks.txt"
    earlier.write_text("results of an earlier run\n")
    assert replay(run, tmp_path, *argv) == 2
    printed = capsys.readouterr()
    assert words in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ""
    assert earlier.read_text() == "results of an earlier run\n"


def test_other_files_are_no_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for name in ("notes.txt", "none.trk"):
        assert main(["replay", str(tmp_path / name), "-o", str(tmp_path)]) == 2
        printed = capsys.readouterr().err
        assert name in printed and len(printed.splitlines()) == 1


def test_a_killed_run_can_be_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGKILL: nothing is closed; what both files hold agrees frame by frame."""
    command = [sys.executable, "-m", "tracker", "run", "synth:street?size=320x180&frames=36000", "--model", "street"]
    file = tmp_path / "run.trk"
    with subprocess.Popen([*command, "-o", str(tmp_path), "--save", "jsonl", "--record", str(file)]) as process:
        until(lambda: file.exists() and file.stat().st_size > 60_000, process)
        os.kill(process.pid, signal.SIGKILL)
    lines = (tmp_path / "tracks.jsonl").read_text().splitlines()
    recording = Recording.open(file)
    assert not recording.complete and len(recording) >= len(lines) - 1 > 0
    assert replay(tmp_path, tmp_path / "again", "--save", "jsonl", "--max-frames", str(len(lines) - 1)) == 0
    printed = capsys.readouterr().out
    assert "was not closed: its run was killed or still goes on" in printed and "tracks: as recorded" in printed
    assert (tmp_path / "again" / "tracks.jsonl").read_text().splitlines() == lines


def test_replay_in_python_closes_sinks_and_stops(run: Path) -> None:
    class Memory:
        seen, closed = 0, 0

        def write(self, frame: Frame, tracks: object) -> None:
            self.seen += 1

        def close(self) -> None:
            self.closed += 1

    for overlap in (True, False):
        memory = Memory()
        recording = Recording.open(run / "run.trk")
        report = pipeline.replay(recording, create("sort"), [memory], overlap=overlap, max_frames=7)
        assert (report.frames, report.dropped, memory.seen, memory.closed) == (7, 0, 7, 1)
        assert report.stages["source"].count == 7 and report.stages["session"].count == 0


# ---------------------------------------------------------------------- minimum length


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()][1:]


def long_enough(run: Path, n: int) -> set[int]:
    """Tracks of the run that took at least n detections, by the recording."""
    counts: dict[int, int] = {}
    for record in Recording.open(run / "run.trk").records():
        for track in record.result.ids[record.result.source >= 0].tolist():
            counts[track] = counts.get(track, 0) + 1
    return {track for track, count in counts.items() if count >= n}


@pytest.mark.parametrize("policy", ["retract", "delay"])
def test_files_hold_the_offline_filter(run: Path, tmp_path: Path, policy: str) -> None:
    more = ("--min-length-lag", "140") if policy == "delay" else ()  # (15 - 1) * (9 + 1)
    assert replay(run, tmp_path, *TEXTS, "--min-length", "15", "--min-length-policy", policy, *more) == 0
    kept = long_enough(run, 15)
    mot = [line for line in (run / "tracks.txt").read_text().splitlines() if int(line.split(",")[1]) in kept]
    assert (tmp_path / "tracks.txt").read_text().splitlines() == mot
    assert 0 < len(mot) < len((run / "tracks.txt").read_text().splitlines())
    wanted = lines_of(run / "tracks.jsonl")
    for line in wanted:
        line["tracks"] = [row for row in line["tracks"] if row["id"] in kept]
    assert lines_of(tmp_path / "tracks.jsonl") == wanted


def test_a_run_filters_as_its_replay_does(run: Path, tmp_path: Path) -> None:
    length = ("--min-length", "10", "--min-length-policy", "suppress")
    command = ["run", STREET, "--model", "street", "--set", "max_coast_frames=9", "--quiet", *TEXTS, *length]
    assert main([*command, "-o", str(tmp_path / "a"), "--record", str(tmp_path / "run.trk")]) == 0
    assert replay(run, tmp_path / "b", *TEXTS, *length) == 0
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "run.trk").read_bytes() == (run / "run.trk").read_bytes()  # it keeps what comes before


def test_events_are_of_the_tracker_and_not_filtered(run: Path, tmp_path: Path) -> None:
    for name, length in (("a", "1"), ("b", "30")):
        assert replay(run, tmp_path / name, "--save", "events", "--min-length", length) == 0
    assert (tmp_path / "a" / "events.jsonl").read_bytes() == (tmp_path / "b" / "events.jsonl").read_bytes()


def test_on_stdout_young_tracks_are_tentative_and_events_decide(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(run / "run.trk"), "-o", "-", "--quiet", "--min-length", "15"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()][1:]
    frames = [line for line in lines if "tracks" in line]
    events = {line["id"]: line for line in lines if "event" in line}
    assert len(frames) == 40 and len(events) == len(lines) - 40
    kept = long_enough(run, 15)
    assert {track for track, event in events.items() if event["event"] == "confirm"} == kept
    assert {event["event"] for event in events.values()} == {"confirm", "retract"}
    plain = {line["frame"]: line["tracks"] for line in lines_of(run / "tracks.jsonl")}
    for line in frames:
        young = {track for track, event in events.items() if line["frame"] in event["frames"]}
        for row in line["tracks"]:
            (before,) = (old for old in plain[line["frame"]] if old["id"] == row["id"])
            assert row == {**before, "state": "tentative" if row["id"] in young else before["state"]}


def test_flags_of_the_minimum_length(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert OutputConfig.__dataclass_fields__["min_length_policy"].metadata["choices"] == POLICIES
    for argv, words in (
        (["--min-length", "0"], "min_length must be at least 1, got 0"),
        (["--min-length", "5", "--min-length-lag", "4"], "needs the policy delay"),
        (["--min-length", "5", "--min-length-policy", "delay", "--min-length-lag", "-1"], "0 or more"),
    ):
        assert replay(run, tmp_path, *argv) == 2
        assert words in capsys.readouterr().err
    assert replay(run, tmp_path, "--save", "mot", "--min-length", "15") == 0
    assert "tracks before the minimum length" in capsys.readouterr().out


def test_a_question_overwrites_no_results(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ask = ["replay", str(run / "run.trk"), "--explain", "1@20", "--quiet"]
    assert main(ask) == 0 and list(tmp_path.iterdir()) == []
    assert main([*ask, "--save", "mot"]) == 0 and main([*ask, "-o", "again"]) == 0
    assert sorted(map(str, Path().glob("*/tracks.*"))) == ["again/tracks.jsonl", "again/tracks.txt", "out/tracks.txt"]


def test_a_match_is_explained(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(run, tmp_path, "--explain", "1@20") == 0
    printed = capsys.readouterr().out
    assert "\nframe 20 (" in printed and "track 1 " in printed and "stage 3: tentative" in printed
    assert "tracks: as recorded, bit for bit" in printed
    for wrong, told in (("5", "ID@FRAME"), ("1@4000", "a frame of the recording"), ("999@20", "a track that lived")):
        assert replay(run, tmp_path, "--explain", wrong) != 0
        assert told in capsys.readouterr().err
