"""Live sources: the newest frame, honest drop counts, bounded ages, and an end for every way a stream can be lost."""

from __future__ import annotations

import itertools
import logging
import math
import socket
import subprocess
import sys
import textwrap
import threading
import time

import av
import cv2
import numpy as np
import pytest

from tests.patience import PATIENCE_S, until
from tests.sources.cameras import (
    FPS,
    Camera,
    ScriptedCapture,
    encode_packets,
    headers,
    on_third_connection,
    send_mjpeg,
    send_ts,
    watch,
)
from tests.sources.clips import HEIGHT, WIDTH, number_of, picture, write_video
from tracker.errors import ConfigError, SourceError
from tracker.sources import SourceOptions, live, open_source


def test_the_newest_frame_wins_and_every_other_is_counted():
    capture = ScriptedCapture()
    source = live.LiveSource("scripted", capture)
    assert (source.live, source.length, source.fps, source.size) == (True, None, 25.0, (WIDTH, HEIGHT))
    frames = iter(source)
    capture.feed((100.0, 0))
    assert next(frames).index == 0
    capture.feed((100.1, 1), (100.2, 2), (100.3, 3))
    newest = next(frames)
    assert (newest.index, number_of(newest.image), source.dropped) == (3, 3, 2)
    assert newest.time_s == pytest.approx(0.3)
    capture.feed((100.4, 4))
    assert next(frames).index == 4
    capture.fed.put(None)
    assert list(frames) == []
    assert source.dropped == 2
    assert capture.closed.wait(PATIENCE_S)


def test_the_last_picture_is_delivered_before_the_end(caplog):
    capture = ScriptedCapture()
    source = live.LiveSource("scripted", capture)
    capture.feed((0.0, 0), (0.1, 1))
    capture.fed.put(SourceError("connection reset"))
    assert capture.closed.wait(PATIENCE_S)
    with caplog.at_level(logging.WARNING):
        assert [number_of(frame.image) for frame in source] == [1]
    assert caplog.messages == ["scripted ended after 2 frames: connection reset"]


def test_a_stream_without_a_single_picture_is_an_error():
    capture = ScriptedCapture()
    source = live.LiveSource("scripted", capture)
    capture.fed.put(None)
    with pytest.raises(SourceError, match="scripted sent no picture"):
        list(source)


def test_a_bug_in_the_reader_is_not_swallowed():
    capture = ScriptedCapture()
    source = live.LiveSource("scripted", capture)
    capture.fed.put(ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError):
        list(source)


def test_pictures_without_stamps_take_the_time_of_arrival():
    capture = ScriptedCapture()
    source = live.LiveSource("scripted", capture)
    frames = iter(source)
    capture.feed((None, 0))
    start = next(frames)
    time.sleep(0.05)
    capture.feed((None, 1))
    late = next(frames)
    assert start.time_s == 0.0 and late.time_s >= 0.05
    assert late.time_s == pytest.approx(late.arrived_s - start.arrived_s, abs=1e-6)
    capture.fed.put(None)
    assert list(frames) == []


def test_close_wakes_a_waiting_consumer():
    capture = ScriptedCapture()
    source = live.LiveSource("scripted", capture)
    got = []
    consumer = threading.Thread(target=lambda: got.extend(source))
    consumer.start()
    time.sleep(0.05)
    capture.fed.put((0.0, 0))
    time.sleep(0.05)
    closer = threading.Thread(target=source.close)
    closer.start()
    capture.fed.put((0.1, 1))
    consumer.join(PATIENCE_S)
    closer.join(PATIENCE_S)
    assert not consumer.is_alive() and not closer.is_alive()
    assert capture.closed.wait(PATIENCE_S)
    assert list(source) == []


# ---------------------------------------------------------------------- lost and found again


class Connections:
    """What a source connects to, one after the other: captures, or errors."""

    def __init__(self, *results):
        self.results, self.tries = list(results), 0

    def __call__(self):
        self.tries += 1
        result = self.results.pop(0) if self.results else SourceError("connection refused")
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(live, "_FIRST_DELAY_S", 0.04)


