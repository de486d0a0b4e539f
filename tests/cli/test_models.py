"""`tracker models` and `tracker run --model NAME` as a user types them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.models import graphs
from tests.models.test_yolox import SCORES, SHARES, head
from tests.models.webserver import Web, serve
from tests.patience import PATIENCE_S, until
from tracker.cli import main
from tracker.cli.models import _Bar, bar_line
from tracker.models.registry import read_registry

STREET = "synth:street?seed=7&size=128x128&frames=3&objects=2"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server with a detector of two classes, and a user's registry that names it `mine`."""
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    planted = head(graphs.letterboxed(SHARES * 128, (128, 128), corner=True), SCORES * 2)
    body = graphs.planted(tmp_path / "detector.onnx", {"output": planted}).read_bytes()
    monkeypatch.setenv("TRACKSTREAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRACKSTREAM_REGISTRY", str(tmp_path / "own.toml"))
    with serve({"/net.onnx": body}) as server:
        text = (
            f'task = "detect"\nfamily = "yolox"\nlicence = "CC0-1.0"\nsource = "me"\nsize = {len(body)}\n'
            f'address = "{server.at("/net.onnx")}"\nsha256 = "{hashlib.sha256(body).hexdigest()}"\n'
        )
        (tmp_path / "own.toml").write_text(
            f'[mine]\n{text}[mine.card]\nclass_names = ["person", "car"]\n'
            f"[other]\n{text.replace('/net.onnx', '/none.onnx')}"
        )
        yield server


def models(*argv: str) -> int:
    return main(["models", *argv])


def test_pull_says_the_licence_fetches_once_and_prints_the_path(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    assert models("pull", "mine") == 0
    printed = capsys.readouterr()
    path = Path(printed.out.strip())
    assert path.read_bytes() == web.files["/net.onnx"] and len(printed.err.splitlines()) == 1
    assert "licence CC0-1.0" in printed.err and web.at("/net.onnx") in printed.err
    assert json.loads(path.with_suffix(".json").read_text())["licence"] == "CC0-1.0"
    assert models("pull", "mine", "--offline", "--quiet") == 0
    assert capsys.readouterr() == (f"{path}\n", "") and len(web.asked) == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["pull", "magic"], "no model 'magic' in the registry; it has rfdetr-seg-nano"),
        (["pull", "mine", "magic"], "no model 'magic'"),
        (["pull", "other"], "HTTP 404"),
        (["pull", "mine", "--offline"], "--offline forbids fetching it"),
        (["pull", "mine", "--timeout", "0"], "a timeout above 0 seconds"),
        (["verify", "mine"], "fetch it with: tracker models pull mine"),
        (["verify", "magic"], "no model 'magic'"),
        (["remove", "magic"], "no model 'magic'"),
        (["info", "magic"], "no model file magic; built-in models: street; others: tracker models list"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    web: Web, argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models(*argv) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith(("mine (", "other ("))]
    assert len(lines) == 1 and lines[0].startswith("tracker models: ") and says in lines[0] and printed.out == ""
    assert not list(Path(os.environ["TRACKSTREAM_CACHE"]).rglob("*.onnx"))


