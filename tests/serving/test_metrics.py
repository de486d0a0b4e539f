"""Prometheus metrics: the text is read by the official parser, and scraped from the server."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from tests.patience import PATIENCE_S
from tests.sinks.scenes import CROWD, frame, tracks
from tracker.serving import Access, Address, Board
from tracker.serving.metrics import CONTENT_TYPE, MetricsServer, render
from tracker.sinks import RunInfo

SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*)\} (\S+)')


def board():
    """A stream with three frames, and one that sends nothing."""
    made = Board()
    channel = made.add(RunInfo('a "b"\\c', system="bytetrack"), SimpleNamespace(dropped=7), "a")
    for k in range(3):
        channel.write(frame(k), tracks(CROWD))
        channel.clock.add("session", 20_000_000 + k)
        channel.clock.add("end_to_end", 30_000_000)
    channel.deadline = SimpleNamespace(late=2, shed={"flow": 5})
    made.add(RunInfo("dead"), name="b")
    return made


def samples(text):
    """(name, labels) -> value."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            pairs = re.findall(r'([a-z]+)="((?:[^"\\]|\\.)*)"', labels)
            assert (name, tuple(pairs)) not in found
            found[name, tuple(pairs)] = float(value)
    return found


def test_every_metric():
    found = samples(render(board()))
    value = {(name.removeprefix("trackstream_"), *(v for _, v in labels)): v for (name, labels), v in found.items()}
    assert value["frames_total", "a"] == 3 and value["frames_total", "b"] == 0
    assert value["dropped_frames_total", "a"] == 7 and value["late_frames_total", "a"] == 2
    assert value["reconnects_total", "a"] == 0
    assert value["shed_total", "a", "flow"] == 5
    assert value["stream_up", "a"] == 1 and value["stream_up", "b"] == 0
    assert value["stream_info", "a", 'a \\"b\\"\\\\c', "bytetrack"] == 1
    assert [value["tracks", "a", state] for state in ("confirmed", "tentative", "coasting")] == [3, 1, 1]
    assert value["tracks", "b", "confirmed"] == 0
    assert value["stage_seconds", "a", "session", "0.5"] == pytest.approx(0.020000001, abs=1e-12)
    assert value["stage_seconds", "a", "end_to_end", "0.99"] == 0.03
    assert value["stage_seconds_sum", "a", "session"] == pytest.approx(0.060000003)
    assert value["stage_seconds_count", "a", "session"] == 3
    assert value["stage_max_seconds", "a", "session"] == pytest.approx(0.020000002, abs=1e-12)
    assert not any(key[:3] == ("stage_seconds", "b", "session") for key in value)


def test_prometheus_own_parser_reads_it():
    parser = pytest.importorskip("prometheus_client.parser")
    families = {family.name: family for family in parser.text_string_to_metric_families(render(board()))}
    assert families["trackstream_frames"].type == "counter"
    assert families["trackstream_stage_seconds"].type == "summary"
    info = families["trackstream_stream_info"].samples[0]
    assert info.labels == {"stream": "a", "source": 'a "b"\\c', "system": "bytetrack"}
    ours = samples(render(board()))
    assert sum(len(family.samples) for family in families.values()) == len(ours)
    assert all(family.documentation.endswith(".") for family in families.values())


def test_a_board_without_streams_is_valid_too():
    assert list(samples(render(Board()))) == [("trackstream_info", (("version", __import__("tracker").__version__),))]


def get(port, path="/metrics", **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_scrape():
    made = board()
    server = MetricsServer(made, Access(None), Address("127.0.0.1", 0).listen())
    try:
        code, kind, text = get(server.port)
        assert (code, kind) == (200, CONTENT_TYPE) and samples(text).keys() == samples(render(made)).keys()
        made.channels[0].write(frame(4), tracks(CROWD))
        assert 'trackstream_frames_total{stream="a"} 4\n' in get(server.port)[2]
        assert get(server.port, "/")[0] == 404
        assert get(server.port, Host="evil.example")[0] == 403
        assert get(server.port, Origin="https://evil.example")[0] == 403
    finally:
        server.close()
    with pytest.raises(OSError):
        get(server.port)


def test_scrape_with_a_token():
    server = MetricsServer(board(), Access("correct horse"), Address("127.0.0.1", 0).listen())
    try:
        assert get(server.port)[0] == 401
        assert get(server.port, Authorization="Bearer wrong horse")[0] == 401
        assert get(server.port, Authorization="Bearer correct horse")[0] == 200
        assert get(server.port, "/metrics?token=correct+horse")[0] == 200
    finally:
        server.close()
