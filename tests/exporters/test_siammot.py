import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
onnx = pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from exporters.parity import ParityError  # noqa: E402
from exporters.siammot import agreement, command  # noqa: E402
from exporters.siammot.checkpoint import load_state, official_names  # noqa: E402
from exporters.siammot.graphs import widen  # noqa: E402
from exporters.siammot.heads import bicubic_matrix, cell_anchors, sides_penalty  # noqa: E402
from exporters.siammot.network import Design, SiamMot  # noqa: E402
from exporters.siammot.operators import cross_correlate, roi_align  # noqa: E402
from tests.reference.siammot import Loop, Solver, nms  # noqa: E402
from tracker import create  # noqa: E402
from tracker.errors import ConfigError, DetectionsError, ModelError, ModelNotFoundError  # noqa: E402
from tracker.models.card import IMAGENET_MEAN, IMAGENET_STD, read_card, write_card  # noqa: E402
from tracker.models.siammot import GRAPHS, open_siammot  # noqa: E402
from tracker.models.siammot import graphs as siammot_graphs  # noqa: E402
from tracker.models.siammot.regions import levels_of, search_regions  # noqa: E402
from tracker.onnx.session import Session  # noqa: E402
from tracker.types import Detections  # noqa: E402

SMALL = Design(size=(192, 128), amodal=True, candidates=100)


def small_network(seed=0, motion="emm"):
    torch.manual_seed(seed)
    network = SiamMot((8, 8, 16, 16, 32, 32), features=32, hidden=24, motion=motion)
    with torch.no_grad():
        network.box.cls_score.bias.copy_(torch.tensor([0.0, 0.5]))
        for name, tensor in network.named_buffers():  # folding must use them
            if name.endswith(("running_mean", "bias")):
                tensor.add_(0.1 * torch.randn_like(tensor))
    return network.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return folder, command.write_models(small_network(), SMALL, folder, "a test", "d" * 64)


@pytest.fixture(scope="module")
def implicit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("implicit")
    return folder, command.write_models(small_network(motion="imm"), SMALL, folder, "a test", "d" * 64)


@pytest.fixture(params=["exported", "implicit"])
def either(request):
    """A folder of graphs with either track head, and how far they are from torch."""
    return request.getfixturevalue(request.param)


# ------------------------------------------------------------------ operators and heads
def test_region_pooling_by_hand():
    feature = torch.arange(16.0).reshape(1, 1, 4, 4)
    pooled = roi_align(feature, torch.tensor([[4.0, 4.0, 20.0, 20.0]]), 2, 8)  # cells 0.5 to 2.5, one per bin
    np.testing.assert_allclose(pooled[0, 0], [[5, 6], [9, 10]])
    assert roi_align(feature, torch.zeros(0, 4), 2, 8).shape == (0, 1, 2, 2)
    far = torch.tensor([[400.0, 400.0, 420.0, 420.0], [-90.0, 0.0, -60.0, 9.0]])
    assert not roi_align(feature, far, 2, 8).any()


def test_region_pooling_and_correlation_have_gradients():
    feature = torch.randn(1, 2, 6, 6, requires_grad=True)
    rois = torch.tensor([[3.0, 5.0, 30.0, 41.0]])
    search, template = roi_align(feature, rois, 6, 8), roi_align(feature, rois, 3, 8)
    cross_correlate(search, template).sum().backward()
    assert feature.grad.abs().sum() > 0


def test_correlation_equals_a_loop():
    search, template = torch.randn(3, 4, 7, 7), torch.randn(3, 4, 3, 3)
    out = cross_correlate(search, template)
    for n, c, y, x in np.ndindex(*out.shape):
        wanted = (search[n, c, y : y + 3, x : x + 3] * template[n, c]).sum()
        torch.testing.assert_close(out[n, c, y, x], wanted, atol=1e-5, rtol=1e-5)
    assert cross_correlate(search[:0], template[:0]).shape == (0, 4, 5, 5)


def test_upsampling_is_bicubic():
    maps = torch.randn(2, 3, 16, 16)
    wanted = torch.nn.functional.interpolate(maps, scale_factor=16, mode="bicubic", align_corners=False)
    rows = bicubic_matrix(16)
    torch.testing.assert_close(rows @ maps @ rows.T, wanted, atol=1e-5, rtol=1e-5)


