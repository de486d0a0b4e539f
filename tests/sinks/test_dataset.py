"""Sinks in the formats of datasets: what a run leaves is what the formats' readers read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.sinks.scenes import COASTING, CONFIRMED, CROWD, HEIGHT, TENTATIVE, WIDTH, frame, tracks
from tracker.errors import SinkError
from tracker.formats.davis import read_davis
from tracker.formats.kitti import read_kitti
from tracker.formats.mots import read_mots
from tracker.formats.mots_png import read_mots_png
from tracker.formats.step import read_step
from tracker.formats.youtube_vis import read_results
from tracker.sinks import SINKS, RunInfo
from tracker.types import Panoptic

INFO = RunInfo("clip", 25.0, (WIDTH, HEIGHT), ("person", "car", "dog"))
FOLDERS = [name for name, (_, path) in SINKS.items() if "." not in path and name != "rosbag"]
NEED_MASKS = ["kitti-mots-png", "youtube-vis", "davis"]


def with_picture(snapshot, classes=("sky", "person", "car", "bench")):
    """The snapshot with a panoptic picture of its detections; class k + 1 of `classes` is label k of CROWD."""
    rows = snapshot.detections.masks.to_label_map()
    labels = np.concatenate([[0], snapshot.detections.labels + 1])
    picture = Panoptic(labels[rows].astype(np.uint8), rows)
    info = replace(INFO, class_names=classes)
    return replace(snapshot, detections=replace(snapshot.detections, panoptic=picture)), info


def run(name, path, snapshots, info=INFO):
    with SINKS[name][0](path, info) as sink:
        for index, snapshot in enumerate(snapshots):
            sink.write(frame(index), snapshot)
    return path


def test_kitti(tmp_path):
    rows = read_kitti(run("kitti", tmp_path / "k.txt", [tracks(CROWD)]))
    assert rows.types == ["Pedestrian", "Car"] and rows.ids.tolist() == [0, 1]
    assert rows.boxes[0].tolist() == [2, 3, 12, 33] and rows.scores.tolist() == [0.9, 0.8]


def test_motschallenge_counts_from_one(tmp_path):
    path = run("mots-challenge", tmp_path / "m.txt", [tracks(CROWD)])
    assert path.read_text().startswith("1 1 2 ")
    assert list(read_mots(path, first_frame=1)) == [0]


def test_mots_pictures(tmp_path):
    folder = run("kitti-mots-png", tmp_path / "p", [tracks(CROWD), tracks([])])
    found = read_mots_png(folder / "000000.png")
    assert found.ids.tolist() == [1002, 2001]
    assert len(read_mots_png(folder / "000001.png").ids) == 0


def test_davis_takes_every_class(tmp_path):
    objects = read_davis(run("davis", tmp_path / "d", [tracks(CROWD)]) / "00000.png")
    assert sorted(np.unique(objects).tolist()) == [0, 1, 2, 3] and objects[4, 3] == 1


def test_the_higher_score_keeps_shared_pixels(tmp_path):
    both = [(1, CONFIRMED, (0, 0, 20, 20), 0.5, 0), (2, CONFIRMED, (10, 0, 30, 20), 0.9, 1)]
    objects = read_davis(run("davis", tmp_path / "d", [tracks(both)]) / "00000.png")
    assert (objects[5, 5], objects[5, 15]) == (1, 2)


def test_youtube_vis_has_one_entry_per_track(tmp_path):
    path = run("youtube-vis", tmp_path / "y.json", [tracks(CROWD), tracks(CROWD[1:]), tracks([])])
    entries = read_results(path)
    assert [(e.category, len(e.masks)) for e in entries] == [(1, 3), (2, 3), (3, 3)]
    assert [[rle is not None for rle in e.masks] for e in entries] == [
        [True, False, False], [True, True, False], [True, True, False],
    ]  # fmt: skip
    assert entries[1].score == pytest.approx(0.8)


@pytest.mark.parametrize(("name", "first", "classes"), [("kitti-step", 0, (10, 11, 13)), ("mot-step", 1, (3, 4, 255))])
def test_step_pictures(tmp_path, name, first, classes):
    """Sky, person, car; a bench is void in both; the tentative track's id is there, stuff and strangers have none."""
    snapshot, info = with_picture(tracks(CROWD))
    folder = run(name, tmp_path / "s", [snapshot], info)
    found, ids = read_step(folder / f"{first:06d}.png")
    sky, person, car = classes
    assert (found[0, 0], found[4, 3], found[10, 25], found[10, 50]) == (sky, person, car, 255)
    assert (ids[0, 0], ids[4, 3], ids[42, 8], ids[10, 50]) == (0, 1, 4, 0)
    assert ids[10, 25] == (2 if car != 255 else 0)


