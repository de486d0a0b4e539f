"""Many streams, one network: each stream has its own tracker, ids, outputs and fate, only the session is shared.

Whatever frames wait when the network is free go through it together, at most `max_batch` of them and in turn; where the
graph takes one picture only, they go one by one. Of live streams it is the newest frame, prepared when its turn comes;
of files every frame, read ahead. Each stream has a thread that opens it, decodes, tracks and writes, so a slow disk, a
dead camera or an error of one stream costs the others nothing.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import perf_counter_ns
from types import TracebackType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from tracker.errors import ConfigError, TrackerError
from tracker.pipeline import Associator, FrameSource, Network, Report, Sink, StageClock, decode, follow, own_network
from tracker.types import Frame, Tracks

_logger = logging.getLogger(__name__)

_READ_AHEAD = 2  # frames of a file that wait, prepared
_FILE_IN_FLIGHT = 3  # frames of a file between the network and its sinks; of a live stream one, queued ones would age
_POLL_S = 0.1  # how often `stop` is asked while nothing comes
_CLOSE_WAIT_S = 10.0


class StreamSource(FrameSource, Protocol):
    """A source that can be closed while another thread waits for its next frame."""

    def close(self) -> None:
        """End the iteration."""


@runtime_checkable
class LiveFrames(Protocol):
    """A live source that can be asked without waiting, as `tracker.sources.live.LiveSource` can."""

    on_news: Callable[[], object] | None

    @property
    def pending(self) -> bool:
        """`take` would not wait."""

    def take(self) -> Frame | None:
        """The newest frame, once; None at the end."""


@dataclass(frozen=True)
class Stream:
    """One stream of many.

    Attributes:
        source: closed when the stream ends.
        tracker: this stream's own.
        sinks: likewise; closed when the stream ends.
        on_frame: called in the stream's thread after each frame's tracks are known.
        max_frames: end after this many.
        clock: measures the stages; give one to read latencies while the stream goes on.
        look: asked before each frame whether the network shall run on it, see `tracker.pipeline.every`.
    """

    source: StreamSource
    tracker: Associator
    sinks: Sequence[Sink] = ()
    on_frame: Callable[[Frame, Tracks], None] | None = None
    max_frames: int | None = None
    clock: StageClock | None = None
    look: Callable[[Frame], bool] = lambda _: True


@dataclass(frozen=True)
class Outcome:
    """How a stream ended.

    Attributes:
        report: what it did; None after an error.
        error: what ended it; None if it came to its end.
    """

    report: Report | None
    error: BaseException | None = None


class Streams:
    """Runs streams through one network; they may come and go, also while `run` is going on.

    Args:
        model: one network for all; `infer` is called by one thread, `preprocess` and `decode` by several.
        max_batch: frames that go through the network together; 1 where `takes_batches` says no.
        on_end: called with a stream's name and outcome, in its thread, when it is over.

    Raises:
        ConfigError: a `max_batch` below 1.
    """

    def __init__(
        self, model: Network, *, max_batch: int = 8, on_end: Callable[[str, Outcome], object] | None = None
    ) -> None:
        if max_batch < 1:
            raise ConfigError(f"expected max_batch of at least 1, got {max_batch}")
        self.model = model
        self.max_batch = max_batch if takes_batches(model) else 1
        self.news = threading.Condition()
        self._on_end = on_end
        self._lanes: dict[str, _Lane] = {}  # whose turn is next stands first
        self._outcomes: dict[str, Outcome] = {}

    def __enter__(self) -> Streams:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def clocks(self) -> dict[str, StageClock]:
        """The clock of every stream that is going on, to read latencies from."""
        with self.news:
            return {name: lane.clock for name, lane in self._lanes.items()}

    def add(self, name: str, stream: Stream | Callable[[], Stream]) -> None:
        """Start a stream.

        Args:
            name: of no other stream that is going on.
            stream: an opened one, or a function that opens it, which is called in the stream's thread: what it raises
                is the stream's outcome, and a camera that does not answer keeps nobody waiting.

        Raises:
            ConfigError: the name is taken.
        """
        with self.news:
            if name in self._lanes:
                raise ConfigError(f"expected streams of different names, got {name!r} twice")
            lane = self._lanes[name] = _Lane(name, stream, self)
            self._outcomes.pop(name, None)
        lane.thread.start()

    def remove(self, name: str) -> Outcome:
        """End a stream, after the frames that its thread has; waits for its sinks.

        Raises:
            ConfigError: there is no such stream.
        """
        with self.news:
            lane = self._lanes.get(name)
            known = ", ".join(self._lanes) or "none"
        if lane is None and name not in self._outcomes:
            raise ConfigError(f"no stream {name!r} to remove; there are {known}")
        if lane is not None:
            lane.end()
            lane.thread.join()
        return self._outcomes.pop(name)

    def run(self, *, stop: Callable[[], bool] = lambda: False, keep_open: bool = False) -> dict[str, Outcome]:
        """Work until every stream has ended, or until `stop` is true: then what is on its way is still written.

        Args:
            stop: asked between frames, in the caller's thread.
            keep_open: go on without any stream, waiting for the next `add`, until `stop`.

        Returns:
            Name of every stream that was not removed, and how it ended.
        """
        try:
            with ThreadPoolExecutor(self.max_batch, "prepare") as pool:
                while lanes := self._next(stop, keep_open):
                    self._serve(lanes, pool)
        finally:
            self.close()
        return dict(self._outcomes)

    def close(self) -> None:
        """End all streams and wait for their sinks; one that is just being opened is not waited for."""
        with self.news:
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.end()
        for lane in lanes:
            if lane.feed is not None:
                lane.thread.join(_CLOSE_WAIT_S)

    # ------------------------------------------------------------------ in the thread of `run`
    def _next(self, stop: Callable[[], bool], keep_open: bool) -> list[_Lane]:
        """Streams with a frame, in turn; waits for one. Empty when the work is over."""
        with self.news:
            while not stop() and (self._lanes or keep_open):
                ready = [lane for lane in self._lanes.values() if lane.ready][: self.max_batch]
                for lane in ready:
                    self._lanes[lane.name] = self._lanes.pop(lane.name)  # to the end
                    lane.in_flight += 1
                if ready:
                    return ready
                self.news.wait(_POLL_S)
        return []

    def _serve(self, lanes: list[_Lane], pool: ThreadPoolExecutor) -> None:
        taken = pool.map(_Lane.take, lanes) if len(lanes) > 1 else map(_Lane.take, lanes)
        batches: dict[tuple[Any, ...], list[tuple[_Lane, _Prepared]]] = {}
        for lane, item in zip(lanes, taken, strict=True):
            if item is not None and item.tensors is None:  # nobody looks
                lane.put(item)
            elif item is not None:  # a network that prepares frames itself gets them in several sizes
                sizes = tuple(tensor.shape for tensor in item.tensors.values()) if len(lanes) > 1 else ()
                batches.setdefault(sizes, []).append((lane, item))
        for batch in batches.values():
            self._infer(batch)

    def _infer(self, batch: list[tuple[_Lane, _Prepared]]) -> None:
        """Hand every stream its outputs, or the reason why there are none."""
        start = perf_counter_ns()
        together = self._infer_together([item for _, item in batch]) if len(batch) > 1 else None
        for k, (lane, item) in enumerate(batch):
            if together is None:
                start = perf_counter_ns()
            try:
                outputs = lane.network(item.frame).infer(item.tensors) if together is None else together[k]
            except TrackerError as error:
                lane.end(error)
                continue
            lane.clock.add("session", perf_counter_ns() - start)
            lane.put(item._replace(tensors=outputs))

    def _infer_together(self, items: list[_Prepared]) -> list[dict[str, Any]] | None:
        """Outputs of each item; None where the graph cannot do it after all, and it is not asked again."""
        names = items[0].tensors
        tensors = {name: np.concatenate([item.tensors[name] for item in items]) for name in names}
        try:
            outputs = self.model.infer(tensors)
        except TrackerError as error:
            reason = str(error)
        else:
            if all(len(array) == len(items) for array in outputs.values()):
                return [{name: array[k : k + 1] for name, array in outputs.items()} for k in range(len(items))]
            reason = "its outputs are not one row per picture"
        _logger.warning("the network takes no batches, frames go through it one by one: %s", reason)
        self.max_batch = 1
        return None

    # ------------------------------------------------------------------ in the threads of the streams
    def _over(self, lane: _Lane, outcome: Outcome) -> None:
        with self.news:
            del self._lanes[lane.name]
            self._outcomes[lane.name] = outcome
            self.news.notify_all()
        if self._on_end is not None:
            self._on_end(lane.name, outcome)


def takes_batches(model: Network) -> bool:
    """True where the model remembers no frames, and every input and output of its graph leaves its first side free."""
    if own_network(model) is not model:
        return False
    session = getattr(model, "session", None)
    specs = [*session.inputs.values(), *session.outputs.values()] if session is not None else []
    return bool(specs) and all(spec.shape and spec.shape[0] is None for spec in specs)


class _Prepared(NamedTuple):
    """A frame on its way: tensors before the network, its outputs after it; None where nobody looks."""

    frame: Frame
    since_ns: int
    tensors: Any
    placement: Any


class _Lane:
    """A stream while it goes on, and its thread."""

    def __init__(self, name: str, stream: Stream | Callable[[], Stream], streams: Streams) -> None:
        self.name = name
        self._network, self._epoch = own_network(streams.model), 0
        self.clock = StageClock()
        self.feed: _Newest | _ReadAhead | None = None
        self.in_flight = 0
        self.thread = threading.Thread(target=self._work, args=(stream,), name=f"stream {name}", daemon=True)
        self._streams = streams
        self._left: int | None = None
        self._look: Callable[[Frame], bool] = lambda _: True
        self._ended = False
        self._results: queue.SimpleQueue[_Prepared | BaseException | None] = queue.SimpleQueue()

    @property
    def ready(self) -> bool:
        """`take` would not wait, and its thread wants more."""
        feed = self.feed
        return feed is not None and not self._ended and self.in_flight < feed.most_in_flight and feed.pending

    def take(self) -> _Prepared | None:
        """The next frame; None when there is none, and the stream is over."""
        assert self.feed is not None
        try:
            item = None if self._left == 0 else self.feed.take()
        except Exception as error:  # whatever it is, it is this stream's alone
            self.end(error)
            return None
        if item is None:
            self.end()
        elif self._left is not None:
            self._left -= 1
        return item

    def network(self, frame: Frame) -> Network:
        """The network with what it remembers of this stream; nothing after the stream was lost."""
        if frame.epoch != self._epoch:
            self._network, self._epoch = own_network(self._streams.model), frame.epoch
        return self._network

    def put(self, item: _Prepared) -> None:
        """Hand the network's outputs to the stream's thread."""
        self._results.put(item)

    def end(self, error: BaseException | None = None) -> None:
        """Let the thread finish what it was handed, then end."""
        self._ended = True
        self._results.put(error)

    def tell(self) -> None:
        """Something has changed: let `run` look again."""
        with self._streams.news:
            self._streams.news.notify_all()

    def _work(self, stream: Stream | Callable[[], Stream]) -> None:
        outcome = Outcome(None)
        try:
            opened = stream if isinstance(stream, Stream) else stream()
            self._left, self._look = opened.max_frames, opened.look
            self.clock = opened.clock or self.clock
            feed = (_Newest if isinstance(opened.source, LiveFrames) else _ReadAhead)(opened.source, self)
            with contextlib.closing(feed):
                self.feed = feed
                self.tell()
                report = follow(
                    decode(self._arriving(), self._streams.model, self.clock),
                    opened.tracker,
                    opened.sinks,
                    self.clock,
                    overlap=False,
                    on_frame=opened.on_frame,
                )
            outcome = Outcome(replace(report, dropped=opened.source.dropped))
        except BaseException as error:  # the outcome of this stream
            outcome = Outcome(None, error)
        finally:
            self._ended = True
            self._streams._over(self, outcome)

    def prepare(self, frame: Frame) -> _Prepared:
        """First stop of a frame."""
        since_ns = perf_counter_ns()
        if not self._look(frame):
            return _Prepared(frame, since_ns, None, None)
        with self.clock.time("preprocess"):
            tensors, placement = self._streams.model.preprocess(frame.image)
        return _Prepared(frame, since_ns, tensors, placement)

    def _arriving(self) -> Generator[_Prepared, None, None]:
        """What the network is done with; asked for the next, the frame before is tracked and written."""
        while (item := self._results.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            with self._streams.news:
                self.in_flight -= 1
                self._streams.news.notify_all()


class _Newest:
    """Frames of a live source, each taken and prepared when its turn comes."""

    most_in_flight = 1

    def __init__(self, source: Any, lane: _Lane) -> None:
        self._source, self._lane = source, lane
        source.on_news = lane.tell

    @property
    def pending(self) -> bool:
        return bool(self._source.pending)

    def take(self) -> _Prepared | None:
        with self._lane.clock.time("source"):
            frame = self._source.take()
        return None if frame is None else self._lane.prepare(frame)

    def close(self) -> None:
        self._source.on_news = None
        self._source.close()


class _ReadAhead:
    """Frames of any other source, read and prepared ahead in a thread."""

    most_in_flight = _FILE_IN_FLIGHT

    def __init__(self, source: StreamSource, lane: _Lane) -> None:
        self._source, self._lane = source, lane
        self._items: deque[_Prepared] = deque()
        self._room = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name=f"read {lane.name}", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> bool:
        return bool(self._items) or self._ended

    def take(self) -> _Prepared | None:
        with self._room:
            if self._items:
                self._room.notify_all()
                return self._items.popleft()
        if self._error is not None:
            raise self._error
        return None

    def close(self) -> None:
        with self._room:
            self._closed = True
            self._room.notify_all()
        self._source.close()
        self._thread.join(_CLOSE_WAIT_S)

    def _read(self) -> None:
        try:
            start = perf_counter_ns()
            for frame in self._source:
                self._lane.clock.add("source", perf_counter_ns() - start)
                item = self._lane.prepare(frame)
                with self._room:
                    self._room.wait_for(lambda: self._closed or len(self._items) < _READ_AHEAD)
                    if self._closed:
                        return
                    self._items.append(item)
                self._lane.tell()
                start = perf_counter_ns()
        except BaseException as error:  # handed over: `take` raises it
            self._error = error
        finally:
            self._ended = True
            self._lane.tell()
