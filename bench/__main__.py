"""`python -m bench WHAT ...`: one module per benchmark, see `BENCHMARKS`."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

BENCHMARKS = {
    "association": "bench.association",
    "masks": "bench.masks",
    "kernels": "bench.kernels",
    "postprocess": "bench.postprocess",
    "soak": "bench.soak",
    "quality": "bench.quality",
    "evaluation": "bench.evaluation",
    "streets": "bench.streets",
    "siammot": "bench.siammot",
    "fast": "bench.fast",
    "videos": "bench.videos",
    "model": "bench.model",
    "single-stream": "bench.single_stream",
    "multi-stream": "bench.multi_stream",
    "offline": "bench.offline",
    "live": "bench.live",
    "cold": "bench.cold",
    "report": "bench.report",
}
"""What -> module with `add_arguments(parser)` and `execute(arguments)`; those but `report` return rows and notes.

One whose figures depend on the process (`REPEATS`) runs in as many fresh ones, unless told otherwise.
"""


def main(words: list[str] | None = None) -> int:
    """Run one benchmark; returns the exit code: 0, or 2 with one line on stderr."""
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure. bench/README.md says what each figure means; WHAT --help the flags.",
    )
    parser.add_argument("what", choices=sorted(BENCHMARKS), metavar="WHAT", help=", ".join(sorted(BENCHMARKS)))
    if not words or words[0] not in BENCHMARKS:
        parser.parse_args(words[:1])  # prints help or the error, and exits
    what, *typed = words
    module = importlib.import_module(BENCHMARKS[what])
    options = argparse.ArgumentParser(
        prog=f"python -m bench {what}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(options)
    from bench.result import BenchError
    from tracker.errors import TrackerError, why

    try:
        if what == "report":
            module.execute(options.parse_args(typed))
        else:
            measure(what, module, options, typed)
    except (BenchError, TrackerError) as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    except OSError as reason:
        print(f"error: {reason.filename}: {why(reason)}" if reason.filename else f"error: {reason}", file=sys.stderr)
        return 2
    return 0


def measure(what: str, module: ModuleType, options: argparse.ArgumentParser, typed: list[str]) -> None:
    """A benchmark in this process, or in several fresh ones."""
    from bench.flags import at_least_one
    from bench.repeat import repeat

    options.add_argument("-o", "--output", type=Path, default=Path("out", "bench", f"{what}.json"), metavar="FILE")
    options.add_argument(
        "--repeats", type=at_least_one, metavar="N", help="runs in fresh processes; their tracks must agree"
    )
    arguments = options.parse_args(typed)
    if arguments.repeats is None:
        arguments.repeats = 1 if getattr(arguments, "quick", False) else getattr(module, "REPEATS", 1)
    if arguments.repeats > 1:
        repeat(what, typed, arguments.repeats, arguments.output)
    else:
        run_once(what, module, arguments, typed)


def run_once(what: str, module: ModuleType, arguments: argparse.Namespace, typed: list[str]) -> None:
    """One run: measure, write the JSON, print the table."""
    from bench import result
    from bench.table import print_rows

    head = result.begin(what, typed, {k: v for k, v in vars(arguments).items() if k != "output"})
    rows, notes = module.execute(arguments)
    print_rows(rows)
    for note in notes:
        print(f"note: {note}")
    result.finish(head, rows, notes, arguments.output)
    print(arguments.output)


if __name__ == "__main__":
    raise SystemExit(main())
