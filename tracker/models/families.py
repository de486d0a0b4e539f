"""Families: which class knows networks of which kind. A new one is one file in this folder and one row here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.models.model import Model

FAMILIES: dict[str, str] = {
    "yolo": "tracker.models.yolo:Yolo",
    "yolox": "tracker.models.yolox:Yolox",
    "panoptic": "tracker.models.panoptic:PanopticNet",
    "panoptic-video": "tracker.models.panoptic_video:PanopticVideoNet",
    "rfdetr": "tracker.models.rfdetr:RfDetr",
    "reid": "tracker.models.reid:Reid",
    "maskrcnn": "tracker.models.maskrcnn:MaskRcnn",
    "trackrcnn": "tracker.models.trackrcnn:TrackRcnn",
    "motion-deeplab": "tracker.models.motion_deeplab:MotionDeepLab",
    "semantic": "tracker.models.semantic:Semantic",
    "siammot": "tracker.models.siammot.graphs:SiamMotGraphs",
}
"""Family -> the class that knows it, imported when a model of the family is opened."""

FOLDERS: dict[str, tuple[str, ...]] = {"siammot": ("trunk", "boxes", "template", "motion")}
"""Family of several graphs -> its files (.onnx) in one folder; any of them opens all."""


def family_class(name: str) -> type[Model]:
    """The class of a row of `FAMILIES`."""
    module, _, attribute = FAMILIES[name].partition(":")
    found: type[Model] = getattr(importlib.import_module(module), attribute)
    return found
