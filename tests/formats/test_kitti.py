"""KITTI tracking labels: to the byte, and a reader that refuses."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.errors import FormatError
from tracker.formats.frame_objects import IGNORED, FrameObjects
from tracker.formats.kitti import encode_frame, read_frames, read_kitti, write_row

NOWHERE = " -1000.000000 -1000.000000 -1000.000000 -10.000000 -1.000000 -1.000000 -1.000000\n"
LABELS = (
    f"0 -1 DontCare -1 -1 -10.000000 219.310000 188.490000 245.500000 218.560000{NOWHERE}"
    f"0 -1 DontCare -1 -1 -10.000000 47.560000 195.280000 115.480000 221.480000{NOWHERE}"
    "0 0 Van 0 0 -1.793451 296.744956 161.752147 455.226042 292.372804 2.000000 1.823255 4.433886 -4.552284 "
    "1.858523 13.410495 -2.115488\n"
    "2 2 Pedestrian 1 3 -2.523309 1106.137292 166.576807 1204.470628 323.876144 1.714062 0.767881 0.972283 "
    "6.301919 1.652419 8.455685 -1.900245\n"
)
RESULT = (
    "3 2 Car -1 -1 -10.000000 1.500000 2.000000 30.000000 40.250000 -1.000000 -1.000000 -1.000000 "
    "-1000.000000 -1000.000000 -1000.000000 -10.000000 0.875000\n"
)


def test_labels_to_the_byte(tmp_path):
    path = tmp_path / "0000.txt"
    path.write_text(LABELS + RESULT)
    rows = read_kitti(path)
    assert "".join(write_row(rows, row) for row in range(len(rows))) == LABELS + RESULT
    assert rows.types == ["DontCare", "DontCare", "Van", "Pedestrian", "Car"]
    assert rows.occluded.tolist() == [-1, -1, 0, 3, -1]
    assert rows.boxes[2].tolist() == [296.744956, 161.752147, 455.226042, 292.372804]
    assert np.isnan(rows.scores[:4]).all() and rows.scores[4] == 0.875


def test_results_of_a_frame_to_the_byte():
    frame = FrameObjects(3, np.array([3, 4]), ["car", "dog"], np.array([[1.5, 2, 30, 40.25]] * 2), np.array([0.875, 1]))
    assert encode_frame(frame) == RESULT


def test_frames_count_ids_from_one(tmp_path):
    path = tmp_path / "0000.txt"
    path.write_text(LABELS)
    frames = list(read_frames(path, 5))
    assert [frame.ids.tolist() for frame in frames] == [[-1, -1, 1], [], [3], [], []]
    assert frames[0].names == [IGNORED, IGNORED, "van"]


def test_an_empty_file_has_no_rows(tmp_path):
    (tmp_path / "a.txt").write_text("")
    assert len(read_kitti(tmp_path / "a.txt")) == 0 and list(read_frames(tmp_path / "a.txt")) == []


GOOD = RESULT.split()


def line(**changes):
    places = {"frame": 0, "id": 1, "type": 2, "truncated": 3, "occluded": 4, "left": 6, "right": 8, "score": 17}
    fields = list(GOOD)
    for name, value in changes.items():
        fields[places[name]] = value
    return " ".join(fields)


BAD = {
    "0 1 Car": "got 3",
    line() + " 5": "got 19",
    line().replace(" ", "  ", 1): "single spaces, got 19",
    line(type="Dog"): "types Car, Van",
    line(left="x"): "expected numbers",
    line(score="nan"): "finite",
    line(frame="-1"): "frame number from 0, got -1",
    line(frame="1e9"): "frame numbers to 10000000",
    line(frame="1.5"): "frame number from 0",
    line(id="-2"): "whole numbers as id",
    line(occluded="0.5"): "whole numbers",
    line(left="31"): "left <= right",
    line(): "id 2 is in frame 3 already, on line 1",
}


@pytest.mark.parametrize("bad", BAD)
def test_errors_name_file_line_and_reason(tmp_path, bad):
    path = tmp_path / "0000.txt"
    path.write_text(f"{RESULT}\n{bad}\n")
    with pytest.raises(FormatError) as caught:
        read_kitti(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert BAD[bad] in str(caught.value) and "\n" not in str(caught.value)
