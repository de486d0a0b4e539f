"""What results say about GPUs, with a fake NVML; no GPU was at hand when this was written."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import accelerator, result
from bench.accelerator import Sampler, check_placement, cpu_nodes, describe, gpus
from tests.models import graphs
from tests.patience import PATIENCE_S
from tracker.models import Session, SessionConfig


class FakeNvml:
    """Two GPUs that draw more power with every look."""

    class NVMLError(Exception):
        """As pynvml's."""

    def __init__(self) -> None:
        self.looks = 0

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return b"Old GPU" if handle else "New GPU"  # old versions of pynvml give bytes

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.12"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 13020

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=80_000_000_000, used=1_500_000_000)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        self.looks += 1
        return 100_000 * self.looks

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=40 + 10 * self.looks)


def test_every_gpu_is_named_with_its_driver() -> None:
    new, old = gpus(FakeNvml())
    assert new == {"name": "New GPU", "driver": "580.12", "cuda_of_driver": "13.2", "memory_mb": 80000}
    assert old["name"] == "Old GPU"


def test_without_nvml_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "nvml", lambda: None)
    assert gpus() == [] and result.system()["gpus"] == []
    with Sampler(None) as sampler:
        pass
    assert sampler.figures() == {}


def test_a_driver_that_does_not_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = FakeNvml()

    def fail() -> None:
        raise FakeNvml.NVMLError

    broken.nvmlInit = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(accelerator.sys.modules, "pynvml", broken)
    assert accelerator.nvml() is None


def test_samples_become_figures() -> None:
    looked = threading.Event()
    fake = FakeNvml()

    def wait(stop: threading.Event) -> bool:
        if fake.looks < 3:
            return False
        looked.set()
        return stop.wait(PATIENCE_S)

    with Sampler(fake, wait=wait) as sampler:
        assert looked.wait(PATIENCE_S)
    assert sampler.figures() == {
        "gpu_power_w": 200.0, "gpu_power_max_w": 300.0, "gpu_percent": 60.0, "gpu_memory_mb": 1500.0,
    }  # fmt: skip


def placed(**facts: object) -> Session:
    """A session as it would be on a GPU."""
    usual = {"path": Path("net.onnx"), "device": "cuda", "whole": False, "nodes": {}}
    return SimpleNamespace(**{**usual, **facts})  # type: ignore[return-value]


def test_figures_of_a_gpu_that_is_partly_a_cpu_are_refused() -> None:
    check_placement(placed(whole=True), allowed=False)
    check_placement(placed(nodes={"CUDAExecutionProvider": 50}), allowed=False)
    split = placed(nodes={"CUDAExecutionProvider": 50, "CPUExecutionProvider": 3})
    assert cpu_nodes(split) == 3
    with pytest.raises(result.BenchError, match=r"all of net.onnx on cuda, but 3 of its nodes run on the CPU; --allow"):
        check_placement(split, allowed=False)
    check_placement(split, allowed=True)
    with pytest.raises(result.BenchError, match="but some of its nodes"):
        check_placement(placed(), allowed=False)


def test_a_result_says_where_the_network_ran(tmp_path: Path) -> None:
    config = SessionConfig("cpu", threads=1)
    session = Session(graphs.doubler(tmp_path / "net.onnx"), config)
    facts = describe(session, config)
    assert facts["sha256"] == session.sha256 and facts["file"] == "net.onnx" and str(tmp_path) not in str(facts)
    assert facts["providers"] == ["CPUExecutionProvider"] and facts["cpu_nodes"] == 0
    assert facts["nodes"] in ({}, {"CPUExecutionProvider": 1})  # old versions of ONNX Runtime do not tell
    assert (facts["precision"], facts["tunings"], facts["threads"]) == ("float32", [], 1)
    session.device = "tensorrt"
    assert describe(session, SessionConfig("tensorrt", fp16=True))["precision"] == "fp16 by TensorRT"
