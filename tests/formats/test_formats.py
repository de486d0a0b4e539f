"""Every row of FORMATS: what is written is read back, and bad input is one line that names the file."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.formats.frames import FRAMES, SETS, mask_frames, panoptic_frames, write
from tracker.errors import FormatError
from tracker.formats import FORMATS, Reading
from tracker.formats.frame_objects import NAMELESS, fill_gaps

HOW = Reading()


def frames_for(name):
    return panoptic_frames(class_set=SETS[name]) if name in SETS else FRAMES[FORMATS[name].holds]()


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back(name, tmp_path):
    form = FORMATS[name]
    given = frames_for(name)
    found = list(form.read(write(form, tmp_path / f"out{form.suffix}", given), Reading(length=len(given))))
    assert [frame.index for frame in found] == [0, 1, 2]
    for frame, wanted in zip(found, given):
        assert len(frame) == len(wanted)
        order, other = np.argsort(frame.boxes[:, 0]), np.argsort(wanted.boxes[:, 0])
        np.testing.assert_allclose(frame.boxes[order], wanted.boxes[other], atol=0.01)
        if form.classes != frozenset() and name != "mot" and name != "youtube-vis":
            assert [frame.names[k] for k in order] == [wanted.names[k] for k in other]
        if form.holds != "boxes":
            np.testing.assert_array_equal(frame.masks.select(order).to_dense(), wanted.masks.select(other).to_dense())
        if form.holds == "panoptic":
            np.testing.assert_array_equal(frame.pixels.classes, wanted.pixels.classes)
            np.testing.assert_array_equal(frame.pixels.ids, wanted.pixels.ids)
    same = [dict(zip(frame.names, frame.ids.tolist())) for frame in found]
    for earlier, later in pairwise(same):  # an object keeps its id, whatever it is
        assert all(earlier[n] == later[n] for n in earlier.keys() & later.keys() if n != NAMELESS)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "youtube-vis"])  # it numbers its categories
def test_a_second_round_changes_no_byte(name, tmp_path):
    form = FORMATS[name]
    first = write(form, tmp_path / f"a{form.suffix}", frames_for(name))
    again = list(form.read(first, Reading(length=3)))
    second = write(form, tmp_path / f"b{form.suffix}", again)
    for place in [first, *first.glob("*")] if first.is_dir() else [first]:
        twin = second / place.name if place.parent == first else second
        if place.is_file():
            assert place.read_bytes() == twin.read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_places_that_do_not_exist(name, tmp_path):
    with pytest.raises(FormatError, match=r"nowhere.*(no such file|no such folder)") as caught:
        list(FORMATS[name].read(tmp_path / f"nowhere{FORMATS[name].suffix}", HOW))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_files_of_another_kind(name, tmp_path):
    form = FORMATS[name]
    path = tmp_path / ("x" + form.suffix)
    if form.suffix:
        path.write_bytes(bytes(range(256)))
    else:
        path.mkdir()
        (path / "000001.png").write_bytes(bytes(range(256)))
    with pytest.raises(FormatError) as caught:
        list(form.read(path, HOW))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].holds == "masks"])
def test_boxes_are_no_masks(name, tmp_path):
    form = FORMATS[name]
    frame = next(FORMATS["kitti"].read(write(FORMATS["kitti"], tmp_path / "k.txt", mask_frames()), HOW))
    with pytest.raises(FormatError, match="boxes without masks"):
        write(form, tmp_path / ("x" + form.suffix), [frame])


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].holds == "panoptic"])
def test_masks_are_no_panoptic_picture(name, tmp_path):
    form = FORMATS[name]
    with pytest.raises(FormatError, match="no panoptic picture"):
        write(form, tmp_path / ("x" + form.suffix), mask_frames())


def test_gaps_are_filled_and_the_end_too():
    frames = mask_frames()
    filled = list(fill_gaps([frames[0], frames[2]], 5))
    assert [frame.index for frame in filled] == [0, 1, 2, 3, 4]
    assert [len(frame) for frame in filled] == [2, 0, 0, 0, 0]
    assert filled[4].masks.height == frames[0].masks.height
    assert list(fill_gaps([], 5)) == []
