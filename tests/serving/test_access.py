"""Who may look."""

from __future__ import annotations

import hmac
import socket

import pytest

from tracker.errors import ConfigError, SinkError
from tracker.serving import Access, Address

HERE, EVERYWHERE = Address("127.0.0.1", 8000), Address("0.0.0.0", 8000)


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        (":8000", "127.0.0.1", 8000, True),
        ("8000", "127.0.0.1", 8000, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:80", "::1", 80, True),
        ("[::]:80", "::", 80, False),
        ("0.0.0.0:8000", "0.0.0.0", 8000, False),
        ("robot.local:9", "robot.local", 9, False),
        ("127.0.0.1.evil.example:9", "127.0.0.1.evil.example", 9, False),
    ],
)
def test_addresses(text, host, port, loopback):
    address = Address.parse(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("text", ["", ":", "host", "host:", ":65536", ":-1", ":٣", "::1", "a:b:1"])
def test_what_is_no_address(text):
    with pytest.raises(ConfigError, match="expected an address"):
        Address.parse(text)


def test_a_taken_port_is_one_line():
    with Address("127.0.0.1", 0).listen() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SinkError, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
            Address("127.0.0.1", port).listen()
    with pytest.raises(SinkError, match=r"cannot listen on 192\.0\.2\.1:0"):
        Address("192.0.2.1", 0).listen()


def test_beyond_this_machine_there_is_always_a_token():
    assert Access.to([HERE], None).token is None
    random = [Access.to([HERE, EVERYWHERE], None).token for _ in range(2)]
    assert random[0] != random[1] and len(random[0]) >= 32
    assert Access.to([EVERYWHERE], "long enough").token == "long enough"
    with pytest.raises(ConfigError, match="at least 8 characters, got 5"):
        Access.to([HERE], "short")


def test_without_a_token_only_this_machine_under_its_own_names():
    access = Access(None)
    for host in ("localhost:8000", "127.0.0.1:8000", "LOCALHOST", "[::1]:8000", "127.1.2.3"):
        assert access.allows(host, "", [])
        assert access.allows(host, f"http://{host}", ["whatever"])
    for host in ("evil.example:8000", "192.168.0.7:8000", "", "127.0.0.1.evil.example", "[::"):
        assert not access.allows(host, "", [])
    assert not access.allows("localhost:8000", "https://evil.example", [])
    assert not access.allows("localhost:8000", "http://localhost:9000", [])
    assert not access.allows("localhost:8000", "null", [])


def test_with_a_token_any_name_but_no_other_page():
    access = Access("correct horse")
    assert access.allows("robot:8000", "", ["", "correct horse"])
    assert access.allows("robot:8000", "http://robot:8000", ["correct horse"])
    for tokens in ([], [""], ["correct hors"], ["correct horse "], ["CORRECT HORSE"], ["ü"]):
        assert not access.allows("localhost:8000", "", tokens)
    assert not access.allows("robot:8000", "https://evil.example", ["correct horse"])


def test_tokens_are_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    assert Access("correct horse").allows("h", "", ["a", "correct horse", "b"])
    assert len(compared) == 3  # the first that fits does not end it


def test_a_slow_viewer_has_little_under_way():
    with Address("127.0.0.1", 0).listen() as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 1 << 20
