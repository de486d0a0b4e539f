"""Mask R-CNN as one module, under the names of torchvision's state dicts.

Source: Mask R-CNN, arXiv:1703.06870; torchvision's `maskrcnn_resnet50_fpn` ("plain" here) and `_v2` ("deep").
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from exporters.maskrcnn.heads import BoxPredictor, DeepBoxHead, MaskPredictor, PlainBoxHead, ProposalHead
from exporters.maskrcnn.resnet import BLOCKS, Backbone, Unit


@dataclass(frozen=True)
class Layout:
    """What the shapes of a checkpoint say about its network; `checkpoint.layout_of` reads it there.

    Attributes:
        blocks: of the ResNet's layers.
        width: channels after the first convolution.
        features: channels of the pyramid and of the heads' convolutions.
        hidden: of the box head.
        classes: background included.
        deep: torchvision's second kind: normalised pyramid and heads, four convolutions in the box head, two in the
            proposal head.
    """

    blocks: tuple[int, ...] = BLOCKS[50]
    width: int = 64
    features: int = 256
    hidden: int = 1024
    classes: int = 91
    deep: bool = False


class MaskRcnn(nn.Module):
    """All weights.

    Args:
        layout: the network.
        norm_eps: of the ResNet's normalisations. torchvision sets 0 for its own first COCO checkpoint, and 1e-5 for all
            others.
    """

    def __init__(self, layout: Layout | None = None, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.layout = layout = Layout() if layout is None else layout
        features, hidden = layout.features, layout.hidden
        self.backbone = Backbone(layout.blocks, layout.width, features, norm=layout.deep)
        for module in self.backbone.body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = norm_eps
        self.rpn = nn.Module()
        self.rpn.head = ProposalHead(features, 2 if layout.deep else 1)
        self.roi_heads = nn.Module()
        self.roi_heads.box_head = (DeepBoxHead if layout.deep else PlainBoxHead)(features, hidden)
        self.roi_heads.box_predictor = BoxPredictor(hidden, layout.classes)
        layers = (Unit(features, features, 3, norm=layout.deep, active=True) for _ in range(4))
        self.roi_heads.mask_head = nn.Sequential(*layers)
        self.roi_heads.mask_predictor = MaskPredictor(features, layout.classes)
