"""System: what one row of `SYSTEMS` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tracker.association import Plan


@dataclass(frozen=True, slots=True)
class Option:
    """A name for a number of some stages.

    Attributes:
        help: what it means, in a few words.
        targets: (stage, field) pairs that it sets; the first one holds the default.
    """

    help: str
    targets: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class System:
    """A published system, or one of our own.

    Attributes:
        name: what users type.
        title: its name in print.
        paper: arXiv id, or "own".
        plan: its association, with the defaults of the authors' code, or ours.
        needs: parts of `Detections` that it uses: "boxes", "masks", "embeddings", ...
        options: names for numbers of its stages.
        presets: name -> fields of the plan that differ, for data sets with numbers of their own; the first one is the
            plan as it stands.
        motion: how a SiamMOT of `--model` finds this system's tracks again: with its "emm" or "imm" head, which it must
            have, from their last place ("last"), or from where optical flow moved them ("flow"); "" for the head that
            it has.
        notes: where the paper and the authors' code differ, and other things worth knowing.
    """

    name: str
    title: str
    paper: str
    plan: Plan
    needs: tuple[str, ...]
    options: dict[str, Option]
    notes: str
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    motion: str = ""

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return "our own" if self.paper == "own" else f"arXiv:{self.paper}"
