"""The frame loop: source -> preprocess -> session -> decode -> associate -> sink, and its stage clock.

`run` is the whole program, `replay` the part of it that comes after the network. With `overlap` reading and
preprocessing work ahead in one thread, the network in a second and the sinks in a third, while the caller's thread
decodes and associates; frames stay in order and no queue holds more than two. A live source is read without working
ahead, because a queue would only make its frames older.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from time import monotonic, perf_counter, perf_counter_ns
from typing import Any, Generic, Protocol, TypeVar

from tracker.errors import ConfigError
from tracker.types import Detections, Frame, Tracks

STAGES = ("source", "preprocess", "session", "decode", "associate", "sink")
"""What the clock measures per frame; the compiled step does `associate` and `lifecycle` in one call."""

_T = TypeVar("_T")
_DEPTH = 2  # frames that may wait between two threads


class FrameSource(Protocol):
    """Anything that yields frames; `tracker.sources.open_source` makes one from a URI."""

    @property
    def live(self) -> bool:
        """Frames arrive whether or not they are read."""

    @property
    def dropped(self) -> int:
        """Frames that arrived and were never delivered."""

    def __iter__(self) -> Iterator[Frame]: ...


class Network(Protocol):
    """A model family's three steps; `tracker.models.open_model` makes one from an ONNX file."""

    def preprocess(self, image: Any) -> Any:
        """Image to `(tensors, placement)`."""

    def infer(self, tensors: Any) -> Any:
        """Tensors to raw outputs."""

    def decode(self, outputs: Any, placement: Any) -> Detections:
        """Raw outputs to detections in source pixels."""


class Associator(Protocol):
    """`tracker.Tracker`, or anything with its `update`."""

    def update(self, detections: Detections, frame: Frame | None = None, *, time_s: float | None = None) -> Tracks:
        """One frame's detections in, a snapshot of the tracks out."""


class Sink(Protocol):
    """Where tracks go while they are made."""

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame and its tracks."""

    def close(self) -> None:
        """Finish the output; called once, also after an error."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of one stage in milliseconds, over `count` frames."""

    p50: float
    p95: float
    p99: float
    max: float
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did.

    Attributes:
        frames: frames tracked.
        tracks: ids that were confirmed at least once.
        dropped: frames that a live source dropped to stay current.
        wall_s: seconds from the first frame asked for to the last sink written.
        fps: frames / wall_s, end to end.
        stages: latency per stage, plus `end_to_end` (frame delivered to frame written) and, for live sources, `age`
            (frame arrived to tracks known, the time in which it waited for its turn included).
    """

    frames: int
    tracks: int
    dropped: int
    wall_s: float
    fps: float
    stages: dict[str, Latency]


class Histogram:
    """Durations in bins 2.2 % wide: percentiles of any number of frames in constant memory."""

    _PER_OCTAVE = 32

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}
        self._count = 0
        self._max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        place = int(math.log2(max(duration_ns, 1)) * self._PER_OCTAVE)
        self._bins[place] = self._bins.get(place, 0) + 1
        self._count += 1
        self._max_ns = max(self._max_ns, duration_ns)

    def percentile_ms(self, share: float) -> float:
        """Duration that `share` (0..1) of all durations do not exceed, to 2.2 %; 0 when nothing was counted."""
        left = share * self._count
        for place in sorted(self._bins):
            left -= self._bins[place]
            if left <= 0:
                return float(min(2 ** ((place + 0.5) / self._PER_OCTAVE), self._max_ns)) / 1e6
        return 0.0

    def latency(self) -> Latency:
        """The usual percentiles."""
        p50, p95, p99 = (self.percentile_ms(share) for share in (0.5, 0.95, 0.99))
        return Latency(p50, p95, p99, self._max_ns / 1e6, self._count)


class StageClock:
    """Durations per stage. Each stage is timed by one thread only, so no lock is needed; any thread may read."""

    def __init__(self) -> None:
        self._stages = {name: Histogram() for name in (*STAGES, "end_to_end")}

    @contextlib.contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Measure the body as one frame's share of `stage`."""
        start = perf_counter_ns()
        yield
        self._stages[stage].add(perf_counter_ns() - start)

    def add(self, stage: str, duration_ns: int) -> None:
        """Count a duration measured elsewhere."""
        if stage not in self._stages:
            self._stages[stage] = Histogram()
        self._stages[stage].add(duration_ns)

    def latencies(self) -> dict[str, Latency]:
        """Percentiles of every stage."""
        return {name: histogram.latency() for name, histogram in list(self._stages.items())}


