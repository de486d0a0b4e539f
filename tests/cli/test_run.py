"""The journey as a user types it: results, bad input, interruption."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.patience import PATIENCE_S, TRACKER, until
from tracker.cli import main
from tracker.formats import mot, mots
from tracker.sinks import SINKS

STREET = "synth:street?seed=7&size=320x180&frames=6&objects=8"
ULTRALYTICS = {"names": "{0: 'person', 1: 'car'}", "task": "detect", "imgsz": "[64, 64]", "stride": "32",
               "description": "Ultralytics YOLOv8n model", "author": "Ultralytics"}  # fmt: skip


def run(*argv: str) -> int:
    return main(["run", *argv, "--quiet"])


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames of noise as H.264."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for _ in range(20):
            image = rng.integers(0, 256, (96, 160, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


def graph(path: Path, outputs: list[tuple[str, np.ndarray]], metadata: dict[str, str]) -> Path:
    """An ONNX file that ignores its picture and returns these arrays."""
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    nodes = [
        helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value, name))
        for name, value in outputs
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in outputs]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [picture], infos), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def test_all_outputs_are_written_and_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "out"
    assert main(["run", STREET, "--model", "street", "-o", str(out)]) == 0
    printed = capsys.readouterr()
    assert "6 frames" in printed.out and "p99 ms" in printed.out and printed.err == ""
    files = ["events.jsonl", "masks.txt", "tracks.jsonl", "tracks.txt", "video.mp4"]
    assert sorted(path.name for path in out.iterdir()) == files
    lines = [json.loads(line) for line in (out / "tracks.jsonl").read_text().splitlines()]
    assert len(lines) == 7  # a header and six frames
    assert len(mot.read_mot(out / "tracks.txt").frames) > 0
    assert len(mots.read_mots(out / "masks.txt")) > 0
    with av.open(str(out / "video.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6


@pytest.mark.parametrize(
    ("name", "words"),
    [("kitti-step", "a class for every pixel, "), ("mot-step", "a class for every pixel, "), ("mots", "masks, ")],
)
def test_outputs_that_the_model_cannot_feed_are_refused_before_any_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    net = graph(tmp_path / "n.onnx", [("output0", np.zeros((1, 6, 84), np.float32))], ULTRALYTICS)
    for sources in ([STREET], [STREET, STREET]):
        assert run(*sources, "--model", str(net), "--save", f"mot,{name}", "-o", str(tmp_path / "out")) == 2
        printed = capsys.readouterr().err
        assert f"cannot save {name}: it needs {words}" in printed and ("--stuff" in printed) == (name != "mots")
        assert printed.count("\n") == 1 and not (tmp_path / "out").exists()


def test_json_lines_alone_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", STREET, "--model", "street", "-o", "-"]) == 0
    printed = capfd.readouterr()
    assert [json.loads(line) for line in printed.out.splitlines()] and "6 frames" in printed.err


def test_a_video_and_a_folder_give_one_line_per_frame(tmp_path: Path, video: Path) -> None:
    assert run(str(video), "--model", "street", "--save", "jsonl", "-o", str(tmp_path), "--tracker", "sort") == 0
    assert len((tmp_path / "tracks.jsonl").read_text().splitlines()) == 21


def test_image_files_have_the_frame_rate_that_is_said(tmp_path: Path) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((48, 64, 3), 90, np.uint8))
    argv = ["--model", "street", "-o", str(tmp_path / "out"), "--save", "jsonl"]
    assert run(str(tmp_path), *argv, "--fps", "5") == 0
    header, *frames = map(json.loads, (tmp_path / "out" / "tracks.jsonl").read_text().splitlines())
    assert header["fps"] == 5 and [frame["time_s"] for frame in frames] == [0, 0.2, 0.4]


def test_help_names_every_output_and_tells_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.replace("-\n", "-").split()).replace("- ", "-")
    assert "SOURCE is a video file" in text
    chosen = text.partition("what to write: ")[2].partition("NAME=PATH")[0]
    assert all(re.search(rf"\b{name}\b", chosen) for name in SINKS)


def test_runs_agree_with_and_without_threads(tmp_path: Path) -> None:
    for overlap in ("yes", "no"):
        assert (
            run(STREET, "--model", "street", "-o", str(tmp_path / overlap), "--save", "mot,mots", "--overlap", overlap)
            == 0
        )
    for name in ("tracks.txt", "masks.txt"):
        assert (tmp_path / "yes" / name).read_bytes() == (tmp_path / "no" / name).read_bytes()


def bad_inputs(folder: Path, video: Path) -> dict[str, list[str]]:
    """Every case of a user's bad day; each is a command line."""
    text, zero, cut, torn = (folder / name for name in ("notes.txt", "empty.mp4", "cut.onnx", "torn.mp4"))
    text.write_text("not a model, not a video")
    zero.write_bytes(b"")
    whole = video.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    net = graph(folder / "net.onnx", [("output0", np.zeros((1, 6, 10), np.float32))], {})
    cut.write_bytes(net.read_bytes()[:-40])
    unknown = graph(folder / "unknown.onnx", [("strange", np.zeros((3, 5), np.float32))], ULTRALYTICS)
    nan = graph(folder / "nan.onnx", [("output0", np.full((1, 6, 84), np.nan, np.float32))], ULTRALYTICS)
    empty_folder = folder / "pictures"
    empty_folder.mkdir()
    broken_folder = folder / "broken"
    broken_folder.mkdir()
    (broken_folder / "1.png").write_bytes(b"\x89PNG\r\n")
    street = ["--model", "street"]
    return {
        "corrupt video": [str(torn), *street],
        "text as video": [str(text), *street],
        "0-byte video": [str(zero), *street],
        "missing video": [str(folder / "none.mp4"), *street],
        "empty folder": [str(empty_folder), *street],
        "unreadable picture": [str(broken_folder), *street],
        "no such camera": ["/dev/video97", *street],
        "refused stream": ["rtsp://user:secret@127.0.0.1:9/x", *street],
        "unknown scene": ["synth:moon", *street],
        "unknown scene option": ["synth:street?people=3", *street],
        "bad scene size": ["synth:street?size=big", *street],
        "truncated model": [STREET, "--model", str(cut)],
        "text as model": [STREET, "--model", str(text), "--family", "yolo"],
        "0-byte model": [STREET, "--model", str(zero), "--family", "yolo"],
        "missing model": [STREET, "--model", str(folder / "none.onnx")],
        "no model": [STREET],
        "unknown family": [STREET, "--model", str(net), "--family", "yolo99"],
        "family not said": [STREET, "--model", str(net)],
        "wrong family": [STREET, "--model", "street", "--family", "yolo"],
        "unknown outputs": [STREET, "--model", str(unknown)],
        "NaN detections": [STREET, "--model", str(nan)],
        "unknown tracker": [STREET, *street, "--tracker", "magic"],
        "unknown tracker option": [STREET, *street, "--set", "magic=1"],
        "bad tracker option": [STREET, *street, "--set", "max_coast_frames=soon"],
        "unknown class": [STREET, *street, "--classes", "unicorn"],
        "unknown output": [STREET, *street, "--save", "gif"],
        "output is a file": [STREET, *street, "-o", str(text)],
        "cuda without a card": [STREET, *street, "--device", "cuda"],
    }


