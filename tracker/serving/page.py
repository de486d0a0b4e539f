"""The page: live pictures, tracks, latencies and streams in a browser (Starlette and uvicorn, the extra `web`).

`/` is the page. Its WebSocket `/ws/NAME` sends text (what is known, and what the next picture shows), then the picture
as JPEG; the browser answers each picture with a message, and no more than two are ever on their way. Beside it there
are `/stream/NAME.mjpg` for programs and old browsers (`/stream.mjpg` is the first stream), `/streams` (JSON),
`/metrics` and `/healthz`, which says no more than that the process answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import asdict
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from tracker.serving import metrics
from tracker.serving.access import Access
from tracker.serving.board import Board, Channel
from tracker.serving.projector import Picture, Projection, Projector

_PAGE = Path(__file__).with_name("page.html")
_DOOR = Path(__file__).with_name("door.html")
_COOKIE = "trackstream"
_STATUS_S = 0.5  # how often a viewer is told about streams and latencies
_UNDERWAY = 2  # pictures that a viewer has not answered yet
_BOUNDARY = "frame"
_POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class PageServer:
    """Serves the board on a listening socket, in a thread of its own, until it is closed."""

    def __init__(self, board: Board, access: Access, listener: socket, projection: Projection | None = None) -> None:
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        self._app = _App(board, projection)
        middleware = [Middleware(_Gate, access=access, cookie=f"{_COOKIE}-{self.port}")]
        app = Starlette(routes=self._app.routes(), middleware=middleware)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", proxy_headers=False, server_header=False,
            ws_max_size=1 << 12, ws_per_message_deflate=False, timeout_graceful_shutdown=2,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections and stop listening."""
        self._app.closing = True
        self._server.should_exit = True
        self._thread.join(5)
        self._listener.close()


