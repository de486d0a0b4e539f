"""Upload, execute and download apart: the way of GPUs, on the CPU provider."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.models import graphs
from tracker.errors import ModelError, ProviderError
from tracker.models import DEVICES, Session, SessionConfig, open_model
from tracker.onnx.devices import Device


@pytest.mark.parametrize("shape", [(2, 3), ("batch", 3)])
def test_the_steps_give_what_run_gives(tmp_path: Path, shape: tuple[int | str, int]) -> None:
    session = Session(graphs.doubler(tmp_path / "net.onnx", shape), SessionConfig("cpu"))
    binding = session.bind()
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    binding.upload({"x": x})
    x[:] = 99  # the caller's again
    binding.execute()
    first = binding.download()["y"]
    np.testing.assert_array_equal(first, np.arange(6).reshape(2, 3) * 2)
    binding.upload({"x": np.ones((2, 3), np.float32)[:, ::-1]})
    binding.execute()
    np.testing.assert_array_equal(binding.download()["y"], np.full((2, 3), 2))
    np.testing.assert_array_equal(first[0], [0, 2, 4])  # and what was downloaded stays


def test_shapes_may_change_where_they_are_free(tmp_path: Path) -> None:
    binding = Session(graphs.doubler(tmp_path / "net.onnx", ("batch", 3)), SessionConfig("cpu")).bind()
    for count in (2, 5, 1, 5):
        binding.upload({"x": np.full((count, 3), count, np.float32)})
        binding.execute()
        np.testing.assert_array_equal(binding.download()["y"], np.full((count, 3), 2 * count))


def test_output_sizes_that_depend_on_the_data(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [1, "found"])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [4])
    nodes = [helper.make_node("NonZero", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    binding = Session(graphs.save(tmp_path / "net.onnx", nodes, [x], [y, z]), SessionConfig("cpu")).bind()
    for values, found in (([0, 1, 0, 2], [1, 3]), ([0, 0, 0, 0], []), ([1, 1, 1, 1], [0, 1, 2, 3])):
        binding.upload({"x": np.array(values, np.float32)})
        binding.execute()
        out = binding.download()
        np.testing.assert_array_equal(out["y"][0], found)
        np.testing.assert_array_equal(out["z"], -np.array(values))


def test_a_real_network_through_buffers() -> None:
    model = open_model("street", device="cpu", warmup=False)
    given = model.feed(model.preprocess(np.random.default_rng(1).integers(0, 256, (180, 320, 3), np.uint8)).tensors)
    binding = model.session.bind()
    binding.upload(given)
    binding.execute()
    wanted, got = model.session.run(given), binding.download()
    assert wanted.keys() == got.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array)


def test_what_another_run_held_is_taken(tmp_path: Path) -> None:
    session = Session(graphs.doubler(tmp_path / "net.onnx"), SessionConfig("cpu"))
    held = session.run_held({"x": np.ones((2, 3), np.float32)}, ("y",))["y"]
    binding = session.bind()
    binding.upload({"x": held})
    binding.execute()
    np.testing.assert_array_equal(binding.download()["y"], np.full((2, 3), 4))


def test_nodes_are_counted_where_they_run() -> None:
    session = open_model("street", device="cpu", warmup=False).session
    assert session.nodes == {} or (session.nodes.keys() == {"CPUExecutionProvider"} and session.nodes.popitem()[1] > 20)
    assert session.raw.get_providers() == session.providers


@pytest.mark.parametrize(
    ("device", "tuning", "having"),
    [("cpu", "fp16", "tensorrt"), ("auto", "nhwc", "cuda"), ("tensorrt", "nhwc", "cuda"), ("cuda", "fp16", "tensorrt")],
)
def test_a_device_without_a_tuning_says_who_has_it(tmp_path: Path, device: str, tuning: str, having: str) -> None:
    path = graphs.doubler(tmp_path / "net.onnx")
    with pytest.raises(ProviderError, match=f"expected device {having} for {tuning}, got '{device}'"):
        Session(path, SessionConfig(device, **{tuning: True}))


def test_tunings_become_provider_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cuda, tensorrt = (DEVICES[name].options for name in ("cuda", "tensorrt"))
    plain = SessionConfig("cuda")
    assert "prefer_nhwc" not in cuda("ab12", plain) and "enable_cuda_graph" not in cuda("ab12", plain)
    tuned = cuda("ab12", SessionConfig("cuda", nhwc=True, cuda_graph=True))
    assert (tuned["prefer_nhwc"], tuned["enable_cuda_graph"]) == ("1", "1")
    engine = tensorrt("ab12", SessionConfig("tensorrt", fp16=True, cuda_graph=True))
    assert (engine["trt_fp16_enable"], engine["trt_cuda_graph_enable"]) == ("True", "True")
    assert engine["trt_engine_cache_path"] == str(tmp_path / "trackstream" / "tensorrt" / "ab12")
    assert "trt_fp16_enable" not in tensorrt("ab12", SessionConfig("tensorrt"))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> str:
    """A device that takes CUDA graphs, run by the CPU provider: it has the buffers and the lock, not the recording."""
    monkeypatch.setitem(DEVICES, "recorder", Device("CPUExecutionProvider", tunings=("cuda_graph",)))
    monkeypatch.setattr(
        Session, "_try", lambda self, name, config: (self._create("cpu", config, strict=True), True, "")
    )
    return "recorder"


def test_a_recorded_graph_lets_one_thread_in_at_a_time(tmp_path: Path, recorder: str) -> None:
    path = graphs.doubler(tmp_path / "net.onnx", (64, 64))
    session = Session(path, SessionConfig(recorder, cuda_graph=True, threads=1))
    wrong: list[float] = []

    def work(k: int) -> None:
        for i in range(50):
            value = np.float32(k * 1000 + i)
            if not (session.run({"x": np.full((64, 64), value)})["y"] == value * 2).all():
                wrong.append(float(value))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_recorded_graph_needs_fixed_shapes_and_one_device(
    tmp_path: Path, recorder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SessionConfig(recorder, cuda_graph=True)
    with pytest.raises(ModelError, match=r"expected fixed shapes for cuda_graph, got x \[\?, 3\]"):
        Session(graphs.doubler(tmp_path / "free.onnx", ("batch", 3)), config)
    monkeypatch.setattr(
        Session, "_try", lambda self, name, config: (self._create("cpu", config, strict=True), False, "")
    )
    with pytest.raises(ModelError, match=r"expected every node of .* on recorder for cuda_graph"):
        Session(graphs.doubler(tmp_path / "net.onnx"), config)
