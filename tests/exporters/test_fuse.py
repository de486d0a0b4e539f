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
from exporters import sieve as sieves
from exporters.fuse import fuse
from exporters.parity import ParityError
from tests.exporters import networks
from tests.models import graphs
from tracker.errors import DetectionsError, FrameError, ModelError
from tracker.models import ImageInput, Model, open_model, read_card, write_card
from tracker.models.geometry import place
from tracker.models.yolo import Yolo
from tracker.types import Detections


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
    with pytest.raises(ModelError, match="got a panoptic-video model, which has more inputs"):
        fuse(open_model("street", device="cpu", warmup=False).session.path, tmp_path / "again.onnx")
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
    assert command.main([*words, "--frame", "huge"]) == 2
    assert "expected --frame as WIDTHxHEIGHT, got 'huge'" in capsys.readouterr().err


SIEVES = [(9, None), (10**6, None), (None, 0.08), (20, 0.08), (None, 0.9)]


def same(got: Detections, wanted: Detections) -> bool:
    masks = wanted.masks is None or np.array_equal(wanted.masks.to_dense(), got.masks.to_dense())
    return masks and all(np.array_equal(getattr(got, n), getattr(wanted, n)) for n in ("boxes", "scores", "labels"))


def emptied(head: np.ndarray, rows: bool, top: int | None, min_score: float | None) -> np.ndarray:
    """The head with scores of 0 where a place is not to be kept, one place after the other."""
    table = (head[0] if rows else head[0].T).copy()
    first = 5 if rows else 4
    scores = [max(place[first : first + 2]) * (place[4] if rows else np.float32(1)) for place in table]
    best = sorted(range(len(table)), key=lambda k: (-scores[k], k))[:top]
    for k, score in enumerate(scores):
        if k not in best or (min_score is not None and score <= np.float32(min_score)):
            table[k, first : first + 2] = 0
    return (table if rows else table.T)[None]


@pytest.mark.parametrize(("top", "min_score"), SIEVES)
@pytest.mark.parametrize(("rows", "masks"), [(False, 0), (False, 6), (True, 6)])
def test_a_sieve_changes_nothing_that_is_kept(
    tmp_path: Path, top: int | None, min_score: float | None, rows: bool, masks: int
) -> None:
    networks.yolo(tmp_path / "net.onnx", rows=rows, masks=masks)
    fuse(tmp_path / "net.onnx", tmp_path / "all.onnx")
    fuse(tmp_path / "net.onnx", tmp_path / "some.onnx", top=top, min_score=min_score)
    asked = {"device": "cpu", "min_score": 0.001, "nms_iou": 0.9, "max_detections": 1000}
    whole, sieved = (open_model(tmp_path / f"{name}.onnx", **asked) for name in ("all", "some"))
    assert isinstance(whole, Yolo) and sieved.card.facts["head_layout"] == ("rows" if rows else "columns")
    assert (sieved.card.facts.get("top"), sieved.card.facts.get("min_score")) == (top, min_score)
    for picture in (image(100, 60), image(64, 64), image(61, 200)):
        tensors, placement = sieved.preprocess(picture)
        outputs, everything = sieved.infer(tensors), whole.infer(tensors)
        places, left = everything["output0"].shape[1 if rows else 2], outputs["output0"].shape[1 if rows else 2]
        assert left == min(top, places) if min_score is None else left <= (top or places)
        got, most = sieved.decode(outputs, placement), whole.decode(everything, placement)
        everything["output0"] = emptied(everything["output0"], rows, top, min_score)
        assert same(got, whole.decode(everything, placement))
        if (top, min_score) == (10**6, None):
            assert same(got, most) and len(got) > 12
        else:
            assert len(got) < len(most) and (min_score == 0.9 or len(got) > 3)
        assert min_score != 0.9 or outputs["output0"].size == len(got) == 0, "no place is that sure"


def test_a_limit_stays_whatever_is_asked_later(tmp_path: Path) -> None:
    networks.yolo(tmp_path / "net.onnx")
    fuse(tmp_path / "net.onnx", tmp_path / "some.onnx", min_score=0.08)
    asked = open_model(tmp_path / "some.onnx", device="cpu", min_score=0.01)
    assert asked(image(64, 64)).scores.min() > 0.08


