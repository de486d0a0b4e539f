"""An MQTT 3.1.1 broker on this machine, as much of one as a publisher can tell: it keeps what it is sent."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.patience import PATIENCE_S

CONNECT, CONNACK, PUBLISH, PUBACK, PINGREQ, PINGRESP, DISCONNECT = 1, 2, 3, 4, 12, 13, 14


@dataclass
class Message:
    topic: str
    payload: str
    retained: bool
    quality: int


@dataclass
class Broker:
    """What it was sent, in order; wills that came true among it.

    Attributes:
        refuse: answer to CONNECT, 0 for welcome (5: not authorised).
        silent: take connections but never answer.
        hearing: while it is cleared, nobody is listened to.
    """

    refuse: int = 0
    silent: bool = False
    hearing: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    messages: list[Message] = field(default_factory=list)
    logins: list[tuple[str | None, str | None]] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    def of(self, topic: str) -> list[str]:
        """Payloads of a topic."""
        return [message.payload for message in self.messages if message.topic == topic]

    def cut(self) -> None:
        """Break all connections."""
        for connection in self.connections:
            with_no_more(connection)
        self.connections.clear()

    def serve(self, connection: socket.socket) -> None:
        stream, will = connection.makefile("rb"), None
        self.hearing.wait()
        try:
            while (head := stream.read(1)) and (body := read_body(stream)) is not None:
                kind, flags = head[0] >> 4, head[0] & 15
                if kind == CONNECT:
                    will = self.welcome(connection, body)
                elif kind == PUBLISH:
                    quality, rest = flags >> 1 & 3, body
                    topic, rest = text(rest)
                    if quality:
                        connection.sendall(bytes((PUBACK << 4, 2)) + rest[:2])
                        rest = rest[2:]
                    self.messages.append(Message(topic, rest.decode(), bool(flags & 1), quality))
                elif kind == PINGREQ:
                    connection.sendall(bytes((PINGRESP << 4, 0)))
                elif kind == DISCONNECT:
                    will = None
        except OSError:
            pass
        finally:
            if will is not None:
                self.messages.append(will)
            stream.close()
            connection.close()

    def welcome(self, connection: socket.socket, body: bytes) -> Message | None:
        protocol, rest = text(body)
        assert protocol == "MQTT" and rest[0] == 4
        flags, rest = rest[1], rest[4:]
        _, rest = text(rest)  # client id
        will = user = password = None
        if flags & 4:
            topic, rest = text(rest)
            payload, rest = text(rest)
            will = Message(topic, payload, bool(flags & 32), flags >> 3 & 3)
        if flags & 128:
            user, rest = text(rest)
        if flags & 64:
            password, rest = text(rest)
        self.logins.append((user, password))
        if not self.silent:
            connection.sendall(bytes((CONNACK << 4, 2, 0, self.refuse)))
        return None if self.refuse else will


def read_body(stream) -> bytes | None:
    size, shift = 0, 0
    while byte := stream.read(1):
        size |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            return stream.read(size)
    return None


def text(body: bytes) -> tuple[str, bytes]:
    (size,) = struct.unpack("!H", body[:2])
    return body[2 : 2 + size].decode(), body[2 + size :]


def with_no_more(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def broker(port: int = 0, **more) -> Iterator[Broker]:
    """Run a broker."""
    made = Broker(**more)
    made.hearing.set()
    with socket.create_server(("127.0.0.1", port)) as listener:
        made.port = listener.getsockname()[1]
        threads = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                made.connections.append(connection)
                threads.append(threading.Thread(target=made.serve, args=(connection,), daemon=True))
                threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield made
        finally:
            with_no_more(listener)
            listener.close()
            made.hearing.set()
            accepting.join(PATIENCE_S)
            made.cut()
            for thread in threads:
                thread.join(PATIENCE_S)
