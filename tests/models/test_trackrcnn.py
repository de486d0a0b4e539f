"""What a graph remembers goes into its next frame, stream by stream; masks are put where the authors put them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.models import graphs
from tests.models.test_maskrcnn import CARD, SIZE, outputs, planted
from tracker.cli import main
from tracker.errors import ModelError
from tracker.models import ModelCard, open_model, write_card
from tracker.models.trackrcnn import paste_exactly

VECTORS = np.array([[0, 3], [1, 2], [2, 1], [3, 0]], np.float32)
TRACKING = replace(
    CARD, family="trackrcnn", image=replace(CARD.image, resize="stretch"),
    outputs={**CARD.outputs, "embeddings": "embeddings"}, facts={**CARD.facts, "memory": {"count": "count_after"}},
)  # fmt: skip


def counting(folder: Path, card: ModelCard = TRACKING, step: float = 1.0, **values: np.ndarray) -> Path:
    """A graph of planted outputs that counts its frames, one cell for each, and adds the count to all vectors."""
    path, constants = (
        folder / "net.onnx",
        outputs() | {"vectors": VECTORS, "step": np.array([step], np.float32)} | values,
    )
    nodes = [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(v, n)) for n, v in constants.items()]
    nodes.append(helper.make_node("Add", ["count", "step"], ["count_after"]))
    nodes.append(helper.make_node("Add", ["vectors", "count"], ["embeddings"]))
    starts = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", (1, 3, SIZE[1], SIZE[0])), ("extent", (2,)), ("count", (1,)))
    ]
    given = {name: constants[name] for name in outputs()} | {
        "embeddings": VECTORS,
        "count_after": np.zeros(1, np.float32),
    }
    ends = [helper.make_tensor_value_info(n, graphs.TYPES[v.dtype], v.shape) for n, v in given.items()]
    graphs.save(path, nodes, starts, ends)
    write_card(path, card)
    return path


def image() -> np.ndarray:
    return np.zeros((SIZE[1], SIZE[0], 3), np.uint8)


def test_each_stream_remembers_its_own_frames(tmp_path: Path) -> None:
    model = open_model(counting(tmp_path), device="cpu")  # its warm-up is forgotten
    assert model.gives == {"masks", "embeddings"}
    other = model.for_stream()
    counts = [model(image()).embeddings[0, 0] for _ in range(3)]
    assert counts == [0, 1, 2]
    assert other(image()).embeddings[0, 0] == 0 and model(image()).embeddings[0, 0] == 3
    assert model.for_stream()(image()).embeddings[0, 0] == 0
    model.reset()
    assert model(image()).embeddings[0, 0] == 0


def test_a_frame_that_spoils_the_memory_is_forgotten(tmp_path: Path) -> None:
    model = open_model(counting(tmp_path, step=np.inf), device="cpu", warmup=False)
    for _ in range(3):
        assert model(image()).embeddings[0, 0] == 0


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        ({"state": "count_after"}, "an input 'state' and an output 'count_after'"),
        ({"count": "after"}, "an output 'after' of one shape"),
        ({"count": "boxes"}, "an output 'boxes' of one shape"),
    ],
)
def test_a_memory_that_is_not_there_is_named(tmp_path: Path, memory: dict[str, str], said: str) -> None:
    card = replace(TRACKING, facts={**CARD.facts, "memory": memory})
    with pytest.raises(ModelError, match=said):
        open_model(counting(tmp_path, card), device="cpu")


# ------------------------------------------------------------------ masks
def test_masks_are_pasted_as_the_authors_paste_them() -> None:
    """Their `fill_full_mask`: rounded corners, the last pixel included, OpenCV's bilinear resize, above one half."""
    rng = np.random.default_rng(0)
    near = rng.uniform(0, (90, 60), (30, 2))
    boxes = np.concatenate([near, np.minimum(near + rng.exponential(25, (30, 2)), (100, 70))], 1).astype(np.float32)
    boxes[0] = [3, 4, 3.2, 4.1]  # hardly a pixel
    boxes[1] = [0, 0, 100, 70]
    maps = rng.random((30, 14, 14)).astype(np.float32)
    found = paste_exactly(maps, boxes, 70, 100).to_dense()
    for small, box, mask in zip(maps, boxes, found, strict=True):
        x0, y0 = (int(v) for v in box[:2] + 0.5)
        x1, y1 = max(x0, int(box[2] - 0.5)), max(y0, int(box[3] - 0.5))
        values = np.zeros((72, 102), np.float32)
        values[y0 : y1 + 1, x0 : x1 + 1] = cv2.resize(small, (x1 + 1 - x0, y1 + 1 - y0))
        sure = np.abs(values - 0.5)[:70, :100] > 1e-4
        np.testing.assert_array_equal(mask[sure], (values[:70, :100] > 0.5)[sure])
    none = paste_exactly(maps[:0], boxes[:0], 70, 100)
    assert (len(none), none.height, none.width) == (0, 70, 100)


def test_the_family_uses_that_pasting(tmp_path: Path) -> None:
    ones = np.ones((4, 14, 14), np.float32)
    found = open_model(counting(tmp_path, masks=ones), device="cpu", warmup=False)(image())
    assert found.masks.areas.tolist() == [30 * 32, 60 * 40]


# ------------------------------------------------------------------ through the command line
def network(folder: Path, system: str) -> Path:
    """A network for a system: VPSNet's has a semantic head, all have vectors."""
    if system == "trackrcnn":
        return counting(folder, scores=np.array([0.99, 0.9, 0.7, 0], np.float32))  # above the row's own limits
    logits = np.zeros((1, 4, 16, 24), np.float32)
    logits[0, 0] = 1
    card = replace(
        CARD, task="panoptic", class_names=("road", "sky", "person", "car"), thing_ids=(2, 3),
        outputs={**CARD.outputs, "embeddings": "embeddings", "semantic": "semantic"},
    )  # fmt: skip
    if system == "motsnet":
        card = replace(CARD, outputs={**CARD.outputs, "embeddings": "embeddings"})
    vectors = np.eye(4, 1024, dtype=np.float32)
    return planted(folder, outputs() | {"embeddings": vectors, "semantic": logits}, card)


@pytest.mark.parametrize(
    ("system", "extra"),
    [
        ("motsnet", ["--preset", "bdd"]), ("motsnet", ["--preset", "siou-time"]), ("motsnet", []),
        ("trackrcnn", ["--preset", "defaults"]), ("vpsnet", []),
    ],
)  # fmt: skip
def test_the_commands_track_with_them(tmp_path: Path, system: str, extra: list[str]) -> None:
    """Two objects that stand still keep one id each."""
    model = str(network(tmp_path, system))
    street = f"synth:street?seed=7&size={SIZE[0]}x{SIZE[1]}&frames=5"
    words = ["run", street, "--model", model, "--tracker", system, "--save", "mot", "--quiet", "-o", str(tmp_path)]
    assert main([*words, *extra]) == 0
    rows = [line.split(",") for line in (tmp_path / "tracks.txt").read_text().splitlines()]
    frames: dict[str, set[str]] = {}
    for row in rows:
        frames.setdefault(row[0], set()).add(row[1])
    assert len(frames) == 5 and set(map(frozenset, frames.values())) == {frozenset({"1", "2"})}


def test_a_preset_that_a_system_has_not(tmp_path: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    words = ["run", "synth:street?frames=2", "--model", str(network(tmp_path, "motsnet")), "-o", str(tmp_path / "o")]
    for system, preset, said in (("sort", "kitti", "has no presets"), ("motsnet", "coco", "there are kitti")):
        assert main([*words, "--tracker", system, "--preset", preset]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