def test_anchors_are_those_of_official_checkpoints():
    wanted = [[-22, -10, 25, 13], [-14, -14, 17, 17], [-10, -22, 13, 25]]
    np.testing.assert_array_equal(cell_anchors(32, 4), wanted)


def test_no_side_is_worth_nothing():
    last = torch.tensor([[0.0, 0.0, 10.0, 20.0], [5.0, 5.0, 5.0, 5.0]])
    width = torch.tensor([[10.0, 0.0, -3.0]]).expand(2, 3)
    found = sides_penalty(width, torch.full((2, 3), 20.0), last, 0.1)
    assert found.isfinite().all()
    np.testing.assert_allclose(found[0], [1, 0, 0], atol=1e-6)


# ------------------------------------------------------------------ checkpoints
def official_state(network):
    own = network.state_dict()
    return {official: own[name].clone() for name, official in official_names(network).items()}


def test_a_checkpoint_in_every_dress():
    source, state = small_network(1), official_state(small_network(1))
    dead = {
        "backbone.body.level3.project.0.weight": torch.zeros(1),
        "backbone.body.level4.project.1.bias": torch.zeros(1),
    }
    bare = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}  # ends of names are enough
    dresses = [
        state,
        {"model": state, "iteration": 3},
        {f"module.{name}": t for name, t in (state | dead).items()},
        bare,
    ]
    for dress in dresses:
        network = small_network(2)
        load_state(dress, network)
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, source.state_dict()[name], rtol=0, atol=0)


def test_the_implicit_head_has_names_of_its_own():
    source, network = small_network(1, motion="imm"), small_network(2, motion="imm")
    load_state(official_state(source), network)
    torch.testing.assert_close(network.track.fc1.weight, source.track.fc1.weight, rtol=0, atol=0)
    with pytest.raises(ConfigError, match=r"missing \d+: .*fc1.weight.*; unknown \d+: .*cls_tower"):
        load_state(official_state(small_network()), network)


def test_names_are_the_official_ones(shared):
    rows = (shared / "spec" / "siammot_keys.tsv").read_text().splitlines()[1:]
    wanted = {row.split("\t")[0]: row.split("\t") for row in rows}
    needed = {name: row[1] for name, row in wanted.items() if row[4] == "yes"}
    network = SiamMot()
    own = network.state_dict()
    found = {official: ",".join(map(str, own[name].shape)) for name, official in official_names(network).items()}
    assert found == needed
    assert len(wanted) == 242


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.pop("rpn.head.conv.bias"), "missing 1: rpn.head.conv.bias"),
        (lambda s: s.update({"roi_heads.mask.weight": torch.zeros(1)}), "unknown 1: roi_heads.mask.weight"),
        (lambda s: s.update({"rpn.head.conv.bias": torch.zeros(5)}), r"another shape 1: rpn.head.conv.bias \[5\]"),
        (lambda s: s.update({"rpn.head.conv.bias": 3}), "dict of tensors"),
    ],
)
def test_another_models_checkpoint_is_refused_by_name(damage, message):
    network = small_network()
    state, before = official_state(network), network.rpn.conv.bias.clone()
    damage(state)
    with pytest.raises(ConfigError, match=message):
        load_state({"model": state}, network)
    torch.testing.assert_close(network.rpn.conv.bias, before)


# ------------------------------------------------------------------ export
def test_exported_graphs_equal_torch(exported):
    folder, worst = exported
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{name}.onnx" for name in GRAPHS)
    assert max(worst.values()) < 1e-5
    for name in GRAPHS:
        model = onnx.load(folder / f"{name}.onnx")
        assert max(opset.version for opset in model.opset_import) <= 21
        assert {opset.domain for opset in model.opset_import} == {""}
        pools = [node for node in model.graph.node if node.op_type == "RoiAlign"]
        assert len(pools) == (0 if name == "trunk" else 4)
        for node in pools:
            modes = {a.name: a.s.decode() for a in node.attribute if a.type == onnx.AttributeProto.STRING}
            assert modes["coordinate_transformation_mode"] == "output_half_pixel"
        assert not any(node.op_type in ("BatchNormalization", "NonMaxSuppression") for node in model.graph.node)


