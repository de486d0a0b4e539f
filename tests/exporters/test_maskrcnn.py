import copy
import functools
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
onnx = pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from exporters.__main__ import main  # noqa: E402
from exporters.checkpoint import find_misfits  # noqa: E402
from exporters.maskrcnn import agreement, command, delivery  # noqa: E402
from exporters.maskrcnn.checkpoint import current_names, layout_of, load_checkpoint  # noqa: E402
from exporters.maskrcnn.graph import Design, Detector  # noqa: E402
from exporters.maskrcnn.heads import decode_boxes, place_anchors  # noqa: E402
from exporters.maskrcnn.network import Layout, MaskRcnn  # noqa: E402
from exporters.maskrcnn.operators import levels_of, pool, suppress  # noqa: E402
from exporters.maskrcnn.resnet import BLOCKS  # noqa: E402
from exporters.parity import ParityError  # noqa: E402
from tests.golden.maskrcnn.weights import FRAME, SIZE, SPREADS, weights  # noqa: E402
from tests.reference import models as slow  # noqa: E402
from tests.reference.maskrcnn import roi_align  # noqa: E402
from tracker.errors import ConfigError  # noqa: E402
from tracker.models import open_model  # noqa: E402
from tracker.models.card import read_card  # noqa: E402
from tracker.models.decoding.pasting import paste_masks  # noqa: E402
from tracker.onnx.session import Session  # noqa: E402

SMALL = {"blocks": (1, 1, 1, 1), "width": 8, "features": 16, "hidden": 32, "classes": 3}
DESIGN = Design(size=(150, 100), candidates=40, proposals=60, detections=30, step=10)


def make_lively(network, design, seed=0):
    """Random weights whose logits spread, so that there is something to suppress and to draw."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.named_buffers():  # folding must use them
            if name.endswith("running_mean"):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    network.eval()
    heads, image = network.roi_heads, next(agreement.examples(Detector(network, design)))
    image = [torch.from_numpy(array) for array in image.values()]
    for layer, spread in (
        (network.rpn.head.cls_logits, 2.0), (network.rpn.head.bbox_pred, 0.3), (heads.box_predictor.cls_score, 2.0),
        (heads.box_predictor.bbox_pred, 1.0), (heads.mask_predictor.mask_fcn_logits, 1.0),
    ):  # fmt: skip
        seen = []
        handle = layer.register_forward_hook(lambda module, given, out, seen=seen: seen.append(float(out.std())))
        with torch.no_grad():
            Detector(network, design)(*image)
            layer.weight.mul_(spread / seen[0])
        handle.remove()
    return network


@functools.cache
def _small_network(deep):
    torch.manual_seed(0)
    return make_lively(MaskRcnn(Layout(**SMALL, deep=deep)), DESIGN)


def small_network(deep=False):
    return copy.deepcopy(_small_network(deep))


def card_of(detector, names=("person", "car")):
    return command.describe(detector, names, source="a test", digest="d" * 64)


def write(folder, network, design=DESIGN):
    detector = Detector(network, design)
    return delivery.write_model(detector, folder / "net.onnx", card_of(detector))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "deep"])
def exported(request, tmp_path_factory):
    folder, network = tmp_path_factory.mktemp("small"), small_network(deep=request.param)
    return folder / "net.onnx", network, write(folder, network)


# ------------------------------------------------------------------ operators and boxes
def some_boxes(count, width=150, height=100, seed=0, side=30):
    rng = np.random.default_rng(seed)
    near = rng.uniform(0, (width, height), (count, 2))
    return np.concatenate([near, np.minimum(near + rng.exponential(side, (count, 2)), (width, height))], 1).astype("f")


def test_pooling_is_torchvisions_unaligned_one_level_by_level():
    rng = np.random.default_rng(0)
    maps = [rng.normal(0, 1, (3, 128 >> i, 192 >> i)).astype(np.float32) for i in range(4)]
    boxes = np.concatenate([some_boxes(20, 768, 512), some_boxes(20, 768, 512, 1, 300), [[0, 0, 768, 512]]])
    boxes = np.concatenate([boxes, [[767.5, 3, 768, 4], [9, 9, 9, 9]]]).astype(np.float32)
    levels = levels_of(torch.from_numpy(boxes))
    assert set(levels.tolist()) == {0, 1, 2, 3}
    found = pool([torch.from_numpy(m)[None] for m in maps], torch.from_numpy(boxes), 7).numpy()
    for i, (box, level) in enumerate(zip(boxes, levels.tolist(), strict=True)):
        wanted = roi_align(maps[level], box, 7, 1 / (4 << level), aligned=False)
        np.testing.assert_allclose(found[i], wanted, atol=1e-4)
    other = roi_align(maps[int(levels[0])], boxes[0], 7, 1 / (4 << int(levels[0])), aligned=True)
    assert np.abs(other - found[0]).max() > 0.01  # the convention matters


def test_levels_at_their_limits():
    sides = torch.tensor([0.0, 111.9, 112, 223.9, 224, 447.9, 448, 5000])
    assert levels_of(torch.stack([sides * 0, sides * 0, sides, sides], 1)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_suppression_equals_the_slow_twin():
    boxes = np.stack([some_boxes(60, 80, 60, seed) for seed in range(3)])
    scores = np.random.default_rng(3).random((3, 60)).astype(np.float32)
    found = suppress(torch.from_numpy(boxes), torch.from_numpy(scores), 0.4, 9, 0.2).numpy()
    for b, s, kept in zip(boxes, scores, found, strict=True):
        able = np.flatnonzero(s > 0.2)
        wanted = able[slow.suppress(b[able], s[able], np.zeros(len(able)), 0.4, 9)]
        assert sorted(wanted) == np.flatnonzero(kept >= 0).tolist()
        np.testing.assert_array_equal(kept[wanted], s[wanted])


def test_boxes_by_hand():
    found = decode_boxes(torch.tensor([[10.0, 20, 30, 60]]), torch.tensor([[5.0, 0, 0, 5 * np.log(2)]]), (10, 10, 5, 5))
    np.testing.assert_allclose(found, [[20, 0, 40, 80]], atol=1e-4)
    anchors = place_anchors(32, 2, 3, (4, 5))
    np.testing.assert_array_equal(anchors[:3], [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]])
    np.testing.assert_array_equal(anchors[16], [-8, -11, 24, 21])  # row 1, column 2


# ------------------------------------------------------------------ checkpoints
def published(golden, kind):
    """A random state dict with the names and shapes of torchvision's, without memory behind it."""
    rows = [line.split("\t") for line in (golden / "maskrcnn" / f"{kind}.tsv").read_text().splitlines()]
    return {name: torch.empty([int(n) for n in shape.split(",")], device="meta") for name, shape in rows}


