"""Let only the best places of a YOLO head out of the graph: fewer bytes cross the bus, decoding has less to look at.

A head says something about thousands of places of the picture, of nearly all of them that nothing is there. `--top K`
keeps the K places with the best scores (a fixed shape, as CUDA graphs and TensorRT like it), `--min-score S` those with
a score above S (as many as there are: a free shape, and one picture at a time). A place is kept whole, with its mask
coefficients; the prototypes of masks leave the graph as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporters.parity import ParityError
from tracker.errors import ModelError
from tracker.models import Model
from tracker.models.yolo import Yolo

_AXES_ARE_INPUTS = 18  # ReduceMax takes its axes as an input from this opset on
_KEPT = "kept"  # name of the free side


@dataclass(frozen=True)
class Sieve:
    """What is kept of a model's head.

    Attributes:
        model: as it is.
        top: at most so many places, best score first and equal ones in their order; None for all.
        min_score: only places with a score above it; None for all.
    """

    model: Yolo
    top: int | None
    min_score: float | None

    @property
    def name(self) -> str:
        """Of the head, before and after."""
        return self.model.head.name

    @property
    def axis(self) -> int:
        """Of the places in the head; that of the channels is the other one of 1 and 2."""
        return 1 if self.model.rows else 2

    @property
    def count(self) -> int | None:
        """How many places leave the graph, no more than there are; None where the scores decide alone."""
        places = self.model.head.shape[self.axis]
        return self.top if self.top is None or places is None else min(self.top, places)

    @property
    def facts(self) -> dict[str, Any]:
        """For the card."""
        found = {"head_layout": "rows" if self.model.rows else "columns", "top": self.top, "min_score": self.min_score}
        return {name: value for name, value in found.items() if value is not None}

    def scores(self, head: NDArray[Any]) -> NDArray[np.float32]:
        """Score of every place of a head (1, ...), which is that of its best class."""
        table = head[0] if self.model.rows else head[0].T
        first = 5 if self.model.rows else 4
        best = table[:, first : first + self.model.class_count].max(axis=1, initial=-np.inf).astype(np.float32)
        return best * table[:, 4].astype(np.float32) if self.model.rows else best

    def keep(self, head: NDArray[Any]) -> NDArray[Any]:
        """What the graph's nodes do to a head (1, ...), in numpy."""
        best = self.scores(head)
        order = np.arange(len(best)) if self.top is None else np.argsort(-best, kind="stable")[: self.top]
        if self.min_score is not None:
            order = order[~(best[order] <= np.float32(self.min_score))]
        return np.take(head, order, axis=self.axis)


def choose_sieve(model: Model, top: int | None, min_score: float | None) -> Sieve | None:
    """The sieve for a model; None where nothing is to be left out.

    Raises:
        ModelError: a number that makes no sense, a family whose outputs cannot be sieved, or a limit on scores for a
            graph that takes several pictures.
    """
    if top is None and min_score is None:
        return None
    if top is not None and top < 1:
        raise ModelError(f"expected --top of at least 1, got {top}")
    if min_score is not None and not 0 <= min_score < 1:
        raise ModelError(f"expected --min-score of at least 0 and below 1, got {min_score:g}")
    if not isinstance(model, Yolo):
        reason = "whose outputs are few already, or are read by their place in the picture"
        raise ModelError(f"expected a yolo model for --top and --min-score, got a {model.family} model, {reason}")
    if min_score is not None and model.image_spec.shape[0] is None:
        raise ModelError("expected a graph of one picture for --min-score, got one of batches; use --top alone")
    return Sieve(model, top, min_score)


def put_behind(graph: onnx.ModelProto, sieve: Sieve) -> None:
    """Sieve the head; the output keeps its name."""
    whole = _whole(sieve)
    for node in graph.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [whole if name == sieve.name else name for name in ends]
    graph.graph.node.extend(_nodes(sieve, graph))
    (output,) = (end for end in graph.graph.output if end.name == sieve.name)
    side = output.type.tensor_type.shape.dim[sieve.axis]
    side.Clear()
    if sieve.min_score is None:
        side.dim_value = sieve.count
    else:
        side.dim_param = _KEPT


def check_sieve(sieve: Sieve, graph: onnx.ModelProto, head: NDArray[Any]) -> None:
    """The nodes keep what `Sieve.keep` keeps, to the bit: of the network's own head and of noise.

    Raises:
        ParityError: they keep something else.
    """
    import onnxruntime

    kind = helper.np_dtype_to_tensor_dtype(head.dtype)
    given, kept = (helper.make_tensor_value_info(name, kind, [None] * 3) for name in (_whole(sieve), sieve.name))
    alone = helper.make_model(
        helper.make_graph(_nodes(sieve, graph), "sieve", [given], [kept]),
        opset_imports=graph.opset_import, ir_version=graph.ir_version,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(0).random(head.shape).astype(head.dtype)
    for array in (head[:1], noise[:1]):
        (got,) = session.run(None, {given.name: array})
        if not np.array_equal(got, sieve.keep(array)):
            raise ParityError("the graph keeps other places than those with the best scores: not written")


def _whole(sieve: Sieve) -> str:
    """Name of the head before the sieve."""
    return f"{sieve.name}_whole"


def _nodes(sieve: Sieve, graph: onnx.ModelProto) -> list[Any]:
    """Nodes from the whole head to the head; constants are nodes too, so that they can stand alone."""
    opset = next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    nodes: list[Any] = []
    model, whole, axis, channels = sieve.model, _whole(sieve), sieve.axis, 3 - sieve.axis

    def add(kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> tuple[str, ...]:
        names = tuple(f"sieve_{len(nodes)}_{kind.lower()}_{k}" for k in range(outputs))
        nodes.append(helper.make_node(kind, list(inputs), list(names), **attributes))
        return names

    def constant(value: Any, dtype: Any = np.int64) -> str:
        (name,) = add("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))
        return name

    def part(first: int, last: int) -> str:
        (found,) = add("Slice", whole, constant([first]), constant([last]), constant([channels]))
        (found,) = add("Cast", found, to=TensorProto.FLOAT)  # ONNX Runtime's TopK knows no float16 on the CPU
        return found

    first = 5 if model.rows else 4
    classes = part(first, first + model.class_count)
    if opset < _AXES_ARE_INPUTS:
        (best,) = add("ReduceMax", classes, axes=[channels], keepdims=1)
    else:
        (best,) = add("ReduceMax", classes, constant([channels]), keepdims=1)
    if model.rows:
        (best,) = add("Mul", best, part(4, 5))
    kept = whole
    if sieve.top is not None:
        best, index = add("TopK", best, constant([sieve.count]), outputs=2, axis=axis)
        sides = [1, 1, 1]
        sides[channels] = model.head.shape[channels]  # type: ignore[call-overload]  # known, since the layout is
        (index,) = add("Expand", index, constant(sides))
        (kept,) = add("GatherElements", kept, index, axis=axis)
    if sieve.min_score is not None:
        above = np.nextafter(np.float32(sieve.min_score), np.float32(np.inf))
        (low,) = add("Less", best, constant(above, np.float32))  # false for NaN, which decoding reports
        (high,) = add("Not", low)
        (found,) = add("NonZero", high)  # (3, n)
        (index,) = add("Gather", found, constant(axis), axis=0)
        (kept,) = add("Gather", kept, index, axis=axis)
    nodes.append(helper.make_node("Identity", [kept], [sieve.name]))
    return nodes
