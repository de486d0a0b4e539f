"""Signals ask a run to end; whoever does not listen is interrupted as before."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.patience import PATIENCE_S
from tracker.cli import interruption
from tracker.cli.interruption import Interruption


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C raises, as in an interactive shell; pytest's own handlers come back afterwards."""
    monkeypatch.setattr(interruption, "GRACE_S", PATIENCE_S)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_wish_first(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr(interruption._thread, "start_new_thread", lambda *_: None)
    with Interruption() as asked:
        assert not asked()
        signal.raise_signal(number)
        assert asked()
    assert asked.code == 128 + number and signal.getsignal(number) is before
    monkeypatch.setattr(interruption, "GRACE_S", 0)
    asked._insist(number)  # what its thread would do when the grace is over


def test_the_second_signal_raises() -> None:
    with pytest.raises(KeyboardInterrupt), Interruption():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_a_run_that_waits_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "GRACE_S", 0.1)
    with pytest.raises(KeyboardInterrupt), Interruption():
        signal.raise_signal(signal.SIGINT)
        time.sleep(PATIENCE_S)


def test_a_wait_for_the_next_frame_ends() -> None:
    woken = threading.Event()
    with Interruption(woken.set) as asked:
        signal.raise_signal(signal.SIGTERM)
        assert woken.wait(PATIENCE_S) and asked()


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption() as asked:
        signal.raise_signal(signal.SIGINT)
        assert not asked()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


STARTING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.{handler})
from tracker.cli import main
if {{"argparse", "numpy", "numba"}} & sys.modules.keys():
    sys.exit("too late")
class Trap:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)
            sys.stderr.write("went on")
            os._exit(7)
sys.meta_path.insert(0, Trap())
sys.exit(main(["systems"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself Ctrl-C alone")
@pytest.mark.parametrize(
    ("module", "handler", "code", "told"),
    [
        ("argparse", "default_int_handler", 130, "tracker: interrupted\n"),
        ("tracker.cli.run", "default_int_handler", 130, "tracker: interrupted\n"),
        ("numpy", "default_int_handler", 130, "tracker systems: interrupted\n"),
        ("argparse", "SIG_IGN", 7, "went on"),
    ],
)
def test_a_command_that_is_still_loading_ends_without_a_traceback(
    module: str, handler: str, code: int, told: str
) -> None:
    script = STARTING.format(module=module, handler=handler)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (code, told, "")
