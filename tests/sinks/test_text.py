"""Text sinks: to the byte, readable at every moment, one line for every failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.patience import PATIENCE_S
from tests.sinks.scenes import CONFIRMED, CROWD, HEIGHT, NAMES, WIDTH, frame, tracks
from tracker.errors import SinkError
from tracker.formats.mot import read_mot
from tracker.formats.mots import read_mots
from tracker.masks import Masks
from tracker.sinks import SINKS, JsonlSink, MotSink, MotsSink, RunInfo
from tracker.types import Panoptic, Tracks

INFO = RunInfo("rtsp://***@cam/live", 25.0, (WIDTH, HEIGHT), NAMES, "net.onnx", "bytetrack")
TEXT_SINKS = [name for name, (_, path) in SINKS.items() if path.endswith((".txt", ".jsonl"))]
FILE_SINKS = [name for name, (_, path) in SINKS.items() if "." in path]  # the others are folders of pictures


def written(sink_class, path, scenes, **options):
    with sink_class(path, INFO, **options) as sink:
        for index, scene in enumerate(scenes):
            sink.write(frame(index), scene)
    return Path(path).read_text()


def test_mot_to_the_byte(tmp_path):
    text = written(MotSink, tmp_path / "tracks.txt", [tracks(CROWD), Tracks.empty(), tracks(CROWD[:1])])
    assert text == (
        "1,1,3.00,4.00,10.00,30.00,0.9000,-1,-1,-1\n"
        "1,2,21.00,6.00,20.00,20.00,0.8000,-1,-1,-1\n"
        "1,3,46.00,6.00,15.00,20.00,0.7000,-1,-1,-1\n"
        "3,1,3.00,4.00,10.00,30.00,0.9000,-1,-1,-1\n"
    )
    rows = read_mot(tmp_path / "tracks.txt")
    assert rows.frames.tolist() == [0, 0, 0, 2]
    assert rows.boxes[1].tolist() == [20, 5, 40, 25]


def test_mots_writes_confirmed_tracks_of_its_classes(tmp_path):
    text = written(MotsSink, tmp_path / "masks.txt", [tracks(CROWD), Tracks.empty(), tracks(CROWD[1:2])])
    assert [line.split(" ")[:5] for line in text.splitlines()] == [
        ["0", "1", "2", "48", "64"],
        ["0", "2", "1", "48", "64"],
        ["2", "2", "1", "48", "64"],
    ]
    found = read_mots(tmp_path / "masks.txt")
    assert found[0].masks.boxes.tolist() == [[2, 3, 12, 33], [20, 5, 40, 25]]


def test_mots_counts_from_one_and_maps_classes_when_asked(tmp_path):
    text = written(MotsSink, tmp_path / "masks.txt", [tracks(CROWD)], first_frame=1, classes={"dog": 1})
    assert [line.split(" ")[:3] for line in text.splitlines()] == [["1", "3", "1"]]


def test_overlapping_masks_go_to_the_higher_score(tmp_path):
    """Rows 1 and 2 overlap; 3 lies wholly under both and vanishes; 4 has the score of 2 but stands after it."""
    rows = [
        (1, CONFIRMED, (0, 0, 20, 20), 0.5, 0),
        (2, CONFIRMED, (10, 0, 30, 20), 0.9, 0),
        (3, CONFIRMED, (12, 2, 18, 18), 0.4, 0),
        (4, CONFIRMED, (25, 0, 40, 20), 0.9, 1),
        (5, CONFIRMED, (0, 0, 64, 48), 0.99, 2),  # a dog in front of all: not written, takes nothing
    ]
    written(MotsSink, tmp_path / "masks.txt", [tracks(rows)])
    found = read_mots(tmp_path / "masks.txt")[0]  # the reader refuses overlaps by itself
    assert found.ids.tolist() == [1, 2, 4]
    assert found.masks.boxes.tolist() == [[0, 0, 10, 20], [10, 0, 30, 20], [30, 0, 40, 20]]


def test_random_overlaps_are_disjoint_and_keep_every_pixel(tmp_path):
    rng = np.random.default_rng(1)
    stack = rng.random((8, HEIGHT, WIDTH)) < 0.3
    scores = rng.random(8)
    rows = [(k + 1, CONFIRMED, (0, 0, 5, 5), scores[k], 0) for k in range(8)]
    written(MotsSink, tmp_path / "masks.txt", [tracks(rows, stack=stack)])
    found = read_mots(tmp_path / "masks.txt")[0]
    owner = np.where(stack.any(0), np.argmax(np.where(stack, scores[:, None, None], -1), 0) + 1, 0)
    np.testing.assert_array_equal(found.masks.to_label_map(found.ids), owner)


def test_an_empty_mask_is_left_out(tmp_path):
    stack = np.zeros((2, HEIGHT, WIDTH), bool)
    stack[1, 4, 4] = True
    text = written(MotsSink, tmp_path / "masks.txt", [tracks(CROWD[:2], stack=stack)])
    assert [line.split(" ")[1] for line in text.splitlines()] == ["2"]


def test_mots_needs_masks_and_says_so(tmp_path):
    assert MotsSink.needs_masks and not MotSink.needs_masks and not JsonlSink.needs_masks
    with MotsSink(tmp_path / "masks.txt", INFO) as sink:
        sink.write(frame(), Tracks.empty())  # nothing to miss yet
        with pytest.raises(SinkError, match=r"masks\.txt: the model gives boxes without masks"):
            sink.write(frame(), tracks(CROWD, masks=False))


@pytest.mark.parametrize("names", [(), ("dog", "cat")])
def test_a_model_without_a_class_of_mots_is_told_once(tmp_path, names, caplog):
    with MotsSink(tmp_path / "masks.txt", RunInfo(class_names=names)) as sink:
        sink.write(frame(), tracks(CROWD))
        sink.write(frame(1), tracks(CROWD))
    assert (tmp_path / "masks.txt").read_text() == ""
    assert len(caplog.messages) == 1 and "will stay empty" in caplog.messages[0]


def test_jsonl_says_everything(tmp_path):
    scenes = [tracks(CROWD), Tracks.empty(0.04)]
    header, first, second = map(json.loads, written(JsonlSink, tmp_path / "t.jsonl", scenes).splitlines())
    assert header == {
        "schema": "trackstream.tracks/1",
        "source": "rtsp://***@cam/live",
        "fps": 25.0,
        "size": [64, 48],
        "model": "net.onnx",
        "system": "bytetrack",
        "class_names": ["person", "car", "dog"],
    }
    assert (first["frame"], first["time_s"], len(first["tracks"])) == (0, 0.0, 5)
    assert second == {"frame": 1, "time_s": 0.04, "tracks": []}
    mask = first["tracks"][1].pop("mask")
    assert Masks.from_rle([mask]).boxes.tolist() == [[20, 5, 40, 25]]
    assert first["tracks"][1] == {
        "id": 2,
        "state": "confirmed",
        "box": [20.0, 5.0, 40.0, 25.0],
        "score": 0.8,
        "class": 1,
        "class_name": "car",
        "misses": 0,
        "detection": 1,
    }
    assert [entry["state"] for entry in first["tracks"]] == ["confirmed"] * 3 + ["tentative", "coasting"]
    lost = first["tracks"][4]
    assert (lost["misses"], lost["detection"], lost["mask"]) == (2, None, None)


def test_jsonl_sums_up_stuff_the_largest_first(tmp_path):
    scene = tracks(CROWD[:2])
    classes = np.ones((HEIGHT, WIDTH), np.uint8)
    classes[40:], classes[0] = 4, Panoptic.VOID
    picture = Panoptic(classes, scene.detections.masks.to_label_map())
    scene = replace(scene, detections=replace(scene.detections, panoptic=picture))
    line = json.loads(written(JsonlSink, tmp_path / "t.jsonl", [scene]).splitlines()[1])
    assert line["stuff"] == [
        {"class": 1, "class_name": "car", "area": 39 * WIDTH - 10 * 30 - 20 * 20},
        {"class": 4, "class_name": "4", "area": 8 * WIDTH},
    ]
    assert list(line) == ["frame", "time_s", "stuff", "tracks"]


def test_jsonl_without_masks(tmp_path):
    for name, scene, options in (("a", tracks(CROWD, masks=False), {}), ("b", tracks(CROWD), {"masks": False})):
        text = written(JsonlSink, tmp_path / name, [scene], **options)
        assert all("mask" not in entry for entry in json.loads(text.splitlines()[1])["tracks"])


def test_an_unknown_class_is_shown_by_its_number(tmp_path):
    text = written(JsonlSink, tmp_path / "t", [tracks([(1, CONFIRMED, (0, 0, 5, 5), 0.5, 17)])])
    assert json.loads(text.splitlines()[1])["tracks"][0]["class_name"] == "17"


# ---------------------------------------------------------------------- every text sink


@pytest.mark.parametrize("name", TEXT_SINKS)
def test_a_dash_is_standard_output(name, capsys, tmp_path):
    sink_class, file_name = SINKS[name]
    wanted = written(sink_class, tmp_path / file_name, [tracks(CROWD)])
    with sink_class("-", INFO) as sink:
        sink.write(frame(), tracks(CROWD))
    assert capsys.readouterr().out == wanted
    assert not sys.stdout.closed


@pytest.mark.parametrize("name", TEXT_SINKS)
def test_parents_are_made_and_old_content_goes(name, tmp_path):
    path = tmp_path / "a" / "b" / SINKS[name][1]
    for _ in range(2):
        text = written(SINKS[name][0], path, [tracks(CROWD)])
    assert text == written(SINKS[name][0], tmp_path / "other", [tracks(CROWD)])


@pytest.mark.parametrize("name", FILE_SINKS)
def test_places_that_cannot_be_written(name, tmp_path):
    sink_class, file_name = SINKS[name]
    (tmp_path / "file").write_text("")
    (tmp_path / file_name).mkdir()
    for path, reason in (
        (tmp_path / "file" / file_name, "cannot create the folder"),
        (tmp_path / file_name, "directory"),
    ):
        with pytest.raises(SinkError) as caught:
            sink_class(path, INFO)
        assert reason in str(caught.value) and str(path.parent) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="nothing keeps a second writer away there")
@pytest.mark.parametrize("name", TEXT_SINKS)
def test_a_second_writer_is_refused_and_harms_nothing(name, tmp_path):
    sink_class, file_name = SINKS[name]
    alone = written(sink_class, tmp_path / "alone", [tracks(CROWD)])
    with sink_class(tmp_path / file_name, INFO) as first:
        with pytest.raises(SinkError, match=rf"{file_name}: another run is writing it; choose another output"):
            sink_class(tmp_path / file_name, INFO)
        first.write(frame(0), tracks(CROWD))
    assert (tmp_path / file_name).read_text() == alone
    sink_class(tmp_path / file_name, INFO).close()  # free again


@pytest.mark.parametrize("name", TEXT_SINKS)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is always full")
def test_a_full_disk_is_one_line(name):
    with pytest.raises(SinkError, match=r"cannot write /dev/full: no space left"):  # noqa: SIM117
        with SINKS[name][0]("/dev/full", INFO) as sink:
            sink.write(frame(), tracks(CROWD))


@pytest.mark.parametrize("name", FILE_SINKS)
def test_close_twice_is_harmless_and_writing_then_is_refused(name, tmp_path):
    sink = SINKS[name][0](tmp_path / SINKS[name][1], INFO)
    sink.write(frame(), tracks(CROWD))
    sink.close()
    sink.close()
    with pytest.raises(SinkError, match="closed"):
        sink.write(frame(1), tracks(CROWD))


def test_a_killed_process_leaves_every_frame_it_wrote(tmp_path):
    code = f"""
        import os, signal
        from tests.sinks.scenes import CROWD, frame, tracks
        from tests.sinks.test_text import INFO
        from tracker.sinks import SINKS
        sinks = [SINKS[name][0](os.path.join({str(tmp_path)!r}, SINKS[name][1]), INFO) for name in {TEXT_SINKS!r}]
        for index in range(20):
            for sink in sinks:
                sink.write(frame(index), tracks(CROWD))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=Path(__file__).parents[2], timeout=PATIENCE_S, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert len(read_mot(tmp_path / "tracks.txt")) == 60
    assert list(read_mots(tmp_path / "masks.txt")) == list(range(20))
    lines = (tmp_path / "tracks.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines[1:]] == list(range(20))


def test_a_reader_that_goes_away_is_one_line(tmp_path):
    code = """
        from tests.sinks.scenes import CROWD, frame, tracks
        from tests.sinks.test_text import INFO
        from tracker.errors import SinkError
        from tracker.sinks import JsonlSink
        import os, sys
        sink = JsonlSink("-", INFO)
        try:
            for index in range(10000):
                sink.write(frame(index), tracks(CROWD))
        except SinkError as error:
            sys.stderr.write(str(error))
        os._exit(0)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(PATIENCE_S) == 0
    assert said == b"cannot write stdout: broken pipe"


def test_importing_the_sinks_loads_nothing_heavy():
    code = "import sys, tracker.sinks; print([m for m in ('av', 'cv2', 'onnxruntime', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
