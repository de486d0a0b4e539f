"""Track a source, or several side by side, and write the results.

SOURCE is a video file, an image folder or glob, a camera number, an rtsp/rtmp/http(s) stream, - for stdin, or
synth:street?seed=7&objects=12&size=960x540&frames=300. The output folder gets tracks.txt (MOTChallenge), masks.txt
(MOTS), tracks.jsonl and video.mp4; `--save` chooses others, `-o -` sends JSON lines to stdout. `--record run.trk` also
keeps what the network saw, for `tracker replay`.

Several SOURCEs share the network; each has its own tracker, ids and folder (OUTPUT/NAME/), and may end or fail alone.
`--streams NAME=SOURCE`, or a TOML table [streams], gives them names.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.cli.config import add_flags, load, option
from tracker.cli.guidance import GuidanceConfig, check_needs, frames_between, guide, loop_network, own_motion
from tracker.cli.models import pull_named
from tracker.cli.network import NetworkConfig
from tracker.cli.outputs import OutputConfig, Parts, choose_parts, limit_length, open_sinks, print_summary
from tracker.cli.serving import ServingConfig
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker import pipeline
    from tracker.cli.side_networks import SideNetworks
    from tracker.guide import Guided
    from tracker.models import Model
    from tracker.sinks import RunInfo, Sink
    from tracker.sources import Source
    from tracker.types import Frame, Tracks


def yes_or_no(text: str) -> bool:
    """What a flag with this value means; its name is part of argparse's error."""
    if text.lower() not in ("yes", "no", "true", "false"):
        raise ValueError(text)
    return text.lower() in ("yes", "true")


@dataclasses.dataclass(frozen=True)
class RunConfig(OutputConfig, NetworkConfig, GuidanceConfig, ServingConfig):
    """Everything `tracker run` can be told; a TOML file uses the same names."""

    source: str
    tracker: str = option("bytetrack", "published system that associates, see `tracker systems`")
    set: dict[str, Any] = option(
        {}, "change a parameter of the system (`tracker systems NAME` lists them)", metavar="NAME=VALUE"
    )
    stuff: str | None = option(
        None, "semantic or panoptic network whose stuff lies behind a segmenter's objects: every pixel gets a class",
        metavar="FILE.onnx|NAME",
    )  # fmt: skip
    stuff_family: str | None = option(None, "what kind --stuff is, where the file does not say: semantic")
    public_detections: str | None = option(
        None, "SiamMOT: boxes (MOTChallenge) instead of the network's proposals; it scores and refines them too",
        metavar="det.txt",
    )  # fmt: skip
    search_predicted: bool = option(
        False, "SiamMOT: search for a hidden track where it was found last, as in the paper, not where it was seen last"
    )
    streams: dict[str, Any] = option({}, "one of several sources, with a name for its folder", metavar="NAME=SOURCE")
    max_batch: int = option(8, "frames of several streams that go through the network at once, if it can", parse=int)
    fps: float = option(
        30.0, "frames per second of image files, which have no clock of their own", parse=float, metavar="FPS"
    )
    reconnect_s: float = option(
        math.inf, "seconds to try to get a lost stream or camera back, 0: not at all", parse=float, metavar="SECONDS"
    )
    state: str | None = option(
        None, "keep the tracker in this file, every second; a run that finds it goes on with its ids", metavar="FILE"
    )
    deadline_ms: float | None = option(
        None, "tracks come this soon after their frame: where it gets late, leave out flow, embeddings, the detector",
        parse=float, metavar="MS",
    )  # fmt: skip
    record: str | None = option(None, "also keep what the network saw, for `tracker replay`", metavar="FILE.trk")
    overlap: bool | None = option(None, "yes or no: run stages in threads (default: for files)", parse=yes_or_no)
    show: bool = option(False, "open a window (needs a display)")

    def __post_init__(self) -> None:
        OutputConfig.__post_init__(self)
        NetworkConfig.__post_init__(self)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("source", nargs="*", help="what to track, see below; several are tracked side by side")
    parser.add_argument("--config", metavar="TOML", help="file with the same names as these flags")
    add_flags(parser, RunConfig)


