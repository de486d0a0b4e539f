"""MOTSNet: seamseg's names and pooling, vectors by mask or box, the graph equals torch and runs in the engine."""

import copy
import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
onnx = pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from exporters.__main__ import main  # noqa: E402
from exporters.checkpoint import find_misfits  # noqa: E402
from exporters.maskrcnn import agreement  # noqa: E402
from exporters.maskrcnn.delivery import write_model  # noqa: E402
from exporters.maskrcnn.operators import pool_centred  # noqa: E402
from exporters.motsnet import command  # noqa: E402
from exporters.motsnet.checkpoint import flatten, layout_of, load_checkpoint  # noqa: E402
from exporters.motsnet.graph import MotsnetDesign, MotsnetDetector, average, levels_of, pool  # noqa: E402
from exporters.motsnet.network import Abn, Layout, Motsnet  # noqa: E402
from tests.exporters.lively import run_example, shake_norm, spread_logits  # noqa: E402
from tests.reference.maskrcnn import bilinear, roi_align  # noqa: E402
from tracker.cli import main as run_command  # noqa: E402
from tracker.errors import ConfigError  # noqa: E402
from tracker.models import open_model  # noqa: E402
from tracker.onnx.session import Session  # noqa: E402

SMALL = Layout(
    blocks=(1, 1, 1, 1), width=8, features=16, extra=1, probes=16, ratios=3, hidden=32, masking=12, classes=2,
    tracking=16, vector=8,
)  # fmt: skip
SIZES = {"size": (150, 100), "candidates": 200, "proposals": 60, "detections": 20, "step": 10}
STREET = "synth:street?seed=7&size=160x96&frames=4&objects=4"


@functools.cache
def _lively(layout):
    """Random weights and statistics, of logits that spread."""
    torch.manual_seed(0)
    network = Motsnet(layout).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Abn):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
                shake_norm(module)
            elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight)
    heads = network.roi_head
    spread_logits(
        MotsnetDetector(network, MotsnetDesign(**SIZES)),
        [(network.rpn_head.conv_obj, 2.0), (network.rpn_head.conv_bbx, 0.3), (heads.roi_cls, 2.0),
         (heads.roi_bbx, 1.0), (heads.roi_msk, 1.5)],
    )  # fmt: skip
    return network


def lively(layout=SMALL):
    return copy.deepcopy(_lively(layout))


def write(folder, network, **changes):
    detector = MotsnetDetector(network, MotsnetDesign(**{**SIZES, **changes}))
    card = command.describe(detector, ("car", "person"), "vistas", "a test", "d" * 64)
    return detector, write_model(detector, folder / "net.onnx", card)


# ------------------------------------------------------------------ pooling
def test_centred_pooling_equals_the_slow_twin():
    feature = np.random.default_rng(0).normal(0, 1, (3, 12, 20)).astype(np.float32)
    boxes = np.array([[3, 5, 90, 60], [0, 0, 160, 96], [150, 90, 160, 96], [7, 7, 7.5, 8]], np.float32)
    found = pool_centred(torch.from_numpy(feature)[None], torch.from_numpy(boxes), 7, 8, 2).numpy()
    for box, cells in zip(boxes, found, strict=True):
        np.testing.assert_allclose(cells, roi_align(feature, box, 7, 1 / 8, aligned=True), atol=1e-5)
    assert pool_centred(torch.from_numpy(feature)[None], torch.zeros(0, 4), 7, 8, 2).shape == (0, 3, 7, 7)


def test_regions_are_sampled_where_seamseg_samples_them():
    """One bilinear value a cell, at ((x - 1/2) / stride + 1/2) of the box's corners, half a pixel before that."""
    rng = np.random.default_rng(1)
    maps = [rng.normal(0, 1, (2, 256 >> i, 384 >> i)).astype(np.float32) for i in range(4)]
    boxes = np.array([[10, 20, 90, 100], [100, 100, 300, 260], [5, 9, 420, 440], [0, 0, 1536, 1024]], np.float32)
    levels = levels_of(torch.from_numpy(boxes)).tolist()
    assert levels == [0, 1, 2, 3]
    found = pool([torch.from_numpy(m)[None] for m in maps], torch.from_numpy(boxes)).numpy()
    for box, level, cells in zip(boxes, levels, found, strict=True):
        x0, y0, x1, y1 = ((float(v) - 0.5) / (4 << level) + 0.5 for v in box)
        for r, c in ((0, 0), (3, 11), (13, 13)):
            y, x = y0 + (r + 0.5) * (y1 - y0) / 14 - 0.5, x0 + (c + 0.5) * (x1 - x0) / 14 - 0.5
            np.testing.assert_allclose(cells[:, r, c], bilinear(maps[level], y, x), atol=1e-4)


