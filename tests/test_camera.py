"""Camera motion: known motions of textured pictures, things that move by themselves, and frames that say nothing."""

import numpy as np
import pytest

from tests.test_flow import texture
from tracker.camera import CameraConfig, CameraMotion
from tracker.types import Frame

STILL = np.eye(2, 3)


def similarity(degrees=0.0, scale=1.0, shift=(0.0, 0.0), middle=(320, 240)):
    """(2, 3) matrix in box coordinates that turns and scales around `middle`, then shifts."""
    a = np.radians(degrees)
    turn = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    middle = np.asarray(middle, float)
    return np.column_stack([turn, middle - turn @ middle + shift])


def seen(image, matrix, size=(640, 480)):
    """The picture after everything moved by `matrix` (box coordinates; OpenCV counts from the middle of a pixel)."""
    import cv2

    half = np.array([0.5, 0.5])
    shift = matrix[:, 2] + matrix[:, :2] @ half - half
    return cv2.warpAffine(image, np.column_stack([matrix[:, :2], shift]), size, borderMode=cv2.BORDER_REFLECT)


def greatest_error(found, wanted, width=640, height=480):
    """How far the two matrices put the frame's corners apart, in px."""
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float).T
    return np.abs(found @ corners - wanted @ corners).max()


def camera_after(*images, boxes=None, config=None):
    """What the camera says on the last of these images."""
    camera = CameraMotion(config)
    for i, image in enumerate(images):
        found = camera.estimate(Frame(i, i / 25, image), boxes)
    return found


MOTIONS = {
    "shift": {"shift": (9.0, -5.5)},
    "turn": {"degrees": 2.0},
    "zoom": {"scale": 1.04, "shift": (2.0, 3.0)},
    "all": {"degrees": -3.0, "scale": 0.95, "shift": (-20.0, 12.0)},
}


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize(("width", "height"), [(640, 480), (1921, 1080), (480, 641), (300, 200)])
def test_known_motion_is_found(name, width, height):
    ratio = width / 640
    options = {**MOTIONS[name], "shift": np.multiply(MOTIONS[name].get("shift", (0, 0)), ratio)}
    wanted = similarity(**options, middle=(width / 2, height / 2))
    image = texture(0, height, width)
    found = camera_after(image, seen(image, wanted, (width, height)))
    assert found.shape == (2, 3) and found.dtype == np.float64
    assert greatest_error(found, wanted, width, height) < 0.6 * max(1, width / 512)


def test_reference_frame_follows_the_stream():
    """T37: every estimate is against the frame before, not the first one."""
    image, camera, last = texture(0, 480, 640), CameraMotion(), None
    for k in range(12):
        wanted = similarity(degrees=1.5 * k, shift=(8 * k, 3 * k))
        found = camera.estimate(Frame(k, k / 25, seen(image, wanted)))
        if last is not None:
            step = np.vstack([wanted, [0, 0, 1]]) @ np.linalg.inv(np.vstack([last, [0, 0, 1]]))
            assert greatest_error(found, step[:2]) < 0.6
        last = wanted


def test_things_that_move_do_not_count():
    """A bus fills most of the picture and drives; its box tells the camera to look past it."""
    background, bus = texture(0, 480, 640), texture(1, 380, 500)
    before, after = background.copy(), seen(background, similarity(shift=(3, 0)))
    before[60:440, 50:550], after[60:440, 65:565] = bus, bus
    box = np.array([[50, 60, 565, 440]], np.float32)
    found = camera_after(before, after, boxes=box)
    assert greatest_error(found, similarity(shift=(3, 0))) < 0.4
    assert greatest_error(camera_after(before, after), similarity(shift=(15, 0))) < 0.4, "without the box it is fooled"


def test_a_standing_camera_needs_fewer_witnesses():
    """Two vans drive alike before a wall; more corners move than stand, but nothing makes a wall stand by chance."""
    before, after = texture(0, 480, 640), texture(0, 480, 640)
    for top, left in ((20, 100), (250, 100)):
        before[top : top + 150, left : left + 360] = texture(2 + top, 150, 360)
        after[top : top + 150, left + 12 : left + 372] = texture(2 + top, 150, 360)
    np.testing.assert_array_equal(camera_after(before, after), STILL)
    fooled = camera_after(before, after, config=CameraConfig(max_still=10.0))
    assert greatest_error(fooled, similarity(shift=(12, 0))) < 0.5, "the scene is hard enough to test the rule"


