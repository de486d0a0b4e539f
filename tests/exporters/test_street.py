import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from exporters import scenes, street, training  # noqa: E402
from exporters.__main__ import main  # noqa: E402
from exporters.network import StreetNet  # noqa: E402
from exporters.parity import ParityError, check_parity  # noqa: E402
from tracker.models.card import read_card  # noqa: E402
from tracker.models.model import open_model  # noqa: E402
from tracker.models.session import Session  # noqa: E402

SMALL = training.Recipe(size=(160, 96), crop=(128, 80), batch=2, steps=2)


@pytest.fixture(scope="module", autouse=True)
def quiet_torch():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return scenes.fill_pool(tmp_path_factory.mktemp("pool"), 2, seed=998)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return StreetNet()


@pytest.mark.parametrize("size", [(64, 64), (128, 80), (512, 288)])
def test_maps_have_stride_two(network, size):
    width, height = size
    semantic, heat, offset = street.run(network, np.zeros((1, 3, height, width), np.float32))
    assert semantic.shape == (1, 7, height // 2, width // 2)
    assert heat.shape == (1, 1, height // 2, width // 2)
    assert offset.shape == (1, 2, height // 2, width // 2)
    assert 0 < heat.min() <= heat.max() < 0.5


def test_small_enough_for_the_wheel(network):
    assert sum(p.numel() for p in network.parameters()) < 245_000


def test_steps_on_one_batch_lower_the_loss(pool, network):
    rng = np.random.default_rng(0)
    batch = training.collate([scenes.cut_sample(pool, row, SMALL.size, SMALL.crop, 2, rng) for row in (0, 1)])
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    network.train()
    history = [sum(training.take_step(network, optimizer, batch, SMALL, half=False)) for _ in range(5)]
    assert np.isfinite(history).all()
    assert history[-1] < 0.9 * history[0]


def test_perfect_maps_cost_nothing(pool):
    sample = scenes.cut_sample(pool, 0, SMALL.size, SMALL.crop, 2, np.random.default_rng(0))
    batch = training.collate([sample])
    _, classes, heat, offset, _ = batch
    semantic = 40 * torch.nn.functional.one_hot(classes, 7).permute(0, 3, 1, 2).float()
    sure = torch.where(heat == 1, 30.0, -30.0)[:, None]
    for loss in training.losses((semantic, sure, offset), batch, SMALL):
        assert float(loss) < 1e-3


def test_learning_rate_rises_and_falls():
    rates = [training.learning_rate(x) for x in (0, 0.02, 0.1, 0.5, 0.9, 1)]
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4] > rates[5] == 0


def test_training_is_a_function_of_its_seed(pool, monkeypatch):
    monkeypatch.setattr(training, "prefers_bfloat16", lambda network, batch: False)  # which is a matter of speed
    first, second = (training.train(pool, SMALL, lambda text: None) for _ in range(2))
    other = training.train(pool, replace(SMALL, seed=2), lambda text: None)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.equal(first.stride2[0][0].weight, other.stride2[0][0].weight)


def test_export_equals_torch(tmp_path, network):
    path = tmp_path / "net.onnx"
    with torch.no_grad():
        for name, statistic in network.named_buffers():  # as if trained: folding must use them
            if name.endswith(("running_mean", "running_var")):
                statistic.add_(torch.rand_like(statistic))
    street.export(network, (128, 80), path)
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(-2, 2, (1, 3, 80, 128)).astype(np.float32) for _ in range(3)]
    assert check_parity(path, lambda x: street.run(network, x), inputs) < 1e-4
    ops = {node.op_type for node in __import__("onnx").load(path).graph.node}
    assert "BatchNormalization" not in ops
    with torch.no_grad():
        network.semantic[-1].weight.mul_(1.01)
    with pytest.raises(ParityError):
        check_parity(path, lambda x: street.run(network, x), inputs)
    assert not path.exists()


@pytest.fixture
def few_scenes(monkeypatch):
    chosen = [next(street.validation_scenes())]
    monkeypatch.setattr(street, "validation_scenes", lambda: iter(chosen))


def test_a_checkpoint_becomes_a_model_with_a_card(tmp_path, network, few_scenes, capsys):
    torch.save(network.state_dict(), tmp_path / "net.pt")
    out = tmp_path / "new" / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["street", "--checkpoint", str(tmp_path / "net.pt"), "-o", str(out)]) == 0
    assert [p.name for p in out.parent.iterdir()] == ["net.onnx"]
    card = read_card(Session(out).metadata)
    assert card.family == "panoptic"
    assert set(card.facts["validation"]) == {"miou", "thing_quality", "recall", "precision"}
    assert len(card.checkpoint_sha256) == 64
    assert open_model(out, device="cpu").size == training.Recipe().size
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
        (["-o", "x.onnx"], "either --train or --checkpoint"),
        (["--train", "--minutes", "0", "-o", "x.onnx"], "--minutes > 0"),
        (["--checkpoint", "missing.pt", "-o", "x.onnx"], "missing.pt"),
        (["--checkpoint", __file__, "-o", "x.onnx"], "does not hold the weights"),
    ],
)
def test_bad_commands_say_so_in_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["street", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not Path("x.onnx").exists()


def test_the_card_does_not_tell_where_things_lay():
    words = ["street", "--train", "--cache", "/secret", "-o", "a.onnx", "--save-checkpoint=/x.pt", "--seed", "3"]
    assert street.typed(words) == "python -m exporters street --train -o a.onnx --seed 3"
