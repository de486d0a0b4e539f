import re

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
onnx = pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from torch.nn import functional as F  # noqa: E402

from exporters.__main__ import main  # noqa: E402
from exporters.parity import ParityError  # noqa: E402
from exporters.raft import command  # noqa: E402
from exporters.raft.checkpoint import load_state  # noqa: E402
from exporters.raft.correlation import correlate, level_sizes, look_up  # noqa: E402
from exporters.raft.network import VARIANTS, enlarge_convex  # noqa: E402
from exporters.tracing import OPSET  # noqa: E402
from tracker.cli import main as track  # noqa: E402
from tracker.errors import ConfigError  # noqa: E402
from tracker.flow import NetworkFlow  # noqa: E402
from tracker.models.card import read_card  # noqa: E402
from tracker.models.raft import open_raft  # noqa: E402
from tracker.onnx.file import sha256_of  # noqa: E402
from tracker.onnx.session import Session  # noqa: E402

SIZE = (128, 136)


# ------------------------------------------------------------------ names and shapes, as the makers' code has them
def _conv(name, given, made, *size):
    size = size or (3, 3)
    return {f"{name}.weight": (made, given, *(size * 2 if len(size) == 1 else size)), f"{name}.bias": (made,)}


def _batch_norm(name, channels):
    floats = {f"{name}.{key}": (channels,) for key in ("weight", "bias", "running_mean", "running_var")}
    return floats | {f"{name}.num_batches_tracked": ()}