class _App:
    """The routes, and a projector for each channel that somebody watches."""

    def __init__(self, board: Board, projection: Projection | None) -> None:
        self._board = board
        self._projection = projection
        self._projectors: dict[Channel, Projector] = {}
        self._start = monotonic()
        self.closing = False

    def routes(self) -> list[Route | WebSocketRoute]:
        return [
            Route("/", self._page),
            Route("/streams", self._streams),
            Route("/metrics", self._metrics),
            Route("/healthz", self._health),
            Route("/stream.mjpg", self._mjpeg),
            Route("/stream/{name}.mjpg", self._mjpeg),
            WebSocketRoute("/ws/{name}", self._watch),
        ]

    async def _page(self, _request: Request) -> Response:
        return HTMLResponse(_PAGE.read_text("utf-8"), headers=_HEADERS)

    async def _streams(self, _request: Request) -> Response:
        return JSONResponse(self._status(None))

    async def _metrics(self, _request: Request) -> Response:
        return Response(metrics.render(self._board), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _health(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _mjpeg(self, request: Request) -> Response:
        channel = self._find(request.path_params.get("name"))
        if channel is None:
            return PlainTextResponse("no such stream\n", 404)
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        return StreamingResponse(self._parts(channel), headers={"Content-Type": kind, "Cache-Control": "no-store"})

    async def _parts(self, channel: Channel) -> AsyncIterator[bytes]:
        """Pictures as parts; the boundary goes with the part before it, so that a browser shows that one at once."""
        yield f"--{_BOUNDARY}\r\n".encode()
        with self._projector(channel) as projector:
            number = 0
            while not self.closing:
                picture = await projector.newer(number, _STATUS_S)
                if picture is not None:
                    number = picture.number
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n"
                    yield head.encode() + picture.jpeg + f"\r\n--{_BOUNDARY}\r\n".encode()

    async def _watch(self, websocket: WebSocket) -> None:
        channel = self._find(websocket.path_params["name"])
        await websocket.accept()
        if channel is None:
            await websocket.close(4404, "no such stream")
            return
        viewer = _Viewer(websocket)
        listening = asyncio.create_task(viewer.listen())
        sending = asyncio.create_task(self._send(viewer, channel))
        try:
            await asyncio.wait((listening, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (listening, sending):
                task.cancel()
            await asyncio.gather(listening, sending, return_exceptions=True)
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it may be closed already
            await websocket.close(1001)

    async def _send(self, viewer: _Viewer, channel: Channel) -> None:
        """Send pictures as fast as the viewer takes them, and twice a second what is known."""
        number, told = 0, -_STATUS_S
        with self._projector(channel) as projector:
            while not self.closing:
                picture: Picture | None = None
                if await viewer.is_ready(_STATUS_S):
                    picture = await projector.newer(number, _STATUS_S)
                facts: dict[str, Any] = {}
                if monotonic() - told >= _STATUS_S:
                    told, facts["status"] = monotonic(), self._status(channel)
                if picture is not None:
                    number, facts["picture"] = picture.number, picture.facts
                if facts:
                    await viewer.send(facts, picture)

    def _find(self, name: str | None) -> Channel | None:
        channels = self._board.channels
        if name in (None, "-"):
            return channels[0] if channels else None
        return self._board.find(name or "")

    @contextlib.contextmanager
    def _projector(self, channel: Channel) -> Any:
        """The channel's projector, for one viewer; forgotten with its last one."""
        projector = self._projectors.get(channel)
        if projector is None:
            projector = Projector(channel, asyncio.get_running_loop(), self._projection)
            self._projectors[channel] = projector
        projector.enter()
        try:
            yield projector
        finally:
            projector.leave()
            if not channel.viewers:
                self._projectors.pop(channel, None)

    def _status(self, shown: Channel | None) -> dict[str, Any]:
        """What is known of all streams, and of the stages of the one that is shown."""
        streams = []
        for channel in self._board.channels:
            newest = channel.newest
            alive, confirmed = (0, 0) if newest is None else (len(newest.tracks), len(newest.tracks.confirmed))
            streams.append({
                "name": channel.name, "title": channel.info.source, "condition": channel.condition,
                "fps": round(channel.fps, 1), "frames": channel.frames, "dropped": channel.dropped,
                "late": channel.late, "shed": channel.shed, "confirmed": confirmed, "alive": alive,
                "idle_s": round(channel.idle_s, 1), "viewers": channel.viewers,
            })  # fmt: skip
        status: dict[str, Any] = {"uptime_s": round(monotonic() - self._start, 1), "streams": streams}
        if shown is not None:
            info = shown.info
            status["stream"] = {"name": shown.name, "model": info.model, "system": info.system}
            status["stages"] = [
                {"name": name, **{key: round(value, 3) for key, value in asdict(figures).items()}}
                for name, figures in shown.clock.recent().items()
            ]
        return status


class _Viewer:
    """A browser at the other end of a WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._underway = 0
        self._answered = asyncio.Event()

    async def listen(self) -> None:
        """Count the answers; ends with the connection."""
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await self._websocket.receive_text()
                self._underway = max(self._underway - 1, 0)
                self._answered.set()

    async def is_ready(self, timeout_s: float) -> bool:
        """Whether another picture may be sent; waits for it."""
        if self._underway >= _UNDERWAY:
            self._answered.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._answered.wait(), timeout_s)
        return self._underway < _UNDERWAY

    async def send(self, facts: dict[str, Any], picture: Picture | None) -> None:
        """Facts, and the picture that they announce."""
        await self._websocket.send_text(json.dumps(facts, separators=(",", ":")))
        if picture is not None:
            self._underway += 1
            await self._websocket.send_bytes(picture.jpeg)


class _Gate:
    """Lets nobody through to the routes who may not look."""

    def __init__(self, app: ASGIApp, access: Access, cookie: str) -> None:
        self._app = app
        self._access = access
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        typed = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
        tokens = [*typed, headers.get("authorization", "").removeprefix("Bearer "), self._kept(headers)]
        if scope["path"] == "/healthz" or self._access.allows(
            headers.get("host", ""), headers.get("origin", ""), tokens
        ):
            await self._app(scope, receive, self._keeping(scope, typed, send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401, "reason": "not allowed"})
        elif self._access.token is None:
            text = "not allowed: this page answers to the names of this machine only; start it with a token\n"
            await PlainTextResponse(text, 403)(scope, receive, send)
        else:
            door = HTMLResponse(_DOOR.read_text("utf-8"), 401, {**_HEADERS, "WWW-Authenticate": "Bearer"})
            await door(scope, receive, send)

    def _kept(self, headers: Headers) -> str:
        """The token that the browser kept."""
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return "" if cookie is None else cookie.value

    def _keeping(self, scope: Scope, typed: list[str], send: Send) -> Send:
        """Let the browser keep a token that came with the address of the page: sockets and pictures need it too."""
        token = next((text for text in typed if self._access.knows(text)), None)
        if token is None or scope["type"] != "http" or scope["path"] != "/":
            return send
        jar = SimpleCookie({self._cookie: token})
        for name, value in (("httponly", True), ("samesite", "Strict"), ("path", "/")):
            jar[self._cookie][name] = value

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = jar[self._cookie].OutputString().encode("latin-1")
                message["headers"] = [*message["headers"], (b"set-cookie", value)]
            await send(message)

        return send_with_cookie
