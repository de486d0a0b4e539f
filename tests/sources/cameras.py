"""Cameras for tests of live sources: a scripted one, and an HTTP server of MPEG-TS or MJPEG at a steady pace."""

from __future__ import annotations

import io
import itertools
import math
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from tests.patience import until
from tests.sources.clips import HEIGHT, WIDTH, number_of, picture
from tracker.sources import live

FPS = 60


class ScriptedCapture:
    """A capture that delivers what the test puts into it, when the test puts it."""

    fps, size, finite = 25.0, (WIDTH, HEIGHT), False

    def __init__(self):
        self.fed = queue.Queue()
        self.taken = 0
        self.closed = threading.Event()

    def feed(self, *items):
        """Deliver items and wait until the reader has taken them all."""
        goal = self.taken + len(items)
        for item in items:
            self.fed.put(item)
        until(lambda: self.taken == goal)

    def pictures(self):
        while True:
            item = self.fed.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            stamp_s, number = item
            yield stamp_s, live.monotonic(), number
            self.taken += 1  # the reader came back for more: the picture is in the slot

    def to_image(self, number):
        return picture(number)

    def close(self):
        self.closed.set()


def encode_packets(count, fps=FPS, width=WIDTH, height=HEIGHT):
    """MPEG-TS bytes of each frame 0..count-1, as they would leave a live encoder."""
    import av

    out = io.BytesIO()
    container = av.open(out, "w", format="mpegts", options={"flush_packets": "1"})
    options = {"preset": "ultrafast", "tune": "zerolatency"}
    stream = container.add_stream("libx264", rate=fps, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.gop_size = 10
    packets, at = [], 0
    for k in range(count):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(k, width, height), format="bgr24")))
        packets.append(out.getvalue()[at:])
        at = len(out.getvalue())
    container.close()
    assert all(packets)
    return packets


class Camera:
    """An HTTP camera on the loopback.

    Attributes:
        limit: frames from this number on wait until it is raised, and those below it wait for nothing.
        done: the script has ended.
        gone: the other side has hung up.
    """

    def __init__(self, script, port=0, fps=FPS):
        camera = self
        self.fps, self.limit = fps, math.inf
        self.dead = False
        self.done = threading.Event()
        self.hold = threading.Event()
        self.gone = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    script(camera, self)
                except (BrokenPipeError, ConnectionResetError):
                    camera.gone.set()
                finally:
                    camera.done.set()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.port = self.server.server_port
        self.url = f"http://admin:hunter2@127.0.0.1:{self.port}/stream"

    def pace(self, number, start):
        if self.limit == math.inf:
            time.sleep(max(0.0, start + number / self.fps - time.monotonic()))
        until(lambda: number < self.limit or self.dead)
        if self.dead:
            raise ConnectionResetError

    def close(self):
        """Cut every connection, accept no other."""
        self.dead = True
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()


def headers(handler, kind, status=200, length=None):
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def send_ts(packets, camera, handler, numbers):
    """Packets of these frames, at the camera's pace; numbers may go round."""
    headers(handler, "video/mp2t")
    start = time.monotonic()
    for k, number in enumerate(numbers):
        camera.pace(k, start)
        handler.wfile.write(packets[number])


def send_mjpeg(camera, handler, numbers):
    headers(handler, "multipart/x-mixed-replace; boundary=frame")
    start = time.monotonic()
    for k, number in enumerate(numbers):
        camera.pace(k, start)
        data = cv2.imencode(".jpg", picture(number))[1].tobytes()
        handler.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
        handler.wfile.write(data + b"\r\n")


def watch(source, camera, passing=0, kept=0):
    """Read to the end, and let the camera send only as far as each frame shows: a machine that stops loses no other.

    Args:
        source: a live one.
        camera: its camera, with a limit.
        passing: frames that shall pass by while each is looked at.
        kept: frames that FFmpeg keeps back, see `StreamCapture`.

    Returns:
        (index, number in the picture, time_s, arrived_s) of each frame.
    """
    seen = []
    for frame in source:
        seen.append((frame.index, number_of(frame.image), frame.time_s, frame.arrived_s))
        let_pass(source, camera, frame.index, passing, kept)
    return seen


def let_pass(source, camera, number, passing, kept):
    """Frame `number` was taken: let the camera send until so many have passed by and the next one has arrived."""
    camera.limit = max(camera.limit, number + 2 + passing + kept)
    until(lambda: source._arrived >= number + 2 + passing or camera.done.is_set())


def on_third_connection(monkeypatch, call):
    """Call `call` before the third time that a live source connects: a server comes back after it was missed."""
    real, tries = live.open_container, itertools.count(1)

    def connect(*given, **options):
        if next(tries) == 3:
            call()
        return real(*given, **options)

    monkeypatch.setattr(live, "open_container", connect)
