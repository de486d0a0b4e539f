import itertools
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")

from exporters import optimisation  # noqa: E402


def pace(**other):
    return SimpleNamespace(**({"minutes": 1e-3, "steps": None, "rate": 0.1, "average": 0.5} | other))


def line():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    return network


def run(network, recipe, **group):
    optimizer = torch.optim.SGD([{"params": list(network.parameters()), **group}], lr=9.0)
    rates, lines = [], []

    def step():
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        loss = (1 - network.weight).square().sum()
        loss.backward()
        optimizer.step()
        return {"square": float(loss.detach())}

    return optimisation.optimise(network, optimizer, step, recipe, lines.append), rates, lines


def test_steps_are_counted_and_averaged():
    network = line()
    average, rates, lines = run(network, pace(steps=40))
    assert rates == pytest.approx([0.1 * optimisation.learning_rate(k / 40) for k in range(40)])
    assert 0.9 < network.weight.item() < 1
    assert average.weight.item() == pytest.approx(network.weight.item(), abs=0.05)
    assert not average.training
    assert "losses square" in lines[0]
    assert lines[-1].startswith("40 steps")


def test_time_ends_it_too():
    average, rates, _ = run(line(), pace(average=0.999))
    assert len(rates) > 2
    assert 0 < average.weight.item() < 1
    assert rates[-1] < max(rates)


def test_what_was_learned_before_learns_slowly():
    _, rates, _ = run(line(), pace(steps=4), share=0.1)
    assert rates == pytest.approx([0.01 * optimisation.learning_rate(k / 4) for k in range(4)])


def test_an_average_follows_numbers_and_copies_counts():
    slow, fast = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    fast.running_mean.fill_(4)
    fast.num_batches_tracked.fill_(7)
    optimisation.follow(slow, fast, 0.75)
    assert slow.running_mean.tolist() == [1, 1]
    assert int(slow.num_batches_tracked) == 7


def test_jobs_are_done_ahead_and_in_order():
    begun = []

    def jobs():
        for k in itertools.count():
            begun.append(k)
            yield lambda k=k: k * k

    results = optimisation.made_ahead(jobs())
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(begun) == 5 + optimisation.AHEAD
    results.close()


def test_a_job_that_fails_says_so():
    def jobs():
        yield lambda: 1
        while True:
            yield lambda: 1 / 0

    results = optimisation.made_ahead(jobs())
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_precision_is_chosen_by_trial():
    weight = torch.ones(4, requires_grad=True)
    seen = []

    def forward():
        seen.append(torch.is_autocast_enabled("cpu"))
        return (weight * 2).sum()

    assert optimisation.faster_in_bfloat16(forward) in (True, False)
    assert seen == [False, True] * 3