CASES = (
    "corrupt video", "text as video", "0-byte video", "missing video", "empty folder", "unreadable picture",
    "no such camera", "refused stream", "unknown scene", "unknown scene option", "bad scene size", "truncated model",
    "text as model", "0-byte model", "missing model", "no model", "unknown family", "family not said", "wrong family",
    "unknown outputs", "NaN detections", "unknown tracker", "unknown tracker option", "bad tracker option",
    "unknown class", "unknown output", "output is a file", "cuda without a card",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_exit_code_2(
    case: str, tmp_path: Path, video: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = bad_inputs(tmp_path, video)[case]
    earlier = tmp_path / "out" / "tracks.txt"
    earlier.parent.mkdir()
    earlier.write_text("results of an earlier run\n")
    assert run(*([*argv, "-o", str(tmp_path / "out")] if "-o" not in argv else argv)) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1 and printed.err.startswith("tracker run: "), printed.err
    assert "Traceback" not in printed.err and "secret" not in printed.err
    if case not in ("corrupt video", "NaN detections", "unreadable picture"):  # these are known only while running
        assert earlier.read_text() == "results of an earlier run\n"


def test_the_cases_are_all_tested(tmp_path: Path, video: Path) -> None:
    assert set(CASES) == set(bad_inputs(tmp_path, video))


def test_what_came_before_the_damage_stays_valid(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for i in range(4):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((96, 160, 3), 40 * i, np.uint8))
    (folder / "4.png").write_bytes((folder / "3.png").read_bytes()[:30])
    assert run(str(folder), "--model", "street", "-o", str(out)) == 2
    assert "4.png" in capfd.readouterr().err
    assert len([json.loads(line) for line in (out / "tracks.jsonl").read_text().splitlines()]) == 5
    with av.open(str(out / "video.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4


@pytest.mark.usefixtures("sigint_reaches_children")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_closes_the_files(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = [*TRACKER, "run", "synth:street?size=320x180&frames=36000", "--model", "street"]
    lines = tmp_path / "tracks.jsonl"
    with subprocess.Popen([*command, "-o", str(tmp_path)], stderr=subprocess.PIPE, text=True) as process:
        until(lambda: lines.exists() and lines.stat().st_size > 3000, process)
        os.kill(process.pid, number)
        try:
            _, errors = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == code and "Traceback" not in errors, errors
    frames = [json.loads(line) for line in lines.read_text().splitlines()][1:]
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(frames) > 0


def test_demo_writes_its_four_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "synth:street?seed=7&size=480x270&frames=10"
    assert main(["demo", "-o", str(tmp_path), "--source", source]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.mp4", "masks.txt", "tracks.jsonl", "tracks.txt"]
    assert "10 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "devices"), [("--fp16", "tensorrt"), ("--nhwc", "cuda"), ("--cuda-graph", "cuda or tensorrt")]
)
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_gpus_switch_is_refused_elsewhere(
    flag: str, devices: str, device: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(STREET, "--model", "street", "--device", device, flag, "-o", str(tmp_path / "out")) == 2
    printed = capfd.readouterr().err
    name = flag.removeprefix("--").replace("-", "_")
    assert f"expected device {devices} for {name}, got {device!r}" in printed and len(printed.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_switches_reach_the_session_from_flags_and_toml(tmp_path: Path) -> None:
    import argparse

    from bench.workload import add_flags
    from tracker.cli import config
    from tracker.cli.mine import MineConfig
    from tracker.cli.run import RunConfig, add_arguments
    from tracker.models import SessionConfig
    from tracker.onnx.devices import TUNINGS

    file = tmp_path / "run.toml"
    file.write_text("device = 'cuda'\nnhwc = true\ncuda-graph = true\nthreads = 3\n")
    parser, bench = argparse.ArgumentParser(), argparse.ArgumentParser()
    add_arguments(parser)
    add_flags(bench, frames=1)
    typed = parser.parse_args(["x.mp4", "--config", str(file), "--no-cuda-graph", "--allow-cpu"])
    asked = config.load(RunConfig, typed, typed.config, source="x.mp4").session
    assert asked == SessionConfig("cuda", allow_cpu=True, threads=3, nhwc=True)
    assert MineConfig("videos", device="tensorrt", fp16=True).session.tunings == ("fp16",)
    for name in TUNINGS:  # whatever a session can be told, the commands can be told
        assert getattr(bench.parse_args([f"--{name.replace('_', '-')}"]), name) is True
        assert getattr(parser.parse_args(["x.mp4", f"--{name.replace('_', '-')}"]), name) is True