def test_first_frame_and_reset():
    image = texture(0, 480, 640)
    camera = CameraMotion()
    np.testing.assert_array_equal(camera.estimate(Frame(0, 0.0, image)), STILL)
    camera.reset()
    np.testing.assert_array_equal(camera.estimate(Frame(1, 0.1, np.roll(image, 5, 1))), STILL)
    assert greatest_error(camera.estimate(Frame(2, 0.2, np.roll(image, 10, 1))), similarity(shift=(5, 0))) < 0.4


def test_resolution_change_starts_anew():
    """T10: the first frame of another size is a first frame, the next one counts again."""
    camera, small, large = CameraMotion(), texture(0, 240, 320), texture(0, 480, 640)
    camera.estimate(Frame(0, 0.0, small))
    np.testing.assert_array_equal(camera.estimate(Frame(1, 0.1, large)), STILL)
    assert greatest_error(camera.estimate(Frame(2, 0.2, np.roll(large, 4, 1))), similarity(shift=(4, 0))) < 0.4
    turned = np.ascontiguousarray(large.transpose(1, 0, 2))  # as many pixels, another shape
    np.testing.assert_array_equal(camera.estimate(Frame(3, 0.3, turned)), STILL)


@pytest.mark.parametrize("between", ["black", "white", "noise", "other", "ramp"])
def test_frames_that_say_nothing(between):
    """A black frame or a cut gives the identity, and the picture after it is a new start, not a jump."""
    r = np.random.default_rng(0)
    image = texture(0, 480, 640)
    odd = {
        "black": np.zeros_like(image),
        "white": np.full_like(image, 255),
        "noise": r.integers(0, 255, image.shape, dtype=np.uint8),
        "other": texture(77, 480, 640),
        "ramp": np.ascontiguousarray(np.broadcast_to(np.linspace(0, 255, 640)[None, :, None], image.shape)).astype(
            "u1"
        ),
    }[between]
    camera = CameraMotion()
    for i, picture in enumerate([image, odd, image]):
        np.testing.assert_array_equal(camera.estimate(Frame(i, i / 25, picture)), STILL)
    assert greatest_error(camera.estimate(Frame(3, 0.2, np.roll(image, 6, 0))), similarity(shift=(0, 6))) < 0.4


@pytest.mark.parametrize("wild", [{"degrees": 35.0}, {"scale": 1.5}, {"shift": (300.0, 0.0)}])
def test_implausible_motion_is_refused(wild):
    image, wanted = texture(0, 480, 640), similarity(**wild)
    found = camera_after(image, seen(image, wanted))
    np.testing.assert_array_equal(found, STILL)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (7, 5), (23, 23), (30, 4000), (25, 25)])
def test_odd_sizes(shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    assert np.isfinite(camera_after(image, image, image)).all()


def test_odd_boxes():
    image = texture(0, 480, 640)
    boxes = [[-50, -50, 10, 10], [630, 400, 9e9, 9e9], [np.nan, 0, 5, 5], [9, 9, np.inf, 20], [40, 40, 30, 30]]
    for given in (boxes, [], np.zeros((0, 4), np.float32), [[-9, -9, 999, 999]]):
        found = camera_after(image, np.roll(image, 4, 1), boxes=given)
        assert greatest_error(found, similarity(shift=(4, 0) if len(given) != 1 else (0, 0))) < 0.4


def test_images_are_left_alone_and_may_be_reused():
    buffer = texture(0, 480, 640)
    kept, camera = buffer.copy(), CameraMotion()
    camera.estimate(Frame(0, 0.0, buffer), [[0, 0, 50, 50]])
    np.testing.assert_array_equal(buffer, kept)
    buffer[:] = np.roll(kept, 7, 1)
    assert greatest_error(camera.estimate(Frame(1, 0.1, buffer)), similarity(shift=(7, 0))) < 0.4


def test_same_frames_same_matrix():
    image = texture(0, 480, 640)
    pair = image, seen(image, similarity(degrees=1.0, shift=(5, 2)))
    np.testing.assert_array_equal(camera_after(*pair), camera_after(*pair))


def test_real_static_camera(shared):
    """People walk through vtest.avi; the camera stands: no corner of the frame moves by a pixel."""
    import cv2

    capture, camera, greatest = cv2.VideoCapture(str(shared / "data" / "video" / "vtest.avi")), CameraMotion(), []
    for i in range(60):
        found = camera.estimate(Frame(i, i / 10, capture.read()[1]))
        greatest.append(greatest_error(found, STILL, 768, 576))
    capture.release()
    assert max(greatest) < 1.0 and np.median(greatest) < 0.3
