"""What frames go without to come in time, on a clock that the test turns."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tracker import deadline as module
from tracker import pipeline
from tracker.cli import main
from tracker.deadline import STEPS, Deadline
from tracker.errors import ConfigError
from tracker.flow import FLOWS
from tracker.guide import Guided
from tracker.systems import create
from tracker.types import Detections, Frame


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(module, "monotonic", lambda: now.s)
    return now


IMAGE = np.zeros((48, 64, 3), np.uint8)
USUAL = {"flow": 0.010, "embeddings": 0.010, "detector": 0.035, "rest": 0.002}


def ride(deadline, clock, index, costs=USUAL, waited_s=0.0, wanted=True):
    """One frame on its way, each step as long as it takes; what it went without, and whether it was in time."""
    frame = Frame(index, index / 25, IMAGE, arrived_s=clock.s)
    clock.s += waited_s
    looks = deadline.look(frame, wanted)
    before = dict(deadline.shed)
    shed = deadline._courses[index].shed
    assert looks == (wanted and "detector" not in shed)
    if looks:
        clock.s += costs["detector"]
    assert deadline.reach(frame) == shed
    for step in ("flow", "embeddings"):
        if step not in shed and (looks or step == "flow"):
            with deadline.time(frame, step):
                clock.s += costs[step]
    clock.s += costs["rest"]
    assert deadline.shed == before
    return shed, deadline.finish(frame)


def test_with_time_enough_nothing_is_left_out(clock):
    deadline = Deadline(0.100)
    assert all(ride(deadline, clock, k) == ((), True) for k in range(200))
    assert deadline.late == 0 and set(deadline.shed.values()) == {0}


@pytest.mark.parametrize(
    ("waited_ms", "shed"),
    [
        (0, ()),
        (50, ("flow",)),
        (60, ("flow", "embeddings")),
        (70, ("flow", "embeddings", "detector")),
        (98, ("flow", "embeddings", "detector")),
    ],
)
def test_steps_go_in_their_order_and_no_more_than_it_takes(clock, waited_ms, shed):
    """57 ms of work in all; the later a frame's turn comes, the more goes."""
    deadline = Deadline(0.100)
    for k in range(50):
        ride(deadline, clock, k)
    assert ride(deadline, clock, 50, waited_s=waited_ms / 1e3) == (shed, True)
    assert {step for step, count in deadline.shed.items() if count} == set(shed)


def test_a_frame_that_is_late_whatever_it_leaves_out_is_counted(clock):
    deadline = Deadline(0.100)
    for k in range(50):
        ride(deadline, clock, k)
    assert ride(deadline, clock, 50, waited_s=0.099) == (STEPS, False)
    assert deadline.late == 1
    assert ride(deadline, clock, 51) == ((), True)


def test_steps_that_the_run_cannot_do_without_stay(clock):
    deadline = Deadline(0.100, ["detector", "embeddings"])
    for k in range(50):
        ride(deadline, clock, k)
    assert ride(deadline, clock, 50, waited_s=0.060)[0] == ("embeddings", "detector")  # their cost counts all the same


def test_a_step_that_never_ran_is_not_left_out(clock):
    deadline = Deadline(0.020)
    shed, in_time = ride(deadline, clock, 0)
    assert shed == () and not in_time  # its costs are not known yet


def test_a_machine_that_became_slow_sheds_and_one_that_recovers_stops(clock):
    deadline = Deadline(0.060)
    slow = {**USUAL, "flow": 0.040}
    assert all(ride(deadline, clock, k, USUAL)[1] for k in range(50))
    results = [ride(deadline, clock, k, slow) for k in range(50, 250)]
    late = [k for k, (_, in_time) in enumerate(results) if not in_time]
    assert len(late) <= 8  # the first ones, and a try now and then
    assert sum("flow" in shed for shed, _ in results) >= 190
    results = [ride(deadline, clock, k, USUAL) for k in range(250, 450)]
    assert results[-1] == ((), True) and all(shed == () for shed, _ in results[-100:])


def test_the_slower_a_step_is_the_rarer_it_is_tried(clock):
    tries = []
    for cost in (0.060, 0.200):
        deadline = Deadline(0.080)
        results = [ride(deadline, clock, k, {**USUAL, "flow": cost}) for k in range(600)]
        tries.append(sum("flow" not in shed for shed, _ in results[5:]))
    assert 0 < tries[1] < tries[0] < 30


def test_tracks_are_never_blind_for_long(clock):
    """A detector that is always too slow runs on every fifth frame, and that frame is late."""
    deadline = Deadline(0.020, ["detector"], most_blind=4)
    results = [ride(deadline, clock, k) for k in range(51)]
    looked = ["detector" not in shed for shed, _ in results]
    assert looked[1:] == ([False] * 4 + [True]) * 10
    assert deadline.late == 11
    assert str(deadline) == "deadline 20 ms: 11 frames late; 40 without detector"


def test_frames_without_detector_by_choice_are_not_shed(clock):
    deadline = Deadline(0.100)
    for k in range(40):
        assert ride(deadline, clock, k, wanted=k % 3 == 0) == ((), True)
    turns = iter([True, False])
    look = deadline.after(lambda frame: next(turns))
    assert look(Frame(98, 0.0, IMAGE)) and not look(Frame(99, 0.0, IMAGE))
    assert deadline.shed["detector"] == 0


def test_without_arrival_time_counts_from_look(clock):
    deadline = Deadline(0.100)
    frame = Frame(0, 0.0, IMAGE)
    clock.s = 50.0
    assert deadline.look(frame) and deadline.reach(frame) == () and deadline.finish(frame)


