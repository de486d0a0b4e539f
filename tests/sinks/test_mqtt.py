"""MQTT events: what a broker gets, also when it or the process goes away."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.patience import PATIENCE_S, until
from tests.sinks.broker import broker
from tests.sinks.scenes import CONFIRMED, HEIGHT, NAMES, TENTATIVE, WIDTH, frame, tracks
from tracker.errors import ConfigError, SinkError
from tracker.sinks import EventsSink, RunInfo
from tracker.sinks.mqtt import Broker, MqttSink
from tracker.types import Tracks

paho = pytest.importorskip("paho.mqtt.client")

INFO = RunInfo("street.mp4", 25.0, (WIDTH, HEIGHT), NAMES, "net.onnx", "bytetrack")


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr("tracker.sinks.mqtt._WAIT_S", PATIENCE_S)


@pytest.fixture
def no_wait(monkeypatch):
    """Nothing waits for the broker inside `with`."""

    @contextmanager
    def forbidden():
        with monkeypatch.context() as inside:
            inside.setattr(paho.MQTTMessageInfo, "wait_for_publish", lambda *_: pytest.fail("it waits for the broker"))
            yield

    return forbidden


def snapshots():
    """Two lives: one that ends, one that goes on."""
    yield tracks([(1, TENTATIVE, (2, 3, 12, 33), 0.9, 1)])
    yield tracks([(1, CONFIRMED, (3, 3, 13, 33), 0.9, 1)], time_s=0.04)
    yield Tracks.empty(0.08)
    yield tracks([(2, CONFIRMED, (3, 3, 13, 33), 0.9, 0)], time_s=0.12)


@pytest.mark.parametrize(
    ("address", "host", "port", "topic", "secure", "user", "password"),
    [
        ("mqtt://host", "host", 1883, "trackstream", False, None, None),
        ("mqtts://host/", "host", 8883, "trackstream", True, None, None),
        ("mqtt://u:p%40ss@host:99/site/door%201", "host", 99, "site/door 1", False, "u", "p@ss"),
        ("mqtt://[::1]:7/a/", "::1", 7, "a", False, None, None),
    ],
)
def test_addresses(address, host, port, topic, secure, user, password):
    found = Broker.parse(address)
    assert (found.host, found.port, found.topic, found.secure) == (host, port, topic, secure)
    assert (found.user, found.password) == (user, password)
    assert "p@ss" not in f"{found} {found!r}"


@pytest.mark.parametrize(
    "address",
    ["", "host", "http://host/x", "mqtt://", "mqtt://h/a/+/b", "mqtt://h/%23", "mqtt://h:0x/y", "mqtt://h/a?b"],
)
def test_what_is_no_address(address):
    with pytest.raises(ConfigError, match="expected mqtt://"):
        Broker.parse(address)


def test_a_password_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        Broker.parse("mqtt://me:secret@host/#")
    assert "secret" not in str(caught.value)
    with pytest.raises(SinkError) as refused:
        MqttSink("mqtt://me:secret@127.0.0.1:1/x", INFO)
    assert str(refused.value) == "cannot connect to mqtt://127.0.0.1:1/x: connection refused"


def test_events_are_those_of_the_file(tmp_path):
    with (
        broker() as place,
        MqttSink(f"mqtt://me:secret@127.0.0.1:{place.port}/site/door", INFO) as sink,
        EventsSink(tmp_path / "events", INFO) as file,
    ):
        for k, snapshot in enumerate(snapshots()):
            sink.write(frame(k), snapshot)
            file.write(frame(k), snapshot)
        until(lambda: len(place.of("site/door/events")) == 5)
        assert place.of("site/door/status") == ["online"]
        sink.close()
        sink.close()
        file.close()
        header, *events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
        until(lambda: place.of("site/door/status") == ["online", "offline"])
        assert [json.loads(text) for text in place.of("site/door/info")] == [header]
        assert [json.loads(text) for text in place.of("site/door/events")] == events
        assert events[-1]["event"] == "open" and place.messages[-1].topic == "site/door/status"
        assert place.logins == [("me", "secret")]
        for message in place.messages:
            assert message.quality == 1 and message.retained == (not message.topic.endswith("events"))
        with pytest.raises(SinkError, match="closed"):
            sink.write(frame(), Tracks.empty())


def test_a_process_that_is_killed_goes_offline():
    code = (
        "import sys; from tracker.sinks import RunInfo, mqtt\n"
        f"mqtt._WAIT_S = {PATIENCE_S}; mqtt.MqttSink(sys.argv[1], RunInfo('a'))\n"
        "print('up', flush=True); sys.stdin.read()"
    )
    with broker() as place:
        command = [sys.executable, "-c", code, f"mqtt://127.0.0.1:{place.port}/x"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.read(3) == b"up\n"
            until(lambda: place.of("x/status") == ["online"])
            process.kill()
        until(lambda: place.of("x/status") == ["online", "offline"])
        assert place.messages[-1].retained


def test_a_connection_that_breaks_is_made_again_and_nothing_is_lost(no_wait):
    snapshot = list(snapshots())
    with broker() as place, MqttSink(f"mqtt://127.0.0.1:{place.port}/x", INFO) as sink:
        sink.write(frame(0), snapshot[0])
        until(lambda: len(place.of("x/events")) == 1)
        place.hearing.clear()
        place.cut()
        until(lambda: place.of("x/status") == ["online", "offline"])
        with no_wait():
            for k in (1, 2, 3):
                sink.write(frame(k), snapshot[k])
        assert len(place.of("x/events")) == 1
        place.hearing.set()
        until(lambda: place.of("x/status") == ["online", "offline", "online"])
        until(lambda: len(place.of("x/events")) >= 5)
        kinds = [json.loads(text)["event"] for text in place.of("x/events")]
        assert sorted(kinds) == ["born", "born", "confirmed", "confirmed", "ended"] and sink.dropped == 0


def test_what_waits_for_an_absent_broker_is_bounded(monkeypatch, no_wait):
    monkeypatch.setattr("tracker.sinks.mqtt._MOST_WAITING", 25)
    with broker() as place:
        sink = MqttSink(f"mqtt://127.0.0.1:{place.port}/x", INFO)
    until(lambda: not sink._client.is_connected())
    with no_wait():
        for k in range(100):
            sink.write(frame(k), tracks([(k + 1, CONFIRMED, (3, 3, 13, 33), 0.9, 0)]))  # born, confirmed; ended
        sink.close()
    assert sink.dropped > 200


@pytest.mark.parametrize(("more", "reason"), [({"refuse": 5}, "not authorized"), ({"silent": True}, "no answer")])
def test_a_broker_that_refuses_is_one_line(more, reason, monkeypatch):
    if "silent" in more:
        monkeypatch.setattr("tracker.sinks.mqtt._WAIT_S", 0.2)
    with broker(**more) as place, pytest.raises(SinkError, match=f"cannot connect to mqtt://.*: {reason}$"):
        MqttSink(f"mqtt://127.0.0.1:{place.port}/x", INFO)


def test_without_paho_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(ConfigError, match=r"pip install 'trackstream\[mqtt\]'"):
        MqttSink("mqtt://host/x", INFO)
