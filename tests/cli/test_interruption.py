"""Signals ask a run to end; whoever does not listen is interrupted as before."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tracker.cli import interruption
from tracker.cli.interruption import Interruption


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C raises, as in an interactive shell; pytest's own handlers come back afterwards."""
    monkeypatch.setattr(interruption, "GRACE_S", 0.1)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_wish_first(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruption() as asked:
        assert not asked()
        signal.raise_signal(number)
        assert asked()
    assert asked.code == 128 + number and signal.getsignal(number) is before
    time.sleep(0.2)  # nothing comes afterwards


def test_the_second_signal_raises() -> None:
    with pytest.raises(KeyboardInterrupt), Interruption():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_a_run_that_waits_is_woken() -> None:
    with pytest.raises(KeyboardInterrupt), Interruption():
        signal.raise_signal(signal.SIGINT)
        time.sleep(20)


def test_a_wait_for_the_next_frame_ends() -> None:
    woken = threading.Event()
    with Interruption(woken.set) as asked:
        signal.raise_signal(signal.SIGTERM)
        assert woken.wait(5) and asked()


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption() as asked:
        signal.raise_signal(signal.SIGINT)
        assert not asked()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
