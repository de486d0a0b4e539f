"""CLEAR MOT: MOTA and MOTP with what belongs to them, on boxes or masks; on masks also under the names of MOTS.

Source: Bernardin and Stiefelhagen, EURASIP JIVP 2008; sMOTSA: arXiv:1902.03604. Numbers as TrackEval 1.3.0 gives them:
a match needs a similarity of 0.5; pairs that were matched in the frame before go first, then the greatest total
similarity; a switch is counted against the last match of the true track, however long ago.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tracker._jit import kernel
from tracker.association.state import MATE_OF_ROW, STARTS
from tracker.evaluation.overlaps import EPS, Overlaps, match_pairs, most_pairs, new_scratch, widest

_THRESHOLD = 0.5
_TP, _FP, _FN, _IDSW, _FRAG, _MT, _PT, _ML, _FRAMES, _LOCATED, _SUMS = range(11)
_STEP, _COUNTS = 10, 11  # `counts` has the first four of them, and the number of frames with objects on both sides
_SEEN, _MATCHED, _RUNS, _LAST_ID, _LAST_STEP, _TRACK_ROWS = range(6)  # per true track


class Clear:
    """MOTA, MOTP, identity switches, fragments and track coverage of overlaps. Memory follows the number of tracks."""

    def __init__(self) -> None:
        self._sums = np.zeros(_SUMS)
        self._merged = False
        self._begin()

    def _begin(self) -> None:
        self._counts = np.zeros(_COUNTS, np.int64)
        self._located = 0.0
        self._place: dict[int, int] = {}
        self._tracks = np.zeros((_TRACK_ROWS, 64), np.int64)

    def update(self, overlaps: Overlaps) -> None:
        """Take the next frames of the sequence."""
        places = [self._place.setdefault(number, len(self._place)) for number in overlaps.truth_ids.tolist()]
        while self._tracks.shape[1] < len(self._place):
            self._tracks = np.hstack([self._tracks, np.zeros_like(self._tracks)])
        self._located += _follow(
            overlaps.arrays, np.asarray(places, np.int64), overlaps.result_ids, _THRESHOLD - EPS,
            self._counts, self._tracks,
        )  # fmt: skip
        self._counts[_FRAMES] += overlaps.frames

    def merge(self, other: Clear) -> None:
        """Add the sequences of `other`; the own one is over."""
        self._sums = self._total() + other._total()
        self._merged = True
        self._begin()

    def result(self) -> dict[str, float]:
        """All scores under TrackEval's names; `CLR_Frames` leaves out sequences with an empty side.

        Of a single sequence without true objects, or without results, all rates are 0 and MLR is 1; combined ones are
        computed from the counts whatever they are.
        """
        sums = self._total()
        tp, fp, fn, switches, *_, located = sums.tolist()
        names = ("CLR_TP", "CLR_FP", "CLR_FN", "IDSW", "Frag", "MT", "PT", "ML", "CLR_Frames")
        scores: dict[str, float] = {name: int(count) for name, count in zip(names, sums, strict=False)}
        scores["MOTP_sum"] = located
        defined = self._merged or bool(tp + fn and tp + fp)
        truth, tracks = max(1.0, tp + fn), max(1.0, sums[_MT] + sums[_PT] + sums[_ML])
        rates = {
            "MOTA": (tp - fp - switches) / truth,
            "MOTP": located / max(1.0, tp),
            "MODA": (tp - fp) / truth,
            "sMOTA": (located - fp - switches) / truth,
            "MOTAL": (tp - fp - (math.log10(switches) if switches > 0 else 0.0)) / truth,
            "CLR_Re": tp / truth,
            "CLR_Pr": tp / max(1.0, tp + fp),
            "CLR_F1": tp / max(1.0, tp + 0.5 * fn + 0.5 * fp),
            "FP_per_frame": fp / max(1.0, scores["CLR_Frames"]),
            "MTR": sums[_MT] / tracks,
            "PTR": sums[_PT] / tracks,
            "MLR": sums[_ML] / tracks,
        }
        for name, rate in rates.items():
            scores[name] = float(rate) if defined else float(name == "MLR")
        return scores

    def _total(self) -> NDArray[np.float64]:
        """Sums over all sequences, the running one included: (_SUMS,)."""
        sums = self._sums.copy()
        counts, tracks = self._counts, self._tracks[:, : len(self._place)]
        sums[: _IDSW + 1] += counts[: _IDSW + 1]
        if counts[_TP] + counts[_FN] > 0 and counts[_TP] + counts[_FP] > 0:
            sums[_FRAMES] += counts[_FRAMES]
        seen = tracks[:, tracks[_SEEN] > 0]
        coverage = seen[_MATCHED] / seen[_SEEN]
        most, some = int((coverage > 0.8).sum()), int((coverage >= 0.2).sum())
        sums[_MT] += most
        sums[_PT] += some - most
        sums[_ML] += len(coverage) - some
        sums[_FRAG] += np.maximum(tracks[_RUNS] - 1, 0).sum()
        sums[_LOCATED] += self._located
        return sums


_MASK_NAMES = {
    "sMOTSA": "sMOTA", "MOTSA": "MOTA", "MOTSP": "MOTP", "MODSA": "MODA", "MOTSAL": "MOTAL", "recall": "CLR_Re",
    "precision": "CLR_Pr", "F1": "CLR_F1", "TP": "CLR_TP", "FP": "CLR_FP", "FN": "CLR_FN", "IDSW": "IDSW",
    "Frag": "Frag", "MT": "MT", "PT": "PT", "ML": "ML",
}  # fmt: skip


class Mots(Clear):
    """`Clear` under the names that MOTS gave its scores; give it overlaps of masks."""

    def result(self) -> dict[str, float]:
        """sMOTSA, MOTSA, MOTSP and the rest; as in `Clear.result`."""
        scores = super().result()
        return {name: scores[other] for name, other in _MASK_NAMES.items()}


@kernel
def _follow(arrays, places, result_ids, least, counts, tracks):  # type: ignore[no-untyped-def]
    """Match frame by frame; adds to `counts` and `tracks`, returns the similarity of all matches together."""
    truth_starts, truth_tracks, result_starts, result_tracks, pair_starts, pair_results, similarity = arrays
    reals, ints = new_scratch(max(widest(truth_starts), widest(result_starts)))
    room = most_pairs(truth_starts, pair_starts)
    weights, columns, edges = np.empty(room), np.empty(room, np.int64), np.empty(room, np.int64)
    located = 0.0
    for t in range(len(truth_starts) - 1):
        first, first_result = truth_starts[t], result_starts[t]
        n_rows, n_columns = truth_starts[t + 1] - first, result_starts[t + 1] - first_result
        for i in range(n_rows):
            tracks[_SEEN, places[truth_tracks[first + i]]] += 1
        if n_rows == 0 or n_columns == 0:  # no step: what was matched before it counts as matched just before
            counts[_FN] += n_rows
            counts[_FP] += n_columns
            continue
        counts[_STEP] += 1
        step = counts[_STEP]
        n = 0
        for i in range(n_rows):
            ints[STARTS, i] = n
            track = places[truth_tracks[first + i]]
            for e in range(pair_starts[first + i], pair_starts[first + i + 1]):
                if similarity[e] >= least:
                    number = result_ids[result_tracks[pair_results[e]]]
                    again = step > 1 and tracks[_LAST_STEP, track] == step - 1 and tracks[_LAST_ID, track] == number
                    weights[n] = similarity[e] + (1000.0 if again else 0.0)
                    columns[n], edges[n] = pair_results[e] - first_result, e
                    n += 1
        ints[STARTS, n_rows] = n
        match_pairs(n_rows, n_columns, reals, ints, weights, columns)
        matches, of_frame = 0, 0.0
        for i in range(n_rows):
            mate = ints[MATE_OF_ROW, i]
            if mate < 0:
                continue
            track, number = places[truth_tracks[first + i]], result_ids[result_tracks[first_result + mate]]
            for k in range(ints[STARTS, i], ints[STARTS, i + 1]):
                if columns[k] == mate:
                    of_frame += similarity[edges[k]]
            if tracks[_MATCHED, track] > 0 and tracks[_LAST_ID, track] != number:
                counts[_IDSW] += 1
            if tracks[_MATCHED, track] == 0 or tracks[_LAST_STEP, track] != step - 1:
                tracks[_RUNS, track] += 1
            tracks[_MATCHED, track] += 1
            tracks[_LAST_ID, track] = number
            tracks[_LAST_STEP, track] = step
            matches += 1
        located += of_frame
        counts[_TP] += matches
        counts[_FN] += n_rows - matches
        counts[_FP] += n_columns - matches
    return located
