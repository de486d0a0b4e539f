"""Many streams, one network: order, isolation, fairness, batches, and coming and going."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tracker.errors import ConfigError, ModelError, SourceError
from tracker.models import open_model
from tracker.pipeline import StageClock, every
from tracker.sources.live import LiveSource
from tracker.streams import Stream, Streams, takes_batches
from tracker.systems import create
from tracker.types import Detections, Frame


def image(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number % 256, np.uint8)


class File:
    """A source of `count` numbered frames; may break."""

    live = False
    dropped = 0

    def __init__(self, count: int, fail_at: int = -1) -> None:
        self.count, self.fail_at, self.closed = count, fail_at, 0

    def __iter__(self):
        for k in range(self.count):
            if k == self.fail_at:
                raise SourceError("the disk is gone")
            yield Frame(k, k / 30, image(k))

    def close(self) -> None:
        self.closed += 1


class Paced:
    """A capture that delivers `count` pictures at `fps`, then hangs up."""

    size, finite = (4, 4), True

    def __init__(self, count: int, fps: float = 25.0) -> None:
        self.count, self.fps = count, fps

    def pictures(self):
        start = time.monotonic()
        for k in range(self.count):
            time.sleep(max(0.0, start + k / self.fps - time.monotonic()))
            yield k / self.fps, time.monotonic(), k

    def to_image(self, number: int) -> np.ndarray:
        return image(number)

    def close(self) -> None:
        pass


class Net:
    """A network whose one detection's box says which number it saw."""

    def __init__(self, *, batches: bool = False, delay_s: float = 0.0, fail_on: int = -1, liar: bool = False) -> None:
        spec = SimpleNamespace(shape=(None if batches else 1, 1))
        self.session = SimpleNamespace(inputs={"n": spec}, outputs={"n": spec})
        self.sizes: Counter[int] = Counter()
        self.delay_s, self.fail_on, self.liar = delay_s, fail_on, liar
        self.threads: set[str] = set()

    def preprocess(self, image: np.ndarray):
        return {"n": np.array([[float(image[0, 0, 0])]])}, "placement"

    def infer(self, tensors):
        numbers = tensors["n"]
        self.threads.add(threading.current_thread().name)
        self.sizes[len(numbers)] += 1
        time.sleep(self.delay_s)
        if self.liar and len(numbers) > 1:
            raise ModelError("a reshape inside says 1")
        if self.fail_on in numbers:
            raise ModelError("no such picture")
        return {"n": numbers.copy()}

    def decode(self, outputs, placement) -> Detections:
        assert placement == "placement" and outputs["n"].shape == (1, 1)
        return Detections.from_array([[0, 0, 1 + outputs["n"][0, 0], 100, 0.9]])


class Memory:
    """A sink that remembers frame numbers and ids, and checks that the network saw the stream's own picture."""

    def __init__(self, delay_s: float = 0.0, fail_at: int = -1) -> None:
        self.seen: list[int] = []
        self.ids: set[int] = set()
        self.closed = 0
        self.delay_s, self.fail_at = delay_s, fail_at

    def write(self, frame, tracks) -> None:
        time.sleep(self.delay_s)
        if frame.index == self.fail_at:
            raise OSError("disk full")
        assert tracks.detections.boxes[0, 2] == 1 + frame.image[0, 0, 0]
        self.seen.append(frame.index)
        self.ids |= set(tracks.ids.tolist())

    def close(self) -> None:
        self.closed += 1


def stream(source, sink: Memory, **more) -> Stream:
    return Stream(source, create("bytetrack"), [sink], **more)


