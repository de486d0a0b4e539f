"""The window of `--show`. OpenCV aborts the whole process where it finds no display, so this looks first."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping

from tracker.errors import SinkError
from tracker.sinks.overlay import Overlay, OverlayStyle
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.types import Frame, Tracks

_QUIT_KEYS = (ord("q"), 27)  # 27: escape
_X_PORT = 6000


class WindowSink(Sink):
    """Shows painted frames as they come; `q`, escape or the window's own button end the run like Ctrl-C.

    All calls must come from one thread, on macOS from the main one.
    """

    def __init__(self, path: str | os.PathLike[str], info: RunInfo, *, style: OverlayStyle | None = None) -> None:
        """Open a window.

        Args:
            path: its title.
            info: names for the labels.
            style: how to paint.

        Raises:
            SinkError: there is no display, or OpenCV was built without windows.
        """
        check_display()
        import cv2

        self._cv2 = cv2
        self._title: str | None = os.fspath(path)
        self._overlay = Overlay(info, style)
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            if info.size is not None:
                cv2.resizeWindow(self._title, *info.size)
        except cv2.error:
            raise SinkError(
                "cannot open a window: this OpenCV was built without windows (opencv-python-headless); leave out --show"
            ) from None

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Show one frame.

        Raises:
            KeyboardInterrupt: the user asked to stop.
        """
        if self._title is None:
            raise SinkError("cannot show a frame: the window is closed")
        self._cv2.imshow(self._title, self._overlay.paint(frame, tracks))
        if self._cv2.waitKey(1) & 0xFF in _QUIT_KEYS or not self._visible(self._title):
            raise KeyboardInterrupt

    def close(self) -> None:
        """Close the window."""
        title, self._title = self._title, None
        if title is not None and self._visible(title):
            self._cv2.destroyWindow(title)

    def _visible(self, title: str) -> bool:
        try:
            return bool(self._cv2.getWindowProperty(title, self._cv2.WND_PROP_VISIBLE) >= 1)
        except self._cv2.error:  # some back ends forget a window that its user closed
            return False


def check_display(environment: Mapping[str, str] | None = None, platform: str = sys.platform) -> None:
    """Make sure that a window can open.

    macOS and Windows always have a display. Elsewhere OpenCV's wheels speak X11 only, so a display named by `DISPLAY`
    must answer; Wayland alone is not enough, its XWayland is.

    Raises:
        SinkError: no display, or one that does not answer.
    """
    environment = os.environ if environment is None else environment
    if platform in ("darwin", "win32", "cygwin"):
        return
    display = environment.get("DISPLAY", "")
    if not display:
        wayland = " (WAYLAND_DISPLAY alone is not enough, start XWayland)" if environment.get("WAYLAND_DISPLAY") else ""
        raise SinkError(f"cannot open a window: there is no display, DISPLAY is not set{wayland}; leave out --show")
    if not _answers(display):
        raise SinkError(f"cannot open a window: the display {display} does not answer; leave out --show")


def _answers(display: str) -> bool:
    """True if an X server listens at `[host]:number[.screen]`."""
    found = re.fullmatch(r"(?:unix|(?P<host>[^:/]*))?:(?P<number>\d+)(?:\.\d+)?", display)
    if found is None:
        return True  # a form that this does not know (a socket path on macOS): let OpenCV try
    number = int(found["number"])
    if found["host"]:
        try:
            socket.create_connection((found["host"], _X_PORT + number), timeout=2).close()
        except OSError:
            return False
        return True
    for path in (f"/tmp/.X11-unix/X{number}", f"\0/tmp/.X11-unix/X{number}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            if client.connect_ex(path) == 0:
                return True
    return False
