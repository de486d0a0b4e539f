"""crossings.jsonl: lines and zones, and who must not be counted twice."""

import json
from dataclasses import replace

import pytest

from tests.sinks.scenes import COASTING, CONFIRMED, HEIGHT, NAMES, TENTATIVE, WIDTH, frame, tracks
from tracker.errors import ConfigError
from tracker.sinks import RunInfo
from tracker.sinks.crossings import CrossingsSink, touches
from tracker.types import Tracks

INFO = RunInfo("street.mp4", 25.0, (WIDTH, HEIGHT), NAMES, "net.onnx", "bytetrack")
DOOR = {"door": ((10, 0), (10, 20))}  # downwards: its right is where x is below 10
ROOM = {"room": ((20, 0), (30, 0), (30, 20), (20, 20))}


def box(x, y):
    """A box that stands at (x, y)."""
    return x - 2, y - 6, x + 2, y


def walk(folder, places, *, state=CONFIRMED, **options):
    """Events of one track at these places, None where it is not seen, and the counts."""
    with CrossingsSink(folder / "c.jsonl", INFO, **(options or {"lines": DOOR, "zones": ROOM})) as sink:
        for k, place in enumerate(places):
            found = Tracks.empty(k / 25)
            if place is not None:
                found = tracks([(7, state, box(*place), 0.9, 1)], time_s=k / 25, masks=False)
            sink.write(frame(k), found)
    header, *events = map(json.loads, (folder / "c.jsonl").read_text().splitlines())
    assert header["schema"] == "trackstream.crossings/1" and header["source"] == "street.mp4"
    assert len(events) == sum(sink.counts.values())
    return [(e["event"], e["where"], e["frame"], e["count"]) for e in events]


def test_there_and_back(tmp_path):
    assert walk(tmp_path, [(2, 10), (14, 10), (25, 10), (35, 10), (25, 10), (3, 10)]) == [
        ("to_left", "door", 1, 1), ("entered", "room", 2, 1), ("exited", "room", 3, 1), ("entered", "room", 4, 2),
        ("to_right", "door", 5, 1), ("exited", "room", 5, 2),
    ]  # fmt: skip


def test_trembling_on_a_line_counts_once(tmp_path):
    places = [(5, 10), *[(10 + 1.9 * (-1) ** k, 10) for k in range(20)], (15, 10), (9, 10), (15, 10)]
    assert walk(tmp_path, places, lines=DOOR) == [("to_left", "door", 21, 1)]


def test_a_way_beside_the_line_is_no_crossing(tmp_path):
    assert walk(tmp_path, [(5, 25), (15, 25), (15, 10), (25, 10)], lines=DOOR) == []


@pytest.mark.parametrize("state", [TENTATIVE, COASTING])
def test_who_is_not_reported_does_not_count(tmp_path, state):
    assert walk(tmp_path, [(2, 10), (25, 10)], state=state) == []


def test_a_track_that_ended_is_forgotten(tmp_path):
    assert walk(tmp_path, [(2, 10), None, (15, 10)], lines=DOOR) == []


def test_events_of_one_stream_among_several_say_so(tmp_path):
    with CrossingsSink(tmp_path / "c.jsonl", replace(INFO, stream="north"), zones=ROOM) as sink:
        sink.write(frame(), tracks([(7, CONFIRMED, box(25, 10), 0.9, 1)], masks=False))
    told = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert [line["stream"] for line in told] == ["north", "north"] and told[1]["event"] == "entered"


@pytest.mark.parametrize(
    ("points", "seen"),
    [([(0, 0), (5, 5)], True), ([(-5, 5), (5, -4)], True), ([(-5, 4), (4, -5)], False), ([(-9, 9), (9, 99)], False),
     ([(64, -9), (64, 99)], True), ([(65, -9), (65, 99)], False), ([(-9, 20), (99, 20)], True),
     ([(-9, -9), (99, -9), (99, 99), (-9, 99)], True), ([(-9, -9), (99, -9), (-9, 99)], True),
     ([(70, -9), (99, -9), (99, 99)], False), ([(9, 9), (9, 9), (12, 9)], True), ([(-30, -30), (-9, -9)], False)],
)  # fmt: skip
def test_what_a_picture_shows_of_a_place(points, seen):
    assert touches(points, (WIDTH, HEIGHT)) is touches(points[::-1], (WIDTH, HEIGHT)) is seen


@pytest.mark.parametrize(
    "options",
    [{}, {"lines": {"a": ((1, 1), (1, 1))}}, {"zones": {"a": ((1, 1), (2, 2))}}, {"lines": DOOR, "margin_px": -1},
     {"zones": {"a": ((1, 1), (2, 2), (1, 1))}}, {"lines": DOOR, "zones": {"door": ROOM["room"]}},
     {"lines": {"a": ((0, 0), (1, float("nan")))}}],
)  # fmt: skip
def test_bad_places(tmp_path, options):
    with pytest.raises(ConfigError, match="expected"):
        CrossingsSink(tmp_path / "c", INFO, **options)
    assert not (tmp_path / "c").exists()
