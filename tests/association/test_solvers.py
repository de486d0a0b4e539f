"""Every solver against its slow twin, against other people's, and through whole trackers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from tests.reference import association as reference
from tests.reference.association import crowd, dressed, make, same_tracks, sure
from tracker.association import Plan, Stage, Term, Tracker, backend
from tracker.association.dense import solve_square
from tracker.association.solvers import SOLVERS
from tracker.association.state import FACTOR, MATE_OF_COLUMN, MATE_OF_ROW, STARTS, State
from tracker.systems import SYSTEMS, plan
from tracker.types import Detections


def solve(name, matrix, r=None, *, factors=None, refused=None):
    """Partner of each row by a solver, the pairs of each row in random order.

    NaN is no pair, and neither is what is not above 0 unless the solver takes it; `refused` pairs of this one
    compete without being taken.
    """
    state = State()
    rows, columns = matrix.shape
    state.reserve(rows + columns)
    if factors is not None:
        state.reals[FACTOR, :columns] = factors
    weights, places = [], []
    for i in range(rows):
        state.ints[STARTS, i] = len(weights)
        worth = (matrix[i] > 0) | (name == "nearest") | ((matrix[i] == 0) & (name == "rectangular"))
        pairs = np.flatnonzero(~np.isnan(matrix[i]) & worth)
        for j in pairs if r is None else r.permutation(pairs):
            weights.append(matrix[i, j])
            places.append(-1 - j if refused is not None and refused[i, j] else j)
    state.ints[STARTS, rows] = len(weights)
    SOLVERS[name].kernel(rows, columns, state.reals, state.ints, np.array(weights, float), np.array(places, np.int64))
    mate = state.ints[MATE_OF_ROW, :rows].copy()
    back = state.ints[MATE_OF_COLUMN, :columns]
    for i, j in enumerate(mate):
        assert j < 0 or (back[j] == i and not np.isnan(matrix[i, j]))
    assert (back >= 0).sum() == (mate >= 0).sum()
    return mate


def total(matrix, mate):
    return sum(matrix[i, j] for i, j in enumerate(mate) if j >= 0)


@pytest.mark.parametrize("solver", ["exact", "dense", "lap", "rectangular"])
@pytest.mark.parametrize("ties", [False, True])
def test_best_on_small_problems(solver, ties):
    r = np.random.default_rng(0)
    for _ in range(150):
        matrix = r.uniform(-0.5, 1, r.integers(0, 5, 2))
        matrix = np.round(matrix * 3) / 4 if ties else matrix
        assert total(matrix, solve(solver, matrix)) == pytest.approx(reference.match_exact(matrix), abs=1e-12)


@pytest.mark.parametrize("solver", ["exact", "dense", "lap", "rectangular"])
def test_best_on_large_problems(solver):
    """The same matches as the package lap's with a cost limit, and as scipy's on the whole matrix."""
    import lap

    r = np.random.default_rng(1)
    for _ in range(150):
        rows, columns = r.integers(1, 60, 2)
        matrix = np.where(r.random((rows, columns)) < r.uniform(0.02, 0.6), r.random((rows, columns)), -1.0)
        _, theirs, _ = lap.lapjv(1.0 - matrix, extend_cost=True, cost_limit=1.0)
        mine = solve(solver, matrix)
        assert total(matrix, mine) == pytest.approx(total(matrix, theirs), abs=1e-9)
        np.testing.assert_array_equal(mine, theirs)  # no ties: the optimum is unique
        rows_, columns_ = linear_sum_assignment(np.maximum(matrix, 0), maximize=True)
        assert total(matrix, mine) == pytest.approx(np.maximum(matrix, 0)[rows_, columns_].sum(), abs=1e-9)


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
    if solver in ("exact", "greedy", "nearest"):
        assert solve(solver, np.ones((3, 3))).tolist() == [0, 1, 2]


@pytest.mark.parametrize("solver", list(SOLVERS))
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 7), (7, 1)])
def test_empty_and_one_sided_problems(solver, shape):
    mate = solve(solver, np.ones(shape))
    assert (mate >= 0).sum() == min(shape)
    assert (solve(solver, np.full(shape, np.nan)) == -1).all()


@pytest.mark.parametrize("ties", [False, True])
def test_rectangular_matches_what_scipy_matches(ties):
    """Pairs of weight 0 too, of each class on its own, detections as scipy's rows."""
    r = np.random.default_rng(6)
    for _ in range(80):
        classes = [r.integers(0, 2, size) for size in r.integers(0, 18, 2)]  # of tracks and detections
        matrix, wanted = np.full((len(classes[0]), len(classes[1])), np.nan), np.full(len(classes[0]), -1)
        for number in (0, 1):
            rows, columns = (np.flatnonzero(side == number) for side in classes)
            part = np.where(r.random((len(rows), len(columns))) < 0.3, r.random((len(rows), len(columns))), 0.0)
            matrix[np.ix_(rows, columns)] = part = np.round(part * 3) / 3 if ties else part
            detections, tracks = linear_sum_assignment(part.T, maximize=True)
            wanted[rows[tracks]] = columns[detections]
        assert solve("rectangular", matrix, r).tolist() == wanted.tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40, 150])