def test_a_lost_stream_comes_back_as_a_new_epoch_and_time_has_gone_on(impatient, caplog):
    first, second = ScriptedCapture(), ScriptedCapture()
    connect = Connections(SourceError("refused"), SourceError("refused"), second)
    source = live.LiveSource("scripted", first, connect)
    frames = iter(source)
    first.feed((500.0, 0), (500.1, 1))
    before = next(frames)
    first.fed.put(SourceError("connection reset"))
    assert first.closed.wait(PATIENCE_S)
    second.feed((7.0, 2))  # its clock says something else
    back = next(frames)
    assert (before.epoch, back.epoch, number_of(back.image), back.index) == (0, 1, 2, 2)
    assert connect.tries == 3 and back.time_s - before.time_s >= 0.5 * (0.04 + 0.08 + 0.16)
    assert back.arrived_s - before.arrived_s == pytest.approx(back.time_s - before.time_s, abs=1e-6)
    second.feed((7.1, 3))
    assert next(frames).time_s == pytest.approx(back.time_s + 0.1)
    assert caplog.messages == ["scripted lost after 2 frames: connection reset; reconnecting"]
    assert source.dropped == 1
    second.fed.put(None)
    source.close()


def test_nothing_is_made_up_while_the_stream_is_gone(impatient):
    capture = ScriptedCapture()
    source = live.LiveSource("scripted", capture, Connections())
    capture.feed((0.0, 0))
    capture.fed.put(None)
    got = [source.take()]
    assert capture.closed.wait(PATIENCE_S)
    taker = threading.Thread(target=lambda: got.append(source.take()))
    taker.start()
    taker.join(0.1)
    assert taker.is_alive() and not source.pending and len(got) == 1
    source.close()
    taker.join(PATIENCE_S)
    assert got[1:] == [None]
    source._thread.join(PATIENCE_S)
    assert not source._thread.is_alive(), "the wait for the next try ends with the source"


def test_a_stream_that_stays_away_is_given_up(impatient, caplog, monkeypatch):
    """On a clock that each try moves on by 100 s."""
    capture, connect = ScriptedCapture(), Connections()
    monkeypatch.setattr(live, "monotonic", lambda: 100.0 * connect.tries)
    source = live.LiveSource("scripted", capture, connect, reconnect_s=350)
    capture.feed((0.0, 0))
    capture.fed.put(SourceError("broken pipe"))
    assert [frame.index for frame in source] == [0]
    assert connect.tries == 4
    assert caplog.messages[1:] == ["scripted ended after 1 frames: connection refused"]


def test_who_never_gave_a_picture_fails_at_once(impatient):
    capture, connect = ScriptedCapture(), Connections()
    source = live.LiveSource("scripted", capture, connect)
    capture.fed.put(SourceError("broken pipe"))
    with pytest.raises(SourceError, match="scripted sent no picture: broken pipe"):
        source.take()
    assert connect.tries == 0


def test_a_recording_that_is_served_ends(impatient):
    capture, connect = ScriptedCapture(), Connections()
    capture.finite = True
    source = live.LiveSource("scripted", capture, connect)
    capture.feed((0.0, 0))
    capture.fed.put(None)
    assert len(list(source)) == 1 and connect.tries == 0


def test_a_server_that_hangs_up_again_and_again_is_asked_less_and_less(impatient, monkeypatch):
    """On a clock that stands still: no connection brings pictures for a while."""
    monkeypatch.setattr(live, "monotonic", lambda: 0.0)
    captures = [ScriptedCapture() for _ in range(5)]
    for capture in captures:
        capture.fed.put((0.0, 1))
        capture.fed.put(None)
    connect = Connections(*captures[1:])
    start = time.monotonic()
    source = live.LiveSource("scripted", captures[0], connect)
    assert captures[4].closed.wait(PATIENCE_S)
    assert time.monotonic() - start > 0.5 * 0.04 * (1 + 2 + 4 + 8)
    newest = source.take()
    assert (newest.epoch, newest.index, source.dropped) == (4, 4, 4)
    source.close()


