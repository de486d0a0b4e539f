"""Lost tracks known again by their looks: one more stage behind any plan's own.

Source: SiamMOT, arXiv:2105.11595, section 5.4 ("SiamMOT+"), made online.
"""

from __future__ import annotations

from dataclasses import replace

from tracker.association import Plan, Stage, Term

AGAIN = Stage(
    tracks=("coasting",),
    score_above=0.6,
    terms=(Term("same_class", weight=0.0, least=1.0), Term("embedding_cosine", weight=-1.0)),
    gate=-0.2,
    all_pairs=True,
)
"""A detection that no track took, against all tracks that are out of sight, by the running mean of their vectors."""

KEPT_FRAMES = 300
"""For so long an id can come back."""

MOMENTUM = 0.9
"""Of the running mean."""


def relinking(base: Plan) -> Plan:
    """`base` with the stage `AGAIN`; its own first stage looks no farther back than before."""
    first, *others = base.stages
    stages = (replace(first, most_misses=base.max_coast_frames), *others, AGAIN)
    return replace(base, stages=stages, max_coast_frames=KEPT_FRAMES, gallery_momentum=MOMENTUM)
