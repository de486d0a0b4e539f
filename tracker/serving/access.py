"""Where the servers listen, and who may look: everybody on this machine, elsewhere whoever has the token."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass

from tracker.errors import ConfigError, SinkError, why

_LEAST_TOKEN = 8
_PORT = re.compile(r":\d*$")
_SEND_BUFFER = 1 << 18  # bytes on their way to a slow viewer: a few pictures, no more


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port to listen on."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """`:8000` and `8000` are this machine only, `0.0.0.0:8000` everybody; IPv6 hosts stand in brackets.

        Raises:
            ConfigError: something else.
        """
        host, _, port = text.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) < 1 << 16) or (":" in host and host[:1] != "["):
            raise ConfigError(f"expected an address such as :8000 or 0.0.0.0:8000, got {text!r}")
        return cls(host.strip("[]") or "127.0.0.1", int(port))

    @property
    def is_loopback(self) -> bool:
        """Only programs on this machine can reach it."""
        return _is_loopback(self.host)

    def listen(self) -> socket.socket:
        """A listening socket; port 0 becomes a free one.

        Raises:
            SinkError: the port is taken, or the host is not this machine's.
        """
        try:
            family, _, _, _, place = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family)
        except OSError as error:
            raise SinkError(f"cannot listen on {self}: {why(error)}") from None
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            listener.bind(place)
            listener.listen()
        except OSError as error:
            listener.close()
            raise SinkError(f"cannot listen on {self}: {why(error)}") from None
        return listener

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may look.

    Attributes:
        token: what a viewer must show, as `?token=`, `Authorization: Bearer` or cookie; None lets every program on
            this machine in. A page of another site that a browser has open is refused in both cases.
    """

    token: str | None

    @classmethod
    def to(cls, addresses: list[Address], token: str | None) -> Access:
        """The rule for servers on these addresses: beyond this machine a token is needed, by default a random one.

        Raises:
            ConfigError: a token that can be guessed.
        """
        if token is not None and len(token) < _LEAST_TOKEN:
            raise ConfigError(f"expected a token of at least {_LEAST_TOKEN} characters, got {len(token)}")
        if token is None and not all(address.is_loopback for address in addresses):
            token = secrets.token_urlsafe(24)
        return cls(token)

    def knows(self, offered: str) -> bool:
        """Whether this is the token; takes equally long for all that are not."""
        return self.token is not None and hmac.compare_digest(offered.encode(errors="replace"), self.token.encode())

    def allows(self, host: str, origin: str, tokens: list[str]) -> bool:
        """Whether a request may be answered.

        Args:
            host: the `Host` header. Without a token it must name this machine: a name that somebody else pointed at
                127.0.0.1 (DNS rebinding) does not.
            origin: the `Origin` header, empty where there is none; must be the host itself.
            tokens: those offered.
        """
        if origin and origin.partition("://")[2].lower() != host.lower():
            return False
        if self.token is None:
            return _is_loopback(_PORT.sub("", host).strip("[]"))
        return any([self.knows(offered) for offered in tokens])


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
