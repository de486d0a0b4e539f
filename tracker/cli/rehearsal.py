"""Compile everything that comes after the network, before the first frame, on a scene of two small objects.

Kernels compile when they are first called, which would make the first frames seconds late and spoil the timings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tracker.masks import Masks
from tracker.types import Detections, Frame, Panoptic

if TYPE_CHECKING:
    from tracker.guide import Guided
    from tracker.sinks import RunInfo, Sink

_SIDE = 64


def rehearse(tracker: Guided, sinks: Sequence[type[Sink]], info: RunInfo, *, glides: bool = False) -> None:
    """Run two frames through a tracker that is reset afterwards, and through sinks of these kinds in a scratch folder.

    Args:
        tracker: not in use yet.
        sinks: kinds of sinks that the run will have.
        info: of the run.
        glides: there will be frames that nobody looks at; one more is run.
    """
    crop = np.ones((20, 10), np.bool_)
    corners = [(4, 8), (10, 12)]
    boxes = np.array([[x, y, x + 10, y + 20] for x, y in corners], np.float32)
    masks = Masks.from_crops([crop, crop], corners, _SIDE, _SIDE)
    picture = Panoptic(np.zeros((_SIDE, _SIDE), np.uint8), masks.to_label_map())
    detections = Detections(
        boxes, np.array([0.9, 0.8], np.float32), masks=masks, embeddings=np.ones((2, 8), np.float32), panoptic=picture,
        offsets=np.zeros((2, 2), np.float32), track_ids=np.array([-1, -1]),
    )  # fmt: skip
    info = replace(info, class_names=("person",))  # a class that every format can write
    with tempfile.TemporaryDirectory() as folder:
        opened = [kind(Path(folder, f"{i}.mp4"), info) for i, kind in enumerate(sinks)]
        for index in range(3 if glides else 2):
            frame = Frame(index, index / tracker.frame_rate, np.zeros((_SIDE, _SIDE, 3), np.uint8))
            tracks = tracker.update(detections if index < 2 else Detections.unlooked(), frame)
            for sink in opened:
                sink.write(frame, tracks)
        for sink in opened:
            sink.close()
    tracker.reset()
