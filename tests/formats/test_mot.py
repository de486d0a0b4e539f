"""MOTChallenge text: to the byte, one convention for pixels and frames, and errors that name the line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.errors import FormatError
from tracker.formats.mot import encode_truth_frame, read_frames, read_mot, write_row, write_truth_row


def test_a_row_to_the_byte():
    """The first pixel of the first frame is (1, 1) in frame 1."""
    assert write_row(0, 1, (0.0, 0.0, 10.0, 20.5), 0.987654) == "1,1,1.00,1.00,10.00,20.50,0.9877,-1,-1,-1\n"
    assert write_row(41, 7, (-3.25, 99.999, 0.0, 100.0), 1) == "42,7,-2.25,101.00,3.25,0.00,1.0000,-1,-1,-1\n"


def test_reading_gives_the_engines_units(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("1,3,83.02,56.22,38.64,56.45,1,1,0.915\n\n2,-1,1,1,2,3\r\n")
    rows = read_mot(path)
    assert rows.frames.tolist() == [0, 1]
    assert rows.ids.tolist() == [3, -1]
    np.testing.assert_allclose(rows.boxes, [[82.02, 55.22, 120.66, 111.67], [0, 0, 2, 3]])
    assert rows.scores.tolist() == [1.0, 1.0]
    np.testing.assert_array_equal(rows.rest, [[1, 0.915, np.nan], [np.nan] * 3])


def test_detections_of_a_frame(tmp_path):
    path = tmp_path / "det.txt"
    path.write_text("1,-1,11,21,5,6,0.5,-1,-1,-1\n1,-1,12,22,5,6,0.25,-1,-1,-1\n3,-1,13,23,5,6,0.75,-1,-1,-1\n")
    rows = read_mot(path)
    assert rows.detections(0).boxes.tolist() == [[10, 20, 15, 26], [11, 21, 16, 27]]
    assert rows.detections(0).scores.tolist() == [0.5, 0.25]
    assert [len(rows.detections(frame)) for frame in range(4)] == [2, 0, 1, 0]


def test_an_empty_file_has_no_rows(tmp_path):
    path = tmp_path / "none.txt"
    path.write_text("")
    rows = read_mot(path)
    assert len(rows) == 0 and rows.boxes.shape == (0, 4) and rows.rest.shape == (0, 3)
    assert len(rows.detections(0)) == 0


coordinate = st.floats(-500, 5000, width=32)


@given(
    st.lists(st.tuples(coordinate, coordinate, st.floats(0, 900, width=32), st.floats(0, 900, width=32)), max_size=8)
)
def test_what_is_written_is_read_back_to_a_hundredth_of_a_pixel(tmp_path_factory, given_boxes):
    path = tmp_path_factory.mktemp("mot") / "res.txt"
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in given_boxes], np.float32).reshape(-1, 4)
    lines = [write_row(3 * k, k + 1, box.tolist(), 0.5) for k, box in enumerate(boxes)]
    path.write_text("".join(lines))
    rows = read_mot(path)
    assert rows.frames.tolist() == [3 * k for k in range(len(boxes))]
    assert rows.ids.tolist() == [k + 1 for k in range(len(boxes))]
    np.testing.assert_allclose(rows.boxes, boxes, atol=0.0101)
    again = [write_row(int(f), int(i), box, s) for f, i, box, s in zip(rows.frames, rows.ids, rows.boxes, rows.scores)]
    assert again == lines


BAD_LINES = {
    "1,2,3,4,5": "6 to 10 columns",
    "1 2 3 4 5 6 1": "6 to 10 columns",
    "1,2,3,4,5,6,7,8,9,10,11": "6 to 10 columns",
    "1,2,3,x,5,6,1": "expected numbers, got 'x'",
    "1,2,3,,5,6,1": "expected numbers, got ''",
    "1,2,3,nan,5,6,1": "finite",
    "1,2,3,inf,5,6,1": "finite",
    "0,2,3,4,5,6,1": "frame number from 1, got 0",
    "1e9,2,3,4,5,6,1": "frame numbers to 10000000, got 1e9",
    "1,1e20,3,4,5,6,1": "id from 1",
    "1.5,2,3,4,5,6,1": "frame number from 1, got 1.5",
    "1,0,3,4,5,6,1": "id from 1",
    "1,-2,3,4,5,6,1": "id from 1",
    "1,2.5,3,4,5,6,1": "id from 1",
    "1,2,3,4,-5,6,1": "width and height >= 0, got -5 x 6",
    "5,9,3,4,5,6,1": "id 9 is in frame 5 already, on line 1",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_errors_name_file_line_and_reason(tmp_path, line):
    path = tmp_path / "res.txt"
    path.write_text(f"5,9,1,1,1,1,1,-1,-1,-1\n\n{line}\n")
    with pytest.raises(FormatError) as caught:
        read_mot(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert BAD_LINES[line] in str(caught.value) and "\n" not in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(FormatError, match=r"nowhere\.txt: no such file"):
        read_mot(tmp_path / "nowhere.txt")
    with pytest.raises(FormatError, match="is a directory"):
        read_mot(tmp_path)
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    with pytest.raises(FormatError, match="not a text file"):
        read_mot(tmp_path / "binary.txt")


def test_public_files_are_read(shared):
    """Row counts of the files themselves; MOT15's ground truth has a place in the world where MOT17 has a class."""
    for path in sorted((shared / "golden" / "mots_step" / "mot17_txt").rglob("*.txt")):
        assert len(read_mot(path)) == len(path.read_text().split())
    rows = read_mot(shared / "data" / "gt" / "mot15" / "PETS09-S2L1" / "gt.txt")
    assert (len(rows), len(set(rows.ids.tolist()))) == (4650, 19)
    assert rows.rest[0].tolist() == [-4.1554, -7.3591, 0]
    assert len(read_mot(shared / "data" / "detections" / "mot15" / "TUD-Campus" / "det" / "det.txt")) == 321