def test_pictures_of_another_size_come_in_the_first_ones(impatient, caplog):
    first, second = ScriptedCapture(), ScriptedCapture()
    second.to_image = lambda number: picture(number, 2 * WIDTH, 2 * HEIGHT)
    source = live.LiveSource("scripted", first, Connections(second))
    first.feed((0.0, 5))
    shape = source.take().image.shape
    first.fed.put(None)
    second.feed((0.0, 6))
    other = source.take().image
    assert other.shape == shape and number_of(other) == 6
    second.feed((0.1, 7))
    source.take()
    assert caplog.messages[1:] == [f"scripted sends {2 * WIDTH}x{2 * HEIGHT} now; scaled to {WIDTH}x{HEIGHT}"]
    second.fed.put(None)
    source.close()


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_limit_that_is_no_time(seconds):
    with pytest.raises(ConfigError, match="reconnect_s"):
        SourceOptions(reconnect_s=seconds)


# ---------------------------------------------------------------------- a real server


@pytest.fixture(scope="module")
def packets():
    return encode_packets(150)


@pytest.fixture
def serve():
    cameras = []

    def start(script, port=0, limit=math.inf):
        cameras.append(Camera(script, port))
        cameras[-1].limit = limit
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.close()


PROBED = 60  # frames that FFmpeg may look at before it opens a stream


@pytest.mark.parametrize(("kind", "kept"), [("ts", 2), ("mjpeg", 0)])
def test_ffmpeg_keeps_two_pictures_of_a_transport_stream_back(serve, packets, kind, kept):
    def send(camera, handler):
        (send_ts(packets, camera, handler, range(90)) if kind == "ts" else send_mjpeg(camera, handler, range(90)))

    camera = serve(send, limit=PROBED)
    with open_source(camera.url, timeout_s=PATIENCE_S, reconnect_s=0) as source:
        assert watch_until(source, PROBED - kept - 1)
        camera.limit += 10
        assert watch_until(source, PROBED + 10 - kept - 1)
        camera.limit = math.inf
        assert number_of(list(source)[-1].image) == 89


def watch_until(source, number):
    """Whether this frame comes, and none after it yet."""
    while number_of(source.take().image) < number:
        pass
    time.sleep(0.1)
    return not source.pending


def test_a_slow_consumer_of_a_ts_stream_sees_the_newest_frames(serve, packets, caplog):
    camera = serve(lambda camera, handler: send_ts(packets, camera, handler, range(120)), limit=PROBED)
    source = open_source(camera.url, timeout_s=PATIENCE_S, reconnect_s=0)
    assert source.name == camera.url.replace("admin:hunter2", "***")
    assert (source.live, source.size) == (True, (WIDTH, HEIGHT))
    seen = watch(source, camera, passing=4, kept=2)
    indices = [index for index, *_ in seen]
    assert indices == sorted(set(indices))
    assert [number for _, number, *_ in seen] == indices  # counted from the first that arrived
    assert 118 <= indices[-1] + 1 <= 120  # the last one too
    assert len(seen) + source.dropped == indices[-1] + 1
    assert source.dropped >= 4 * (len(seen) - 4) > 0
    np.testing.assert_allclose([time_s for *_, time_s, _ in seen], np.array(indices) / FPS, atol=0.002)
    assert "ended after" in caplog.text and "hunter2" not in caplog.text


def test_a_fast_consumer_loses_nothing_after_the_start(serve, packets):
    camera = serve(lambda camera, handler: send_ts(packets, camera, handler, range(90)), limit=PROBED)
    with open_source(camera.url, timeout_s=PATIENCE_S, reconnect_s=0) as source:
        seen = watch(source, camera, kept=2)
    assert [index for index, *_ in seen if PROBED <= index < 87] == list(range(PROBED, 87))


def test_mjpeg_over_http_takes_the_time_of_arrival(serve):
    camera = serve(lambda camera, handler: send_mjpeg(camera, handler, range(75)), limit=40)
    source = open_source(camera.url, timeout_s=PATIENCE_S, reconnect_s=0)
    assert source.fps is None, "FFmpeg's made-up 25"
    seen = watch(source, camera, passing=2)
    assert len(seen) > 10 and source.dropped > 5
    assert len(seen) + source.dropped == seen[-1][0] + 1
    times, arrivals = np.array(seen)[:, 2], np.array(seen)[:, 3]
    np.testing.assert_allclose(times - times[0], arrivals - arrivals[0], atol=1e-5)


