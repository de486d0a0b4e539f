"""`tracker run` with several sources, and runs that go on where another one was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S, TRACKER, until
from tracker.cli import main
from tracker.cli.many import name_streams
from tracker.cli.state import StateFile, set_aside
from tracker.errors import ConfigError
from tracker.guide import Guided
from tracker.systems import create
from tracker.types import Detections

STREET = "synth:street?seed={}&size=320x180&frames={}&objects=8"


def run(*argv: str) -> int:
    return main(["run", *argv, "--model", "street", "--quiet"])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_names() -> None:
    cameras = [
        "rtsp://user:p/a@ss@10.0.0.1/live/main?token=abc",
        "rtsp://10.0.0.2/live",
        "a/street.mp4",
        "b/street.mp4",
    ]
    named = name_streams([*cameras, "0", "-", "synth:street?seed=3"], {"door": 0})
    assert named == {
        "door": "0", "10.0.0.1-live-main": cameras[0], "10.0.0.2-live": cameras[1], "street": cameras[2],
        "street-2": cameras[3], "0": "0", "stream": "-", "street-3": "synth:street?seed=3",
    }  # fmt: skip
    assert list(name_streams(["MOT17/02/img1", "MOT17/04/img1"], {})) == ["02", "04"]
    assert list(name_streams(["02/img1", "02/img1"], {})) == ["img1", "img1-2"]
    with pytest.raises(ConfigError, match=r"\.\./x"):
        name_streams([], {"../x": "a.mp4"})


def test_each_stream_gets_what_it_gets_alone(tmp_path: Path) -> None:
    a, b = STREET.format(7, 6), STREET.format(8, 5)
    assert run(a, b, "-o", str(tmp_path / "out"), "--record", str(tmp_path / "r.trk")) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["street", "street-2"]
    for address, name in ((a, "street"), (b, "street-2")):
        assert run(address, "-o", str(tmp_path / name)) == 0
        for file in ("tracks.txt", "masks.txt"):
            assert (tmp_path / "out" / name / file).read_bytes() == (tmp_path / name / file).read_bytes()
        together, alone = (lines(tmp_path / folder / "tracks.jsonl") for folder in (f"out/{name}", name))
        assert [line.pop("stream") for line in together] == [name] * len(together) and together == alone
        assert (tmp_path / f"r-{name}.trk").exists()


def test_a_toml_file_names_streams_and_one_that_cannot_be_opened_fails_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = tmp_path / "run.toml"
    toml.write_text(
        f'quiet = true\n[streams]\ndoor = "{STREET.format(7, 4)}"\nyard = "rtsp://u:secret@127.0.0.1:9/x"\n'
    )
    assert main(["run", "--config", str(toml), "--model", "street", "-o", str(tmp_path), "--save", "jsonl"]) == 1
    assert len(lines(tmp_path / "door" / "tracks.jsonl")) == 5 and not (tmp_path / "yard").exists()
    told = capsys.readouterr().err
    assert "stream yard: cannot open rtsp://***@127.0.0.1:9/x" in told and "secret" not in told


def test_the_network_may_rest_in_every_stream(tmp_path: Path) -> None:
    a, b = STREET.format(7, 6), STREET.format(8, 6)
    assert run(a, b, "-o", str(tmp_path), "--save", "jsonl", "--detect-every", "3") == 0
    for name in ("street", "street-2"):
        told = [line["tracks"] for line in lines(tmp_path / name / "tracks.jsonl")[1:]]
        seen = [any(track["detection"] is not None for track in tracks) for tracks in told]
        assert seen == [True, False, False] * 2


def test_all_streams_dead_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"), "-o", str(tmp_path / "out")) == 2
    assert "no such file" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert run() == 2
    assert "no source given" in capsys.readouterr().err
    assert run("a.mp4", "b.mp4", "--show") == 2


def test_lines_on_stdout_say_whose_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    argv = ["--streams", f"x={STREET.format(7, 4)}", "--streams", f"y={STREET.format(8, 3)}"]
    assert main(["run", *argv, "--model", "street", "-o", "-"]) == 0
    printed = capfd.readouterr()
    told = [json.loads(line) for line in printed.out.splitlines()]
    for name, count in (("x", 4), ("y", 3)):
        mine = [line for line in told if line["stream"] == name]
        assert "schema" in mine[0] and [line["frame"] for line in mine[1:]] == list(range(count))
    assert "stream" in printed.err and "x " in printed.err


# ---------------------------------------------------------------------- --state


def ids_of(path: Path, last: int = 1) -> set[int]:
    return {
        track["id"] for line in lines(path)[1:][-last:] for track in line["tracks"] if track["state"] == "confirmed"
    }


def test_a_run_goes_on_with_the_ids_of_the_one_before(tmp_path: Path) -> None:
    """Two halves of one video: a run that was ended, and the next."""
    out, state = tmp_path / "out", str(tmp_path / "new" / "run.state")
    argv = [STREET.format(7, 30), "-o", str(out), "--save", "jsonl", "--state", state]
    assert run(*argv) == 0 and run(*argv[:3], *argv[3:], "--max-frames", "1") == 0
    before, after = ids_of(out / "tracks.1.jsonl", 1), ids_of(out / "tracks.jsonl")
    assert before and len(lines(out / "tracks.1.jsonl")) == 31
    assert max(before) < 1000 and all(number <= max(before) or number > 1000 for number in after)


def test_a_state_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "run.state"
    argv = [STREET.format(7, 3), "-o", str(tmp_path / "out"), "--save", "jsonl", "--state", str(state)]
    assert run(*argv) == 0
    written = (tmp_path / "out" / "tracks.jsonl").read_bytes()
    assert run(*argv, "--tracker", "sort") == 2
    assert "saved with another tracker" in capsys.readouterr().err
    state.write_bytes(b"rubbish")
    assert run(*argv) == 2
    assert (tmp_path / "out" / "tracks.jsonl").read_bytes() == written, "nothing is emptied"


def test_time_passes_while_no_run_is_there(tmp_path: Path) -> None:
    """A camera sees the same car before and after: its track has coasted as long as nobody looked."""
    path, car = tmp_path / "run.state", Detections.from_array([[10, 20, 50, 100, 0.9, 0]])
    guided = Guided(create("bytetrack", max_coast_s=10.0))
    state = StateFile(str(path), guided, live=True)
    assert not state.resumed
    for k in range(5):
        guided.update(car, time_s=100 + k / 30)
    state.save()
    for away_s, expected in ((5.0, 1), (20.0, 1002)):
        os.utime(path, (time.time() - away_s,) * 2)
        resumed = Guided(create("bytetrack", max_coast_s=10.0))
        assert StateFile(str(path), resumed, live=True).resumed
        for k in range(2):  # ByteTrack matches what coasted too long in one last frame
            resumed.update(Detections.empty(), time_s=k / 30)
        for k in range(2, 5):
            tracks = resumed.update(car, time_s=k / 30)
        assert tracks.ids.tolist() == [expected], f"after {away_s} s"
    video = Guided(create("bytetrack", max_coast_s=10.0))
    StateFile(str(path), video, live=False)
    assert video.update(car, time_s=0.0).ids.tolist() == [1], "a video goes on with its next frame"


def test_older_results_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "tracks.jsonl"
    for text in ("a", "b", "c"):
        path.write_text(text)
        set_aside([str(path), str(tmp_path / "none.txt")])
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "tracks.1.jsonl": "a", "tracks.2.jsonl": "b", "tracks.3.jsonl": "c",
    }  # fmt: skip


SERVE = """
    import sys, time
    sys.path.insert(0, sys.argv[1])
    from tests.sources.cameras import Camera, headers
    import cv2, numpy as np
    from tracker.sources.street import Street
    picture = Street(seed=7, size=(320, 180), objects=8).render(0).image
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    def send(camera, handler):
        headers(handler, "multipart/x-mixed-replace; boundary=frame")
        while True:
            head = b"--frame\\r\\nContent-Type: image/jpeg\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(data)
            handler.wfile.write(head + data + b"\\r\\n")
            time.sleep(1 / 30)
    camera = Camera(send)
    print(camera.url, flush=True)
    time.sleep(1000)
