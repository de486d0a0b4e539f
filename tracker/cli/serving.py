"""What a run shows while it goes on, as flags: a page, metrics, MQTT events."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from tracker.cli.config import option
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.association import Plan
    from tracker.pipeline import Sink
    from tracker.serving import Address, Channel
    from tracker.serving.board import Droppable
    from tracker.sinks import RunInfo


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Flags about who may watch."""

    serve: str | None = option(
        None,
        "show the run in a browser: :8000 for this machine, 0.0.0.0:8000 for all (needs a token)",
        metavar="ADDRESS",
    )
    metrics: str | None = option(None, "Prometheus metrics: http://ADDRESS/metrics; as --serve", metavar="ADDRESS")
    token: str | None = option(
        None, "what viewers must show (default: none on this machine, else a random one, printed)", metavar="TEXT"
    )
    mqtt: str | None = option(
        None, "publish track events: mqtt://[user:password@]host[:port]/topic, or mqtts://", metavar="ADDRESS"
    )


class Services:
    """Everything that looks at a run from outside. Each stream joins once and gets the sinks to feed.

    Args:
        config: what is wanted.
        several: there may be more than one stream; each then has an MQTT topic of its own.

    Raises:
        ConfigError: an address that makes no sense, or a package that is not installed.
        SinkError: a port that is taken.
    """

    def __init__(self, config: ServingConfig, *, several: bool = False) -> None:
        from tracker.serving import Access, Address, Board

        self.board = Board()
        self._config = config
        self._several = several
        self._stack = contextlib.ExitStack()
        wanted = [Address.parse(text) for text in (config.serve, config.metrics) if text is not None]
        self._access = Access.to(wanted, config.token)
        try:
            if config.serve is not None:
                self._serve(Address.parse(config.serve))
            if config.metrics is not None:
                self._measure(Address.parse(config.metrics))
        except BaseException:
            self.close()
            raise

    def join(self, info: RunInfo, source: Droppable, plan: Plan | None = None) -> tuple[Channel, list[Sink]]:
        """A stream's channel, whose clock the run should use, and its sinks (the channel among them).

        Raises:
            ConfigError: an MQTT address that makes no sense, or paho-mqtt is not installed.
            SinkError: the broker does not answer.
        """
        channel = self.board.add(info, source, info.stream or None)
        sinks: list[Sink] = [channel]
        if self._config.mqtt is not None:
            from tracker.sinks.mqtt import MqttSink

            address = self._config.mqtt.rstrip("/") + (f"/{channel.name}" if self._several else "")
            sink = MqttSink(address, info, plan=plan)
            self._stack.callback(sink.close)  # where the run does not come to close it
            sinks.append(sink)
        return channel, sinks

    def close(self) -> None:
        """Stop serving."""
        self._stack.close()

    def __enter__(self) -> Services:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self, address: Address) -> None:
        try:
            from tracker.serving.page import PageServer
        except ImportError as error:
            name = str(error.name).partition(".")[0]
            raise ConfigError(f"--serve needs {name}: pip install 'trackstream[web]'") from None
        server = PageServer(self.board, self._access, address.listen())
        self._stack.callback(server.close)
        self._say("watch at", address, server.port, "/")

    def _measure(self, address: Address) -> None:
        from tracker.serving.metrics import MetricsServer

        server = MetricsServer(self.board, self._access, address.listen())
        self._stack.callback(server.close)
        self._say("metrics at", address, server.port, "/metrics")

    def _say(self, what: str, address: Address, port: int, path: str) -> None:
        """Print the link; with the token only if that is ours and nobody knows it yet."""
        host = socket.gethostname() if address.host in ("0.0.0.0", "::") else address.host
        ours = self._access.token is not None and self._config.token is None
        token = f"?token={self._access.token}" if ours else ""
        shown = dataclasses.replace(address, host=host, port=port)
        print(f"{what} http://{shown}{path}{token}", file=sys.stderr)
