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

from tests.patience import PATIENCE_S, until
from tests.sources.cameras import ScriptedCapture
from tracker.errors import ConfigError, ModelError, SourceError
from tracker.models import open_model
from tracker.pipeline import StageClock, every
from tracker.sources.live import LiveSource
from tracker.streams import Stream, Streams, takes_batches
from tracker.systems import create
from tracker.types import Detections, Frame

pytestmark = pytest.mark.usefixtures("compiled", "no_thread_is_left")


def image(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number % 256, np.uint8)


class File:
    """A source of `count` numbered frames; may break."""

    live = False
    dropped = 0

    def __init__(self, count: int, fail_at: int = -1) -> None:
        self.count, self.fail_at, self.closed = count, fail_at, 0
        self.asked = 0

    def __iter__(self):
        for k in range(self.count):
            self.asked += 1
            if k == self.fail_at:
                raise SourceError("the disk is gone")
            yield self.frame(k)

    def frame(self, k: int) -> Frame:
        return Frame(k, k / 30, image(k))

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


def when_ahead(*sources: File):
    """Waits, the first time it is called, until each source has been read ahead: what comes next can be one batch."""
    once = iter([sources])

    def wait() -> None:
        for sources in once:
            until(lambda: all(source.asked >= 3 for source in sources))

    return wait


class Net:
    """A network whose one detection's box says which number it saw; it calls `before` first."""

    def __init__(self, *, batches: bool = False, before=lambda: None, fail_on: int = -1, liar: bool = False) -> None:
        spec = SimpleNamespace(shape=(None if batches else 1, 1))
        self.session = SimpleNamespace(inputs={"n": spec}, outputs={"n": spec})
        self.sizes: Counter[int] = Counter()
        self.before, self.fail_on, self.liar = before, fail_on, liar
        self.threads: set[str] = set()

    def preprocess(self, image: np.ndarray):
        return {"n": np.array([[float(image[0, 0, 0])]])}, "placement"

    def infer(self, tensors):
        numbers = tensors["n"]
        self.before()
        self.threads.add(threading.current_thread().name)
        self.sizes[len(numbers)] += 1
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

    def __init__(self, fail_at: int = -1) -> None:
        self.seen: list[int] = []
        self.ids: set[int] = set()
        self.closed = 0
        self.fail_at = fail_at

    def write(self, frame, tracks) -> None:
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


@pytest.mark.parametrize("batches", [False, True])
def test_files_lose_nothing_and_share_nothing_but_the_network(batches: bool) -> None:
    sources, sinks = [File(n) for n in (60, 50, 40, 3)], [Memory() for _ in range(4)]
    net = Net(batches=batches, before=when_ahead(*sources))
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
    sources, sinks = [File(30), File(30)], [Memory(), Memory()]
    net = Net(batches=True, liar=True, before=when_ahead(*sources))
    streams = Streams(net)
    for k, (source, sink) in enumerate(zip(sources, sinks, strict=True)):
        streams.add(str(k), stream(source, sink))
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
        def frame(self, k: int) -> Frame:
            return Frame(k, k / 30, image(k).repeat(2, axis=1))

    sources, sinks = [File(40), File(40), Wide(20)], [Memory() for _ in range(3)]
    net = Whole(batches=True, before=when_ahead(*sources))
    streams = Streams(net)
    for k, (source, sink) in enumerate(zip(sources, sinks, strict=True)):
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

    class Bright(File):
        def __init__(self, count: int, least: int) -> None:
            super().__init__(count)
            self.least = least

        def frame(self, k: int) -> Frame:
            return Frame(k, k / 30, np.full((64, 64, 3), self.least + 2 * k, np.uint8))

    class Keep(Memory):
        def write(self, frame, tracks) -> None:
            alone = model.decode(infer(model.preprocess(frame.image).tensors), model.preprocess(frame.image).placement)
            np.testing.assert_array_equal(tracks.detections.boxes, alone.boxes)
            np.testing.assert_array_equal(tracks.detections.scores, alone.scores)
            assert len(alone) == 1
            self.seen.append(frame.index)

    sources, sinks = [Bright(30, 60 + 20 * k) for k in range(4)], [Keep() for _ in range(4)]
    wait = when_ahead(*sources)
    model.infer = lambda tensors: (wait(), sizes.update([len(tensors["images"])]), infer(tensors))[2]  # type: ignore[method-assign]
    streams = Streams(model, max_batch=3)
    for k, (source, sink) in enumerate(zip(sources, sinks, strict=True)):
        streams.add(str(k), stream(source, sink))
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
        answer.wait(PATIENCE_S)
        raise SourceError("no answer")

    streams = Streams(Net(), on_end=lambda name, outcome: answer.set() if name == "good" else None)
    streams.add("dead", hang)
    streams.add("good", stream(File(100), sink))
    outcomes = streams.run()
    assert sink.seen == list(range(100)) and str(outcomes["dead"].error) == "no answer"


