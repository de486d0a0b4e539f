"""The page: what it answers, to whom, and that nobody who watches slows the run."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.parse
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from tests.patience import PATIENCE_S, until
from tests.serving.browser import browse
from tests.serving.test_metrics import get, samples
from tests.sinks.scenes import CONFIRMED, NAMES, tracks
from tracker.serving import Access, Address, Board
from tracker.sinks import RunInfo
from tracker.sinks.overlay import Overlay, colour_of
from tracker.types import Frame

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
client = pytest.importorskip("websockets.sync.client")

WIDTH, HEIGHT = 640, 360
INFO = RunInfo("street <b>one</b>.mp4", 25.0, (WIDTH, HEIGHT), NAMES, "net.onnx", "bytetrack")


def shot(k, noise=False):
    """Frame k: a grey picture and one person who walks."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    if noise:
        image = np.random.default_rng(k).integers(0, 256, image.shape, np.uint8)
    x = 40 + 5 * (k % 80)
    rows = [(1, CONFIRMED, (x, 100, x + 60, 280), 0.9, 0), (12, CONFIRMED, (480, 60, 600, 160), 0.8, 1)]
    return Frame(k, k / 25, image), tracks(rows, size=(WIDTH, HEIGHT), time_s=k / 25)


class Feeder(threading.Thread):
    """Writes frames to a channel, some 50 a second."""

    def __init__(self, channel, noise=False):
        super().__init__(daemon=True)
        self.channel, self.shots = channel, [shot(k, noise) for k in range(80)]
        self.stop = threading.Event()

    def run(self):
        while not self.stop.wait(0.02):
            number = self.channel.frames
            frame, snapshot = self.shots[number % 80]
            self.channel.write(Frame(number, number / 25, frame.image), snapshot)
            self.channel.clock.add("session", 7_000_000)
            self.channel.clock.add("end_to_end", 9_000_000)


@contextmanager
def serving(*, token=None, noise=False, streams=1):
    """A page with streams that go on until the end."""
    from tracker.serving.page import PageServer

    board = Board()
    feeders = [Feeder(board.add(INFO, name=f"stream-{k}"), noise) for k in range(streams)]
    server = PageServer(board, Access(token), Address("127.0.0.1", 0).listen())
    for feeder in feeders:
        feeder.start()
    try:
        server.feeders = feeders
        yield server
    finally:
        server.close()
        for feeder in feeders:
            feeder.stop.set()
            feeder.join()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr("tracker.serving.board._STALLED_S", PATIENCE_S)


@pytest.fixture
def server():
    with serving() as made:
        yield made


def watch(server, name="stream-0", **more):
    more.setdefault("origin", f"http://127.0.0.1:{server.port}")
    address = f"ws://127.0.0.1:{server.port}/ws/{name}"
    return client.connect(address, proxy=None, max_size=1 << 24, open_timeout=PATIENCE_S, ping_interval=None, **more)


def receive(viewer, answer=True):
    """The next picture: its facts and its pixels; and the last status."""
    facts, status = {}, None
    while True:
        message = viewer.recv(timeout=PATIENCE_S)
        if isinstance(message, bytes):
            if answer:
                viewer.send("next")
            return facts["picture"], cv2.imdecode(np.frombuffer(message, np.uint8), cv2.IMREAD_COLOR), status
        facts = json.loads(message)
        status = facts.get("status", status)


def test_what_it_answers(server):
    code, kind, text = get(server.port, "/")
    assert (code, kind) == (200, "text/html; charset=utf-8") and "<canvas" in text
    assert "http://" not in text and "https://" not in text  # nothing comes from elsewhere
    until(lambda: server.feeders[0].channel.fps > 0)
    stream = json.loads(get(server.port, "/streams")[2])["streams"][0]
    assert stream["name"] == "stream-0" and stream["title"] == INFO.source and stream["condition"] == "live"
    assert stream["confirmed"] == stream["alive"] == 2 and stream["frames"] > 0 and stream["viewers"] == 0
    assert ("trackstream_frames_total", (("stream", "stream-0"),)) in samples(get(server.port, "/metrics")[2])
    assert get(server.port, "/healthz")[2] == "ok\n"
    assert get(server.port, "/stream/window.mjpg")[0] == get(server.port, "/nowhere")[0] == 404
    with watch(server, "window") as viewer, pytest.raises(Exception, match="4404"):
        viewer.recv(timeout=PATIENCE_S)