def test_a_stalled_stream_ends_within_its_limit(serve, packets, caplog, monkeypatch):
    """Patient while it opens, since the machine may be slow, and not when it reads."""
    real, limits = av.open, (PATIENCE_S, 0.5)
    monkeypatch.setattr(av, "open", lambda *given, timeout, **options: real(*given, timeout=limits, **options))

    def stall(camera, handler):
        send_ts(packets, camera, handler, range(60))
        camera.hold.wait(PATIENCE_S)

    seen = list(open_source(serve(stall).url, timeout_s=PATIENCE_S, reconnect_s=0))
    assert seen and "no answer within the time limit" in caplog.text


def test_a_damaged_stretch_costs_its_frames_only(serve, packets):
    damaged = list(packets)
    for k in range(40, 44):
        damaged[k] = damaged[k][:188] + np.random.default_rng(k).bytes(len(damaged[k]) - 188)
    camera = serve(lambda camera, handler: send_ts(damaged, camera, handler, range(90)))
    with open_source(camera.url, timeout_s=PATIENCE_S, reconnect_s=0) as source:
        frames = list(source)
    last = frames[-1]
    assert number_of(last.image) == 89
    assert all(late.time_s > early.time_s for early, late in itertools.pairwise(frames))


def test_a_server_that_is_killed_and_started_again(serve, packets, impatient, caplog, monkeypatch):
    def send(camera, handler):
        send_ts(packets, camera, handler, range(150))

    camera = serve(send)
    on_third_connection(monkeypatch, lambda: serve(send, camera.port))
    source = open_source(camera.url, timeout_s=PATIENCE_S)
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == 20:
            camera.close()
        if frame.epoch == 1 and number_of(frame.image) > 30:
            break
    source.close()
    assert {frame.epoch for frame in frames} == {0, 1}
    assert all(frame.image.min() > 10 for frame in frames), "no black picture, whose zeros no clip has"
    times = [frame.time_s for frame in frames]
    assert all(late > early for early, late in itertools.pairwise(times))
    gap = next(late.time_s - early.time_s for early, late in itertools.pairwise(frames) if late.epoch > early.epoch)
    assert gap >= 0.5 * (0.04 + 0.08), "as long as it was missed"
    assert "lost after" in caplog.text and "hunter2" not in caplog.text


def test_a_finite_stream_is_not_asked_again(serve, packets):
    data = b"".join(packets[:30])
    asked = []

    def send(camera, handler):
        asked.append(1)
        headers(handler, "video/mp2t", length=len(data))
        handler.wfile.write(data)

    with open_source(serve(send).url, timeout_s=PATIENCE_S) as source:
        assert len(list(source)) + source.dropped == 30
    assert asked == [1]


def test_close_stops_the_reader_and_the_connection(serve, packets):
    camera = serve(lambda camera, handler: send_ts(packets, camera, handler, range(150)))
    source = open_source(camera.url, timeout_s=PATIENCE_S, reconnect_s=0)
    next(iter(source))
    source.close()
    until(lambda: f"source {source.name}" not in [thread.name for thread in threading.enumerate()])
    assert camera.gone.wait(PATIENCE_S), "the camera must see the connection go"
    assert list(source) == []


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "401"), (403, "403"), (404, "404"), (500, "5xx"), (200, "not a video")]
)
def test_a_server_that_refuses_is_one_line(serve, status, reason, capfd):
    def refuse(camera, handler):
        page = b"<html>no</html>" * 20
        headers(handler, "text/html", status, len(page))
        handler.wfile.write(page)

    camera = serve(refuse)
    with pytest.raises(SourceError) as caught:
        open_source(camera.url, timeout_s=PATIENCE_S, reconnect_s=0)
    text = str(caught.value)
    assert reason in text.lower() and "hunter2" not in text and "\n" not in text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("scheme", ["http", "rtsp", "tcp"])