class Stepped(ScriptedCapture):
    """Delivers `count` pictures, each when the one before has reached the sink."""

    size, finite = (4, 4), True

    def __init__(self, count: int, sink: Memory) -> None:
        super().__init__()
        self.count, self.sink = count, sink

    def pictures(self):
        for k in range(self.count):
            until(lambda k=k: len(self.sink.seen) == k)
            yield k / 25, time.monotonic(), k

    def to_image(self, number: int) -> np.ndarray:
        return image(number)


def test_live_streams_lose_no_frame_to_others_that_fail() -> None:
    """Four cameras: one dead from the start, one that dies in the middle."""
    streams, counts = Streams(Net(batches=True)), {"a": 36, "dead": 0, "dying": 14, "b": 36}
    made = {name: Memory() for name in counts}
    for name, count in counts.items():
        source = LiveSource(name, Stepped(count, made[name])) if count else None
        streams.add(name, stream(source, made[name]) if source else refuse)
    outcomes = streams.run()
    assert isinstance(outcomes.pop("dead").error, SourceError)
    for name, outcome in outcomes.items():
        assert made[name].seen == list(range(counts[name])) and outcome.report.dropped == 0
        assert outcome.report.stages["age"].count == counts[name]


def test_a_slow_network_serves_live_streams_in_turn_with_their_newest_frames() -> None:
    """While it works on a picture, two more come from each of three cameras."""

    class Fed(Stepped):
        pictures = ScriptedCapture.pictures

    class Slow(Net):
        def infer(self, tensors):
            order.append(int(tensors["n"][0, 0]) // 64)
            assert tensors["n"] == 64 * order[-1] + newest, "the newest of its camera"
            if len(order) < 30:
                self.come_two_more()
                lanes = streams._lanes.values()
                until(lambda: sum(lane.in_flight for lane in lanes) == 1 and sum(lane.ready for lane in lanes) == 2)
            else:
                for camera in cameras:
                    camera.fed.put(None)
            return super().infer(tensors)

        def come_two_more(self) -> None:
            nonlocal newest
            for k, camera in enumerate(cameras):
                camera.feed(*((at / 25, 64 * k + at) for at in (newest + 1, newest + 2)))
            newest += 2

    order: list[int] = []
    newest, sinks = 0, [Memory() for _ in range(3)]
    cameras = [Fed(0, sink) for sink in sinks]
    streams = Streams(Slow())
    for k, (camera, sink) in enumerate(zip(cameras, sinks, strict=True)):
        source = LiveSource(str(k), camera)
        camera.feed((0.0, 64 * k))
        streams.add(str(k), stream(source, sink))
    outcomes = streams.run()
    assert sorted(order[:3]) == [0, 1, 2] and order[3:30] == order[:27]
    for k, sink in enumerate(sinks):
        assert len(sink.seen) >= 10 and sink.seen == sorted(sink.seen) and sink.seen[-1] == newest
        assert len(sink.seen) + outcomes[str(k)].report.dropped == 1 + newest


def test_a_slow_disk_is_its_streams_own_matter() -> None:
    """A disk that writes nothing until the other stream is through."""
    slow, fast, through, ended = Memory(), Memory(), threading.Event(), []
    write = slow.write
    slow.write = lambda frame, tracks: (through.wait(PATIENCE_S), write(frame, tracks))  # type: ignore[method-assign]
    streams = Streams(Net(batches=True), on_end=lambda name, _: (ended.append(name), through.set()))
    streams.add("slow", stream(File(10), slow))
    streams.add("fast", stream(File(200), fast))
    streams.run()
    assert slow.seen == list(range(10)) and fast.seen == list(range(200))
    assert ended == ["fast", "slow"]


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
    until(lambda: len(sinks["b"].seen) > 3)
    assert streams.clocks["b"].latencies()["session"].count > 0
    outcome = streams.remove("b")
    assert outcome.report.frames == len(sinks["b"].seen) and sinks["b"].closed == 1
    with pytest.raises(ConfigError, match="no stream 'b'"):
        streams.remove("b")
    streams.add("c", stream(camera(10_000, 50), sinks["c"]))
    until(lambda: len(sinks["c"].seen) > 3)
    stop.set()
    runner.join(PATIENCE_S)
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
    until(lambda: all(sink.closed == 1 for sink in sinks))
    assert all(sink.seen == list(range(len(sink.seen))) for sink in sinks)


def test_bad_batch_size() -> None:
    with pytest.raises(ConfigError, match="max_batch"):
        Streams(Net(), max_batch=0)
