"""What runs on real videos, as data: the rows of the tables of `bench.videos`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.streets import windowed
from tracker.association import Plan
from tracker.models.siamese import motion_options
from tracker.systems import plan
from tracker.systems.relinking import relinking

PLAIN, MASKED = "crops", "masked crops"
"""What identity vectors are made of: whole boxes, or what lies in the masks."""


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Attributes:
        table: where it stands.
        name: of the row.
        plan: of its tracker.
        crops: what its identity vectors are made of, `PLAIN` or `MASKED`; empty for none.
        motion: name of the siamese network that finds its tracks again; empty for none.
        every: the detector runs on each frame of this number.
    """

    table: str
    name: str
    plan: Plan
    crops: str = ""
    motion: str = ""
    every: int = 1

    @property
    def needs_masks(self) -> bool:
        """Of the detector."""
        return "masks" in self.plan.needs or self.crops == MASKED


def step_variants(least: float) -> list[Variant]:
    """B1 to B3; they take every detection, so that `least` is their threshold."""
    systems = ("step-b1", "step-b2", "step-b3")
    return [
        Variant("step", "bytetrack", plan("bytetrack")),
        *(Variant("step", system, plan(system, min_score=least)) for system in systems),
    ]


def looks_variants(least: float) -> list[Variant]:
    """Without and with vectors; window 1: MOTSNet's costs, but a track must have been seen in the frame before."""
    overlaps = {1: plan("motsnet", preset="siou-time", max_coast_frames=0), 12: plan("motsnet", preset="siou-time")}
    windows = {1: plan("motsnet", max_coast_frames=0), 12: plan("motsnet"), 30: windowed(30)}
    rows = [("bytetrack", plan("bytetrack"), ""), ("botsort", plan("botsort"), "")]
    rows += [(f"motsnet's sIoU, window {n}", replace(each, min_score=least), "") for n, each in overlaps.items()]
    for crops in (PLAIN, MASKED):
        rows += [(f"botsort, {crops}", plan("botsort"), crops)]
        rows += [(f"{name}, lost ones by {crops}", relinking(plan(name)), crops) for name in ("bytetrack", "botsort")]
        rows += [(f"motsnet, window {n}, {crops}", replace(w, min_score=least), crops) for n, w in windows.items()]
    return [Variant("looks", *row) for row in rows]


def motion_variants(followers: list[str], every: list[int]) -> list[Variant]:
    """ByteTrack predicted by its filter, then told by each siamese network where its tracks are."""
    base = plan("bytetrack")
    led = plan("bytetrack", **motion_options(base))
    return [
        Variant("motion", f"{name or 'Kalman'}, every {n}", led if name else base, motion=name, every=n)
        for n in every
        for name in ("", *followers)
    ]
