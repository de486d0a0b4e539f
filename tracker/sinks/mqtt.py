"""MQTT: the events of every track, as they happen, and a status that turns to `offline` when the process dies.

Under the topic of the address there are

- `status`: `online` or `offline`, retained; the broker itself says `offline` (last will) when the connection breaks,
- `info`: the header of `events.jsonl` as JSON, retained,
- `events`: one JSON object per event, the lines of `events.jsonl`.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tracker.association.events import EventLog
from tracker.association.plan import Plan
from tracker.errors import ConfigError, SinkError, why
from tracker.sinks.events import SCHEMA, facts_of
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.sinks.textfile import as_line
from tracker.types import Frame, Tracks

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_WAIT_S = 5.0
_MOST_WAITING = 1000  # events that wait for a broker that is away; later ones are dropped
_SLOWEST_RETRY_S = 30
_AT_LEAST_ONCE = 1


@dataclass(frozen=True, slots=True)
class Broker:
    """Where events go: `mqtt://[user:password@]host[:port][/topic]`, or `mqtts://` with TLS."""

    host: str
    port: int
    topic: str
    secure: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, address: str) -> Broker:
        """The broker of an address; the topic is `trackstream` where none is given.

        Raises:
            ConfigError: something else.
        """
        parts = urlsplit(address)
        topic = unquote(parts.path.strip("/")) or "trackstream"
        try:
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            port = 0
        if not port or not parts.hostname or any(sign in address for sign in "#?") or any(s in topic for s in "+#\0"):
            shown = address.rpartition("@")[2]
            raise ConfigError(f"expected mqtt://[user:password@]host[:port]/topic without wildcards, got {shown!r}")
        user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
        return cls(parts.hostname, port, topic, parts.scheme == "mqtts", user, password)

    def __str__(self) -> str:
        return f"mqtt{'s' * self.secure}://{self.host}:{self.port}/{self.topic}"


class MqttSink(Sink):
    """Publishes the events of one stream from a thread of its own: a slow or absent broker never holds up the run.

    A lost connection is made anew with growing pauses. Up to 1000 events wait for it, those beyond are counted in
    `dropped`; delivery is at least once.
    """

    by_default = False

    def __init__(self, path: str | os.PathLike[str], info: RunInfo, *, plan: Plan | None = None) -> None:
        """Connect.

        Args:
            path: the broker's address, as `Broker.parse` takes it.
            info: goes into `info`, and gives classes their names.
            plan: of the tracker, for the reasons of ends, as in `EventsSink`.

        Raises:
            ConfigError: not such an address, or paho-mqtt is not installed.
            SinkError: no broker there, or it refuses.
        """
        self._broker = Broker.parse(os.fspath(path))
        self._info = info
        self._log = EventLog(plan)
        self._answered = threading.Event()
        self._refusal: str | None = None
        self.dropped = 0
        self._client: Client | None = self._connect()

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Publish the frame's events."""
        if self._client is None:
            raise SinkError(f"cannot publish to {self._broker}: it is closed")
        self._publish(self._log.observe(tracks, frame.index))

    def close(self) -> None:
        """Publish an `open` for every living track and `offline`, wait some seconds for both to arrive, disconnect."""
        if self._client is None:
            return
        self._publish(self._log.close())
        client, self._client = self._client, None
        last = client.publish(f"{self._broker.topic}/status", "offline", _AT_LEAST_ONCE, retain=True)
        if client.is_connected():
            last.wait_for_publish(_WAIT_S)
        client.disconnect()
        client.loop_stop()

    def _publish(self, events: list[Any]) -> None:
        from paho.mqtt.client import MQTT_ERR_QUEUE_SIZE

        assert self._client is not None
        for event in events:
            text = as_line(facts_of(event, self._info)).rstrip("\n")
            sent = self._client.publish(f"{self._broker.topic}/events", text, _AT_LEAST_ONCE)
            self.dropped += sent.rc == MQTT_ERR_QUEUE_SIZE

    def _connect(self) -> Client:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise ConfigError("MQTT needs paho-mqtt: pip install 'trackstream[mqtt]'") from None
        broker = self._broker
        client = Client(CallbackAPIVersion.VERSION2)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.secure:
            client.tls_set()
        client.will_set(f"{broker.topic}/status", "offline", _AT_LEAST_ONCE, retain=True)
        client.max_queued_messages_set(_MOST_WAITING)
        client.reconnect_delay_set(1, _SLOWEST_RETRY_S)
        client.on_connect = self._greet
        try:
            client.connect(broker.host, broker.port)
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot connect to {broker}: {why(error)}") from None
        client.loop_start()
        if not self._answered.wait(_WAIT_S):
            self._refusal = "no answer"
        if self._refusal is not None:
            client.disconnect()
            client.loop_stop()
            raise SinkError(f"cannot connect to {broker}: {self._refusal.lower()}")
        return client

    def _greet(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        """Called by paho's thread after every attempt that reached the broker."""
        if reason.is_failure:
            self._refusal = self._refusal if self._answered.is_set() else str(reason)
        else:
            header = as_line({"schema": SCHEMA, **self._info.header()}).rstrip("\n")
            client.publish(f"{self._broker.topic}/info", header, _AT_LEAST_ONCE, retain=True)
            client.publish(f"{self._broker.topic}/status", "online", _AT_LEAST_ONCE, retain=True)
        self._answered.set()
