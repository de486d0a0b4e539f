"""List the published tracking systems and the parameters that `--set` changes."""

from __future__ import annotations

import argparse
import textwrap


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("name", nargs="?", help="one system: print its parameters and notes")


def execute(arguments: argparse.Namespace) -> int:
    """Print the table, or one row of it in full."""
    from tracker.errors import ConfigError
    from tracker.systems import SYSTEMS, options

    if arguments.name is None:
        width = max(map(len, SYSTEMS)) + 2
        for system in SYSTEMS.values():
            print(f"{system.name:<{width}}{system.title}, {system.source} (needs {', '.join(system.needs)})")
        return 0
    if arguments.name not in SYSTEMS:
        raise ConfigError(f"no system {arguments.name!r}; there are {', '.join(SYSTEMS)}")
    system = SYSTEMS[arguments.name]
    print(f"{system.title}, {system.source}\n{textwrap.fill(system.notes, 100)}\n")
    for name, (default, text) in options(system.name).items():
        print(f"  {name + '=' + str(default):<32}{text}")
    return 0
