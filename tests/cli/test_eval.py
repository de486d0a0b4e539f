"""`tracker eval`: tables, files, and one line for what is wrong."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tracker.cli import main

SEQUENCE = "MOT17-02-SYN"


@pytest.fixture
def mot17(golden: Path, tmp_path: Path) -> Path:
    """A copy of the recorded sequences, to be spoilt."""
    return Path(shutil.copytree(golden / "evaluation" / "mot17", tmp_path / "mot17"))


def evaluate(folder: Path, *flags: str) -> int:
    return main(["eval", "--gt", str(folder / "gt"), "--pred", str(folder / "pred"), *flags])


def scores(folder: Path, tmp_path: Path, *flags: str) -> dict[str, Any]:
    file = tmp_path / "scores.json"
    assert evaluate(folder, "--json", str(file), *flags) == 0
    return json.loads(file.read_text())["classes"]["pedestrian"]  # type: ignore[no-any-return]


def test_a_table_per_sequence_and_combined(mot17: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(mot17) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split()[:3] == ["pedestrian", "HOTA", "DetA"] and printed.err == ""
    assert [line.split()[0] for line in lines[1:5]] == [SEQUENCE, "MOT17-04-SYN", "MOT17-05-SYN", "COMBINED"]
    assert sum(line.startswith("COMBINED") for line in lines) == 3  # hota, clear, identity


def test_quiet_prints_the_combined_lines_only(mot17: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(mot17, "--quiet", "--metrics", "identity") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["pedestrian", "COMBINED"]


def test_json_and_csv_hold_every_digit(mot17: Path, golden: Path, tmp_path: Path) -> None:
    expected = json.loads((golden / "evaluation/mot17.json").read_text())["MOT17"]["combined"]
    table = tmp_path / "scores.csv"
    found = scores(mot17, tmp_path, "--csv", str(table))
    assert found["COMBINED"]["clear"]["MOTA"] == pytest.approx(expected["CLEAR"]["MOTA"], abs=1e-12)
    assert found["COMBINED"]["hota"]["curves"]["AssA"] == pytest.approx(expected["HOTA"]["AssA"], abs=1e-12)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["sequence"] for row in rows] == [SEQUENCE, "MOT17-04-SYN", "MOT17-05-SYN", "COMBINED"]
    assert float(rows[-1]["hota.HOTA"]) == found["COMBINED"]["hota"]["HOTA"]


def test_one_file_against_one_file(mot17: Path, tmp_path: Path) -> None:
    out = tmp_path / "one.json"
    files = "--gt", str(mot17 / "gt" / SEQUENCE / "gt" / "gt.txt"), "--pred", str(mot17 / "pred" / f"{SEQUENCE}.txt")
    assert main(["eval", *files, "--json", str(out)]) == 0
    alone = json.loads(out.read_text())["classes"]["pedestrian"]
    assert alone[SEQUENCE] == scores(mot17, tmp_path)[SEQUENCE]


def test_folders_of_tracker_run_are_found(mot17: Path, tmp_path: Path) -> None:
    expected = scores(mot17, tmp_path)
    for file in sorted((mot17 / "pred").glob("*.txt")):
        (mot17 / "pred" / file.stem).mkdir()
        file.rename(mot17 / "pred" / file.stem / "tracks.txt")
    assert scores(mot17, tmp_path) == expected


def test_halves_and_frames_count_as_the_dataset_does(mot17: Path, tmp_path: Path) -> None:
    """30 frames: the second half of MOT17 begins after frame 30 // 2 + 1."""
    flags = "--metrics", "clear", "--sequences", SEQUENCE
    half = scores(mot17, tmp_path, *flags, "--half", "second")[SEQUENCE]["clear"]
    assert half == scores(mot17, tmp_path, *flags, "--frames", "17-30")[SEQUENCE]["clear"]
    assert half == scores(mot17, tmp_path, *flags, "--frames", "17-")[SEQUENCE]["clear"] and half["CLR_Frames"] == 14
    first = scores(mot17, tmp_path, *flags, "--half", "first")[SEQUENCE]["clear"]
    whole = scores(mot17, tmp_path, *flags)[SEQUENCE]["clear"]
    assert first["CLR_TP"] + first["CLR_FN"] + half["CLR_TP"] + half["CLR_FN"] == whole["CLR_TP"] + whole["CLR_FN"]


