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
import sys
from typing import TYPE_CHECKING

from tracker.cli.config import add_flags, load
from tracker.cli.opening import (
    check_model,
    choose_fed,
    choose_looks,
    describe,
    loop_network,
    open_network,
    open_outputs,
    open_tracker,
    side_networks,
    written,
)
from tracker.cli.outputs import choose_parts, limit_length, print_summary
from tracker.cli.run_config import RunConfig
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.sinks import RunInfo, Sink
    from tracker.types import Frame, Tracks


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
        parts = choose_fed(config, model)
        glides = config.detect_every > 1 or config.deadline_ms is not None
        rehearse(associator, [SINKS[name][0] for name, _ in parts], info, glides=glides)
        look, overlap = choose_looks(config, associator, model, source), config.overlap
        if config.deadline_ms is not None:
            overlap = bool(overlap)  # frames that wait in queues between threads come late
        state = None if config.state is None else StateFile(config.state, associator, live=source.live)
        channel, watching = services.join(info, source, associator.plan)
        channel.deadline = associator.deadline
        resumed = state is not None and state.resumed
        sinks, counts = open_outputs(config, info, model, associator, parts, [config.source], resumed=resumed)
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
    print_summary(report, source.name, written(config, parts), config, counts)
    if associator.deadline is not None and not config.quiet:
        print(associator.deadline, file=sys.stderr)
    return 0


def _open_window(info: RunInfo, config: RunConfig, stack: contextlib.ExitStack) -> Sink:
    from tracker.sinks.window import WindowSink

    window = limit_length(WindowSink(info.source, info), config, "video", live=True)
    stack.callback(window.close)
    return window
