"""Make a float16 copy of a graph: half the weights and, on a GPU with tensor cores, a multiple of the speed.

    python -m exporters half yolo11n-seg.onnx -o yolo11n-seg-fp16.onnx

Weights, inputs and outputs become float16; operators that need float32 keep it between casts. TensorRT does this by
itself (`SessionConfig.fp16`), CUDA wants such a file, a CPU gains nothing. To fuse the preparation too, halve first:
it stays in float32.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import onnx

from exporters.delivery import draft_file
from exporters.parity import ParityError, relative_difference
from tracker.errors import ModelError
from tracker.models import Session, SessionConfig

LIMIT = 2e-2
"""Largest difference that is taken for rounding, relative to an output's largest magnitude."""
_FREE_SIDE = 320  # stands for a free height or width in the check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("model", type=Path, help="ONNX file of float32")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Convert, check, say what was found."""
    worst = halve(arguments.model, arguments.output)
    print(f"{arguments.output}: its outputs are those of float32 to {worst:.1e}")
    return 0


def halve(source: Path, target: Path) -> float:
    """Write `source` in float16 to `target`.

    Returns:
        The largest difference of the outputs on random pictures, relative to an output's largest magnitude.

    Raises:
        ModelError: not an ONNX model, without weights of float32, or with inputs of another type.
        ParityError: the copy's outputs are not finite or differ by more than `LIMIT`; `target` is what it was.
    """
    whole = Session(source, SessionConfig("cpu"))
    for spec in whole.inputs.values():
        if spec.dtype != np.float32:
            raise ModelError(f"expected inputs of float32, got {spec} {spec.dtype}; halve a graph before it is fused")
    model = onnx.load(str(source))
    if not any(weight.data_type == onnx.TensorProto.FLOAT for weight in model.graph.initializer):
        raise ModelError(f"expected weights of float32 in {source}, got none")
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for every weight below float16's least number
        model = convert_float_to_float16(model, keep_io_types=False)
    with draft_file(target) as draft:
        onnx.save(model, str(draft))
        return _compare(whole, draft)


def _compare(whole: Session, path: Path) -> float:
    half, random, given = Session(path, SessionConfig("cpu")), np.random.default_rng(0), {}
    for name, spec in whole.inputs.items():
        shape = [side or (1 if k == 0 else _FREE_SIDE) for k, side in enumerate(spec.shape)]
        given[name] = random.random(shape, np.float32)
    got = half.run({name: array.astype(half.inputs[name].dtype) for name, array in given.items()})
    worst = max(relative_difference(name, got[name], wanted) for name, wanted in whole.run(given).items())
    if worst > LIMIT:
        raise ParityError(f"float16 and float32 differ by {worst:.1e} (limit {LIMIT:.0e}): not written")
    return worst
