"""How long tests wait for what must come.

Limits cost only where it does not come, and a machine may stop a process for seconds at any line: they are generous.
What a test claims is never a time; `python -m bench` measures those.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

PATIENCE_S = 180.0

TRACKER = [
    sys.executable,
    "-c",
    "import sys; from tracker.cli import interruption, main; from tracker.sinks import mqtt; "
    f"interruption.GRACE_S = mqtt._WAIT_S = {PATIENCE_S}; sys.exit(main(sys.argv[1:]))",
]
"""The command in a process of its own, as patient as the tests."""


def until(condition: Callable[[], Any], process: Popen[Any] | None = None) -> Any:
    """The first true value of `condition()`; fails after `PATIENCE_S`, or where `process` ends without it."""
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        running = process is None or process.poll() is None
        assert running or condition(), f"the process ended before, with exit code {process and process.returncode}"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return found