def test_implicit_graphs_equal_torch(implicit):
    folder, worst = implicit
    assert max(worst.values()) < 1e-5
    assert read_card(Session(folder / "motion.onnx").metadata).facts["motion"] == "imm"
    assert not any(node.op_type == "Scan" for node in onnx.load(folder / "motion.onnx").graph.node)


def test_a_track_head_that_says_nothing_leaves_boxes_where_they_are():
    network = small_network(motion="imm")
    with torch.no_grad():
        for layer in (network.track.visible, network.track.shift):
            layer.weight.zero_()
            layer.bias.zero_()
        network.track.shift.bias.copy_(torch.tensor([0.5, 0.0, 0.0, float(np.log(2))]))
    boxes = np.array([[10, 20, 29, 59], [40, 40, 49, 49]], np.float32)  # 20 x 40 and 10 x 10
    maps = {f"p{i}": np.zeros((1, 32, 128 >> i, 192 >> i), np.float32) for i in range(2, 6)}
    regions = agreement._named(boxes, np.zeros(2, np.int64))
    given = maps | regions | {"templates": np.zeros((2, 32, 15, 15), np.float32), "last_boxes": boxes}
    found = agreement.run(network, SMALL, "motion", given)
    np.testing.assert_allclose(found["boxes"], [[20, 0, 39, 79], [45, 35, 54, 54]], atol=1e-4)
    np.testing.assert_allclose(found["visibility"], 0.5)


def test_implicit_templates_look_at_search_regions():
    boxes = torch.tensor([[10.0, 20.0, 29.0, 59.0]])
    np.testing.assert_array_equal(widen(boxes, 2.0), search_regions(boxes.numpy(), 2.0))


@pytest.mark.slow
@pytest.mark.parametrize("motion", ["emm", "imm"])
def test_graphs_that_compute_in_float16(tmp_path, motion):
    network = small_network(motion=motion)
    network.halve()
    worst = command.write_models(network, SMALL, tmp_path, "a test", "d" * 64)
    assert max(worst.values()) < agreement.HALF_LIMIT
    for name in GRAPHS:
        session = Session(tmp_path / f"{name}.onnx")
        assert {s.dtype for s in (*session.inputs.values(), *session.outputs.values())} <= {
            np.dtype(np.float32), np.dtype(np.int64)
        }  # fmt: skip
        weights = [t for t in onnx.load(tmp_path / f"{name}.onnx").graph.initializer if len(t.dims) in (2, 4)]
        assert all(
            t.data_type == onnx.TensorProto.FLOAT16 for t in weights if t.dims[-1] in (1, 3, 7) and len(t.dims) == 4
        )
        assert read_card(session.metadata).facts["half"]
    host = open_siammot(tmp_path, device="cpu")
    assert len(follow(host, moving_picture())[-1].confirmed) > 0


def test_cards_tell_what_the_host_needs(exported):
    folder, _ = exported
    for name in GRAPHS:
        card = read_card(Session(folder / f"{name}.onnx").metadata)
        assert (card.family, card.task, card.image.size) == ("siammot", name, SMALL.size)
        assert card.facts["level_counts"] == list(SMALL.level_counts)
        assert card.checkpoint_sha256 == "d" * 64


def test_any_number_of_targets(exported):
    folder, _ = exported
    network, sessions = small_network(), {name: Session(folder / f"{name}.onnx") for name in GRAPHS}
    rng = np.random.default_rng(4)
    maps = agreement.run(network, SMALL, "trunk", {"image": rng.normal(0, 1, (1, 3, 128, 192)).astype(np.float32)})
    for count in (0, 1, 5, 40):
        boxes = agreement.example_boxes(count, SMALL.size, rng)
        boxes[1:2] = [-500, -400, -450, -300]  # wholly outside
        boxes[2:3] = [20, 30, 20, 30]  # one pixel
        given = {k: maps[k] for k in ("p2", "p3", "p4", "p5")} | agreement._named(boxes, np.zeros(count, np.int64))
        none = {"before": np.zeros((0, 32, 15, 15), np.float32), "kept": np.zeros(0, np.int64)}
        found = sessions["template"].run(given | none)
        assert found["templates"].shape == (count, 32, 15, 15)
        moved = sessions["motion"].run(given | found | {"last_boxes": boxes, "rows": np.arange(count)})
        wanted = agreement.run(network, SMALL, "motion", given | found | {"last_boxes": boxes})
        for key in wanted:
            np.testing.assert_allclose(moved[key], wanted[key], atol=1e-3)