def test_vectors_are_means_under_the_mask():
    cells = torch.arange(2 * 3 * 196, dtype=torch.float32).reshape(2, 3, 14, 14)
    masks = torch.zeros(2, 28, 28)
    masks[0, 4:8, 10:12] = 0.9  # two cells: rows 2 and 3, column 5
    masks[0, 20, 20] = 1.0  # a quarter of a cell
    found = average(cells, masks)
    np.testing.assert_allclose(found[0], cells[0, :, 2:4, 5].mean(1))
    np.testing.assert_allclose(found[1], cells[1].mean((1, 2)), rtol=1e-6)  # an empty mask


# ------------------------------------------------------------------ checkpoints
def seamseg_names(blocks=(3, 4, 6, 3), *, semantic=False):
    """What a snapshot of seamseg holds, written down from its modules: part -> names."""
    abn = ("weight", "bias", "running_mean", "running_var")
    body = ["backbone.mod1.conv1.weight", *(f"backbone.mod1.bn1.{n}" for n in abn)]
    for m, count in enumerate(blocks, 2):
        for b in range(1, count + 1):
            at = f"backbone.mod{m}.block{b}"
            for i in (1, 2, 3):
                body += [f"{at}.convs.conv{i}.weight", *(f"{at}.convs.bn{i}.{n}" for n in abn)]
            if b == 1:
                body += [f"{at}.proj_conv.weight", *(f"{at}.proj_bn.{n}" for n in abn)]
    for part, n in (("lateral", 4), ("output", 4), ("extra", 1)):
        for i in range(n):
            body += [f"fpn.{part}.{i}.conv.weight", *(f"fpn.{part}.{i}.bn.{n}" for n in abn)]
    probe = ["conv1.weight", *(f"bn1.{n}" for n in abn), *(f"conv_{k}.{n}" for k in ("obj", "bbx") for n in abn[:2])]
    roi = [f"fc.{name}" for i in (1, 2) for name in (f"fc{i}.weight", *(f"bn{i}.{n}" for n in abn))]
    for i in (1, 2, 3, 4, "_up"):
        roi += [f"conv.conv{i}.weight", *(f"conv.bn{i}.{n}" for n in abn)]
    roi += [f"roi_{k}.{n}" for k in ("cls", "bbx", "msk") for n in abn[:2]]
    parts = {"body": body, "rpn_head": probe, "roi_head": roi}
    return parts | ({"sem_head": ["conv_sem.weight"]} if semantic else {})


def snapshot(network, **more):
    """As `save_snapshot` writes it."""
    parts = {}
    for name, tensor in network.state_dict().items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    return {"config": "", "state_dict": {**parts, **more}, "training_meta": {"epoch": 1}}


def test_every_name_of_seamseg_has_its_place():
    with torch.device("meta"):
        network = Motsnet(Layout(tracking=0))
    own = network.state_dict()
    names = {f"{part}.{name}" for part, names in seamseg_names().items() for name in names}
    assert names == set(own)
    assert layout_of(own) == Layout(tracking=0, vector=0)
    assert find_misfits(flatten({f"module.{n}": t for n, t in own.items()}), network) == ""
    with torch.device("meta"):
        tracking = Motsnet()
    assert layout_of(tracking.state_dict()) == Layout()


