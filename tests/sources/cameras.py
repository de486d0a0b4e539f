"""An HTTP camera on the loopback, for tests of live sources: MPEG-TS or MJPEG at a steady pace; it can die."""

from __future__ import annotations

import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from tests.sources.clips import HEIGHT, WIDTH, picture

FPS = 60


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
    """An HTTP camera on the loopback; `sent[k]` is when frame k left it last."""

    def __init__(self, script, port=0, fps=FPS):
        camera = self
        self.sent, self.fps = {}, fps
        self.dead = False
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

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.port = self.server.server_port
        self.url = f"http://admin:hunter2@127.0.0.1:{self.port}/stream"

    def pace(self, number, start):
        time.sleep(max(0.0, start + number / self.fps - time.monotonic()))
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
        camera.sent[number] = time.monotonic()
        handler.wfile.write(packets[number])


def send_mjpeg(camera, handler, numbers):
    headers(handler, "multipart/x-mixed-replace; boundary=frame")
    start = time.monotonic()
    for k, number in enumerate(numbers):
        camera.pace(k, start)
        camera.sent[number] = time.monotonic()
        data = cv2.imencode(".jpg", picture(number))[1].tobytes()
        handler.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
        handler.wfile.write(data + b"\r\n")