def execute(arguments: argparse.Namespace) -> int:
    """Track, then print what was done."""
    from tracker.cli.many import name_streams, track_many

    sources = arguments.source
    config = load(RunConfig, arguments, arguments.config, source=sources[0] if len(sources) == 1 else "")
    if config.streams or len(sources) > 1:
        return track_many(config, name_streams(sources, config.streams))
    if not sources:
        raise ConfigError("no source given: a file, folder, camera number, URL, - or synth:street, or --streams")
    return track(config)


def track(config: RunConfig) -> int:
    """Run a config with one source to its end; returns the exit code.

    Source, model and tracker are opened before any output file is touched, so a typing error never empties the
    results of an earlier run.
    """
    from tracker import pipeline
    from tracker.cli.interruption import Interruption
    from tracker.cli.progress import Progress
    from tracker.cli.rehearsal import rehearse
    from tracker.cli.serving import Services
    from tracker.cli.state import StateFile
    from tracker.sinks import SINKS
    from tracker.sources import open_source

    choose_parts(config, has_masks=True)  # a misspelt output is found before the network is loaded
    check_model(config)
    with contextlib.ExitStack() as stack:
        services = stack.enter_context(Services(config))
        progress = Progress(quiet=config.quiet)
        stack.callback(progress.close)
        source = stack.enter_context(open_source(config.source, fps=config.fps, reconnect_s=config.reconnect_s))
        model = open_network(config)
        associator = open_tracker(config, model, side_networks(config), source.fps)
        network = loop_network(model, config, associator.plan)
        info = describe(config, source, model)
        window = _open_window(info, config, stack) if config.show else None
        parts = choose_parts(config, has_masks=model.card.task != "detect")
        glides = config.detect_every > 1 or config.deadline_ms is not None
        rehearse(associator, [SINKS[name][0] for name, _ in parts], info, glides=glides)
        look, overlap = choose_looks(config, associator, model), config.overlap
        if config.deadline_ms is not None:
            overlap = bool(overlap)  # frames that wait in queues between threads come late
        state = None if config.state is None else StateFile(config.state, associator, live=source.live)
        channel, watching = services.join(info, source, associator.plan)
        channel.deadline = associator.deadline
        sinks = open_outputs(config, info, model, associator, parts, resumed=state is not None and state.resumed)
        progress.start(config.max_frames or source.length, channel)

        def on_frame(frame: Frame, tracks: Tracks) -> None:
            progress(frame, tracks)
            if state is not None:
                state.tick()
            if window is not None:  # here and not among the sinks: windows want the main thread
                window.write(frame, tracks)

        with Interruption(source.close if source.live else None) as interruption:  # a lost stream may never come back
            report = pipeline.run(
                source, network, associator, [*watching, *sinks],
                overlap=overlap, max_frames=config.max_frames, on_frame=on_frame,
                clock=channel.clock, stop=interruption, look=look,
            )  # fmt: skip
        if state is not None:
            state.save()
        if interruption.code:
            progress.close()
            print(f"tracker: interrupted after {report.frames} frames; the outputs are complete", file=sys.stderr)
            return interruption.code
    print_summary(report, source.name, [path for _, path in parts] + ([config.record] if config.record else []), config)
    if associator.deadline is not None and not config.quiet:
        print(associator.deadline, file=sys.stderr)
    return 0


def check_model(config: RunConfig) -> None:
    """Fetch the networks that are to be fetched.

    Raises:
        ConfigError: none is named.
    """
    if config.model is None:
        raise ConfigError(
            "no model given: add --model FILE.onnx, or a name such as --model rfdetr-seg-nano after `tracker models "
            "pull rfdetr-seg-nano`; the built-in --model street knows the drawn people and cars of synth:street only"
        )
    if config.pull:
        for name in (config.model, config.stuff, config.reid, config.motion, config.flow):
            if name is not None:
                pull_named(name, quiet=config.quiet)


