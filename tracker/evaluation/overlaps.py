"""Who overlaps whom: the comparison of true objects with results that all box and mask metrics share.

Objects of consecutive frames stand in one table, frame after frame; only pairs that overlap at all are kept. A metric
therefore takes a frame, or a whole sequence, in one compiled call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker._jit import inlined, kernel
from tracker.association.matching import match_exact
from tracker.association.state import ALL_INTS, ALL_REALS, MATE_OF_ROW, STARTS
from tracker.errors import DetectionsError
from tracker.masks import Masks

EPS = float(np.finfo(np.float64).eps)
"""TrackEval compares similarities with its thresholds less this."""

_TABLE = 1 << 24  # couples of tracks up to which a table is faster than sorting


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Objects of consecutive frames, frame after frame.

    Attributes:
        starts: (F + 1,) int64, row at which each frame begins; the last one is N.
        ids: (N,) int64, any numbers, unique within a frame.
    """

    starts: NDArray[np.int64]
    ids: NDArray[np.int64]

    @classmethod
    def one_frame(cls, ids: ArrayLike) -> Objects:
        """The objects of a single frame; an empty list is a frame without objects."""
        numbers = np.asarray(ids, np.int64).reshape(-1)
        return cls(np.array([0, len(numbers)]), numbers)

    @classmethod
    def sort(cls, frames: NDArray[np.int64], ids: NDArray[np.int64], count: int) -> tuple[Objects, NDArray[np.int64]]:
        """From rows in any order.

        Args:
            frames: (N,) frame of each row, in [0, count).
            ids: (N,) its id.
            count: frames there are.

        Returns:
            The objects, and the order in which the rows stand now; rows of a frame keep their order.
        """
        order = np.argsort(frames, kind="stable")
        return cls(np.searchsorted(frames[order], np.arange(count + 1)), ids[order]), order


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Which true object overlaps which result, for F consecutive frames; the parts of a sequence come in order.

    Attributes:
        truth_starts: (F + 1,) int64, row of the first true object of each frame.
        truth_tracks: (N,) int64, for each true object the place of its id in `truth_ids`.
        truth_ids: (A,) int64, distinct ids; some may be without any object.
        result_starts: (F + 1,) int64, likewise for the results.
        result_tracks: (M,) int64.
        result_ids: (B,) int64.
        pair_starts: (N + 1,) int64, the first pair of each true object.
        pair_results: (P,) int64, row of the result, within the true object's own frame.
        similarity: (P,) float64, IoU above 0.
        meetings: (P,) int64, for each pair the place of its two tracks in `meeting_truth` and `meeting_result`.
        meeting_truth: (S,) int64, true track of each couple of tracks that ever overlap.
        meeting_result: (S,) int64, its result's track.
    """

    truth_starts: NDArray[np.int64]
    truth_tracks: NDArray[np.int64]
    truth_ids: NDArray[np.int64]
    result_starts: NDArray[np.int64]
    result_tracks: NDArray[np.int64]
    result_ids: NDArray[np.int64]
    pair_starts: NDArray[np.int64]
    pair_results: NDArray[np.int64]
    similarity: NDArray[np.float64]
    meetings: NDArray[np.int64]
    meeting_truth: NDArray[np.int64]
    meeting_result: NDArray[np.int64]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What kernels take: starts and tracks of both sides, then starts, results and similarity of the pairs."""
        return (
            self.truth_starts, self.truth_tracks, self.result_starts, self.result_tracks,
            self.pair_starts, self.pair_results, self.similarity,
        )  # fmt: skip

    @property
    def frames(self) -> int:
        """Frames compared."""
        return len(self.truth_starts) - 1

    def match(self, threshold: float = 0.5) -> NDArray[np.int64]:
        """Best one-to-one match of each frame (greatest total similarity), as the preprocessing of benchmarks uses it.

        Returns:
            (N,) row of the result that each true object is matched with, at `threshold` or above, or -1.
        """
        mates: NDArray[np.int64] = _match_frames(self.arrays, threshold - EPS)
        return mates

    def select(self, truth: NDArray[np.bool_], results: NDArray[np.bool_]) -> Overlaps:
        """Without some objects: (N,) and (M,) bool say which stay."""
        truth_rows, result_rows = _counted(truth), _counted(results)
        pair_starts, pairs = _keep_pairs(truth, results, truth_rows, self.pair_starts, self.pair_results)
        return replace(
            self,
            truth_starts=truth_rows[self.truth_starts],
            truth_tracks=self.truth_tracks[truth],
            result_starts=result_rows[self.result_starts],
            result_tracks=self.result_tracks[results],
            pair_starts=pair_starts,
            pair_results=result_rows[self.pair_results[pairs]],
            similarity=self.similarity[pairs],
            meetings=self.meetings[pairs],
        )


