"""What the engine adds to a real network stays small."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from tracker.models import open_model


@pytest.mark.slow
def test_preprocess_and_decode_are_cheap_beside_the_network(shared: Path) -> None:
    """Well under the 15 % of `session.run` that the whole engine may add at 720p; 2 to 5 % were measured."""
    import av
    import cv2

    with av.open(str(shared / "data" / "video" / "vtest.avi")) as video:
        frames = [cv2.resize(f.to_ndarray(format="bgr24"), (1280, 720)) for f in islice(video.decode(video=0), 30)]
    model = open_model(shared / "data" / "models" / "yolo11n-seg_640.onnx", device="cpu")
    times = []
    objects = 0
    for frame in frames:
        marks = [perf_counter()]
        tensors, placement = model.preprocess(frame)
        marks.append(perf_counter())
        outputs = model.infer(tensors)
        marks.append(perf_counter())
        objects += len(model.decode(outputs, placement))
        marks.append(perf_counter())
        times.append(np.diff(marks))
    preprocess, infer, decode = np.median(times, axis=0)
    assert objects > 5 * len(frames)
    assert preprocess + decode < 0.1 * infer, (preprocess, infer, decode)
