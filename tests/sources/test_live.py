"""Live sources: the newest frame, honest drop counts, bounded ages, and an end for every way a stream can be lost."""

from __future__ import annotations

import io
import itertools
import logging
import queue
import socket
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from tests.sources.clips import HEIGHT, WIDTH, number_of, picture, write_video
from tracker.errors import SourceError
from tracker.sources import SourceOptions, live, open_source

FPS = 60


class ScriptedCapture:
    """A capture that delivers what the test puts into it, when the test puts it."""

    fps, size = 25.0, (WIDTH, HEIGHT)

    def __init__(self):
        self.fed = queue.Queue()
        self.taken = 0
        self.closed = threading.Event()

    def feed(self, *items):
        """Deliver items and wait until the reader has taken them all."""
        goal = self.taken + len(items)
        for item in items:
            self.fed.put(item)
        deadline = time.monotonic() + 5
        while self.taken < goal and time.monotonic() < deadline:
            time.sleep(0.001)
        assert self.taken == goal

    def pictures(self):
        while True:
            item = self.fed.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
            self.taken += 1  # the reader came back for more: the picture is in the slot

    def to_image(self, number):
        return picture(number)

    def close(self):
        self.closed.set()


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
    assert capture.closed.wait(5)


def test_the_last_picture_is_delivered_before_the_end(caplog):
    capture = ScriptedCapture()
    source = live.LiveSource("scripted", capture)
    capture.feed((0.0, 0), (0.1, 1))
    capture.fed.put(SourceError("connection reset"))
    assert capture.closed.wait(5)
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
    time.sleep(0.2)
    capture.feed((None, 1))
    late = next(frames)
    assert start.time_s == 0.0
    assert 0.19 < late.time_s < 0.6
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
    consumer.join(5)
    closer.join(5)
    assert not consumer.is_alive() and not closer.is_alive()
    assert capture.closed.wait(5)
    assert list(source) == []


# ---------------------------------------------------------------------- a real server


def encode_packets(count):
    """MPEG-TS bytes of each frame 0..count-1, as they would leave a live encoder."""
    import av

    out = io.BytesIO()
    container = av.open(out, "w", format="mpegts", options={"flush_packets": "1"})
    options = {"preset": "ultrafast", "tune": "zerolatency"}
    stream = container.add_stream("libx264", rate=FPS, options=options)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    stream.codec_context.gop_size = 10
    packets, at = [], 0
    for k in range(count):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(k), format="bgr24")))
        packets.append(out.getvalue()[at:])
        at = len(out.getvalue())
    container.close()
    assert all(packets)
    return packets


@pytest.fixture(scope="module")
def packets():
    return encode_packets(150)


class Camera:
    """An HTTP camera on the loopback; `sent[k]` is when frame k left it."""

    def __init__(self, script):
        camera = self
        self.sent = {}
        self.hold = threading.Event()
        self.gone = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    script(camera, self)
                except (BrokenPipeError, ConnectionResetError):
                    camera.gone.set()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"http://admin:hunter2@127.0.0.1:{self.server.server_port}/stream"

    def pace(self, number, start):
        time.sleep(max(0.0, start + number / FPS - time.monotonic()))
        self.sent[number] = time.monotonic()

    def close(self):
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve():
    cameras = []

    def start(script):
        cameras.append(Camera(script))
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.close()


def headers(handler, kind, status=200, length=None):
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def send_ts(packets, camera, handler, numbers):
    headers(handler, "video/mp2t")
    start = time.monotonic()
    for number in numbers:
        camera.pace(number, start)
        handler.wfile.write(packets[number])


def send_mjpeg(camera, handler, numbers):
    headers(handler, "multipart/x-mixed-replace; boundary=frame")
    start = time.monotonic()
    for number in numbers:
        camera.pace(number, start)
        data = cv2.imencode(".jpg", picture(number))[1].tobytes()
        handler.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
        handler.wfile.write(data + b"\r\n")


def watch(source, camera, pause_s):
    """Frames with the age each had when it was delivered."""
    seen = []
    for frame in source:
        number = number_of(frame.image)
        seen.append((frame.index, number, frame.time_s, time.monotonic() - camera.sent[number]))
        time.sleep(pause_s)
    return seen


def test_a_slow_consumer_of_a_ts_stream_sees_fresh_frames(serve, packets, caplog):
    camera = serve(lambda camera, handler: send_ts(packets, camera, handler, range(120)))
    source = open_source(camera.url, timeout_s=5)
    assert source.name == camera.url.replace("admin:hunter2", "***")
    assert (source.live, source.size) == (True, (WIDTH, HEIGHT))
    seen = watch(source, camera, 0.08)
    indices = [index for index, *_ in seen]
    assert indices == sorted(set(indices))
    assert [number for _, number, *_ in seen] == indices  # counted from the first that arrived
    assert 118 <= seen[-1][0] + 1 <= 120  # the last one too
    assert len(seen) + source.dropped == seen[-1][0] + 1
    assert source.dropped > 30
    np.testing.assert_allclose([time_s for *_, time_s, _ in seen], np.array(indices) / FPS, atol=0.002)
    ages = [age for *_, age in seen if age is not None]
    assert np.median(ages[2:]) < 0.15 and max(ages[2:]) < 0.5, ages
    assert "ended after" in caplog.text and "hunter2" not in caplog.text