def test_a_thing_that_no_track_took_has_no_id(tmp_path):
    snapshot, info = with_picture(tracks(CROWD))
    lost = snapshot.select(np.flatnonzero(snapshot.ids != 1))
    _, ids = read_step(run("kitti-step", tmp_path / "s", [lost], info) / "000000.png")
    assert ids[4, 3] == 0 and ids[10, 25] == 2


def test_step_pictures_hold_ids_to_65535(tmp_path):
    for number, fits in ((65535, True), (65536, False)):
        snapshot, info = with_picture(tracks([(number, CONFIRMED, (2, 3, 12, 33), 0.9, 0)]))
        if fits:
            assert read_step(run("kitti-step", tmp_path / "a", [snapshot], info) / "000000.png")[1].max() == number
        else:
            with pytest.raises(SinkError, match="hold ids to 65535, got 65536"):
                run("kitti-step", tmp_path / "b", [snapshot], info)


def test_what_step_pictures_need(tmp_path):
    with pytest.raises(SinkError, match="a class for every pixel, and this model gives only objects") as caught:
        run("kitti-step", tmp_path / "a", [tracks(CROWD)])
    assert str(caught.value).count("cannot write") == 1
    snapshot, info = with_picture(tracks(CROWD), ("floor", "robot", "box", "bench"))
    with pytest.raises(SinkError, match=r"of the model's classes \(floor, robot, box, bench\) none is one of"):
        run("mot-step", tmp_path / "b", [snapshot], info)


@pytest.mark.parametrize("name", NEED_MASKS)
def test_boxes_alone_are_refused(name, tmp_path):
    assert SINKS[name][0].needs_masks
    with pytest.raises(SinkError, match="boxes without masks") as caught:
        run(name, tmp_path / "x", [tracks(CROWD, masks=False)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NEED_MASKS)
def test_only_seen_and_reported_tracks_are_written(name, tmp_path):
    unseen = [(1, TENTATIVE, (2, 3, 12, 33), 0.9, 0), (2, COASTING, (20, 5, 40, 25), 0.8, 1)]
    path = run(name, tmp_path / "x", [tracks(unseen)])
    if name == "youtube-vis":
        assert read_results(path) == []
    else:
        read = read_davis(path / "00000.png") if name == "davis" else read_mots_png(path / "000000.png").masks.areas
        assert not np.any(read)


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_with_pictures_are_left_alone(name, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "000000.png").write_bytes(b"mine")
    with pytest.raises(SinkError, match=r"000000\.png is there, and not from a run") as caught:
        SINKS[name][0](tmp_path / "x", INFO)
    assert str(caught.value).count("cannot write") == 1
    assert (tmp_path / "x" / "000000.png").read_bytes() == b"mine"


@pytest.mark.parametrize("name", FOLDERS)
def test_a_shorter_run_leaves_nothing_of_a_longer_one(name, tmp_path):
    snapshot, info = with_picture(tracks(CROWD))
    for count in (3, 1):
        run(name, tmp_path / "x", [snapshot] * count, info)
        assert len(list((tmp_path / "x").glob("*.png"))) == count


@pytest.mark.parametrize("name", [*FOLDERS, "youtube-vis"])
def test_standard_output_takes_no_pictures(name):
    with pytest.raises(SinkError, match="stdout"):
        SINKS[name][0]("-", INFO)


@pytest.mark.parametrize("name", FOLDERS)
def test_places_and_ends(name, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot create the folder"):
        SINKS[name][0](tmp_path / "file" / "x", INFO)
    with pytest.raises(SinkError, match="cannot write"):
        SINKS[name][0](tmp_path / "file", INFO)
    sink = SINKS[name][0](tmp_path / "a" / "b", INFO)
    sink.close()
    sink.close()
    with pytest.raises(SinkError, match="closed"):
        sink.write(frame(1), tracks(CROWD))


def test_datasets_are_written_on_demand_only():
    assert {name for name, (sink, _) in SINKS.items() if not sink.by_default} >= {*FOLDERS, "kitti", "youtube-vis"}
    assert SINKS["mot"][0].by_default and SINKS["mots"][0].by_default
