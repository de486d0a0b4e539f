"""TrackR-CNN: TensorFlow's names and axes, time step by step and in chunks, the graph equals torch and runs."""

import copy
import functools
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
onnx = pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from exporters.__main__ import main  # noqa: E402
from exporters.maskrcnn import agreement  # noqa: E402
from exporters.maskrcnn.delivery import write_model  # noqa: E402
from exporters.trackrcnn import command  # noqa: E402
from exporters.trackrcnn.checkpoint import layout_of, load_checkpoint, translate  # noqa: E402
from exporters.trackrcnn.graph import TrackDesign, TrackDetector, cell_anchors, map_side  # noqa: E402
from exporters.trackrcnn.network import Layout, TrackRcnn  # noqa: E402
from exporters.trackrcnn.temporal import Convolutions, Lstm  # noqa: E402
from tests.exporters.lively import run_example, shake_norm, spread_logits  # noqa: E402
from tracker.cli import main as run_command  # noqa: E402
from tracker.errors import ConfigError  # noqa: E402
from tracker.models import open_model  # noqa: E402
from tracker.onnx.session import Session  # noqa: E402

SMALL = {"blocks": (1, 1, 1, 1), "width": 4, "probes": 12, "masking": 8, "classes": 3, "vector": 16, "lstm": 6}
SIZES = {"size": (150, 100), "candidates": 200, "proposals": 50, "detections": 20, "step": 10}
KINDS = {
    "convolutions": {"temporal": "convolutions"}, "lstm": {"temporal": "lstm"},
    "two lstms": {"temporal": "lstm", "depth": 2}, "still, own boxes": {"temporal": "still", "agnostic": False},
}  # fmt: skip
STREET = "synth:street?seed=7&size=160x96&frames=4&objects=4"


@functools.cache
def _lively(kind):
    """Random weights and statistics, of logits that spread."""
    torch.manual_seed(0)
    network = TrackRcnn(Layout(**SMALL, **KINDS[kind])).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            shake_norm(module)
    heads = network.frcnn
    spread_logits(
        TrackDetector(network, TrackDesign(**SIZES)),
        [(heads.rpn.get_submodule("class"), 2.0), (heads.rpn.box, 0.3), (heads.fastrcnn.get_submodule("class"), 2.0),
         (heads.fastrcnn.box, 1.0), (heads.fastrcnn.reid, 1.0), (heads.maskrcnn.conv, 1.5)],
    )  # fmt: skip
    return network


def lively(kind="convolutions"):
    return copy.deepcopy(_lively(kind))


def write(folder, network, **changes):
    detector = TrackDetector(network, TrackDesign(**{**SIZES, **changes}))
    card = command.describe(detector, ("car", "pedestrian"), "a test", "d" * 64)
    return detector, write_model(detector, folder / "net.onnx", card)


# ------------------------------------------------------------------ time
def slow_layer(maps, depthwise, pointwise):
    """3x3x3 a channel over (T, C, h, w) with zeros around, 1x1x1, ReLU; loops over all taps."""
    count, channels, height, width = maps.shape
    padded = np.zeros((count + 2, channels, height + 2, width + 2))
    padded[1:-1, :, 1:-1, 1:-1] = maps
    out = np.zeros(maps.shape)
    for t in range(3):
        for y in range(3):
            for x in range(3):
                part = padded[t : t + count, :, y : y + height, x : x + width]
                out += part * depthwise[:, 0, t, y, x][None, :, None, None]
    return np.maximum(np.einsum("tchw,oc->tohw", out, pointwise[:, :, 0, 0, 0]), 0)


def in_chunks(network, maps, length=5):
    """The authors' form: chunks without overlap, the last filled up with its last frame; (T, C, h, w) both."""
    filled = torch.cat([maps, maps[-1:].expand(-len(maps) % length, -1, -1, -1)])
    chunks = []
    for part in filled.split(length):
        x = part.transpose(0, 1)[None]
        for layer in (network.conv3d_1, network.conv3d_2):
            x = layer(torch.nn.functional.pad(x, (0, 0, 0, 0, 1, 1)))
        chunks.append(x[0].transpose(0, 1))
    return torch.cat(chunks)[: len(maps)]


