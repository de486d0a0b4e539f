"""A graph for one picture takes several, or is not written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from exporters import __main__ as command
from exporters.batch import free_batch
from exporters.parity import ParityError
from tests.exporters import networks
from tests.models import graphs
from tracker.errors import ModelError
from tracker.models import open_model
from tracker.streams import takes_batches


def test_pictures_together_give_what_each_gives_alone(tmp_path: Path) -> None:
    alone = open_model(networks.yolo(tmp_path / "net.onnx"), device="cpu")
    assert free_batch(tmp_path / "net.onnx", tmp_path / "batch.onnx") <= 1e-4
    together = open_model(tmp_path / "batch.onnx", device="cpu")
    assert takes_batches(together) and not takes_batches(alone) and together.card.class_names == networks.NAMES
    images = np.random.default_rng(5).integers(0, 256, (4, 50, 90, 3), np.uint8)
    prepared = [together.preprocess(image) for image in images]
    (found,) = together.infer({"images": np.concatenate([p.tensors["images"] for p in prepared])}).values()
    assert len(found) == 4
    for image, row, (_, placement) in zip(images, found, prepared, strict=True):
        wanted = alone(image)
        got = together.decode({"output0": row[None]}, placement)
        assert len(wanted) > 0
        np.testing.assert_allclose(got.boxes, wanted.boxes, atol=1e-3)


def test_a_graph_that_mixes_pictures_is_not_written(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "most"], ["y"]),
    ]
    graphs.save(tmp_path / "mixes.onnx", nodes, ends[:1], ends[1:])
    with pytest.raises(ParityError, match="together and alone differ by"):
        free_batch(tmp_path / "mixes.onnx", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_a_graph_that_is_free_already_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graphs.doubler(tmp_path / "free.onnx", ("batch", 3))
    with pytest.raises(ModelError, match=r"expected a graph of fixed shapes that begin with 1, got x \[\?, 3\]"):
        free_batch(tmp_path / "free.onnx", tmp_path / "out.onnx")
    networks.yolo(tmp_path / "net.onnx")
    assert command.main(["batch", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "batch.onnx")]) == 0
    assert "3 pictures together" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov8n-seg_320", "yolo11n-seg_640", "yolov5n-seg_640"])
def test_real_models_take_batches(shared: Path, tmp_path: Path, name: str) -> None:
    """To the last bit on the machine where this was written, so tracks do not depend on who shared a batch."""
    assert free_batch(shared / "data" / "models" / f"{name}.onnx", tmp_path / "batch.onnx") <= 1e-6