def test_list_says_what_there_is_and_what_is_here(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    assert models("list") == 0
    before = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert before.keys() == {"name", *read_registry()} and " yes " not in before["mine"]
    assert "not for --model" in before["vittrack"] and "not for --model" not in before["yolox-s"]
    assert models("pull", "mine") == 0
    capsys.readouterr()
    assert models("list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["mine"]["cached"] and not rows["other"]["cached"] and rows["yolox-s"]["licence"] == "Apache-2.0"


def test_info_before_and_after(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    assert models("info", "mine") == 0
    assert "not here; tracker models pull mine" in capsys.readouterr().out
    assert models("pull", "mine") == 0
    capsys.readouterr()
    assert models("info", "mine", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "as pinned" and facts["class_names"] == ["person", "car"] and facts["inputs"]
    Path(facts["file"]).write_bytes(b"rubbish")
    assert models("info", "mine") == 2
    assert "got" in capsys.readouterr().err
    assert models("info", "vittrack") == 0
    assert "follow" in capsys.readouterr().out


def test_verify_hashes_again_and_remove_frees(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    assert models("verify") == 0 and "no fetched models" in capsys.readouterr().out
    assert models("pull", "mine") == 0
    path = Path(capsys.readouterr().out.strip())
    assert models("verify") == models("verify", "mine") == 0
    assert "as pinned" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert models("verify") == 1
    assert "WRONG" in capsys.readouterr().out
    assert models("remove", "mine") == 0 and not path.parent.exists()
    assert "mine: 0.0 MB freed" in capsys.readouterr().out


def test_run_fetches_only_when_told_to(web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["run", STREET, "--model", "mine", "--save", "jsonl", "-o", str(tmp_path / "out"), "--quiet"]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "is not on this machine; fetch it with: tracker models pull mine" in error
    assert web.asked == [] and not (tmp_path / "out").exists()
    assert main([*argv, "--pull"]) == 0 and len(web.asked) == 1
    assert "licence CC0-1.0" in capsys.readouterr().err
    assert main(argv) == main([*argv, "--pull"]) == 0 and len(web.asked) == 1
    lines = [json.loads(line) for line in (tmp_path / "out" / "tracks.jsonl").read_text().splitlines()]
    assert lines[0]["model"] == "mine" and lines[0]["class_names"] == ["person", "car"]
    assert "person" in {track["class_name"] for track in lines[-1]["tracks"]}


def test_pull_leaves_files_and_built_in_models_alone(web: Web, tmp_path: Path) -> None:
    argv = ["run", STREET, "--save", "jsonl", "-o", str(tmp_path / "out"), "--quiet", "--pull"]
    assert main([*argv, "--model", "street"]) == 0
    assert main([*argv, "--model", str(tmp_path / "detector.onnx"), "--family", "yolox"]) == 0
    assert main([*argv, "--model", "other"]) == 2
    assert [path for path, _ in web.asked] == ["/none.onnx"]


def test_run_without_a_model_names_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", STREET]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "synth:street only" in error
    named = error.partition("tracker models pull ")[2].partition("`")[0]
    assert named in read_registry()


@pytest.fixture
def sigint_reaches_children() -> Iterator[None]:
    """A shell's background job ignores SIGINT, and its children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def bulky(web: Web, tmp_path: Path) -> bytes:
    """Make `mine` a file that takes a while."""
    body = np.random.default_rng(0).bytes(200_000)
    web.files["/net.onnx"], web.pause_s = body, 0.1
    (tmp_path / "own.toml").write_text(
        f'[mine]\ntask = "detect"\nfamily = "yolox"\nlicence = "CC0-1.0"\naddress = "{web.at("/net.onnx")}"\n'
        f'sha256 = "{hashlib.sha256(body).hexdigest()}"\n'
    )
    return body


def started() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tracker", "models", "pull", "mine"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("sigint_reaches_children")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_pull_goes_on_later(web: Web, tmp_path: Path, number: signal.Signals, code: int) -> None:
    body = bulky(web, tmp_path)
    part = tmp_path / "cache" / "models" / "mine" / f"{hashlib.sha256(body).hexdigest()[:16]}.part"
    with started() as process:
        until(lambda: part.exists() and part.stat().st_size > 0)
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code and "Traceback" not in errors
    if number == signal.SIGINT:
        assert errors.splitlines()[-1] == "tracker models: interrupted"
    have, web.pause_s = part.stat().st_size, 0.0
    assert 0 < have < len(body) and body.startswith(part.read_bytes())
    assert models("pull", "mine", "--quiet") == 0
    assert part.with_suffix(".onnx").read_bytes() == body and not part.exists()
    assert web.asked == [("/net.onnx", ""), ("/net.onnx", f"bytes={have}-")]


def test_two_processes_pull_one_file_once(web: Web, tmp_path: Path) -> None:
    body = bulky(web, tmp_path)
    web.pause_s = 0.03
    with started() as first, started() as second:
        paths = {first.communicate(timeout=PATIENCE_S)[0].strip(), second.communicate(timeout=PATIENCE_S)[0].strip()}
    assert first.returncode == second.returncode == 0 and len(web.asked) == 1
    assert len(paths) == 1 and Path(paths.pop()).read_bytes() == body


def test_the_bar_shows_what_came_in_this_pull() -> None:
    assert bar_line(0, 4_000_000, 0, 0.5).startswith("[" + " " * 24 + "] 0.0/4.0 MB  0.0 MB/s")
    assert bar_line(3_000_000, 4_000_000, 1_000_000, 0.5).startswith(
        "[" + "#" * 18 + " " * 6 + "] 3.0/4.0 MB  2.0 MB/s"
    )
    assert bar_line(3_000_000, None, 3_000_000, 1.0).startswith("3.0 MB  3.0 MB/s")


def test_the_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _Bar(quiet=False)(5, 5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = _Bar(quiet=False)
    bar(5_000_000, 5_000_000)
    bar.close()
    assert "5.0/5.0 MB" in capsys.readouterr().err
    _Bar(quiet=True)(5, 5)
    assert capsys.readouterr().err == ""


def test_nothing_of_the_network_is_loaded_before_a_pull(web: Web) -> None:
    code = (
        "import sys, tracker.models, tracker.cli.models, tracker.cli.run\n"
        "try: tracker.models.open_model('mine')\n"
        "except FileNotFoundError: pass\n"
        "assert not {'urllib.request', 'http.client', 'tracker.models.registry.download'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
