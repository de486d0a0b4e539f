import shutil
from pathlib import Path

import numpy as np
import pytest

import tracker
from exporters.parity import ParityError, check_parity
from tracker.models import open_model

STREET = Path(tracker.__file__).parent / "assets" / "street.onnx"


@pytest.fixture(scope="module")
def model():
    return open_model(STREET, device="cpu", warmup=False)


@pytest.fixture
def draft(tmp_path):
    path = tmp_path / "draft.onnx"
    shutil.copy(STREET, path)
    return path


@pytest.fixture(scope="module")
def tensors(model):
    noise = np.random.default_rng(0).normal(0, 1, (2, 2, 1, 3, model.size[1], model.size[0])).astype(np.float32)
    return [tuple(pair) for pair in noise]


def truth_of(model):
    return lambda *given: list(model.session.run(dict(zip(model.session.inputs, given, strict=True))).values())


def test_the_same_network_passes(model, draft, tensors):
    assert check_parity(draft, truth_of(model), tensors) < 1e-6
    assert draft.exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda outputs: [outputs[0] + 0.01 * np.abs(outputs[0]).max(), *outputs[1:]], "differ by 1.0e-02"),
        (lambda outputs: outputs[:2], "expected 2 outputs"),
        (lambda outputs: [outputs[0][..., 1:], *outputs[1:]], "expected semantic of shape"),
        (lambda outputs: [outputs[0], outputs[1] * np.nan, *outputs[2:]], "heat is not finite"),
    ],
)
def test_another_network_is_refused(model, draft, tensors, damage, message):
    truth = truth_of(model)
    with pytest.raises(ParityError, match=message):
        check_parity(draft, lambda *given: damage(truth(*given)), tensors)


def test_a_damaged_file_is_refused(model, draft, tensors):
    draft.write_bytes(draft.read_bytes()[:5000])
    with pytest.raises(ParityError, match="does not open"):
        check_parity(draft, truth_of(model), tensors)


def test_tampered_weights_are_refused(model, draft, tensors):
    onnx = pytest.importorskip("onnx", reason="needs the onnx package to change a weight")
    graph = onnx.load(draft)
    weight = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = onnx.numpy_helper.to_array(weight) * 1.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), weight.name))
    onnx.save(graph, draft)
    with pytest.raises(ParityError, match="differ"):
        check_parity(draft, truth_of(model), tensors)
