"""One-to-one matching inside a metric's kernel: the association core's exact solver, on the pairs of one frame."""

import numpy as np

from tracker._jit import inlined
from tracker.association.matching import match_exact
from tracker.association.state import ALL_INTS, ALL_REALS, MATE_OF_ROW, STARTS

__all__ = ["MATE_OF_ROW", "STARTS", "match_pairs", "most_pairs", "new_scratch", "widest"]


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
