"""Every kernel against its slow twin: motion, pairs, matching."""

import numpy as np
import pytest

from tests.reference import association as reference
from tracker.association.cues import CUES, find_pairs
from tracker.association.matching import SOLVERS
from tracker.association.motion import FORMS, MOTION, MOTIONS, XYXY, correct, predict
from tracker.association.plan import Plan, Stage
from tracker.association.state import (
    BOX,
    COLUMNS,
    DETECTION_BOX,
    FACTOR,
    MATE_OF_COLUMN,
    MATE_OF_ROW,
    MEASURED,
    P00,
    P01,
    P11,
    PHASE,
    ROWS,
    SEEN,
    STARTS,
    STEP,
    State,
    V,
    X,
)
from tracker.types import TrackState


def table_of(motion):
    return Plan(stages=(Stage(),), motion=motion).encode()


def begin_filters(motion, r, count):
    """State with `count` new tracks and the twin of each."""
    state, m = State(), MOTIONS[motion]
    x = np.stack(
        [r.uniform(50, 900, count), r.uniform(50, 900, count), r.uniform(0.3, 2, count), r.uniform(20, 300, count)]
    )
    if m.form == "xysr":
        x = x[[0, 1, 3, 2]]
    twins = [reference.Kalman(motion, x[:, i]) for i in range(count)]
    state.reals[X : X + 4, :count] = x
    for i, twin in enumerate(twins):
        state.reals[P00 : P00 + 4, i] = twin.filter.P.diagonal()[:4]
        state.reals[P11 : P11 + 4, i] = twin.filter.P.diagonal()[4:]
    state.ints[PHASE, :count] = TrackState.CONFIRMED
    return state, twins


@pytest.mark.parametrize("steps", [(1.0,), (0.0, 0.4, 1.0, 2.0, 7.5)])
@pytest.mark.parametrize("motion", [name for name in MOTIONS if name != "none"])
def test_filters_equal_filterpy(motion, steps):
    r = np.random.default_rng(3)
    state, twins = begin_filters(motion, r, 20)
    table, reals = table_of(motion), state.reals
    for _ in range(60):
        dt = r.choice(steps, 20)
        reals[STEP, :20] = dt
        predict(table, reals, state.ints, 20)
        seen = r.random(20) < 0.7
        reals[SEEN, :20] = seen
        reals[MEASURED : MEASURED + 4, :20] = np.abs(reals[X : X + 4, :20] * r.normal(1, 0.05, (4, 20)))
        z = reals[MEASURED : MEASURED + 4, :20].copy()
        correct(table, reals, 20)
        for i, twin in enumerate(twins):
            twin.predict(dt[i])
            if seen[i]:
                twin.update(z[:, i])
            f = twin.filter
            mine = np.concatenate([reals[X : X + 4, i], reals[V : V + 4, i]])
            np.testing.assert_allclose(mine, f.x[:, 0], rtol=1e-9, atol=1e-9)
            blocks = [f.P.diagonal()[:4], f.P[range(4), range(4, 8)], f.P.diagonal()[4:]]
            np.testing.assert_allclose(
                np.concatenate([reals[P00 : P00 + 4, i], reals[P01 : P01 + 4, i], reals[P11 : P11 + 4, i]]),
                np.concatenate(blocks),
                rtol=1e-9,
                atol=1e-9,
            )
            outside = f.P.copy()
            outside[range(4), range(4)] = outside[range(4, 8), range(4, 8)] = 0
            outside[range(4), range(4, 8)] = outside[range(4, 8), range(4)] = 0
            assert not outside.any(), "the blocks are all that the covariance has"


def test_no_motion_keeps_the_last_box():
    state, table = State(), table_of("none")
    state.reals[X : X + 4, 0] = 1, 2, 30, 40
    state.reals[MEASURED : MEASURED + 4, 0] = 5, 6, 35.5, 46
    for dt in (0.0, 1.0, 9.0):
        state.reals[STEP, 0] = dt
        state.reals[SEEN, 0] = dt
        predict(table, state.reals, state.ints, 1)
        correct(table, state.reals, 1)
        wanted = (1, 2, 30, 40) if dt == 0 else (5, 6, 35.5, 46)
        assert tuple(state.reals[X : X + 4, 0]) == wanted
    assert FORMS[MOTIONS["none"].form] == XYXY


