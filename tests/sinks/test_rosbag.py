"""Tracks as a bag: what comes back from its CDR messages is what the other sinks wrote; and the round trip of a run."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("rosbags")

from rosbags.highlevel import AnyReader

from tests.sinks.scenes import CROWD, HEIGHT, WIDTH, frame, tracks
from tests.sources.bags import png, raw, stamps, write_bag
from tracker.cli import main
from tracker.errors import SinkError
from tracker.formats.mot import read_mot
from tracker.formats.mots import read_mots
from tracker.ros import read_details, stamp_of
from tracker.sinks import SINKS, RunInfo
from tracker.sinks.rosbag import ALL_TRACKS, LABELS, TRACKS, RosbagSink
from tracker.sources import open_source

INFO = RunInfo("clip", 25.0, (WIDTH, HEIGHT), ("person", "car", "dog"))


def read_bag(path):
    """Topic -> messages, in order; recorded at their stamps."""
    found = {}
    with AnyReader([path]) as reader:
        for connection, recorded, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            assert recorded == stamp_of(message.header)
            found.setdefault(connection.topic, []).append(message)
    return found


def labels_of(message):
    return np.frombuffer(message.data, "<u2").reshape(message.height, message.width)


def test_a_bag_of_two_frames(tmp_path):
    with RosbagSink(tmp_path / "bag", INFO) as sink:
        sink.write(frame(0), tracks(CROWD))
        sink.write(frame(1), tracks([]))
    found = read_bag(tmp_path / "bag")
    assert [len(message.detections) for message in found[TRACKS]] == [3, 0]
    assert [len(message.detections) for message in found[ALL_TRACKS]] == [5, 0]
    assert [stamp_of(message.header) for message in found[LABELS]] == [0, 40_000_000], "no ROS source: from 0 on"
    assert found[TRACKS][0].header.frame_id == "clip"
    first = found[TRACKS][0].detections
    assert [(d.id, d.results[0].hypothesis.class_id) for d in first] == [("1", "person"), ("2", "car"), ("3", "dog")]
    status = [read_details(d)["status"] for d in found[ALL_TRACKS][0].detections]
    assert status == ["confirmed"] * 3 + ["tentative", "coasting"]
    assert np.unique(labels_of(found[LABELS][0])).tolist() == [0, 1, 2, 3] and labels_of(found[LABELS][1]).max() == 0


def test_boxes_only_have_no_labels(tmp_path):
    with RosbagSink(tmp_path / "bag", INFO) as sink:
        sink.write(frame(0), tracks(CROWD, masks=False))
    assert set(read_bag(tmp_path / "bag")) == {TRACKS, ALL_TRACKS}


def test_an_earlier_bag_goes_and_nothing_else(tmp_path):
    for count in (3, 1):
        with RosbagSink(tmp_path / "a" / "bag", INFO) as sink:
            for index in range(count):
                sink.write(frame(index), tracks(CROWD))
    assert len(read_bag(tmp_path / "a" / "bag")[TRACKS]) == 1
    (tmp_path / "a" / "bag" / "notes.txt").write_text("mine")
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive" / "drive.mcap").write_text("a recording")
    (tmp_path / "file").write_text("x")
    for path, words in (
        ("a/bag", "notes.txt is there"),
        ("drive", "drive.mcap is there"),
        ("file", "file of this name"),
    ):
        with pytest.raises(SinkError, match=words):
            RosbagSink(tmp_path / path, INFO)
    assert (tmp_path / "a" / "bag" / "notes.txt").exists() and (tmp_path / "drive" / "drive.mcap").exists()


def test_places_and_ends(tmp_path, monkeypatch):
    assert not RosbagSink.by_default and SINKS["rosbag"][0] is RosbagSink
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot create the folder"):
        RosbagSink(tmp_path / "file" / "bag", INFO)
    with pytest.raises(SinkError, match="stdout"):
        RosbagSink("-", INFO)
    sink = RosbagSink(tmp_path / "bag", INFO)
    sink.close()
    sink.close()
    with pytest.raises(SinkError, match="closed"):
        sink.write(frame(0), tracks(CROWD))
    for name in [name for name in sys.modules if name.startswith("rosbags")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rosbags", None)
    with pytest.raises(SinkError, match=r"pip install 'trackstream\[ros\]'"):
        RosbagSink(tmp_path / "other", INFO)


@pytest.mark.parametrize("maker", [raw, png])
def test_from_bag_to_bag(maker, tmp_path):
    """Street frames in a bag -> `tracker run` -> tracks in a bag: ids, boxes and masks are those of the text files."""
    count = 25
    with open_source(f"synth:street?seed=5&objects=5&size=480x270&frames={count}") as street:
        images = [item.image for item in street]
    at = stamps(count)
    bag = write_bag(tmp_path / "drive", {"/camera/image": list(zip([maker] * count, images, at))}, mcap=True)
    out = tmp_path / "out"
    words = ["--model", "street", "--save", "mot,mots,rosbag", "--min-length", "3", "-o", str(out), "--quiet"]
    assert main(["run", f"rosbag:{bag}?topic=/camera/image", *words]) == 0
    found = read_bag(out / "tracks_bag")
    for topic in (TRACKS, ALL_TRACKS, LABELS):
        assert [stamp_of(message.header) for message in found[topic]] == at, "to the nanosecond"
        assert {message.header.frame_id for message in found[topic]} == {"lens"}
    text, masks = read_mot(out / "tracks.txt"), read_mots(out / "masks.txt")
    assert len(set(text.ids.tolist())) >= 3
    for index, (message, picture) in enumerate(zip(found[TRACKS], found[LABELS], strict=True)):
        rows = np.flatnonzero(text.frames == index)
        assert [int(d.id) for d in message.detections] == text.ids[rows].tolist()
        for detection, row in zip(message.detections, rows, strict=True):
            x0, y0, x1, y1 = text.boxes[row]
            box = detection.bbox
            assert box.center.position.x == pytest.approx((x0 + x1) / 2, abs=0.02)
            assert (box.size_x, box.size_y) == (pytest.approx(x1 - x0, abs=0.02), pytest.approx(y1 - y0, abs=0.02))
        ids = np.array([0, *(int(d.id) for d in message.detections)])[labels_of(picture)]
        wanted = np.zeros_like(ids)
        if index in masks:
            for track_id, mask in zip(masks[index].ids, masks[index].masks.to_dense(), strict=True):
                wanted[mask] = track_id
        np.testing.assert_array_equal(ids, wanted)
