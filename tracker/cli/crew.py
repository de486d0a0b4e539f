"""Many videos, some at a time: every process takes the next one, and the caller hears how far they are."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tracker.errors import FrameError, SourceError, TrackerError

_T = TypeVar("_T")
_PATIENCE_S = 1.0  # between two looks whether a process has died


@dataclass(frozen=True, slots=True)
class Job:
    """One video: its name, its address as `open_source` takes it, and where the result belongs."""

    name: str
    source: str
    place: Path


@dataclass(frozen=True, slots=True)
class News(Generic[_T]):
    """How far a job is.

    Attributes:
        name: of the job.
        frames: done so far.
        length: frames there are; None if nobody knows.
        result: of a job that is done.
        error: why a video could not be read; the other jobs go on.
    """

    name: str
    frames: int = 0
    length: int | None = None
    result: _T | None = None
    error: str | None = None

    @property
    def last(self) -> bool:
        """Nothing more comes of this job."""
        return self.result is not None or self.error is not None


Bench = Callable[[Job, Callable[[int, int | None], None]], _T]
"""Does one job; the second argument is called with frames done and frames there are."""


def work_off(
    jobs: Sequence[Job], processes: int, open_bench: Callable[[], Bench[_T]], tell: Callable[[News[_T]], None]
) -> None:
    """Do all jobs.

    Args:
        jobs: in the order in which they are begun.
        processes: how many work at a time; one works in this very process.
        open_bench: called once in each process; must be picklable.
        tell: called here, in the caller's thread, with all news.

    Raises:
        TrackerError: whatever `open_bench` and a bench raise, except that a `SourceError` or `FrameError` of a job is
            news; or a process has died. All others are ended then.
    """
    if not jobs:
        return
    if min(processes, len(jobs)) == 1:
        bench = open_bench()
        for job in jobs:
            _do(bench, job, tell)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the caller's threads in the middle of their work
    todo: Any = context.Queue()
    news: Any = context.Queue()
    crew = [
        context.Process(target=_work, args=(open_bench, todo, news), daemon=True)
        for _ in range(min(processes, len(jobs)))
    ]
    for entry in [*jobs, *(None for _ in crew)]:
        todo.put(entry)
    try:
        for process in crew:
            process.start()
        left = len(jobs)
        while left:
            try:
                each = news.get(timeout=_PATIENCE_S)
            except queue.Empty:
                _check_alive(crew)
                continue
            if isinstance(each, TrackerError):
                raise each
            left -= each.last
            tell(each)
    finally:
        for process in crew:
            if process.pid is not None:
                process.terminate()
                process.join()
        for channel in (todo, news):
            channel.cancel_join_thread()


def _check_alive(crew: Sequence[Any]) -> None:
    for process in crew:
        if process.exitcode not in (None, 0):
            raise TrackerError(
                f"a process of the crew died (exit code {process.exitcode}); if memory ran out, give fewer --jobs"
            )


def _work(open_bench: Callable[[], Bench[_T]], todo: Any, news: Any) -> None:
    """The life of a process: jobs until there is none, or until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends this process
    parent = multiprocessing.parent_process()
    try:
        bench = open_bench()
        while (job := todo.get()) is not None:
            if parent is not None and not parent.is_alive():
                return
            _do(bench, job, news.put)
    except TrackerError as error:
        news.put(error)


def _do(bench: Bench[_T], job: Job, tell: Callable[[News[_T]], None]) -> None:
    try:
        result = bench(job, lambda frames, length: tell(News(job.name, frames, length)))
    except (SourceError, FrameError) as error:
        tell(News(job.name, error=str(error)))
    else:
        tell(News(job.name, result=result))