"""


@pytest.mark.slow
def test_kill_9_and_restart_on_a_static_scene(tmp_path: Path) -> None:
    """A camera that shows one picture: the restarted process finds everybody under the same number."""
    root = Path(__file__).resolve().parents[2]
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVE), str(root)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url, out = server.stdout.readline().strip(), tmp_path / "out"
    command = [
        *TRACKER, "run", url, "--model", "street", "-o", str(out), "--state",
        str(tmp_path / "run.state"), "--set", "max_coast_s=60",
    ]  # fmt: skip
    path = out / "tracks.jsonl"
    try:
        first = subprocess.Popen(command)
        until(lambda: frames(path) > 40 and (tmp_path / "run.state").exists(), first)
        until(lambda written=frames(path): frames(path) > written + 40, first)
        first.send_signal(signal.SIGKILL)
        first.wait()
        *whole, rest = path.read_text().split("\n")
        assert rest == "" and [json.loads(line) for line in whole], "every line is whole"
        before = ids_of(path, 5)
        mot, video = ((out / name).stat().st_size for name in ("tracks.txt", "video.mp4"))
        assert before and mot > 0 and video > 0
        second = subprocess.Popen(command)
        until(lambda: (out / "tracks.1.jsonl").exists() and frames(path) > 20, second)
        asked_s = time.time()
        second.terminate()
        assert second.wait(PATIENCE_S) == 143
    finally:
        server.kill()
        server.communicate()
    assert ids_of(path, 5) == before
    assert (tmp_path / "run.state").stat().st_mtime >= asked_s - 1, "saved at the end too"


def frames(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0