def join(parts: Sequence[Overlaps]) -> Overlaps:
    """Consecutive parts of one sequence as a single one; at least one."""
    if len(parts) == 1:
        return parts[0]
    truth, new_truth, _ = _join_side([(part.truth_starts, part.truth_tracks, part.truth_ids) for part in parts])
    results, new_results, before = _join_side(
        [(part.result_starts, part.result_tracks, part.result_ids) for part in parts]
    )
    pair_starts = _chain([part.pair_starts for part in parts])
    columns = [part.pair_results + at for part, at in zip(parts, before, strict=True)]
    met_truth = [new[part.meeting_truth[part.meetings]] for part, new in zip(parts, new_truth, strict=True)]
    met_results = [new[part.meeting_result[part.meetings]] for part, new in zip(parts, new_results, strict=True)]
    return Overlaps(
        *truth, *results, pair_starts, np.concatenate(columns), np.concatenate([part.similarity for part in parts]),
        *_number_meetings(np.concatenate(met_truth), np.concatenate(met_results), len(truth[2]), len(results[2])),
    )  # fmt: skip


_Side = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # starts, tracks, ids


def _join_side(parts: Sequence[_Side]) -> tuple[_Side, list[NDArray[np.int64]], NDArray[np.int64]]:
    """One side of all parts; what each part's tracks are called now, and the rows before each part."""
    distinct, places = np.unique(np.concatenate([ids for _, _, ids in parts]), return_inverse=True)
    new = np.split(places.reshape(-1), np.cumsum([len(ids) for _, _, ids in parts])[:-1])
    tracks = [table[numbers] for table, (_, numbers, _) in zip(new, parts, strict=True)]
    lengths = [len(numbers) for _, numbers, _ in parts]
    before = np.cumsum([0, *lengths[:-1]])
    return (_chain([starts for starts, _, _ in parts]), np.concatenate(tracks), distinct), new, before