def test_chunks_and_steps_equal_the_slow_twin():
    torch.manual_seed(1)
    network = Convolutions(5)
    layers = [(l.depthwise.weight.detach().numpy(), l.pointwise.weight.detach().numpy())
              for l in (network.conv3d_1, network.conv3d_2)]  # fmt: skip

    def slow(maps):
        for layer in layers:
            maps = slow_layer(maps, *layer)
        return maps

    maps = torch.rand(7, 5, 4, 6)
    with torch.no_grad():
        chunked = in_chunks(network, maps).numpy()
        memory = [torch.zeros(shape) for shape in network.memory(5, 4, 6).values()]
        steps = []
        for c4 in maps:
            out, *memory = network(c4[None], *memory)
            steps.append(out[0].numpy())
    numbers = maps.numpy().astype(np.float64)
    np.testing.assert_allclose(chunked[:5], slow(numbers[:5]), atol=1e-6)
    filled = np.concatenate([numbers[5:], numbers[[6, 6, 6]]])
    np.testing.assert_allclose(chunked[5:], slow(filled)[:2], atol=1e-6)
    for t in range(7):  # a step is the last frame of a chunk of all frames so far
        np.testing.assert_allclose(steps[t], slow(numbers[: t + 1])[-1], atol=1e-6)
    np.testing.assert_allclose(steps[4], chunked[4], atol=1e-6)
    assert np.abs(steps[3] - chunked[3]).max() > 1e-3  # which looks ahead


def test_an_lstm_goes_on_from_frame_to_frame():
    torch.manual_seed(2)
    network = Lstm(5, 3)
    gates, bias = (
        p.detach().numpy().astype(np.float64) for p in (network.cells[0].gates.weight, network.cells[0].gates.bias)
    )
    conv0 = network.conv0.weight.detach().numpy().astype(np.float64)

    def convolve(x, weight):
        reach = weight.shape[-1] // 2
        padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
        out = np.zeros((len(weight), *x.shape[1:]))
        for dy in range(weight.shape[2]):
            for dx in range(weight.shape[3]):
                part = padded[:, dy : dy + x.shape[1], dx : dx + x.shape[2]]
                out += np.einsum("oc,chw->ohw", weight[:, :, dy, dx], part)
        return out

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    cell, hidden = np.zeros((3, 4, 6)), np.zeros((3, 4, 6))
    memory = [torch.zeros(shape) for shape in network.memory(5, 4, 6).values()]
    for c4 in torch.rand(3, 5, 4, 6):
        with torch.no_grad():
            out, *memory = network(c4[None], *memory)
        numbers = c4.numpy().astype(np.float64)
        i, j, f, o = np.split(convolve(np.concatenate([numbers, hidden]), gates) + bias[:, None, None], 4)
        cell = cell * sigmoid(f + 1) + sigmoid(i) * np.tanh(j)
        hidden = np.tanh(cell) * sigmoid(o)
        wanted = numbers + 0.05 * np.maximum(convolve(hidden, conv0), 0)
        np.testing.assert_allclose(out[0].numpy(), wanted, atol=1e-6)


# ------------------------------------------------------------------ maps and anchors
@pytest.mark.parametrize("size", [(150, 100), (161, 97), (127, 131), (128, 64)])
def test_maps_are_as_large_as_tensorpacks(size):
    network = lively("still, own boxes")
    with torch.no_grad():
        c4 = network.resnetconv4(torch.zeros(1, 3, size[1], size[0]))
    assert c4.shape == (1, 64, map_side(size[1]), map_side(size[0]))
    assert (map_side(375), map_side(1242)) == (23, 77)


def test_anchors_by_hand():
    anchors = cell_anchors().tolist()
    assert len(anchors) == 15
    assert anchors[5] == [8 - 16, 8 - 16, 8 + 16, 8 + 16]  # ratio 1, 32 px
    assert anchors[0] == [8 - 23, 8 - 12, 8 + 23, 8 + 12]  # ratio 1/2: 23 x 12 of 16 px, twice
    assert anchors[14] == [8 - 11 * 16, 8 - 22 * 16, 8 + 11 * 16, 8 + 22 * 16]


