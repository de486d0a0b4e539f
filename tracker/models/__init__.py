"""Models: ONNX files opened as families that turn frames into detections.

A new family is one file here (a folder, if it needs several) and one row of `FAMILIES`. Importing this room loads no
ONNX Runtime; opening a model does.

families.py  the table (FAMILIES); opening.py from a path or a name to a model
model.py     the fixed steps of every family; card.py what a file says about itself
geometry.py  between the frame's pixels and the network's; coco.py COCO's classes
decoding/    what several families decode with: boxes, masks, panoptic fusion
registry/    models that can be fetched by name
siamese/     learned motion (FOLLOWERS), and raft.py, optical flow: no families, as they detect nothing

Every other file is a family; siammot/ is one of several files.
"""

from tracker.models.card import ImageInput, ModelCard, read_card, write_card
from tracker.models.families import FAMILIES
from tracker.models.model import Model, ModelConfig, Prepared
from tracker.models.opening import open_model
from tracker.onnx import DEVICES, Session, SessionConfig

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
