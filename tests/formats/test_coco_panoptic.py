"""COCO panoptic: segments to 2**24, the JSON beside the pictures, and what does not fit together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.formats.frames import panoptic_frames, write
from tracker.errors import FormatError
from tracker.formats import FORMATS
from tracker.formats.coco_panoptic import encode_panoptic_png, read_frames, read_panoptic_png

FORM = FORMATS["coco-panoptic"]


@given(arrays(np.int64, (2, 4), elements=st.integers(0, 2**24 - 1)))
def test_segments_go_through(tmp_path_factory, segments):
    path = tmp_path_factory.mktemp("coco") / "a.png"
    path.write_bytes(encode_panoptic_png(segments))
    np.testing.assert_array_equal(read_panoptic_png(path), segments)


def test_a_segment_in_three_bytes(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_panoptic_png(np.array([[1 + 2 * 256 + 3 * 65536]])))
    from tracker.formats.png import read_png

    assert read_png(tmp_path / "a.png").pixels.tolist() == [[[1, 2, 3]]]
    with pytest.raises(FormatError, match="segments 0 to 16777215"):
        encode_panoptic_png(np.array([[2**24]]))


def test_the_json_says_what_the_pictures_hold(tmp_path):
    write(FORM, tmp_path / "set.json", panoptic_frames())
    content = json.loads((tmp_path / "set.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["000000.png", "000001.png", "000002.png"]
    assert [c["name"] for c in content["categories"] if c["isthing"]] == ["person", "car"]
    for annotation in content["annotations"]:
        segments = read_panoptic_png(tmp_path / "set" / annotation["file_name"])
        found = {segment["id"]: segment for segment in annotation["segments_info"]}
        assert sorted(found) == sorted(set(np.unique(segments).tolist()) - {0})
        for number, segment in found.items():
            rows, columns = np.nonzero(segments == number)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert (segment["area"], segment["bbox"]) == (len(rows), box)
        assert sorted(segment["iscrowd"] for segment in found.values()) == [0, 0, 0, 0, 1]


def edited(tmp_path, edit):
    path = write(FORM, tmp_path / "set.json", panoptic_frames())
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda c: c["annotations"][0]["segments_info"].pop(), r"000000\.png: segment \d+ is not in the segments_info"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(category_id=99), "unknown category 99"),
        (lambda c: c["annotations"][1].update(file_name="gone.png"), r"gone\.png: no such file"),
        (lambda c: c["categories"][0].update(id={}), "ids as whole numbers and names as text"),
        (lambda c: c.pop("categories"), "'categories' is missing"),
        (lambda c: c.update(annotations=None), "expected images, annotations and categories"),
    ],
)
def test_faults(tmp_path, edit, reason):
    with pytest.raises(FormatError, match=reason) as caught:
        list(read_frames(edited(tmp_path, edit)))
    assert "\n" not in str(caught.value)


def test_other_peoples_segments_keep_their_numbers(tmp_path):
    """COCO's own ids are colours; those of a video stay the same from frame to frame."""
    (tmp_path / "set").mkdir()
    number = 3_226_956
    (tmp_path / "set" / "x.png").write_bytes(encode_panoptic_png(np.array([[number, 0, 77]])))
    info = [{"id": number, "category_id": 1}, {"id": 77, "category_id": 200}]
    categories = [{"id": 1, "name": "person", "isthing": 1}, {"id": 200, "name": "sky", "isthing": 0}]
    content = {"annotations": [{"file_name": "x.png", "segments_info": info}], "categories": categories}
    (tmp_path / "set.json").write_text(json.dumps(content))
    frame = next(read_frames(tmp_path / "set.json"))
    assert frame.pixels.ids.tolist() == [[number, 0, 0]] and frame.pixels.classes.tolist() == [[0, 255, 1]]
    assert frame.names == ["person"]
