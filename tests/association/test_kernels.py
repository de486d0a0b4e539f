"""Every kernel against its slow twin: motion, history, pairs."""

import numpy as np
import pytest

from tests.reference import association as reference
from tracker.association.cues import overlap
from tracker.association.history import note, remember, replay
from tracker.association.matching import match_certain
from tracker.association.motion import FORMS, MOTION, MOTIONS, XYXY, correct, measure, predict, start
from tracker.association.pairs import add_direction, fill_pairs, find_pairs
from tracker.association.plan import Plan, Stage
from tracker.association.state import (
    BOX,
    COLUMNS,
    DETECTION_BOX,
    DETECTION_SCORE,
    FACTOR,
    HEADING,
    HITS,
    LAST_BOX,
    MATE_OF_ROW,
    MEASURED,
    MISSES,
    P00,
    P01,
    P11,
    PAST_FRAMES,
    PHASE,
    ROWS,
    SEEN,
    SOURCE,
    STARTS,
    STEP,
    UNSEEN,
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


@pytest.mark.parametrize("gate", [0.0, 0.3, 0.85])
@pytest.mark.parametrize(
    ("rows", "columns", "spread"), [(0, 5, 10), (5, 0, 10), (1, 1, 5), (9, 11, 100), (80, 90, 300), (60, 70, 4)]
)
def test_pairs_equal_the_matrix(gate, rows, columns, spread):
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


def paired_state(r, rows, columns):
    """Tracks and detections in a heap, and buffers for all their pairs."""
    state = State()
    state.reserve(rows + columns)
    a, b = scatter(r, rows, 120), scatter(r, columns, 120)
    state.reals[BOX : BOX + 4, :rows], state.reals[DETECTION_BOX : DETECTION_BOX + 4, :columns] = a.T, b.T
    state.reals[FACTOR, :columns] = 1.0
    state.reals[DETECTION_SCORE, :columns] = r.uniform(0.2, 1, columns)
    state.ints[ROWS, :rows], state.ints[COLUMNS, :columns] = np.arange(rows), np.arange(columns)
    weights, places = np.zeros(rows * columns + 1), np.zeros(rows * columns + 1, np.int64)
    find_pairs(rows, columns, BOX, DETECTION_BOX, 0.0, 0.0, state.reals, state.ints, weights, places)
    return state, a, b, weights, places


def as_matrix(state, rows, columns, weights, places):
    matrix = np.full((rows, columns), np.nan)
    for i in range(rows):
        for e in range(state.ints[STARTS, i], state.ints[STARTS, i + 1]):
            matrix[i, places[e]] = weights[e]
    return matrix


@pytest.mark.parametrize("longest", [1, 3, PAST_FRAMES])
def test_direction_equals_its_twin(longest):
    """Tracks that were seen now and then, through the kernels that note it; bonuses against the whole past."""
    r = np.random.default_rng(longest)
    rows, columns = 12, 15
    state, _, b, weights, places = paired_state(r, rows, columns)
    plain = weights.copy()
    pasts, headings = [{} for _ in range(rows)], [np.zeros(2) for _ in range(rows)]
    state.ints[HITS, :rows] = 1
    for frame in range(2, 40):
        state.ints[SOURCE, :rows] = np.where(r.random(rows) < 0.5, 0, -1)
        for i in np.flatnonzero(state.ints[SOURCE, :rows] >= 0):
            box = scatter(r, 1, 120)[0]
            note(longest, state.reals, state.ints, i, frame, *box)
            state.reals[LAST_BOX : LAST_BOX + 4, i] = box
            centre = (box[:2] + box[2:]) / 2
            if pasts[i]:
                headings[i] = reference.unit(reference.past_centre(pasts[i], frame, longest), centre)
            pasts[i][frame] = centre
            state.ints[HITS, i] += 1
        remember(state.reals, state.ints, rows)
        np.testing.assert_allclose(state.reals[HEADING : HEADING + 2, :rows].T, headings, atol=1e-12)
        weights[:] = plain
        add_direction(longest, 0.2, frame + 1, rows, state.reals, state.ints, weights, places)
        added = as_matrix(state, rows, columns, weights - plain, places)
        for i, j in np.argwhere(~np.isnan(added)):
            if headings[i].any():
                start, middle = reference.past_centre(pasts[i], frame + 1, longest), (b[j, :2] + b[j, 2:]) / 2
                score = state.reals[DETECTION_SCORE, j]
                wanted = reference.direction_bonus(headings[i], start, middle, score, 0.2)
                assert added[i, j] == pytest.approx(wanted, abs=1e-9)
            else:
                assert added[i, j] == 0
    assert np.abs(np.nan_to_num(added)).max() > 0.05


def test_overlap_equals_find_pairs_to_the_bit():
    state, _, _, weights, places = paired_state(np.random.default_rng(9), 14, 17)
    matrix = np.nan_to_num(as_matrix(state, 14, 17, weights, places))
    for i, j in np.ndindex(14, 17):
        assert overlap(BOX, i, DETECTION_BOX, j, 0.0, state.reals) == matrix[i, j]


@pytest.mark.parametrize("shape", [(1, 1), (4, 9), (15, 12)])
def test_filled_pairs_are_the_whole_matrix(shape):
    state, a, b, weights, places = paired_state(np.random.default_rng(1), *shape)
    size = shape[0] * shape[1]
    assert fill_pairs(0.5, *shape, state.reals, state.ints, weights[: size - 1], places[: size - 1]) == size
    assert fill_pairs(0.5, *shape, state.reals, state.ints, weights, places) == size
    np.testing.assert_allclose(as_matrix(state, *shape, weights, places), reference.box_iou(a, b) + 0.5, rtol=1e-9)


def test_certain_matches_are_in_every_full_matching():
    r, found = np.random.default_rng(2), 0
    for _ in range(300):
        rows, columns = r.integers(1, 9, 2)
        known = r.random((rows, columns)) < 0.3
        sparse = np.where(known, r.uniform(-0.1, 1, (rows, columns)), 0.0)
        state = State()
        state.ints[STARTS, 1 : rows + 1] = np.cumsum(known.sum(1))
        places, weights = np.nonzero(known)[1].astype(np.int64), sparse[known]
        match_certain(rows, columns, 0.1, state.reals, state.ints, weights, places)
        certain = {(i, int(j)) for i, j in enumerate(state.ints[MATE_OF_ROW, :rows]) if j >= 0}
        found += len(certain)
        for _ in range(5):  # whatever the others weigh
            weighed = np.where(known, sparse, r.uniform(-0.1, 0.1, (rows, columns)))
            assert certain <= reference.full_matching(weighed)
    assert found > 200


@pytest.mark.parametrize("misses", [1, 2, 9])
def test_replay_equals_its_twin(misses):
    """A filter frozen at the first missed frame and then led along the line, against filterpy."""
    r = np.random.default_rng(misses)
    state, table, form = State(), table_of("xysr"), FORMS["xysr"]
    reals, ints = state.reals, state.ints
    ints[HITS, 0], ints[SOURCE, 0], reals[SEEN, 0], reals[STEP, 0] = 5, 0, 1.0, 1.0
    box = np.array([100.0, 100, 140, 200])
    start(form, table, reals, 0, *box)
    twin = reference.Kalman("xysr", reals[X : X + 4, 0].copy())
    for _ in range(6):
        box = box + r.normal(4, 1, 4)
        predict(table, reals, ints, 1)
        measure(form, reals, 0, *box)
        twin.predict(1.0)
        twin.update(reals[MEASURED : MEASURED + 4, 0].copy())
        correct(table, reals, 1)
        remember(reals, ints, 1)
    ints[SOURCE, 0] = -1
    for k in range(misses):
        predict(table, reals, ints, 1)
        remember(reals, ints, 1)
        ints[MISSES, 0], reals[UNSEEN, 0] = k + 1, k + 1.0
    predict(table, reals, ints, 1)
    new_box = box + 5.0 * misses + r.normal(0, 3, 4)
    replay(form, table, reals, ints, 0, *new_box)
    twin.predict(1.0)
    reference.replay(twin, box, new_box, misses + 1)
    mine = np.concatenate([reals[X : X + 4, 0], reals[V : V + 4, 0]])
    np.testing.assert_allclose(mine, twin.filter.x[:, 0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(reals[P00 : P00 + 4, 0], twin.filter.P.diagonal()[:4], rtol=1e-9)
