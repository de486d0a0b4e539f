"""A fused graph prepares frames as the CPU does, to a level of 255, or is not written."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest

from exporters import __main__ as command
from exporters import fuse as module
from exporters.fuse import fuse
from exporters.parity import ParityError
from tests.exporters import networks
from tests.models import graphs
from tracker.errors import FrameError, ModelError
from tracker.models import ImageInput, Model, open_model, read_card, write_card
from tracker.models.geometry import place


def image(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 20])
def test_a_fused_model_finds_the_same(tmp_path: Path, opset: int) -> None:
    plain = open_model(networks.yolo(tmp_path / "net.onnx", opset=opset), device="cpu")
    assert fuse(tmp_path / "net.onnx", tmp_path / "fused.onnx") <= 1.001
    fused = open_model(tmp_path / "fused.onnx", device="cpu")
    assert fused.fused and not plain.fused and fused.size == plain.size and fused.card.class_names == networks.NAMES
    for width, height in ((100, 60), (64, 64), (61, 200), (20, 31)):
        picture = image(width, height)
        tensors, placement = fused.preprocess(picture)
        (given,) = tensors.values()
        assert given.dtype == np.uint8 and given.shape == (1, height, width, 3) and np.shares_memory(given, picture)
        assert placement == place((width, height), fused.size, "letterbox")
        (wanted,) = plain.infer(plain.preprocess(picture).tensors).values()
        (got,) = fused.infer(tensors).values()
        np.testing.assert_allclose(got, wanted, atol=0.2)  # a level of 255 here and there, through weights below 40
        assert np.abs(got - wanted).mean() < 0.01 * np.abs(wanted).mean()
        assert len(plain(picture)) > 0 and len(fused(picture)) > 0


@pytest.mark.parametrize("resize", ["letterbox", "letterbox-corner", "stretch"])
@pytest.mark.parametrize("frame", [None, (97, 131)])
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_every_rule_of_a_card(tmp_path: Path, resize: str, frame: tuple[int, int] | None, colour: str) -> None:
    path = networks.yolo(tmp_path / "net.onnx")
    card = read_card({entry.key: entry.value for entry in onnx.load(str(path)).metadata_props})
    assert card is not None
    rules = ImageInput(
        size=(64, 64), resize=resize, colour=colour, scale=1 / 200, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.1), pad=7
    )  # fmt: skip
    write_card(path, replace(card, image=rules))
    assert fuse(path, tmp_path / "fused.onnx", frame) <= 1.001
    fused, plain = (open_model(file, device="cpu") for file in (tmp_path / "fused.onnx", path))
    picture = image(*(frame or (200, 90)))
    (got,), (wanted,) = ((*m.infer(m.preprocess(picture).tensors).values(),) for m in (fused, plain))
    assert np.abs(got - wanted).mean() < 0.02 * np.abs(wanted).mean()


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    networks.yolo(tmp_path / "net.onnx")
    fuse(tmp_path / "net.onnx", tmp_path / "fused.onnx", (100, 60))
    fused = open_model(tmp_path / "fused.onnx", device="cpu")
    assert None not in fused.image_spec.shape
    assert len(fused(image(100, 60))) > 0
    with pytest.raises(ModelError, match=r"expected input frame \[1, 60, 100, 3\] uint8, got \[1, 64, 64, 3\] uint8"):
        fused(image(64, 64))
    for wrong in (np.zeros((60, 100), np.uint8), np.zeros((60, 100, 3), np.float32)):
        with pytest.raises(FrameError, match="uint8 BGR"):
            fused.preprocess(wrong)


def test_batches_and_half_floats(tmp_path: Path) -> None:
    networks.yolo(tmp_path / "batch.onnx", batch="batch", kind=np.float16)
    fuse(tmp_path / "batch.onnx", tmp_path / "fused.onnx")
    fused = open_model(tmp_path / "fused.onnx", device="cpu")
    pictures = np.stack([image(50, 40), image(50, 40)[::-1]])
    (both,) = fused.infer({"frame": pictures}).values()
    assert both.shape[0] == 2 and both.dtype == np.float16
    for k in range(2):
        (alone,) = fused.infer({"frame": pictures[k : k + 1]}).values()
        np.testing.assert_allclose(both[k], alone[0], rtol=1e-2)


def test_what_cannot_be_fused_is_refused(tmp_path: Path) -> None:
    networks.yolo(tmp_path / "net.onnx")
    fuse(tmp_path / "net.onnx", tmp_path / "fused.onnx")
    with pytest.raises(ModelError, match="one that is fused already"):
        fuse(tmp_path / "fused.onnx", tmp_path / "again.onnx")
    graphs.save(
        tmp_path / "old.onnx",
        *_parts(networks.yolo(tmp_path / "x.onnx")),
        graphs.ultralytics(networks.NAMES, size=64),
    )
    old = onnx.load(str(tmp_path / "old.onnx"))
    old.opset_import[0].version = 10
    onnx.save(old, str(tmp_path / "old.onnx"))
    with pytest.raises(ModelError, match="expected opset 11 or newer, got 10"):
        fuse(tmp_path / "old.onnx", tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def _parts(path: Path) -> tuple[list, list, list]:
    """Nodes and ends of a graph, its weights as constant nodes."""
    graph = onnx.load(str(path)).graph
    weights = [onnx.helper.make_node("Constant", [], [w.name], value=w) for w in graph.initializer]
    return [*weights, *graph.node], list(graph.input), list(graph.output)


def test_another_picture_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks.yolo(tmp_path / "net.onnx")
    real = module.build_front

    def shifted(model: Model, frame: tuple[int, int] | None) -> module.Front:
        front = real(model, frame)
        (resize,) = [node for node in front.nodes if node.op_type == "Resize"]
        resize.attribute[[a.name for a in resize.attribute].index("coordinate_transformation_mode")].s = b"asymmetric"
        return front

    monkeypatch.setattr(module, "build_front", shifted)
    with pytest.raises(ParityError, match=r"another picture: \d+\.\d of 255 levels \(limit 1\): not written"):
        fuse(tmp_path / "net.onnx", tmp_path / "fused.onnx")
    assert not (tmp_path / "fused.onnx").exists()


def test_the_command_says_how_near_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks.yolo(tmp_path / "net.onnx")
    words = ["fuse", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "fused.onnx")]
    assert command.main([*words, "--frame", "320x240"]) == 0
    assert "of 255 levels" in capsys.readouterr().out
    assert command.main(["fuse", str(tmp_path / "none.onnx"), "-o", "x.onnx"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(SystemExit):
        command.main([*words, "--frame", "huge"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov8n-seg_320", "yolo11n-seg_640"])
def test_real_models_find_the_same_people(shared: Path, tmp_path: Path, name: str) -> None:
    """Scores differ by less than 0.01 and boxes of confident objects by less than a pixel: 0.005 and 0.5 were seen."""
    import av

    path = shared / "data" / "models" / f"{name}.onnx"
    assert fuse(path, tmp_path / "free.onnx") <= 1.001
    assert fuse(path, tmp_path / "fixed.onnx", (768, 576)) <= 1.001
    plain, *others = (
        open_model(file, device="cpu") for file in (path, tmp_path / "free.onnx", tmp_path / "fixed.onnx")
    )
    with av.open(str(shared / "data" / "video" / "vtest.avi")) as video:
        frames = [frame.to_ndarray(format="bgr24") for frame in islice(video.decode(video=0), 0, 46, 15)]
    for frame in frames:
        wanted = plain(frame)
        for fused in others:
            got = fused(frame)
            for box, score in zip(wanted.boxes, wanted.scores, strict=True):
                if score > 0.3:
                    nearest = np.abs(got.boxes - box).max(axis=1).argmin()
                    assert np.abs(got.boxes[nearest] - box).max() < 1 and abs(got.scores[nearest] - score) < 0.01