def test_ground_truth_to_the_byte(shared):
    """Lines of MOT17's own files; numbers are as short as they are exact."""
    path = shared / "data" / "gt" / "mot17_train" / "MOT17-09-FRCNN" / "gt" / "gt.txt"
    if not path.exists():
        path = next((shared / "data" / "gt" / "mot17_train").rglob("gt.txt"))
    rows = read_mot(path)
    text = "".join(
        write_truth_row(frame, number, box, int(flag), int(rest[0]), rest[1])
        for frame, number, box, flag, rest in zip(
            rows.frames.tolist(), rows.ids.tolist(), rows.boxes.tolist(), rows.scores.tolist(), rows.rest.tolist()
        )
    )
    for mine, theirs in zip(text.splitlines(), path.read_text().split(), strict=True):
        numbers = [[float(field) for field in line.split(",")] for line in (mine, theirs)]
        assert mine == theirs or np.allclose(*numbers, rtol=0, atol=1e-6)


def test_a_ground_truth_row_to_the_byte():
    box = 82.02, 55.22, 120.66, 111.67
    assert write_truth_row(0, 3, box, 1, 1, 0.915) == "1,3,83.02,56.22,38.64,56.45,1,1,0.915\n"
    assert write_truth_row(1, 1, (-1, 0, 1, 2), 0, 7, 1) == "2,1,0,1,2,2,0,7,1\n"


def test_frames_of_ground_truth_have_classes_and_those_of_mot15_do_not(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("1,3,83.02,56.22,38.64,56.45,1,1,0.915\n3,4,1,1,2,3,0,7,1\n3,5,1,1,2,3,1,-1,-1,-1\n")
    frames = list(read_frames(path, length=4))
    assert [frame.names for frame in frames] == [["person"], [], ["static person", ""], []]
    assert "".join(map(encode_truth_frame, frames)) == "1,3,83.02,56.22,38.64,56.45,1,1,1\n3,4,1,1,2,3,0,7,1\n"
    assert [frame.names for frame in read_frames(path, has_classes=False)] == [[""], [], ["", ""]]
