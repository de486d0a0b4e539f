from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.models import graphs
from tracker.errors import ModelError, ModelNotFoundError, ProviderError
from tracker.models import DEVICES, Session, SessionConfig
from tracker.onnx.devices import Device

HAS_GPU = DEVICES["cuda"].present()


def test_a_session_tells_about_itself(tmp_path: Path) -> None:
    path = graphs.doubler(tmp_path / "net.onnx", ("batch", 3))
    session = Session(path, SessionConfig("cpu", threads=1, spin=True))
    assert session.device == "cpu" and session.providers == ["CPUExecutionProvider"] and session.whole
    assert session.inputs["x"].shape == (None, 3) and session.inputs["x"].dtype == np.float32
    assert str(session.outputs["y"]) == "y [?, 3]"
    assert session.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert session.open_s > 0 and session.first_run_s is None
    session.run({"x": np.ones((5, 3), np.float32)})
    assert session.first_run_s is not None and session.first_run_s > 0


@pytest.mark.parametrize("shape", [(2, 3), ("batch", 3)])
def test_outputs_belong_to_the_caller(tmp_path: Path, shape: tuple[int | str, int]) -> None:
    session = Session(graphs.doubler(tmp_path / "net.onnx", shape), SessionConfig("cpu"))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    first = session.run({"x": x})["y"]
    view = first[1]
    for k in range(20):
        session.run({"x": np.full((2, 3), k, np.float32)})
    np.testing.assert_array_equal(first, np.arange(6).reshape(2, 3) * 2)
    np.testing.assert_array_equal(view, [6, 8, 10])
    x[:] = 99  # the input is the caller's again as well
    np.testing.assert_array_equal(first[0], [0, 2, 4])
    del session
    np.testing.assert_array_equal(first, np.arange(6).reshape(2, 3) * 2)
    first[:] = 1  # and may be written


def test_inputs_in_any_memory_order(tmp_path: Path) -> None:
    session = Session(graphs.doubler(tmp_path / "net.onnx"), SessionConfig("cpu"))
    x = np.arange(6, dtype=np.float32).reshape(3, 2).T
    np.testing.assert_array_equal(session.run({"x": x})["y"], x * 2)


def test_several_threads_may_run_one_session(tmp_path: Path) -> None:
    session = Session(graphs.doubler(tmp_path / "net.onnx", (64, 64)), SessionConfig("cpu", threads=1))
    wrong: list[float] = []

    def work(k: int) -> None:
        for i in range(100):
            value = np.float32(k * 1000 + i)
            out = session.run({"x": np.full((64, 64), value)})["y"]
            if not (out == value * 2).all():
                wrong.append(float(value))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_output_sizes_that_depend_on_the_data(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [1, "found"])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [4])
    nodes = [helper.make_node("NonZero", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    session = Session(graphs.save(tmp_path / "net.onnx", nodes, [x], [y, z]), SessionConfig("cpu"))
    for values, found in (([0, 1, 0, 2], [1, 3]), ([0, 0, 0, 0], []), ([1, 1, 1, 1], [0, 1, 2, 3])):
        out = session.run({"x": np.array(values, np.float32)})
        np.testing.assert_array_equal(out["y"][0], found)
        np.testing.assert_array_equal(out["z"], -np.array(values))


def test_wrong_inputs_are_named(tmp_path: Path) -> None:
    session = Session(graphs.doubler(tmp_path / "net.onnx"), SessionConfig("cpu"))
    with pytest.raises(ModelError, match="expected inputs x, got none"):
        session.run({})
    with pytest.raises(ModelError, match="expected inputs x, got image"):
        session.run({"image": np.zeros((2, 3), np.float32)})
    with pytest.raises(ModelError, match=r"expected input x \[2, 3\] float32, got \[3, 2\] float32"):
        session.run({"x": np.zeros((3, 2), np.float32)})
    with pytest.raises(ModelError, match=r"got \[2, 3\] float64"):
        session.run({"x": np.zeros((2, 3))})


def test_a_graph_that_fails_while_running_is_one_line(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [f"{n}{i}" for i in range(2)]) for n in "abc"]
    path = graphs.save(tmp_path / "net.onnx", [helper.make_node("MatMul", ["a", "b"], ["c"])], ends[:2], ends[2:])
    with pytest.raises(ModelError, match="failed while running on cpu") as caught:
        Session(path, SessionConfig("cpu")).run({n: np.ones((2, 3), np.float32) for n in "ab"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["missing", "folder", "empty", "text", "cut", "picture"])
def test_files_that_are_no_models(tmp_path: Path, what: str) -> None:
    path = tmp_path / "net.onnx"
    if what == "folder":
        path.mkdir()
    elif what == "empty":
        path.touch()
    elif what == "text":
        path.write_text("This is a readme.\nNot a model.\n")
    elif what == "picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    elif what == "cut":
        data = graphs.planted(path, {"y": np.random.default_rng(1).random((1, 64, 64)).astype(np.float32)}).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelNotFoundError if what == "missing" else ModelError) as caught:
        Session(path, SessionConfig("cpu"))
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 500
    assert isinstance(caught.value, FileNotFoundError) == (what == "missing")


def test_an_unknown_device_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="auto, cpu, cuda, tensorrt, got 'gpu'"):
        Session(tmp_path / "net.onnx", SessionConfig("gpu"))


