"""Put a frame's preparation into the graph: one upload of uint8 pixels per frame is all that crosses the bus.

    python -m exporters fuse yolo11n-seg.onnx -o yolo11n-seg-fused.onnx
    python -m exporters fuse yolo11n-seg.onnx --frame 1920x1080 --top 300 -o yolo11n-seg-1080p.onnx

The new input is the frame itself, (1, H, W, 3) uint8 BGR; resize, letterbox, channel order and normalisation follow in
the graph, by the rules on the model's card. With `--frame` all shapes are fixed, as CUDA graphs and TensorRT like them;
without it the graph works them out for frames of any size. The card of the new file says `fused`, and the model then
hands over frames as they are. `--top` and `--min-score` also leave most of a YOLO head inside (`exporters.sieve`).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporters.delivery import draft_file, parse_size
from exporters.parity import ParityError, relative_difference
from exporters.sieve import Sieve, check_sieve, choose_sieve, put_behind
from tracker.errors import ModelError
from tracker.models import Model, Session, SessionConfig, open_model
from tracker.models.card import Size
from tracker.models.geometry import place, to_tensor

FRAME = "frame"
_OLDEST_OPSET = 11  # Resize with half-pixel centres
_SIZES: tuple[Size, ...] = ((768, 576), (1280, 720), (333, 517), (64, 48))
_LIMITS = {"float32": 1e-5, "float16": 5e-3}  # the same numbers through the same nodes, fused otherwise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--frame", metavar="WxH", help="fix the size of the frames; free without it")
    parser.add_argument("--family", help="of a file that does not say what it is")
    parser.add_argument("--size", metavar="WxH", help="input of a network that takes any")
    parser.add_argument(
        "--top", type=int, metavar="K", help="yolo: only the K places with the best scores leave the graph"
    )
    parser.add_argument(
        "--min-score", type=float, metavar="S", help="yolo: only places with a score above S; their number is free"
    )


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Fuse, check, say what was found."""
    frame = parse_size("--frame", arguments.frame) if arguments.frame else None
    size = parse_size("--size", arguments.size) if arguments.size else None
    levels = fuse(
        arguments.model, arguments.output, frame, arguments.family, size, top=arguments.top,
        min_score=arguments.min_score,
    )  # fmt: skip
    print(f"{arguments.output}: its pixels are those of the CPU's preparation to {levels:.2f} of 255 levels")
    return 0


