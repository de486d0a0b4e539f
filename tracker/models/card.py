"""ModelCard: what an ONNX file says about itself.

Facts about a network are no user configuration. Our exporters write them into the file's `metadata_props` under one
key, as JSON with a versioned schema; third-party files are recognised by metadata that their makers wrote, or opened
by naming the family. A family is never guessed from tensor shapes.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

from tracker.errors import ModelError, ModelNotFoundError
from tracker.onnx.protobuf import field_places, read_varint, write_field

CARD_KEY = "tracker.card"
SCHEMA = 1

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue, 0..1: what networks that began as classifiers of ImageNet want."""

Size = tuple[int, int]

_CHOICES = {
    "resize": ("letterbox", "letterbox-corner", "corner", "stretch"),
    "layout": ("nchw", "nhwc"),
    "colour": ("rgb", "bgr"),
}


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How a frame becomes the image tensor. A channel's value is `(pixel * scale - mean) / std`, pixel in 0..255.

    Attributes:
        name: input tensor; "" means the graph's first input.
        size: (width, height) in network pixels; None where the graph accepts any multiple of the stride.
        layout: "nchw" or "nhwc".
        colour: order of the tensor's channels, "rgb" or "bgr".
        scale: factor on 0..255.
        mean: per channel in tensor order, after `scale`.
        std: likewise.
        resize: "letterbox" keeps the aspect and centres the image, "letterbox-corner" puts it top left, "corner" does
            too but enlarges nothing, "stretch" fills the input.
        pad: 0..255, what a letterbox's border holds (before `scale`).
    """

    name: str = ""
    size: Size | None = None
    layout: str = "nchw"
    colour: str = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resize: str = "letterbox"
    pad: float = 114

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ModelError(f"expected {name} to be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ModelError(f"expected an input size (width, height) of positive pixels, got {self.size}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ModelError(f"expected three means and three positive deviations, got {self.mean} and {self.std}")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Facts of one model file.

    Attributes:
        family: row of `FAMILIES`.
        task: what comes out: "detect", "segment", "panoptic" ...
        class_names: name of class index 0, 1, ...; () where the file does not tell.
        thing_ids: class indices that are countable objects; None where all are.
        image: how a frame becomes the input.
        outputs: meaning -> output tensor; the meanings belong to the family.
        stride: the input's sides are multiples of this.
        licence: of the weights.
        source: where the weights come from, or what trained them.
        checkpoint_sha256: of the checkpoint that was exported.
        facts: anything else that the family must know, JSON values (window lengths, state tensors ...).
        sha256: of the ONNX file itself, filled when it is opened; never stored inside it.
    """

    family: str
    task: str
    class_names: tuple[str, ...] = ()
    thing_ids: tuple[int, ...] | None = None
    image: ImageInput = field(default_factory=ImageInput)
    outputs: Mapping[str, str] = field(default_factory=dict)
    stride: int = 32
    licence: str = ""
    source: str = ""
    checkpoint_sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def to_json(self) -> str:
        """The text that belongs under `CARD_KEY`."""
        data = asdict(self)
        del data["sha256"]
        return json.dumps({"schema": SCHEMA, **data}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Inverse of `to_json`.

        Raises:
            ModelError: no JSON object, another schema version, an unknown or missing key, a value of the wrong type.
        """
        try:
            data = json.loads(text)
        except ValueError as reason:
            raise ModelError(f"the model's card is not JSON ({reason}); export the model again") from None
        if not isinstance(data, dict):
            raise ModelError(f"expected the model's card to be a JSON object, got {type(data).__name__}")
        schema = data.pop("schema", None)
        if schema != SCHEMA:
            raise ModelError(f"expected a model card of schema {SCHEMA}, got {schema!r}; update trackstream")
        try:
            data["image"] = ImageInput(**_typed(ImageInput, data.get("image", {})))
            return cls(**_typed(cls, data))
        except TypeError as reason:
            raise ModelError(f"broken model card: {reason}; export the model again") from None


def read_card(metadata: Mapping[str, str]) -> ModelCard | None:
    """Our own card out of a file's metadata, or what its makers wrote there; None where neither is known.

    Raises:
        ModelError: a card is there, but broken.
    """
    if CARD_KEY in metadata:
        return ModelCard.from_json(metadata[CARD_KEY])
    return _ultralytics(metadata)


def write_card(path: str | PathLike[str], card: ModelCard) -> None:
    """Put a card into an ONNX file, in place; a card that is there already is replaced.

    An ONNX file is one protobuf message, so a field can be taken out and another appended without understanding the
    rest: the `onnx` package is not needed.

    Raises:
        ModelNotFoundError: no such file.
        ModelError: not a protobuf message.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelNotFoundError(f"no model file {file}")
    data = file.read_bytes()
    entry = write_field(_KEY, CARD_KEY.encode()) + write_field(_VALUE, card.to_json().encode())
    try:
        old = [place for place in field_places(data) if _is_card(data, place)]
    except (IndexError, ValueError):
        raise ModelError(f"{file} is not an ONNX model, or cut short; no card was written") from None
    for start, end in reversed(old):
        data = data[:start] + data[end:]
    file.write_bytes(data + write_field(_METADATA, entry))


# Protobuf field numbers: ModelProto.metadata_props, StringStringEntryProto.key and .value
_METADATA, _KEY, _VALUE = 14, 1, 2


def _is_card(data: bytes, place: tuple[int, int]) -> bool:
    """Whether a field is a metadata entry with our key."""
    start, end = place
    if data[start] != _METADATA << 3 | 2:
        return False
    _, at = read_varint(data, start + 1)
    return write_field(_KEY, CARD_KEY.encode()) in data[at:end]


_SHAPES: dict[str, type | tuple[type, ...]] = {
    "facts": dict, "outputs": dict, "stride": int, "pad": (int, float), "scale": (int, float),
}  # fmt: skip
_ITEMS: dict[str, type | tuple[type, ...]] = {
    "class_names": str,
    "thing_ids": int,
    "size": int,
    "mean": (int, float),
    "std": (int, float),
}


def _typed(kind: type, data: Any) -> dict[str, Any]:
    """`data` with lists as tuples, every key and value type checked against the dataclass `kind`."""
    if not isinstance(data, dict):
        raise TypeError(f"expected an object, got {type(data).__name__}")
    known = {f.name for f in fields(kind)} - {"sha256"}
    unknown = sorted(set(data) - known)
    if unknown:
        raise TypeError(f"unknown key {unknown[0]!r}")
    out = dict(data)
    for key, value in data.items():
        if key in _ITEMS:
            if value is None and key in ("thing_ids", "size"):
                continue
            if not isinstance(value, list) or not all(isinstance(v, _ITEMS[key]) for v in value):
                raise TypeError(f"{key} is {value!r}")
            out[key] = tuple(value)
        elif key != "image" and not isinstance(value, _SHAPES.get(key, str)):
            raise TypeError(f"{key} is {value!r}")
    return out


def _ultralytics(metadata: Mapping[str, str]) -> ModelCard | None:
    """Card from what the exporters of Ultralytics (v8 and later) and of YOLOv5 write: `names` and `stride` at least."""
    if "names" not in metadata or "stride" not in metadata:
        return None
    try:
        names = ast.literal_eval(metadata["names"])
        stride = int(metadata["stride"])
        given = ast.literal_eval(metadata.get("imgsz", "None"))
        switches = ast.literal_eval(metadata.get("args", "{}"))
        channels = int(metadata.get("channels", "3"))
        sides = [given, given] if isinstance(given, int) else given
        size = (int(sides[1]), int(sides[0])) if sides else None  # written as height, width
        listed = list(names) if isinstance(names, list | tuple) else [names[i] for i in range(len(names))]
        nms_inside = bool(switches.get("nms")) or metadata.get("end2end", "False") == "True"
    except (ValueError, SyntaxError, TypeError, LookupError, AttributeError):
        raise ModelError(
            "the metadata look like Ultralytics', but names, stride, imgsz or args cannot be read"
        ) from None
    if channels != 3:
        raise ModelError(f"expected a model for 3-channel images, got {channels} channels")
    return ModelCard(
        family="yolo",
        task=metadata.get("task", ""),
        class_names=tuple(str(name) for name in listed),
        image=ImageInput(size=size),
        stride=stride,
        licence=metadata.get("license", ""),
        source=metadata.get("description", ""),
        facts={"nms_inside": nms_inside},
    )