def damaged(graph):
    """`agreement.run`, one per cent off in one graph."""
    real = agreement.run

    def run(network, design, name, given):
        out = real(network, design, name, given)
        return {key: value + 0.01 * (1 + np.abs(value)) for key, value in out.items()} if name == graph else out

    return run


@pytest.mark.parametrize("graph", GRAPHS)
def test_other_numbers_are_noticed_in_every_graph(exported, monkeypatch, graph):
    monkeypatch.setattr(agreement, "run", damaged(graph))
    with pytest.raises(ParityError, match=f"{graph}.onnx and torch differ"):
        agreement.check_graphs(exported[0], small_network(), SMALL)


def test_nothing_is_written_without_parity(tmp_path, monkeypatch):
    (tmp_path / "trunk.onnx").write_bytes(b"the old file")
    monkeypatch.setattr(agreement, "run", damaged("motion"))
    with pytest.raises(ParityError, match=r"motion.onnx and torch differ"):
        command.write_models(small_network(), SMALL, tmp_path, "a test", "")
    assert [file.name for file in tmp_path.iterdir()] == ["trunk.onnx"]
    assert (tmp_path / "trunk.onnx").read_bytes() == b"the old file"


def test_candidates_that_score_the_same_may_swap():
    design = Design(size=(64, 64), candidates=2)
    scores = np.repeat(np.float32([0.9, 0.9]), 5)[: sum(design.level_counts)]
    wanted = {"objectness": scores, "candidates": np.arange(4 * len(scores), dtype=np.float32).reshape(-1, 4)}
    swapped = wanted["candidates"].reshape(-1, 2, 4)[:, ::-1].reshape(-1, 4)
    assert not len(agreement._apart_from_order(wanted | {"candidates": swapped}, wanted, design))  # all are the last
    wanted["objectness"] = scores - np.tile(np.float32([0, 1e-2]), 5)
    assert agreement._apart_from_order(wanted | {"candidates": swapped}, wanted, design).max() == 4
    assert agreement._apart_from_order(wanted, wanted, design).max() == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--checkpoint", "missing.pth"], "missing.pth cannot be read"),
        (["--checkpoint", __file__], "cannot be read as a checkpoint"),
        (["--checkpoint", "x", "--size", "640"], "WIDTHxHEIGHT"),
        (["--checkpoint", "x", "--size", "640x470"], "multiples of 32"),
        (["--checkpoint", "x", "--window-weight", "2"], "0..1"),
        ([], "one of --train"),
        (["--train", "--checkpoint", "x"], "one of --train"),
        (["--train", "--minutes", "0"], "--minutes > 0"),
        (["--weights", "missing.pt"], "missing.pt cannot be read"),
        (["--weights", "missing.pt", "--start", "missing.pt"], "give both"),
        (["--train", "--start", "missing.pt"], "missing.pt cannot be read"),
    ],
)
def test_bad_commands_say_so_in_one_line(words, message, assert_refused):
    assert_refused(["siammot", *words], message)


def test_the_card_does_not_tell_where_things_lay():
    words = ["siammot", "--checkpoint", "/secret/a.pth", "-o", "b", "--size", "640x480"]
    assert command.typed(words) == "python -m exporters siammot --checkpoint a.pth -o b --size 640x480"


# ------------------------------------------------------------------ the host loop on a small network
def follow(network, images, **options):
    tracker = create("siammot", birth_score=0.3, keep_score=0.2, **options)
    out = []
    for image in images:
        out.append(tracker.update(network(image)))
        network.follow(out[-1])
    return out


