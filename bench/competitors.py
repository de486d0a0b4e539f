"""Trackers that can be compared: ours by name, and the floor; `bench.peers` has those of others.

A competitor turns a scene into the arguments of its `update`, beforehand and untimed, as a detector's decoder would.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numba
import numpy as np

from bench.result import BenchError
from bench.scenes import Scene
from tracker.systems import SYSTEMS, create, options

OURS, READ = "trackstream ", ", read"
"""How names of ours begin, and end where the results are read."""

Given = tuple[Any, ...]
Read = Callable[[Any, Given, Scene], tuple[Iterable[Any], Any]]
"""What a call returned, what it was given, and its scene -> (ids, (N, 4) xyxy boxes in pixels) that are reported."""


@dataclass(frozen=True)
class Competitor:
    """One tracker.

    Attributes:
        name: what results call it.
        like: system of ours that does the same; its figures are compared with that one's.
        make: () -> what takes a frame, in its first state.
        prepare: scene -> arguments of every frame.
        read: what it reports for a frame.
        settings: () -> its own parameters, as it is made.
        own: one of ours; results have the hash of its tracks.
    """

    name: str
    like: str
    make: Callable[[], Callable[..., Any]]
    prepare: Callable[[Scene], list[Given]]
    read: Read
    settings: Callable[[], dict[str, Any]] = dict
    own: bool = False


def ours(name: str) -> Competitor:
    """A system of ours, through the public `Tracker.update(Detections)`.

    Raises:
        BenchError: it needs more than boxes, or is none.
    """
    if name not in box_systems():
        raise BenchError(f"no system {name!r} that needs boxes only; there are {', '.join(box_systems())}")
    return Competitor(
        name=f"{OURS}{name}",
        like=name,
        make=lambda: create(name).update,
        prepare=lambda scene: [(detections,) for detections in scene.frames],
        read=lambda tracks, given, scene: (tracks.confirmed.ids.tolist(), tracks.confirmed.boxes),
        settings=lambda: {option: row[0] for option, row in options(name).items()},
        own=True,
    )


def reading(competitor: Competitor) -> Competitor:
    """The same of ours as a user calls it, who then reads the ids and boxes that the system reports."""

    def make() -> Callable[..., Any]:
        update = competitor.make()

        def update_and_read(*given: Any) -> Any:
            confirmed = update(*given).confirmed
            return confirmed.ids, confirmed.boxes

        return update_and_read

    return replace(
        competitor,
        name=f"{competitor.name}{READ}",
        make=make,
        read=lambda found, given, scene: (found[0].tolist(), found[1]),
    )


def box_systems() -> list[str]:
    """Names of the systems that need nothing but boxes."""
    return [name for name, system in SYSTEMS.items() if set(system.needs) == {"boxes"}]


def prototype(folder: Path) -> Competitor:
    """The floor: ByteTrack written out by hand (`floor2.py` of `folder`), without checks or growth."""
    before = sys.dont_write_bytecode, numba.config.CACHE_DIR
    sys.dont_write_bytecode, numba.config.CACHE_DIR = True, tempfile.mkdtemp()  # nothing is written into the folder
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module("floor2")
    except ModuleNotFoundError:
        raise BenchError(f"no floor2.py in {folder}") from None
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode, numba.config.CACHE_DIR = before

    def prepare(scene: Scene) -> list[Given]:
        return [(np.column_stack([d.boxes, d.scores]).astype(np.float64),) for d in scene.frames]

    return Competitor(
        name="prototype ByteTrack",
        like="bytetrack",
        make=lambda: module.ByteFloor2().update,
        prepare=prepare,
        read=lambda rows, given, scene: (rows[:, 4].astype(int).tolist(), rows[:, :4]),
    )


class Digest:
    """What a competitor reported, frame by frame.

    Args:
        competitor: who.
        scene: that it follows.
    """

    def __init__(self, competitor: Competitor, scene: Scene) -> None:
        self._competitor, self._scene = competitor, scene
        self._hash = hashlib.sha256()
        self._ids: set[Any] = set()
        self._reported = 0
        self._frames = 0

    def add(self, returned: Any, given: Given) -> None:
        """Take what one call returned for what it was given."""
        names, boxes = self._competitor.read(returned, given, self._scene)
        ids = list(names)
        self._ids.update(ids)
        self._reported += len(ids)
        self._frames += 1
        if self._competitor.own:
            self._hash.update(np.int64([len(ids), *ids]).tobytes() + np.round(boxes.astype(np.float64), 2).tobytes())

    def figures(self) -> dict[str, Any]:
        """Ids seen, objects reported per frame, frames looked at, and for ours the hash of the tracks."""
        out = {"ids": len(self._ids), "reported": round(self._reported / self._frames, 2), "checked": self._frames}
        return {**out, "tracks_sha256": self._hash.hexdigest()} if self._competitor.own else out
