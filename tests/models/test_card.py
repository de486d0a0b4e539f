from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.models import graphs
from tracker.errors import ModelError, ModelNotFoundError
from tracker.models import ImageInput, ModelCard, Session, read_card, write_card
from tracker.models.card import CARD_KEY

CARD = ModelCard(
    family="panoptic", task="panoptic", class_names=("road", "person", "çar"), thing_ids=(1, 2),
    image=ImageInput("images", (64, 32), "nhwc", "bgr", 1.0, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "stretch", 0),
    outputs={"heat": "out1"}, stride=16, licence="Apache-2.0", source="a street", checkpoint_sha256="ab" * 32,
    facts={"window": [1, 2], "kernel": 7},
)  # fmt: skip


def test_text_and_card_are_the_same_thing() -> None:
    assert ModelCard.from_json(CARD.to_json()) == CARD
    assert ModelCard.from_json(ModelCard("yolo", "detect").to_json()) == ModelCard("yolo", "detect")
    assert "sha256" not in json.loads(CARD.to_json())


def test_a_card_is_appended_to_a_file_and_replaced(tmp_path: Path) -> None:
    path = graphs.planted(tmp_path / "net.onnx", {"y": np.zeros((2, 3), np.float32)}, metadata={"a": "b"})
    size = path.stat().st_size
    write_card(path, ModelCard("yolo", "detect"))
    assert 0 < path.stat().st_size - size < 800
    assert read_card(Session(path).metadata) == ModelCard("yolo", "detect")
    write_card(path, CARD)
    assert read_card(Session(path).metadata) == CARD
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("a", "b"), (CARD_KEY, CARD.to_json())]


def test_a_card_is_not_written_into_anything_else(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no model file"):
        write_card(tmp_path / "none.onnx", CARD)
    whole = graphs.doubler(tmp_path / "net.onnx").read_bytes()
    for junk in (b"This is a readme.", whole[:-3], b"\xff" * 40):
        (tmp_path / "junk.onnx").write_bytes(junk)
        with pytest.raises(ModelError, match="not an ONNX model, or cut short"):
            write_card(tmp_path / "junk.onnx", CARD)
        assert (tmp_path / "junk.onnx").read_bytes() == junk


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "a JSON object, got list"),
        ({"schema": 2}, "schema 1, got 2; update"),
        ({"schema": None}, "schema 1, got None"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"stride": "32"}, "stride is '32'"),
        ({"class_names": "person"}, "class_names is 'person'"),
        ({"thing_ids": ["a"]}, "thing_ids is"),
        ({"image": {"resize": "crop"}}, "resize to be one of letterbox"),
        ({"image": {"resize": 3}}, "resize is 3"),
        ({"image": {"size": [0, 4]}}, "positive pixels"),
        ({"image": {"std": [1.0, 0.0, 1.0]}}, "positive deviations"),
        ({"image": [1]}, "an object, got list"),
        ({"family": None}, "family is None"),
    ],
)
def test_broken_cards_say_what_is_wrong(change: object, says: str) -> None:
    text = change if isinstance(change, str) else json.dumps(json.loads(CARD.to_json()) | change)  # type: ignore[operator]
    with pytest.raises(ModelError, match=says) as caught:
        ModelCard.from_json(text)
    assert "\n" not in str(caught.value)


def test_a_card_must_name_its_family() -> None:
    data = json.loads(CARD.to_json())
    del data["family"]
    with pytest.raises(ModelError, match=r"broken model card: .*family"):
        ModelCard.from_json(json.dumps(data))


def test_ultralytics_metadata_are_recognised() -> None:
    card = read_card(graphs.ultralytics(["person", "traffic light"], "segment", imgsz="[384, 640]"))
    assert card is not None
    assert (card.family, card.task, card.class_names) == ("yolo", "segment", ("person", "traffic light"))
    assert card.image == ImageInput(size=(640, 384)) and card.stride == 32 and card.licence == "a licence"


def test_yolov5_metadata_are_recognised() -> None:
    card = read_card({"stride": "32", "names": "['a', 'b']"})
    assert card is not None
    assert (card.family, card.task, card.class_names, card.image.size) == ("yolo", "", ("a", "b"), None)


def test_other_metadata_say_nothing() -> None:
    assert read_card({}) is None
    assert read_card({"names": "x"}) is None
    assert read_card({"date": "today"}) is None


@pytest.mark.parametrize(
    "broken",
    [{"names": "{0: "}, {"names": "{1: 'a'}"}, {"names": "7"}, {"stride": "x"}, {"imgsz": "[640]"}, {"args": "3"}],
)
def test_broken_ultralytics_metadata_are_an_error(broken: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_card(graphs.ultralytics(["a"]) | broken)


def test_four_channel_models_are_refused() -> None:
    with pytest.raises(ModelError, match="3-channel images, got 4"):
        read_card(graphs.ultralytics(["a"], channels="4"))
