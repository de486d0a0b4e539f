"""Ctrl-C and SIGTERM as a wish: the run ends after the frames that are on their way, with every output whole.

An exception raised by a signal handler appears between any two bytecodes of the main thread: with a lock just taken,
which then stays taken, or inside a callback of the garbage collector, which swallows it. A run therefore asks this
object between frames.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

GRACE_S = 3.0
"""How long a run may take to notice; then the signal comes again and raises, whatever the main thread waits for."""


class Interruption:
    """Catches the signals inside `with`, in the main thread; call it to know whether the run shall end.

    A second signal, or `GRACE_S` without the end of the block, does what the signal did before.

    Args:
        wake: called once in a thread of its own when somebody asks, to end a wait for the next frame.

    Attributes:
        code: exit code of a run that was asked to end, 128 + the signal's number; 0 while nobody asked.
    """

    def __init__(self, wake: Callable[[], object] | None = None) -> None:
        self.code = 0
        self._wake = wake
        self._before: dict[int, Any] = {}
        self._open = False

    def __call__(self) -> bool:
        """Whether somebody asked for the end."""
        return self.code != 0

    def __enter__(self) -> Interruption:
        self._open = True
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # a shell's background job ignores Ctrl-C
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._restore()

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self._restore()
        self.code = 128 + number
        _thread.start_new_thread(self._insist, (number,))  # takes no lock that the interrupted thread may hold

    def _insist(self, number: int) -> None:
        """Wake the run; later the signal once more, so that a blocking call of the main thread returns."""
        if self._wake is not None:
            self._wake()
        time.sleep(GRACE_S)
        if not self._open:
            return
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        else:
            signal.raise_signal(number)

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
