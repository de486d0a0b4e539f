"""The window: never touch OpenCV's windows without a display, because it aborts the process."""

from __future__ import annotations

import socket

import cv2
import pytest

from tests.sinks.scenes import CROWD, frame, tracks
from tracker.errors import SinkError
from tracker.sinks import RunInfo
from tracker.sinks.window import WindowSink, check_display


class FakeWindows:
    """OpenCV's window calls, recorded."""

    def __init__(self, monkeypatch, key=-1, visible=1.0):
        self.calls = []
        self.key, self.visible = key, visible
        for name in ("namedWindow", "resizeWindow", "imshow", "destroyWindow"):
            monkeypatch.setattr(cv2, name, lambda *a, name=name: self.calls.append((name, *a)))
        monkeypatch.setattr(cv2, "waitKey", lambda delay: self.key)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, key: self.visible)
        monkeypatch.setattr("tracker.sinks.window.check_display", lambda: None)

    @property
    def names(self):
        return [call[0] for call in self.calls]


def test_without_a_display_it_is_one_line_and_no_abort(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: pytest.fail("OpenCV would abort here"))
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(SinkError, match="there is no display") as caught:
        WindowSink("street", RunInfo())
    assert "\n" not in str(caught.value)


def test_what_counts_as_a_display():
    with pytest.raises(SinkError, match="DISPLAY is not set; leave out --show"):
        check_display({}, "linux")
    with pytest.raises(SinkError, match="WAYLAND_DISPLAY alone is not enough"):
        check_display({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    with pytest.raises(SinkError, match=r"the display :987 does not answer"):
        check_display({"DISPLAY": ":987"}, "linux")
    with pytest.raises(SinkError, match=r"the display localhost:59000\.0 does not answer"):
        check_display({"DISPLAY": "localhost:59000.0"}, "linux")
    for platform in ("darwin", "win32"):
        check_display({}, platform)


def test_a_display_that_answers_is_accepted():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        number = server.getsockname()[1] - 6000
        check_display({"DISPLAY": f"127.0.0.1:{number}.0"}, "linux")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_a_local_display_that_answers_is_accepted():
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind("\0/tmp/.X11-unix/X4711")
        except OSError:
            pytest.skip("this system has no abstract sockets")
        server.listen()
        check_display({"DISPLAY": ":4711"}, "linux")


def test_frames_are_painted_and_shown(monkeypatch):
    windows = FakeWindows(monkeypatch)
    with WindowSink("street", RunInfo(size=(64, 48))) as sink:
        sink.write(frame(), tracks(CROWD))
        sink.write(frame(1), tracks(CROWD))
    sink.close()
    assert windows.names == ["namedWindow", "resizeWindow", "imshow", "imshow", "destroyWindow"]
    shown = windows.calls[2][2]
    assert shown.shape == (48, 64, 3) and (shown != 90).any()
    with pytest.raises(SinkError, match="closed"):
        sink.write(frame(), tracks(CROWD))


@pytest.mark.parametrize(("key", "visible"), [(ord("q"), 1.0), (27, 1.0), (-1, 0.0)])
def test_q_escape_and_the_windows_button_end_the_run(monkeypatch, key, visible):
    windows = FakeWindows(monkeypatch, key, visible)
    sink = WindowSink("street", RunInfo())
    with pytest.raises(KeyboardInterrupt):
        sink.write(frame(), tracks(CROWD))
    sink.close()
    assert ("destroyWindow" in windows.names) == (visible > 0)


def test_an_opencv_without_windows_is_one_line(monkeypatch):
    FakeWindows(monkeypatch)

    def refuse(*_):
        raise cv2.error("not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(SinkError, match="headless"):
        WindowSink("street", RunInfo())
