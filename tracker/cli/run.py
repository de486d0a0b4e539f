"""Track one source and write the results.

SOURCE is a video file, an image folder or glob, a camera number, an rtsp/rtmp/http(s) stream, - for stdin, or
synth:street?seed=7&objects=12&size=960x540&frames=300. The output folder gets tracks.txt (MOTChallenge), masks.txt
(MOTS), tracks.jsonl and video.mp4; `--save` chooses others, `-o -` sends JSON lines to stdout. `--record run.trk` also
keeps what the network saw, for `tracker replay`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.cli.config import add_flags, load, option
from tracker.cli.guidance import GuidanceConfig, check_needs, guide
from tracker.cli.models import pull_named
from tracker.cli.outputs import OutputConfig, choose_parts, limit_length, open_sinks, print_summary
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker import pipeline
    from tracker.guide import Guided
    from tracker.models import Model
    from tracker.sinks import RunInfo, Sink
    from tracker.sources import Source
    from tracker.types import Frame, Tracks


def _yes(text: str) -> bool:
    if text.lower() not in ("yes", "no", "true", "false"):
        raise ValueError(text)
    return text.lower() in ("yes", "true")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Flags about the network."""

    model: str | None = option(
        None, "ONNX file, a name of `tracker models list`, or 'street' (built in, knows the synthetic street only)"
    )
    pull: bool = option(False, "fetch the named model first where it is not on this machine yet")
    family: str | None = option(
        None, "what kind of network it is, where the file does not say: yolo, yolox, rfdetr ..."
    )
    device: str = option("auto", "where the network runs", choices=("auto", "cpu", "cuda", "tensorrt"))
    allow_cpu: bool = option(False, "go on with a CPU when the asked device is missing")
    threads: int | None = option(None, "CPU threads of the network", parse=int)
    size: int | None = option(None, "network input size, for networks that take any", parse=int)
    names: str | None = option(None, "class names for a model that carries none: coco, or a comma-separated list")
    min_score: float | None = option(None, "drop detections below this score", parse=float)
    classes: tuple[str, ...] = option((), "keep only these classes (names or numbers)", metavar="LIST")

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, got {self.threads}")


@dataclasses.dataclass(frozen=True)
class RunConfig(OutputConfig, NetworkConfig, GuidanceConfig):
    """Everything `tracker run` can be told; a TOML file uses the same names."""

    source: str
    tracker: str = option("bytetrack", "published system that associates, see `tracker systems`")
    set: dict[str, Any] = option(
        {}, "change a parameter of the system (`tracker systems NAME` lists them)", metavar="NAME=VALUE"
    )
    record: str | None = option(None, "also keep what the network saw, for `tracker replay`", metavar="FILE.trk")
    overlap: bool | None = option(None, "yes or no: run stages in threads (default: for files)", parse=_yes)
    show: bool = option(False, "open a window (needs a display)")

    def __post_init__(self) -> None:
        OutputConfig.__post_init__(self)
        NetworkConfig.__post_init__(self)


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
    from tracker.cli.interruption import Interruption
    from tracker.cli.progress import Progress
    from tracker.cli.rehearsal import rehearse
    from tracker.sinks import SINKS, RunInfo

    choose_parts(config, has_masks=True)  # a misspelt output is found before the network is loaded
    progress = Progress(quiet=config.quiet)
    with contextlib.ExitStack() as stack:
        stack.callback(progress.close)
        source, model, associator = _open(config, stack)
        info = RunInfo(
            source=source.name, fps=source.fps, size=source.size, class_names=model.card.class_names,
            model=Path(str(config.model)).name, system=config.tracker,
        )  # fmt: skip
        window = _open_window(info, config, stack) if config.show else None
        parts = choose_parts(config, has_masks=model.card.task != "detect")
        rehearse(associator, [SINKS[name][0] for name, _ in parts], info)
        sinks = [*_open_recorder(config, info, model, stack), *open_sinks(parts, info, config, associator.plan)]
        progress.start(config.max_frames or source.length)

        def on_frame(frame: Frame, tracks: Tracks) -> None:
            progress(frame, tracks)
            if window is not None:  # here and not among the sinks: windows want the main thread
                window.write(frame, tracks)

        with Interruption() as interruption:
            report = pipeline.run(
                source, model, associator, sinks,
                overlap=config.overlap, max_frames=config.max_frames, on_frame=on_frame,
                stop=interruption,
            )  # fmt: skip
        if interruption.code:
            progress.close()
            print(f"tracker: interrupted after {report.frames} frames; the outputs are complete", file=sys.stderr)
            return interruption.code
    print_summary(report, source.name, [path for _, path in parts] + ([config.record] if config.record else []), config)
    return 0


def _open(config: RunConfig, stack: contextlib.ExitStack) -> tuple[Source, Model, Guided]:
    """Source, network and tracker; the tracker compiles while the network loads."""
    from tracker.association import Tracker
    from tracker.models import open_model
    from tracker.sources import open_source
    from tracker.systems import create, plan

    if config.model is None:
        raise ConfigError(
            "no model given: add --model FILE.onnx, or a name such as --model rfdetr-seg-nano after `tracker models "
            "pull rfdetr-seg-nano`; the built-in --model street knows the drawn people and cars of synth:street only"
        )
    if config.pull:
        pull_named(config.model, quiet=config.quiet)
    source = stack.enter_context(open_source(config.source))
    nameless = dataclasses.replace(plan(config.tracker, **config.set), classes=(), groups=())
    compiling = threading.Thread(target=Tracker(nameless).warmup, name="compile")
    compiling.start()
    try:
        model = open_model(
            config.model, config.family, config.device, allow_cpu=config.allow_cpu, threads=config.threads,
            size=config.size, min_score=config.min_score, classes=config.classes or None, names=_names(config.names),
        )  # fmt: skip
    finally:
        compiling.join()
    names = model.card.class_names or ("",)
    associator = create(config.tracker, frame_rate=source.fps or 30.0, class_names=names, **config.set)
    check_needs(associator.plan, config.tracker, "masks" if model.card.task != "detect" else "boxes")
    return source, model, guide(associator, config)


def _names(text: str | None) -> str | list[str] | None:
    return text if text in (None, "coco") else text.split(",")


def _open_recorder(config: RunConfig, info: RunInfo, model: Model, stack: contextlib.ExitStack) -> list[pipeline.Sink]:
    """The recording's sink, if one is asked for; it takes what comes before any minimum length."""
    from tracker.formats.recording import Header, Recorder

    if config.record is None:
        return []
    header = Header(
        info.source, info.fps, info.size, info.class_names, model.card.task != "detect", info.model, model.card.sha256,
        config.tracker, config.set,
    )  # fmt: skip
    recorder = Recorder(config.record, header)
    stack.callback(recorder.close)  # where the other sinks cannot open
    return [recorder]


def _open_window(info: RunInfo, config: RunConfig, stack: contextlib.ExitStack) -> Sink:
    from tracker.sinks.window import WindowSink

    window = limit_length(WindowSink(info.source, info), config, "video", live=True)
    stack.callback(window.close)
    return window