def _encoder_shapes(prefix, widths, out, *, bottleneck, normed, torchvision):
    """One encoder's tensors; `normed`: its norms have any."""
    shapes = {}

    def unit(name, i, given, made, size):
        """Convolution i of a stem or block, and its norm."""
        conv, norm = (f"convnormrelu{i}.0", f"convnormrelu{i}.1") if torchvision else (f"conv{i or 1}", f"norm{i or 1}")
        shapes.update(_conv(f"{name}.{conv}", given, made, size))
        if normed:
            shapes.update(_batch_norm(f"{name}.{norm}", made))

    unit(prefix, "", 3, widths[0], 7)
    for layer in (1, 2, 3):
        given, made = widths[layer - 1], widths[layer]
        for block, channels in ((0, given), (1, made)):
            name = f"{prefix}.layer{layer}.{block}"
            if bottleneck:
                unit(name, "1", channels, made // 4, 1)
                unit(name, "2", made // 4, made // 4, 3)
                unit(name, "3", made // 4, made, 1)
            else:
                unit(name, "1", channels, made, 3)
                unit(name, "2", made, made, 3)
            if block == 0 and layer > 1:
                shapes.update(_conv(f"{name}.downsample.0", channels, made, 1))
                if normed:
                    shapes.update(_batch_norm(f"{name}.downsample.1", made))
                    if not torchvision:
                        shapes.update(_batch_norm(f"{name}.norm3", made))
    return shapes | _conv(f"{prefix}.{'conv' if torchvision else 'conv2'}", widths[3], out, 1)


def checkpoint_shapes(variant, *, torchvision):
    """Name -> shape of every tensor in a published checkpoint."""
    large = variant == "large"
    widths = (64, 64, 96, 128) if large else (32, 32, 64, 96)
    style = {"bottleneck": not large, "torchvision": torchvision}
    features, context = ("feature_encoder", "context_encoder") if torchvision else ("fnet", "cnet")
    shapes = _encoder_shapes(features, widths, 256 if large else 128, normed=False, **style)
    shapes |= _encoder_shapes(context, widths, 256 if large else 160, normed=large, **style)
    motion, unit = ("motion_encoder", "recurrent_block") if torchvision else ("encoder", "gru")
    corr, flow, end = ("convcorr{}.0", "convflow{}.0", "conv.0") if torchvision else ("convc{}", "convf{}", "conv")
    at = f"update_block.{motion}."
    if large:
        shapes |= _conv(at + corr.format(1), 324, 256, 1) | _conv(at + corr.format(2), 256, 192)
        shapes |= _conv(at + flow.format(1), 2, 128, 7) | _conv(at + flow.format(2), 128, 64)
        shapes |= _conv(at + end, 256, 126)
    else:
        shapes |= _conv(at + corr.format(1), 196, 96, 1)
        shapes |= _conv(at + flow.format(1), 2, 64, 7) | _conv(at + flow.format(2), 64, 32)
        shapes |= _conv(at + end, 128, 80)
    passes = ((1, (1, 5)), (2, (5, 1))) if large else ((1, (3, 3)),)
    for number, size in passes:
        for gate in "zrq":
            inner = f"convgru{number}.conv{gate}" if torchvision else f"conv{gate}{number if large else ''}"
            shapes |= _conv(f"update_block.{unit}.{inner}", 384 if large else 242, 128 if large else 96, *size)
    hidden, head = (128, 256) if large else (96, 128)
    shapes |= _conv("update_block.flow_head.conv1", hidden, head) | _conv("update_block.flow_head.conv2", head, 2)
    if large:
        mask = ("mask_predictor.convrelu.0", "mask_predictor.conv") if torchvision else (
            "update_block.mask.0", "update_block.mask.2")  # fmt: skip
        shapes |= _conv(mask[0], 128, 256) | _conv(mask[1], 256, 576, 1)
    return shapes


def random_checkpoint(variant, *, torchvision=False, seed=0):
    """A state dict with these names, of numbers that keep the flow within some pixels."""
    r = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in checkpoint_shapes(variant, torchvision=torchvision).items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(3)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=r) + 0.5
        else:
            fan = int(np.prod(shape[1:])) if len(shape) > 1 else 30
            state[name] = torch.randn(shape, generator=r) * fan**-0.5
    for name in list(state):
        if ".norm3." in name:  # one module under two names
            state[name] = state[re.sub(r"norm3", "downsample.1", name)].clone()
    return state


LAYOUTS = [(variant, torchvision) for variant in VARIANTS for torchvision in (False, True)]


@pytest.mark.parametrize(("variant", "torchvision"), LAYOUTS)
def test_every_tensor_of_a_checkpoint_has_its_place(variant, torchvision):
    state = random_checkpoint(variant, torchvision=torchvision)
    learned = [t for name, t in state.items() if not re.search(r"running_|num_batches|norm3", name)]
    assert sum(t.numel() for t in learned) == {"small": 990_162, "large": 5_257_536}[variant]  # as torchvision says
    dress = state if torchvision else {f"module.{name}": t for name, t in state.items()}
    network, found = load_state(dress)
    assert found == variant
    own = sorted(float(t.double().sum()) for t in network.state_dict().values())
    assert own == sorted(float(t.double().sum()) for name, t in state.items() if "norm3" not in name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_layouts_are_one_network(variant):
    """torchvision's and the authors' tensors in the same order of the same places give the same flow."""
    authors = random_checkpoint(variant)
    ours = [t for name, t in authors.items() if ".norm3." not in name]
    names = checkpoint_shapes(variant, torchvision=True)
    same = dict(zip(names, ours, strict=True))
    for (name, shape), tensor in zip(names.items(), ours, strict=True):
        assert tuple(tensor.shape) == shape, name
    a, b = load_state(authors)[0].state_dict(), load_state(same)[0].state_dict()
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.pop("cnet.conv1.bias"), "names of authors; missing 1: cnet.conv1.bias$"),
        (lambda s: s.update({"head.weight": torch.zeros(1)}), "unknown 1: head.weight$"),
        (lambda s: s.update({"fnet.conv1.bias": torch.zeros(5)}), r"shape 1: fnet.conv1.bias \[5\] instead of \[64\]"),
        (lambda s: s["cnet.layer2.0.norm3.bias"].add_(1), "not as its twin 1: cnet.layer2.0.norm3.bias$"),
        (lambda s: s.update({"fnet.conv1.bias": "3"}), "a dict of tensors"),
        (lambda s: s.clear(), "a dict of tensors"),
    ],
)
def test_another_models_checkpoint_is_refused_by_name(damage, message):
    state = random_checkpoint("large")
    damage(state)
    with pytest.raises(ConfigError, match=message):
        load_state(state)