# ------------------------------------------------------------------ dumps
def dump(network):
    """The network's tensors as the authors' TensorFlow code names and lays them out, written down from its scopes."""
    out = {}

    def put(name, module, kind="plain"):
        weight = module.weight.detach().numpy()
        order = {"plain": (2, 3, 1, 0), "dense": (1, 0)}[kind]
        out[f"{name}/W"] = weight.transpose(order)
        if module.bias is not None:
            out[f"{name}/b"] = module.bias.detach().numpy()

    def unit(name, module):
        put(name, module.W)
        for theirs, ours in (
            ("gamma", "weight"),
            ("beta", "bias"),
            ("mean_ema", "running_mean"),
            ("var_ema", "running_var"),
        ):
            out[f"{name}/bn/{theirs}"] = getattr(module.bn, ours).detach().numpy()

    def group(name, blocks):
        for i, block in enumerate(blocks):
            for part in ("conv1", "conv2", "conv3", "convshortcut"):
                if getattr(block, part) is not None:
                    unit(f"{name}/block{i}/{part}", getattr(block, part))

    unit("resnetconv4/conv0", network.resnetconv4.conv0)
    for i in range(3):
        group(f"resnetconv4/group{i}", getattr(network.resnetconv4, f"group{i}"))
    group("frcnn/group3", network.frcnn.group3)
    for part, kind in (("conv0", "plain"), ("class", "plain"), ("box", "plain")):
        put(f"frcnn/rpn/{part}", network.frcnn.rpn.get_submodule(part), kind)
    for part in ("class", "box", "reid"):
        put(f"frcnn/fastrcnn/{part}", network.frcnn.fastrcnn.get_submodule(part), "dense")
    for part in ("deconv", "conv"):
        put(f"frcnn/maskrcnn/{part}", network.frcnn.maskrcnn.get_submodule(part))
    temporal = network.temporal
    if isinstance(temporal, Convolutions):
        for i in (1, 2):
            layer = getattr(temporal, f"conv3d_{i}")
            out[f"conv3d_{i}/W"] = layer.pointwise.weight.detach().numpy().transpose(2, 3, 4, 1, 0)
            for k, taps in enumerate(layer.depthwise.weight.detach().numpy()):
                out[f"conv3d_{i}/channel_{k}/W"] = taps[0][..., None, None]
    if isinstance(temporal, Lstm):
        for i, cell in enumerate(temporal.cells):
            out[f"lstm{i}/W_lstm"] = cell.gates.weight.detach().numpy().transpose(2, 3, 1, 0)
            out[f"lstm{i}/b_lstm"] = cell.gates.bias.detach().numpy()
        put("conv0", temporal.conv0)
        out["linear_combination/linear_combination_weights"] = temporal.weights.detach().numpy()
    return out


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_dump_fills_the_network(kind, tmp_path):
    source = lively(kind)
    arrays = dump(source)
    training = {
        "global_step": np.zeros((), np.int64),
        "resnetconv4/conv0/W/Adam_1": np.zeros(3),
        "beta1_power": np.ones(1),
    }
    np.savez(tmp_path / "a.npz", **{f"{name}:0": array for name, array in arrays.items()}, **training)
    unsaid = {} if "lstm" in kind else {"lstm": SMALL["lstm"]}
    assert replace(layout_of(arrays), **unsaid) == source.layout
    network, digest = load_checkpoint(tmp_path / "a.npz")
    assert len(digest) == 64
    for name, tensor in source.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(network.state_dict()[name], tensor, rtol=0, atol=0)


