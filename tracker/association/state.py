"""State of all tracks as a struct of arrays: a few (rows, capacity) blocks, one column per track.

A row is one property of every track. Columns [0, count) are alive and stand in order of birth, so ids ascend; the
rest is room. Nothing is allocated per frame: the blocks double, from Python and before the step, when the tracks and
detections of a frame would not fit.

Row strides are never a multiple of 4096 bytes: with 4096 columns instead of 4120 the whole update took 1.7 times as
long (cache lines of all rows fall into one set; `spec/performance-facts.md`).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker._jit import inlined
from tracker.errors import SnapshotError

# reals: float64 rows. The first REALS live as long as their track, the others mean nothing between two frames.
X, V, P00, P01, P11 = 0, 4, 8, 12, 16  # four rows each, one per coordinate: estimate, its velocity per frame, and
#                                        the covariance block [[P00, P01], [P01, P11]] of both
BOX = 20  # xyxy: predicted, or corrected after a detection
LAST_BOX = 24  # xyxy of the last detection taken
SCORE = 28  # score of the last detection taken
PAST_FRAMES = 6  # how far back a plan may look
UNSEEN = 29  # time since the last detection, frames
LASTING = 30  # time for which it has been seen in a row
MEMORY_REALS = 31  # rows from here on are for plans that look back (`Plan.looks_back`); without, they mean nothing
HEADING = 31  # two rows: direction x, y of the last motion; 0, 0 before there was any
FROZEN_STEP = 33  # time from the last detection to the first missed frame
FROZEN = 34  # 20 rows like X to P11: the filter as it was predicted for the first missed frame
PAST = 54  # two rows for each of PAST_FRAMES: centre of the detection taken in frame number (modulo PAST_FRAMES)
CENTRE = PAST + 2 * PAST_FRAMES  # two rows: centre of the last detection, as its network gives it
VOTE_LABEL, VOTE_WEIGHT, VOTES = CENTRE + 2, CENTRE + 6, 4  # classes that lead the vote, best first, and their scores
REALS = CENTRE + 10
DETECTION_BOX, SQUARE, MEASURED = REALS, REALS + 4, REALS + 8  # four rows each
GATHERED = REALS + 12  # six rows: boxes, areas and factors of one side, in the order of the grid's cells
STEP, SEEN, DETECTION_SCORE, FACTOR, DUAL, DISTANCE, LIMIT, ALL_REALS = range(REALS + 18, REALS + 26)

# ints: int64 rows, likewise
(
    ID,
    PHASE,  # TrackState after the last frame, or DEAD inside a step
    SOURCE,  # row of the detection taken in this frame, or -1
    HITS,  # detections taken since birth
    STREAK,  # detections taken in a row, the first one of the track not counted
    MISSES,  # frames since the last detection
    BORN,  # frame number of birth
    LABEL,  # class, by the plan's rule
    GROUP,  # what the class counts as where matches ask for one class
    SETTLED,  # 1 once the track was confirmed
    EXPIRED,  # 1 once it coasted too long (late expiry)
    TRAIL,  # bit k - 1: a detection was taken k frames before the next one (`Plan.looks_back`)
    WAS,  # column before this frame, -1 for a track born in it
    INTS,
) = range(14)
USABLE, TAKEN, KIND = 13, 14, 15  # one per detection; the kind is the group of its class
REFUSED = 2  # of `USABLE`: it had a partner, but the gate came after and dissolved the pair
ROWS, COLUMNS, STARTS = 16, 17, 18  # tracks and detections of a stage, and where the pairs of each row start
MATE_OF_ROW, MATE_OF_COLUMN, PARENT, TOUCHED, ORDER = 19, 20, 21, 22, 23
CELLS, ALL_INTS = 24, 29  # five rows, used as one: first entry of each grid cell

COUNT, LAST_ID, FRAME, RESUME, STAGE, N_ROWS, N_COLUMNS, COUNTERS = range(8)
"""counters: live tracks, last id given, frames since reset; then where the step goes on and in which stage, with how
many tracks and detections (see `step.step`)."""

TENTATIVE, CONFIRMED, COASTING, DEAD = 0, 1, 2, 3
"""Phases; the first three are `TrackState`'s numbers, plain ints so that kernels see constants."""

_CAPACITY, _HEAD = COUNTERS, 16  # the counters are followed by the number of columns; the rows begin after the head
_FIRST_CAPACITY = 128
_PADDING = 24
_EDGES_PER_COLUMN = 8