def fuse(
    source: Path,
    target: Path,
    frame: Size | None = None,
    family: str | None = None,
    size: Size | None = None,
    *,
    top: int | None = None,
    min_score: float | None = None,
) -> float:
    """Write `source` with the frame's preparation inside, and perhaps a sieve for its head, to `target`.

    Args:
        source: a file whose family prepares one image by the card's rules alone.
        target: the new file, with a card.
        frame: (width, height) of all frames; None for any.
        family: of a file that does not say what it is.
        size: (width, height) of the network's input, where the file leaves it free.
        top: see `Sieve`, as for the next one; both None for all that the head says.
        min_score: likewise.

    Returns:
        The largest difference from the CPU's preparation, in levels of 0..255; at most 1.

    Raises:
        ModelError: not such a model, already fused, older than opset 11, or one whose head cannot be sieved.
        ParityError: the graph prepares another picture, or gives other outputs; `target` is what it was.
    """
    model = open_model(source, family, "cpu", size=size, warmup=False)
    if model.fused or len(model.session.inputs) > 1 or type(model).preprocess is not Model.preprocess:
        reason = "one that is fused already" if model.fused else f"a {model.family} model, which has more inputs"
        raise ModelError(f"expected a model that takes one prepared image, got {reason}")
    sieve = choose_sieve(model, top, min_score)
    graph = onnx.load(str(source))
    opset = next((entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        raise ModelError(f"expected opset {_OLDEST_OPSET} or newer, got {opset} in {source}; export it again")
    front = build_front(model, frame)
    levels = _check_pixels(model, front, graph, frame)
    _put_before(graph.graph, front)
    if sieve is not None:
        put_behind(graph, sieve)
    image = replace(model.card.image, name=FRAME, layout="nhwc", size=model.size)
    facts = {**model.card.facts, "fused": True, **({} if sieve is None else sieve.facts)}
    with draft_file(target, replace(model.card, image=image, facts=facts)) as draft:
        onnx.save(graph, str(draft))
        _check_outputs(model, front, graph, draft, frame, sieve)
    return levels


@dataclass
class Front:
    """The nodes between a frame and a network's input.

    Attributes:
        frame: the new input.
        pixels: name of the prepared image in float32, before it is given the network's type.
        nodes: in order.
        constants: that they use.
    """

    frame: Any
    pixels: str = ""
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node with one output; returns its name."""
        name = output or f"fuse_{len(self.nodes)}_{kind.lower()}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any, dtype: type) -> str:
        """A constant; returns its name."""
        name = f"fuse_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name


def build_front(model: Model, frame: Size | None) -> Front:
    """Nodes that do what `to_tensor` does, for a model's card.

    cv2 rounds a resized pixel to a whole level; so does the graph, and what is left is a level here and there where
    cv2's fixed-point weights round the other way.
    """
    spec, image = model.image_spec, model.card.image
    sides = [frame[1], frame[0]] if frame else ["frame_height", "frame_width"]
    first = "batch" if spec.shape[0] is None else 1
    front = Front(helper.make_tensor_value_info(FRAME, TensorProto.UINT8, [first, *sides, 3]))
    planes = front.add("Transpose", FRAME, perm=[0, 3, 1, 2])
    if image.colour == "rgb":
        planes = front.add("Gather", planes, front.constant([2, 1, 0], np.int64), axis=1)
    pixels = front.add("Cast", planes, to=TensorProto.FLOAT)
    inside, pads = _fixed_extent(front, model, frame) if frame else _free_extent(front, model)
    if first == 1:
        count = front.constant([1], np.int64)
    else:
        count = front.add("Gather", front.add("Shape", FRAME), front.constant([0], np.int64))
    sizes = front.add("Concat", count, front.constant([3], np.int64), inside, axis=0)
    none = front.constant([], np.float32)  # neither a region nor scales; opsets before 13 want them all the same
    rules = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    pixels = front.add("Resize", pixels, none, none, sizes, **rules)
    pixels = front.add("Round", pixels)
    if pads:
        pixels = front.add("Pad", pixels, pads, front.constant(image.pad, np.float32))
    std = np.asarray(image.std, np.float64)
    gain, bias = image.scale / std, -np.asarray(image.mean, np.float64) / std
    pixels = front.add("Mul", pixels, front.constant(gain.reshape(1, 3, 1, 1), np.float32))
    pixels = front.add("Add", pixels, front.constant(bias.reshape(1, 3, 1, 1), np.float32))
    if image.layout == "nhwc":
        pixels = front.add("Transpose", pixels, perm=[0, 2, 3, 1])
    front.pixels = pixels
    front.add("Cast", pixels, output=spec.name, to=helper.np_dtype_to_tensor_dtype(spec.dtype))
    return front


def _fixed_extent(front: Front, model: Model, frame: Size) -> tuple[str, str]:
    """Names of the resized frame's (height, width) and of the pads around it; "" for no pads."""
    where = place(frame, model.size, model.card.image.resize)
    (w, h), (x, y), (width, height) = where.inside, where.offset, where.network
    inside = front.constant([h, w], np.int64)
    if where.inside == where.network:
        return inside, ""
    return inside, front.constant([0, 0, y, x, 0, 0, height - h - y, width - w - x], np.int64)


def _free_extent(front: Front, model: Model) -> tuple[str, str]:
    """The same, worked out in the graph as `place` does: float64, rounded to even or down."""
    network = [model.size[1], model.size[0]]
    whole = front.constant(network, np.int64)
    if model.card.image.resize == "stretch":
        return whole, ""
    sides = front.add("Gather", front.add("Shape", FRAME), front.constant([1, 2], np.int64))
    exact = front.add("Cast", sides, to=TensorProto.DOUBLE)
    ratios = front.add("Div", front.constant(network, np.float64), exact)
    exact = front.add("Mul", exact, front.add("ReduceMin", ratios, keepdims=1))
    corner = model.card.image.resize == "letterbox-corner"
    if corner:
        rounded = front.add("Floor", front.add("Add", exact, front.constant([1e-6], np.float64)))
    else:
        rounded = front.add("Round", exact)
    inside = front.add("Cast", front.add("Max", rounded, front.constant([1.0], np.float64)), to=TensorProto.INT64)
    left = front.add("Sub", whole, inside)
    offset = front.add("Div", left, front.constant([2, 2] if not corner else network, np.int64))
    none = front.constant([0, 0], np.int64)
    return inside, front.add("Concat", none, offset, none, front.add("Sub", left, offset), axis=0)


def _put_before(graph: onnx.GraphProto, front: Front) -> None:
    """Replace the graph's image input, which is its only one, by the frame."""
    nodes = [*front.nodes, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.append(front.frame)
    graph.initializer.extend(front.constants)


def _images(frame: Size | None) -> list[NDArray[np.uint8]]:
    """Noise, which shows every wrong neighbour, and a slope, which shows every shift."""
    random, images = np.random.default_rng(0), []
    for width, height in [frame] if frame else _SIZES:
        images.append(random.integers(0, 256, (height, width, 3), np.uint8))
        slope = np.add.outer(np.linspace(0, 100, height), np.linspace(0, 150, width))
        images.append(np.stack([slope, 255 - slope, slope / 2], axis=-1).astype(np.uint8))
    return images


def _front_alone(model: Model, front: Front, graph: onnx.ModelProto) -> Any:
    """A function from a frame to the prepared image, by the nodes of the front and nothing else."""
    import onnxruntime

    end = helper.make_tensor_value_info(front.pixels, TensorProto.FLOAT, None)
    alone = helper.make_model(
        helper.make_graph(front.nodes, "front", [front.frame], [end], front.constants),
        opset_imports=graph.opset_import, ir_version=graph.ir_version,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda image: session.run([front.pixels], {FRAME: image[None]})[0]


def _check_pixels(model: Model, front: Front, graph: onnx.ModelProto, frame: Size | None) -> float:
    """Largest difference from `to_tensor` in levels.

    Raises:
        ParityError: over one level, or another shape.
    """
    prepare, worst = _front_alone(model, front, graph), 0.0
    spec = model.card.image
    levels = np.asarray(spec.std) / spec.scale  # in one unit of a channel
    levels = levels if spec.layout == "nhwc" else levels[:, None, None]
    for image in _images(frame):
        wanted = to_tensor(image, place((image.shape[1], image.shape[0]), model.size, spec.resize), spec)
        got = prepare(image)
        if got.shape != wanted.shape:
            raise ParityError(f"expected a prepared image {wanted.shape}, the graph makes {got.shape}: not written")
        worst = max(worst, float((np.abs(got - wanted) * levels).max()))
    if not worst <= 1.001:
        raise ParityError(f"the graph prepares another picture: {worst:.1f} of 255 levels (limit 1): not written")
    return worst


def _check_outputs(
    model: Model, front: Front, graph: onnx.ModelProto, path: Path, frame: Size | None, sieve: Sieve | None
) -> None:
    """The new file computes from a frame what the old one computes from the prepared image.

    Of a sieved head only the scores are compared, and its nodes alone: places of equal scores may change their order.

    Raises:
        ParityError: it does not.
    """
    image = _images(frame)[0]
    tensor = _front_alone(model, front, graph)(image)
    wanted = model.infer({model.image_spec.name: tensor.astype(model.image_spec.dtype)})
    got = Session(path, SessionConfig("cpu")).run({FRAME: image[None]})
    limit = _LIMITS[str(model.image_spec.dtype)]
    if sieve is not None:
        check_sieve(sieve, graph, wanted[sieve.name])
        wanted[sieve.name] = np.sort(sieve.scores(sieve.keep(wanted[sieve.name])))
        got[sieve.name] = np.sort(sieve.scores(got[sieve.name]))
    for name, array in wanted.items():
        worst = relative_difference(name, got[name], array)
        if worst > limit:
            raise ParityError(f"the fused graph's {name} differs by {worst:.1e} (limit {limit:.0e})")
