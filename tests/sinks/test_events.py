"""events.jsonl: the life of every track, from snapshots alone."""

import json

import numpy as np
import pytest

from tests.reference.association import crowd, make
from tests.sinks.scenes import CONFIRMED, HEIGHT, NAMES, TENTATIVE, WIDTH, frame, tracks
from tracker.association import Tracker
from tracker.errors import SinkError
from tracker.sinks import EventsSink, RunInfo
from tracker.systems import SYSTEMS, plan
from tracker.types import Detections, Tracks

INFO = RunInfo("street.mp4", 25.0, (WIDTH, HEIGHT), NAMES, "net.onnx", "bytetrack")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_field(tmp_path):
    first = [(1, TENTATIVE, (2, 3, 12, 33), 0.123456, 1)]
    with EventsSink(tmp_path / "e", INFO) as sink:
        sink.write(frame(), tracks(first))
        sink.write(frame(1), tracks([(1, CONFIRMED, (3, 3, 13, 33), 0.9, 1)]))
        sink.write(frame(2), Tracks.empty(0.08))
        sink.write(frame(3), tracks([(2, CONFIRMED, (3, 3, 13, 33), 0.9, 17)], time_s=0.12))
    header, *events = lines(tmp_path / "e")
    assert header == {
        "schema": "trackstream.events/1",
        "source": "street.mp4",
        "fps": 25.0,
        "size": [WIDTH, HEIGHT],
        "model": "net.onnx",
        "system": "bytetrack",
        "class_names": list(NAMES),
    }
    assert events[0] == {
        "event": "born",
        "id": 1,
        "frame": 0,
        "time_s": 0.0,
        "state": "tentative",
        "box": [2.0, 3.0, 12.0, 33.0],
        "score": 0.1235,
        "class": 1,
        "class_name": "car",
        "hits": 3,
        "age_frames": 0,
        "age_s": 0.0,
        "reason": "older than its first snapshot",  # the hand-made tracks have 3 hits
    }
    assert [(e["event"], e["id"], e["frame"], e["reason"]) for e in events[1:]] == [
        ("confirmed", 1, 1, None),
        ("ended", 1, 2, None),
        ("born", 2, 3, "older than its first snapshot"),
        ("confirmed", 2, 3, None),
        ("open", 2, 3, None),
    ]
    assert events[2]["time_s"] == 0.08 and events[2]["box"] == [3.0, 3.0, 13.0, 33.0]
    assert events[3]["class_name"] == "17"


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_it_agrees_with_the_callback(name, tmp_path):
    told = []
    tracker = make(name, 25.0, on_event=told.append)
    with EventsSink(tmp_path / "a", INFO) as bare, EventsSink(tmp_path / "b", INFO, plan=tracker.plan) as knowing:
        for k, detections in enumerate(crowd(2, 15, 60)):
            image = frame(k)
            snapshot = tracker.update(detections, image)
            bare.write(image, snapshot)
            knowing.write(image, snapshot)
    for file, reasons in ((tmp_path / "a", False), (tmp_path / "b", True)):
        events = lines(file)[1:]
        n_open = len(snapshot)
        assert [e["event"] for e in events[-n_open:]] == ["open"] * n_open
        assert sorted(e["id"] for e in events[-n_open:]) == sorted(snapshot.ids.tolist())
        for line, event in zip(events[:-n_open], told, strict=True):
            assert (line["event"], line["id"], line["frame"]) == (event.kind, event.id, event.frame)
            np.testing.assert_allclose(line["box"], event.box, atol=0.0051)
            if reasons:
                assert line["reason"] == event.reason


def test_a_failed_write_does_not_hide_behind_a_second_one(tmp_path, monkeypatch):
    sink = EventsSink(tmp_path / "e", INFO)

    def fail(_):
        raise SinkError("cannot write e: no space left")

    monkeypatch.setattr(sink._file, "write", fail)
    with pytest.raises(SinkError, match="no space"), sink:
        sink.write(frame(), tracks([(1, CONFIRMED, (2, 3, 12, 33), 0.9, 1)]))
    sink.close()


def test_a_tracker_that_is_reset_between_frames(tmp_path):
    tracker = Tracker(plan("bytetrack"))
    box = Detections([[0, 0, 9, 9]], [0.9])
    with EventsSink(tmp_path / "e", INFO) as sink:
        for k in range(4):
            if k == 2:
                tracker.reset()
            sink.write(frame(k), tracker.update(box, frame(k)))
    assert [(e["event"], e["frame"], e["reason"]) for e in lines(tmp_path / "e")[1:]] == [
        ("born", 0, None),
        ("confirmed", 0, None),
        ("ended", 1, "reset"),
        ("born", 2, None),
        ("confirmed", 2, None),
        ("open", 3, None),
    ]