def test_a_seqmap_chooses_sequences(mot17: Path, tmp_path: Path) -> None:
    seqmap = tmp_path / "map.txt"
    seqmap.write_text(f"name\n{SEQUENCE}\n")
    assert scores(mot17, tmp_path, "--seqmap", str(seqmap)).keys() == {SEQUENCE, "COMBINED"}


def test_results_may_be_empty(mot17: Path, tmp_path: Path) -> None:
    for file in (mot17 / "pred").glob("*.txt"):
        file.write_text("")
    combined = scores(mot17, tmp_path)["COMBINED"]
    assert combined["hota"]["HOTA"] == 0 and combined["clear"]["MOTA"] == 0 and combined["identity"]["IDTP"] == 0


def test_masks_have_a_table_per_class(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = golden / "evaluation" / "kitti_mots"
    assert evaluate(folder, "--format", "kitti-mots", "--metrics", "mots", "--quiet") == 0
    heads = [line.split()[:2] for line in capsys.readouterr().out.split("\n")]
    assert ["car", "sMOTSA"] in heads and ["pedestrian", "sMOTSA"] in heads


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line + "\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2,3,1,1,9,9,1,-1,-1,-1", "id 3 is in frame 2 already"),
        ("2,3,1,1,9", "expected 6 to 10 columns"),
        ("2,77,1,1,9,9,1,3,-1,-1", "expected results of class 1 (or -1) only"),
        ("2,-1,1,1,9,9,1,-1,-1,-1", "this is a file of detections"),
        ("2,77,1,1,9,nan,1,-1,-1,-1", "expected finite numbers"),
    ],
)
def test_a_bad_line_is_named(mot17: Path, capsys: pytest.CaptureFixture[str], line: str, words: str) -> None:
    file = mot17 / "pred" / f"{SEQUENCE}.txt"
    append(file, line)
    number = len(file.read_text().splitlines())
    assert evaluate(mot17) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"tracker eval: {file}, line {number}: ") and words in message
    assert message.count("\n") == 1


def test_results_beyond_the_sequence_are_refused(mot17: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(mot17 / "pred" / f"{SEQUENCE}.txt", "31,77,1,1,9,9,1,-1,-1,-1")
    assert evaluate(mot17) == 2
    assert f"{SEQUENCE}.txt: frame 31 is beyond the 30 frames of {SEQUENCE}" in capsys.readouterr().err


def test_ground_truth_of_an_unknown_class_is_refused(mot17: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(mot17 / "gt" / SEQUENCE / "gt" / "gt.txt", "2,99,1,1,9,9,1,14,1")
    assert evaluate(mot17) == 2
    assert "expected class 1 to 13 in column 8 of ground truth, got 14" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--format", "mot18"], "no dataset format 'mot18'; there are mot15"),
        (["--metrics", "mota"], "no metric 'mota'; there are hota"),
        (["--frames", "3:9"], "expected frames as 301-600"),
        (["--frames", "9-3"], "expected frames in ascending order"),
        (["--half", "first", "--frames", "1-2"], "--half and --frames both choose frames"),
        (["--sequences", "MOT17-99"], "no ground truth for sequence MOT17-99"),
        (["--json", "nowhere/x.json"], "cannot write nowhere/x.json"),
        (["--gt", "nowhere"], "no ground truth at nowhere: no such file or folder"),
        (["--pred", "nowhere"], "no results at nowhere: no such file or folder"),
        (["--gt", ""], "nothing to compare: add --gt"),
    ],
)
def test_wrong_flags_are_one_line(
    mot17: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert evaluate(mot17, *flags) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1


def test_a_missing_sequence_is_named(mot17: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mot17 / "pred" / "MOT17-04-SYN.txt").unlink()
    assert evaluate(mot17) == 2
    assert "no results for sequence MOT17-04-SYN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ini", "words"), [("[Sequence]\nname=x\n", "says no seqLength"), ("seqLength=3", "says no seqLength")]
)
def test_a_broken_seqinfo_is_named(mot17: Path, capsys: pytest.CaptureFixture[str], ini: str, words: str) -> None:
    (mot17 / "gt" / SEQUENCE / "seqinfo.ini").write_text(ini)
    assert evaluate(mot17) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