def test_a_sieve_of_batches_and_half_floats(tmp_path: Path) -> None:
    networks.yolo(tmp_path / "batch.onnx", batch="batch", kind=np.float16, masks=3, opset=18)
    fuse(tmp_path / "batch.onnx", tmp_path / "all.onnx")
    fuse(tmp_path / "batch.onnx", tmp_path / "some.onnx", top=12)
    whole, some = (open_model(tmp_path / f"{name}.onnx", device="cpu", min_score=0.01) for name in ("all", "some"))
    pictures = np.stack([image(50, 40), image(50, 40)[::-1]])
    both = some.infer({"frame": pictures})
    assert both["output0"].shape == (2, whole.head.shape[1], 12) and both["output0"].dtype == np.float16
    for k in range(2):
        placement = some.preprocess(pictures[k]).placement
        got = some.decode({name: array[k : k + 1] for name, array in both.items()}, placement)
        assert len(got) > 0 and same(got, whole(pictures[k]).select(np.arange(len(got))))
    with pytest.raises(ModelError, match="expected a graph of one picture for --min-score"):
        fuse(tmp_path / "batch.onnx", tmp_path / "x.onnx", min_score=0.5)


def test_a_broken_network_is_still_noticed_behind_a_sieve(tmp_path: Path) -> None:
    path = graphs.planted(
        tmp_path / "net.onnx", {"output0": graphs.v8_head(np.full((1, 4), 30.0), np.full((1, 2), 0.9))},
        metadata=graphs.ultralytics(networks.NAMES),
    )  # fmt: skip
    for name, sieve in (("top", {"top": 5}), ("least", {"min_score": 0.5})):
        fuse(path, tmp_path / f"{name}.onnx", **sieve)
        graph = onnx.load(str(tmp_path / f"{name}.onnx"))
        (node,) = [n for n in graph.graph.node if n.op_type == "Constant" and "output0_whole" in n.output]
        node.attribute[0].t.CopyFrom(
            onnx.numpy_helper.from_array(np.full_like(onnx.numpy_helper.to_array(node.attribute[0].t), np.nan))
        )
        onnx.save(graph, str(tmp_path / f"{name}.onnx"))
        with pytest.raises(DetectionsError, match="finite"):
            open_model(tmp_path / f"{name}.onnx", device="cpu")


def test_what_cannot_be_sieved_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks.yolo(tmp_path / "net.onnx")
    anchors = sum((128 // stride) ** 2 for stride in (8, 16, 32))
    graphs.planted(tmp_path / "yolox.onnx", {"o": np.zeros((1, anchors, 7), np.float32)})
    for words, told in (
        (["net.onnx", "--top", "0"], "expected --top of at least 1, got 0"),
        (["net.onnx", "--min-score", "1.5"], "expected --min-score of at least 0 and below 1, got 1.5"),
        (["yolox.onnx", "--family", "yolox", "--top", "5"], "got a yolox model"),
    ):
        typed = ["fuse", str(tmp_path / words[0]), *words[1:], "-o", str(tmp_path / "x.onnx")]
        assert command.main(typed) == 2 and not (tmp_path / "x.onnx").exists()
        error = capsys.readouterr().err
        assert told in error and len(error.splitlines()) == 1


def test_another_choice_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks.yolo(tmp_path / "net.onnx")
    monkeypatch.setattr(sieves.Sieve, "keep", lambda self, head: head[:, :, : self.count])
    with pytest.raises(ParityError, match="the graph keeps other places"):
        fuse(tmp_path / "net.onnx", tmp_path / "x.onnx", top=5)
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov8n-seg_320", "yolo11n-seg_640"])
def test_real_models_find_the_same_people(shared: Path, tmp_path: Path, name: str) -> None:
    """Scores differ by less than 0.01 and boxes of confident objects by less than a pixel: 0.005 and 0.5 were seen."""
    import av

    path = shared / "data" / "models" / f"{name}.onnx"
    assert fuse(path, tmp_path / "free.onnx") <= 1.001
    assert fuse(path, tmp_path / "fixed.onnx", (768, 576)) <= 1.001
    assert fuse(path, tmp_path / "top.onnx", (768, 576), top=300) <= 1.001
    plain, *others = (
        open_model(file, device="cpu")
        for file in (path, *(tmp_path / f"{name}.onnx" for name in ("free", "fixed", "top")))
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