def test_a_server_that_never_answers_runs_into_the_limit(scheme):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(SourceError, match=r"no answer within 0\.4 s"):
            open_source(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/x", timeout_s=0.4)


@pytest.mark.parametrize("sized", [True, False])
def test_a_video_file_over_http_drops_nothing(serve, tmp_path, sized):
    data = write_video(tmp_path / "a.mp4", 30, movflags="faststart").read_bytes()

    def send(camera, handler):
        headers(handler, "video/mp4", length=len(data) if sized else None)
        handler.wfile.write(data)

    url = serve(send).url + ".mp4"
    with open_source(url, timeout_s=PATIENCE_S) as source:
        assert not source.live
        numbers = []
        for frame in source:
            numbers.append(number_of(frame.image))
            time.sleep(0.01)
    assert numbers == list(range(30))


PUSH = """
    import sys, time, av
    from tests.sources.clips import WIDTH, HEIGHT, picture
    for attempt in range(2000):
        try:
            container = av.open(sys.argv[1], "w", format="rtsp", options={"rtsp_transport": "tcp"})
            break
        except OSError:
            time.sleep(0.05)
    stream = container.add_stream("libx264", rate=60, options={"preset": "ultrafast", "tune": "zerolatency"})
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    start = time.monotonic()
    for k in range(60):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(k), format="bgr24")))
        time.sleep(max(0, start + k / 60 - time.monotonic()))
    container.close()
"""


def test_rtsp(monkeypatch):
    """FFmpeg as its own RTSP server: the source listens, a second process pushes (in one process it would deadlock)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"rtsp://127.0.0.1:{port}/live"
    given = {}

    def listen(uri, name, *, format, timeout_s, options):
        given.update(options)
        listening = {"rtsp_flags": "listen", "listen_timeout": "180", "rtsp_transport": "tcp"}
        return real(uri, name, format=format, timeout_s=timeout_s, options=listening)

    real = live.open_container
    monkeypatch.setattr(live, "open_container", listen)
    pusher = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PUSH), url])
    try:
        with open_source(url, timeout_s=100, reconnect_s=0) as source:
            frames = [(number_of(frame.image), frame.time_s) for frame in source]
        assert pusher.wait(PATIENCE_S) == 0
    finally:
        pusher.kill()
        pusher.wait()
    assert given == {"rtsp_transport": "tcp", "timeout": "100000000"}  # the limit in microseconds
    assert len(frames) + source.dropped >= 50 and frames[-1][0] >= 57
    times = [time_s for _, time_s in frames]
    assert all(late > early for early, late in itertools.pairwise(times))


# ---------------------------------------------------------------------- cameras


def test_the_opencv_camera_reads_what_opencv_reads(tmp_path):
    path = write_video(tmp_path / "a.avi", 10, codec="mjpeg")
    capture = live.CameraCapture(str(path), "camera 0")
    assert (capture.fps, capture.size) == (30.0, (WIDTH, HEIGHT))
    source = live.LiveSource("camera 0", capture)
    frames = list(source)
    assert len(frames) + source.dropped == 10
    assert number_of(frames[-1].image) == 9


def test_a_missing_camera_on_systems_without_v4l2(monkeypatch, capfd):
    class NoCamera:
        def __init__(self, device):
            assert device == 4

        def isOpened(self):
            return False

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(cv2, "VideoCapture", NoCamera)
    with pytest.raises(SourceError, match="cannot open camera 4: no such camera"):
        open_source("4")


def test_a_linux_camera_is_opened_by_its_device(monkeypatch, tmp_path):
    path = write_video(tmp_path / "a.avi", 5, codec="mjpeg")
    asked = []

    def pretend(uri, name, *, format, timeout_s, options):
        asked.append((uri, name, format))
        return real(str(path), name, timeout_s=timeout_s, options={})

    real = live.open_container
    monkeypatch.setattr(live, "open_container", pretend)
    monkeypatch.setattr(sys, "platform", "linux")
    for uri in ("2", "/dev/video2"):
        with live.open_camera(uri, SourceOptions()) as source:
            assert number_of(list(source)[-1].image) == 4
    assert asked == [("/dev/video2", "/dev/video2", "v4l2")] * 2
