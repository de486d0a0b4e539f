"""STEP, MOTS and DAVIS pictures: to the bit, ids to their limits, and readers that refuse."""

from __future__ import annotations

import base64
import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.formats.frames import H, W, mask_frames, panoptic_frames, picture
from tracker.errors import FormatError
from tracker.formats.class_set import KITTI_STEP, MOTCHALLENGE_STEP
from tracker.formats.davis import PALETTE, DavisEncoder, read_davis
from tracker.formats.davis import read_frames as read_davis_frames
from tracker.formats.frame_objects import FrameObjects
from tracker.formats.mots_png import MotsPngEncoder, read_mots_png
from tracker.formats.mots_png import read_frames as read_mots_frames
from tracker.formats.png import encode_png
from tracker.formats.step import encode_step, read_frames, read_sequence, read_step, sequences
from tracker.masks import Masks


@pytest.fixture(scope="session")
def expected(golden):
    return json.loads((golden / "formats" / "expected.json").read_text())


# ---------------------------------------------------------------------- STEP


def test_step_to_the_bit(expected, tmp_path):
    wanted = expected["step_png"]
    (tmp_path / "a.png").write_bytes(base64.b64decode(wanted["png_base64"]))
    classes, ids = read_step(tmp_path / "a.png")
    np.testing.assert_array_equal(classes, wanted["semantic"])
    np.testing.assert_array_equal(ids, wanted["instance"])
    rgb = cv2.imdecode(np.frombuffer(encode_step(classes, ids), np.uint8), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    np.testing.assert_array_equal(rgb, wanted["rgb"])


@given(arrays(np.uint8, (3, 5)), arrays(np.int32, (3, 5), elements=st.integers(0, 65535)))
def test_step_goes_through(tmp_path_factory, classes, ids):
    path = tmp_path_factory.mktemp("step") / "a.png"
    path.write_bytes(encode_step(classes, ids))
    for found, wanted in zip(read_step(path), (classes, ids)):
        np.testing.assert_array_equal(found, wanted)


def test_two_channels(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(np.array([[[13, 7, 99]]], np.uint8)))
    assert [pixels.tolist() for pixels in read_step(tmp_path / "a.png", two_channel=True)] == [[[13]], [[7]]]


def test_numbers_that_a_step_picture_cannot_hold():
    with pytest.raises(FormatError, match=r"id numbers 0 to 65535, got 0\.\.65536"):
        encode_step(np.zeros((1, 2), np.uint8), np.array([[0, 65536]]))
    with pytest.raises(FormatError, match="class numbers 0 to 255"):
        encode_step(np.array([[256]]), np.array([[0]]))
    with pytest.raises(FormatError, match="one shape"):
        encode_step(np.zeros((1, 2), np.uint8), np.zeros((2, 1), np.int32))


def step_folder(folder, numbers, shape=(2, 3)):
    folder.mkdir()
    for number in numbers:
        pixels = np.full(shape, number % 19, np.uint8)
        (folder / f"{number:06d}.png").write_bytes(encode_step(pixels, np.zeros(shape, np.int32)))
    return folder


def test_a_sequence_comes_in_the_order_of_its_numbers(tmp_path):
    step_folder(tmp_path / "0002", [3, 1, 2])
    (tmp_path / "empty").mkdir()
    assert sequences(tmp_path) == ["0002"]
    assert [(frame.number, int(frame.classes[0, 0])) for frame in read_sequence(tmp_path / "0002")] == [
        (1, 1), (2, 2), (3, 3),
    ]  # fmt: skip


def test_sequences_with_faults(tmp_path):
    with pytest.raises(FormatError, match="frame 2 is missing"):
        list(read_sequence(step_folder(tmp_path / "gap", [1, 3])))
    with pytest.raises(FormatError, match="no pictures in"):
        list(read_sequence(step_folder(tmp_path / "none", [])))
    with pytest.raises(FormatError, match="no sequences in"):
        sequences(tmp_path / "gap")
    folder = step_folder(tmp_path / "sizes", [0])
    (folder / "000001.png").write_bytes(encode_step(np.zeros((3, 3), np.uint8), np.zeros((3, 3), np.int32)))
    with pytest.raises(FormatError, match=r"000001\.png: expected the sequence's size \(2, 3\), got \(3, 3\)"):
        list(read_sequence(folder))
    (folder / "01.png").write_bytes(b"")
    with pytest.raises(FormatError, match="frame 1 is there already"):
        list(read_sequence(folder))
    (folder / "01.png").rename(folder / "last.png")
    with pytest.raises(FormatError, match=r"last\.png: expected a frame number"):
        list(read_sequence(folder))
    with pytest.raises(FormatError, match=r"expected frame numbers from 1"):
        list(read_frames(step_folder(tmp_path / "zero", [0]), MOTCHALLENGE_STEP, 1))
    with pytest.raises(FormatError, match=r"000018\.png: expected classes 0 to 6 or 255 \(void\), got 18"):
        list(read_frames(step_folder(tmp_path / "classes", [18]), MOTCHALLENGE_STEP, 1))
    grey = tmp_path / "grey.png"
    grey.write_bytes(encode_png(np.zeros((2, 2), np.uint16)))
    with pytest.raises(FormatError, match="8-bit RGB PNG, got 1 channels of 16 bits"):
        read_step(grey)


def test_things_of_a_picture():
    frame = panoptic_frames()[0]
    assert frame.ids.tolist() == [1_100_003, 1_300_300] and frame.names == ["person", "car"]
    assert frame.boxes.tolist() == [[2, 4, 9, 14], [14, 4, 21, 14]]  # neither stuff nor the crowd


def test_another_datasets_numbers():
    """A car is void in MOTChallenge-STEP, and stuff carries no id."""
    there = picture(0).as_set(MOTCHALLENGE_STEP)
    person, car = there.classes[5, 3], there.classes[5, 16]
    assert (person, car, there.ids[5, 3], there.ids[5, 16]) == (4, 255, 3, 0)
    assert there.classes[0, 0] == 255
    assert picture(0).as_set(KITTI_STEP).classes[5, 16] == 13


# ---------------------------------------------------------------------- MOTS


def test_mots_to_the_bit(expected, tmp_path):
    wanted = expected["mots_png16"]
    path = tmp_path / "a.png"
    path.write_bytes(base64.b64decode(wanted["png_base64"]))
    found = read_mots_png(path)
    assert found.ids.tolist() == [1000, 1005, 2003, 10000] and found.classes.tolist() == [1, 1, 2, 10]
    np.testing.assert_array_equal(found.masks.to_label_map(found.ids), wanted["values"])


def test_mots_pictures_with_faults(tmp_path):
    for pixels, reason in (
        (np.array([[3001]], np.uint16), "class 1 or 2, or 10000, got 3001"),
        (np.array([[10001]], np.uint16), "got 10001"),
        (np.array([[5]], np.uint16), "got 5"),
        (np.array([[5]], np.uint8), "one channel of 16 bits, got 1 of 8 bits"),
    ):
        (tmp_path / "000000.png").write_bytes(encode_png(pixels))
        with pytest.raises(FormatError, match=reason):
            list(read_mots_frames(tmp_path, 0))


def objects(*ids, name="person"):
    stack = np.zeros((len(ids), 1, len(ids)), bool)
    stack[range(len(ids)), 0, range(len(ids))] = True
    return FrameObjects.from_masks(0, ids, [name] * len(ids), Masks.from_dense(stack))


def values(frame, encode, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(frame))
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[0].tolist()


def test_which_number_an_object_gets(tmp_path):
    encode = MotsPngEncoder()
    assert values(objects(2007, 4, 1_100_003), encode, tmp_path) == [2007, 2004, 2001]
    assert values(objects(1_100_003, 4), encode, tmp_path) == [2001, 2004]
    assert values(objects(10000, name="ignore"), encode, tmp_path) == [10000]
    assert values(objects(3, name="dog"), encode, tmp_path) == [0]
    with pytest.raises(FormatError, match="no number is left for id 7 of class person"):
        encode(objects(7))  # 2007 is another object


# ---------------------------------------------------------------------- DAVIS


def test_the_palette():
    """First colours of PASCAL VOC."""
    assert PALETTE[:5].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert PALETTE[8].tolist() == [64, 0, 0] and PALETTE[255].tolist() == [224, 224, 192]


def test_davis_keeps_small_ids_and_renames_large_ones(tmp_path):
    encode = DavisEncoder()
    for frame, wanted in ((objects(3, 900, 255), [3, 1, 255]), (objects(900, 1), [1, 2])):
        (tmp_path / "a.png").write_bytes(encode(frame))
        assert read_davis(tmp_path / "a.png")[0].tolist() == wanted
    with pytest.raises(FormatError, match="255 objects"):
        encode(objects(*range(2, 300)))


def test_davis_in_other_clothes(tmp_path):
    mask = np.array([[0, 255, 255]], np.uint8)
    for pixels in (mask, np.repeat(mask[..., None], 3, 2)):  # DAVIS 2016, and grey saved as colours
        (tmp_path / "a.png").write_bytes(encode_png(pixels))
        assert read_davis(tmp_path / "a.png").tolist() == [[0, 1, 1]]
    (tmp_path / "a.png").write_bytes(encode_png(np.array([[[1, 2, 3]]], np.uint8)))
    with pytest.raises(FormatError, match="palette or grey"):
        read_davis(tmp_path / "a.png")


def test_real_davis_masks(shared):
    frames = list(read_davis_frames(shared / "data" / "sequences" / "davis" / "car-shadow" / "masks"))
    assert len(frames) > 10 and all(frame.ids.tolist() == [1] for frame in frames)


def test_frames_know_their_size_without_objects():
    assert (mask_frames()[2].masks.height, mask_frames()[2].masks.width) == (H, W)
