"""`--serve`, `--metrics`, `--mqtt` as a user types them."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.patience import PATIENCE_S, TRACKER, until
from tests.serving.test_metrics import get, samples
from tests.sinks.broker import broker
from tests.sinks.scenes import CROWD, frame, tracks
from tracker.cli import main
from tracker.cli.progress import Progress
from tracker.cli.serving import Services, ServingConfig
from tracker.errors import ConfigError, SinkError
from tracker.serving import Address, Board
from tracker.sinks import RunInfo

STREET = "synth:street?seed=7&size=320x180&frames=5000&objects=8"


def start(*argv: str) -> tuple[subprocess.Popen[str], dict[str, int]]:
    """A run in a process of its own, and the ports that it says it listens on."""
    command = [*TRACKER, "run", *argv, "--model", "street", "--save", "jsonl"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    ports = {}
    for _ in range(2):
        line = process.stderr.readline()
        found = re.fullmatch(r"(watch|metrics) at http://127\.0\.0\.1:(\d+)/\S*\n", line)
        assert found, line + process.stderr.read()
        ports[found[1]] = int(found[2])
    return process, ports


@pytest.mark.parametrize("several", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_is_watched_scraped_and_heard(tmp_path: Path, several: bool) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("paho.mqtt.client")
    sources = (
        ["--streams", f"a={STREET}", "--streams", f"b={STREET}".replace("seed=7", "seed=8")] if several else [STREET]
    )
    topic = "house/a" if several else "house"
    with broker() as place:
        mqtt = f"mqtt://127.0.0.1:{place.port}/house"
        process, ports = start(*sources, "-o", str(tmp_path), "--serve", ":0", "--metrics", ":0", "--mqtt", mqtt)
        with process, contextlib.ExitStack() as stack:
            stack.callback(process.kill)
            until(lambda: [s["frames"] > 5 for s in streams(ports)] == [True] * (1 + several))
            names = sorted(stream["name"] for stream in streams(ports))
            assert names == (["a", "b"] if several else ["synth-street-seed-7-size-320x180-frames-5000-objects-8"])
            found = samples(get(ports["metrics"])[2])
            assert found["trackstream_frames_total", (("stream", names[0]),)] > 5
            for stage in ("preprocess", "session", "decode", "associate", "sink", "end_to_end"):
                assert found["trackstream_stage_seconds_count", (("stream", names[0]), ("stage", stage))] > 0
            until(lambda: place.of(f"{topic}/events"))
            assert place.of(f"{topic}/status") == ["online"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 143
        until(lambda: place.of(f"{topic}/status") == ["online", "offline"])
        events = [json.loads(text) for text in place.of(f"{topic}/events")]
    assert {"born", "confirmed", "open"} <= {event["event"] for event in events}
    assert all(event["class_name"] in ("person", "car") for event in events)


def streams(ports):
    return json.loads(get(ports["watch"], "/streams")[2])["streams"]


def test_bad_addresses_are_one_line_before_anything_is_opened(tmp_path: Path, capsys) -> None:
    taken = Address("127.0.0.1", 0).listen()
    port = taken.getsockname()[1]
    cases = {
        "here": "expected an address such as :8000",
        f":{port}": f"cannot listen on 127.0.0.1:{port}: address already in use",
    }
    for flag in ("--serve", "--metrics"):
        for address, text in cases.items():
            assert main(["run", "nothing.mp4", "--model", "street", "-o", str(tmp_path / "out"), flag, address]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert text in line
    taken.close()
    assert not (tmp_path / "out").exists()


def test_an_absent_broker_is_one_line_and_leaves_results_alone(tmp_path: Path, capsys) -> None:
    (tmp_path / "tracks.jsonl").write_text("of an earlier run\n")
    arguments = ["run", STREET, "--model", "street", "-o", str(tmp_path), "--save", "jsonl"]
    assert main([*arguments, "--mqtt", "mqtt://127.0.0.1:1/x"]) == 2
    assert "cannot connect to mqtt://127.0.0.1:1/x: connection refused" in capsys.readouterr().err
    assert (tmp_path / "tracks.jsonl").read_text() == "of an earlier run\n"


def test_beyond_this_machine_a_token_is_made_and_told(capsys) -> None:
    with Services(ServingConfig(serve="0.0.0.0:0", metrics="127.0.0.1:0")):
        page, metrics = capsys.readouterr().err.splitlines()
    token = re.fullmatch(r"watch at http://[^/:]+:\d+/\?token=([\w-]{32})", page)[1]
    port = re.fullmatch(rf"metrics at http://127\.0\.0\.1:(\d+)/metrics\?token={token}", metrics)[1]
    assert port != "0"
    with Services(ServingConfig(metrics="0.0.0.0:0", token="correct horse")):
        line = capsys.readouterr().err
        assert "horse" not in line  # who gave it knows it
        port = int(re.search(r":(\d+)/", line)[1])
        assert get(port)[0] == 401 and get(port, Authorization="Bearer correct horse")[0] == 200


def test_without_the_extra_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "tracker.serving.page", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"--serve needs uvicorn: pip install 'trackstream\[web\]'"):
        Services(ServingConfig(serve=":0"))


def test_an_error_closes_what_was_opened() -> None:
    with Address("127.0.0.1", 0).listen() as free:
        port = free.getsockname()[1]
    with pytest.raises(SinkError):
        Services(ServingConfig(serve=f":{port}", metrics=f":{port}"))
    Address("127.0.0.1", port).listen().close()


def test_nothing_asked_for_listens_nowhere() -> None:
    with Services(ServingConfig()) as services:
        channel, sinks = services.join(RunInfo("a"), SimpleNamespace(dropped=0))
        assert sinks == [channel]
        assert not {"page", "metrics"} & {thread.name for thread in threading.enumerate()}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_progress_line_tells_latency_age_and_drops(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr("tracker.cli.progress.monotonic", iter(range(100)).__next__)
    monkeypatch.setenv("COLUMNS", "120")
    channel = Board().add(RunInfo("a"), SimpleNamespace(dropped=3))
    progress = Progress(quiet=False)
    progress.start(20, channel)
    progress(frame(0), tracks(CROWD))
    assert terminal.getvalue().split("\r")[-1].rstrip().endswith("1/20 frames  1.0 FPS  3 tracks")
    channel.clock.add("end_to_end", 12_340_000)
    progress(frame(1), tracks(CROWD))
    assert terminal.getvalue().split("\r")[-1].rstrip().endswith("3 tracks  p50 12.3 p99 12.3 ms  3 dropped")
    channel.clock.add("age", 40_000_000)
    channel.deadline = SimpleNamespace(late=2, shed={})
    progress(frame(2), tracks(CROWD))
    last = terminal.getvalue().split("\r")[-1]
    assert last.rstrip().endswith("3 tracks  age p50 40.0 p99 40.0 ms  3 dropped  2 late")
    monkeypatch.setenv("COLUMNS", "60")  # a longer line would not be wiped
    progress(frame(3), tracks(CROWD))
    last = terminal.getvalue().split("\r")[-1].rstrip()
    assert len(last) < 60 and "4/20 frames" in last
    progress.close()
    wiped, left = terminal.getvalue().split("\r")[-2:]
    assert wiped == " " * 59 and left == ""


def test_the_progress_line_is_for_terminals_only(capsys) -> None:
    progress = Progress(quiet=False)
    progress.start(None, Board().add(RunInfo("a")))
    progress(frame(0), tracks(CROWD))
    progress.close()
    assert capsys.readouterr().err == ""
