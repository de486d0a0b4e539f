"""Track mining against the golden cases and a twin that looks at one mask at a time."""

import numpy as np
import pytest

from tests.reference import flow as reference
from tracker.association.mining import Vetoes, find_payoff, link_segments
from tracker.errors import MasksError
from tracker.masks import Masks

CASES = [f"{sequence}/{frame}" for sequence in range(4) for frame in range(1, 6)]


def rows_of(classes, instances):
    """Label map 0..N, class of each segment, and instance id of each segment."""
    ids = np.unique(instances[instances > 0])
    rows = np.zeros(instances.shape, np.int32)
    for k, number in enumerate(ids):
        rows[instances == number] = k + 1
    return rows, np.array([classes[instances == number][0] for number in ids], np.int32), ids.astype(int)


@pytest.mark.parametrize("case", CASES)
def test_golden_pairs_and_payoff(golden, case):
    data = np.load(golden / "flow" / "track_mining.npz")
    get = {name: data[f"{case}/{name}"] for name in ("cur_sem", "cur_inst", "prev_sem", "prev_inst")}
    rows, classes, ids = rows_of(get["cur_sem"], get["cur_inst"])
    old_rows, old_classes, old_ids = rows_of(get["prev_sem"], get["prev_inst"])
    flow = np.broadcast_to(data[f"{case}/flow_xy_const"], (*rows.shape, 2))
    found = find_payoff(rows, classes, old_rows, old_classes, flow)
    np.testing.assert_allclose(found.values, data[f"{case}/payoff"], rtol=0, atol=1e-15)
    table = np.column_stack([found.best, found.second, found.rest, found.vetoed])
    np.testing.assert_array_equal(table, data[f"{case}/b1_b2_r_veto"])
    partner = link_segments(found.values)
    pairs = [(ids[i], old_ids[j]) for i, j in enumerate(partner) if j >= 0]
    assert pairs == [tuple(pair) for pair in data[f"{case}/pairs"]]


@pytest.mark.parametrize("seed", range(6))
def test_payoff_equals_its_twin(seed):
    r = np.random.default_rng(seed)
    maps, classes = [], []
    for count in r.integers(3, 9, 2):
        stack = Masks.from_dense(reference.discs(r, int(count), 40, 90, 18))
        maps.append(stack.disjoint().to_label_map())
        classes.append(r.integers(0, 2, count).astype(np.int32))
    flow = reference.smooth_flow(r, 40, 90, 6.0)
    limits = Vetoes(min_lead=3, min_overlap=20, min_ratio=0.7) if seed % 2 else Vetoes()
    found = find_payoff(maps[0], classes[0], maps[1], classes[1], flow, limits)
    numbers = (limits.min_lead, limits.min_overlap, limits.min_ratio)
    values, vetoed = reference.payoff(maps[0], classes[0], maps[1], classes[1], flow, *numbers)
    np.testing.assert_allclose(found.values, values, atol=1e-12)
    np.testing.assert_array_equal(found.vetoed, vetoed)


def test_links_are_the_best_total():
    from tests.reference.association import match_exact

    r = np.random.default_rng(0)
    for _ in range(100):
        payoff = np.where(r.random(r.integers(0, 5, 2)) < 0.6, 1.0, -np.inf)
        payoff *= r.uniform(0.01, 1, payoff.shape)
        partner = link_segments(payoff)
        linked = np.flatnonzero(partner >= 0)
        assert len(set(partner[linked])) == len(linked)
        assert (payoff[linked, partner[linked]] > 0).all()
        assert payoff[linked, partner[linked]].sum() == pytest.approx(match_exact(payoff), abs=1e-9)


def test_worthless_pairs_stay_alone():
    assert link_segments(np.array([[0.0, -np.inf], [-np.inf, -np.inf]])).tolist() == [-1, -1]
    assert link_segments(np.zeros((0, 3))).shape == (0,)
    assert link_segments(np.zeros((2, 0))).tolist() == [-1, -1]


def test_an_ambiguous_segment_is_vetoed_for_all_its_candidates():
    """Two halves that merge: the flow explains the whole by either, so it gets no partner."""
    old, new = np.zeros((2, 20, 40), np.int32)
    old[5:15, 5:15], old[5:15, 15:25], new[5:15, 5:25] = 1, 2, 1
    still = np.zeros((20, 40, 2), np.float32)
    both = find_payoff(new, np.array([0]), old, np.array([0, 0]), still)
    assert both.vetoed.tolist() == [True] and (both.best[0], both.second[0], both.rest[0]) == (100, 100, 0)
    assert link_segments(both.values).tolist() == [-1]
    one = find_payoff(new, np.array([0]), old, np.array([0, 1]), still, Vetoes(min_ratio=0.5))
    assert one.values[0].tolist() == [0.5, -np.inf]
    assert link_segments(one.values).tolist() == [0]


def test_nothing_in_a_frame():
    none, still = np.zeros((20, 40), np.int32), np.zeros((20, 40, 2), np.float32)
    empty = np.zeros(0, np.int32)
    assert find_payoff(none, empty, none, empty, still).values.shape == (0, 0)
    ghost = find_payoff(none, np.array([3]), none, np.array([3, 3]), still)
    assert ghost.vetoed.all() and (ghost.values == -np.inf).all()


def test_maps_are_checked():
    none, still = np.zeros((20, 40), np.int32), np.zeros((20, 40, 2), np.float32)
    with pytest.raises(MasksError, match=r"expected labels 0..1.*got 0..2"):
        find_payoff(np.where(np.eye(20, 40) > 0, 2, none).astype(np.int32), np.array([1]), none, np.array([]), still)
    with pytest.raises(MasksError, match="label maps of one shape"):
        find_payoff(none[:10], np.array([1]), none, np.array([]), still)
