"""ONNX files and ONNX Runtime: everything that knows these, and nothing of pictures.

session.py   a graph, opened on a device that is proven to run it
devices.py   the ways to run a graph (DEVICES), and how a session asks for one
binding.py   buffers on the device: upload, execute and download apart
runtime.py   ONNX Runtime itself, imported on first use, kept quiet
tensors.py   names, shapes and dtypes of inputs and outputs
file.py      a model's file on the disk, its hash
protobuf.py  an ONNX file's bytes, taken apart and put together without `onnx`: shapes.py frees a graph of fixed sizes
"""

from tracker.onnx.devices import DEVICES, SessionConfig
from tracker.onnx.session import Session
from tracker.onnx.tensors import TensorSpec

__all__ = ["DEVICES", "Session", "SessionConfig", "TensorSpec"]