# ------------------------------------------------------------------ the twin: the paper, step by step, from the tensors
def twin_flow(state, image1, image2, iterations):
    """RAFT with functions only, from a checkpoint with the authors' names."""
    large = "update_block.mask.0.weight" in state
    radius, hidden = (4, 128) if large else (3, 96)

    def conv(name, x, stride=1):
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], stride, [side // 2 for side in weight.shape[2:]])

    def normed(kind, name, x):
        if kind == "instance":
            return F.instance_norm(x)
        if kind == "batch":
            keys = ("running_mean", "running_var", "weight", "bias")
            return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))
        return x

    def encode(prefix, x, kind):
        x = F.relu(normed(kind, f"{prefix}.norm1", conv(f"{prefix}.conv1", x, 2)))
        for layer in (1, 2, 3):
            for block in (0, 1):
                name, stride = f"{prefix}.layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
                strides = (stride, 1) if large else (1, stride, 1)
                y = x
                for i, step in enumerate(strides, 1):
                    y = F.relu(normed(kind, f"{name}.norm{i}", conv(f"{name}.conv{i}", y, step)))
                if stride == 2:
                    x = normed(kind, f"{name}.downsample.1", conv(f"{name}.downsample.0", x, 2))
                x = F.relu(x + y)
        return conv(f"{prefix}.conv2", x)

    image1, image2 = 2 * (image1 / 255) - 1, 2 * (image2 / 255) - 1
    first, second = encode("fnet", image1, "instance"), encode("fnet", image2, "instance")
    _, channels, h, w = first.shape
    levels = [(torch.einsum("cn,cm->nm", first[0].flatten(1), second[0].flatten(1)) / channels**0.5).view(-1, 1, h, w)]
    for _ in range(3):
        levels.append(F.avg_pool2d(levels[-1], 2))
    state_of, context = encode("cnet", image1, "batch" if large else "none").tensor_split([hidden], 1)
    state_of, context = state_of.tanh(), context.relu()
    ys, xs = torch.meshgrid(torch.arange(h).float(), torch.arange(w).float(), indexing="ij")
    grid = torch.stack([xs, ys])[None]
    flow = torch.zeros_like(grid)
    for _ in range(iterations):
        found = twin_look_up(levels, (grid + flow).flatten(2)[0], radius).T.reshape(1, -1, h, w)
        at = "update_block.encoder"
        cor = F.relu(conv(f"{at}.convc1", found))
        cor = F.relu(conv(f"{at}.convc2", cor)) if large else cor
        flo = F.relu(conv(f"{at}.convf2", F.relu(conv(f"{at}.convf1", flow))))
        motion = torch.cat([F.relu(conv(f"{at}.conv", torch.cat([cor, flo], 1))), flow], 1)
        given = torch.cat([context, motion], 1)
        for suffix in ("1", "2") if large else ("",):
            both = torch.cat([state_of, given], 1)
            z = conv(f"update_block.gru.convz{suffix}", both).sigmoid()
            r = conv(f"update_block.gru.convr{suffix}", both).sigmoid()
            q = conv(f"update_block.gru.convq{suffix}", torch.cat([r * state_of, given], 1)).tanh()
            state_of = (1 - z) * state_of + z * q
        flow = flow + conv("update_block.flow_head.conv2", F.relu(conv("update_block.flow_head.conv1", state_of)))
    if not large:
        return 8 * F.interpolate(flow, size=(8 * h, 8 * w), mode="bilinear", align_corners=True)
    mask = 0.25 * conv("update_block.mask.2", F.relu(conv("update_block.mask.0", state_of)))
    return twin_enlarge(flow, mask)


