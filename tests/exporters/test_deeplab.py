import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from exporters.__main__ import main  # noqa: E402
from exporters.deeplab import command  # noqa: E402
from exporters.deeplab.checkpoint import SUFFIX, load_checkpoint, official_names  # noqa: E402
from exporters.deeplab.network import DeepLab, Layout, enlarge, initialise  # noqa: E402
from exporters.parity import ParityError  # noqa: E402
from tests.golden.deeplab import weights  # noqa: E402
from tests.reference.panoptic import enlarge as enlarge_slowly  # noqa: E402
from tracker.cli import main as track  # noqa: E402
from tracker.errors import ConfigError  # noqa: E402
from tracker.models import open_model  # noqa: E402
from tracker.models.motion_deeplab import MotionDeepLab  # noqa: E402
from tracker.onnx.file import sha256_of  # noqa: E402
from tracker.sources.street import Street  # noqa: E402

SIZE = (97, 65)
NARROW = 1 / 16


def build(motion=True, seed=0, classes=19, crop=SIZE):
    network = DeepLab(Layout(classes, motion, NARROW), crop)
    initialise(network, seed)
    return network


def variables_of(network):
    """What deeplab2 would have saved, by its names."""
    tensors, out = network.state_dict(), {}
    for name, official in official_names(network).items():
        array = tensors[name].numpy()
        if array.ndim == 4:
            array = (
                array.transpose(2, 3, 0, 1) if official.endswith("depthwise_kernel") else array.transpose(2, 3, 1, 0)
            )
        out[official + SUFFIX] = array
    return out | {"save_counter" + SUFFIX: np.array(7), "optimizer/iter" + SUFFIX: np.array(7)}