class _Ahead(Generic[_T]):
    """An iterator whose items are made ahead in a thread, in order, at most `_DEPTH` of them."""

    def __init__(self, items: Generator[_T, None, None], name: str) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[bool, Any]] = queue.Queue(_DEPTH)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def _put(self, entry: tuple[bool, Any]) -> bool:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(entry, timeout=0.1)
                return True
        return False

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put((True, item)):
                    return
            self._put((False, None))
        except BaseException as error:  # handed over: the reader raises it in its own thread
            self._put((False, error))
        finally:
            self._items.close()

    def __iter__(self) -> Generator[_T, None, None]:
        try:
            while True:
                alive, item = self._queue.get()
                if not alive:
                    if item is not None:
                        raise item
                    return
                yield item
        finally:
            self._stop.set()
            self._thread.join()


class _Writer:
    """Writes to all sinks in a thread; an error surfaces at the next `write` or at `finish`."""

    def __init__(self, write: Callable[[Frame, Tracks, int], None]) -> None:
        self._write = write
        self._queue: queue.Queue[tuple[Frame, Tracks, int] | None] = queue.Queue(_DEPTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="sink", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (entry := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._write(*entry)
                except BaseException as error:  # handed over, see class docstring
                    self._error = error

    def write(self, frame: Frame, tracks: Tracks, since_ns: int) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put((frame, tracks, since_ns))

    def finish(self) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error


def _timed(
    items: Iterable[_T], clock: StageClock, most: int | None, stop: Callable[[], bool]
) -> Generator[tuple[_T, int], None, None]:
    """At most `most` items of a source and none after `stop`, with the moment at which each was delivered."""
    start = perf_counter_ns()
    for item in islice(items, most):
        if stop():
            return
        now = perf_counter_ns()
        clock.add("source", now - start)
        yield item, now
        start = perf_counter_ns()


def _endless() -> bool:
    """Nobody asks for the end of the run."""
    return False


def _always(_: Frame) -> bool:
    """The network runs on every frame."""
    return True


def own_network(model: Network) -> Network:
    """The network for one more stream; one that remembers earlier frames (`for_stream`) gives each its own memory."""
    fork: Callable[[], Network] | None = getattr(model, "for_stream", None)
    return model if fork is None else fork()


def detect(model: Network, frame: Frame) -> Detections:
    """All three steps of a network on one frame, for loops that are not here."""
    tensors, placement = model.preprocess(frame.image)
    return model.decode(model.infer(tensors), placement)


def every(n: int) -> Callable[[Frame], bool]:
    """True for the first frame that it is asked about and each `n`-th one after it: the `look` of `run`.

    Raises:
        ConfigError: n below 1.
    """
    if n < 1:
        raise ConfigError(f"expected to look at every n-th frame with n of at least 1, got {n}")
    turns = cycle([True, *[False] * (n - 1)])
    return lambda _: next(turns)


def _detected(
    frames: Iterable[Frame],
    model: Network,
    clock: StageClock,
    overlap: bool,
    max_frames: int | None,
    stop: Callable[[], bool],
    look: Callable[[Frame], bool],
) -> Generator[tuple[Frame, int, Detections], None, None]:
    """Frames with their detections, in order; with `overlap` each `edge` is where one thread hands over to the next.

    Frames that nobody looks at pass through without tensors and outputs.
    """

    def edge(items: Generator[_T, None, None], name: str) -> Generator[_T, None, None]:
        return iter(_Ahead(items, name)) if overlap else items

    def prepared() -> Generator[tuple[Frame, int, Any, Any], None, None]:
        for frame, since_ns in _timed(frames, clock, max_frames, stop):
            if not look(frame):
                yield frame, since_ns, None, None
                continue
            with clock.time("preprocess"):
                tensors, placement = model.preprocess(frame.image)
            yield frame, since_ns, tensors, placement

    def inferred() -> Generator[tuple[Frame, int, Any, Any], None, None]:
        network, epoch = own_network(model), 0
        with contextlib.closing(edge(prepared(), "preprocess")) as items:
            for frame, since_ns, tensors, placement in items:
                if tensors is None:
                    yield frame, since_ns, None, None
                    continue
                if frame.epoch != epoch:  # what it saw before the stream was lost may be gone
                    network, epoch = own_network(model), frame.epoch
                with clock.time("session"):
                    outputs = network.infer(tensors)
                yield frame, since_ns, outputs, placement

    with contextlib.closing(edge(inferred(), "session")) as items:
        yield from decode(items, model, clock)


def decode(
    items: Iterable[tuple[Frame, int, Any, Any]], model: Network, clock: StageClock
) -> Generator[tuple[Frame, int, Detections], None, None]:
    """Raw outputs, with the frame and the moment before them and its placement after, to detections.

    Frames that nobody looked at have no outputs (None).
    """
    for frame, since_ns, outputs, placement in items:
        if outputs is None:
            yield frame, since_ns, Detections.unlooked()
            continue
        with clock.time("decode"):
            detections = model.decode(outputs, placement)
        yield frame, since_ns, detections


def run(
    source: FrameSource,
    model: Network,
    tracker: Associator,
    sinks: Sequence[Sink] = (),
    *,
    overlap: bool | None = None,
    max_frames: int | None = None,
    on_frame: Callable[[Frame, Tracks], None] | None = None,
    clock: StageClock | None = None,
    stop: Callable[[], bool] = _endless,
    look: Callable[[Frame], bool] = _always,
) -> Report:
    """Track a source to its end (or `max_frames`), and close the sinks whatever happens.

    On an error or Ctrl-C the frames tracked so far are written and the sinks closed before the exception goes on, so
    files stay valid up to that frame. The source is left open; it belongs to the caller.

    Args:
        source: yields frames in order.
        model: turns a frame into detections.
        tracker: turns detections into tracks.
        sinks: each gets every frame, in order.
        overlap: run stages in threads; by default for files (all frames, as fast as possible) and not for live sources
            (newest frame, as fresh as possible).
        max_frames: stop after this many.
        on_frame: called in the caller's thread after each frame's tracks are known, for progress.
        clock: measures the stages; give one to read latencies while the run goes on.
        stop: asked before each frame; once true, the frames on their way are finished and the run ends.
        look: asked for each frame, in order, whether the network shall run on it, such as `every(3)`; where not, the
            tracker gets `Detections.unlooked()`.

    Returns:
        Counts and latencies; compile and warm up beforehand to keep these out of them.
    """
    overlap = not source.live if overlap is None else overlap
    clock = StageClock() if clock is None else clock
    detected = _detected(source, model, clock, overlap, max_frames, stop, look)
    report = follow(detected, tracker, sinks, clock, overlap=overlap, on_frame=on_frame)
    return replace(report, dropped=source.dropped)


def replay(
    recorded: Iterable[tuple[Frame, Detections]],
    tracker: Associator,
    sinks: Sequence[Sink] = (),
    *,
    overlap: bool = True,
    max_frames: int | None = None,
    on_frame: Callable[[Frame, Tracks], None] | None = None,
    stop: Callable[[], bool] = _endless,
) -> Report:
    """Track what a network saw earlier; everything else is as in `run`.

    Args:
        recorded: frames in order with their detections, such as a `tracker.formats.recording.Recording`.
        tracker: turns detections into tracks.
        sinks: each gets every frame, in order.
        overlap: read ahead in one thread and write in another.
        max_frames: stop after this many.
        on_frame: called in the caller's thread after each frame's tracks are known.
        stop: asked before each frame; once true, the frames on their way are finished and the run ends.

    Returns:
        Counts and latencies; those of preprocess, session and decode have no frames.
    """
    clock = StageClock()
    reread = _reread(recorded, clock, overlap, max_frames, stop)
    return follow(reread, tracker, sinks, clock, overlap=overlap, on_frame=on_frame)


def _reread(
    recorded: Iterable[tuple[Frame, Detections]],
    clock: StageClock,
    overlap: bool,
    max_frames: int | None,
    stop: Callable[[], bool],
) -> Generator[tuple[Frame, int, Detections], None, None]:
    """Recorded frames in the form of `_detected`."""
    read = _timed(recorded, clock, max_frames, stop)
    with contextlib.closing(iter(_Ahead(read, "source")) if overlap else read) as items:
        for (frame, detections), since_ns in items:
            yield frame, since_ns, detections


def follow(
    detected: Generator[tuple[Frame, int, Detections], None, None],
    tracker: Associator,
    sinks: Sequence[Sink],
    clock: StageClock,
    *,
    overlap: bool,
    on_frame: Callable[[Frame, Tracks], None] | None,
) -> Report:
    """The loop's second half, from detections on; closes `detected` and the sinks whatever happens.

    Args:
        detected: frames in order, each with the moment at which it was delivered (`perf_counter_ns`) and what was seen.
        tracker: as in `run`, like everything else.
        sinks: likewise.
        clock: likewise.
        overlap: write in a thread.
        on_frame: likewise.

    Returns:
        Counts and latencies; `dropped` is the source's to say.
    """
    frames = confirmed_ever = 0
    counted: set[int] = set()

    def write(frame: Frame, tracks: Tracks, since_ns: int) -> None:
        with clock.time("sink"):
            for sink in sinks:
                sink.write(frame, tracks)
        clock.add("end_to_end", perf_counter_ns() - since_ns)

    start = perf_counter()
    with contextlib.ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        put = write
        if overlap:
            writer = _Writer(write)
            stack.callback(writer.finish)
            put = writer.write
        stack.callback(detected.close)
        for frame, since_ns, detections in detected:
            with clock.time("associate"):
                tracks = tracker.update(detections, frame)
            if frame.arrived_s is not None:
                clock.add("age", int((monotonic() - frame.arrived_s) * 1e9))
            put(frame, tracks, since_ns)
            confirmed = set(tracks.confirmed.ids.tolist())
            confirmed_ever += len(confirmed - counted)
            counted = (counted | confirmed) & set(tracks.ids.tolist())  # ids end, and are never used again
            frames += 1
            if on_frame is not None:
                on_frame(frame, tracks)
    wall_s = perf_counter() - start
    return Report(frames, confirmed_ever, 0, wall_s, frames / wall_s, clock.latencies())