def twin_look_up(levels, places, radius):
    """(N, levels * window) by bilinear sampling with zeros outside, x before y."""
    d = torch.arange(-radius, radius + 1).float()
    dx, dy = torch.meshgrid(d, d, indexing="ij")
    out = []
    for k, level in enumerate(levels):
        h, w = level.shape[-2:]
        x, y = places[0, :, None, None] / 2**k + dx, places[1, :, None, None] / 2**k + dy
        samples = torch.stack([2 * x / (w - 1) - 1, 2 * y / (h - 1) - 1], -1)
        out.append(F.grid_sample(level, samples, align_corners=True).flatten(1))
    return torch.cat(out, 1)


def twin_enlarge(flow, mask):
    _, _, h, w = flow.shape
    shares = mask.view(1, 1, 9, 8, 8, h, w).softmax(2)
    around = F.unfold(8 * flow, [3, 3], padding=1).view(1, 2, 9, 1, 1, h, w)
    return (shares * around).sum(2).permute(0, 1, 4, 2, 5, 3).reshape(1, 2, 8 * h, 8 * w)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_the_network_is_the_papers(variant):
    state = random_checkpoint(variant, seed=1)
    before, after = (torch.from_numpy(image) for image in next(command.examples(SIZE)))
    got = load_state(state, 3)[0](before, after)
    wanted = twin_flow(state, before, after, 3)
    assert got.shape == (1, 2, SIZE[1], SIZE[0]) and wanted.abs().max() > 1
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-4)


def test_look_up_equals_bilinear_sampling_also_outside():
    first, second = torch.randn(1, 8, 17, 21), torch.randn(1, 8, 17, 21)
    places = torch.rand(2, 17 * 21) * 60 - 20
    places[:, :4] = torch.tensor([[0.0, 20, 1e6, -3e4], [0.0, 16, 5, 1e6]])
    levels = [torch.einsum("cn,cm->nm", first[0].flatten(1), second[0].flatten(1)).view(-1, 1, 17, 21) / 8**0.5]
    for _ in range(3):
        levels.append(F.avg_pool2d(levels[-1], 2))
    assert [tuple(level.shape[-2:]) for level in levels] == level_sizes(17, 21)
    volume = correlate(first, second)
    torch.testing.assert_close(volume, torch.cat([level.flatten(1) for level in levels], 1), atol=1e-5, rtol=1e-5)
    for radius in (3, 4):
        found = look_up(volume, places, (17, 21), radius)
        torch.testing.assert_close(found.T, twin_look_up(levels, places, radius), atol=1e-4, rtol=1e-4)


def test_convex_upsampling_equals_unfolding():
    flow, weights = torch.randn(1, 2, 5, 7), torch.randn(1, 576, 5, 7)
    torch.testing.assert_close(enlarge_convex(flow, weights), twin_enlarge(flow, weights))