def test_frames_that_get_lost_are_forgotten(clock):
    deadline = Deadline(0.100)
    for k in range(1000):
        deadline.look(Frame(k, 0.0, IMAGE))
        if k % 10 == 9:
            deadline.finish(Frame(k, 0.0, IMAGE))
    assert len(deadline._courses) == 0
    stranger = Frame(5, 0.0, IMAGE)
    assert deadline.reach(stranger) == () and deadline.finish(stranger)


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_budgets(budget):
    with pytest.raises(ConfigError, match="expected a deadline as a positive number"):
        Deadline(budget)


def test_unknown_steps():
    with pytest.raises(ConfigError, match="cannot leave out 'sleep'"):
        Deadline(0.1, ["sleep", "flow"])


class Network:
    """Sees one box; slow from its eleventh call to its nineteenth."""

    def __init__(self, clock=None):
        self.calls, self.clock = 0, clock

    def preprocess(self, image):
        return image, None

    def infer(self, tensors):
        self.calls += 1
        self.clock.s += 0.150 if 10 < self.calls < 20 else 0.001
        return tensors

    def decode(self, outputs, placement):
        return Detections([[10, 10, 40, 40]], [0.9])


class Source:
    """Frames that arrive when they are asked for."""

    live, dropped = True, 0

    def __init__(self, clock):
        self.clock = clock

    def __iter__(self):
        return (Frame(k, k / 30, IMAGE, arrived_s=self.clock.s) for k in range(80))


def test_in_the_loop_the_tracks_say_what_their_frame_went_without(clock):
    guided = Guided(create("bytetrack"))
    guided.deadline = Deadline(0.075, guided.sheddable)
    network, told = Network(clock), []
    look = guided.deadline.after(pipeline.every(1))
    pipeline.run(Source(clock), network, guided, overlap=False, look=look, on_frame=lambda f, t: told.append(t))
    shed = [tracks.detections.shed for tracks in told]
    assert guided.sheddable == ("detector",) and set(shed) == {(), ("detector",)}
    assert not any(shed[:10]) and any(shed[11:])
    assert [tracks.detections.looked for tracks in told] == [not steps for steps in shed]
    assert network.calls == shed.count(()) and guided.deadline.shed["detector"] == shed.count(("detector",))
    assert {tuple(tracks.confirmed.ids.tolist()) for tracks in told[2:]} == {(1,)}  # nobody was lost over it


def test_flow_that_is_skipped_stands_still_and_the_next_one_starts_there():
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (96, 160, 3), np.uint8).repeat(2, 0).repeat(2, 1)[:128, :224]
    frames = [Frame(k, k / 25, np.ascontiguousarray(np.roll(texture, 3 * k, axis=1))) for k in range(4)]
    dis = FLOWS["dis"]()
    dis.update(frames[0])
    still = dis.skip(frames[2])
    assert not still.forward.any() and not still.backward.any() and still.occluded is None
    forward = dis.update(frames[3]).forward[30:90, 40:180, 0]
    assert np.median(forward) == pytest.approx(3, abs=0.3)


class Flows:
    def __init__(self):
        self.calls = []

    def update(self, frame):
        self.calls.append("update")
        return FLOWS["dis"]().update(frame)

    def skip(self, frame):
        self.calls.append("skip")
        return FLOWS["dis"]().skip(frame)

    def reset(self):
        pass


class Looks:
    calls = 0

    def describe(self, frame, detections):
        self.calls += 1
        return detections


class Told:
    """A deadline that is told what to leave out."""

    def __init__(self, shed):
        self.shed, self.done = shed, []

    def reach(self, frame):
        return self.shed

    def time(self, frame, step):
        self.done.append(step)
        return __import__("contextlib").nullcontext()

    def finish(self, frame):
        self.done.append("finish")


def test_guided_leaves_out_what_it_is_told():
    flows, looks = Flows(), Looks()
    guided = Guided(create("bytetrack"), flow=flows, looks=looks)
    seen = Network().decode(None, None)
    assert guided.sheddable == ("flow", "embeddings", "detector")
    for k, shed in enumerate([(), ("flow",), ("flow", "embeddings")]):
        guided.deadline = Told(shed)
        tracks = guided.update(seen, Frame(k, k / 25, IMAGE))
        assert tracks.detections.shed == shed
        assert guided.deadline.done == [s for s in ("flow", "embeddings") if s not in shed] + ["finish"]
    assert flows.calls == ["update", "skip", "skip"] and looks.calls == 2


def test_a_plan_that_stands_on_embeddings_keeps_them():
    assert Guided(create("motsnet"), looks=Looks()).sheddable == ("detector",)
    assert Guided(create("botsort"), looks=Looks()).sheddable == ("embeddings", "detector")


def test_the_command_line_says_it_in_json_lines(tmp_path, capsys):
    street = "synth:street?seed=7&size=320x180&frames=12&objects=8"
    command = ["run", street, "--model", "street", "-o", str(tmp_path), "--save", "jsonl"]
    assert main([*command, "--deadline-ms", "0.001"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "tracks.jsonl").read_text().splitlines()[1:]]
    assert [line.get("shed") for line in lines] == ([None] + 4 * [["detector"]]) * 2 + [None, ["detector"]]
    assert "deadline 0.001 ms: 12 frames late; 9 without detector" in capsys.readouterr().err
    assert main([*command, "--deadline-ms", "0"]) == 2
    assert main([*command, "--deadline-ms", "60000"]) == 0
    assert '"shed"' not in (tmp_path / "tracks.jsonl").read_text()
    assert main(["run", street, *command[1:], "--deadline-ms", "0.001"]) == 0, "each of several streams has its own"
    assert all(
        '"shed":["detector"]' in (tmp_path / name / "tracks.jsonl").read_text() for name in ("street", "street-2")
    )
