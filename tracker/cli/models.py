"""Fetch models by name, and say what an ONNX file is.

`pull NAME` fetches a model of the registry, checks its SHA-256 and keeps it in the user's cache; `tracker run --model
NAME` then needs nothing else. A models.toml of your own (TRACKSTREAM_REGISTRY, or in the configuration folder) adds
models or other addresses. TRACKSTREAM_CACHE moves the cache; HTTPS_PROXY and HF_ENDPOINT are honoured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.models import ModelCard, Session
    from tracker.models.registry import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    listing = actions.add_parser("list", help="print the models that can be fetched, and which ones are here")
    pull = actions.add_parser("pull", help="fetch models, pinned by SHA-256; a cut download goes on where it stopped")
    info = actions.add_parser("info", help="print a model's card, inputs and outputs")
    verify = actions.add_parser("verify", help="hash fetched models again; exit code 1 if one is not what it should be")
    remove = actions.add_parser("remove", help="delete fetched models from the cache")
    pull.add_argument("names", nargs="+", metavar="NAME", help="models of `tracker models list`")
    pull.add_argument("--offline", action="store_true", help="succeed only where no network is needed")
    pull.add_argument("--timeout", type=float, default=30.0, metavar="S", help="give up after so long a silence (30)")
    pull.add_argument("--quiet", action="store_true", help="no progress bar")
    info.add_argument("model", help="ONNX file, a name of `tracker models list`, or 'street' for the built-in network")
    info.add_argument("--family", help="what kind of network it is, where the file does not say")
    verify.add_argument("names", nargs="*", metavar="NAME", help="models to check (default: all that are here)")
    remove.add_argument("names", nargs="+", metavar="NAME", help="models to delete")
    for action in (listing, info):
        action.add_argument("--json", action="store_true", help="print JSON instead of text")


def execute(arguments: argparse.Namespace) -> int:
    """Run one action; returns the exit code."""
    actions = {"list": _list, "pull": _pull, "info": _info, "verify": _verify, "remove": _remove}
    return actions[arguments.action](arguments)


def pull_named(name: str, *, quiet: bool) -> None:
    """Fetch what `--model NAME --pull` names; files and built-in models need no fetching."""
    from tracker.models.registry import lookup

    entry = lookup(name)
    if entry is not None:
        _fetch(entry, quiet=quiet)


# ---------------------------------------------------------------------- actions


def _list(arguments: argparse.Namespace) -> int:
    from tracker.models import FAMILIES
    from tracker.models.registry import read_registry

    rows = [
        {**dataclasses.asdict(entry), "cached": entry.cached, "runs": entry.family in FAMILIES}
        for entry in read_registry().values()
    ]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"{'name':<26}{'task':<12}{'licence':<20}{'MB':>7}  {'here':<6}accuracy and source")
    for row in rows:
        size = "?" if row["size"] is None else f"{row['size'] / 1e6:.1f}"
        limits = ("" if row["runs"] else "not for --model", "" if row["sha256"] else "no sha256")
        told = "; ".join(note for note in (row["accuracy"], row["source"], *limits) if note)
        here = "yes" if row["cached"] else "-"
        print(f"{row['name']:<26}{row['task']:<12}{row['licence']:<20}{size:>7}  {here:<6}{told}")
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    """Each path goes to stdout, everything else to stderr."""
    from tracker.models.registry import find

    if not arguments.timeout > 0:
        raise ConfigError(f"expected a timeout above 0 seconds, got {arguments.timeout:g}")
    for entry in [find(name) for name in arguments.names]:  # a misspelt name is found before anything is fetched
        _fetch(entry, quiet=arguments.quiet, offline=arguments.offline, timeout_s=arguments.timeout)
        print(entry.file)
    return 0


def _fetch(entry: Entry, *, quiet: bool, offline: bool = False, timeout_s: float = 30.0) -> None:
    """Pull with the licence said before and a bar meanwhile."""
    from tracker.models.registry.download import pull
    from tracker.models.registry.transfer import shown

    if entry.intact():
        return
    print(f"{entry} of {entry.source or 'unknown makers'}, from {shown(entry.address)}", file=sys.stderr)
    bar = _Bar(quiet=quiet)
    try:
        pull(entry, offline=offline, timeout_s=timeout_s, on_progress=bar)
    finally:
        bar.close()


def _info(arguments: argparse.Namespace) -> int:
    """Print what a model says about itself, and of a registered one what the registry knows."""
    from tracker.models.registry import lookup

    entry = lookup(arguments.model)
    facts: dict[str, Any] = {} if entry is None else _known(entry)
    if entry is None or entry.cached:
        session, card = _open(arguments.model, arguments.family, entry)
        facts |= {} if card is None else dataclasses.asdict(card)
        facts["inputs"] = [str(spec) for spec in session.inputs.values()]
        facts["outputs"] = [str(spec) for spec in session.outputs.values()]
        facts["device"] = session.device
    if arguments.json:
        print(json.dumps(facts, indent=2, default=str))
    else:
        print("\n".join(f"{name:<20}{_short(value)}" for name, value in facts.items() if value not in (None, (), "")))
    return 0


def _open(name: str, family: str | None, entry: Entry | None) -> tuple[Session, ModelCard | None]:
    """A model as its family opens it, or the bare graph where it is no `--model`: optical flow, a part of a set."""
    from tracker.models import FAMILIES, Session, open_model, read_card
    from tracker.models.registry import locate

    if family is None and (entry is not None or Path(name).is_file()):
        session = Session(name if entry is None else locate(entry))
        card = read_card(session.metadata)
        named = (card.family if card else "") or (entry.family if entry else "")
        if named and named not in FAMILIES:
            return session, card
    model = open_model(name, family)
    return model.session, model.card


def _known(entry: Entry) -> dict[str, Any]:
    """An entry and the state of its file, which is hashed again."""
    facts = dataclasses.asdict(entry)
    del facts["card"]
    state = f"not here; tracker models pull {entry.name}"
    if entry.cached:
        state = "as pinned" if entry.intact() else f"NOT the pinned one; tracker models pull {entry.name}"
    return {**facts, "file": str(entry.file), "state": state}


def _verify(arguments: argparse.Namespace) -> int:
    from tracker.errors import ModelError, ModelNotFoundError
    from tracker.models.registry import find, locate, read_registry

    chosen = [find(name) for name in arguments.names] or [e for e in read_registry().values() if e.cached]
    wrong = 0
    for entry in chosen:
        try:
            print(f"{entry.name:<26}as pinned: {locate(entry)}")
        except ModelNotFoundError:
            raise
        except ModelError as reason:
            wrong += 1
            print(f"{entry.name:<26}WRONG: {reason}")
    if not chosen:
        print("no fetched models here")
    return 1 if wrong else 0


def _remove(arguments: argparse.Namespace) -> int:
    from tracker.models.registry import find
    from tracker.models.registry.download import remove

    for entry in [find(name) for name in arguments.names]:
        print(f"{entry.name}: {remove(entry) / 1e6:.1f} MB freed")
    return 0


def _short(value: object) -> str:
    if isinstance(value, tuple | list) and len(value) > 12:
        return ", ".join(str(item) for item in value[:12]) + f", ... ({len(value)})"
    return ", ".join(str(item) for item in value) if isinstance(value, tuple | list) else str(value)


class _Bar:
    """Draws `[####    ]  12.3/35.9 MB  4.1 MB/s` on stderr, at most ten times a second, if that is a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr.isatty()
        self._start = self._drawn = monotonic()
        self._first: int | None = None  # what an earlier pull had fetched

    def __call__(self, done: int, total: int | None) -> None:
        self._first = done if self._first is None else self._first
        now = monotonic()
        if self._shown and (now - self._drawn >= 0.1 or done == total):
            self._drawn = now
            print(
                f"\r{bar_line(done, total, done - self._first, now - self._start)}", end="", file=sys.stderr, flush=True
            )

    def close(self) -> None:
        """Leave the line; what follows starts on a new one."""
        if self._shown:
            print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)


def bar_line(done: int, total: int | None, fetched: int, seconds: float) -> str:
    """A progress line; `fetched` of the `done` bytes came in the last `seconds`."""
    rate = f"{fetched / max(seconds, 1e-9) / 1e6:.1f} MB/s   "
    if not total:
        return f"{done / 1e6:.1f} MB  {rate}"
    filled = min(done * 24 // total, 24)
    return f"[{'#' * filled}{' ' * (24 - filled)}] {done / 1e6:.1f}/{total / 1e6:.1f} MB  {rate}"