def given(network, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    shapes = {"image": 3, "previous_image": 3, "previous_heat": 1}
    return [
        torch.from_numpy(rng.uniform(0, 1, (1, shapes[n], size[1], size[0])).astype(np.float32)) for n in network.inputs
    ]


# ------------------------------------------------------------------ the network
def test_published_shapes():
    """Some of deeplab2's variables, as its code and its configurations for STEP say; nothing is computed."""
    with torch.device("meta"):
        network = DeepLab(Layout(19, motion=True), (1249, 385))
    shapes = {official: tuple(network.state_dict()[name].shape) for name, official in official_names(network).items()}
    assert shapes["encoder/_stem/_conv/kernel"] == (64, 7, 7, 7)
    assert shapes["encoder/_stage3/_block1/_shortcut/_conv/kernel"] == (512, 256, 1, 1)
    assert "encoder/_stage3/_block2/_shortcut/_conv/kernel" not in shapes
    assert shapes["encoder/_stage5/_block3/_conv2_bn_act/_conv/kernel"] == (512, 512, 3, 3)
    assert shapes["encoder/_stage4/_block6/_conv3_bn/_batch_norm/moving_variance"] == (1024,)
    assert shapes["semantic_decoder/_aspp/_aspp_conv3/_conv_bn_act/_conv/kernel"] == (256, 2048, 3, 3)
    assert shapes["instance_decoder/_aspp/_proj_conv_bn_act/_conv/kernel"] == (256, 1280, 1, 1)
    fusion = "semantic_decoder/_fusion_conv1/_conv1_bn_act"
    assert shapes[f"{fusion}/_depthwise/_depthwise_conv/depthwise_kernel"] == (320, 1, 5, 5)
    assert shapes[f"{fusion}/_pointwise/_conv/kernel"] == (256, 320, 1, 1)
    assert shapes["instance_decoder/_low_level_conv2/_conv/kernel"] == (16, 256, 1, 1)
    assert shapes["instance_decoder/_fusion_conv2/_conv1_bn_act/_pointwise/_conv/kernel"] == (128, 144, 1, 1)
    head = "motion_regression_head_without_last_layer/_conv1_bn_act/_pointwise/_conv/kernel"
    assert shapes[head] == (32, 128, 1, 1)
    assert shapes["motion_regression_head_last_layer/bias"] == (2,)
    assert shapes["semantic_last_layer/kernel"] == (19, 256, 1, 1)
    assert network.semantic_decoder.aspp.pool == (13, 40)
    assert network.last_layers[0] == "semantic_last_layer" and len(network.last_layers) == 4


@pytest.mark.parametrize("motion", [False, True])
def test_maps_have_the_corners_of_the_input(motion):
    network = build(motion)
    outputs = network(*given(network))
    assert [tuple(o.shape) for o in outputs] == [(1, c, 17, 25) for c in (19, 1, 2, 2)[: 4 if motion else 3]]


def test_resize_aligns_corners():
    heat = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    got = enlarge(torch.from_numpy(heat)[None, None], torch.zeros(1, 1, 17, 25))
    np.testing.assert_allclose(got[0, 0], enlarge_slowly(heat, 4), atol=1e-5)
    np.testing.assert_array_equal(
        enlarge(torch.full((1, 2, 1, 1), 3.0), torch.zeros(1, 1, 4, 5)), np.full((1, 2, 4, 5), 3)
    )


def test_heat_is_normalised_like_a_colour():
    network = build()
    image, before, heat = given(network)
    seen = []
    hook = network.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    network(image, before, heat)
    hook.remove()
    np.testing.assert_array_equal(seen[0][:, 3:6], before)
    np.testing.assert_allclose(seen[0][:, 6:], heat / 127.5 - 1)


def test_pooling_goes_by_the_training_crop():
    whole, tiled = build(crop=SIZE), DeepLab(Layout(19, True, NARROW), (65, 33)).eval()
    tiled.load_state_dict(whole.state_dict())
    inputs = given(whole)
    assert not np.allclose(whole(*inputs)[0].detach(), tiled(*inputs)[0].detach(), atol=1e-3)
    maps = whole.encoder(torch.cat([*inputs[:2], inputs[2] / 127.5 - 1], 1))
    pool = tiled.semantic_decoder.aspp
    means = torch.stack([maps["res5"][:, :, y : y + 2, x : x + 3].mean((2, 3)) for y in (0, 1) for x in (0, 1)], -1)
    np.testing.assert_allclose(
        torch.nn.functional.avg_pool2d(maps["res5"], pool.pool, 1).detach().flatten(2), means.detach(), atol=1e-5
    )


# ------------------------------------------------------------------ checkpoints
@pytest.mark.parametrize("motion", [False, True])
def test_a_converted_checkpoint_gives_the_same_network(tmp_path, motion):
    network = build(motion, seed=3)
    np.savez(tmp_path / "weights.npz", **variables_of(network))
    loaded, digest = load_checkpoint(tmp_path / "weights.npz", motion=motion, crop=SIZE)
    assert digest == sha256_of(tmp_path / "weights.npz")
    assert loaded.layout == network.layout
    for wanted, got in zip(network(*given(network)), loaded(*given(network)), strict=True):
        assert torch.equal(wanted, got)


def test_equals_tensorflow(golden, tmp_path):
    """Names as TensorFlow saves them, and what the same layers make there of the same numbers."""
    expected = np.load(golden / "deeplab" / "expected.npz")
    shapes = dict(line.split("\t") for line in expected["names"].tolist())
    variables = {
        name: weights.fill(name.removesuffix(SUFFIX), tuple(map(int, shape.split())))
        for name, shape in shapes.items()
        if shape
    }
    np.savez(
        tmp_path / "weights.npz", **variables, **{name: np.array(7) for name, shape in shapes.items() if not shape}
    )
    network, _ = load_checkpoint(tmp_path / "weights.npz", motion=True, crop=weights.CROP)
    seen = torch.from_numpy(weights.pictures().transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        outputs = network(seen[:, :3] / 127.5 - 1, seen[:, 3:6] / 127.5 - 1, seen[:, 6:])
    for i, output in enumerate(outputs):
        wanted = expected[f"output{i}"]
        np.testing.assert_allclose(output, wanted, atol=2e-5 * np.abs(wanted).max())


def broken(change):
    variables = variables_of(build())
    change(variables)
    return variables


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop(f"encoder/_stage2/_block1/_conv1_bn_act/_conv/kernel{SUFFIX}"), r"missing 1: encoder/_stage2"),
        (lambda v: v.update({f"depth_head/kernel{SUFFIX}": np.zeros(3)}), "unknown 1: depth_head/kernel"),
        (lambda v: v.update({f"semantic_last_layer/bias{SUFFIX}": np.zeros(3)}), r"another shape 1: semantic.*\[3\]"),
        (lambda v: v.pop(f"semantic_last_layer/kernel{SUFFIX}"), "missing 1: semantic_last_layer/kernel"),
        (lambda v: v.update({f"encoder/_stem/_conv/kernel{SUFFIX}": np.zeros((7, 7, 3, 4))}), "got 3; is it the other"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    np.savez(tmp_path / "weights.npz", **broken(change))
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(tmp_path / "weights.npz", motion=True, crop=SIZE)


def test_no_npz_file(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK no")
    for name in ("a.npz", "none.npz"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_checkpoint(tmp_path / name, motion=True, crop=SIZE)


# ------------------------------------------------------------------ files
def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch):
    network = build()
    card = command.describe(network.layout, command.DATASETS["kitti-step"], SIZE)
    (tmp_path / "net.onnx").write_bytes(b"earlier")
    monkeypatch.setattr(command.check_graph, "__defaults__", (0.0,))
    with pytest.raises(ParityError, match="differ"):
        command.write_model(network, card, tmp_path / "net.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"earlier"


@pytest.mark.parametrize(
    "words",
    [["--size", "96x64"], ["--size", "big"], ["--size", "97x65", "--crop", "129x65"], ["--width", "2"],
     ["--weights", "none.npz"]],
)  # fmt: skip
def test_wrong_words(tmp_path, capsys, words):
    assert main(["panoptic-deeplab", "-o", str(tmp_path), *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_from_weights_to_panoptic_pictures(tmp_path):
    np.savez(tmp_path / "weights.npz", **variables_of(build(motion=False, classes=7)))
    words = ["--weights", str(tmp_path / "weights.npz"), "--dataset", "mot-step", "--size", "97x65"]
    assert main(["panoptic-deeplab", *words, "-o", str(tmp_path)]) == 0
    model = open_model(tmp_path / "panoptic-deeplab-97x65.onnx", device="cpu", threads=1)
    assert model.card.family == "panoptic"
    assert model.card.checkpoint_sha256 == sha256_of(tmp_path / "weights.npz")
    assert str(tmp_path) not in model.card.source
    found = model(Street(seed=1, objects=4, frames=2, size=(90, 64)).render(0).image)
    assert found.panoptic.classes.shape == (64, 90)


def test_grey_beside_the_frame_is_exactly_nothing(tmp_path):
    assert main(["panoptic-deeplab", "--size", "97x65", "--width", "0.0625", "-o", str(tmp_path)]) == 0
    model = open_model(tmp_path / "panoptic-deeplab-97x65.onnx", device="cpu", warmup=False)
    tensor = model.preprocess(np.full((60, 90, 3), (0, 0, 255), np.uint8)).tensors["image"]
    assert (tensor[0, :, :60, :90] == np.array([1, -1, -1])[:, None, None]).all()
    assert (tensor[0, :, 60:] == 0).all() and (tensor[0, :, :, 90:] == 0).all()


def test_motion_deeplab_runs_on_a_street(tmp_path):
    words = ["--size", "193x97", "--width", "0.0625", "--seed", "2", "-o", str(tmp_path)]
    assert main(["motion-deeplab", *words]) == 0
    file = tmp_path / "motion-deeplab-193x97.onnx"
    assert isinstance(open_model(file, device="cpu", threads=1), MotionDeepLab)
    source = "synth:street?seed=3&objects=6&size=192x96&frames=8"
    run = ["run", source, "--model", str(file), "--tracker", "motion-deeplab", "--quiet", "--device", "cpu"]
    assert track([*run, "-o", str(tmp_path), "--save", "jsonl,kitti-step"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "tracks.jsonl").read_text().splitlines()[1:]]
    assert len(lines) == len(list((tmp_path / "kitti_step").glob("*.png"))) == 8
    assert sum(len(line["tracks"]) for line in lines) > 0
    assert all(sum(entry["area"] for entry in line["stuff"]) <= 192 * 96 for line in lines)
