"""Models: ONNX files opened as families that turn frames into detections.

Importing this room loads no ONNX Runtime; opening a model does.
"""

from tracker.models.card import ImageInput, ModelCard, read_card, write_card
from tracker.models.model import FAMILIES, Model, ModelConfig, Prepared, open_model
from tracker.models.session import DEVICES, Session, SessionConfig

__all__ = [
    "DEVICES",
    "FAMILIES",
    "ImageInput",
    "Model",
    "ModelCard",
    "ModelConfig",
    "Prepared",
    "Session",
    "SessionConfig",
    "open_model",
    "read_card",
    "write_card",
]
