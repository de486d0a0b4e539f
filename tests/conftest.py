"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.patience import until

ROOT = Path(__file__).resolve().parent.parent

# An example may compile a kernel or be stopped by a busy machine; all examples of a test share its `tmp_path`.
_FINE = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture]
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=_FINE, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Recorded figures, each with the command that made it."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real videos, models and reference results; only on the project's own machines."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the project's shared data folder beside the repository")
    return folder


@pytest.fixture
def sigint_reaches_children() -> Iterator[None]:
    """A shell's background job ignores SIGINT, and its children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def compiled() -> None:
    """The kernels of a plain tracker are there: nobody waits for a first frame meanwhile."""
    from tracker.systems import create

    create("bytetrack").warmup()


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    """Whatever a test starts has ended with it."""
    before = set(threading.enumerate())
    yield
    until(lambda: not set(threading.enumerate()) - before)