def _chain(starts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Starts of consecutive parts as one array."""
    ends = np.cumsum([each[-1] for each in starts])
    return np.concatenate([starts[0], *(each[1:] + end for each, end in zip(starts[1:], ends, strict=False))])


def compare_boxes(truth: Objects, truth_boxes: ArrayLike, results: Objects, result_boxes: ArrayLike) -> Overlaps:
    """IoU of boxes.

    Args:
        truth: N true objects of F frames.
        truth_boxes: (N, 4) xyxy, any unit; boxes without area overlap nothing.
        results: M objects of the same frames.
        result_boxes: (M, 4) likewise.

    Raises:
        DetectionsError: shapes that do not fit, NaN or infinite numbers, an id twice in a frame.
    """
    boxes = [_checked_boxes(*side) for side in ((truth, truth_boxes), (results, result_boxes))]
    pairs = _find_box_pairs(truth.starts, boxes[0], results.starts, boxes[1])
    return _assemble(truth, results, *pairs)


def compare_masks(
    truth: Objects, truth_masks: Sequence[Masks], results: Objects, result_masks: Sequence[Masks]
) -> Overlaps:
    """IoU of masks.

    Args:
        truth: N true objects of F frames.
        truth_masks: F values, one per frame, with a mask for each of its objects.
        results: objects of the same frames.
        result_masks: likewise.

    Raises:
        DetectionsError: frames or masks are missing, an id twice in a frame.
        MasksError: masks of different frame sizes.
    """
    for objects, masks in ((truth, truth_masks), (results, result_masks)):
        lengths = [len(frame) for frame in masks]
        if lengths != np.diff(objects.starts).tolist():
            raise DetectionsError("expected a mask for each object of each frame")
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    similarity: list[NDArray[np.float64]] = []
    for t in range(min(len(truth_masks), len(result_masks))):
        if len(truth_masks[t]) and len(result_masks[t]):
            iou = truth_masks[t].iou(result_masks[t])
            i, j = np.nonzero(iou)
            rows.append(i + truth.starts[t])
            columns.append(j + results.starts[t])
            similarity.append(iou[i, j])
    counts = np.bincount(_joined(rows, np.int64), minlength=len(truth.ids))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return _assemble(truth, results, starts, _joined(columns, np.int64), _joined(similarity, np.float64))


def _assemble(
    truth: Objects,
    results: Objects,
    starts: NDArray[np.int64],
    columns: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> Overlaps:
    if len(truth.starts) != len(results.starts):
        raise DetectionsError(
            f"expected the same frames on both sides, got {len(truth.starts) - 1} and {len(results.starts) - 1}"
        )
    true_side, side = _number_side(truth), _number_side(results)
    pair_truth = np.repeat(true_side[1], np.diff(starts))
    meetings = _number_meetings(pair_truth, side[1][columns], len(true_side[2]), len(side[2]))
    return Overlaps(*true_side, *side, starts, columns, similarity, *meetings)


def _number_side(objects: Objects) -> _Side:
    tracks, ids = _number(objects.ids)
    if (row := int(_find_repeat(objects.starts, tracks, len(ids)))) >= 0:
        frame = int(np.searchsorted(objects.starts, row, "right")) - 1
        raise DetectionsError(f"expected each id once in a frame, got {objects.ids[row]} twice in frame {frame}")
    return objects.starts, tracks, ids


def _number_meetings(
    truth: NDArray[np.int64], results: NDArray[np.int64], n_truth: int, n_results: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Number the couples of tracks: the number of each pair, and both tracks of each number."""
    if n_truth * n_results <= _TABLE:
        return _look_up(truth, results, n_truth, n_results)  # type: ignore[no-any-return]
    couples, meetings = np.unique(truth * n_results + results, return_inverse=True)
    return meetings.reshape(-1), couples // n_results, couples % n_results


def _checked_boxes(objects: Objects, boxes: ArrayLike) -> NDArray[np.float64]:
    table = np.ascontiguousarray(boxes, np.float64)
    if table.size == 0:
        table = table.reshape(0, 4)
    if table.shape != (len(objects.ids), 4):
        raise DetectionsError(f"expected boxes of shape ({len(objects.ids)}, 4), got {table.shape}")
    if not np.isfinite(table).all():
        raise DetectionsError("expected finite boxes, got NaN or infinity")
    return table


def _number(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct ids in ascending order, and for each object the place of its id among them."""
    if len(ids) and (span := int(ids.max()) - (low := int(ids.min()))) < 4 * len(ids) + 1024:
        place = np.full(span + 1, -1, np.int64)  # ids are dense in practice: much faster than sorting them
        place[ids - low] = 0
        used = np.flatnonzero(place == 0)
        place[used] = np.arange(len(used))
        return place[ids - low], used + low
    distinct, tracks = np.unique(ids, return_inverse=True)
    return tracks.reshape(-1), distinct


def _counted(keep: NDArray[np.bool_]) -> NDArray[np.int64]:
    """New row of each old row, and of the end."""
    rows = np.zeros(len(keep) + 1, np.int64)
    np.cumsum(keep, out=rows[1:])
    return rows


def _joined(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


@inlined
def new_scratch(capacity):  # type: ignore[no-untyped-def]
    """Room for `match_pairs` with up to `capacity` rows and columns: reals and ints, as `match_exact` wants them."""
    return np.empty((ALL_REALS, capacity + 1)), np.empty((ALL_INTS, capacity + 1), np.int64)


@inlined
def match_pairs(n_rows, n_columns, reals, ints, weights, columns):  # type: ignore[no-untyped-def]
    """One-to-one matching of greatest total weight among pairs that weigh more than 0.

    The caller has written the first pair of each row (and the end) into `ints[STARTS]`; the answer is in
    `ints[MATE_OF_ROW]`: the column, or -1.
    """
    match_exact(n_rows, n_columns, reals, ints, weights, columns)


@inlined
def widest(starts):  # type: ignore[no-untyped-def]
    """Most objects in a frame."""
    most = 0
    for t in range(len(starts) - 1):
        most = max(most, starts[t + 1] - starts[t])
    return most


@inlined
def most_pairs(starts, pair_starts):  # type: ignore[no-untyped-def]
    """Most pairs in a frame; `starts` are those of the true objects."""
    most = 0
    for t in range(len(starts) - 1):
        most = max(most, pair_starts[starts[t + 1]] - pair_starts[starts[t]])
    return most


@kernel
def _match_frames(arrays, least):  # type: ignore[no-untyped-def]
    truth_starts, _, result_starts, _, pair_starts, pair_results, similarity = arrays
    mates = np.full(len(pair_starts) - 1, -1, np.int64)
    reals, ints = new_scratch(max(widest(truth_starts), widest(result_starts)))
    room = most_pairs(truth_starts, pair_starts)
    weights, columns = np.empty(room), np.empty(room, np.int64)
    for t in range(len(truth_starts) - 1):
        first, first_result = truth_starts[t], result_starts[t]
        n_rows, n_columns = truth_starts[t + 1] - first, result_starts[t + 1] - first_result
        n = 0
        for i in range(n_rows):
            ints[STARTS, i] = n
            for e in range(pair_starts[first + i], pair_starts[first + i + 1]):
                if similarity[e] >= least:
                    weights[n], columns[n] = similarity[e], pair_results[e] - first_result
                    n += 1
        ints[STARTS, n_rows] = n
        match_pairs(n_rows, n_columns, reals, ints, weights, columns)
        for i in range(n_rows):
            if ints[MATE_OF_ROW, i] >= 0:
                mates[first + i] = ints[MATE_OF_ROW, i] + first_result
    return mates


@kernel
def _find_box_pairs(truth_starts, truth, result_starts, results):  # type: ignore[no-untyped-def]
    """Pairs of boxes whose IoU is above 0, in the order of the true objects."""
    starts = np.zeros(len(truth) + 1, np.int64)
    columns, similarity = np.empty(4 * len(truth) + 64, np.int64), np.empty(4 * len(truth) + 64)
    n = 0
    for t in range(min(len(truth_starts), len(result_starts)) - 1):
        width = result_starts[t + 1] - result_starts[t]
        for i in range(truth_starts[t], truth_starts[t + 1]):
            x0, y0, x1, y1 = truth[i]
            area = (x1 - x0) * (y1 - y0)
            if n + width > len(columns):
                columns = np.concatenate((columns, np.empty(len(columns) + width, np.int64)))
                similarity = np.concatenate((similarity, np.empty(len(similarity) + width)))
            for j in range(result_starts[t], result_starts[t + 1]):
                left, right = max(x0, results[j, 0]), min(x1, results[j, 2])
                if left >= right:
                    continue
                top, bottom = max(y0, results[j, 1]), min(y1, results[j, 3])
                if top >= bottom:
                    continue
                shared = (right - left) * (bottom - top)
                other = (results[j, 2] - results[j, 0]) * (results[j, 3] - results[j, 1])
                union = area + other - shared
                if area > EPS and other > EPS and union > EPS:
                    columns[n], similarity[n] = j, shared / union
                    n += 1
            starts[i + 1] = n
    return starts, columns[:n].copy(), similarity[:n].copy()


@kernel
def _keep_pairs(truth, results, truth_rows, pair_starts, pair_results):  # type: ignore[no-untyped-def]
    """Pairs whose two ends stay, and the first one of each true object that stays."""
    starts = np.zeros(truth_rows[-1] + 1, np.int64)
    pairs = np.empty(len(pair_results), np.int64)
    n = 0
    for i in range(len(truth)):
        if truth[i]:
            for e in range(pair_starts[i], pair_starts[i + 1]):
                if results[pair_results[e]]:
                    pairs[n] = e
                    n += 1
            starts[truth_rows[i] + 1] = n
    return starts, pairs[:n].copy()


@kernel
def _look_up(truth, results, n_truth, n_results):  # type: ignore[no-untyped-def]
    table = np.full(n_truth * n_results, -1, np.int32)
    numbers = np.empty(len(truth), np.int64)
    first = np.empty(len(truth), np.int64)
    n = 0
    for e in range(len(truth)):
        at = truth[e] * n_results + results[e]
        if table[at] < 0:
            table[at] = n
            first[n] = e
            n += 1
        numbers[e] = table[at]
    return numbers, truth[first[:n]], results[first[:n]]


@kernel
def _find_repeat(starts, tracks, n_tracks):  # type: ignore[no-untyped-def]
    """Row of the first object whose track is in the same frame already, or -1."""
    last = np.full(n_tracks, -1, np.int64)
    for t in range(len(starts) - 1):
        for i in range(starts[t], starts[t + 1]):
            if last[tracks[i]] == t:
                return i
            last[tracks[i]] = t
    return -1
