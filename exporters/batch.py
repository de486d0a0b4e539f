"""Free the first side of a graph that was exported for one picture, so that frames of several streams share a run.

    python -m exporters batch yolo11n-seg.onnx -o yolo11n-seg-batch.onnx

Inputs and outputs of [1, ...] become [batch, ...]; a reshape to a constant [1, ...] keeps its first side instead. A
graph that fixes its batch in another way is caught by the parity check: several pictures together must give what each
gives alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from exporters.delivery import draft_file
from exporters.parity import LIMIT, ParityError, relative_difference
from tracker.errors import ModelError
from tracker.models import Session, SessionConfig

_BATCH = "batch"
_TRIED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Rewrite, check, say what was found."""
    worst = free_batch(arguments.model, arguments.output)
    print(f"{arguments.output}: {_TRIED} pictures together give what each gives alone to {worst:.1e}")
    return 0


def free_batch(source: Path, target: Path) -> float:
    """Write `source` with a free first side to `target`.

    Returns:
        The largest difference between pictures alone and together, relative to an output's largest magnitude.

    Raises:
        ModelError: not an ONNX model, or its first sides are not 1.
        ParityError: together they give something else; `target` is what it was.
    """
    alone = Session(source, SessionConfig("cpu"))
    for spec in (*alone.inputs.values(), *alone.outputs.values()):
        if not spec.shape or spec.shape[0] != 1 or None in spec.shape:
            raise ModelError(f"expected a graph of fixed shapes that begin with 1, got {spec} in {source}")
    model = onnx.load(str(source))
    for end in (*model.graph.input, *model.graph.output):
        if end.name in alone.inputs or end.name in alone.outputs:
            end.type.tensor_type.shape.dim[0].dim_param = _BATCH
    _keep_first_sides(model.graph)
    del model.graph.value_info[:]  # intermediate shapes said 1
    with draft_file(target) as draft:
        onnx.save(model, str(draft))
        return _compare(alone, draft)


def _keep_first_sides(graph: onnx.GraphProto) -> None:
    """Let every reshape to a constant [1, ...] keep its input's first side (0 in ONNX)."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    for number, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        shape = numpy_helper.to_array(constants[node.input[1]]).copy()
        if len(shape) and shape[0] == 1:
            shape[0] = 0
            node.input[1] = f"batch_shape_{number}"  # others may use the old constant
            graph.initializer.append(numpy_helper.from_array(shape, node.input[1]))


def _compare(alone: Session, path: Path) -> float:
    together = Session(path, SessionConfig("cpu"))
    random = np.random.default_rng(0)
    pictures = [
        {name: random.random(spec.shape).astype(spec.dtype) for name, spec in alone.inputs.items()}  # type: ignore[arg-type]
        for _ in range(_TRIED)
    ]
    found = together.run({name: np.concatenate([tensors[name] for tensors in pictures]) for name in alone.inputs})
    worst = 0.0
    for k, tensors in enumerate(pictures):
        for name, wanted in alone.run(tensors).items():
            got = found[name]
            if got.shape != (_TRIED, *wanted.shape[1:]):
                raise ParityError(f"expected {_TRIED} pictures in {name}, got {list(got.shape)}: not written")
            worst = max(worst, relative_difference(name, got[k], wanted[0]))
    if worst > LIMIT:
        raise ParityError(f"pictures together and alone differ by {worst:.1e} (limit {LIMIT:.0e}): not written")
    return worst
