"""Track one source and write the results.

SOURCE is a video file, an image folder or glob, a camera number, an rtsp/rtmp/http(s) stream, - for stdin, or
synth:street?seed=7&objects=12&size=960x540&frames=300. The output folder gets tracks.txt (MOTChallenge), masks.txt
(MOTS), tracks.jsonl and video.mp4; `--save` chooses others, `-o -` sends JSON lines to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.cli.config import add_flags, load, option
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.association import Tracker
    from tracker.models import Model
    from tracker.pipeline import Report, Sink
    from tracker.sinks import RunInfo
    from tracker.sources import Source
    from tracker.types import Frame, Tracks


def _yes(text: str) -> bool:
    if text.lower() not in ("yes", "no", "true", "false"):
        raise ValueError(text)
    return text.lower() in ("yes", "true")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything `tracker run` can be told; a TOML file uses the same names."""

    source: str
    model: str | None = option(
        None, "ONNX file, or 'street' for the built-in network (knows the synthetic street only)"
    )
    family: str | None = option(None, "what kind of network it is, where the file does not say: yolo, yolox, panoptic")
    tracker: str = option("bytetrack", "published system that associates, see `tracker systems`")
    set: dict[str, Any] = option(
        {}, "change a parameter of the system (`tracker systems NAME` lists them)", metavar="NAME=VALUE"
    )
    output: str = option("out", "folder for the results, or - for JSON lines on stdout", short="-o")
    save: tuple[str, ...] = option(
        (),
        "what to write: mot, mots, jsonl, video; name=path elsewhere (default: all the model allows)",
        metavar="LIST",
    )
    device: str = option("auto", "where the network runs", choices=("auto", "cpu", "cuda", "tensorrt"))
    allow_cpu: bool = option(False, "go on with a CPU when the asked device is missing")
    threads: int | None = option(None, "CPU threads of the network", parse=int)
    size: int | None = option(None, "network input size, for networks that take any", parse=int)
    names: str | None = option(None, "class names for a model that carries none: coco, or a comma-separated list")
    min_score: float | None = option(None, "drop detections below this score", parse=float)
    classes: tuple[str, ...] = option((), "keep only these classes (names or numbers)", metavar="LIST")
    max_frames: int | None = option(None, "stop after this many frames", parse=int)
    overlap: bool | None = option(None, "yes or no: run stages in threads (default: for files)", parse=_yes)
    show: bool = option(False, "open a window (needs a display)")
    quiet: bool = option(False, "no progress line and no summary")

    def __post_init__(self) -> None:
        if self.max_frames is not None and self.max_frames < 1:
            raise ConfigError(f"max_frames must be at least 1, got {self.max_frames}")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, got {self.threads}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("source", help="what to track, see above")
    parser.add_argument("--config", metavar="TOML", help="file with the same names as these flags")
    add_flags(parser, RunConfig)


def execute(arguments: argparse.Namespace) -> int:
    """Track, then print what was done."""
    config = load(RunConfig, arguments, arguments.config, source=arguments.source)
    return track(config)