@pytest.mark.skipif(HAS_GPU, reason="needs a machine without an NVIDIA driver")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_missing_device_is_an_error_unless_the_cpu_is_allowed(
    tmp_path: Path, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = graphs.doubler(tmp_path / "net.onnx")
    with pytest.raises(ProviderError, match=f"device '{device}' does not run here .*; install an NVIDIA driver"):
        Session(path, SessionConfig(device))
    assert Session(path, SessionConfig(device, allow_cpu=True)).device == "cpu"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError, match="cannot be opened: not an ONNX model") as caught:
        Session(tmp_path / "text.onnx", SessionConfig(device))
    assert not isinstance(caught.value, ProviderError)
    caplog.clear()
    assert Session(path, SessionConfig("auto")).device == "cpu"
    assert not caplog.records


@pytest.mark.skipif(HAS_GPU, reason="needs a machine without an NVIDIA driver")
@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_what_runtime_claims_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """With the driver test out of the way ONNX Runtime is really asked: it prints, falls back, and is caught at it."""
    row = DEVICES[name]
    monkeypatch.setitem(DEVICES, name, Device(row.provider, row.hint, row.options))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = graphs.doubler(tmp_path / "net.onnx")
    with pytest.raises(
        ProviderError, match=rf"device '{name}' does not run here \([Ff]ailed to load lib|\(lib"
    ) as caught:
        Session(path, SessionConfig(name))
    assert "\n" not in str(caught.value)
    assert Session(path, SessionConfig(name, allow_cpu=True)).providers == ["CPUExecutionProvider"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_opening_and_running_prints_nothing(tmp_path: Path, device: str) -> None:
    path = graphs.doubler(tmp_path / "net.onnx")
    code = (
        "import sys, numpy as np\n"
        "from tracker.models import Session, SessionConfig\n"
        "assert 'onnxruntime' not in sys.modules and 'cv2' not in sys.modules\n"
        f"s = Session({str(path)!r}, SessionConfig({device!r}))\n"
        "assert s.run({'x': np.ones((2, 3), np.float32)})['y'].sum() == 12\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.skipif(HAS_GPU, reason="needs a machine without an NVIDIA driver")
def test_every_device_error_keeps_the_streams_clean(tmp_path: Path) -> None:
    path = graphs.doubler(tmp_path / "net.onnx")
    code = (
        "from tracker.errors import ProviderError\n"
        "from tracker.models import DEVICES, Session, SessionConfig\n"
        "for name in DEVICES:\n"
        "    try:\n"
        f"        print(name, Session({str(path)!r}, SessionConfig(name)).device)\n"
        "    except ProviderError as error:\n"
        "        print(name, 'missing')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("cpu cpu\ncuda missing\ntensorrt missing\n", "")


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA driver")
def test_cuda_runs_where_it_is(tmp_path: Path) -> None:
    session = Session(graphs.doubler(tmp_path / "net.onnx"), SessionConfig("cuda"))
    assert session.providers[0] == "CUDAExecutionProvider" and session.device == "cuda"
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(session.run({"x": x})["y"], x * 2)
