"""IDF1: how much of the truth is explained when every true track is given at most one result for the whole sequence.

Source: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", ECCVW 2016
(arXiv:1609.01775); numbers as TrackEval 1.3.0 gives them.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.association.state import MATE_OF_ROW, STARTS
from tracker.evaluation.overlaps import Overlaps, match_pairs, new_scratch

_THRESHOLD = 0.5


class Identity:
    """IDF1, IDR and IDP of overlaps. Memory follows the couples of ids that ever overlap by half."""

    def __init__(self) -> None:
        self._sums = np.zeros(3, np.int64)  # IDTP, true objects, results
        self._begin()

    def _begin(self) -> None:
        self._together: Counter[tuple[int, int]] = Counter()
        self._objects = self._results = 0

    def update(self, overlaps: Overlaps) -> None:
        """Take the next frames of the sequence."""
        self._objects += len(overlaps.truth_tracks)
        self._results += len(overlaps.result_tracks)
        close = overlaps.similarity >= _THRESHOLD
        times = np.bincount(overlaps.meetings[close], minlength=len(overlaps.meeting_truth))
        met = np.flatnonzero(times)
        truth = overlaps.truth_ids[overlaps.meeting_truth[met]].tolist()
        results = overlaps.result_ids[overlaps.meeting_result[met]].tolist()
        self._together.update(dict(zip(zip(truth, results, strict=True), times[met].tolist(), strict=True)))

    def merge(self, other: Identity) -> None:
        """Add the sequences of `other`; the own one is over."""
        self._sums = self._total() + other._total()
        self._begin()

    def result(self) -> dict[str, float]:
        """IDF1, IDR, IDP in [0, 1] and the counts IDTP, IDFN, IDFP; 0 where a side is empty."""
        idtp, objects, results = self._total().tolist()
        idfn, idfp = objects - idtp, results - idtp
        return {
            "IDF1": idtp / max(1.0, idtp + 0.5 * idfp + 0.5 * idfn),
            "IDR": idtp / max(1.0, objects),
            "IDP": idtp / max(1.0, results),
            "IDTP": idtp,
            "IDFN": idfn,
            "IDFP": idfp,
        }

    def _total(self) -> NDArray[np.int64]:
        return self._sums + np.array([self._match(), self._objects, self._results], np.int64)

    def _match(self) -> int:
        """Frames explained by the best one-to-one assignment of ids to ids: it minimises IDFN + IDFP."""
        if not self._together:
            return 0
        couples = np.array(list(self._together))
        times = np.fromiter(self._together.values(), np.float64)
        sides = [np.unique(couples[:, side], return_inverse=True) for side in range(2)]
        rows, columns = (places.reshape(-1) for _, places in sides)
        n_rows, n_columns = (len(ids) for ids, _ in sides)
        order = np.lexsort((columns, rows))
        starts = np.searchsorted(rows[order], np.arange(n_rows + 1))
        return int(_best_total(n_rows, n_columns, starts, columns[order], times[order]))


@kernel
def _best_total(n_rows, n_columns, starts, columns, weights):  # type: ignore[no-untyped-def]
    """Weight of the heaviest one-to-one matching."""
    reals, ints = new_scratch(max(n_rows, n_columns))
    ints[STARTS, : n_rows + 1] = starts
    match_pairs(n_rows, n_columns, reals, ints, weights, columns)
    total = 0.0
    for i in range(n_rows):
        for e in range(starts[i], starts[i + 1]):
            if columns[e] == ints[MATE_OF_ROW, i]:
                total += weights[e]
    return total