# ------------------------------------------------------------------ export
@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder, with a checkpoint and the file that the command made of it."""
    folder = tmp_path_factory.mktemp("raft")
    torch.save(random_checkpoint("small"), folder / "small.pth")
    words = ["--size", "128x136", "--iterations", "2"]
    assert main(["raft", "--weights", str(folder / "small.pth"), "-o", str(folder / "small.onnx"), *words]) == 0
    return folder


def test_an_exported_file_says_what_it_is(exported):
    session = Session(exported / "small.onnx")
    card = read_card(session.metadata)
    assert (card.family, card.task, card.image.size, card.image.resize) == ("raft", "flow", SIZE, "letterbox")
    wanted = {"second_image": "image2", "border": "replicate", "variant": "small", "iterations": 2}
    assert card.facts == wanted and card.checkpoint_sha256 == sha256_of(exported / "small.pth")
    assert card.source.endswith("--weights small.pth -o small.onnx --size 128x136 --iterations 2`")
    assert sorted(file.name for file in exported.iterdir()) == ["small.onnx", "small.pth"]
    model = onnx.load(exported / "small.onnx")
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": OPSET}


@pytest.mark.parametrize("variant", VARIANTS)
def test_exported_flow_equals_the_twins(variant, tmp_path):
    state = random_checkpoint(variant, torchvision=True, seed=2)
    network, _ = load_state(state, 2)
    card = command.describe(variant, SIZE, 2, "a test", "d" * 64)
    worst = command.write_model(network, card, tmp_path / "net.onnx")
    assert worst < 1e-4
    before, after = list(command.examples(SIZE))[1]
    names = [name for name in checkpoint_shapes(variant, torchvision=False) if ".norm3." not in name]
    authors = dict(zip(names, state.values(), strict=True))
    with torch.no_grad():
        wanted = twin_flow(authors, torch.from_numpy(before), torch.from_numpy(after), 2)
    got = Session(tmp_path / "net.onnx").run({"image1": before, "image2": after})["flow"]
    np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_a_file_that_disagrees_is_not_written(tmp_path, monkeypatch):
    network, _ = load_state(random_checkpoint("small"), 1)
    real = command.export

    def export_another(network, size, path):
        real(network, size, path)
        with torch.no_grad():
            network.update_block.flow_head.conv2.bias += 0.01  # 0.08 px

    monkeypatch.setattr(command, "export", export_another)
    with pytest.raises(ParityError, match=r"differ by 8\.0e-02 px"):
        command.write_model(network, command.describe("small", SIZE, 1, "a test", ""), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_named_weights_are_pulled_pinned(exported, tmp_path, monkeypatch, capsys):
    """A registry of the user's own puts a mirror in the place of torchvision's server."""
    torch.save(random_checkpoint("small", torchvision=True), tmp_path / "theirs.pth")
    entry = f'[torchvision-raft-small]\naddress = "{(tmp_path / "theirs.pth").as_uri()}"\nsha256 = "{{}}"\n'
    (tmp_path / "models.toml").write_text(entry.format(sha256_of(tmp_path / "theirs.pth")))
    monkeypatch.setenv("TRACKSTREAM_REGISTRY", str(tmp_path / "models.toml"))
    monkeypatch.setenv("TRACKSTREAM_CACHE", str(tmp_path / "cache"))
    words = ["raft", "--weights", "torchvision:raft_small", "--size", "128x128", "--iterations", "1"]
    assert main([*words, "-o", str(tmp_path / "net.onnx")]) == 0
    card = read_card(Session(tmp_path / "net.onnx").metadata)
    assert card.licence == "BSD-3-Clause" and "torchvision's RAFT small" in card.source
    (tmp_path / "models.toml").write_text(entry.format("0" * 64))
    assert main([*words, "-o", str(tmp_path / "other.onnx")]) == 2
    assert "expected torchvision-raft-small with SHA-256 0000" in capsys.readouterr().err
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "missing.pth"], "missing.pth cannot be read"),
        (["--weights", __file__], "cannot be read as a checkpoint"),
        (["--weights", "torchvision:raft_huge"], "torchvision:raft_small or torchvision:raft_large"),
        (["--weights", "x", "--size", "640"], "WIDTHxHEIGHT"),
        (["--weights", "x", "--size", "640x100"], "multiples of 8"),
        (["--weights", "x", "--size", "64x64"], "at least 128x128"),
        (["--weights", "x", "--iterations", "0"], "1..64"),
    ],
)
def test_bad_commands_say_so_in_one_line(words, message, assert_refused, tmp_path):
    assert_refused(["raft", *words], message)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ in the engine
def test_an_exported_network_makes_flow_of_frames(exported):
    method = NetworkFlow(open_raft(exported / "small.onnx", "cpu"))
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    flow = method.flow(image, np.roll(image, 4, 1))
    assert flow.forward.shape == flow.backward.shape == (90, 160, 2) and np.isfinite(flow.forward).all()
    assert flow.occluded.shape == (90, 160) and flow.forward.std() > 0


def test_step_b3_runs_along_it(exported, tmp_path):
    words = ["run", "synth:street?frames=4&size=320x180", "--model", "street", "--device", "cpu", "--quiet"]
    flow = ["--tracker", "step-b3", "--flow", str(exported / "small.onnx")]
    assert track([*words, *flow, "-o", str(tmp_path), "--save", "mot,jsonl"]) == 0
    assert (tmp_path / "tracks.txt").read_text()