def carve(
    memory: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The arrays of a state in its memory: counters, reals, ints, weights and columns of pairs."""
    capacity = memory[_CAPACITY]
    end_ints = _HEAD + ALL_INTS * capacity
    end_reals = end_ints + ALL_REALS * capacity
    end_weights = end_reals + (len(memory) - end_reals) // 2
    reals = memory[end_ints:end_reals].view(np.float64).reshape((ALL_REALS, capacity))
    ints = memory[_HEAD:end_ints].reshape((ALL_INTS, capacity))
    weights = memory[end_reals:end_weights].view(np.float64)
    return memory[:COUNTERS], reals, ints, weights, memory[end_weights:]


class State:
    """Arrays of one tracker, all in one piece of memory: every array that Python hands to a kernel takes time.

    Attributes:
        arrays: the memory, as `step` takes it.
        capacity: columns of `reals` and `ints`.
        counters: (COUNTERS,) int64.
        reals, ints: (ALL_REALS, capacity) float64 and (ALL_INTS, capacity) int64.
        edge_weights, edge_columns: scratch for candidate pairs, float64 and int64.
    """

    __slots__ = ("arrays", "capacity", "counters", "edge_columns", "edge_weights", "ints", "reals")

    counters: NDArray[np.int64]
    reals: NDArray[np.float64]
    ints: NDArray[np.int64]
    edge_weights: NDArray[np.float64]
    edge_columns: NDArray[np.int64]

    def __init__(self) -> None:
        self._allocate(_FIRST_CAPACITY + _PADDING, 0)

    def reserve(self, columns: int) -> None:
        """Make room for `columns` tracks and detections together; when it must grow, the room doubles."""
        if columns + 1 > self.capacity:  # one more: `STARTS` holds an end as well
            self._widen(columns + 1)

    def reserve_edges(self, edges: int) -> None:
        """Make room for `edges` candidate pairs; the buffers at least double."""
        counters, reals, ints = self.counters, self.reals, self.ints
        self._allocate(self.capacity, max(edges, 2 * len(self.edge_weights)))
        self.counters[:], self.reals[:], self.ints[:] = counters, reals, ints

    @property
    def nbytes(self) -> int:
        """Memory of all arrays."""
        return self.arrays[0].nbytes

    def dump(self) -> dict[str, NDArray[Any]]:
        """Copies of all that lives from frame to frame, cut to the live tracks: room and scratch are left out."""
        alive = int(self.counters[COUNT])
        return {
            "counters": self.counters.copy(),
            "reals": self.reals[:REALS, :alive].copy(),
            "ints": self.ints[:INTS, :alive].copy(),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Become the state that `dump` copied; the next frame comes out bit for bit as it would have there.

        Raises:
            SnapshotError: names, shapes or dtypes are not those of `dump`. Nothing has changed.
        """
        given = {name: (array.dtype.str, array.shape[:-1]) for name, array in arrays.items()}
        wanted = {name: (array.dtype.str, array.shape[:-1]) for name, array in self.dump().items()}
        if given != wanted or arrays["counters"].shape != (COUNTERS,):
            raise SnapshotError(f"expected the arrays {wanted}, got {given}")
        alive = int(arrays["counters"][COUNT])
        if not alive == arrays["reals"].shape[1] == arrays["ints"].shape[1]:
            raise SnapshotError(f"expected {alive} live tracks, got {arrays['reals'].shape} {arrays['ints'].shape}")
        self.reserve(alive)
        self.counters[:] = arrays["counters"]
        self.reals[:REALS, :alive] = arrays["reals"]
        self.ints[:INTS, :alive] = arrays["ints"]

    def _widen(self, columns: int) -> None:
        room = _FIRST_CAPACITY
        while room + _PADDING < columns:
            room *= 2
        counters, reals, ints, alive = self.counters, self.reals, self.ints, int(self.counters[COUNT])
        self._allocate(room + _PADDING, len(self.edge_weights))
        self.counters[:], self.reals[:, :alive], self.ints[:, :alive] = counters, reals[:, :alive], ints[:, :alive]

    def _allocate(self, capacity: int, edges: int) -> None:
        """New memory, all zeros, with at least the usual room for pairs."""
        edges = max(edges, _EDGES_PER_COLUMN * capacity)
        memory = np.zeros(_HEAD + (ALL_REALS + ALL_INTS) * capacity + 2 * edges, np.int64)
        memory[_CAPACITY] = self.capacity = capacity
        self.arrays = (memory,)
        self.counters, self.reals, self.ints, self.edge_weights, self.edge_columns = carve(memory)


def layout() -> str:
    """Fingerprint of the names and places of all rows: only a state that was saved with the same one can go on."""
    places = sorted(
        (name, value)
        for name, value in globals().items()
        if name.isupper() and isinstance(value, int) and not name.startswith("_")
    )
    return hashlib.blake2b(repr(places).encode(), digest_size=8).hexdigest()


@inlined
def drop_dead(reals, ints, n, remembers):  # type: ignore[no-untyped-def]
    """Close the gaps that dead tracks leave, keeping the order; `remembers`: also of what they remember.

    Returns:
        How many live.
    """
    first = 0
    while first < n and ints[PHASE, first] != DEAD:
        first += 1
    alive = first
    for i in range(first, n):
        if ints[PHASE, i] != DEAD:
            ints[ORDER, alive] = i
            alive += 1
    for r in range(REALS if remembers else MEMORY_REALS):
        for k in range(first, alive):
            reals[r, k] = reals[r, ints[ORDER, k]]
    for r in range(INTS):
        for k in range(first, alive):
            ints[r, k] = ints[r, ints[ORDER, k]]
    return alive
