"""MOTS text: to the byte, and a reader that refuses what the benchmark refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tracker.errors import FormatError
from tracker.formats.mots import CAR, CLASS_OF_NAME, IGNORE, PEDESTRIAN, read_mots, write_row
from tracker.masks import Masks

H, W = 6, 8


def dense(*rectangles):
    out = np.zeros((len(rectangles), H, W), bool)
    for mask, (x0, y0, x1, y1) in zip(out, rectangles):
        mask[y0:y1, x0:x1] = True
    return out


def rle(*rectangle):
    return Masks.from_dense(dense(rectangle)).to_rle()[0]


def test_a_row_to_the_byte():
    first_pixel = {"size": [3, 4], "counts": "01;"}
    assert write_row(0, 2001, PEDESTRIAN, first_pixel) == "0 2001 2 3 4 01;\n"
    assert write_row(0, 5, CAR, first_pixel, first_frame=1) == "1 5 1 3 4 01;\n"


def test_classes():
    assert (CAR, PEDESTRIAN, IGNORE) == (1, 2, 10)
    assert CLASS_OF_NAME == {"person": 2, "pedestrian": 2, "car": 1}


@pytest.mark.parametrize("first_frame", [0, 1])
def test_what_is_written_is_read_back(tmp_path, first_frame):
    rng = np.random.default_rng(first_frame)
    path = tmp_path / "res.txt"
    lines, wanted = [], {}
    for frame in (0, 1, 4):
        labels = rng.integers(0, 5, (H, W))
        labels[0, :4] = [1, 2, 3, 4]  # each has a pixel
        masks = Masks.from_label_map(labels)
        ids, classes = rng.permutation(50)[:4] + 1, rng.choice([1, 2, 10], 4)
        wanted[frame] = (ids, classes, masks.to_dense())
        for track_id, mots_class, runs in zip(ids, classes, masks.to_rle()):
            lines.append(write_row(frame, track_id, mots_class, runs, first_frame=first_frame))
    path.write_text("".join(lines))
    found = read_mots(path, first_frame=first_frame)
    assert list(found) == list(wanted)
    for frame, (ids, classes, stack) in wanted.items():
        np.testing.assert_array_equal(found[frame].ids, ids)
        np.testing.assert_array_equal(found[frame].classes, classes)
        np.testing.assert_array_equal(found[frame].masks.to_dense(), stack)


def test_an_empty_file_has_no_frames(tmp_path):
    (tmp_path / "none.txt").write_text("\n")
    assert read_mots(tmp_path / "none.txt") == {}


def test_an_empty_mask_is_legal(tmp_path):
    (tmp_path / "a.txt").write_text("0 1 2 3 4 <\n0 2 2 3 4 <\n")
    assert read_mots(tmp_path / "a.txt")[0].masks.areas.tolist() == [0, 0]


GOOD = f"3 1 2 {H} {W} {rle(0, 0, 3, 3)['counts']}"
BAD_LINES = {
    f"3 2 2 {H} {W}": "got 5 fields",
    f"3  2 2 {H} {W} {rle(4, 0, 6, 3)['counts']}": "single spaces, got 7 fields",
    f"3,2,2,{H},{W},{rle(4, 0, 6, 3)['counts']}": "got 1 fields",
    f"x 2 2 {H} {W} {rle(4, 0, 6, 3)['counts']}": "five whole numbers",
    f"3 -2 2 {H} {W} {rle(4, 0, 6, 3)['counts']}": "five whole numbers",
    f"3 2 3 {H} {W} {rle(4, 0, 6, 3)['counts']}": "class 1, 2 or 10, got 3",
    f"3 1 2 {H} {W} {rle(4, 0, 6, 3)['counts']}": "id 1 is in this frame already, on line 1",
    f"3 2 2 {H} {W} {rle(2, 2, 6, 5)['counts']}": "overlaps that of id 1, line 1",
    f"3 2 2 {W} {H} {rle(4, 0, 6, 3)['counts']}": "expected the frame's size 6 x 8",
    f"3 2 2 {H} {W} b'{rle(4, 0, 6, 3)['counts']}'": "Python bytes",
    f"3 2 2 {H} {W} {rle(4, 0, 6, 3)['counts']}1": "broken run lengths: they do not fill 6 x 8 pixels",
    f"3 2 2 {H} {W} ~~~": "broken run lengths",
    f"3 2 2 999999999 999999999 {rle(4, 0, 6, 3)['counts']}": "expected a frame of 1 to",
    f"99999999 2 2 {H} {W} {rle(4, 0, 6, 3)['counts']}": "frames to 10000000",
    f"3 2 2 0 {W} 0": "expected a frame of 1 to",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_errors_name_file_line_and_reason(tmp_path, line):
    path = tmp_path / "res.txt"
    path.write_text(f"{GOOD}\n\n{line}\n")
    with pytest.raises(FormatError) as caught:
        read_mots(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert BAD_LINES[line] in str(caught.value) and "\n" not in str(caught.value)


def test_motschallenge_has_no_frame_zero(tmp_path):
    (tmp_path / "a.txt").write_text(f"0 1 2 {H} {W} {rle(0, 0, 1, 1)['counts']}\n")
    with pytest.raises(FormatError, match="line 1: expected frames from 1, got 0"):
        read_mots(tmp_path / "a.txt", first_frame=1)


def test_the_benchmarks_own_files_survive_a_round_trip(shared):
    folder = shared / "golden" / "mots_step" / "mots_txt"
    files = [*sorted(folder.rglob("*.txt")), shared / "data" / "gt" / "kitti_mots" / "0004.txt"]
    assert len(files) > 8
    for path in files:
        first_frame = int("challenge" in str(path))
        lines = [
            write_row(frame, int(track_id), int(mots_class), runs, first_frame=first_frame)
            for frame, found in read_mots(path, first_frame=first_frame).items()
            for track_id, mots_class, runs in zip(found.ids, found.classes, found.masks.to_rle(), strict=True)
        ]
        assert "".join(lines) == path.read_text(), path


def test_run_lengths_agree_with_coco(shared):
    cases = json.loads((shared / "golden" / "mots_step" / "formats_golden.json").read_text())["rle"]
    assert len(cases) >= 9
    for case in cases:
        masks = Masks.from_rle([{"size": case["size"], "counts": case["counts"]}])
        assert masks.areas.tolist() == [case["area"]], case["name"]
        if case.get("mask_rows"):
            rows = ["".join("01"[int(v)] for v in row) for row in masks.to_dense()[0]]
            assert rows == case["mask_rows"], case["name"]
        assert masks.to_rle()[0]["counts"] == case["counts"], case["name"]
