"""`tracker eval`: tables, files, and one line for what is wrong."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracker.cli import main
from tracker.cli.eval import EvalConfig
from tracker.evaluation import METRICS
from tracker.evaluation.datasets import DATASETS
from tracker.formats.davis import encode_davis
from tracker.formats.mots import read_mots
from tracker.formats.mots_png import encode_mots_png
from tracker.formats.step import encode_step
from tracker.masks import Masks

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


def test_the_help_names_every_dataset_and_metric() -> None:
    helps = {field.name: field.metadata["help"] for field in dataclasses.fields(EvalConfig)}
    names = {name: set(re.findall(r"[a-z0-9-]+", helps[name])) for name in ("format", "metrics")}
    assert DATASETS.keys() <= names["format"] and METRICS.keys() <= names["metrics"]


@pytest.mark.parametrize("side", ["gt", "pred"])
@pytest.mark.parametrize("name", ["mot17", "kitti", "kitti-mots", "mots-challenge"])
def test_an_empty_file_is_a_sequence_without_objects(golden: Path, tmp_path: Path, name: str, side: str) -> None:
    files = {
        "mot17": golden
        / "evaluation/mot17"
        / ("pred/MOT17-02-SYN.txt" if side == "gt" else "gt/MOT17-02-SYN/gt/gt.txt"),
        "kitti-mots": golden / "evaluation/kitti_mots/gt/0002.txt",
        "mots-challenge": golden / "evaluation/mots_challenge/gt/MOTS20-02.txt",
    }
    text = files[name].read_text() if name in files else "0 1 Car 0 0 -10 0 0 60 60 -1 -1 -1 -1 -1 -1 -10\n"
    for each in ("gt", "pred"):
        (tmp_path / f"{each}.txt").write_text("" if each == side else text)
    found = judge(tmp_path / "gt.txt", tmp_path / "pred.txt", name, tmp_path, "--metrics", "hota,clear,identity")
    for scores in found.values():
        assert scores["hota"]["HOTA"] == scores["identity"]["IDF1"] == scores["clear"]["CLR_TP"] == 0
        assert scores["clear"]["CLR_FP" if side == "pred" else "CLR_FN"] == 0


def judge(truth: Path, results: Path, name: str, tmp_path: Path, *flags: str) -> dict[str, Any]:
    """Combined scores of every class: `{class: {metric: {name: value}}}`."""
    out = tmp_path / "judged.json"
    files = "--gt", str(truth), "--pred", str(results), "--format", name, "--json", str(out)
    assert main(["eval", *files, *flags]) == 0
    classes = json.loads(out.read_text())["classes"]
    return {class_name: sequences["COMBINED"] for class_name, sequences in classes.items()}


def test_mots_pictures_score_what_mots_text_does(golden: Path, tmp_path: Path) -> None:
    folder = golden / "evaluation" / "kitti_mots"
    for side in ("gt", "pred"):
        for file in (folder / side).glob("*.txt"):
            (tmp_path / side / file.stem).mkdir(parents=True)
            for frame, found in read_mots(file).items():
                per_class = {1: 0, 2: 0, 10: 0}
                values = []
                for number, mots_class in zip(found.ids.tolist(), found.classes.tolist(), strict=True):
                    per_class[mots_class] += 1
                    values.append(10000 if mots_class == 10 else mots_class * 1000 + number % 1000)
                png = encode_mots_png(np.array(values, np.int64), found.masks)
                (tmp_path / side / file.stem / f"{frame:06d}.png").write_bytes(png)
            last = max(read_mots(file))
            height, width = next(iter(read_mots(file).values())).masks.height, found.masks.width
            for frame in range(last):
                blank = tmp_path / side / file.stem / f"{frame:06d}.png"
                if not blank.exists():
                    blank.write_bytes(encode_mots_png(np.zeros(0, np.int64), Masks.empty(height, width)))
    flags = "--metrics", "mots,mots-strict"
    text = judge(folder / "gt", folder / "pred", "kitti-mots", tmp_path, *flags)
    assert judge(tmp_path / "gt", tmp_path / "pred", "kitti-mots", tmp_path, *flags) == text


def write_pictures(folder: Path, frames: list[bytes], first: int = 0) -> Path:
    folder.mkdir(parents=True)
    for number, data in enumerate(frames, first):
        (folder / f"{number:06d}.png").write_bytes(data)
    return folder


@pytest.mark.parametrize(("name", "person", "first"), [("kitti-step", 11, 0), ("mot-step", 4, 1)])
def test_step_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, person: int, first: int) -> None:
    classes = np.zeros((8, 10), np.uint8)
    classes[2:6, 1:5] = person
    ids = np.where(classes == person, 300, 0)
    other = np.where(classes == person, 7, 0)
    truth = write_pictures(tmp_path / "gt" / "0001", [encode_step(classes, ids)] * 4, first)
    results = write_pictures(tmp_path / "pred" / "0001", [encode_step(classes, other)] * 4, first)
    scores = judge(tmp_path / "gt", tmp_path / "pred", name, tmp_path)["all classes"]
    assert scores["stq"]["STQ"] == scores["vpq"]["VPQ"] == scores["ptq"]["PTQ"] == 1
    assert judge(truth, results, name, tmp_path, "--metrics", "stq")["all classes"]["stq"]["STQ"] == 1
    (results / f"{first + 2:06d}.png").unlink()
    assert main(["eval", "--gt", str(truth), "--pred", str(results), "--format", name]) == 2
    assert f"{results}: frame {first + 2} is missing" in capsys.readouterr().err
    (results / f"{first + 2:06d}.png").write_bytes(encode_step(classes + 60, other))
    assert main(["eval", "--gt", str(truth), "--pred", str(results), "--format", name]) == 2
    message = capsys.readouterr().err
    assert f"{first + 2:06d}.png against" in message and "expected class numbers 0 to" in message


def test_davis_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = np.zeros((8, 10), np.uint8)
    objects[1:4, 1:4], objects[5:8, 6:10] = 1, 2
    swapped = np.where(objects > 0, 3 - objects, 0)
    truth = write_pictures(tmp_path / "gt" / "car", [encode_davis(objects)] * 4)
    results = write_pictures(tmp_path / "pred" / "car", [encode_davis(objects)] * 2 + [encode_davis(swapped)] * 2)
    scores = judge(tmp_path / "gt", tmp_path / "pred", "davis", tmp_path)["object"]
    assert scores["clear"]["IDSW"] == 2 and scores["hota"]["DetA"] == 1 and scores["identity"]["IDF1"] == 0.5
    (results / "000003.png").unlink()
    assert main(["eval", "--gt", str(truth), "--pred", str(results), "--format", "davis"]) == 2
    assert f"{results}: frame 3 is missing" in capsys.readouterr().err


def test_void_in_davis_pictures_is_no_object_and_hides_results(tmp_path: Path) -> None:
    objects = np.zeros((20, 30), np.uint8)
    objects[4:12, 4:12] = 1
    spilt, void = objects.copy(), objects.copy()
    spilt[4:12, 12:18], void[4:12, 12:18] = 1, 255
    void[0, 0] = 2  # so that the picture is not taken for black and white
    spilt[0, 0] = 2
    truth = tmp_path / "gt"
    write_pictures(truth / "car", [encode_davis(void)] * 4)
    write_pictures(tmp_path / "pred" / "car", [encode_davis(spilt)] * 4)
    scores = judge(truth, tmp_path / "pred", "davis", tmp_path)["object"]
    assert scores["jf"]["J&F"] == 1 and scores["jf"]["objects"] == 2
    assert scores["clear"]["CLR_FN"] == 0 and 0.7 < scores["clear"]["MOTP"] < 1


def test_kitti_labels(tmp_path: Path) -> None:
    line = "{} {} {} 0 0 -10 {} 50 {} 120 -1 -1 -1 -1000 -1000 -1000 -10"
    rows = [
        line.format(t, k, kind, 100 * k, 100 * k + 60) for t in range(4) for k, kind in enumerate(("Car", "Pedestrian"))
    ]
    for side, end in (("gt", ""), ("pred", " 0.9")):
        (tmp_path / side).mkdir()
        (tmp_path / side / "0000.txt").write_text("".join(f"{row}{end}\n" for row in rows))
    scores = judge(tmp_path / "gt", tmp_path / "pred", "kitti", tmp_path)
    assert scores.keys() == {"car", "pedestrian"} and all(each["clear"]["MOTA"] == 1 for each in scores.values())


def test_youtube_vis_is_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = Masks.from_dense(np.eye(12, dtype=bool)[None].repeat(2, 0)).to_rle()
    truth = {
        "videos": [{"id": 1, "width": 12, "height": 12, "length": 2, "file_names": ["a", "b"]}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {"id": 1, "video_id": 1, "category_id": 1, "iscrowd": 0, "height": 12, "width": 12, "segmentations": masks,
             "bboxes": [[0, 0, 12, 12]] * 2, "areas": [12, 12]},
        ],
    }  # fmt: skip
    results = [{"video_id": 1, "category_id": 1, "score": 0.9, "segmentations": masks}]
    paths = tmp_path / "gt.json", tmp_path / "pred.json"
    for path, content in zip(paths, (truth, results), strict=True):
        path.write_text(json.dumps(content))
    assert judge(*paths, "youtube-vis", tmp_path)["all classes"]["track-ap"]["AP"] == pytest.approx(1)
    assert (
        main(["eval", "--gt", str(paths[0]), "--pred", str(paths[1]), "--format", "youtube-vis", "--half", "first"])
        == 2
    )
    assert "--frames and --half do not apply" in capsys.readouterr().err


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


def test_ground_truth_of_mot15_says_how_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, row in (("gt", "1,1,10,10,5,5,1,-4.1554,2.5,0"), ("pred", "1,1,10,10,5,5,1,-1,-1,-1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "KITTI-13.txt").write_text(row + "\n")
    assert evaluate(tmp_path) == 2
    assert capsys.readouterr().err.endswith(", got -4.1554; MOT15 files have no classes: --format mot15\n")
    assert evaluate(tmp_path, "--format", "mot15") == 0


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
    ("ini", "words"), [("[Sequence]\nname=x\n", "seqLength is missing"), ("seqLength=3", "not an ini file")]
)
def test_a_broken_seqinfo_is_named(mot17: Path, capsys: pytest.CaptureFixture[str], ini: str, words: str) -> None:
    (mot17 / "gt" / SEQUENCE / "seqinfo.ini").write_text(ini)
    assert evaluate(mot17) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