def open_network(config: RunConfig) -> Model:
    """The network; the tracker's plan compiles while it loads."""
    from tracker.association import Tracker
    from tracker.models import open_model
    from tracker.systems import plan

    chosen = plan(config.tracker, **config.options(config.tracker, config.set))
    nameless = dataclasses.replace(chosen, classes=(), groups=())
    compiling = threading.Thread(target=Tracker(nameless).warmup, name="compile")
    compiling.start()
    try:
        model = config.open()
        if config.stuff is None:
            return model
        from tracker.models.semantic import Merged

        behind = open_model(
            config.stuff, config.stuff_family, config.device, allow_cpu=config.allow_cpu, threads=config.threads
        )
        return Merged(model, behind)
    finally:
        compiling.join()


def side_networks(config: RunConfig) -> SideNetworks:
    """Networks beside the detector, on its device and with its threads, for all streams."""
    from tracker.cli.side_networks import SideNetworks
    from tracker.models import SessionConfig

    session = SessionConfig(config.device, allow_cpu=config.allow_cpu, threads=config.threads or 0)
    return SideNetworks(config, session)


def open_tracker(config: RunConfig, model: Model, networks: SideNetworks, fps: float | None) -> Guided:
    """A tracker for one stream of `fps` frames per second.

    Raises:
        ConfigError: it compares what this model does not give.
    """
    from tracker.systems import create

    names = model.card.class_names or ("",)
    options = config.options(config.tracker, config.set)
    associator = create(config.tracker, frame_rate=fps or 30.0, class_names=names, **options)
    motion = own_motion(model, config, associator.plan, networks)
    check_needs(associator.plan, config.tracker, model.gives | config.given)
    return guide(associator, config, networks, motion)


def choose_looks(config: RunConfig, associator: Guided, model: Model) -> Callable[[Frame], bool]:
    """Which frames of a stream the network runs on; a deadline decides in the tracker too."""
    from tracker import pipeline
    from tracker.deadline import Deadline

    look = pipeline.every(frames_between(model, config, associator.plan))
    if config.deadline_ms is None:
        return look
    associator.deadline = Deadline(config.deadline_ms / 1e3, associator.sheddable)
    return associator.deadline.after(look)


def describe(config: RunConfig, source: Source, model: Model, stream: str = "") -> RunInfo:
    """Facts about the run for headers and labels."""
    from tracker.sinks import RunInfo

    return RunInfo(
        source=source.name, fps=source.fps, size=source.size, class_names=model.card.class_names,
        model=Path(str(config.model)).name, system=config.tracker, stream=stream,
    )  # fmt: skip


def open_outputs(
    config: RunConfig, info: RunInfo, model: Model, associator: Guided, parts: Parts, *, resumed: bool
) -> list[pipeline.Sink]:
    """Every output of a stream, the recording first; what an earlier run left is kept where this one goes on."""
    from tracker.cli.state import set_aside

    if resumed:
        set_aside([path for _, path in parts if path != "-"] + ([config.record] if config.record else []))
    with contextlib.ExitStack() as stack:
        sinks = [*_open_recorder(config, info, model, stack), *open_sinks(parts, info, config, associator.plan)]
        stack.pop_all()  # the run closes them
    return sinks


def _open_recorder(config: RunConfig, info: RunInfo, model: Model, stack: contextlib.ExitStack) -> list[pipeline.Sink]:
    """The recording's sink, if one is asked for; it takes what comes before any minimum length."""
    from tracker.formats.recording import Header, Recorder

    if config.record is None:
        return []
    header = Header(
        info.source, info.fps, info.size, info.class_names, model.card.task != "detect", info.model, model.card.sha256,
        config.tracker, config.options(config.tracker, config.set),
    )  # fmt: skip
    recorder = Recorder(config.record, header)
    stack.callback(recorder.close)  # where the other sinks cannot open
    return [recorder]


def _open_window(info: RunInfo, config: RunConfig, stack: contextlib.ExitStack) -> Sink:
    from tracker.sinks.window import WindowSink

    window = limit_length(WindowSink(info.source, info), config, "video", live=True)
    stack.callback(window.close)
    return window
