"""Graphs that were exported for one crop of one size, made to take any number of any size.

NanoTrack's public files have a batch of 1 and 255 pixels written into them, but only into their declared shapes and
into the constants of some Reshape nodes; the arithmetic does not care. Both are freed here, in the file's bytes: ONNX
Runtime refuses another shape otherwise.
"""

from __future__ import annotations

import struct

from tracker.errors import ModelError
from tracker.onnx.protobuf import change_fields, field_places, read_fields, write_field

# Protobuf field numbers of onnx.proto
_GRAPH = 7  # of ModelProto
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13  # of GraphProto
_NODE_INPUT, _OP_TYPE = 1, 4  # of NodeProto
_INT64_DATA, _NAME, _RAW_DATA = 7, 8, 9  # of TensorProto
_TYPE, _TENSOR_TYPE, _SHAPE, _DIM = 2, 1, 2, 1  # of ValueInfoProto, TypeProto, TypeProto.Tensor, TensorShapeProto
_CHANNELS = 1  # the axis that keeps its length


def free_shapes(model: bytes) -> bytes:
    """The model with inputs and outputs of any batch and size (N, C, H, W), C as it was.

    A Reshape to `[1, ...]` becomes one to `[0, ...]`, which keeps the first axis as it is. Shapes of tensors in between
    are left out; ONNX Runtime infers them anew.

    Args:
        model: an ONNX file's bytes.

    Raises:
        ModelError: not an ONNX model, or cut short.
    """
    try:
        return change_fields(model, {_GRAPH: _free_graph})
    except (IndexError, ValueError, UnicodeDecodeError, struct.error):
        raise ModelError("not an ONNX model, or cut short") from None


def _free_graph(graph: bytes) -> bytes:
    shapes = {parts[1] for number, node in read_fields(graph) if number == _NODE and (parts := _reshape_inputs(node))}

    def free_initializer(tensor: bytes) -> bytes:
        names = [payload for number, payload in read_fields(tensor) if number == _NAME]
        if not names or names[0] not in shapes:
            return tensor
        return change_fields(tensor, {_RAW_DATA: _keep_first, _INT64_DATA: _keep_first_packed})

    return change_fields(
        graph,
        {
            _INITIALIZER: free_initializer,
            _INPUT: _free_value,
            _OUTPUT: _free_value,
            _VALUE_INFO: lambda _: None,
        },
    )


def _reshape_inputs(node: bytes) -> list[bytes]:
    """Names of the inputs of a Reshape node; none of any other."""
    parts = list(read_fields(node))
    if (_OP_TYPE, b"Reshape") not in parts:
        return []
    return [payload for number, payload in parts if number == _NODE_INPUT]


def _keep_first(raw: bytes) -> bytes:
    """Little-endian int64 numbers whose first one, if it was 1, is 0."""
    return bytes(8) + raw[8:] if len(raw) > 8 and raw[:8] == struct.pack("<q", 1) else raw


def _keep_first_packed(raw: bytes) -> bytes:
    """The same of variable-length numbers."""
    return b"\0" + raw[1:] if len(raw) > 1 and raw[:1] == b"\1" else raw


def _free_value(value: bytes) -> bytes:
    def free_shape(shape: bytes) -> bytes:
        dims = [shape[start:end] for start, end in field_places(shape)]
        return b"".join(dim if axis == _CHANNELS else write_field(_DIM, b"") for axis, dim in enumerate(dims))

    def free_tensor(tensor: bytes) -> bytes:
        return change_fields(tensor, {_SHAPE: free_shape})

    return change_fields(value, {_TYPE: lambda kind: change_fields(kind, {_TENSOR_TYPE: free_tensor})})
