"""Slow, obvious twins of tracker/evaluation: dense numpy, scipy's assignment, one frame at a time.

A sequence is a list of frames; a frame is (true ids, result ids, similarity matrix), ids being 0..n-1 without gaps.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from tracker.evaluation import Overlaps

EPS = np.finfo(float).eps
ALPHAS = np.arange(0.05, 0.99, 0.05)

FrameRows = tuple[list[int], list[int], np.ndarray]


def box_iou(a: Any, b: Any) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared) if min(areas) > EPS else 0.0


def frames_of(overlaps: Overlaps) -> list[FrameRows]:
    """The dense form of overlaps; tracks without any object are numbered away, as the original tools do."""
    sides = {}
    for side in ("truth", "result"):
        tracks = getattr(overlaps, f"{side}_tracks")
        new = {track: place for place, track in enumerate(sorted(set(tracks.tolist())))}
        sides[side] = getattr(overlaps, f"{side}_starts"), [new[track] for track in tracks.tolist()]
    frames = []
    for t in range(overlaps.frames):
        (a, b), (c, d) = (sides[side][0][t : t + 2] for side in ("truth", "result"))
        similarity = np.zeros((b - a, d - c))
        for i in range(a, b):
            for e in range(overlaps.pair_starts[i], overlaps.pair_starts[i + 1]):
                similarity[i - a, overlaps.pair_results[e] - c] = overlaps.similarity[e]
        frames.append((sides["truth"][1][a:b], sides["result"][1][c:d], similarity))
    return frames


def _assign(score: np.ndarray) -> list[tuple[int, int]]:
    return [(i, j) for i, j in zip(*linear_sum_assignment(-score), strict=True) if score[i, j] > 0]


def match(similarity: np.ndarray, threshold: float = 0.5) -> list[tuple[int, int]]:
    return _assign(np.where(similarity >= threshold - EPS, similarity, 0))


def hota(frames: list[FrameRows]) -> dict[str, np.ndarray]:
    """Equations of the paper, with the alignment of tracks over the whole sequence as its appendix has it."""
    aligned: dict[tuple[int, int], float] = defaultdict(float)
    n, m = defaultdict(int), defaultdict(int)
    for truth, results, s in frames:
        for i, g in enumerate(truth):
            n[g] += 1
            for j, p in enumerate(results):
                union = s[i].sum() + s[:, j].sum() - s[i, j]
                aligned[g, p] += s[i, j] / union if union > EPS else 0
        for p in results:
            m[p] += 1
    found = [defaultdict(int) for _ in ALPHAS]
    located = np.zeros(len(ALPHAS))
    for truth, results, s in frames:
        weights = [[aligned[g, p] / (n[g] + m[p] - aligned[g, p]) * s[i, j] for j, p in enumerate(results)]
                   for i, g in enumerate(truth)]  # fmt: skip
        for i, j in _assign(np.array(weights).reshape(s.shape)):
            for a, alpha in enumerate(ALPHAS):
                if s[i, j] >= alpha - EPS:
                    found[a][truth[i], results[j]] += 1
                    located[a] += s[i, j]
    tp = np.array([sum(pairs.values()) for pairs in found], float)
    objects, judged = sum(n.values()), sum(m.values())
    ass = [sum(c * c / (n[g] + m[p] - c) for (g, p), c in pairs.items()) for pairs in found]
    det_a, ass_a = tp / np.maximum(1, objects + judged - tp), np.array(ass) / np.maximum(1, tp)
    return {
        "HOTA": np.sqrt(det_a * ass_a),
        "DetA": det_a,
        "AssA": ass_a,
        "AssRe": np.array([sum(c * c / n[g] for (g, _), c in x.items()) for x in found]) / np.maximum(1, tp),
        "AssPr": np.array([sum(c * c / m[p] for (_, p), c in x.items()) for x in found]) / np.maximum(1, tp),
        "DetRe": tp / max(1, objects),
        "DetPr": tp / max(1, judged),
        "LocA": np.where(tp > 0, located / np.maximum(1, tp), 1.0),
        "HOTA_TP": tp,
        "HOTA_FN": objects - tp,
        "HOTA_FP": judged - tp,
    }


def clear(frames: list[FrameRows]) -> dict[str, float]:
    """Counts of CLEAR, one frame after the other, with plain dicts as memory."""
    count = dict.fromkeys(("CLR_TP", "CLR_FP", "CLR_FN", "IDSW", "Frag", "MT", "PT", "ML"), 0)
    located = 0.0
    last: dict[int, int] = {}
    before: dict[int, int] = {}
    seen, matched, runs = defaultdict(int), defaultdict(int), defaultdict(int)
    for truth, results, s in frames:
        for g in truth:
            seen[g] += 1
        pairs = []
        if truth and results:
            again = np.array([[before.get(g) == p for p in results] for g in truth])
            pairs = _assign(np.where(s >= 0.5 - EPS, 1000 * again + s, 0))
            now = {truth[i]: results[j] for i, j in pairs}
            count["IDSW"] += sum(last.get(g, p) != p for g, p in now.items())
            for g in now:
                matched[g] += 1
                runs[g] += g not in before
            last.update(now)
            before = now
            located += sum(s[i, j] for i, j in pairs)
        count["CLR_TP"] += len(pairs)
        count["CLR_FN"] += len(truth) - len(pairs)
        count["CLR_FP"] += len(results) - len(pairs)
    for g in seen:
        share = matched[g] / seen[g]
        count["MT" if share > 0.8 else "PT" if share >= 0.2 else "ML"] += 1
        count["Frag"] += max(runs[g] - 1, 0)
    objects = max(1, count["CLR_TP"] + count["CLR_FN"])
    return {
        **count,
        "MOTP_sum": located,
        "MOTA": (count["CLR_TP"] - count["CLR_FP"] - count["IDSW"]) / objects,
        "sMOTA": (located - count["CLR_FP"] - count["IDSW"]) / objects,
        "MOTP": located / max(1, count["CLR_TP"]),
    }


def identity(frames: list[FrameRows]) -> dict[str, float]:
    """The assignment with dummies that the paper describes, written out in full."""
    n, m, together = defaultdict(int), defaultdict(int), defaultdict(int)
    for truth, results, s in frames:
        for g in truth:
            n[g] += 1
        for p in results:
            m[p] += 1
        for i, j in zip(*np.nonzero(s >= 0.5), strict=True):
            together[truth[i], results[j]] += 1
    cost = np.full((len(n) + len(m), len(n) + len(m)), 1e9)
    for i, g in enumerate(n):
        for j, p in enumerate(m):
            cost[i, j] = n[g] + m[p] - 2 * together[g, p]
        cost[i, len(m) + i] = n[g]
    for j, p in enumerate(m):
        cost[len(n) + j, j] = m[p]
    cost[len(n) :, len(m) :] = 0
    least = cost[linear_sum_assignment(cost)].sum()
    objects, judged = sum(n.values()), sum(m.values())
    tp = (objects + judged - least) / 2
    return {"IDTP": tp, "IDFN": objects - tp, "IDFP": judged - tp, "IDF1": 2 * tp / max(1, objects + judged)}
