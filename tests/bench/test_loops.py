"""Loops of others: called as documented, timed in their own process, left out where they cannot take part."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import __main__ as command
from bench import result
from bench.loops import LOOPS, Job, Loop, open_loops
from bench.result import BenchError
from tests.models import graphs

FAKE = '''
"""As much of Ultralytics' documented interface as is used, with the frames and tracks that a test knows."""
import json, os, pathlib
import bench.loops

now = 1
bench.loops.perf_counter_ns = lambda: now

class Settings(dict):
    pass

settings = Settings(sync=True)

class Tensor(list):
    pass

class Boxes:
    def __init__(self, ids):
        self.id = Tensor(ids) if ids else None

class Result:
    def __init__(self, ids):
        self.boxes = Boxes(ids)

class YOLO:
    def __init__(self, model, task=None):
        self.told = {"model": model, "task": task, "sync": settings["sync"], "home": os.environ["YOLO_CONFIG_DIR"]}

    def track(self, source=None, stream=False, persist=False, **more):
        assert stream, "without it a list of all frames comes back"
        print("loading ...")
        pathlib.Path(source + ".json").write_text(json.dumps({**self.told, "persist": persist, **more}))
        if "broken" in source:
            raise RuntimeError("no such\\nvideo")
        global now
        for k in range(5):
            now += 500_000_000 if k == 0 else 10_000_000
            yield Result([1, 2, 3][: k % 4])
'''


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a video file and the package, which other processes find too."""
    (tmp_path / "ultralytics.py").write_text(FAKE)
    (tmp_path / "street.mp4").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def job(folder: Path, name: str = "street.mp4") -> Job:
    return Job("net.onnx", "segment", (320, 192), str(folder / name), "cpu")


def test_ultralytics_is_called_as_documented(fake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import json

    loop = Loop("ultralytics", job(fake), 4)
    try:
        assert loop() == 4 * 10e6, "the half second before the first frame does not count"
        assert loop.objects == 1.5 and loop.name == "ultralytics track"
    finally:
        loop.close()
    given = json.loads((fake / "street.mp4.json").read_text())
    assert Path(given.pop("home")) != Path.home()
    assert given == {
        "model": "net.onnx", "task": "segment", "sync": False, "persist": False, "tracker": "bytetrack.yaml",
        "imgsz": [192, 320], "device": "cpu", "verbose": False,
    }  # fmt: skip
    assert capfd.readouterr().out == ""


def test_a_loop_that_fails_says_so_in_one_line(fake: Path) -> None:
    with pytest.raises(BenchError, match=r"ultralytics track failed: RuntimeError: no such video$"):
        Loop("ultralytics", job(fake, "broken.mp4"), 2)
    with pytest.raises(BenchError, match="expected 6 frames of ultralytics track, it gave 5"):
        Loop("ultralytics", job(fake), 6)


def offline(folder: Path, *words: str) -> tuple[int, dict]:
    few = ["--frames", "4", "--rounds", "1", "--warmup-frames", "1", "--warmup-s", "0", "--threads", "1"]
    path = folder / "x.json"
    code = command.main(["offline", *few, "--repeats", "1", *words, "-o", str(path)])
    return code, result.read(path) if code == 0 else {}


def test_offline_gives_a_loop_its_row(fake: Path, video: Path) -> None:
    net = graphs.planted(
        fake / "net.onnx", {"output0": graphs.v8_head([[30, 30, 90, 90]], [[0.9, 0.1]])},
        metadata=graphs.ultralytics(("person", "car")),
    )  # fmt: skip
    code, found = offline(fake, "--model", str(net), "--source", str(video))
    rows = {row["competitor"]: row for row in found["rows"]}
    assert code == 0 and set(rows) == {"bare session.run", "in turn", "overlap", "ultralytics track"}
    theirs = rows["ultralytics track"]
    assert theirs["objects"] == 1.5 and theirs["figures"]["fps"] == 100 and theirs["times_bare"]["p50"] > 0
    assert "tracks_sha256" not in theirs and "tracks_sha256" in rows["overlap"] and len(found["notes"]) == 1
    assert offline(fake, "--model", str(net), "--source", str(video), "--peers", "nothing") == (2, {})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"family": "panoptic"}, "it takes no network of the family panoptic"),
        ({"fused": True}, "it takes no fused graphs"),
        ({"session": SimpleNamespace(device="tensorrt")}, "it does not run ONNX files on tensorrt"),
        ({"address": "synth:street"}, "street is no video file"),
    ],
)
def test_what_a_loop_cannot_do_is_named(fake: Path, change: dict, reason: str) -> None:
    model = SimpleNamespace(family="yolo", fused=False, session=SimpleNamespace(device="cpu"))
    address = change.pop("address", str(fake / "street.mp4"))
    vars(model).update(change)
    case = SimpleNamespace(model=model, address=address, scene="street")
    with open_loops(case, ["ultralytics"]) as (loops, notes):
        assert (loops, notes) == ([], [f"ultralytics is left out: {reason}"])


def test_an_absent_loop_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOOPS, "nobody", LOOPS["ultralytics"])
    with open_loops(SimpleNamespace(), ["nobody"]) as (loops, notes):
        assert (loops, notes) == ([], ["nobody is left out: it is not installed"])


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five grey frames."""
    import av
    import numpy as np

    path = tmp_path_factory.mktemp("video") / "grey.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for _ in range(5):
            image = np.full((96, 160, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path
