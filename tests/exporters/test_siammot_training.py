import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from concurrent.futures import ThreadPoolExecutor  # noqa: E402

from exporters import scenes  # noqa: E402
from exporters.__main__ import main  # noqa: E402
from exporters.siammot import command, losses, pairs, quality, small, training, triplets  # noqa: E402
from exporters.siammot.dla import FrozenNorm, freeze, thaw  # noqa: E402
from exporters.siammot.graphs import Motion  # noqa: E402
from exporters.siammot.heads import decode_boxes, encode_boxes  # noqa: E402
from exporters.siammot.network import Design, SiamMot  # noqa: E402
from tracker.models.card import read_card  # noqa: E402
from tracker.models.geometry import place  # noqa: E402
from tracker.models.siammot import open_siammot  # noqa: E402
from tracker.models.siammot.graphs import to_legacy  # noqa: E402
from tracker.types import Detections  # noqa: E402

DESIGN = Design(size=(320, 192), template=5, candidates=30, relative=True)
SMALL = small.Recipe(
    design=DESIGN, crop=(256, 160), channels=(4, 4, 8, 8, 16, 16), features=8, hidden=16, triplets=8, steps=2, threads=1
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return scenes.fill_pool(tmp_path_factory.mktemp("pool"), scenes.MOMENTS + 1, seed=998)


@pytest.fixture(scope="module")
def lessons(pool):
    made = training.make_lessons(pool, SMALL, [(k, 5 + k) for k in range(2 * len(pool))])
    full = [lesson for lesson in made if (lesson.triplets.visible == 1).sum() >= 2]
    return full[:2]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return small.TwoHeads(SMALL)


def boxes_of(ids):
    return {
        k: [xs.min(), ys.min(), xs.max(), ys.max()]
        for k in np.unique(ids[ids > 0]).tolist()
        for ys, xs in [np.nonzero(ids == k)]
    }


# ------------------------------------------------------------------ pictures
def test_a_frame_knows_its_classes(pool):
    for number in range(2 * len(pool)):
        canvas = pairs.open_canvas(pool, number)
        assert canvas.labels[0] == 0
        row = number // 2
        for k in np.unique(pool.ids[row])[1:].tolist():
            if canvas.labels[k]:
                assert canvas.labels[k] == pool.classes[row][pool.ids[row] == k][0] - pairs.FIRST_THING + 1
        known = canvas.labels[np.unique(canvas.ids)[1:]] > 0
        assert known.mean() > 0.8
        assert canvas.areas.sum() == canvas.ids.size


def canvas_of(ids, labels):
    table, image = np.zeros(256, np.int64), np.zeros((*ids.shape, 3), np.uint8)
    for k, label in labels.items():
        table[k] = label
    return pairs.Canvas(image, ids, table, np.bincount(ids.ravel(), minlength=256))


def test_objects_of_a_window_by_hand():
    ids = np.zeros((80, 120), np.uint8)
    ids[20:60, 40:60] = 3  # 20 x 40
    ids[0:4, 0:4] = 5  # too small
    ids[10:70, 90:120] = 9  # most of it is outside the window
    ids[70:80, 50:70] = 11  # of no known class
    canvas = canvas_of(ids, {3: 1, 5: 1, 9: 2})
    found = pairs.find_objects(canvas, np.s_[0:80, 0:96], (48, 40))
    assert found.ids.tolist() == [3]
    assert found.labels.tolist() == [1]
    np.testing.assert_allclose(found.boxes, [[20, 10, 29, 29]])
    assert found.hidden.tolist() == [5, 9, 11]
    assert len(found.unsure) == 3
    there = pairs.mirror(found, 48)
    np.testing.assert_allclose(there.boxes, [[18, 10, 27, 29]])
    np.testing.assert_allclose(pairs.mirror(there, 48).boxes, found.boxes)


@pytest.mark.parametrize("corner", [(5, 6), (-3, -4), (55, 35), (200, 10), (10, -90)])
def test_objects_are_put_where_they_fit(corner):
    canvas = canvas_of(np.zeros((40, 60), np.uint8), {})
    look, shape = np.full((10, 8, 3), 77, np.uint8), np.ones((10, 8), bool)
    shape[0, 0] = False
    pairs.put(canvas, 201, 2, corner, look, shape)
    wanted = np.zeros((40, 60), bool)
    for y, x in np.argwhere(shape):
        if 0 <= y + corner[1] < 40 and 0 <= x + corner[0] < 60:
            wanted[y + corner[1], x + corner[0]] = True
    np.testing.assert_array_equal(canvas.ids == 201, wanted)
    np.testing.assert_array_equal(canvas.image[..., 0] == 77, wanted)
    assert canvas.areas[201] == 79
    assert canvas.labels[201] == 2


def test_pasted_objects_move_before_a_background_that_stays(pool):
    rng = np.random.default_rng(0)
    first = pairs.open_canvas(pool, 0)
    second, moved = first.copy(), 0
    for k in range(4):
        pairs.paste(pairs.open_canvas(pool, 8), 200 + k, first, second, rng)
    still = (first.ids < 200) & (second.ids < 200)
    np.testing.assert_array_equal(first.image[still], second.image[still])
    then, now = boxes_of(first.ids), boxes_of(second.ids)
    for k in range(200, 204):
        moved += k in then and k in now and then[k] != now[k]
    assert moved >= 2


def test_pairs_show_the_same_objects(pool):
    common = 0
    for seed in range(6):
        pair = pairs.make_pair(pool, seed % 10, DESIGN.size, SMALL.crop, np.random.default_rng(seed))
        assert pair.images.shape == (2, 3, 160, 256)
        assert pair.images.dtype == np.uint8
        for objects in pair.objects:
            assert (objects.boxes[:, :2] >= 0).all()
            assert (objects.boxes[:, 2:] <= [255, 159]).all()
            assert set(objects.labels.tolist()) <= {1, 2}
            assert not set(objects.ids.tolist()) & set(objects.hidden.tolist())
        first, second = pair.objects
        same = np.intersect1d(first.ids, second.ids)
        common += len(same)
        for k in same:
            assert first.labels[first.ids == k] == second.labels[second.ids == k]
    assert common > 6


# ------------------------------------------------------------------ triplets
def test_visibility_by_hand():
    last = np.array([10, 10, 29, 49], np.float32)  # 20 x 40
    for shift, wanted in (((0, 0), 1), ((11, 0), 1), ((0, -20), 1), ((14, 0), -1), ((18, 0), 0), ((0, 60), 0)):
        assert triplets.visibility(last, last + np.array([*shift, *shift], np.float32)) == wanted
    assert triplets.visibility(last, np.array([-30, 10, 69, 49], np.float32)) == -1, "five times as wide"


def test_triplets_know_where_their_target_is(lessons, pool):
    kinds = {-1: 0, 0: 0, 1: 0}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        pair = pairs.make_pair(pool, seed % 10, DESIGN.size, SMALL.crop, rng)
        drawn = triplets.draw_triplets(pair, 10, rng)
        assert drawn.before.shape == drawn.last.shape == drawn.truth.shape == (len(drawn.visible), 4)
        assert len(drawn.visible) <= 10 + 2
        for i, visible in enumerate(drawn.visible.tolist()):
            kinds[int(visible)] += 1
            if visible == 1:
                assert triplets.visibility(drawn.last[i], drawn.truth[i]) == 1
                assert (pair.objects[1].boxes == drawn.truth[i]).all(1).any()
    assert min(kinds.values()) > 3
    assert kinds[1] > kinds[-1]


def test_background_is_searched_for_and_not_found(pool):
    found = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pair = pairs.make_pair(pool, seed, DESIGN.size, SMALL.crop, rng)
        for like in pair.objects[0].boxes:
            drawn = triplets._draw_nothing(pair, like, rng)
            if drawn is not None:
                before, last, truth, visible = drawn
                objects = pair.objects[0].boxes
                assert triplets.paired_iou(np.broadcast_to(before, objects.shape), objects).max() <= triplets.APART
                assert triplets.paired_iou(before[None], last[None]) > 0.4
                np.testing.assert_array_equal(last, truth)
                assert visible == 0
                found += 1
    assert found > 10


def test_nothing_in_a_picture_is_nothing_to_search_for():
    none = np.zeros((0, 4), np.float32)
    objects = pairs.Objects(*(np.zeros(0, np.int64),) * 2, none, none, np.zeros(0, np.int64))
    pair = pairs.Pair(np.zeros((2, 3, 8, 8), np.uint8), (objects, objects))
    assert triplets.draw_triplets(pair, 5, np.random.default_rng(0)).before.shape == (0, 4)


# ------------------------------------------------------------------ losses
def random_boxes(count, seed=0):
    rng = np.random.default_rng(seed)
    near = rng.uniform(0, 80, (count, 2))
    return torch.from_numpy(np.concatenate([near, near + rng.uniform(3, 60, (count, 2))], 1).astype(np.float32))


def test_encoding_is_the_inverse_of_decoding():
    anchors, boxes = random_boxes(20), random_boxes(20, 1)
    for weights in ((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)):
        deltas = encode_boxes(anchors, boxes, weights)
        torch.testing.assert_close(decode_boxes(anchors, deltas, weights), boxes, atol=1e-3, rtol=0)


def test_iou_equals_counted_pixels():
    a, b = random_boxes(6).round(), random_boxes(5, 1).round()
    got = losses.iou_matrix(a, b)
    for i, j in np.ndindex(6, 5):
        masks = np.zeros((2, 160, 160), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, (a[i].int().tolist(), b[j].int().tolist()), strict=True):
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
        assert got[i, j] == pytest.approx((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum(), abs=1e-5)


def test_every_object_has_an_anchor_and_doubtful_places_teach_nothing():
    dice = torch.Generator().manual_seed(0)
    anchors = torch.tensor([[0, 0, 9, 9], [0, 0, 9, 19], [100, 100, 109, 109], [50, 50, 59, 59]], dtype=torch.float32)
    truth, unsure = torch.tensor([[0.0, 0, 9, 29]]), torch.tensor([[45.0, 45, 65, 65]])
    objects, owner, nothing = losses.match_anchors(anchors, truth, unsure, 10, dice)
    assert objects.tolist() == [1], "the best, and more than half; the first fits with a third"
    assert owner.tolist() == [0]
    assert nothing.tolist() == [2]
    objects, _, nothing = losses.match_anchors(anchors, truth[:0], unsure, 2, dice)
    assert len(objects) == 0
    assert len(nothing) == 2


@pytest.mark.parametrize("design", [DESIGN, Design(size=(320, 192))])
def test_places_of_the_loss_are_those_of_the_graph(design):
    network = SiamMot((4, 4, 8, 8, 8, 8), features=8, hidden=8, template=design.template)
    graph = Motion(network, design)
    boxes = random_boxes(3)
    region = losses.widen(boxes, design.search_scale)
    cell = (slice(None), design.response // 3, design.response // 2)
    steps = graph.steps.reshape(-1, 16)[:, 7:9].mean(1)
    for axis, index in ((0, cell[2]), (1, cell[1])):
        wanted = region[:, axis] + steps[index] * (region[:, axis + 2] - region[:, axis])
        torch.testing.assert_close(losses.response_places(boxes, design)[cell][:, axis], wanted)


def perfect_maps(last, truth, design):
    """What `TrackHead` should say."""
    at = losses.response_places(last, design)
    sides = torch.cat([at - truth[:, None, None, :2], truth[:, None, None, 2:] - at], 3).permute(0, 3, 1, 2)
    unit = (last[:, 2:] - last[:, :2]).repeat(1, 2)[:, :, None, None]
    own, off = truth[:, 2:] - truth[:, :2], (at - (truth[:, None, None, :2] + truth[:, None, None, 2:]) / 2).abs()
    inner = (off < 0.25 * own[:, None, None]).all(3)
    logits = torch.where(inner, 20.0, -20.0)
    ratios = [torch.minimum(sides[:, k], sides[:, k + 2]) / torch.maximum(sides[:, k], sides[:, k + 2]) for k in (0, 1)]
    centre = (ratios[0].clamp(min=0) * ratios[1].clamp(min=0)).sqrt().clamp(1e-4, 1 - 1e-4).logit()
    return torch.stack([-logits / 2, logits / 2], 1), centre[:, None], (sides / unit).clamp(min=0)


def test_perfect_maps_cost_little_and_wrong_ones_much():
    last = random_boxes(6, 3)
    truth = last + 0.3 * (last[:, 2:] - last[:, :2]).repeat(1, 2) * torch.tensor([1.0, -0.5, 1.0, -0.5])
    visible = torch.ones(6)
    maps = perfect_maps(last, truth, DESIGN)
    seen, place, middle = losses.explicit_loss(maps, last, truth, visible, DESIGN)
    assert float(seen) < 1e-3
    assert float(place) < 1e-3
    assert float(middle) < 0.6, "the entropy of the truth remains"
    hidden, no_place, _ = losses.explicit_loss(maps, last, truth, torch.zeros(6), DESIGN)
    assert float(hidden) > 10
    assert float(no_place) == 0
    for loss in losses.explicit_loss(maps, last, truth, -visible, DESIGN):
        assert float(loss) == 0
    wide = (maps[0], maps[1], 2 * maps[2])
    assert float(losses.explicit_loss(wide, last, truth, visible, DESIGN)[1]) == pytest.approx(np.log(4), abs=0.05)


def test_the_graph_finds_what_perfect_maps_say():
    last = random_boxes(4, 5)
    truth = last + 0.2 * (last[:, 2:] - last[:, :2]).repeat(1, 2) * torch.tensor([-1.0, 1.0, -1.0, 1.0])
    design = replace(DESIGN, amodal=True)
    graph = Motion(SiamMot((4, 4, 8, 8, 8, 8), features=8, hidden=8, template=design.template), design)
    cls, centre, reg = perfect_maps(last, truth, design)
    sides = reg * (last[:, 2:] - last[:, :2]).repeat(1, 2)[:, :, None, None]
    boxes, visible = graph.locate(losses.widen(last, 2.0), last, cls, centre, sides)
    assert losses.iou_matrix(boxes, truth).diagonal().min() > 0.9
    assert float(visible.min()) > 0.9


def test_a_perfect_implicit_head_costs_nothing():
    last, truth = random_boxes(4), random_boxes(4, 1)
    visible, deltas = torch.tensor([1.0, 0.0, 1.0, -1.0]), encode_boxes(last, truth)
    seen, place = losses.implicit_loss(40 * (visible == 1) - 20.0, deltas, last, truth, visible)
    assert float(seen) < 1e-3
    assert float(place) < 1e-5
    seen, place = losses.implicit_loss(20 - 40.0 * (visible == 1), deltas + 1, last, truth, visible)
    assert float(seen) > 5
    assert float(place) > 3


# ------------------------------------------------------------------ training
def test_normalisation_thaws_and_freezes():
    network = SiamMot((4, 4, 8, 8, 8, 8), features=8, hidden=8)
    image = torch.randn(1, 3, 64, 64)
    thawed = SiamMot((4, 4, 8, 8, 8, 8), features=8, hidden=8)
    thawed.load_state_dict(network.state_dict())
    thaw(thawed)
    for _ in range(3):
        thawed.train().pyramid(torch.randn(2, 3, 64, 64))
    wanted = thawed.eval().pyramid(image)
    freeze(thawed)
    counts = [sum(isinstance(module, FrozenNorm) for module in each.modules()) for each in (network, thawed)]
    assert counts[0] == counts[1] > 0
    assert thawed.state_dict().keys() == network.state_dict().keys()
    for a, b, before in zip(thawed.pyramid(image), wanted, network.pyramid(image), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(a, before)


def test_steps_on_the_same_lessons_lower_the_losses(lessons, model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    with ThreadPoolExecutor(1) as workers:
        history = [training.take_step(model, optimizer, lessons, workers, half=False) for _ in range(12)]
    assert list(history[0]) == list(training.Losses._fields)
    assert np.isfinite([list(step.values()) for step in history]).all()
    assert sum(history[-1].values()) < 0.8 * sum(history[0].values())
    lower = sum(history[-1][name] < history[0][name] for name in history[0])
    assert lower >= 6


def test_gradients_are_those_of_the_mean(lessons, model):
    model.eval()  # so that statistics do not follow
    with ThreadPoolExecutor(2) as workers:
        training.take_step(model, torch.optim.SGD(model.parameters(), lr=0.0), lessons, workers, half=False)
    got = model.network.fpn.fpn_layer1.weight.grad.clone()
    model.zero_grad()
    (sum(sum(training.losses(model, lesson)) for lesson in lessons) / len(lessons)).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    torch.testing.assert_close(got, model.network.fpn.fpn_layer1.weight.grad, atol=1e-5, rtol=1e-3)


def test_training_is_a_function_of_its_seed(pool, monkeypatch):
    monkeypatch.setattr(training, "prefers_bfloat16", lambda model, lesson: False)  # which is a matter of speed
    first, second = (training.train(pool, SMALL, lambda text: None) for _ in range(2))
    other = training.train(pool, replace(SMALL, seed=2), lambda text: None)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.equal(first.implicit.fc1.weight, other.implicit.fc1.weight)


def test_both_heads_share_a_detector(model):
    networks = model.eval().networks()
    image = torch.randn(1, 3, 64, 96)
    maps = [networks[motion].pyramid(image) for motion in ("emm", "imm")]
    for a, b, own in zip(*maps, model.network.pyramid(image), strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, own, atol=1e-4, rtol=1e-4)
    assert networks["emm"].state_dict()["anchors.0"].tolist() == networks["imm"].state_dict()["anchors.0"].tolist()
    torch.testing.assert_close(networks["imm"].track.fc1.weight, model.implicit.fc1.weight)


# ------------------------------------------------------------------ quality and export
class Perfect:
    """A model that knows the truth of both scenes of a step."""

    def __init__(self, step, network):
        self.step, self.network, self.card = step, network, network.card

    def __getattr__(self, name):
        return getattr(self.network, name)

    def decode(self, outputs, placement):
        found, _ = self.step.before.detections()
        return Detections(found.boxes, found.scores, found.labels - pairs.FIRST_THING)

    def move(self, outputs, last, templates):
        rows, then = quality._in_both(self.step)
        placement = place((960, 540), DESIGN.size, "stretch")
        searched = triplets.paired_iou(to_legacy(self.step.before.boxes[rows], placement), last) > 0.9
        return to_legacy(self.step.now.boxes[then], placement), searched.astype(np.float32)


@pytest.fixture(scope="module")
def one_step():
    return next(quality.validation_steps())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_step):
    where = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    monkey = pytest.MonkeyPatch()
    monkey.setattr(command, "validation_steps", lambda: iter([one_step]))
    model = small.TwoHeads(replace(SMALL, design=replace(DESIGN, size=(320, 192)))).eval()
    figures = command.write_both(model, where, "a test")
    monkey.undo()
    return where, figures


def test_trained_heads_become_folders(folder):
    where, figures = folder
    for motion in ("emm", "imm"):
        network = open_siammot(where / motion, device="cpu")
        assert network.model.head == motion
        assert network.model.card.class_names == ("person", "car")
        assert network.model.card.facts["relative"]
        card = read_card(network.model.sessions["motion"].metadata)
        assert card.facts["validation"] == figures[motion]
        assert network.model.no_templates.shape == (0, 8, 5, 5)
    for name in ("trunk", "boxes"):
        files = [(where / motion / f"{name}.onnx").read_bytes() for motion in ("emm", "imm")]
        assert files[0] == files[1], "the same detector"


def test_quality_of_a_perfect_model(folder, one_step):
    model = Perfect(one_step, open_siammot(folder[0] / "emm", device="cpu").model)
    figures = quality.measure(model, [one_step])
    assert figures["ap50"] == figures["recall"] == 1
    if figures["far"]:
        assert figures["track_iou"] > 0.9
        assert figures["stay_iou"] < quality.FAR


def test_average_precision_by_hand():
    counts = quality.Quality()
    counts._hits = [(0, 0.9, True), (0, 0.8, False), (0, 0.7, True), (0, 0.1, False)]
    counts._asked = {0: 4}
    assert counts._average_precision(0) == pytest.approx((1 + 2 / 3) / 4)


def test_weights_are_kept_and_exported(tmp_path, pool, one_step, monkeypatch, capsys):
    monkeypatch.setattr(command, "validation_steps", lambda: iter([one_step]))
    monkeypatch.setattr(command, "fill_pool", lambda *given: pool)
    monkeypatch.setattr(command, "Recipe", lambda **given: replace(SMALL, **given))
    kept = str(tmp_path / "weights.pt")
    assert main(["siammot", "--train", "--steps", "1", "--save-checkpoint", kept, "-o", str(tmp_path / "a")]) == 0
    assert "held-out" in capsys.readouterr().err
    assert main(["siammot", "--weights", kept, "-o", str(tmp_path / "b")]) == 0
    for motion in ("emm", "imm"):
        cards = [open_siammot(tmp_path / name / motion, device="cpu").model.card for name in "ab"]
        assert cards[0].checkpoint_sha256 == cards[1].checkpoint_sha256
        assert "--train --steps 1" in cards[0].source
        assert "weights.pt" in cards[1].source and str(tmp_path) not in cards[1].source + cards[0].source
    words = ["--train", "--steps", "1", "--start", kept, "--save-checkpoint", str(tmp_path / "more.pt")]
    assert main(["siammot", *words, "-o", str(tmp_path / "c")]) == 0
    before, after = (torch.load(tmp_path / name)["implicit.fc1.weight"] for name in ("weights.pt", "more.pt"))
    assert 0 < (before - after).abs().max() < 0.01, "went on from there"
    shutil.rmtree(tmp_path / "c")
    assert main(["siammot", "--weights", str(tmp_path / "a" / "emm" / "trunk.onnx"), "-o", str(tmp_path / "c")]) == 2
    monkeypatch.setattr(command, "Recipe", lambda **given: replace(SMALL, hidden=24, **given))
    assert main(["siammot", "--weights", kept, "-o", str(tmp_path / "c")]) == 2
    assert "does not hold the weights" in capsys.readouterr().err
    assert main(["siammot", "--train", "--start", kept, "-o", str(tmp_path / "c")]) == 2
    assert "does not hold the weights" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