def moving_picture(count=4, seed=0):
    rng = np.random.default_rng(seed)
    wide = rng.integers(0, 256, (15, 30, 3), np.uint8).repeat(12, 0).repeat(12, 1)
    return [np.ascontiguousarray(wide[:150, 5 * k : 5 * k + 250]) for k in range(count)]


def test_tracks_are_followed_and_forgotten(either):
    network = open_siammot(either[0], device="cpu")
    snapshots = follow(network, moving_picture())
    assert len(snapshots[-1].confirmed) > 0
    for tracks in snapshots[1:]:
        assert (tracks.detections.track_ids >= 0).any()
    assert sorted(network.memory.ids) == sorted(snapshots[-1].ids)
    assert len(network.memory.ids) == len(network.memory.templates) == len(network.memory.boxes)
    first = snapshots[0].detections.boxes
    network.reset()
    assert len(network.memory.ids) == 0
    np.testing.assert_array_equal(network(moving_picture()[0]).boxes, first)


def test_tracks_are_moved_in_chunks(exported, monkeypatch):
    pictures, seen = moving_picture(3), []
    for chunk in (64, 2):
        monkeypatch.setattr(siammot_graphs, "CHUNK", chunk)
        network = open_siammot(exported[0], device="cpu")
        seen.append(follow(network, pictures)[-1].detections)
    assert (seen[0].track_ids >= 0).sum() > 2
    np.testing.assert_array_equal(seen[0].track_ids, seen[1].track_ids)
    np.testing.assert_allclose(seen[0].boxes, seen[1].boxes, atol=1e-2)


def test_given_boxes_replace_proposals(exported):
    network = open_siammot(exported[0], device="cpu")
    image = moving_picture()[0]
    given = np.array([[10, 10, 60, 90], [100, 20, 150, 140]], np.float32)
    assert len(network(image, public=given)) <= 2
    assert len(network(image, public=given[:0])) == 0


# ------------------------------------------------------------------ the closed loop, target by target
def twin(folder, design, solver):
    """The same graphs with one target at a time, two calls of the box head and a literal solver."""
    sessions = {name: Session(folder / f"{name}.onnx") for name in GRAPHS}
    names = ("p2", "p3", "p4", "p5")

    def graph(name, maps, box, region=None, **more):
        region = box if region is None else region
        given = {k: maps[k] for k in names} | agreement._named(region[None], levels_of(box[None])) | more
        return sessions[name].run(given)

    def trunk(image):
        pixels = image[:, :, ::-1].astype(np.float32) / np.float32(255)
        tensor = ((pixels - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)).transpose(2, 0, 1)[None]
        maps = sessions["trunk"].run({"image": np.ascontiguousarray(tensor)})
        boxes, scores, kept, begin = maps["candidates"], maps["objectness"], [], 0
        for count in design.level_counts:
            level = nms(range(begin, begin + count), boxes, scores, 0.7)
            kept += sorted(level, key=lambda i: (-scores[i], i))[:300]
            begin += count
        return maps, boxes[sorted(kept, key=lambda i: -scores[i])[:300]]

    def box(maps, place):
        found = graph("boxes", maps, place)
        return found["scores"][0], found["boxes"][0]

    def template(maps, place):
        none = np.zeros((0, 32, design.template, design.template), np.float32)
        return graph("template", maps, place, before=none, kept=np.zeros(0, np.int64))["templates"]

    def motion(maps, z, last):
        search = search_regions(last[None], design.search_scale)[0]
        found = graph("motion", maps, last, search, templates=z, last_boxes=last[None], rows=np.zeros(1, np.int64))
        return found["boxes"][0], found["visibility"][0]

    return Loop(trunk, box, template, motion, solver)