def test_axes_are_tensorflows():
    """W[y, x, in, out] of a convolution; W[y, x, out, in] of a transposed one; W[in, out] of a full layer."""
    rng = np.random.default_rng(0)
    plain, up, full = (rng.random(s) for s in ((3, 3, 4, 7), (2, 2, 8, 5), (4, 7)))
    state = translate({"frcnn/rpn/conv0/W": plain, "frcnn/maskrcnn/deconv/W": up, "frcnn/fastrcnn/class/W": full})
    assert state["frcnn.rpn.conv0.weight"][6, 3, 2, 1].item() == np.float32(plain[2, 1, 3, 6])
    assert state["frcnn.maskrcnn.deconv.weight"][4, 7, 1, 0].item() == np.float32(up[1, 0, 7, 4])
    assert state["frcnn.fastrcnn.class.weight"][6, 3].item() == np.float32(full[3, 6])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.pop("frcnn/rpn/class/b"), "missing 1: frcnn.rpn.class.bias"),
        (lambda d: d.update({"frcnn/rpn/more": np.zeros(1)}), "unknown 1: frcnn/rpn/more"),
        (lambda d: d.update({"frcnn/fastrcnn/box/b": np.zeros(9)}), r"another shape 1: .*box.bias \[9\]"),
        (lambda d: d.pop("frcnn/rpn/conv0/W"), "missing 1: frcnn/rpn/conv0/W"),
        (lambda d: d.pop("conv3d_2/channel_3/W"), "channel_0 ... 63 without gaps, got 63"),
    ],
)
def test_another_dump_is_refused_by_name(damage, message, tmp_path):
    arrays = dump(lively())
    damage(arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(tmp_path / "a.npz")


# ------------------------------------------------------------------ export
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("size", [(150, 100), (97, 161)])
def test_the_exported_graph_equals_torch(tmp_path, kind, size):
    detector, worst = write(tmp_path, lively(kind), size=size, features=4)
    assert max(worst.values()) < 1e-4 and set(worst) == {*detector.outputs, *agreement.INSIGHTS}
    found = Session(tmp_path / "net.onnx").run(next(agreement.examples(detector)))
    live = found["scores"] > 0
    assert 3 < live.sum() <= 20 and set(found["labels"][live].tolist()) == {1, 2}
    assert found["embeddings"].shape == (len(live), 16) and found["masks"].shape == (len(live), 14, 14)


@pytest.mark.parametrize("bias", [40.0, 8.0, -40.0])
def test_none_some_and_all_rows(tmp_path, bias):
    network = lively()
    with torch.no_grad():
        network.frcnn.fastrcnn.get_submodule("class").bias[0] += bias
    detector, _ = write(tmp_path, network)
    found, live = run_example(tmp_path / "net.onnx", detector)
    assert (live == 0) if bias > 9 else (live == 20) if bias < 0 else (0 < live < 20)
    assert len(found["embeddings"]) == len(found["scores"]) == max(10, -(-live // 10) * 10)


def test_vectors_are_those_of_the_proposals():
    detector = TrackDetector(lively(), TrackDesign(**SIZES))
    given = [torch.from_numpy(array) for array in next(agreement.examples(detector)).values()]
    with torch.no_grad():
        found = detector.find(*given)
        vectors = detector.embed(found)
        elsewhere = detector.embed(found._replace(boxes=found.boxes + 5))
        moved = detector.embed(found._replace(proposals=found.proposals + 20))
    torch.testing.assert_close(vectors, elsewhere)
    assert float((vectors - moved).abs().max()) > 0.01


# ------------------------------------------------------------------ the engine
@pytest.mark.parametrize("kind", ["convolutions", "two lstms"])
def test_the_engine_remembers_as_torch_does(tmp_path, kind):
    network = lively(kind)
    detector, _ = write(tmp_path, network)
    model = open_model(tmp_path / "net.onnx", device="cpu", min_score=0.0)
    images = np.random.default_rng(0).integers(0, 256, (3, 100, 150, 3), np.uint8)
    memory = [torch.zeros(shape) for shape in detector.memory.values()]
    first = None
    for image in images:
        tensors, placement = model.preprocess(image)
        outputs = model.infer(tensors)
        with torch.no_grad():
            given = [torch.from_numpy(tensors[name]) for name in ("image", "extent")]
            told = dict(zip(detector.outputs, detector(*given, *memory), strict=True))
        memory = [told[f"{name}_after"] for name in detector.memory]
        for name, tensor in zip(detector.memory, memory, strict=True):
            np.testing.assert_allclose(outputs[f"{name}_after"], tensor.numpy(), atol=1e-4)
        np.testing.assert_allclose(np.sort(outputs["scores"])[-3:], np.sort(told["scores"].numpy())[-3:], atol=1e-3)
        first = outputs if first is None else first
        assert model.decode(outputs, placement).embeddings.shape[1] == 16
    other = model.for_stream()
    np.testing.assert_allclose(other.infer(model.preprocess(images[0])[0])["scores"], first["scores"], atol=1e-5)


def test_the_command_writes_a_model_that_tracks(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", **dump(lively()))
    out = str(tmp_path / "net.onnx")
    words = ["trackrcnn", "--weights", str(tmp_path / "a.npz"), "--size", "160x96", "--proposals", "30"]
    assert main([*words, "-o", out]) == 0
    assert "largest difference" in capsys.readouterr().err
    card = open_model(out, device="cpu", warmup=False).card
    assert card.facts["memory"] == {"before": "before_after", "seen": "seen_after"}
    assert card.source.startswith("exported by `python -m exporters trackrcnn --weights a.npz")
    for preset in ("kitti", "defaults"):
        run = ["run", STREET, "--model", out, "--tracker", "trackrcnn", "--preset", preset, "--save", "mots", "--quiet"]
        assert run_command([*run, "-o", str(tmp_path / preset)]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "cannot be read as an .npz"),
        (["--proposals", "0"], "at least one proposal"),
        (["--size", "9"], "WIDTHxHEIGHT"),
    ],
)
def test_bad_commands_say_so_in_one_line(words, message, assert_refused):
    assert_refused(["trackrcnn", "--weights", __file__, *words], message)


def test_names_must_fit():
    with pytest.raises(ConfigError, match="the 2 class names"):
        command.describe(TrackDetector(lively(), TrackDesign(**SIZES)), ("car",), "", "")
