"""Networks of optical flow: how frames get there and vectors come back, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.models import graphs
from tracker.cli import main
from tracker.errors import ModelError, ModelNotFoundError
from tracker.flow import NetworkFlow
from tracker.models.card import ImageInput, ModelCard, write_card
from tracker.models.geometry import place
from tracker.models.raft import open_raft
from tracker.onnx.file import sha256_of
from tracker.types import Frame

SIZE = (96, 64)
CARD = ModelCard(
    "raft", "flow", image=ImageInput(name="image1", size=SIZE, scale=1.0, resize="letterbox"),
    outputs={"flow": "flow"}, stride=8, facts={"second_image": "image2", "border": "replicate"},
)  # fmt: skip
AHEAD = 12  # px


def images(size: Any = SIZE, other: Any = None, names: tuple[str, str] = ("image1", "image2")) -> list[Any]:
    shapes = [[1, 3, wide_high[1], wide_high[0]] for wide_high in (size, other or size)]
    return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, shapes, strict=True)]


def colour_net(path: Path, card: ModelCard | None = CARD, *, starts: list[Any] | None = None) -> Path:
    """dx is the first image's red, `AHEAD` px to the left; dy is the second image's blue, `AHEAD` px further down."""
    starts = images() if starts is None else starts

    def number(name: str, *values: int) -> Any:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(values), name))

    first, second = starts[0].name, starts[1].name
    nodes = [
        number("zero", 0), number("one", 1), number("two", 2), number("three", 3), number("end", 10_000),
        number("ahead", AHEAD), number("behind", -AHEAD), number("left", 0, 0, 0, AHEAD, 0, 0, 0, 0),
        number("low", 0, 0, 0, 0, 0, 0, AHEAD, 0), number("channels", 1), number("rows", 2), number("columns", 3),
        helper.make_node("Slice", [first, "zero", "one", "channels"], ["red"]),
        helper.make_node("Slice", [second, "two", "three", "channels"], ["blue"]),
        helper.make_node("Slice", ["red", "zero", "behind", "columns"], ["red_kept"]),
        helper.make_node("Slice", ["blue", "ahead", "end", "rows"], ["blue_kept"]),
        helper.make_node("Pad", ["red_kept", "left"], ["dx"]),
        helper.make_node("Pad", ["blue_kept", "low"], ["dy"]),
        helper.make_node("Concat", ["dx", "dy"], ["flow"], axis=1),
    ]  # fmt: skip
    made = [helper.make_tensor_value_info("flow", TensorProto.FLOAT, [1, 2, SIZE[1], SIZE[0]])]
    graphs.save(path, nodes, starts, made)
    if card is not None:
        write_card(path, card)
    return path


def still_net(path: Path, card: ModelCard | None = CARD, *, starts: list[Any] | None = None) -> Path:
    """Nothing ever moves."""
    zero = numpy_helper.from_array(np.zeros((1, 2, SIZE[1], SIZE[0]), np.float32), "flow")
    made = [helper.make_tensor_value_info("flow", TensorProto.FLOAT, zero.dims)]
    graphs.save(path, [helper.make_node("Constant", [], ["flow"], value=zero)], starts or images(), made)
    if card is not None:
        write_card(path, card)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the real user's cache or registry."""
    for name in ("TRACKSTREAM_REGISTRY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TRACKSTREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# ---------------------------------------------------------------------- frames in, vectors out


def test_a_frame_of_the_inputs_size_goes_in_as_it_is(tmp_path: Path) -> None:
    network = open_raft(colour_net(tmp_path / "net.onnx"), "cpu")
    a, b = noise(0, 64, 96), noise(1, 64, 96)
    found = network.vectors(network.prepare(a), network.prepare(b))
    assert found.shape == (64, 96, 2) and found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_array_equal(found[:, AHEAD:, 0], a[:, :-AHEAD, 2])  # frames are BGR, the network's images RGB
    np.testing.assert_array_equal(found[:-AHEAD, :, 1], b[AHEAD:, :, 0])


@pytest.mark.parametrize(("resize", "side"), [("letterbox", "both"), ("letterbox-corner", "right")])
def test_beside_a_narrow_frame_its_edges_are_repeated(tmp_path: Path, resize: str, side: str) -> None:
    card = replace(CARD, image=replace(CARD.image, resize=resize))
    network = open_raft(colour_net(tmp_path / "net.onnx", card), "cpu")
    a, b = noise(0, 64, 40), noise(1, 64, 40)
    found = network.vectors(network.prepare(a), network.prepare(b))
    assert found.shape == (64, 40, 2)
    np.testing.assert_array_equal(found[:, AHEAD:, 0], a[:, :-AHEAD, 2])
    fill = np.repeat(a[:, :1, 2], AHEAD, 1) if side == "both" else np.zeros((64, AHEAD))  # nothing lies left of it
    np.testing.assert_array_equal(found[:, :AHEAD, 0], fill)


def test_a_low_frame_stands_in_the_middle(tmp_path: Path) -> None:
    network = open_raft(colour_net(tmp_path / "net.onnx"), "cpu")
    a, b = noise(0, 23, 96), noise(1, 23, 96)  # 41 rows are left: 20 above, 21 below
    found = network.vectors(network.prepare(a), network.prepare(b))
    np.testing.assert_array_equal(found[:-AHEAD, :, 1], b[AHEAD:, :, 0])
    np.testing.assert_array_equal(found[-AHEAD:, :, 1], np.repeat(b[-1:, :, 0], AHEAD, 0))


@pytest.mark.parametrize("shape", [(64, 96), (128, 192), (130, 190), (33, 300), (300, 33), (1, 1), (2, 900)])
def test_any_frame_has_a_vector_for_every_pixel(tmp_path: Path, shape: tuple[int, int]) -> None:
    method = NetworkFlow(open_raft(colour_net(tmp_path / "net.onnx"), "cpu"))
    grey = np.full((*shape, 3), 10, np.uint8)
    flow = method.flow(grey, grey)
    assert flow.forward.shape == flow.backward.shape == (*shape, 2)
    width, height = place(shape[::-1], SIZE, "letterbox").inside
    wanted = (10 * shape[1] / width, 10 * shape[0] / height)
    np.testing.assert_allclose(flow.forward.max((0, 1)), wanted, rtol=1e-5)


def test_vectors_come_back_in_source_pixels(tmp_path: Path) -> None:
    method = NetworkFlow(open_raft(colour_net(tmp_path / "net.onnx"), "cpu"))
    a, b = np.full((128, 192, 3), 7, np.uint8), np.full((128, 192, 3), 5, np.uint8)
    flow = method.flow(a, b)
    np.testing.assert_allclose(flow.forward[40:80, 40:150], np.broadcast_to([14, 10], (40, 110, 2)))
    np.testing.assert_allclose(flow.backward[40:80, 40:150], np.broadcast_to([10, 14], (40, 110, 2)))


def test_a_reused_frame_buffer_does_no_harm(tmp_path: Path) -> None:
    method = NetworkFlow(open_raft(colour_net(tmp_path / "net.onnx"), "cpu"))
    buffer = np.full((64, 96, 3), 3, np.uint8)
    assert method.update(Frame(0, 0.0, buffer)).occluded.all()
    buffer[:] = 9
    flow = method.update(Frame(1, 0.1, buffer))
    np.testing.assert_array_equal(flow.forward[20, 40], [3, 9])


# ---------------------------------------------------------------------- what a file may be


def test_a_file_without_a_card_is_taken_as_the_authors_network_stands(tmp_path: Path) -> None:
    """As OpenCV Zoo's: other names, no card; frames are stretched."""
    bare = colour_net(tmp_path / "net.onnx", None, starts=images(names=("0", "1")))
    network = open_raft(bare, "cpu")
    assert network.prepare(noise(0, 30, 200)).shape == (64, 96, 3)
    a = np.full((30, 200, 3), 12, np.uint8)
    flow = NetworkFlow(network).flow(a, a)
    np.testing.assert_allclose(flow.forward[10, 100], [12 * 200 / 96, 12 * 30 / 64], rtol=1e-6)


def test_a_registered_name_opens_the_fetched_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = colour_net(tmp_path / "net.onnx", None)
    registry = tmp_path / "models.toml"
    registry.write_text(
        '[mine]\ntask = "flow"\nfamily = "raft"\nlicence = "MIT"\nsource = "me"\n'
        f'sha256 = "{sha256_of(bare)}"\naddress = "{bare.as_uri()}"\n'
    )
    monkeypatch.setenv("TRACKSTREAM_REGISTRY", str(registry))
    with pytest.raises(ModelNotFoundError, match="fetch it with: tracker models pull mine"):
        open_raft("mine", "cpu")
    assert main(["models", "pull", "mine", "--quiet"]) == 0
    network = open_raft("mine", "cpu")
    assert (network.card.licence, network.card.source, network.card.image.scale) == ("MIT", "me", 1.0)


def test_the_flow_model_of_the_wheels_registry_is_one() -> None:
    with pytest.raises(ModelNotFoundError, match="tracker models pull raft-sintel-360x480"):
        open_raft("raft-sintel-360x480")


def two_outputs(path: Path, card: ModelCard | None) -> Path:
    zeros = np.zeros((1, 2, SIZE[1], SIZE[0]), np.float32)
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(zeros, name)) for name in ("a", "b")
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, zeros.shape) for name in ("a", "b")]
    graphs.save(path, nodes, images(), ends)
    if card is not None:
        write_card(path, card)
    return path


