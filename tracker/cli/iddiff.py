"""Say whether two results give the same ids, up to a renaming, and where they part.

A and B are recordings (run.trk), tracks.jsonl, tracks.txt (MOTChallenge) or masks.txt (MOTS) of the same video, of the
same kind or not. Ids may be called differently on both sides, but the same way from the first frame to the last.
The exit code is 0 where they agree, 1 where they differ.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.cli.comparison import Comparison, Event

_MOST = 10  # objects of the first differing frame that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("a", help="one result")
    parser.add_argument("b", help="the other")
    parser.add_argument(
        "--max-shift", type=float, default=math.inf, metavar="PX",
        help="boxes of one object with a coordinate further apart differ too (default: half of their area in common)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def execute(arguments: argparse.Namespace) -> int:
    """Compare and print."""
    from tracker.cli.comparison import compare, read_result

    found = compare(read_result(arguments.a), read_result(arguments.b), arguments.max_shift)
    if arguments.json:
        print(json.dumps({"same": found.same, **dataclasses.asdict(found)}, indent=2))
    else:
        print(_text(found, arguments.a, arguments.b))
    return 0 if found.same else 1


def _text(found: Comparison, *names: str) -> str:
    lines = []
    for side, name in enumerate(names):
        counts = f"{found.frames[side]} frames, {found.ids[side]} ids, {found.boxes[side]} boxes"
        lines.append(f"{'ab'[side]}: {counts}  {name}")
    shift = f"boxes of one object are at most {found.largest_shift_px:.3g} px apart"
    if found.same:
        return "\n".join([*lines, f"same ids, up to their names; {shift}"])
    lines.append(
        f"they differ from frame {found.first[0].frame} on, in {found.frames_apart} frames: {found.other_id} boxes "
        f"have another id ({found.switches} switches), {found.only_a} are only in a, {found.only_b} only in b; {shift}"
        + (f", {found.shifted} too far" if found.shifted else "")
    )
    lines += _list(found.first)
    if found.first_id and found.first_id[0].frame > found.first[0].frame:
        lines += ["the first other id:", *_list(found.first_id)]
    return "\n".join(lines)


def _list(events: list[Event]) -> list[str]:
    lines = [f"  frame {event.frame}: {_sentence(event)}" for event in events[:_MOST]]
    return lines + ([f"  and {len(events) - _MOST} more in this frame"] if len(events) > _MOST else [])


def _sentence(event: Event) -> str:
    x0, y0, x1, y1 = event.box
    where = f"at {x0:.1f} {y0:.1f} {x1:.1f} {y1:.1f}"
    if event.kind == "shift":
        return f"a's {event.a} {where} and b's {event.b} are too far apart"
    if event.kind != "id":
        here, there = ("a", "b") if event.kind == "only a" else ("b", "a")
        mine = event.a if event.kind == "only a" else event.b
        other = event.expected[0 if event.kind == "only a" else 1]
        known = f" (there it was {other} so far)" if other is not None else ""
        return f"{here}'s {mine} {where} is not in {there}{known}"
    reasons = []
    if event.expected[0] not in (None, event.b):
        reasons.append(f"a's {event.a} was b's {event.expected[0]} so far")
    if event.expected[1] not in (None, event.a):
        reasons.append(f"b's {event.b} was a's {event.expected[1]} so far")
    return f"a's {event.a} is b's {event.b} {where}, but {' and '.join(reasons)}"
