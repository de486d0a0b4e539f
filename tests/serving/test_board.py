"""Channels: the newest frame only, never a wait for those who write."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from tests.patience import PATIENCE_S, until
from tests.sinks.scenes import CROWD, frame, tracks
from tracker.serving import Board
from tracker.serving import board as module
from tracker.sinks import RunInfo


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr(module, "monotonic", lambda: now.s)
    return now


def test_names_are_fit_for_addresses_and_differ():
    board = Board()
    given = ("rtsp://cam.local:554/a b", "rtsp://cam.local:554/a b", "", "ümlaut.mp4")
    names = [board.add(RunInfo(text)).name for text in given]
    assert names == ["rtsp-cam.local-554-a-b", "rtsp-cam.local-554-a-b-2", "stream", "mlaut.mp4"]
    assert board.add(RunInfo("x"), name="door").name == "door"
    assert [channel.name for channel in board.channels] == [*names, "door"]
    assert board.find("door") is board.channels[-1] and board.find("window") is None


def test_a_stream_that_is_removed_has_ended():
    board = Board()
    channel = board.add(RunInfo("a"))
    board.remove("a")
    board.remove("a")
    assert channel.ended and board.channels == []
    assert board.add(RunInfo("a")).name == "a"


def test_only_the_newest_frame_is_kept():
    channel = Board().add(RunInfo())
    assert channel.newest is None and channel.wait(0, 0.01) is None
    for k in range(5):
        channel.write(frame(k), tracks(CROWD))
    shot = channel.wait(0, 0.01)
    assert (shot.number, shot.frame.index) == (5, 4) and channel.frames == 5
    assert channel.wait(5, 0.01) is None


def test_who_waits_is_woken():
    channel = Board().add(RunInfo())
    found = []
    waiting = threading.Thread(target=lambda: found.append(channel.wait(0, PATIENCE_S)))
    waiting.start()
    channel.write(frame(7), tracks(CROWD))
    waiting.join(PATIENCE_S)
    assert found[0].frame.index == 7


def test_who_writes_waits_for_nobody():
    """Eight look at the first frame until the last one is written."""
    channel, done, seen = Board().add(RunInfo()), threading.Event(), []

    def watch():
        seen.append(channel.wait(0, PATIENCE_S).number)
        done.wait(PATIENCE_S)
        seen.append(channel.wait(1, PATIENCE_S).number)

    watchers = [threading.Thread(target=watch) for _ in range(8)]
    for watcher in watchers:
        watcher.start()
    image, snapshot = frame(), tracks(CROWD)
    channel.write(image, snapshot)
    until(lambda: seen == [1] * 8)
    for _ in range(299):
        channel.write(image, snapshot)
    assert seen == [1] * 8
    done.set()
    for watcher in watchers:
        watcher.join(PATIENCE_S)
    assert seen == [1] * 8 + [300] * 8


def test_rate_and_condition(clock):
    board = Board()
    channel = board.add(RunInfo("a"), SimpleNamespace(dropped=3))
    assert (channel.condition, channel.fps, channel.idle_s, channel.dropped) == ("waiting", 0.0, 0.0, 3)
    for k in range(11):
        channel.write(frame(k), tracks(CROWD))
        clock.s += 0.1
    assert channel.condition == "live" and channel.fps == pytest.approx(10)
    clock.s += 2.9
    assert channel.condition == "stalled" and channel.idle_s == pytest.approx(3)
    assert channel.fps == pytest.approx(10 / 4)
    channel.close()
    assert channel.condition == "ended" and channel.newest is not None