def old_names(state):
    """As torchvision 0.12 and its published file have them."""
    out = {}
    for name, tensor in state.items():
        old = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias") if "fpn." in name else name
        old = old.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        out[re.sub(r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.", old)] = tensor
    return out


@pytest.mark.parametrize(("kind", "count"), [("v1", 307), ("v2", 363)])
def test_every_name_of_torchvision_has_its_place(golden, kind, count):
    state = published(golden, kind)
    assert len(state) == count
    dresses = [state, {f"module.{name}": tensor for name, tensor in state.items()}, {"model": state}]
    dresses += [old_names(state)] if kind == "v1" else []
    dresses += [state | {"backbone.body.bn1.num_batches_tracked": torch.empty((), device="meta")}]
    for dress in dresses:
        names = current_names(dress)
        layout = layout_of(names)
        assert layout == Layout(deep=kind == "v2")
        with torch.device("meta"):
            network = MaskRcnn(layout)
        assert len(names) == count
        assert find_misfits(names, network) == ""


def test_a_deeper_backbone_is_recognised():
    with torch.device("meta"):
        network = MaskRcnn(Layout(blocks=BLOCKS[101], classes=3))
    assert layout_of(network.state_dict()) == network.layout


def test_a_file_fills_the_network(tmp_path):
    source = small_network()
    torch.save({"model": old_names(source.state_dict())}, tmp_path / "a.pth")
    network, digest = load_checkpoint(tmp_path / "a.pth")
    assert len(digest) == 64
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, source.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.pop("rpn.head.cls_logits.bias"), "missing 1: rpn.head.cls_logits.bias"),
        (lambda s: s.update({"roi_heads.keypoint.weight": torch.zeros(1)}), "unknown 1: roi_heads.keypoint.weight"),
        (lambda s: s.update({"rpn.head.cls_logits.bias": torch.zeros(5)}), r"another shape 1: rpn.*bias \[5\]"),
        (lambda s: s.update({"rpn.head.cls_logits.bias": 3}), "dict of tensors"),
        (lambda s: s.pop("backbone.body.conv1.weight"), "missing 1: backbone.body.conv1.weight"),
        (lambda s: s.clear(), "missing 8: backbone.body.conv1.weight"),
    ],
)
def test_another_models_checkpoint_is_refused_by_name(damage, message, tmp_path):
    state = dict(MaskRcnn(Layout(**SMALL)).state_dict())
    damage(state)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(tmp_path / "a.pth")