def test_square_problems_equal_scipy(size):
    """Negative costs, ties by the hundred, equal rows, all equal."""
    r = np.random.default_rng(size)
    rows = np.tile(r.random(size), (size, 1))
    for cost in (
        r.normal(size=(size, size)), r.integers(0, 3, (size, size)).astype(float), rows, rows.T.copy(),
        np.zeros((size, size)), r.random((size, size)) * 10.0 ** r.integers(-8, 9, (size, 1)),
        np.where(r.random((size, size)) < 0.9, 0.0, -r.random((size, size))),
    ):  # fmt: skip
        mate = solve_square(cost)
        assert sorted(mate) == list(range(size))
        best = cost[linear_sum_assignment(cost)].sum()
        assert cost[np.arange(size), mate].sum() == pytest.approx(best, rel=1e-12, abs=1e-9)
        np.testing.assert_array_equal(mate, solve_square(cost.copy()))


@pytest.mark.parametrize("ties", [False, True])
def test_nearest_equals_its_twin(ties):
    r = np.random.default_rng(5)
    refusals = 0
    for _ in range(200):
        matrix = r.uniform(-1, 1, r.integers(0, 9, 2))
        matrix = np.round(matrix * 2) / 2 if ties else matrix
        matrix[r.random(matrix.shape) < 0.2] = np.nan
        refused = r.random(matrix.shape) < 0.3
        mate = solve("nearest", matrix, r, refused=refused)
        assert mate.tolist() == reference.match_nearest(matrix, refused)
        refusals += mate.tolist() != reference.match_nearest(matrix, np.zeros(matrix.shape, bool))
    assert refusals > 50


@pytest.mark.parametrize("ties", [False, True])
def test_claims_equal_their_twin(ties):
    r = np.random.default_rng(6)
    turned_away = 0
    for _ in range(200):
        matrix = r.uniform(-0.5, 1, r.integers(0, 9, 2))
        factors = r.normal(size=matrix.shape[1])
        if ties:
            matrix, factors = np.round(matrix * 2) / 2, np.round(factors)
        mate = solve("claim", matrix, r, factors=factors)
        assert mate.tolist() == reference.match_by_claim(matrix, factors)
        turned_away += ((matrix > 0).any(0).sum() if len(matrix) else 0) - (mate >= 0).sum()
    assert turned_away > 100


# ------------------------------------------------------------------ through whole trackers
@pytest.mark.parametrize("solver", ["exact", "dense", "lap"])
def test_full_stages_match_as_many_as_possible_and_then_the_best(solver):
    """Against all one-to-one matchings: most pairs first, then the greatest total."""
    stage = Stage(terms=(Term("embedding_l2", -1.0),), gate=-1.0, all_pairs=True, solver=solver)
    differs = 0
    for seed in range(60):
        r = np.random.default_rng(seed)
        places = [r.uniform(0, 2.5, size) for size in r.integers(1, 5, 2)]
        first, then = (
            Detections(np.tile([[0, 0, 9, 9]], (len(x), 1)), np.ones(len(x)), embeddings=np.stack([x, x * 0 + 1], 1))
            for x in places
        )
        distance = np.abs(np.subtract.outer(*(place.astype(np.float32) for place in places)))
        counts = {}
        for full in (False, True):
            tracker = Tracker(Plan((replace(stage, full=full),), motion="none", confirm_hits=0, tentative_coasts=True))
            born = tracker.update(first)
            tracks = tracker.update(then)
            row_of = dict(zip(born.ids.tolist(), born.source.tolist(), strict=True))
            pairs = [
                (row_of[t], s) for t, s in zip(tracks.ids.tolist(), tracks.source.tolist(), strict=True) if t in row_of
            ]
            pairs = [pair for pair in pairs if pair[1] >= 0]
            assert all(distance[pair] < 1.0 for pair in pairs)
            counts[full] = len(pairs), sum(distance[pair] for pair in pairs)
        most, least = reference.match_full(np.where(distance < 1.0, distance, np.nan))
        assert counts[True] == (most, pytest.approx(least, abs=1e-5))
        differs += counts[False][0] < most
    assert differs > 3


def with_solver(name, solver):
    """A system's plan with another solver wherever the greatest total counts."""
    rules = plan(name)
    stages = tuple(
        replace(stage, solver=solver)
        if SOLVERS[stage.solver].best and not (stage.shortcut or stage.direction or stage.height_power)
        else stage
        for stage in rules.stages
    )
    return replace(rules, stages=stages, births="rows")


SOLVED = [name for name, system in SYSTEMS.items() if with_solver(name, "lap").stages != system.plan.stages]


@pytest.mark.parametrize("name", SOLVED)
def test_solvers_agree_on_whole_runs(name, monkeypatch):
    """Without ties exact, dense and lap are one tracker; and lap never sees an empty matrix, on which it breaks."""
    asked, lapjv = [], backend.lap.lapjv

    def watched(cost, **options):
        assert min(cost.shape) > 0 and np.isfinite(cost).all()
        asked.append(cost.shape)
        return lapjv(cost, **options)

    monkeypatch.setattr(backend.lap, "lapjv", watched)
    given = make(name, births="rows")  # the other order depends on pairs that only one of the solvers matches
    others = [type(given)(with_solver(name, solver), 30.0, reference.CLASS_NAMES) for solver in ("lap", "dense")]
    scene = [sure(d) if k % 3 else d for k, d in enumerate(crowd(11, 25, 60, size=(900, 500)))]
    scene = [dressed(d, size=(900, 500), grid=1) for d in scene]  # fine masks, so that no two overlaps are equal
    scene = [*scene[:20], Detections.empty(), scene[20].select([]), *scene[20:]]
    for detections in scene:
        tracks = given.update(detections)
        for other in others:
            assert same_tracks(tracks, other.update(detections))
    assert len(asked) > 5