def track(config: RunConfig) -> int:
    """Run a config to its end; returns the exit code.

    Source, model and tracker are opened before any output file is touched, so a typing error never empties the
    results of an earlier run.
    """
    from tracker import pipeline
    from tracker.cli.progress import Progress
    from tracker.cli.rehearsal import rehearse
    from tracker.sinks import SINKS, RunInfo

    _parts(config, has_masks=True)  # a misspelt output is found before the network is loaded
    progress = Progress(quiet=config.quiet)
    with contextlib.ExitStack() as stack:
        stack.callback(progress.close)
        source, model, associator = _open(config, stack)
        info = RunInfo(
            source=source.name, fps=source.fps, size=source.size, class_names=model.card.class_names,
            model=Path(str(config.model)).name, system=config.tracker,
        )  # fmt: skip
        window = _open_window(info, stack) if config.show else None
        parts = _parts(config, has_masks=model.card.task != "detect")
        rehearse(associator, [SINKS[name][0] for name, _ in parts], info)
        sinks = _open_sinks(parts, info)
        progress.start(config.max_frames or source.length)

        def on_frame(frame: Frame, tracks: Tracks) -> None:
            progress(frame, tracks)
            if window is not None:  # here and not among the sinks: windows want the main thread
                window.write(frame, tracks)

        try:
            report = pipeline.run(
                source, model, associator, sinks,
                overlap=config.overlap, max_frames=config.max_frames, on_frame=on_frame,
            )  # fmt: skip
        except KeyboardInterrupt:
            progress.close()
            print(f"tracker: interrupted after {progress.frames} frames; the outputs are complete", file=sys.stderr)
            return 130
    if not config.quiet:
        print(summary(report, source.name, parts), file=sys.stderr if config.output == "-" else sys.stdout)
    return 0


def _open(config: RunConfig, stack: contextlib.ExitStack) -> tuple[Source, Model, Tracker]:
    """Source, network and tracker; the tracker compiles while the network loads."""
    from tracker.models import open_model
    from tracker.sources import open_source
    from tracker.systems import create

    if config.model is None:
        raise ConfigError(
            "no model given: add --model FILE.onnx, or --model street for the built-in network, which knows the "
            "synthetic street only"
        )
    source = stack.enter_context(open_source(config.source))
    associator = create(config.tracker, frame_rate=source.fps or 30.0, **config.set)
    compiling = threading.Thread(target=associator.warmup, name="compile")
    compiling.start()
    try:
        model = open_model(
            config.model, config.family, config.device, allow_cpu=config.allow_cpu, threads=config.threads,
            size=config.size, min_score=config.min_score, classes=config.classes or None, names=_names(config.names),
        )  # fmt: skip
    finally:
        compiling.join()
    return source, model, associator


def summary(report: Report, source: str, parts: Sequence[tuple[str, str]]) -> str:
    """The short table that ends a run."""
    lines = [
        f"{source}: {report.frames} frames, {report.tracks} tracks, {report.fps:.1f} FPS end to end"
        + (f", {report.dropped} frames dropped" if report.dropped else ""),
        f"{'stage':<12}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}",
    ]
    for name, latency in report.stages.items():
        row = (latency.p50, latency.p95, latency.p99, latency.max)
        lines.append(f"{name:<12}" + "".join(f"{value:>9.2f}" for value in row))
    lines.append("wrote " + ", ".join(path for _, path in parts if path != "-"))
    return "\n".join(lines)


def _names(text: str | None) -> str | list[str] | None:
    return text if text in (None, "coco") else text.split(",")


def _parts(config: RunConfig, *, has_masks: bool) -> list[tuple[str, str]]:
    """(sink name, path) of every output; by default all sinks that the model can feed."""
    from tracker.sinks import SINKS

    if config.output == "-":
        return [("jsonl", "-")]
    wanted = config.save or tuple(name for name, (sink, _) in SINKS.items() if has_masks or not sink.needs_masks)
    parts = []
    for entry in wanted:
        name, equals, path = entry.partition("=")
        if name not in SINKS:
            raise ConfigError(f"cannot save {name!r}; known outputs are {', '.join(SINKS)}")
        parts.append((name, path if equals else str(Path(config.output) / SINKS[name][1])))
    return parts


def _open_sinks(parts: Sequence[tuple[str, str]], info: RunInfo) -> list[Sink]:
    from tracker.sinks import SINKS

    sinks: list[Sink] = []
    try:
        for name, path in parts:
            sinks.append(SINKS[name][0](path, info))
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def _open_window(info: RunInfo, stack: contextlib.ExitStack) -> Sink:
    from tracker.sinks.window import WindowSink

    window = WindowSink(info.source, info)
    stack.callback(window.close)
    return window