def test_a_snapshot_fills_the_network(tmp_path):
    source = lively()
    with torch.no_grad():
        source.body.backbone.mod1.bn1.weight[3] = -2.0
    torch.save(snapshot(source, sem_head={"conv_sem.weight": torch.zeros(1)}), tmp_path / "a.pth.tar")
    network, digest, passed = load_checkpoint(tmp_path / "a.pth.tar")
    assert len(digest) == 64 and passed == 1
    for name, tensor in network.state_dict().items():
        wanted = source.state_dict()[name]
        if isinstance(network.get_submodule(name.rpartition(".")[0]), Abn) and name.endswith(".weight"):
            wanted = wanted.abs() + 1e-5  # what in-place ABN scales with
        torch.testing.assert_close(tensor, wanted, rtol=0, atol=0)
    plain, _, _ = load_checkpoint(tmp_path / "a.pth.tar", inplace=False)
    assert plain.body.backbone.mod1.bn1.weight[3].item() == -2.0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda parts: parts["rpn_head"].pop("conv_obj.bias"), "missing 1: rpn_head.conv_obj.bias"),
        (lambda parts: parts.update(depth_head={"w": torch.zeros(1)}), "unknown 1: depth_head.w"),
        (lambda parts: parts["roi_head"].update({"roi_cls.bias": torch.zeros(9)}), r"another shape 1: .*\[9\]"),
        (lambda parts: parts.pop("body"), "missing 6: body.backbone.mod1.conv1.weight"),
        (lambda parts: parts.update(body=3), "expected tensors, got int as body"),
        (lambda parts: parts["track_head"].pop("fc2.bias"), "missing 1: track_head.fc2.bias"),
    ],
)
def test_another_snapshot_is_refused_by_name(damage, message, tmp_path):
    data = snapshot(Motsnet(SMALL))
    damage(data["state_dict"])
    torch.save(data, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(tmp_path / "a.pth")


# ------------------------------------------------------------------ export
@pytest.mark.parametrize(
    "changes",
    [{}, {"size": (131, 200), "features": 2}, {"pooling": "box"}, {"head": False}, {"pooling": "box", "head": False}],
    ids=["AveMsk+TH", "another size", "AveBox+TH", "AveMsk-TH", "AveBox-TH"],
)
def test_the_exported_graph_equals_torch(tmp_path, changes):
    detector, worst = write(tmp_path, lively(), **changes)
    assert max(worst.values()) < 1e-4 and set(worst) == {*detector.outputs, *agreement.INSIGHTS}
    found = Session(tmp_path / "net.onnx").run(next(agreement.examples(detector)))
    live = found["scores"] > 0
    assert 3 < live.sum() <= 20 and set(found["labels"][live].tolist()) == {1, 2}
    assert found["masks"].shape[1:] == (28, 28) and 0.1 < (found["masks"] > 0.5).mean() < 0.9
    assert found["embeddings"].shape[1] == (8 if changes.get("head", True) else 16)
    np.testing.assert_allclose(np.linalg.norm(found["embeddings"], axis=1), 1, atol=1e-5)


def test_mask_and_box_pooling_differ_and_classes_have_vectors_of_their_own():
    network = lively()
    given = None
    vectors = {}
    for pooling in ("mask", "box"):
        detector = MotsnetDetector(network, MotsnetDesign(**SIZES, pooling=pooling))
        given = [torch.from_numpy(array) for array in next(agreement.examples(detector)).values()]
        with torch.no_grad():
            found = detector.find(*given)
            vectors[pooling] = detector.embed(found)
            other = detector.embed(found._replace(labels=3 - found.labels))
    assert float((vectors["mask"] - vectors["box"]).abs().max()) > 0.01
    assert float((vectors["box"] - other).abs().min(1)[0].max()) > 0.01


def test_anchors_and_deltas_are_seamsegs():
    detector = MotsnetDetector(Motsnet(SMALL), MotsnetDesign(size=(64, 64)))
    assert len(detector.anchors0) == 3 * (16 * 16 + 8 * 8 + 4 * 4 + 2 * 2 + 1)
    np.testing.assert_allclose(detector.anchors0[1], [2 - 16, 2 - 16, 2 + 16, 2 + 16])  # 8 strides, around 2
    high, wide = 32 * np.sqrt(2), 32 / np.sqrt(2)
    np.testing.assert_allclose(
        detector.anchors0[5], [6 - wide / 2, 2 - high / 2, 6 + wide / 2, 2 + high / 2], rtol=1e-6
    )
    with torch.no_grad():
        network = Motsnet(SMALL)
        network.rpn_head.conv_bbx.weight.zero_()
        network.rpn_head.conv_bbx.bias.copy_(torch.arange(12.0))
        ((_, deltas),) = MotsnetDetector(network, MotsnetDesign(size=(64, 64))).weigh_places(
            network.backbone(torch.zeros(1, 3, 64, 64))
        )
    assert deltas[:3].tolist() == [[1, 0, 3, 2], [5, 4, 7, 6], [9, 8, 11, 10]]


@pytest.mark.parametrize("bias", [40.0, 8.0, -40.0])
def test_none_some_and_all_rows(tmp_path, bias):
    network = lively()
    with torch.no_grad():
        network.roi_head.roi_cls.bias[0] += bias
    detector, _ = write(tmp_path, network)
    found, live = run_example(tmp_path / "net.onnx", detector)
    assert (live == 0) if bias > 9 else (live == 20) if bias < 0 else (0 < live < 20)
    assert len(found["embeddings"]) == len(found["scores"]) == max(10, -(-live // 10) * 10)
    model = open_model(tmp_path / "net.onnx", device="cpu", min_score=0.0, multi_label=True, warmup=False)
    detections = model(np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8))
    assert model.gives == {"masks", "embeddings"}
    assert len(detections.embeddings) == len(detections) and (len(detections) == 0) == (bias > 9)


# ------------------------------------------------------------------ the command, and the engine
def test_the_command_writes_a_model_that_tracks(tmp_path, capsys):
    torch.save(snapshot(lively(), sem_head={"conv_sem.weight": torch.zeros(1)}), tmp_path / "a.pth")
    out = str(tmp_path / "net.onnx")
    words = ["motsnet", "--weights", str(tmp_path / "a.pth"), "--size", "160x96", "--proposals", "30"]
    assert main([*words, "--names", "car,person", "-o", out]) == 0
    said = capsys.readouterr().err
    assert "1 tensors of a semantic head were passed over" in said and "largest difference" in said
    model = open_model(out, device="cpu", warmup=False)
    assert model.card.image.mean == pytest.approx((0.4174, 0.4573, 0.4689), abs=1e-4)
    for preset in ("kitti", "mots-challenge", "siou"):
        run = ["run", STREET, "--model", out, "--tracker", "motsnet", "--preset", preset, "--save", "mots", "--quiet"]
        assert run_command([*run, "-o", str(tmp_path / preset)]) == 0
        assert (tmp_path / preset / "masks.txt").read_text()


def test_without_a_tracking_head_the_engine_can_pool(tmp_path, capsys):
    bare = lively()
    del bare.track_head
    torch.save(snapshot(bare), tmp_path / "a.pth")
    out = str(tmp_path / "net.onnx")
    words = ["motsnet", "--weights", str(tmp_path / "a.pth"), "--size", "160x96", "--names", "car,person", "-o", out]
    assert main([*words, "--features", "2"]) == 0
    assert "no tracking head" in capsys.readouterr().err
    run = ["run", STREET, "--model", out, "--tracker", "motsnet", "--save", "mot", "--quiet", "-o", str(tmp_path)]
    assert run_command(run) == 2
    assert "compares embeddings" in capsys.readouterr().err
    assert run_command([*run, "--reid", "mask-pooling"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--names", "a,b"], "cannot be read as a checkpoint"),
        (["--names", "a,b", "--proposals", "0"], "at least one proposal"),
        (["--names", "a,b", "--size", "9"], "WIDTHxHEIGHT"),
    ],
)
def test_bad_commands_say_so_in_one_line(words, message, assert_refused):
    assert_refused(["motsnet", "--weights", "none.pth", *words], message)


def test_names_must_fit():
    with pytest.raises(ConfigError, match="the 2 class names"):
        command.describe(MotsnetDetector(Motsnet(SMALL), MotsnetDesign(**SIZES)), ("car",), "vistas", "", "")