def test_pictures_over_the_socket_are_those_of_the_overlay(server):
    with watch(server) as viewer:
        facts, picture, status = receive(viewer)
        assert status["stages"][0]["name"] == "session" and status["stages"][0]["p50"] == 7.0
        assert status["stream"] == {"name": "stream-0", "model": "net.onnx", "system": "bytetrack"}
        assert facts["size"] == [WIDTH, HEIGHT] and picture.shape == (HEIGHT, WIDTH, 3)
        blue, green, red = colour_of(12)
        person, car = sorted(facts["tracks"], key=lambda track: track["id"])
        assert car == {
            "id": 12, "state": "confirmed", "class": "car", "score": 0.8, "box": [480.0, 60.0, 600.0, 160.0],
            "hits": 3, "misses": 0, "colour": f"#{red:02x}{green:02x}{blue:02x}",
        }  # fmt: skip
        assert person["class"] == "person"
        expected = Overlay(INFO).paint(*shot(facts["frame"]))
        inside = np.s_[65:155, 485:595]
        assert np.abs(picture[inside].astype(int) - expected[inside]).mean() < 3
        first = facts["frame"]
        assert receive(viewer)[0]["frame"] != first
    until(lambda: server.feeders[0].channel.viewers == 0)


def test_pictures_as_mjpeg(server):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    connection.request("GET", "/stream.mjpg")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
    assert answer.readline() == b"--frame\r\n"
    for _ in range(3):
        assert answer.readline() == b"Content-Type: image/jpeg\r\n"
        size = int(answer.readline().partition(b":")[2])
        assert answer.readline() == b"\r\n"
        picture = cv2.imdecode(np.frombuffer(answer.read(size), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (HEIGHT, WIDTH, 3) and picture.std() > 5
        assert answer.read(11) == b"\r\n--frame\r\n"
    answer.close()
    connection.close()
    until(lambda: server.feeders[0].channel.viewers == 0)


def test_who_does_not_answer_gets_two_pictures_and_then_the_newest(server):
    with watch(server) as viewer:
        seen = [receive(viewer, answer=False)[0]["frame"] for _ in range(2)]
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            try:
                message = viewer.recv(timeout=max(0.01, end - time.monotonic()))
            except TimeoutError:
                break
            assert isinstance(message, str) and "picture" not in json.loads(message)  # the status goes on
        (projector,) = server._app._projectors.values()
        until(lambda: projector._picture.number > seen[-1] + 10)
        painted = projector._picture.number - 1
        viewer.send("next")
        assert receive(viewer, answer=False)[0]["frame"] >= painted


def test_slow_viewers_slow_neither_the_run_nor_others():
    """Two viewers who never read; the one beside them gets his pictures, and the run goes on."""
    with (
        serving(noise=True) as server,
        watch(server),
        socket.create_connection(("127.0.0.1", server.port)) as slow,
        watch(server) as quick,
    ):
        slow.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        channel = server.feeders[0].channel
        until(lambda: channel.viewers == 3)
        seen = [receive(quick)[0]["frame"] for _ in range(40)]
        assert seen == sorted(set(seen))
        until(lambda: channel.frames > seen[-1] + 20)


def test_nothing_is_painted_for_nobody(server, monkeypatch):
    painted = []
    monkeypatch.setattr(Overlay, "paint", lambda self, frame, _: painted.append(frame.index) or frame.image)
    time.sleep(0.2)
    assert painted == []
    with watch(server) as viewer:
        receive(viewer)
    until(lambda: not any(thread.name.startswith("projector") for thread in threading.enumerate()))
    count = len(painted)
    time.sleep(0.2)
    assert len(painted) == count > 0


def test_large_pictures_are_made_smaller():
    from tracker.serving.page import PageServer

    board = Board()
    channel = board.add(RunInfo())
    channel.write(Frame(0, 0.0, np.full((1080, 1921, 3), 50, np.uint8)), tracks([], size=(1921, 1080)))
    channel.close()  # the last frame of a stream stays
    server = PageServer(board, Access(None), Address("127.0.0.1", 0).listen())
    try:
        with watch(server, "-") as viewer:
            facts, picture, status = receive(viewer)
            assert facts["size"] == [1921, 1080] and picture.shape == (720, 1280, 3)
            assert status["streams"][0]["condition"] == "ended"
    finally:
        server.close()


def test_it_closes_while_people_watch():
    with serving() as server, watch(server) as viewer:
        receive(viewer)
        server.close()
        until(lambda: not server._thread.is_alive())


def test_other_sites_see_nothing(server):
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        assert get(server.port, "/", **headers)[0] == 403
    for more in ({"origin": "https://evil.example"}, {"origin": "null", "additional_headers": {"Cookie": "a[=;;"}}):
        with pytest.raises(Exception, match="403"):
            watch(server, **more)
    until(lambda: server.feeders[0].channel.frames > 0)


def test_a_token_is_asked_for_once():
    with serving(token="a token; of mine") as server:
        typed = urllib.parse.urlencode({"token": "a token; of mine"})
        code, _, door = get(server.port, "/")
        assert code == 401 and "needs its token" in door
        for path in ("/streams", "/metrics", "/stream.mjpg", "/?token=a+guess"):
            assert get(server.port, path)[0] == 401
        assert get(server.port, "/healthz")[0] == 200
        with pytest.raises(Exception, match="403"):
            watch(server)
        cookie = cookie_of(server.port, f"/?{typed}")
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        kept = {"Cookie": "other=1; " + cookie.partition(";")[0]}
        assert get(server.port, "/streams", **kept)[0] == 200
        assert get(server.port, "/streams", Authorization="Bearer a token; of mine")[0] == 200
        with watch(server, additional_headers=kept) as viewer:
            receive(viewer)


def cookie_of(port, path):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    answer.read()
    connection.close()
    return answer.headers["Set-Cookie"]


COLOUR = """(() => {
  const place = document.createElement("canvas"), [x0, y0, x1, y1] = shown.facts.tracks.find(t => t.id === 12).box;
  place.width = view.width; place.height = view.height;
  const pen = place.getContext("2d"); pen.drawImage(view, 0, 0);
  return Array.from(pen.getImageData((x0 + x1) / 2, (y0 + y1) / 2, 1, 1).data.slice(0, 3));
})()"""


@pytest.mark.slow
def test_in_a_browser(tmp_path):
    """Headless Chromium, wide and as a phone: the picture, tracks and latencies are there, and nothing overflows."""
    with serving(streams=2) as server, browse(tmp_path / "profile") as browser:
        browser.open(f"http://127.0.0.1:{server.port}/")
        browser.wait("shown !== null && document.querySelectorAll('#latency .bar').length === 2")
        browser.wait("document.querySelectorAll('#tracks button').length === 2")
        red, green, blue = browser.evaluate(COLOUR)  # of the car's mask, over grey
        tint = 0.42 * np.array(colour_of(12)[::-1]) + 0.58 * 90
        assert np.abs(np.array([red, green, blue]) - tint).max() < 12
        assert browser.evaluate("$('title').textContent").startswith(INFO.source)  # as text, not as markup
        assert "7.00" in browser.evaluate("$('latency').textContent")
        browser.evaluate("document.querySelectorAll('#tracks button')[1].click()")
        assert browser.evaluate("chosen") == 12
        browser.photograph(tmp_path / "wide.png")
        wide = cv2.imread(str(tmp_path / "wide.png"))
        assert wide.shape == (860, 1440, 3) and len(np.unique(wide.reshape(-1, 3), axis=0)) > 100

        browser.evaluate("document.querySelectorAll('#streams button')[1].click()")
        browser.wait("status.stream.name === 'stream-1' && location.hash === '#stream-1'")

        browser.open(f"http://127.0.0.1:{server.port}/", 390, 844, phone=True)
        browser.wait("shown !== null && status !== null")
        assert browser.evaluate("document.documentElement.scrollWidth") == 390
        assert browser.evaluate("view.getBoundingClientRect().width") >= 385
        resources = browser.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        assert all(name.startswith(("data:", f"http://127.0.0.1:{server.port}/")) for name in resources)
        assert browser.log == []

        server.close()
        browser.wait("$('condition').textContent === 'not connected'")