def camera(count: int, fps: float = 25.0) -> LiveSource:
    capture = Paced(count, fps)
    return LiveSource("camera", capture)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    create("bytetrack").warmup()
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("batches", [False, True])
def test_files_lose_nothing_and_share_nothing_but_the_network(batches: bool) -> None:
    net, sinks = Net(batches=batches, delay_s=0.001), [Memory() for _ in range(4)]
    sources = [File(n) for n in (60, 50, 40, 3)]
    streams = Streams(net)
    for k, (source, sink) in enumerate(zip(sources, sinks, strict=True)):
        streams.add(f"s{k}", stream(source, sink))
    outcomes = streams.run()
    assert [sink.seen for sink in sinks] == [list(range(n)) for n in (60, 50, 40, 3)]
    assert all(sink.ids == {1} and sink.closed == 1 for sink in sinks), "every stream counts its ids from 1"
    assert all(source.closed for source in sources)
    assert [outcomes[f"s{k}"].report.frames for k in range(4)] == [60, 50, 40, 3]
    assert net.threads == {threading.current_thread().name}
    assert (max(net.sizes) > 1) == batches and max(net.sizes) <= 8
    counts = {name: latency.count for name, latency in outcomes["s0"].report.stages.items()}
    assert set(counts.values()) == {60} and "age" not in counts


def test_a_graph_that_only_says_that_it_takes_batches(caplog: pytest.LogCaptureFixture) -> None:
    net, sinks = Net(batches=True, liar=True, delay_s=0.002), [Memory(), Memory()]
    streams = Streams(net)
    for k, sink in enumerate(sinks):
        streams.add(str(k), stream(File(30), sink))
    outcomes = streams.run()
    assert all(sink.seen == list(range(30)) for sink in sinks)
    assert all(outcome.error is None for outcome in outcomes.values())
    assert net.sizes[2] == 1 and "one by one: a reshape inside says 1" in caplog.text


def test_frames_of_several_sizes_are_not_one_batch() -> None:
    """A network with the preparation inside gets frames as they are."""

    class Whole(Net):
        def preprocess(self, image: np.ndarray):
            return {"n": np.full((1, image.shape[1]), float(image[0, 0, 0]))}, "placement"

        def infer(self, tensors):
            return super().infer({"n": tensors["n"][:, :1]})

    class Wide(File):
        def __iter__(self):
            for frame in super().__iter__():
                yield Frame(frame.index, frame.time_s, frame.image.repeat(2, axis=1))

    net, sinks = Whole(batches=True, delay_s=0.002), [Memory() for _ in range(3)]
    streams = Streams(net)
    for k, (source, sink) in enumerate(zip([File(40), File(40), Wide(20)], sinks, strict=True)):
        streams.add(f"s{k}", stream(source, sink))
    outcomes = streams.run()
    assert [outcome.error for outcome in outcomes.values()] == [None] * 3
    assert [sink.seen for sink in sinks] == [list(range(n)) for n in (40, 40, 20)]
    assert max(net.sizes) == 2, "those of one size still go together"


def test_batches_need_a_free_first_side_everywhere() -> None:
    assert takes_batches(Net(batches=True)) and not takes_batches(Net())
    half = Net(batches=True)
    half.session.outputs = {"n": SimpleNamespace(shape=(1, 1))}
    assert not takes_batches(half) and not takes_batches(SimpleNamespace())  # type: ignore[arg-type]
    remembering = Net(batches=True)
    remembering.for_stream = lambda: Net(batches=True)  # type: ignore[attr-defined]
    assert not takes_batches(remembering), "one picture before for all would be another stream's"


