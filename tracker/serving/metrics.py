"""The board as Prometheus metrics (text format 0.0.4), and a server for them that needs no other package."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from urllib.parse import parse_qs, urlsplit

from tracker import __version__
from tracker.serving.access import Access
from tracker.serving.board import Board, Channel

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[str, dict[str, str], float]  # what is added to the metric's name, labels, value


def render(board: Board) -> str:
    """All metrics of all streams.

    Counters count from the start of the run; quantiles and the largest value are about the last 512 frames. Stages are
    those of the run's table: `end_to_end` is from the delivery of a frame to its last output, `age` (live sources) from
    its arrival to its tracks.
    """
    channels = board.channels
    lines: list[str] = []

    def add(name: str, kind: str, text: str, samples: Iterable[_Sample]) -> None:
        full = f"trackstream_{name}"
        lines.extend((f"# HELP {full} {text}", f"# TYPE {full} {kind}"))
        lines.extend(f"{full}{more}{_labels(labels)} {value:.10g}" for more, labels, value in samples)

    def each(figure: str) -> list[_Sample]:
        return [("", {"stream": channel.name}, float(getattr(channel, figure))) for channel in channels]

    add("info", "gauge", "Version of the engine.", [("", {"version": __version__}, 1.0)])
    sources = [("", {"stream": c.name, "source": c.info.source, "system": c.info.system}, 1.0) for c in channels]
    add("stream_info", "gauge", "What a stream is.", sources)
    up = [("", {"stream": channel.name}, float(channel.condition == "live")) for channel in channels]
    add("stream_up", "gauge", "1 while frames come.", up)
    add("frames_total", "counter", "Frames tracked.", each("frames"))
    add("dropped_frames_total", "counter", "Frames that a live source dropped to stay current.", each("dropped"))
    add("reconnects_total", "counter", "Times that a stream was lost and found again.", each("reconnects"))
    add("late_frames_total", "counter", "Frames whose tracks came after their deadline.", each("late"))
    shed = [("", {"stream": c.name, "stage": stage}, float(n)) for c in channels for stage, n in c.shed.items()]
    add("shed_total", "counter", "Frames that went without a stage to meet their deadline.", shed)
    add("frames_per_second", "gauge", "Frames tracked per second, of the last 60.", each("fps"))
    add("idle_seconds", "gauge", "Seconds since the last frame.", each("idle_s"))
    add("tracks", "gauge", "Live tracks by state.", [sample for c in channels for sample in _tracks(c)])
    add("viewers", "gauge", "Browsers that watch.", each("viewers"))
    text = "Time per frame and stage."
    add("stage_seconds", "summary", text, [sample for c in channels for sample in _stages(c)])
    most = [
        ("", {"stream": channel.name, "stage": stage}, figures.max / 1e3)
        for channel in channels
        for stage, figures in channel.clock.recent().items()
    ]
    add("stage_max_seconds", "gauge", "Longest time per stage.", most)
    return "\n".join(lines) + "\n"


def _tracks(channel: Channel) -> list[_Sample]:
    shot = channel.newest
    names = ("confirmed", "tentative", "coasting")
    counts = [0 if shot is None else len(getattr(shot.tracks, name)) for name in names]
    return [("", {"stream": channel.name, "state": name}, float(n)) for name, n in zip(names, counts, strict=True)]


def _stages(channel: Channel) -> Iterable[_Sample]:
    for stage, figures in channel.clock.recent().items():
        labels = {"stream": channel.name, "stage": stage}
        for quantile, value in (("0.5", figures.p50), ("0.95", figures.p95), ("0.99", figures.p99)):
            yield "", {**labels, "quantile": quantile}, value / 1e3
        yield "_sum", labels, figures.total_s
        yield "_count", labels, float(figures.count)


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class MetricsServer:
    """Answers `GET /metrics` on a listening socket, in threads of its own, until it is closed."""

    def __init__(self, board: Board, access: Access, listener: socket) -> None:
        self._server = ThreadingHTTPServer(listener.getsockname()[:2], _handler(board, access), bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.socket.close()
        self._server.socket = listener
        self.port = int(listener.getsockname()[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(board: Board, access: Access) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            tokens = parse_qs(asked.query).get("token", [])
            tokens.append(self.headers.get("Authorization", "").removeprefix("Bearer "))
            if not access.allows(self.headers.get("Host", ""), self.headers.get("Origin", ""), tokens):
                self._answer(403 if access.token is None else 401, "not allowed\n")
            elif asked.path != "/metrics":
                self._answer(404, "there is /metrics only\n")
            else:
                self._answer(200, render(board), CONTENT_TYPE)

        def _answer(self, code: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
            body = text.encode()
            self.send_response(code)
            if code == 401:
                self.send_header("WWW-Authenticate", "Bearer")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A scrape every few seconds is no news."""

    return Handler
