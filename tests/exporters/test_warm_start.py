"""Exported weights come back into a torch network, and can be trained on."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
onnx = pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from exporters.street import command as street  # noqa: E402
from exporters.street.network import StreetNet  # noqa: E402
from exporters.street.warm_start import calibrate, load_weights  # noqa: E402
from tests.exporters.test_street import pairs, shaken  # noqa: E402
from tests.models.graphs import doubler  # noqa: E402
from tracker.errors import ModelError  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(3)
    network = shaken(StreetNet())
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    street.export(network, (128, 80), path)
    return network, path


def test_weights_come_back(exported):
    network, path = exported
    torch.manual_seed(4)
    other = StreetNet()
    load_weights(other, path)
    for given in pairs(2):
        for a, b in zip(street.run(network, *given), street.run(other, *given), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4 * max(1, np.abs(a).max()))


def test_a_file_without_the_new_heads_will_do(exported, tmp_path):
    network, path = exported
    old = tmp_path / "old.onnx"
    onnx.utils.extract_model(str(path), str(old), ["image"], ["semantic", "heat", "offset"])
    torch.manual_seed(4)
    other = StreetNet()
    fresh = {name: value.clone() for name, value in other.state_dict().items() if name.split(".")[0] in StreetNet.FRESH}
    load_weights(other, old)
    (given,) = pairs(1)
    for a, b in zip(street.run(network, *given)[:3], street.run(other, *given)[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * max(1, np.abs(a).max()))
    assert fresh
    for name, value in fresh.items():
        assert torch.equal(other.state_dict()[name], value), name


def test_calibrated_training_mode_is_evaluation_mode(exported):
    _, path = exported
    network = StreetNet()
    load_weights(network, path)
    batch = [torch.randn(4, 3, 64, 64) for _ in range(2)]
    with torch.no_grad():
        before = network.eval()(*batch)
        calibrate(network, batch[0], batch[0])  # one picture twice: what is shared has the same statistics
        after = network.eval()(*batch)
        for a, b in zip(before, after, strict=True):
            torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-3)
        still = network.eval()(batch[0], batch[0])
        trained = network.train()(batch[0], batch[0])
    for name in ("semantic", "offset", "embedding"):
        torch.testing.assert_close(getattr(trained, name), getattr(still, name), atol=2e-2, rtol=1e-2)


def test_what_is_no_street_network_is_refused(exported, tmp_path):
    _, path = exported
    (tmp_path / "text.onnx").write_text("hello")
    doubler(tmp_path / "double.onnx")
    half = onnx.utils.Extractor(onnx.load(path)).extract_model(["image"], ["semantic"])
    onnx.save(half, tmp_path / "half.onnx")
    wide = onnx.load(path)
    next(node for node in wide.graph.node if node.op_type == "Conv").name = "/elsewhere/Conv"
    onnx.save(wide, tmp_path / "wide.onnx")
    for name, message in (
        ("gone", "cannot be read"), ("text", "cannot be read"), ("double", "found none named"),
        ("half", "found none named centres"), ("wide", "got '/elsewhere/Conv'"),
    ):  # fmt: skip
        with pytest.raises(ModelError, match=message):
            load_weights(StreetNet(), tmp_path / f"{name}.onnx")
