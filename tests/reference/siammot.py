"""SiamMOT's solver and frame, step by step as `spec/siammot.md` 0, 1.10 and 1.11 tell them.

Twins of `tracker.association.suppression` and `tracker.models.siammot`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


def overlap(a, b):
    """IoU of two boxes whose last pixel belongs to them."""
    w = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return w * h / (sum(areas) - w * h)


def nms(rows, boxes, scores, limit):
    """Of these rows the ones that no better one overlaps, ascending; ties: the earlier one."""
    kept = []
    for i in sorted(rows, key=lambda i: (-scores[i], i)):
        if all(overlap(boxes[i], boxes[j]) < limit for j in kept):
            kept.append(i)
    return sorted(kept)


@dataclass
class Solver:
    """The authors' pool of tracks; `apart`: the paper's suppression."""

    start: float = 0.6
    track: float = 0.4
    resume: float = 0.4
    max_dormant: int = 30
    apart: bool = False
    active: set[int] = field(default_factory=set)
    dormant: dict[int, int] = field(default_factory=dict)
    frame: int = 1
    next_id: int = 1

    def step(self, boxes, scores, ids):
        """Rows of a frame, tracks' scores as they are: row -> id of the rows that have one afterwards."""
        if len(boxes) == 0:
            return {}
        one = np.float32(1)
        rank = [
            np.float32(s) + (one if i >= 0 else 0) + (one if i in self.active else 0)
            for s, i in zip(scores, ids, strict=True)
        ]
        rows = range(len(boxes))
        if self.apart:
            tracks = nms([r for r in rows if ids[r] >= 0], boxes, scores, 0.5)
            fresh = nms([r for r in rows if ids[r] < 0], boxes, scores, 0.5)
            kept = tracks + [r for r in fresh if all(overlap(boxes[r], boxes[t]) < 0.5 for t in tracks)]
        else:
            kept = nms(rows, boxes, rank, 0.5)
        score = {}
        for r in kept:
            score[r] = rank[r] - np.float32(2) if rank[r] >= 2 else rank[r]
            score[r] = score[r] - one if score[r] >= 1 else score[r]
        out = {r: ids[r] for r in kept if ids[r] >= 0}
        low = {ids[r] for r in out if score[r] < np.float32(self.track)}
        removed = {i for i in ids if i >= 0} - set(out.values())
        for r, i in out.items():
            if i in self.dormant and score[r] >= np.float32(self.resume):
                del self.dormant[i]
                self.active.add(i)
        for r in sorted(kept):
            if ids[r] < 0 and score[r] >= np.float32(self.start):
                out[r] = self.next_id
                self.active.add(self.next_id)
                self.next_id += 1
        for i in (low | removed) & self.active:
            self.active.remove(i)
            self.dormant[i] = self.frame - 1
        out = {r: i for r, i in out.items() if i not in low}
        for i in [i for i, stamp in self.dormant.items() if self.frame - stamp >= self.max_dormant]:
            del self.dormant[i]  # a row that was too weak to wake it keeps its id all the same
        self.frame += 1
        return out


@dataclass
class Loop:
    """One stream, one target after the other.

    Attributes:
        trunk: image -> maps, proposals (N, 4).
        box: maps, box -> class scores, background first, and boxes of each class.
        template: maps, box -> template.
        motion: maps, template, last box -> box, visibility.
        solver: the pool.
        memory: id -> template, box, class.
    """

    trunk: Callable
    box: Callable
    template: Callable
    motion: Callable
    solver: Solver
    memory: dict = field(default_factory=dict)

    def step(self, image, public=None):
        """Boxes, scores, ids (-1 for fresh ones) and classes before the solver, and its row -> id."""
        maps, proposals = self.trunk(image)
        if public is not None:  # x, y, w, h
            proposals = np.array([[x, y, x + max(w - 1, 0), y + max(h - 1, 0)] for x, y, w, h in public], np.float32)
        heads = [self.box(maps, proposal) for proposal in proposals]
        rows = []
        for kind in range(1, len(heads[0][0]) if heads else 1):
            scores, boxes = [s[kind] for s, _ in heads], [b[kind] for _, b in heads]
            good = [i for i in range(len(heads)) if scores[i] > np.float32(0.05)]
            rows += [(boxes[i], scores[i], -1, kind) for i in nms(good, boxes, scores, 0.5)]
        for i, (template, last, kind) in self.memory.items():
            moved, visible = self.motion(maps, template, last)
            scores, boxes = self.box(maps, moved)
            rows.append((boxes[kind], (scores[kind] + visible) / 2, i, kind))
        boxes, scores, ids, kinds = zip(*rows, strict=True) if rows else ((), (), (), ())
        out = self.solver.step(boxes, scores, ids)
        before, self.memory = self.memory, {}
        for r, i in out.items():
            if i in self.solver.active:
                self.memory[i] = self.template(maps, boxes[r]), boxes[r], kinds[r]
        self.memory |= {i: before[i] for i in self.solver.dormant}
        return boxes, scores, ids, kinds, out