@pytest.mark.parametrize("motion", [name for name in MOTIONS if name != "none"])
def test_sizes_stay_positive_over_any_step(motion):
    """T3: a fast-shrinking box and a long gap; the guard must look at the real step, not at one frame."""
    state, _ = begin_filters(motion, np.random.default_rng(0), 1)
    table, reals = table_of(motion), state.reals
    for k in np.flatnonzero(MOTIONS[motion].size):
        reals[V + k, 0] = -0.1 * reals[X + k, 0]
    before = reals[X : X + 4, 0].copy()
    reals[STEP, 0] = 5.0
    predict(table, reals, state.ints, 1)
    shrinking = [k for k in np.flatnonzero(MOTIONS[motion].size) if table[MOTION + k, 1] > 0]
    assert (reals[[X + k for k in shrinking], 0] == 0.5 * before[shrinking]).all()
    reals[STEP, 0] = 50.0
    half = reals[X : X + 4, 0].copy()
    predict(table, reals, state.ints, 1)
    assert (reals[[X + k for k in shrinking], 0] == half[shrinking]).all()
    assert (reals[[V + k for k in shrinking], 0] == 0).all()


@pytest.mark.parametrize("motion", list(MOTIONS))
def test_covariance_stays_positive_for_1e5_frames(motion):
    state, _ = begin_filters(motion, np.random.default_rng(1), 3)
    table, reals = table_of(motion), state.reals
    for k in range(100_000):
        reals[STEP, :3] = 1.0
        reals[SEEN, :3] = k % 7 < 3
        reals[MEASURED : MEASURED + 4, :3] = reals[X : X + 4, :3]
        predict(table, reals, state.ints, 3)
        correct(table, reals, 3)
    p00, p01, p11 = reals[P00 : P00 + 4, :3], reals[P01 : P01 + 4, :3], reals[P11 : P11 + 4, :3]
    assert np.isfinite(reals[X : P11 + 4, :3]).all()
    assert (p00 >= 0).all() and (p11 >= 0).all() and (p00 * p11 - p01 * p01 >= -1e-12).all()


def scatter(r, count, spread):
    corner = r.uniform(0, spread, (count, 2))
    return np.concatenate([corner, corner + r.uniform(1, 60, (count, 2))], 1)


@pytest.mark.parametrize("cue", list(CUES))
@pytest.mark.parametrize("gate", [0.0, 0.3, 0.85])
@pytest.mark.parametrize(
    ("rows", "columns", "spread"), [(0, 5, 10), (5, 0, 10), (1, 1, 5), (9, 11, 100), (80, 90, 300), (60, 70, 4)]
)
def test_pairs_equal_the_matrix(cue, gate, rows, columns, spread):
    assert cue == "iou"
    r = np.random.default_rng(rows + columns)
    for pixel in (0.0, 1.0):
        for top in (1.0, 3.0):  # scores above 1 are legal
            state = State()
            state.reserve(rows + columns)
            a, b = scatter(r, rows, spread), scatter(r, columns, spread)
            if rows and columns:
                b[0] = a[0]
            factors = r.uniform(0.1, top, columns)
            which = r.permutation(columns)
            state.reals[BOX : BOX + 4, :rows] = a.T
            state.reals[DETECTION_BOX : DETECTION_BOX + 4, :columns] = b.T
            state.reals[FACTOR, :columns] = factors
            state.ints[ROWS, :rows] = np.arange(rows)
            state.ints[COLUMNS, :columns] = which
            weights, places = np.zeros(rows * columns + 1), np.zeros(rows * columns + 1, np.int64)
            args = (rows, columns, BOX, DETECTION_BOX, gate, pixel, state.reals, state.ints)
            n = find_pairs(*args, weights, places)
            matrix = np.full((rows, columns), -np.inf)
            for i in range(rows):
                for e in range(state.ints[STARTS, i], state.ints[STARTS, i + 1]):
                    assert matrix[i, places[e]] == -np.inf, "a pair came twice"
                    matrix[i, places[e]] = weights[e]
            wanted = reference.box_iou(a, b[which], pixel) * factors - gate
            wanted[wanted <= 0] = -np.inf
            np.testing.assert_allclose(matrix, wanted, rtol=1e-9, atol=1e-12)
            assert find_pairs(*args, weights[:3], places[:3]) == n, "short buffers are not overrun, pairs still counted"


