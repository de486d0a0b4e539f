"""tracker convert: what becomes what, refusals that name what is possible, outputs that are whole or not there."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.formats.frames import mask_frames, panoptic_frames, write
from tracker.cli import main
from tracker.formats import FORMATS, Reading
from tracker.formats.mot import read_mot
from tracker.formats.mots import read_mots
from tracker.formats.step import encode_step


def convert(*arguments):
    return main(["convert", *map(str, arguments)])


@pytest.fixture
def mots(tmp_path):
    return write(FORMATS["kitti-mots"], tmp_path / "0002.txt", mask_frames())


@pytest.fixture
def step(tmp_path):
    return write(FORMATS["kitti-step"], tmp_path / "step", panoptic_frames())


def test_text_to_pictures_and_back_is_the_same_file(tmp_path, mots, capsys):
    given = mots.read_text().replace(" 5 2 ", " 2005 2 ").replace(" 7 1 ", " 1007 1 ")
    mots.write_text(given)
    assert convert(mots, tmp_path / "png", "--from", "kitti-mots", "--to", "kitti-mots-png", "--frames", 4) == 0
    assert sorted(p.name for p in (tmp_path / "png").iterdir()) == [f"00000{k}.png" for k in range(4)]
    assert "1 sequence, 4 frames, 3 objects" in capsys.readouterr().out
    assert convert(tmp_path / "png", tmp_path / "back.txt", "--from", "kitti-mots-png", "--to", "kitti-mots") == 0
    assert sorted((tmp_path / "back.txt").read_text().splitlines()) == sorted(given.splitlines())


def test_masks_to_boxes(tmp_path, mots):
    assert convert(mots, tmp_path / "boxes.txt", "--from", "kitti-mots", "--to", "mot") == 0
    rows = read_mot(tmp_path / "boxes.txt")
    assert rows.frames.tolist() == [0, 0, 1] and sorted(rows.ids.tolist()) == [5, 5, 7]
    assert [2, 3, 8, 12] in rows.boxes.tolist()


def test_panoptic_to_masks(tmp_path, step, capsys):
    assert convert(step, tmp_path / "m.txt", "--from", "kitti-step", "--to", "kitti-mots") == 0
    frames = read_mots(tmp_path / "m.txt")
    assert [frame.classes.tolist() for frame in frames.values()] == [[2, 1]] * 3
    assert len({tuple(frame.ids.tolist()) for frame in frames.values()}) == 1
    assert convert(step, tmp_path / "png", "--from", "kitti-step", "--to", "mots-challenge-png") == 0
    assert (tmp_path / "png" / "000001.png").exists() and not (tmp_path / "png" / "000000.png").exists()


def test_one_panoptic_dataset_to_another(tmp_path, step):
    assert convert(step, tmp_path / "there", "--from", "kitti-step", "--to", "mot-step") == 0
    frame = next(FORMATS["mot-step"].read(tmp_path / "there", Reading()))
    assert frame.names == ["person"] and frame.index == 0
    assert convert(step, tmp_path / "coco.json", "--from", "kitti-step", "--to", "coco-panoptic") == 0
    assert convert(tmp_path / "coco.json", tmp_path / "back", "--from", "coco-panoptic", "--to", "kitti-step") == 0
    for path in step.iterdir():
        assert path.read_bytes() == (tmp_path / "back" / path.name).read_bytes()


def test_two_channels(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    classes, ids = np.full((2, 3), 13, np.uint8), np.full((2, 3), 7 * 256, np.int32)  # 7 in green
    (source / "000000.png").write_bytes(encode_step(classes, ids))
    assert convert(source, tmp_path / "o.txt", "--from", "kitti-step", "--to", "kitti-mots", "--two-channel") == 0
    assert read_mots(tmp_path / "o.txt")[0].ids.tolist() == [1_300_007]


def test_youtube_vis_with_sizes_and_several_videos(tmp_path, golden, capsys):
    truth = golden / "panoptic" / "ytvis_gt.json"
    assert convert(truth, tmp_path / "mots", "--from", "youtube-vis-gt", "--to", "mots-challenge") == 0
    assert sorted(path.name for path in (tmp_path / "mots").iterdir()) == ["v1.txt", "v2.txt", "v3.txt"]
    assert convert(tmp_path / "mots", tmp_path / "one.json", "--from", "mots-challenge", "--to", "youtube-vis-gt") == 0
    content = json.loads((tmp_path / "one.json").read_text())
    assert len(content["videos"]) == 3 and content["videos"][0]["file_names"][0] == "v1/00000.jpg"
    results = golden / "panoptic" / "ytvis_pred.json"
    assert convert(results, tmp_path / "r", "--from", "youtube-vis", "--to", "kitti-mots") == 2
    assert "none of the objects can be written: kitti-mots has no class" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    flags = ("--from", "youtube-vis", "--to", "davis", "--truth", truth)
    assert convert(results, tmp_path / "r", *flags) == 0
    assert len(list((tmp_path / "r" / "v1").glob("*.png"))) == 6


def test_a_folder_of_sequences(tmp_path, mots):
    (tmp_path / "set").mkdir()
    for name in ("0000", "0001"):
        (tmp_path / "set" / f"{name}.txt").write_text(mots.read_text())
    assert convert(tmp_path / "set", tmp_path / "out", "--from", "kitti-mots", "--to", "davis") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0000", "0001"]
    assert convert(tmp_path / "out", tmp_path / "boxes", "--from", "davis", "--to", "mot") == 0
    assert sorted(path.name for path in (tmp_path / "boxes").iterdir()) == ["0000.txt", "0001.txt"]


def test_motchallenge_folders(tmp_path):
    for name in ("MOT17-02", "MOT17-04"):
        (tmp_path / "in" / name / "gt").mkdir(parents=True)
        (tmp_path / "in" / name / "gt" / "gt.txt").write_text("1,3,83,56,38,56,1,1,0.9\n")
    assert convert(tmp_path / "in", tmp_path / "out", "--from", "mot-gt", "--to", "kitti") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["MOT17-02.txt", "MOT17-04.txt"]


def test_classes_that_a_format_does_not_have_are_counted(tmp_path, capsys):
    (tmp_path / "gt.txt").write_text("1,3,83,56,38,56,1,1,0.9\n1,4,83,56,38,56,0,12,0.9\n1,5,8,5,8,6,1,-1,-1,-1\n")
    assert convert(tmp_path / "gt.txt", tmp_path / "k.txt", "--from", "mot", "--to", "kitti") == 0
    out = capsys.readouterr().out
    assert "1 object\n" in out and "no class reflection (1)" in out
    assert "1 objects have no class, add --class NAME" in out
    assert convert(tmp_path / "gt.txt", tmp_path / "k.txt", "--from", "mot", "--to", "kitti", "--class", "car") == 0
    assert (tmp_path / "k.txt").read_text().count(" Car ") == 1


PAIRS = [
    (("kitti-mots", "kitti-step"), "cannot make kitti-step (panoptic) from kitti-mots (masks); possible are mot, "),
    (("mot", "kitti-mots"), "cannot make kitti-mots (masks) from mot (boxes); possible are mot, mot15, mot-gt, kitti"),
    (("davis", "kitti-mots"), "davis says no class, kitti-mots needs one: add --class NAME"),
    (("kitti-mots", "coco"), "no format 'coco'; there are mot, "),
]


@pytest.mark.parametrize(("formats", "reason"), PAIRS)
def test_refusals_say_what_is_possible(tmp_path, mots, formats, reason, capsys):
    assert convert(mots, tmp_path / "out", "--from", formats[0], "--to", formats[1]) == 2
    assert reason in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_flags_that_make_no_sense(tmp_path, mots, capsys):
    assert convert(mots) == 2
    assert "IN OUT --from FORMAT --to FORMAT" in capsys.readouterr().err
    flags = ("--from", "kitti-mots", "--to")
    assert convert(mots, tmp_path / "o.txt", *flags, "kitti", "--frames", 0) == 2
    assert convert(mots, tmp_path / "o.txt", *flags, "kitti", "--class", "dog") == 2
    assert "kitti has no class 'dog'; it has car, " in capsys.readouterr().err
    assert convert(mots, tmp_path, *flags, "kitti") == 2
    assert "is a folder; name a file" in capsys.readouterr().err
    assert convert(tmp_path / "gone", tmp_path / "o.txt", *flags, "kitti") == 2
    assert "nothing to read at" in capsys.readouterr().err
    (tmp_path / "empty.txt").write_text("")
    assert convert(tmp_path / "empty.txt", tmp_path / "o.txt", *flags, "kitti") == 2
    assert "holds no frame" in capsys.readouterr().err


def test_nothing_is_left_of_a_conversion_that_fails(tmp_path, mots, capsys):
    good = tmp_path / "o.txt"
    good.write_text("kept")
    mots.write_text(mots.read_text() + "0 5 2 1 1 0\n")
    assert convert(mots, good, "--from", "kitti-mots", "--to", "mot") == 2
    assert "0002.txt, line 4: id 5 is in this frame already" in capsys.readouterr().err
    assert good.read_text() == "kept" and sorted(p.name for p in tmp_path.iterdir()) == ["0002.txt", "o.txt"]


def test_files_are_replaced_and_folders_are_not(tmp_path, mots, capsys):
    flags = ("--from", "kitti-mots", "--to")
    (tmp_path / "o.txt").write_text("old")
    assert convert(mots, tmp_path / "o.txt", *flags, "mot") == 0
    assert "old" not in (tmp_path / "o.txt").read_text()
    (tmp_path / "png").mkdir()
    assert convert(mots, tmp_path / "png", *flags, "davis") == 0
    assert convert(mots, tmp_path / "png", *flags, "davis") == 2
    assert "exists already" in capsys.readouterr().err


def test_a_place_that_cannot_be_written(tmp_path, mots, capsys):
    (tmp_path / "file").write_text("")
    assert convert(mots, tmp_path / "file" / "o.txt", "--from", "kitti-mots", "--to", "mot") == 2
    assert "cannot write" in (error := capsys.readouterr().err) and error.count("\n") == 1


def test_the_list_names_every_format(capsys):
    assert convert("--list") == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in FORMATS)


def test_real_ground_truth(tmp_path, shared):
    source = shared / "data" / "gt" / "kitti_mots" / "0012.txt"
    flags = ("--from", "kitti-mots", "--to")
    assert convert(source, tmp_path / "png", *flags, "kitti-mots-png") == 0
    assert convert(tmp_path / "png", tmp_path / "b.txt", "--from", "kitti-mots-png", "--to", "kitti-mots") == 0
    assert sorted((tmp_path / "b.txt").read_text().splitlines()) == sorted(source.read_text().splitlines())
