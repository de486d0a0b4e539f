import warnings
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from exporters import optimisation, scenes  # noqa: E402
from exporters.__main__ import main  # noqa: E402
from exporters.parity import ParityError, check_parity  # noqa: E402
from exporters.street import command as street  # noqa: E402
from exporters.street import network as parts  # noqa: E402
from exporters.street import training  # noqa: E402
from exporters.street.network import VECTOR, StreetNet  # noqa: E402
from tracker.errors import ConfigError  # noqa: E402
from tracker.models import open_model  # noqa: E402
from tracker.models.card import read_card  # noqa: E402
from tracker.onnx.session import Session  # noqa: E402

SMALL = training.Recipe(size=(160, 96), crop=(128, 80), streets=2, steps=2)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return scenes.fill_pool(tmp_path_factory.mktemp("pool"), scenes.MOMENTS + 1, seed=998)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return StreetNet()


@pytest.fixture(scope="module")
def batch(pool):
    return training.make_batch(pool, SMALL, [(0, 1), (1, 2)])


@pytest.mark.parametrize("size", [(64, 64), (128, 80), (512, 288)])
def test_maps_have_their_strides(network, size):
    width, height = size
    image = np.zeros((1, 3, height, width), np.float32)
    semantic, heat, offset, motion, embedding = street.run(network, image, image)
    assert semantic.shape == (1, 7, height // 2, width // 2)
    assert heat.shape == (1, 1, height // 2, width // 2)
    assert offset.shape == (1, 2, height // 2, width // 2)
    assert motion.shape == (1, 2, height // 4, width // 4)
    assert embedding.shape == (1, 2 * VECTOR, height // 4, width // 4)
    assert 0 < heat.min() <= heat.max() < 0.5


def test_small_enough_for_the_wheel(network):
    assert sum(p.numel() for p in network.parameters()) < 260_000


def test_only_motion_knows_the_picture_before(network):
    image, one, other = np.random.default_rng(0).uniform(-2, 2, (3, 1, 3, 64, 64)).astype(np.float32)
    first, second = street.run(network, image, one), street.run(network, image, other)
    for name, a, b in zip(parts.Maps._fields, first, second, strict=True):
        assert np.array_equal(a, b) == (name != "motion"), name


def test_comparison_equals_a_slow_twin():
    now, before = torch.randn(2, 1, 3, 5, 9).unbind()
    got = parts.compare(now, before)
    for k, (dy, dx) in enumerate(parts._SHIFTS):
        for y, x in np.ndindex(5, 9):
            inside = 0 <= y + dy < 5 and 0 <= x + dx < 9
            there = before[0, :, y + dy, x + dx] if inside else torch.zeros(3)
            torch.testing.assert_close(got[0, 3 * k : 3 * k + 3, y, x], (now[0, :, y, x] - there).abs())


def test_a_batch_is_whole_streets(batch):
    assert batch.streets.tolist() == [0] * scenes.MOMENTS + [1], "the last street is cut short"
    assert batch.image.shape == batch.before.shape == (5, 3, 80, 128)


def test_steps_on_one_batch_lower_every_loss(batch, network):
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    network.train()
    history = np.array([training.take_step(network, optimizer, batch, SMALL, half=False) for _ in range(5)])
    assert np.isfinite(history).all()
    assert history[-1].sum() < 0.9 * history[0].sum()
    assert (history[-1] < history[0]).sum() >= 4


def perfect_maps(batch):
    """What the network should say of a batch: everybody's vector points along an axis of its own."""
    semantic = 40 * torch.nn.functional.one_hot(batch.classes, 7).permute(0, 3, 1, 2).float()
    sure = torch.where(batch.heat == 1, 30.0, -30.0)[:, None]
    numbers = batch.streets[:, None, None] * 256 + batch.ids
    places = torch.zeros_like(numbers)
    for k, number in enumerate(numbers[batch.ids > 0].unique()):
        places[numbers == number] = k
    assert places.max() < VECTOR
    axis = torch.nn.functional.one_hot(places, VECTOR).permute(0, 3, 1, 2).float()
    return parts.Maps(semantic, sure, batch.offset, batch.motion, torch.cat([axis, axis], 1))


def test_perfect_maps_cost_nothing(pool):
    batch = training.make_batch(pool, SMALL, [(0, 1)])
    maps = perfect_maps(batch)
    for name, loss in training.losses(maps, batch, SMALL)._asdict().items():
        assert float(loss) < 1e-3, name
    swapped = training.losses(maps._replace(embedding=torch.ones_like(maps.embedding)), batch, SMALL)
    assert float(swapped.triplet) > 0.1


def test_vectors_are_pooled_over_masks_and_classes(batch):
    embedding = torch.randn(5, 2 * VECTOR, *batch.ids.shape[1:])
    vectors, labels, identities = training.pool_vectors(embedding, batch)
    row = 0
    for b, k in np.ndindex(5, 256):
        mask = batch.ids[b] == k
        if k and mask.sum() >= training.LEAST_CELLS:
            label = int(batch.labels[b][mask][0])
            own = embedding[b, (label - 5) * VECTOR : (label - 4) * VECTOR, mask].mean(1)
            torch.testing.assert_close(vectors[row], own / own.norm())
            assert int(labels[row]) == label
            assert int(identities[row]) == int(batch.streets[b]) * 256 + k
            row += 1
    assert row == len(vectors) > 4


def test_triplets_are_the_hardest_within_a_class():
    angles = torch.deg2rad(torch.tensor([0.0, 20.0, 50.0, 70.0, 10.0]))
    vectors = torch.stack([angles.cos(), angles.sin()], 1)
    identities, labels = torch.tensor([1, 1, 1, 2, 3]), torch.tensor([5, 5, 5, 5, 6])
    far, near = [50, 30, 50], [70, 50, 20]  # degrees; the fourth has no second picture, the fifth is of another class
    chords = [2 * np.sin(np.deg2rad(np.array(a)) / 2) for a in (far, near)]
    wanted = np.log1p(np.exp(5 * (chords[0] - chords[1]))).mean() / 5
    assert float(training.triplet_loss(vectors, labels, identities)) == pytest.approx(wanted, rel=1e-4)
    assert float(training.triplet_loss(vectors[:0], labels[:0], identities[:0])) == 0
    assert float(training.triplet_loss(vectors[3:], labels[3:], identities[3:])) == 0


def test_learning_rate_rises_and_falls():
    rates = [optimisation.learning_rate(x) for x in (0, 0.02, 0.1, 0.5, 0.9, 1)]
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4] > rates[5] == 0


def test_training_is_a_function_of_its_seed(pool, monkeypatch):
    monkeypatch.setattr(training, "prefers_bfloat16", lambda network, batch: False)  # which is a matter of speed
    first, second = (training.train(pool, SMALL, lambda text: None) for _ in range(2))
    other = training.train(pool, replace(SMALL, seed=2), lambda text: None)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.equal(first.stride2[0][0].weight, other.stride2[0][0].weight)


def shaken(network):
    """As if trained: folding must use the statistics."""
    with torch.no_grad():
        for name, statistic in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                statistic.add_(torch.rand_like(statistic))
    return network


def pairs(count, size=(80, 128)):
    given = np.random.default_rng(0).uniform(-2, 2, (count, 2, 1, 3, *size)).astype(np.float32)
    return [tuple(pair) for pair in given]


def test_export_equals_torch(tmp_path, network):
    path = tmp_path / "net.onnx"
    street.export(shaken(network), (128, 80), path)
    assert check_parity(path, lambda *given: street.run(network, *given), pairs(3)) < 1e-4
    ops = {node.op_type for node in __import__("onnx").load(path).graph.node}
    assert "BatchNormalization" not in ops
    with torch.no_grad():
        network.semantic[-1].weight.mul_(1.01)
    with pytest.raises(ParityError):
        check_parity(path, lambda *given: street.run(network, *given), pairs(1))


def test_training_goes_on_from_a_file(tmp_path, pool, network):
    path = tmp_path / "net.onnx"
    street.export(shaken(network), (128, 80), path)
    recipe = replace(SMALL, start=path, seed=5, steps=1)
    trained = training.train(pool, recipe, lambda text: None)
    (given,) = pairs(1)
    before, after = street.run(network, *given), street.run(trained, *given)
    for a, b, name in zip(before, after, parts.Maps._fields, strict=True):
        assert np.abs(a - b).mean() < 0.1 * np.abs(a).mean() + 1e-3, name


@pytest.fixture
def few_scenes(monkeypatch):
    chosen = [next(street.validation_moments())]
    monkeypatch.setattr(street, "validation_moments", lambda: iter(chosen))


def test_a_checkpoint_becomes_a_model_with_a_card(tmp_path, network, few_scenes, capsys):
    torch.save(network.state_dict(), tmp_path / "net.pt")
    out = tmp_path / "new" / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["street", "--checkpoint", str(tmp_path / "net.pt"), "-o", str(out)]) == 0
    assert [p.name for p in out.parent.iterdir()] == ["net.onnx"]
    card = read_card(Session(out).metadata)
    assert card.family == "panoptic-video"
    assert set(card.facts["validation"]) >= {"miou", "thing_quality", "recall", "precision"}
    assert len(card.checkpoint_sha256) == 64
    model = open_model(out, device="cpu")
    assert model.size == training.Recipe().size
    assert model.gives == {"masks", "offsets", "embeddings"}
    assert "held-out" in capsys.readouterr().err


def test_nothing_is_written_without_parity(tmp_path, network, few_scenes, monkeypatch, capsys):
    torch.save(network.state_dict(), tmp_path / "net.pt")
    out = tmp_path / "net.onnx"
    out.write_bytes(b"the old file")
    real = street.run
    monkeypatch.setattr(street, "run", lambda *given: [1.01 * output + 0.1 for output in real(*given)])
    assert main(["street", "--checkpoint", str(tmp_path / "net.pt"), "-o", str(out)]) == 2
    assert "ONNX and torch differ" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.pt"]
    assert out.read_bytes() == b"the old file"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either --train or --checkpoint"),
        (["--train", "--minutes", "0"], "--minutes > 0"),
        (["--checkpoint", "a.pt", "--start", "a.onnx"], "give both"),
        (["--train", "--start", "missing.onnx"], "missing.onnx cannot be read"),
        (["--checkpoint", "missing.pt"], "missing.pt"),
        (["--checkpoint", __file__], "cannot be read as a checkpoint"),
    ],
)
def test_bad_commands_say_so_in_one_line(words, message, assert_refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(["street", *words], message)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.pop("way.3.bias"), "missing 1: way.3.bias"),
        (lambda state: state.update(more=torch.zeros(1)), "unknown 1: more"),
        (lambda state: state.update(more=3), "expected a dict of tensors"),
    ],
)
def test_other_weights_are_refused_by_name(damage, message, network, tmp_path):
    state = network.state_dict()
    damage(state)
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(ConfigError, match=message):
        street.load_network(tmp_path / "net.pt")


def test_the_card_does_not_tell_where_things_lay():
    words = ["street", "--train", "--cache", "/secret", "-o", "a.onnx", "--save-checkpoint=/x.pt", "--seed", "3"]
    assert street.typed(words) == "python -m exporters street --train -o a.onnx --seed 3"
    words = ["street", "--train", "--start", "/secret/old.onnx", "-o", "/secret/a.onnx"]
    assert street.typed(words) == "python -m exporters street --train --start old.onnx -o a.onnx"
    words = ["street", "--train", "--start=/secret/old.onnx", "-o", "a.onnx"]
    assert street.typed(words) == "python -m exporters street --train --start=old.onnx -o a.onnx"
