"""HOTA: detection and association accuracy at 19 localisation thresholds.

Source: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021 (arXiv:2009.07736);
numbers as TrackEval 1.3.0 gives them, sequences combined its way: counts add up, association scores are averaged with
the true positives as weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.association.state import MATE_OF_ROW, STARTS
from tracker.evaluation.overlaps import EPS, Overlaps, join, match_pairs, most_pairs, new_scratch, widest

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""(19,) similarities from which a match counts; the scores are means over them."""

_TP, _LOCATED, _ASSA, _ASSRE, _ASSPR, _TRUTH, _RESULTS, _ROWS = range(8)
_FLOOR = 1e-10  # LocA of nothing is 1


class Hota:
    """HOTA of overlaps. Keeps the pairs of the running sequence: which match is best shows only at its end."""

    def __init__(self) -> None:
        self._sums = np.zeros((_ROWS, len(ALPHAS)))
        self._parts: list[Overlaps] = []

    def update(self, overlaps: Overlaps) -> None:
        """Take the next frames of the sequence."""
        self._parts.append(overlaps)

    def merge(self, other: Hota) -> None:
        """Add the sequences of `other`; the own one is over."""
        self._sums = self._total() + other._total()
        self._parts = []

    def result(self) -> dict[str, float]:
        """Means of `curves()` under the same names, and HOTA(0), LocA(0) and HOTALocA(0): those of the lowest alpha."""
        curves = self.curves()
        scores = {name: float(values.mean()) for name, values in curves.items()}
        scores["HOTA(0)"] = float(curves["HOTA"][0])
        scores["LocA(0)"] = float(curves["LocA"][0])
        scores["HOTALocA(0)"] = scores["HOTA(0)"] * scores["LocA(0)"]
        return scores

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Scores and counts at each of `ALPHAS`: name -> (19,). Without any true object, or any result, HOTA is 0."""
        sums = self._total()
        tp, fn, fp = sums[_TP], sums[_TRUTH] - sums[_TP], sums[_RESULTS] - sums[_TP]
        matched = np.maximum(1, tp)
        det_a, det_re, det_pr = (tp / np.maximum(1, tp + missed) for missed in (fn + fp, fn, fp))
        ass_a = sums[_ASSA] / matched
        return {
            "HOTA": np.sqrt(det_a * ass_a),
            "DetA": det_a,
            "AssA": ass_a,
            "DetRe": det_re,
            "DetPr": det_pr,
            "AssRe": sums[_ASSRE] / matched,
            "AssPr": sums[_ASSPR] / matched,
            "LocA": np.maximum(_FLOOR, sums[_LOCATED]) / np.maximum(_FLOOR, tp),
            "OWTA": np.sqrt(det_re * ass_a),
            "HOTA_TP": tp,
            "HOTA_FN": fn,
            "HOTA_FP": fp,
        }

    def _total(self) -> NDArray[np.float64]:
        """Sums over all sequences, the running one included: (_ROWS, 19)."""
        if not self._parts:
            return self._sums
        overlaps = join(self._parts)
        self._parts = [overlaps]
        sums = np.empty_like(self._sums)
        _count(
            overlaps.arrays, overlaps.meetings, overlaps.meeting_truth, overlaps.meeting_result,
            len(overlaps.truth_ids), len(overlaps.result_ids), ALPHAS - EPS, sums,
        )  # fmt: skip
        return self._sums + sums


@kernel
def _count(arrays, meetings, meeting_truth, meeting_result, n_truth, n_results, alphas, sums):  # type: ignore[no-untyped-def]
    """Sums of one sequence; `meetings` number the couples of tracks that ever overlap."""
    truth_starts, truth_tracks, result_starts, result_tracks, pair_starts, pair_results, similarity = arrays
    truth_counts, result_counts = np.zeros(n_truth), np.zeros(n_results)
    for track in truth_tracks:
        truth_counts[track] += 1
    for track in result_tracks:
        result_counts[track] += 1
    alignment = _align(arrays, meetings, meeting_truth, meeting_result, truth_counts, result_counts)

    # matches of a couple whose similarity passes exactly the first k alphas
    passed = np.zeros((len(meeting_truth), len(alphas) + 1))
    located = np.zeros(len(alphas) + 1)
    reals, ints = new_scratch(max(widest(truth_starts), widest(result_starts)))
    room = most_pairs(truth_starts, pair_starts)
    weights, columns, edges = np.empty(room), np.empty(room, np.int64), np.empty(room, np.int64)
    for t in range(len(truth_starts) - 1):
        first, first_result = truth_starts[t], result_starts[t]
        n_rows, n_columns = truth_starts[t + 1] - first, result_starts[t + 1] - first_result
        n = 0
        for i in range(n_rows):
            ints[STARTS, i] = n
            for e in range(pair_starts[first + i], pair_starts[first + i + 1]):
                weights[n] = alignment[meetings[e]] * similarity[e]
                columns[n], edges[n] = pair_results[e] - first_result, e
                n += 1
        ints[STARTS, n_rows] = n
        match_pairs(n_rows, n_columns, reals, ints, weights, columns)
        for i in range(n_rows):
            for k in range(ints[STARTS, i], ints[STARTS, i + 1]):
                if columns[k] == ints[MATE_OF_ROW, i]:
                    score = similarity[edges[k]]
                    level = np.searchsorted(alphas, score, "right")
                    passed[meetings[edges[k]], level] += 1
                    located[level] += score
    sums[:] = 0.0
    sums[_TRUTH] = len(truth_tracks)
    sums[_RESULTS] = len(result_tracks)
    so_far = np.zeros(len(meeting_truth))
    for a in range(len(alphas) - 1, -1, -1):
        sums[_LOCATED, a] = located[a + 1] + (sums[_LOCATED, a + 1] if a + 1 < len(alphas) else 0.0)
        for s in range(len(so_far)):
            so_far[s] += passed[s, a + 1]
            c = so_far[s]
            if c > 0:
                of_truth, of_result = truth_counts[meeting_truth[s]], result_counts[meeting_result[s]]
                sums[_TP, a] += c
                sums[_ASSA, a] += c * (c / (of_truth + of_result - c))
                sums[_ASSRE, a] += c * (c / of_truth)
                sums[_ASSPR, a] += c * (c / of_result)


@kernel
def _align(arrays, meetings, meeting_truth, meeting_result, truth_counts, result_counts):  # type: ignore[no-untyped-def]
    """How well two tracks fit over the whole sequence: (S,) Jaccard of their similarities, shared out per frame."""
    _, _, result_starts, _, pair_starts, pair_results, similarity = arrays
    row_sums, column_sums = np.zeros(len(pair_starts) - 1), np.zeros(result_starts[-1])
    for i in range(len(row_sums)):
        for e in range(pair_starts[i], pair_starts[i + 1]):
            row_sums[i] += similarity[e]
            column_sums[pair_results[e]] += similarity[e]
    shared = np.zeros(len(meeting_truth))
    for i in range(len(row_sums)):
        for e in range(pair_starts[i], pair_starts[i + 1]):
            union = column_sums[pair_results[e]] + row_sums[i] - similarity[e]
            if union > EPS:
                shared[meetings[e]] += similarity[e] / union
    for s in range(len(shared)):
        shared[s] /= truth_counts[meeting_truth[s]] + result_counts[meeting_result[s]] - shared[s]
    return shared