def brightness(path: Path) -> Path:
    """A YOLO graph for any number of pictures: one box, its size and score are the picture's brightness."""
    anchors = 64 + 16 + 4
    head = np.zeros((1, 6, anchors), np.float32)
    head[0, :4, 0], head[0, 4, 0] = (64, 64, 60, 40), 1.0
    made = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Reshape", ["mean", "shape"], ["gain"]),
            helper.make_node("Mul", ["gain", "head"], ["output0"]),
        ],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["n", 6, anchors])],
        [numpy_helper.from_array(head, "head"), numpy_helper.from_array(np.array([-1, 1, 1]), "shape")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    for key, value in {"names": "{0: 'person', 1: 'car'}", "task": "detect", "imgsz": "[64, 64]", "stride": "32",
                       "description": "Ultralytics YOLOv8n model", "author": "Ultralytics"}.items():  # fmt: skip
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def test_a_real_graph_gives_each_stream_what_it_gives_alone(tmp_path: Path) -> None:
    model = open_model(brightness(tmp_path / "net.onnx"), device="cpu", threads=1)
    sizes: Counter[int] = Counter()
    infer = model.infer
    model.infer = lambda tensors: (sizes.update([len(tensors["images"])]), time.sleep(0.002), infer(tensors))[2]  # type: ignore[method-assign]

    class Bright(File):
        def __iter__(self):
            for k in range(self.count):
                yield Frame(k, k / 30, np.full((64, 64, 3), self.fail_at + 2 * k, np.uint8))

    class Keep(Memory):
        def write(self, frame, tracks) -> None:
            alone = model.decode(infer(model.preprocess(frame.image).tensors), model.preprocess(frame.image).placement)
            np.testing.assert_array_equal(tracks.detections.boxes, alone.boxes)
            np.testing.assert_array_equal(tracks.detections.scores, alone.scores)
            assert len(alone) == 1
            self.seen.append(frame.index)

    sinks = [Keep() for _ in range(4)]
    streams = Streams(model, max_batch=3)
    for k, sink in enumerate(sinks):
        streams.add(str(k), stream(Bright(30, 60 + 20 * k), sink))
    outcomes = streams.run()
    assert [outcome.error for outcome in outcomes.values()] == [None] * 4
    assert [sink.seen for sink in sinks] == [list(range(30))] * 4 and max(sizes) == 3


def refuse() -> Stream:
    raise SourceError("cannot open camera: connection refused")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: stream(File(50, fail_at=20), Memory()), "the disk is gone"),
        (lambda: stream(File(50), Memory(fail_at=20)), "disk full"),
        (lambda: stream(File(300), Memory()), "no such picture"),
        (refuse, "connection refused"),
    ],
)
@pytest.mark.parametrize("batches", [False, True])
def test_a_stream_that_fails_fails_alone(bad, message: str, batches: bool) -> None:
    net, good, ended = Net(batches=batches, fail_on=200), [Memory(), Memory()], []
    streams = Streams(net, on_end=lambda name, outcome: ended.append((name, outcome)))
    for name, each in (("a", stream(File(120), good[0])), ("bad", bad), ("b", stream(File(120), good[1]))):
        streams.add(name, each)
    outcomes = streams.run()
    assert [sink.seen for sink in good] == [list(range(120))] * 2
    assert message in str(outcomes["bad"].error) and outcomes["bad"].report is None
    assert outcomes["a"].error is None and dict(ended) == outcomes


def test_a_camera_that_does_not_answer_keeps_nobody_waiting() -> None:
    answer, sink = threading.Event(), Memory()

    def hang() -> Stream:
        answer.wait(10)
        raise SourceError("no answer")

    streams = Streams(Net(), on_end=lambda name, outcome: answer.set() if name == "good" else None)
    streams.add("dead", hang)
    streams.add("good", stream(File(100), sink))
    outcomes = streams.run()
    assert sink.seen == list(range(100)) and str(outcomes["dead"].error) == "no answer"


def test_live_streams_lose_no_frame_more_than_alone() -> None:
    """Four cameras at 25 fps: one dead from the start, one that dies in the middle."""

    def run(*names: str) -> dict[str, int]:
        streams, made = Streams(Net(batches=True, delay_s=0.004)), {}
        for name in names:
            if name == "dead":
                streams.add(name, refuse)
                continue
            made[name] = Memory()
            streams.add(name, lambda name=name: stream(camera(14 if name == "dying" else 36), made[name]))
        outcomes = streams.run()
        ages = [o.report.stages["age"].p50 for o in outcomes.values() if o.report is not None]
        assert max(ages) < 60
        for name, sink in made.items():
            report = outcomes[name].report
            assert len(sink.seen) + report.dropped == (14 if name == "dying" else 36)
        return {name: len(sink.seen) for name, sink in made.items()}

    alone, together = run("a"), run("a", "b", "dead", "dying")
    assert min(together["a"], together["b"]) >= alone["a"] - 3, "a loaded machine may lose a few"
    assert together["dying"] >= 11


