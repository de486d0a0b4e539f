"""`python -m exporters FAMILY ...`: one module per family, see `FAMILIES`."""

from __future__ import annotations

import argparse
import importlib
import sys

FAMILIES = {
    "batch": "exporters.batch",
    "fuse": "exporters.fuse",
    "half": "exporters.half",
    "maskrcnn": "exporters.maskrcnn.command",
    "motion-deeplab": "exporters.deeplab.motion",
    "motsnet": "exporters.motsnet.command",
    "panoptic-deeplab": "exporters.deeplab.panoptic",
    "raft": "exporters.raft.command",
    "siammot": "exporters.siammot.command",
    "street": "exporters.street.command",
    "trackrcnn": "exporters.trackrcnn.command",
}
"""Family, or change -> module with `add_arguments(parser)` and `execute(arguments, command)`; that is what was typed.

A module whose card says it in another way than `exporters.delivery.typed` has its own `typed(words)`.
"""


def main(words: list[str] | None = None) -> int:
    """Run one exporter; returns the exit code: 0, or 2 with one line on stderr."""
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(
        prog="python -m exporters",
        description="Train networks, export them to ONNX, change exported ones. FAMILY --help says more.",
    )
    parser.add_argument("family", choices=sorted(FAMILIES), metavar="FAMILY", help=", ".join(sorted(FAMILIES)))
    if not words or words[0] not in FAMILIES:
        parser.parse_args(words[:1])  # prints help or the error, and exits
    try:
        module = importlib.import_module(FAMILIES[words[0]])
    except ModuleNotFoundError as reason:
        if reason.name not in ("torch", "onnx"):
            raise
        print(f"error: exporters need {reason.name}: pip install 'trackstream[export]'", file=sys.stderr)
        return 2
    options = argparse.ArgumentParser(
        prog=f"python -m exporters {words[0]}", description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    module.add_arguments(options)
    from exporters.delivery import typed
    from exporters.parity import ParityError
    from tracker.errors import TrackerError, why

    try:
        return int(module.execute(options.parse_args(words[1:]), getattr(module, "typed", typed)(words)))
    except (ParityError, TrackerError) as reason:
        print(f"error: {reason}", file=sys.stderr)
    except OSError as reason:
        print(f"error: {reason.filename}: {why(reason)}" if reason.filename else f"error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
