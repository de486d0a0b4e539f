"""A float16 copy gives nearly the same, or is not written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters import __main__ as command
from exporters.fuse import fuse
from exporters.half import LIMIT, halve
from exporters.parity import ParityError
from tests.exporters import networks
from tests.models import graphs
from tracker.errors import ModelError
from tracker.models import open_model


def test_a_half_model_finds_the_same(tmp_path: Path) -> None:
    whole = open_model(networks.yolo(tmp_path / "net.onnx"), device="cpu")
    assert 0 < halve(tmp_path / "net.onnx", tmp_path / "half.onnx") <= LIMIT
    half = open_model(tmp_path / "half.onnx", device="cpu")
    assert half.image_spec.dtype == np.float16 and half.card.class_names == networks.NAMES
    assert (tmp_path / "half.onnx").stat().st_size < 0.7 * (tmp_path / "net.onnx").stat().st_size
    image = np.random.default_rng(2).integers(0, 256, (60, 90, 3), np.uint8)
    wanted, got = whole(image), half(image)
    assert len(wanted) > 0 and got.boxes.dtype == np.float32
    (a,), (b,) = (m.infer(m.preprocess(image).tensors).values() for m in (whole, half))
    np.testing.assert_allclose(a, b.astype(np.float32), rtol=2e-2, atol=2e-2)


def test_a_half_model_can_be_fused_but_not_the_other_way(tmp_path: Path) -> None:
    networks.yolo(tmp_path / "net.onnx")
    halve(tmp_path / "net.onnx", tmp_path / "half.onnx")
    assert fuse(tmp_path / "half.onnx", tmp_path / "both.onnx") <= 1.001
    both = open_model(tmp_path / "both.onnx", device="cpu")
    assert both.fused and next(iter(both.session.outputs.values())).dtype == np.float16
    with pytest.raises(ModelError, match=r"expected inputs of float32, got frame .* uint8; halve a graph before"):
        halve(tmp_path / "both.onnx", tmp_path / "no.onnx")


def test_what_float16_cannot_hold_is_not_written(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "big"], ["large"]), helper.make_node("Mul", ["large", "big"], ["y"])],
        "overflow", ends[:1], ends[1:], [numpy_helper.from_array(np.float32([[6e4, 6e4, 6e4, 6e4]]), "big")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "big.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ParityError, match="y is not finite: not written"):
        halve(tmp_path / "big.onnx", tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks.yolo(tmp_path / "net.onnx")
    assert command.main(["half", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "half.onnx")]) == 0
    assert "those of float32 to" in capsys.readouterr().out
    graphs.doubler(tmp_path / "bare.onnx")
    assert command.main(["half", str(tmp_path / "bare.onnx"), "-o", str(tmp_path / "x.onnx")]) == 2
    assert "expected weights of float32" in capsys.readouterr().err
