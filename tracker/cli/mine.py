"""Annotate a folder of videos by themselves: a segmenter, optical flow, and links only where these are certain.

FOLDER holds video files and folders of images, each a video. The output folder gets NAME.txt (MOTS run lengths) for
every video, or with `--format youtube-vis` one annotations.json of all. A video that is finished is skipped the next
time, one that was cut short is done anew; videos that cannot be read are named at the end, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tracker._writing import write_whole
from tracker.cli.config import add_flags, load, option
from tracker.cli.crew import Bench, Job, News, work_off
from tracker.cli.models import pull_named
from tracker.cli.network import NetworkConfig
from tracker.errors import ConfigError, SinkError, SourceError, why

if TYPE_CHECKING:
    from tracker.annotation import Mined
    from tracker.types import Frame, Tracks

_SETTINGS = "mine.json"  # beside the annotations: what they were made with
_FREE = (
    "folder", "output", "jobs", "device", "allow_cpu", "fp16", "nhwc", "cuda_graph", "threads", "pull", "quiet",
)  # fmt: skip
"""Flags that may differ between two runs."""


@dataclasses.dataclass(frozen=True)
class MineConfig(NetworkConfig):
    """Everything `tracker mine` can be told; a TOML file uses the same names."""

    folder: str
    flow: str = option("dis", "optical flow: dis (OpenCV)", choices=("dis",))
    format: str = option(
        "kitti-mots", "what to write: kitti-mots (text), mots-challenge, kitti-mots-png or youtube-vis (ground truth)",
        choices=("kitti-mots", "mots-challenge", "kitti-mots-png", "youtube-vis"),
    )  # fmt: skip
    min_length: int = option(5, "leave out tracklets of fewer segments than this", parse=int, metavar="N")
    min_lead: float = option(
        10.0, "pixels by which a segment's best candidate must lead over the second", parse=float, metavar="PIXELS"
    )
    min_overlap: float = option(10.0, "pixels that it must share with the segment", parse=float, metavar="PIXELS")
    min_ratio: float = option(2.0, "and how many times those that no candidate shares", parse=float, metavar="TIMES")
    detect_every: int = dataclasses.field(default=1, kw_only=True)  # no flag here: every frame is looked at
    max_frames: int | None = option(None, "stop every video after this many frames", parse=int)
    jobs: int = option(1, "videos at a time, each in a process of its own", parse=int, metavar="N")
    output: str = option("annotations", "folder of the results", short="-o", metavar="FOLDER")
    quiet: bool = option(False, "no progress line and no summary")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("min_length", "jobs", "max_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("folder", help="folder of videos")
    parser.add_argument("--config", metavar="TOML", help="file with the same names as these flags")
    parser.add_argument(
        "--segmenter", dest="model", default=argparse.SUPPRESS, metavar="MODEL", help="the same as --model"
    )
    add_flags(parser, MineConfig)


def execute(arguments: argparse.Namespace) -> int:
    """Annotate what is not annotated yet."""
    config = load(MineConfig, arguments, arguments.config, folder=arguments.folder)
    if config.model is None:
        raise ConfigError("no segmenter given: add --segmenter FILE.onnx, or a name of `tracker models list`")
    videos, output = find_videos(Path(config.folder)), Path(config.output)
    _check_settings(config, output)
    places = {name: _place(output, name, config.format) for name in videos}
    jobs = [Job(name, str(videos[name]), place) for name, place in places.items() if not place.exists()]
    if config.pull and jobs:
        pull_named(config.model, quiet=config.quiet)
    board = Board(len(videos), len(videos) - len(jobs), quiet=config.quiet)
    try:
        work_off(jobs, config.jobs, functools.partial(open_bench, config), board)
    except KeyboardInterrupt:
        board.close()
        print("tracker: interrupted; the same command goes on with the videos that are not done", file=sys.stderr)
        return 130
    finally:
        board.close()
    done = [place for place in places.values() if place.exists()]
    if config.format == "youtube-vis" and done:
        from tracker.annotation import merge_truths

        merge_truths(done, output / "annotations.json")
    for name, reason in board.failed.items():
        print(f"tracker mine: {name}: {reason}", file=sys.stderr)
    if not config.quiet:
        print(f"{len(done)} of {len(videos)} videos are annotated in {output}")
    return 2 if board.failed else 0


def find_videos(folder: Path) -> dict[str, Path]:
    """Name -> video file or folder of images, in natural order.

    Raises:
        SourceError: no folder, or nothing in it.
        ConfigError: two videos of one name.
    """
    from tracker.sources.address import IMAGE_SUFFIXES, VIDEO_SUFFIXES
    from tracker.sources.images import natural_key

    def is_video(path: Path) -> bool:
        if path.is_dir():
            return any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir())
        return path.suffix.lower() in VIDEO_SUFFIXES

    if not folder.is_dir():
        raise SourceError(f"expected a folder of videos, got {folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(filter(is_video, folder.iterdir()), key=natural_key):
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise ConfigError(f"{found[name]} and {path} would both be annotated as {name}: rename one of them")
        found[name] = path
    if not found:
        raise SourceError(f"nothing to annotate in {folder}: expected video files, or folders of images")
    return found


def open_bench(config: MineConfig) -> Bench[Mined]:
    """What one process works with: the network is opened once, videos follow each other."""
    import cv2

    from tracker.annotation import mine
    from tracker.association.mining import Vetoes
    from tracker.flow import FLOWS
    from tracker.sources import open_source

    if config.jobs > 1:
        threads = config.threads or max(1, (os.cpu_count() or 1) // config.jobs)
        config = dataclasses.replace(config, threads=threads)
        cv2.setNumThreads(threads)
    model = config.open()
    if model.card.task == "detect":
        raise ConfigError(f"{config.model} gives boxes without masks; mining needs a segmenter")

    def bench(job: Job, tell: Callable[[int, int | None], None]) -> Mined:
        with open_source(job.source) as source:
            frames, told = 0, 0.0

            def on_frame(_frame: Frame, _tracks: Tracks) -> None:
                nonlocal frames, told
                frames += 1
                if time.monotonic() - told >= 0.1:
                    told = time.monotonic()
                    tell(frames, config.max_frames or source.length)

            return mine(
                source, model.for_stream(), FLOWS[config.flow](), job.place, name=job.name,
                class_names=model.card.class_names, form=config.format, min_length=config.min_length,
                max_frames=config.max_frames, on_frame=on_frame,
                vetoes=Vetoes(config.min_lead, config.min_overlap, config.min_ratio),
            )  # fmt: skip

    return bench


class Board:
    """Hears the news: a line per finished video on stdout, `[####    ]  3/12 videos  41.3 FPS  street` on a terminal.

    Attributes:
        failed: name of each video that could not be read -> why.
    """

    def __init__(self, count: int, done: int, *, quiet: bool) -> None:
        self._count, self._done, self._quiet = count, done, quiet
        self._shown = not quiet and sys.stderr.isatty()
        self._running: dict[str, tuple[int, int | None]] = {}
        self._frames = 0  # of finished videos
        self._start = time.monotonic()
        self.failed: dict[str, str] = {}
        if self._shown:
            print("opening and compiling (a first run takes some seconds) ...", end="", file=sys.stderr, flush=True)

    def __call__(self, news: News[Mined]) -> None:
        """Take one piece of news."""
        if not self._running and not self._frames:
            self._start = time.monotonic()
        self._running[news.name] = news.frames, news.length
        if news.last:
            del self._running[news.name]
            self._done += 1
            self.close()
        if news.error is not None:
            self.failed[news.name] = news.error
        if news.result is not None:
            mined = news.result
            self._frames += mined.frames
            if not self._quiet:
                print(
                    f"{news.name}: {mined.frames} frames, {mined.tracklets} tracklets, {mined.segments} segments, "
                    f"{mined.frames / mined.wall_s:.1f} FPS", flush=True,
                )  # fmt: skip
        if self._shown:
            self._draw(news.name)

    def _draw(self, name: str) -> None:
        begun = sum(frames / length for frames, length in self._running.values() if length)
        bar = "#" * min(24, int(24 * (self._done + begun) / self._count))
        frames = self._frames + sum(frames for frames, _ in self._running.values())
        rate = frames / max(time.monotonic() - self._start, 1e-9)
        line = f"[{bar:<24}] {self._done}/{self._count} videos  {frames} frames  {rate:.1f} FPS  {name}"
        print(f"\r{line[:78]:<78}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line."""
        if self._shown:
            print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)


def _place(output: Path, name: str, form: str) -> Path:
    """Where the annotations of one video belong."""
    if form == "youtube-vis":
        return output / "videos" / f"{name}.json"
    return output / (name if form == "kitti-mots-png" else f"{name}.txt")


def _check_settings(config: MineConfig, output: Path) -> None:
    """The annotations of one folder are all made the same way; the first run says which.

    Raises:
        ConfigError: this is another way.
        SinkError: the folder cannot be written.
    """
    mine: Mapping[str, object] = json.loads(
        json.dumps({name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE})
    )
    path = output / _SETTINGS
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_whole(path, (json.dumps(mine, indent=1) + "\n").encode())
        before = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SinkError(f"cannot write {path}: {why(error)}") from None
    except ValueError:
        raise ConfigError(f"{path} is damaged; remove it, or name another folder with --output") from None
    if other := [name for name in mine if name in before and before[name] != mine[name]]:
        raise ConfigError(
            f"{output} has annotations made with {other[0]} {before[other[0]]!r}, now it is {mine[other[0]]!r}: "
            "name another folder with --output"
        )