def three_classes():
    torch.manual_seed(5)
    network = SiamMot((8, 8, 16, 16, 32, 32), features=32, hidden=24, classes=3)
    with torch.no_grad():
        network.box.cls_score.bias.copy_(torch.tensor([0.0, 0.6, 0.4]))
        network.box.cls_score.weight.mul_(80)
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("amodal", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_the_closed_loop_equals_one_target_at_a_time(tmp_path, amodal, given):
    """Three classes; modal boxes end with the picture; public detections, none of them in one frame."""
    design = Design(size=(192, 128), amodal=amodal, candidates=30)
    network = three_classes()
    command.write_models(network, design, tmp_path, "a test", "d" * 64)
    host = open_siammot(tmp_path, device="cpu")
    slow = twin(tmp_path, design, Solver(0.455, 0.664, 0.662, 2))
    tracker = create("siammot", birth_score=0.455, keep_score=0.664, resume_score=0.662, max_coast_frames=1)
    rng = np.random.default_rng(3)
    wide = rng.integers(0, 256, (12, 24, 3), np.uint8).repeat(12, 0).repeat(12, 1)
    slept = kept = inside = 0
    for frame in range(5):
        image = np.ascontiguousarray(wide[:128, 7 * frame : 7 * frame + 192])
        corners = rng.uniform(-10, 150, (0 if frame == 2 else 12, 2))
        xywh = np.hstack([corners, rng.uniform(0.5, 60, corners.shape)]).astype(np.float32)
        public = np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]) if given else None
        boxes, scores, ids, kinds, _ = slow.step(image, xywh if given else None)
        detections = host(image, public=public)
        tracks = tracker.update(detections)
        host.follow(tracks)
        order, theirs = np.lexsort((detections.track_ids,)), np.lexsort((np.array(ids, np.int64),))
        np.testing.assert_array_equal(detections.track_ids[order], np.array(ids, np.int64)[theirs])
        np.testing.assert_array_equal(detections.labels[order] + 1, np.array(kinds, np.int64)[theirs])
        near = np.reshape(boxes, (-1, 4))[theirs] + [0, 0, 1, 1]
        np.testing.assert_allclose(detections.boxes[order], near, atol=2e-2)
        np.testing.assert_allclose(detections.scores[order], np.array(scores)[theirs], atol=1e-4)
        assert set(tracks.confirmed.ids.tolist()) == slow.solver.active
        assert set(tracks.coasting.ids.tolist()) == set(slow.solver.dormant)
        assert set(host.memory.ids.tolist()) == set(slow.memory)
        for i, place, kind in zip(host.memory.ids, host.memory.boxes, host.memory.labels, strict=True):
            np.testing.assert_allclose(place, slow.memory[i][1], atol=2e-2)
            assert kind + 1 == slow.memory[i][2]
        slept += len(tracks.coasting)
        kept += np.count_nonzero(detections.track_ids[tracks.confirmed.source] >= 0)
        inside += bool((detections.boxes >= 0).all() and (detections.boxes <= [192, 128, 192, 128]).all())
    assert kept > 0 and slept > 0 and len(set(kinds)) == 2
    assert amodal or inside == 5


def test_tracks_of_other_detections_are_refused(exported):
    network = open_siammot(exported[0], device="cpu")
    tracker = create("siammot")
    with pytest.raises(DetectionsError, match="last detections"):
        network.follow(tracker.update(Detections(np.zeros((0, 4)), np.zeros(0), track_ids=np.zeros(0, np.int64))))


def test_a_set_that_does_not_belong_together_is_refused(exported, tmp_path):
    folder, _ = exported
    with pytest.raises(ModelNotFoundError, match=r"trunk.onnx, boxes.onnx, template.onnx, motion.onnx missing"):
        open_siammot(tmp_path)
    for name in GRAPHS:
        shutil.copy(folder / f"{name}.onnx", tmp_path)
    card = command.describe("motion", Design(size=(256, 128)), "another", "d" * 64, small_network())
    write_card(tmp_path / "motion.onnx", card)
    with pytest.raises(ModelError, match="input size"):
        open_siammot(tmp_path, device="cpu")
    write_card(tmp_path / "motion.onnx", command.describe("motion", SMALL, "another", "e" * 64, small_network()))
    with pytest.raises(ModelError, match="checkpoint"):
        open_siammot(tmp_path, device="cpu")
    shutil.copy(folder / "boxes.onnx", tmp_path / "motion.onnx")
    with pytest.raises(ModelError, match="expected the graph 'motion'"):
        open_siammot(tmp_path, device="cpu")
