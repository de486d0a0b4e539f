"""Bags as sources: frames, true times, headers kept, and one line for each bag that cannot be read."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("rosbags")

from tests.sources.bags import STAMP, STEP, png, raw, stamps, write_bag, write_ros1_bag
from tracker.errors import SourceError
from tracker.ros import Header
from tracker.sources import kind_of, open_source

IMAGES = [np.random.default_rng(k).integers(0, 256, (12, 16, 3), np.uint8) for k in range(24)]


def camera(makers=raw, count=len(IMAGES), at=None):
    return [(makers, image, stamp) for image, stamp in zip(IMAGES[:count], at or stamps(count), strict=True)]


def check_frames(source, count=len(IMAGES)):
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(count))
    for frame, image, stamp in zip(frames, IMAGES, stamps(count)):
        np.testing.assert_array_equal(frame.image, image)
        assert frame.header == Header(stamp, "lens")
        assert frame.time_s == pytest.approx((stamp - STAMP) / 1e9, abs=1e-12)


@pytest.mark.parametrize("mcap", [True, False], ids=["mcap", "sqlite"])
@pytest.mark.parametrize("maker", [raw, png])
def test_frames_of_a_bag(maker, mcap, tmp_path):
    path = write_bag(tmp_path / "drive", {"/camera/image": camera(maker)}, mcap=mcap)
    assert kind_of(f"rosbag:{path}") == "rosbag"
    with open_source(f"rosbag:{path}?topic=/camera/image") as source:
        assert (source.size, source.length, source.live, source.dropped) == ((16, 12), 24, False, 0)
        assert source.fps == pytest.approx(30.0, abs=1e-3) and source.topic == "/camera/image"
        check_frames(source)
        assert list(source) == []
    source.close()


@pytest.mark.parametrize("suffix", ["mcap", "db3"])
def test_a_single_file_will_do(suffix, tmp_path):
    path = write_bag(tmp_path / "drive", {"/camera/image": camera()}, mcap=suffix == "mcap")
    (path / "metadata.yaml").unlink()
    with open_source(f"rosbag:{path / f'drive.{suffix}'}") as source:
        check_frames(source)


def test_ros_1(tmp_path):
    path = write_ros1_bag(tmp_path / "old.bag", "/camera/image", IMAGES)
    with open_source(f"rosbag:{path}") as source:
        check_frames(source)


def test_one_topic_of_several(tmp_path):
    topics = {"/left/image": camera(), "/right/image/compressed": camera(png, 5)}
    path = write_bag(tmp_path / "two", topics)
    with open_source(f"rosbag:{path}?topic=/left/image") as source:
        check_frames(source)
    with open_source(f"rosbag:{path}?topic=/right/image/compressed") as source:
        check_frames(source, 5)
    for uri, words in ((f"rosbag:{path}", "add ?topic=NAME"), (f"rosbag:{path}?topic=/up", "no images under /up")):
        with pytest.raises(SourceError) as caught:
            open_source(uri)
        assert words in str(caught.value) and "/left/image, /right/image/compressed" in str(caught.value)


def times(tmp_path, at, name="bag"):
    path = write_bag(tmp_path / name, {"/image": camera(count=len(at), at=at)})
    with open_source(f"rosbag:{path}") as source:
        return [round(frame.time_s, 6) for frame in source], source.fps


def test_gaps_stay_and_bad_stamps_are_bridged(tmp_path):
    second = 10**9
    at = [STAMP + k * second // 10 for k in (0, 1, 2, 9, 10)]
    assert times(tmp_path, at)[0] == [0.0, 0.1, 0.2, 0.9, 1.0]
    found, fps = times(tmp_path, [0] * 4, "no stamps: times of recording")
    assert found == [0.0, 0.033333, 0.066667, 0.1] and fps == pytest.approx(30, abs=0.01)
    at = [STAMP + k * STEP for k in (0, 1, 1, 3, 4, 5)]
    assert times(tmp_path, at, "twice")[0] == [0.0, 0.033333, 0.066667, 0.1, 0.133333, 0.166667]


def test_closing_ends_the_iteration(tmp_path):
    path = write_bag(tmp_path / "drive", {"/image": camera()})
    source = open_source(f"rosbag:{path}")
    assert next(iter(source)).index == 0 and next(iter(source)).index == 1
    source.close()
    source.close()
    assert list(source) == []


def test_what_is_no_bag(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.bag").write_text("#ROSBAG V2.0\nnot really")
    (tmp_path / "text.mcap").write_bytes(b"\x89MCAP0\r\n" + b"x" * 100)
    (tmp_path / "text.db3").write_text("no database")
    (tmp_path / "film.mp4").write_text("x")
    write_bag(tmp_path / "silent", {})
    for name in ("nowhere", "empty", "text.bag", "text.mcap", "text.db3", "film.mp4", "silent"):
        with pytest.raises(SourceError, match="cannot open rosbag:") as caught:
            open_source(f"rosbag:{tmp_path / name}")
        assert "\n" not in str(caught.value) and name in str(caught.value)
    for uri in ("rosbag:", "rosbag:drive?top=/image", "rosbag:drive?topic="):
        with pytest.raises(SourceError, match="expected rosbag:FILE_OR_FOLDER"):
            open_source(uri)


def test_a_depth_topic_and_a_damaged_file(tmp_path):
    def depth(messages, image, stamp):
        message = raw(messages, image, stamp)
        message.encoding = "32FC1"
        return message

    path = write_bag(tmp_path / "depth", {"/depth": camera(depth)})
    with pytest.raises(SourceError, match="cannot read frame 0 of /depth"):
        open_source(f"rosbag:{path}")
    path = write_bag(tmp_path / "drive", {"/image": camera()}, mcap=True)
    file = path / "drive.mcap"
    data = bytearray(file.read_bytes())
    data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 4)
    file.write_bytes(data)
    with pytest.raises(SourceError, match=r"cannot|broke"):  # noqa: SIM117
        with open_source(f"rosbag:{path}") as source:
            list(source)


def test_without_the_package(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("rosbags")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rosbags", None)
    with pytest.raises(SourceError, match=r"pip install 'trackstream\[ros\]'"):
        open_source(f"rosbag:{tmp_path}")
