"""Track the built-in street with the built-in network: no file, no download, no GPU needed.

Writes demo.mp4, tracks.txt, masks.txt and tracks.jsonl into the output folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

DEMO_SOURCE = "synth:street?seed=7&objects=12&size=960x540&frames=300"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("-o", "--output", default="demo", help="folder for the results (default: demo)")
    parser.add_argument("--source", default=DEMO_SOURCE, help=f"another synthetic scene (default: {DEMO_SOURCE})")
    parser.add_argument("--quiet", action="store_true", help="no progress line and no summary")


def execute(arguments: argparse.Namespace) -> int:
    """`tracker run` with everything filled in."""
    from tracker.cli.run import track
    from tracker.cli.run_config import RunConfig

    video = f"video={Path(arguments.output) / 'demo.mp4'}"
    return track(
        RunConfig(
            arguments.source,
            model="street",
            output=arguments.output,
            save=("mot", "mots", "jsonl", video),
            quiet=arguments.quiet,
        )
    )