def test_a_slow_network_serves_live_streams_in_turn_with_their_newest_frames() -> None:
    sinks = [Memory() for _ in range(3)]
    streams = Streams(Net(delay_s=0.02))
    for k, sink in enumerate(sinks):
        streams.add(str(k), lambda sink=sink: stream(camera(100, 100), sink))
    outcomes = streams.run()
    counts = [len(sink.seen) for sink in sinks]
    assert max(counts) - min(counts) <= 3 and sum(counts) < 120
    for k, sink in enumerate(sinks):
        report = outcomes[str(k)].report
        assert len(sink.seen) + report.dropped == 100 and sink.seen == sorted(sink.seen)
        assert report.stages["age"].p50 < 60, "the newest frame is taken when its turn comes"


def test_a_slow_disk_is_its_streams_own_matter() -> None:
    slow, fast = Memory(delay_s=0.05), Memory()
    streams = Streams(Net(batches=True))
    streams.add("slow", stream(File(10), slow))
    streams.add("fast", stream(File(200), fast))
    done = {}
    streams._on_end = lambda name, outcome: done.setdefault(name, time.monotonic())
    streams.run()
    assert slow.seen == list(range(10)) and fast.seen == list(range(200))
    assert done["fast"] < done["slow"]


def test_streams_come_and_go_while_it_runs() -> None:
    stop, sinks = threading.Event(), {name: Memory() for name in "abc"}
    results = {}
    streams = Streams(Net())
    runner = threading.Thread(
        target=lambda: results.update(streams.run(stop=stop.is_set, keep_open=True)), name="runner"
    )
    runner.start()
    streams.add("a", stream(File(10), sinks["a"]))
    endless = camera(10_000, 50)
    streams.add("b", stream(endless, sinks["b"]))
    with pytest.raises(ConfigError, match="twice"):
        streams.add("b", refuse)
    wait(lambda: len(sinks["b"].seen) > 3)
    assert streams.clocks["b"].latencies()["session"].count > 0
    outcome = streams.remove("b")
    assert outcome.report.frames == len(sinks["b"].seen) and sinks["b"].closed == 1
    with pytest.raises(ConfigError, match="no stream 'b'"):
        streams.remove("b")
    streams.add("c", stream(camera(10_000, 50), sinks["c"]))
    wait(lambda: len(sinks["c"].seen) > 3)
    stop.set()
    runner.join(10)
    assert not runner.is_alive() and set(results) == {"a", "c"}
    assert results["c"].report.frames == len(sinks["c"].seen) and sinks["c"].closed == 1
    assert sinks["a"].seen == list(range(10))


def test_max_frames_and_a_clock_of_ones_own() -> None:
    clock, sink, source = StageClock(), Memory(), File(100)
    with Streams(Net()) as streams:
        streams.add("a", stream(source, sink, max_frames=7, clock=clock))
        outcomes = streams.run()
    assert sink.seen == list(range(7)) and outcomes["a"].report.frames == 7
    assert clock.latencies()["decode"].count == 7 and source.closed


def test_the_network_runs_on_every_third_frame_of_one_stream_only() -> None:
    net, sinks = Net(), [Memory(), Memory()]
    streams = Streams(net)
    sinks[0].write = lambda frame, tracks: sinks[0].seen.append(tracks.detections.looked)  # type: ignore[method-assign]
    streams.add("thirds", stream(File(9), sinks[0], look=every(3)))
    streams.add("all", stream(File(9), sinks[1]))
    outcomes = streams.run()
    assert sinks[0].seen == [True, False, False] * 3 and sinks[1].seen == list(range(9))
    assert [outcomes[name].report.stages["session"].count for name in ("thirds", "all")] == [3, 9]


def test_an_interrupt_closes_every_sink() -> None:
    sinks, calls = [Memory(), Memory()], iter(range(1000))

    def stop() -> bool:
        if next(calls) == 30:
            raise KeyboardInterrupt
        return False

    streams = Streams(Net())
    for k, sink in enumerate(sinks):
        streams.add(str(k), stream(File(1000), sink))
    with pytest.raises(KeyboardInterrupt):
        streams.run(stop=stop)
    assert all(sink.closed == 1 and sink.seen == list(range(len(sink.seen))) for sink in sinks)


def test_bad_batch_size() -> None:
    with pytest.raises(ConfigError, match="max_batch"):
        Streams(Net(), max_batch=0)


def wait(condition, limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()