def test_a_fast_consumer_loses_nothing_after_the_start(serve, packets):
    camera = serve(lambda camera, handler: send_ts(packets, camera, handler, range(90)))
    with open_source(camera.url, timeout_s=5) as source:
        seen = watch(source, camera, 0)
    fresh = [index for index, *_ in seen if index > 45]
    assert len(fresh) > 35, "a loaded machine may lose a few, not more"


def test_mjpeg_over_http_takes_the_time_of_arrival(serve):
    camera = serve(lambda camera, handler: send_mjpeg(camera, handler, range(75)))
    source = open_source(camera.url, timeout_s=5)
    seen = watch(source, camera, 0.08)
    assert len(seen) > 10 and source.dropped > 5
    assert len(seen) + source.dropped == seen[-1][0] + 1
    late = [(time_s, number / FPS) for _, number, time_s, _ in seen[5:]]
    spans = np.diff(late, axis=0)
    assert abs(spans[:, 0].sum() - spans[:, 1].sum()) < 0.4  # FFmpeg's made-up 25 fps would be off by 20 %
    assert max(age for *_, age in seen[3:]) < 0.5


def test_a_stalled_stream_ends_within_its_limit(serve, packets, caplog):
    def stall(camera, handler):
        send_ts(packets, camera, handler, range(60))
        camera.hold.wait(20)

    camera = serve(stall)
    source = open_source(camera.url, timeout_s=1.0)
    seen = watch(source, camera, 0)
    waited = time.monotonic() - camera.sent[59]
    assert seen and 0.5 < waited < 5
    assert "no answer within the time limit" in caplog.text


def test_a_damaged_stretch_costs_its_frames_only(serve, packets):
    damaged = list(packets)
    for k in range(40, 44):
        damaged[k] = damaged[k][:188] + np.random.default_rng(k).bytes(len(damaged[k]) - 188)
    camera = serve(lambda camera, handler: send_ts(damaged, camera, handler, range(90)))
    with open_source(camera.url, timeout_s=5) as source:
        frames = list(source)
    last = frames[-1]
    assert number_of(last.image) == 89
    assert all(late.time_s > early.time_s for early, late in itertools.pairwise(frames))


def test_close_stops_the_reader_and_the_connection(serve, packets):
    camera = serve(lambda camera, handler: send_ts(packets, camera, handler, range(150)))
    source = open_source(camera.url, timeout_s=5)
    next(iter(source))
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 1.5
    assert f"source {source.name}" not in [thread.name for thread in threading.enumerate()]
    assert camera.gone.wait(5), "the camera must see the connection go"
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
        open_source(camera.url, timeout_s=5)
    text = str(caught.value)
    assert reason in text.lower() and "hunter2" not in text and "\n" not in text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("scheme", ["http", "rtsp", "tcp"])
def test_a_server_that_never_answers_runs_into_the_limit(scheme):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        start = time.monotonic()
        with pytest.raises(SourceError, match=r"no answer within 0\.7 s"):
            open_source(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/x", timeout_s=0.7)
        assert time.monotonic() - start < 4


@pytest.mark.parametrize("sized", [True, False])
def test_a_video_file_over_http_drops_nothing(serve, tmp_path, sized):
    data = write_video(tmp_path / "a.mp4", 30, movflags="faststart").read_bytes()

    def send(camera, handler):
        headers(handler, "video/mp4", length=len(data) if sized else None)
        handler.wfile.write(data)

    url = serve(send).url + ".mp4"
    with open_source(url, timeout_s=5) as source:
        assert not source.live
        numbers = []
        for frame in source:
            numbers.append(number_of(frame.image))
            time.sleep(0.01)
    assert numbers == list(range(30))


PUSH = """
    import sys, time, av
    from tests.sources.clips import WIDTH, HEIGHT, picture
    for attempt in range(200):
        try:
            container = av.open(sys.argv[1], "w", format="rtsp", options={"rtsp_transport": "tcp"})
            break
        except OSError:
            time.sleep(0.05)
    stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "tune": "zerolatency"})
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    start = time.monotonic()
    for k in range(60):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(k), format="bgr24")))
        time.sleep(max(0, start + k / 30 - time.monotonic()))
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
        listening = {"rtsp_flags": "listen", "listen_timeout": "10", "rtsp_transport": "tcp"}
        return real(uri, name, format=format, timeout_s=timeout_s, options=listening)

    real = live.open_container
    monkeypatch.setattr(live, "open_container", listen)
    pusher = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PUSH), url])
    try:
        with open_source(url, timeout_s=10) as source:
            frames = [(number_of(frame.image), frame.time_s) for frame in source]
        assert pusher.wait(10) == 0
    finally:
        pusher.kill()
        pusher.wait()
    assert given == {"rtsp_transport": "tcp", "timeout": "10000000"}  # the limit in microseconds
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