YOLO = graphs.ultralytics(["person"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p, "no flow network .*net.onnx: expected an ONNX file"),
        (lambda p: p.write_text("no model") and p, "cannot be opened: not an ONNX model"),
        (lambda p: graphs.planted(p, {"y": np.zeros((1, 5, 4), np.float32)}, metadata=YOLO), "family 'yolo'"),
        (lambda p: graphs.planted(p, {"y": np.zeros((1, 5, 4), np.float32)}), r"two float32 images .* got images"),
        (lambda p: still_net(p, None, starts=images(other=(80, 64))), "of one fixed size, got image1"),
        (lambda p: still_net(p, None, starts=images(("w", "h"))), r"fixed size, got image1 \[1, 3, \?"),
        (lambda p: colour_net(p, replace(CARD, image=replace(CARD.image, size=(128, 64)))), "its card's 128x64 pixels"),
        (lambda p: colour_net(p, replace(CARD, facts={"second_image": "image3"})), "two float32 images"),
        (lambda p: colour_net(p, replace(CARD, outputs={"flow": "up"})), r"an output 'up' \[1, 2, 64, 96\], got flow"),
        (lambda p: two_outputs(p, None), r"one output \[1, 2, 64, 96\], got a \[1, 2, 64, 96\], b"),
    ],
)  # fmt: skip
def test_what_is_no_flow_network_is_refused_in_one_line(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        open_raft(make(tmp_path / "net.onnx"), "cpu")
    assert "\n" not in str(refused.value)


def test_a_card_chooses_among_outputs(tmp_path: Path) -> None:
    open_raft(two_outputs(tmp_path / "net.onnx", replace(CARD, outputs={"flow": "b"})), "cpu")


# ---------------------------------------------------------------------- on the command line
RUN = ["run", "synth:street?frames=3&size=320x180", "--model", "street", "--device", "cpu", "--quiet", "--save", "mot"]


def test_step_b3_along_a_network(tmp_path: Path) -> None:
    flow = ["--tracker", "step-b3", "--flow", str(still_net(tmp_path / "net.onnx"))]
    assert main([*RUN, *flow, "-o", str(tmp_path / "out")]) == 0
    assert len((tmp_path / "out" / "tracks.txt").read_text().splitlines()) >= 3


@pytest.mark.parametrize(
    ("tracker", "flow", "message"),
    [
        ("step-b3", "farneback", "no flow network farneback: expected an ONNX file, or a flow model's name"),
        ("step-b3", "gone.onnx", "no flow network gone.onnx"),
        ("step-b3", "rfdetr-seg-nano", "expected a model for optical flow (family 'raft'), got rfdetr-seg-nano"),
        ("bytetrack", "gone.onnx", "carries no masks along optical flow, which --flow gone.onnx is for"),
    ],
)
def test_a_wrong_flow_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tracker: str, flow: str, message: str
) -> None:
    assert main([*RUN, "--tracker", tracker, "--flow", flow, "-o", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()