# ------------------------------------------------------------------ export
def test_the_exported_graph_equals_torch(exported):
    path, network, worst = exported
    assert max(worst.values()) < 1e-5
    assert set(worst) == {*Detector(network, DESIGN).outputs, *agreement.INSIGHTS}
    model = onnx.load(path)
    assert [opset.version for opset in model.opset_import] == [17]
    assert [output.name for output in model.graph.output] == list(Detector(network, DESIGN).outputs)
    pools = [node for node in model.graph.node if node.op_type == "RoiAlign"]
    assert len(pools) == 8
    for node in pools:
        modes = {a.name: a.s.decode() for a in node.attribute if a.type == onnx.AttributeProto.STRING}
        assert modes["coordinate_transformation_mode"] == "output_half_pixel"
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("bias", [9.0, 0.0, -9.0])
def test_none_some_and_all_rows(tmp_path, bias):
    """Zero, one and K detections: the background's logit decides; rows come in steps."""
    network = small_network()
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.bias[0] += bias
        if bias == 0:
            network.roi_heads.box_predictor.cls_score.bias[1:] -= 2.0
    path = tmp_path / "net.onnx"
    write(tmp_path, network)
    given = next(agreement.examples(Detector(network, DESIGN)))
    found = Session(path).run(given)
    live = int((found["scores"] > 0).sum())
    assert (live == 0) if bias > 0 else (live == DESIGN.detections) if bias < 0 else (0 < live < DESIGN.detections)
    rows = max(10, -(-live // 10) * 10)
    assert [len(found[key]) for key in ("boxes", "scores", "labels", "masks", "proposals")] == [rows] * 5
    model = open_model(path, device="cpu", min_score=0.0, multi_label=True, warmup=False)
    image = np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)
    assert len(model(image)) == len(model(image).masks) <= DESIGN.detections
    if bias > 0:
        assert len(model(image)) == 0


def test_any_size_and_more_outputs(tmp_path):
    network, design = small_network(), Design(size=(131, 200), proposals=50, features=3, detections=7, step=20)
    worst = write(tmp_path, network, design)
    assert worst["features"] < 1e-5
    session = Session(tmp_path / "net.onnx")
    assert session.outputs["features"].shape == (1, 16, 28, 20)
    assert read_card(session.metadata).outputs["features"] == "features"
    assert len(open_model(tmp_path / "net.onnx", device="cpu")(np.zeros((90, 60, 3), np.uint8))) <= 7


class WithEmbeddings(Detector):
    """A head that somebody else adds."""

    outputs = (*Detector.outputs, "embeddings", "semantic")

    def tell(self, found):
        pooled = pool(found.maps, found.boxes, 2).flatten(1)
        return (*super().tell(found), pooled[:, :5], found.maps[0][:, :4])


def test_added_heads_are_checked_and_reach_the_detections(tmp_path):
    network = small_network()
    detector = WithEmbeddings(network, DESIGN).eval()
    delivery.export(detector, tmp_path / "net.onnx")
    worst = agreement.check_graph(tmp_path / "net.onnx", detector)
    assert max(worst["embeddings"], worst["semantic"]) < 1e-5
    assert Session(tmp_path / "net.onnx").outputs["semantic"].shape == (1, 4, 32, 40)
    assert Session(tmp_path / "net.onnx").outputs["embeddings"].shape[1:] == (5,)


def test_other_numbers_are_noticed_in_every_output(exported, tmp_path, monkeypatch):
    _, network, _ = exported
    detector = Detector(network, DESIGN).eval()
    delivery.export(detector, tmp_path / "net.onnx")
    for stage in ("judge", "draw", "propose"):
        real = getattr(Detector, stage)

        def off(self, *given, real=real):
            out = real(self, *given)
            return out * 1.01 if torch.is_tensor(out) else tuple(part * 1.01 for part in out)

        with monkeypatch.context() as patched:
            patched.setattr(Detector, stage, off)
            with pytest.raises(ParityError, match="not written"):
                agreement.check_graph(tmp_path / "net.onnx", detector)


def test_nothing_is_written_without_parity(tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(b"the old file")
    network = small_network()
    monkeypatch.setattr(agreement, "LIMIT", 0.0)
    with pytest.raises(ParityError, match=r"differ by"):
        write(tmp_path, network)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"the old file"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_everything_is_as_torchvision_computes_it(golden, kind):
    """Recorded from torchvision 0.28 itself, all of R50-FPN: detections to the pixel, the pasted masks to the bit."""
    data = np.load(golden / "maskrcnn" / f"{kind}.npz")
    network = MaskRcnn(Layout(classes=6, deep=kind == "v2")).eval()
    shapes = {name: t.shape for name, t in network.state_dict().items() if not name.endswith("_tracked")}
    state = weights(shapes)
    for name, gain in zip(SPREADS, data["gains"], strict=True):
        state[f"{name}.weight"] *= float(gain)
    assert find_misfits(state, network) == ""
    network.load_state_dict(state, strict=False)
    with torch.no_grad():
        # torchvision's own input is no larger than the picture needs: 184 x 127 on 192 x 128
        found = Detector(network, Design(size=SIZE)).find(torch.from_numpy(data["image"])[None], torch.tensor(SIZE))
    count = len(data["scores"])
    assert count == 100
    np.testing.assert_allclose(found.scores, data["scores"], atol=1e-5)
    np.testing.assert_array_equal(found.labels, data["labels"])
    boxes = found.boxes.numpy() * (np.array(FRAME * 2) / (SIZE * 2)).astype(np.float32)
    np.testing.assert_allclose(boxes, data["boxes"], atol=1e-2)
    masks = paste_masks(found.masks.numpy(), data["boxes"], FRAME[1], FRAME[0]).to_dense()
    wanted = np.unpackbits(data["bits"])[: masks.size].reshape(masks.shape).astype(bool)
    assert (masks != wanted).mean() < 1e-5


# ------------------------------------------------------------------ the command
def test_the_command_writes_a_model_that_runs(tmp_path, capsys):
    torch.save(old_names(small_network().state_dict()), tmp_path / "a.pth")
    out = tmp_path / "out" / "net.onnx"
    words = ["maskrcnn", "--weights", str(tmp_path / "a.pth"), "--size", "160x96", "--proposals", "30"]
    assert main([*words, "--names", "person,car", "-o", str(out)]) == 0
    assert "largest difference" in capsys.readouterr().err
    model = open_model(out, device="cpu", classes=["car"])
    assert model.card.source.startswith("exported by `python -m exporters maskrcnn --weights a.pth --size 160x96")
    found = model(np.random.default_rng(1).integers(0, 256, (120, 90, 3), np.uint8))
    assert set(found.labels.tolist()) <= {1} and len(found.masks) == len(found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "missing.pth"], "missing.pth cannot be read"),
        (["--weights", __file__], "cannot be read as a checkpoint"),
        (["--weights", "torchvision:alexnet"], "torchvision:maskrcnn_resnet50_fpn_v2"),
        (["--weights", "torchvision:maskrcnn_resnet50_fpn", "--offline"], "--offline forbids"),
        (["--weights", "x", "--size", "640"], "WIDTHxHEIGHT"),
        (["--weights", "x", "--size", "640x32"], "at least 64x64"),
        (["--weights", "x", "--proposals", "0"], "at least one proposal"),
    ],
)
def test_bad_commands_say_so_in_one_line(words, message, assert_refused, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKSTREAM_CACHE", str(tmp_path / "cache"))
    assert_refused(["maskrcnn", *words], message)


def test_class_names_are_cocos_or_given():
    with torch.device("meta"):
        detector = Detector(MaskRcnn(Layout()), DESIGN)
    card = card_of(detector, names=())
    assert (card.class_names[0], card.class_names[-1], card.facts["class_ids"][-1]) == ("person", "toothbrush", 90)
    with pytest.raises(ConfigError, match="2 class names"):
        card_of(Detector(small_network(), DESIGN), names=())
