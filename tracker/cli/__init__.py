"""The `tracker` command: flags -> config -> one call.

The only room that prints or picks an exit code: 0 done, 1 a check that found something (`doctor`, `iddiff`), 2 bad
input (one line on stderr, no traceback), 130 Ctrl-C, 141 nobody reads stdout any more, 143 SIGTERM; in the last three
the outputs written so far are closed properly. Importing this module loads nothing that takes time: `main` first says
what a Ctrl-C does while numpy and numba are loaded.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from tracker import __version__
from tracker.errors import TrackerError

if TYPE_CHECKING:
    import argparse
    from types import FrameType

COMMANDS = {
    "run": "track a video, image folder, camera, stream or synthetic scene",
    "demo": "track the built-in street with the built-in network",
    "replay": "track a recorded run again, without its network",
    "iddiff": "say whether two results give the same ids, and where they part",
    "eval": "judge tracking results against ground truth: HOTA, CLEAR, IDF1, STQ ...",
    "tune": "search the parameters of a system that track labelled sequences best",
    "mine": "annotate a folder of videos by themselves: segments linked by optical flow where that is certain",
    "convert": "rewrite a dataset's files in another format: MOT, MOTS, KITTI, STEP, YouTube-VIS, DAVIS",
    "systems": "list the tracking systems and what --set can change",
    "doctor": "say what is installed, which devices really run, and what to mend",
    "models": "fetch models by name, verify them, and say what an ONNX file is",
}
"""Each command is a module of this package with `add_arguments(parser)` and `execute(arguments) -> exit code`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell's background job ignores Ctrl-C
    if heard:
        signal.signal(signal.SIGINT, _give_up)
    try:
        arguments = _parse(argv)
    finally:
        if heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = int(arguments.execute(arguments))
        sys.stdout.flush()
        return code
    except TrackerError as error:
        if isinstance(error.__context__, BrokenPipeError):
            return _unread()
        print(f"tracker {arguments.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return _unread()
    except KeyboardInterrupt:
        print(f"tracker {arguments.command}: interrupted", file=sys.stderr)
        return 130


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was typed; this loads every command."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="tracker", description="Online tracking and segmentation: ONNX networks in, stable ids and masks out."
    )
    parser.add_argument("--version", action="version", version=f"trackstream {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, summary in COMMANDS.items():
        module = import_module(f"tracker.cli.{name}")
        about, _, details = str(module.__doc__).partition("\n\n")
        subparser = commands.add_parser(name, help=summary, description=about, epilog=details)
        module.add_arguments(subparser)
        subparser.set_defaults(execute=module.execute)
    return parser.parse_args(argv)


def _unread() -> int:
    """Nobody reads stdout any more (`tracker ... | head`): say nothing, as other commands do."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _give_up(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C before a command has begun: nothing is open yet, and an exception would appear amid somebody's import."""
    os.write(2, b"tracker: interrupted\n")
    os._exit(130)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM unwinds like Ctrl-C, so files are closed."""
    raise SystemExit(143)
