from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models import graphs
from tests.models.graphs import ultralytics, v8_head
from tracker.errors import ConfigError, FrameError, ModelError, ModelNotFoundError, ProviderError, TrackerError
from tracker.models import FAMILIES, ImageInput, Model, ModelCard, ModelConfig, open_model, opening, write_card
from tracker.models.families import family_class

HEAD = {"o": v8_head([[10, 10, 60, 90]], [[0.9, 0.1]])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return graphs.planted(tmp_path / "net.onnx", HEAD, metadata=ultralytics(["person", "car"]))


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return graphs.planted(tmp_path / "bare.onnx", HEAD)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_can_be_loaded(name: str) -> None:
    family = family_class(name)
    assert issubclass(family, Model) and family.family == name and family.tasks
    assert family.assumed is None or family.assumed.family == name


def test_a_family_is_never_guessed(bare: Path) -> None:
    with pytest.raises(ModelError, match="does not say what it is; name its family: yolo, yolox, panoptic"):
        open_model(bare)
    with pytest.raises(ModelError, match=r"expected a model family of yolo, yolox, panoptic, .*, got 'yolo99'"):
        open_model(bare, "yolo99")
    with pytest.raises(ModelError, match="has no model card, and a panoptic model needs one"):
        open_model(bare, "panoptic")
    assert open_model(bare, "yolo").card.family == "yolo"


def test_a_card_makes_a_file_speak(bare: Path) -> None:
    write_card(bare, ModelCard("yolo", "detect", ("person", "car"), outputs={"head": "o"}, licence="none"))
    model = open_model(bare)
    assert model.card.class_names == ("person", "car") and model.card.licence == "none"
    assert len(model(np.zeros((128, 128, 3), np.uint8))) == 1


def test_a_family_that_the_file_contradicts(path: Path, bare: Path) -> None:
    with pytest.raises(ModelError, match="says it is of the family 'yolo', not 'yolox'"):
        open_model(path, "yolox")
    write_card(bare, ModelCard("newest", "detect"))
    with pytest.raises(ModelError, match="of the family 'newest'; known: yolo, yolox, panoptic"):
        open_model(bare)


def test_cards_that_do_not_fit_the_graph(bare: Path) -> None:
    write_card(bare, ModelCard("yolo", "detect", outputs={"head": "boxes"}))
    with pytest.raises(ModelError, match=r"needs an output 'boxes' of 3 dimensions \(head\), got o \[1, 6, 336\]"):
        open_model(bare)
    write_card(bare, ModelCard("yolo", "detect", image=ImageInput(name="frame")))
    with pytest.raises(ModelError, match="needs an input 'frame', got images"):
        open_model(bare)


def test_a_broken_card_names_the_file(tmp_path: Path) -> None:
    broken = graphs.planted(tmp_path / "net.onnx", HEAD, metadata={"tracker.card": '{"schema": 9}'})
    with pytest.raises(ModelError, match=r"net\.onnx: expected a model card of schema 1, got 9"):
        open_model(broken)


def test_inputs_that_are_no_pictures(tmp_path: Path) -> None:
    flat = graphs.planted(tmp_path / "net.onnx", HEAD, image=(1, 128, 128, 3))
    with pytest.raises(
        ModelError, match=r"needs an image input \[1, 3, height, width\], got images \[1, 128, 128, 3\]"
    ):
        open_model(flat, "yolo")


def test_sizes_that_do_not_fit(path: Path, tmp_path: Path) -> None:
    assert open_model(path, size=128).size == open_model(path, size=[128, 128]).size == (128, 128)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="needs its fixed input size 128x128, got 640x640"):
        open_model(path, size=640)
    free = graphs.free_size(tmp_path / "free.onnx", HEAD["o"], 2)
    with pytest.raises(ConfigError, match=r"takes any input size; name one \(size=\), a multiple of 32"):
        open_model(free, "yolo")
    with pytest.raises(ConfigError, match="multiples of 32, got 100x128"):
        open_model(free, "yolo", size=(100, 128))
    assert open_model(free, "yolo", size=128).size == (128, 128)


def test_settings_out_of_range(path: Path) -> None:
    for settings, says in (
        ({"min_score": 1.5}, "min_score in 0..1, got 1.5"),
        ({"nms_iou": -0.1}, "nms_iou in 0..1"),
        ({"max_detections": 0}, "max_detections of at least 1"),
        ({"names": "imagenet"}, "class names or 'coco', got 'imagenet'"),
        ({"names": ["a", "b"]}, "names its 2 classes itself"),
        ({"classes": ["unicorn"]}, "a class of person, car, got 'unicorn'"),
        ({"classes": [2]}, "a class from 0 to 1, got '2'"),
        ({"classes": ["persn"]}, "a class such as person, got 'persn'"),
        ({"classes": ["Car"]}, "a class such as car, got 'Car'"),
        ({"classes": [-1]}, "got '-1'"),
    ):
        with pytest.raises(ConfigError, match=says):
            open_model(path, **settings)  # type: ignore[arg-type]


def test_classes_of_a_model_without_names(bare: Path) -> None:
    assert open_model(bare, "yolo", classes=[1]).classes == (1,)
    with pytest.raises(ConfigError, match="by index, as this model does not name its classes"):
        open_model(bare, "yolo", classes=["person"])
    with pytest.raises(ConfigError, match="classes below 2, got 2"):
        open_model(bare, "yolo", classes=[2])
    assert open_model(bare, "yolo", names=["cat", "dog"], classes=["dog"]).classes == (1,)


def test_defaults_are_written_once() -> None:
    config = ModelConfig()
    assert (config.min_score, config.nms_iou, config.max_detections) == (0.1, 0.65, 100)


@pytest.mark.parametrize("what", ["missing", "empty", "text", "folder", "cut"])
def test_bad_files_are_one_line(tmp_path: Path, path: Path, what: str) -> None:
    bad = tmp_path / "bad.onnx"
    if what == "empty":
        bad.touch()
    elif what == "text":
        bad.write_text("hello")
    elif what == "folder":
        bad.mkdir()
    elif what == "cut":
        bad.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ModelError) as caught:
        open_model(bad, "yolo")
    assert isinstance(caught.value, ModelNotFoundError) == (what == "missing")
    assert "bad.onnx" in str(caught.value) and "\n" not in str(caught.value)


def test_built_in_models_have_a_bare_name(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_ASSETS", path.parent)
    assert open_model("net").session.path == path
    with pytest.raises(ModelNotFoundError, match="no model file nett; built-in models: net"):
        open_model("nett")


def test_a_model_takes_frames_and_images_only(path: Path) -> None:
    model = open_model(path)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), "picture"):
        with pytest.raises(FrameError):
            model(wrong)  # type: ignore[arg-type]


def test_opening_warms_up(path: Path) -> None:
    model = open_model(path)
    assert model.warmup_s is not None and model.warmup_s > 0 and model.session.first_run_s is not None
    cold = open_model(path, warmup=False)
    assert cold.warmup_s is None and cold.session.first_run_s is None
    assert cold.warmup() == cold.warmup_s


def test_an_unknown_device(path: Path) -> None:
    with pytest.raises(ProviderError, match="auto, cpu, cuda, tensorrt"):
        open_model(path, device="tpu")
    assert issubclass(ProviderError, TrackerError)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_whole_way_prints_nothing(path: Path, device: str) -> None:
    code = (
        "import numpy as np\n"
        "from tracker.models import open_model\n"
        f"model = open_model({str(path)!r}, device={device!r})\n"
        "assert len(model(np.zeros((72, 128, 3), np.uint8))) == 1\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