def solve(name, matrix, r=None):
    """Partner of each row by a solver, the pairs of each row in random order."""
    state = State()
    rows, columns = matrix.shape
    state.reserve(rows + columns)
    weights, places = [], []
    for i in range(rows):
        state.ints[STARTS, i] = len(weights)
        for j in np.flatnonzero(matrix[i] > 0) if r is None else r.permutation(np.flatnonzero(matrix[i] > 0)):
            weights.append(matrix[i, j])
            places.append(j)
    state.ints[STARTS, rows] = len(weights)
    SOLVERS[name].kernel(rows, columns, state.reals, state.ints, np.array(weights, float), np.array(places, np.int64))
    mate = state.ints[MATE_OF_ROW, :rows].copy()
    back = state.ints[MATE_OF_COLUMN, :columns]
    for i, j in enumerate(mate):
        assert j < 0 or (back[j] == i and matrix[i, j] > 0)
    assert (back >= 0).sum() == (mate >= 0).sum()
    return mate


def total(matrix, mate):
    return sum(matrix[i, j] for i, j in enumerate(mate) if j >= 0)


@pytest.mark.parametrize("ties", [False, True])
def test_exact_is_optimal_on_small_problems(ties):
    r = np.random.default_rng(0)
    for _ in range(150):
        matrix = r.uniform(-0.5, 1, r.integers(0, 5, 2))
        matrix = np.round(matrix * 3) / 4 if ties else matrix
        assert total(matrix, solve("exact", matrix)) == pytest.approx(reference.match_exact(matrix), abs=1e-12)


def test_exact_equals_lap_with_a_cost_limit():
    import lap

    r = np.random.default_rng(1)
    for _ in range(150):
        rows, columns = r.integers(1, 60, 2)
        matrix = np.where(r.random((rows, columns)) < r.uniform(0.02, 0.6), r.random((rows, columns)), -1.0)
        _, theirs, _ = lap.lapjv(1.0 - matrix, extend_cost=True, cost_limit=1.0)
        mine = solve("exact", matrix)
        assert total(matrix, mine) == pytest.approx(total(matrix, theirs), abs=1e-9)
        np.testing.assert_array_equal(mine, theirs)  # no ties: the optimum is unique


@pytest.mark.parametrize("ties", [False, True])
def test_greedy_equals_its_twin(ties):
    r = np.random.default_rng(2)
    for _ in range(150):
        matrix = r.uniform(-0.5, 1, r.integers(0, 12, 2))
        matrix = np.round(matrix * 3) / 4 if ties else matrix
        assert solve("greedy", matrix).tolist() == reference.match_greedy(matrix)


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_ties_do_not_depend_on_the_order_of_pairs(solver):
    r = np.random.default_rng(4)
    for _ in range(150):
        matrix = np.round(r.uniform(-0.5, 1, (8, 9)) * 2) / 2
        assert solve(solver, matrix, r).tolist() == solve(solver, matrix, r).tolist() == solve(solver, matrix).tolist()
    everything_equal = np.ones((3, 3))
    assert solve(solver, everything_equal).tolist() == [0, 1, 2]


@pytest.mark.parametrize("solver", list(SOLVERS))
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 7), (7, 1)])
def test_empty_and_one_sided_problems(solver, shape):
    mate = solve(solver, np.ones(shape))
    assert (mate >= 0).sum() == min(shape)
    assert (solve(solver, -np.ones(shape)) == -1).all()
