from __future__ import annotations

import numpy as np
import pytest

from tests.reference.models import normalise
from tracker.errors import FrameError
from tracker.models.card import ImageInput
from tracker.models.geometry import Placement, place, to_tensor

RULES = ("letterbox", "letterbox-corner", "stretch")
SIZES = [(1280, 720), (720, 1280), (640, 640), (641, 479), (33, 900), (1, 1), (3, 2000)]


def test_placements_by_hand() -> None:
    assert place((1280, 720), (640, 640), "letterbox") == Placement((1280, 720), (640, 640), (640, 360), (0, 140))
    assert place((720, 1280), (640, 640), "letterbox") == Placement((720, 1280), (640, 640), (360, 640), (140, 0))
    assert place((641, 479), (640, 640), "letterbox").inside == (640, 478)
    assert place((640, 477), (640, 640), "letterbox").offset == (0, 81)  # 163 rows of border: 81 above, 82 below
    assert place((1280, 720), (416, 416), "letterbox-corner") == Placement((1280, 720), (416, 416), (416, 234), (0, 0))
    assert place((1280, 720), (64, 32), "stretch") == Placement((1280, 720), (64, 32), (64, 32), (0, 0))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("source", SIZES)
def test_boxes_come_back_where_they_were(rule: str, source: tuple[int, int]) -> None:
    where = place(source, (640, 384), rule)
    assert all(0 < side <= whole for side, whole in zip(where.inside, where.network, strict=True))
    assert all(o >= 0 for o in where.offset)
    (w, h), (sx, sy), (ox, oy) = source, where.scale, where.offset
    rng = np.random.default_rng(3)
    boxes = np.sort(rng.random((50, 2, 2)), axis=1).reshape(50, 4) * (w, h, w, h)
    there = boxes * (sx, sy, sx, sy) + (ox, oy, ox, oy)
    np.testing.assert_allclose(where.to_source(there), boxes, atol=1e-3)
    outside = where.to_source(np.array([[-1e9, -1e9, 1e9, 1e9], [-50, -50, -40, -40]]))
    np.testing.assert_array_equal(outside, [[0, 0, w, h], [0, 0, 0, 0]])
    assert where.to_source(np.zeros((0, 4))).shape == (0, 4) and outside.dtype == np.float32


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("source", SIZES)
def test_maps_are_sampled_where_the_pixel_lies(rule: str, source: tuple[int, int]) -> None:
    where = place(source, (64, 96), rule)
    ax, bx, ay, by = where.on_map(16, 24)
    for x, y in ((0, 0), (source[0] - 1, source[1] - 1)):
        cell = ((x + 0.5) * where.scale[0] + where.offset[0]) / 4, ((y + 0.5) * where.scale[1] + where.offset[1]) / 4
        np.testing.assert_allclose((ax * x + bx + 0.5, ay * y + by + 0.5), cell, atol=1e-9)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_tensors_equal_the_slow_twin(rule: str, layout: str, colour: str) -> None:
    import cv2

    spec = ImageInput(layout=layout, colour=colour, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), resize=rule)
    for source in SIZES:
        image = np.random.default_rng(5).integers(0, 256, (source[1], source[0], 3), np.uint8)
        where = place(source, (96, 64), rule)
        tensor = to_tensor(image, where, spec)
        assert tensor.dtype == np.float32 and tensor.flags.c_contiguous
        resized = cv2.resize(image, where.inside, interpolation=cv2.INTER_LINEAR)
        wanted = normalise(resized, *where.offset, where.network, spec)
        np.testing.assert_allclose(tensor[0] if layout == "nchw" else tensor[0].transpose(2, 0, 1), wanted, atol=1e-5)


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    image = np.random.default_rng(6).integers(0, 256, (32, 64, 3), np.uint8)
    tensor = to_tensor(image, place((64, 32), (64, 32), "letterbox"), ImageInput(scale=1.0, colour="bgr"))
    np.testing.assert_array_equal(tensor[0].transpose(1, 2, 0), image)


def test_images_in_any_memory_order() -> None:
    image = np.random.default_rng(7).integers(0, 256, (40, 60, 3), np.uint8)
    where = place((60, 40), (32, 32), "letterbox")
    for odd in (image[::-1, ::-1], np.asfortranarray(image)):
        np.testing.assert_array_equal(to_tensor(odd, where, ImageInput()), to_tensor(odd.copy(), where, ImageInput()))


def test_other_images_are_refused() -> None:
    where = place((60, 40), (32, 32), "letterbox")
    for image in (np.zeros((40, 60), np.uint8), np.zeros((40, 60, 3), np.float32), np.zeros((60, 40, 3), np.uint8)):
        with pytest.raises(FrameError, match=r"\(40, 60, 3\) uint8 BGR, got"):
            to_tensor(image, where, ImageInput())
