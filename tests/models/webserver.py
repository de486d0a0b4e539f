"""A web server on this machine that misbehaves on request, for the downloads' tests."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """What it serves, and what was asked of it.

    Attributes:
        files: path -> body.
        port: of 127.0.0.1.
        asked: (path, Range or "") of every request, in order.
        cut: bytes of a body after which the connection ends; None for all.
        pause_s: sleep before each block of a body.
        etag: of every file; "" sends none.
        ranges: whether `Range` is understood.
        length: whether the length of a body is said before it.
    """

    files: dict[str, bytes]
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    cut: int | None = None
    pause_s: float = 0.0
    etag: str = '"first"'
    ranges: bool = True
    length: bool = True
    closing: threading.Event = field(default_factory=threading.Event)

    def at(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Web]:
    """Serve `files`; `/to?ADDRESS` redirects there, `/status?CODE` answers with it, `/page` is HTML."""
    web = Web(files)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            web.asked.append((self.path, wanted))
            path, _, query = self.path.partition("?")
            if path == "/to":
                self.answer(302, b"", Location=query)
            elif path == "/status":
                self.answer(int(query), b"oh no")
            elif path == "/page":
                self.answer(200, b"<!doctype html><p>Please log in", kind="text/html; charset=utf-8")
            elif path not in web.files:
                self.answer(404, b"no such file")
            else:
                self.file(web.files[path], wanted)

        def file(self, body: bytes, wanted: str) -> None:
            start = re.fullmatch(r"bytes=(\d+)-", wanted) if web.ranges else None
            condition = self.headers.get("If-Range")
            if start is None or (condition is not None and condition != web.etag):
                self.answer(200, body)
            elif int(start[1]) >= len(body):
                self.answer(416, b"")
            else:
                first = int(start[1])
                self.answer(206, body[first:], **{"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"})

        def answer(self, code: int, body: bytes, kind: str = "application/octet-stream", **more: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            if web.length:
                self.send_header("Content-Length", str(len(body)))
            if web.etag and code in (200, 206):
                self.send_header("ETag", web.etag)
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()
            sent = body if web.cut is None else body[: web.cut]
            for at in range(0, len(sent), 4096):
                if web.pause_s:
                    web.closing.wait(web.pause_s)
                try:
                    self.wfile.write(sent[at : at + 4096])
                    self.wfile.flush()
                except OSError:  # the client went away
                    return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        web.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
