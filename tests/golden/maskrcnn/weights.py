"""Random weights that a recording and a test make alike."""

from __future__ import annotations

import zlib

import numpy as np
import torch

SIZE, FRAME = (184, 127), (130, 90)  # of the scaled picture, of the picture (w, h)
SPREADS = {  # standard deviation that a layer's output is scaled to
    "rpn.head.cls_logits": 2.0, "rpn.head.bbox_pred": 0.3, "roi_heads.box_predictor.cls_score": 2.0,
    "roi_heads.box_predictor.bbox_pred": 1.0, "roi_heads.mask_predictor.mask_fcn_logits": 1.0,
}  # fmt: skip


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Random weights that depend on nothing but a tensor's name and shape."""
    out = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        values = rng.standard_normal(shape, np.float32)
        if name.endswith("running_var"):
            values = np.abs(values) + 0.5
        elif len(shape) > 1:
            values *= np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("weight"):
            values = 0.5 + 0.1 * values
        else:
            values *= 0.1
        out[name] = torch.from_numpy(values.astype(np.float32))
    return out
