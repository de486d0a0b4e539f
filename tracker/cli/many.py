"""`tracker run` with several sources: one network, and everything else once for each stream."""

from __future__ import annotations

import dataclasses
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.cli.counting import totals
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
)
from tracker.cli.outputs import choose_parts
from tracker.errors import ConfigError, TrackerError
from tracker.sources import mask_credentials

if TYPE_CHECKING:
    from tracker.cli.progress import Progress
    from tracker.cli.run_config import RunConfig
    from tracker.cli.serving import Services
    from tracker.cli.side_networks import SideNetworks
    from tracker.cli.state import StateFile
    from tracker.models import Model
    from tracker.sinks.crossings import CrossingsSink
    from tracker.streams import Outcome, Stream
    from tracker.types import Frame, Tracks


def name_streams(sources: Sequence[str], named: Mapping[str, Any]) -> dict[str, str]:
    """Name -> source of every stream; those without a name get one from their address.

    Raises:
        ConfigError: a name that is no folder's.
    """
    streams = {name: str(source) for name, source in named.items()}
    for name in streams:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ConfigError(f"expected a stream's name of letters, digits, '_', '-' and '.', got {name!r}")
    bare = [re.sub(r"^\w+:/*(\*+@)?|\?.*$", "", mask_credentials(source)) for source in sources]
    places = [text if "://" in source else Path(text).stem for source, text in zip(sources, bare, strict=True)]
    folders = [Path(text).parent.name for text in bare]
    if len(set(places)) == 1 < len(set(folders)) == len(folders):  # MOT17/*/img1: the folder above tells them apart
        places = folders
    for source, place in zip(sources, places, strict=True):
        name = base = re.sub(r"[^\w.-]+", "-", place).strip("-.") or "stream"
        number = 1
        while name in streams:
            number += 1
            name = f"{base}-{number}"
        streams[name] = source
    return streams


def track_many(config: RunConfig, sources: Mapping[str, str]) -> int:
    """Track all of them to their ends; returns the exit code: 1 if a stream failed.

    A stream that cannot be opened, or fails later, says so in one line and leaves the others alone.

    Raises:
        ConfigError: flags that do not go together with several streams.
        TrackerError: no stream could be tracked: the first one's reason.
    """
    from tracker.cli.interruption import Interruption
    from tracker.cli.progress import Progress
    from tracker.cli.rehearsal import rehearse
    from tracker.cli.serving import Services
    from tracker.sinks import SINKS, RunInfo
    from tracker.streams import Streams

    if config.show:
        raise ConfigError("--show has one window and takes one source; leave it out, or use --serve")
    if config.public_detections is not None:
        raise ConfigError("--public-detections are those of one source; track it alone")
    choose_parts(config, has_masks=True)
    check_model(config)
    services = Services(config, several=True)
    progress = Progress(quiet=config.quiet)
    try:
        model = open_network(config)
        kinds = [SINKS[name][0] for name, _ in choose_fed(config, model)]
        glides = config.detect_every > 1 or config.deadline_ms is not None
        networks = side_networks(config)
        associator = open_tracker(config, model, networks, None)
        rehearse(associator, kinds, RunInfo(), glides=glides)
        cast = _Cast(config, sources, model, networks, progress, services)
        network = loop_network(model, config, associator.plan)
        streams = Streams(network, max_batch=config.max_batch, on_end=cast.end)
        with Interruption() as interruption:
            progress.start(None)
            for name, source in sources.items():
                streams.add(name, partial(cast.open, name, source))
            outcomes = streams.run(stop=interruption)
    finally:
        services.close()
        progress.close()
    failed = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    if len(failed) == len(outcomes) and failed:
        raise failed[0]
    if interruption.code:
        print(f"tracker: interrupted after {progress.frames} frames; the outputs are complete", file=sys.stderr)
        return interruption.code
    _print_summary(outcomes, cast.counts, config)
    return 1 if failed else 0


class _Cast:
    """Opens every stream with what is its own, and hears of its end; called in the threads of the streams."""

    def __init__(
        self, config: RunConfig, sources: Mapping[str, str], model: Model, networks: SideNetworks, progress: Progress,
        services: Services,
    ) -> None:  # fmt: skip
        self.counts: dict[str, CrossingsSink] = {}
        self._config, self._sources, self._model, self._networks = config, sources, model, networks
        self._progress, self._services = progress, services
        self._lock = threading.Lock()
        self._states: dict[str, StateFile] = {}

    def open(self, name: str, address: str) -> Stream:
        """Source, tracker and outputs of one stream; the source first, so a typing error empties nothing."""
        from tracker.cli.state import StateFile
        from tracker.sources import open_source
        from tracker.streams import Stream

        config = _own(self._config, name)
        source = open_source(address, fps=config.fps, reconnect_s=config.reconnect_s)
        try:
            associator = open_tracker(config, self._model, self._networks, source.fps)
            info = describe(config, source, self._model, name)
            parts = choose_fed(config, self._model)
            state = None if config.state is None else StateFile(config.state, associator, live=source.live)
            resumed = state is not None and state.resumed
            look = choose_looks(config, associator, self._model, source)
            channel, watching = self._services.join(info, source, associator.plan)
            channel.deadline = associator.deadline
            sources = self._sources.values()
            sinks, counts = open_outputs(config, info, self._model, associator, parts, sources, resumed=resumed)
        except BaseException:
            source.close()
            raise
        if state is not None:
            self._states[name] = state
        if counts is not None:
            self.counts[name] = counts

        def on_frame(frame: Frame, tracks: Tracks) -> None:
            with self._lock:
                self._progress(frame, tracks)
            if state is not None:
                state.tick()

        return Stream(source, associator, [*watching, *sinks], on_frame, config.max_frames, channel.clock, look)

    def end(self, name: str, outcome: Outcome) -> None:
        """Say why a stream failed; keep the tracker of one that did not."""
        if isinstance(outcome.error, TrackerError) and isinstance(outcome.error.__context__, BrokenPipeError):
            return  # nobody reads stdout any more, see `tracker.cli`
        if outcome.error is not None:
            print(f"tracker run: stream {name}: {outcome.error}", file=sys.stderr)
        elif name in self._states:
            self._states[name].save()


def _own(config: RunConfig, name: str) -> RunConfig:
    """The config of one stream: its own folder, and its own files where a path was given."""

    def file(path: str | None) -> str | None:
        return None if path is None else str(Path(path).with_name(f"{Path(path).stem}-{name}{Path(path).suffix}"))

    parts = (entry.partition("=") for entry in config.save)
    save = tuple(f"{kind}={file(path)}" if equals else kind for kind, equals, path in parts)
    output = "-" if config.output == "-" else str(Path(config.output) / name)
    return dataclasses.replace(
        config, output=output, save=save, record=file(config.record), state=file(config.state), streams={}
    )


def _print_summary(outcomes: Mapping[str, Outcome], counts: Mapping[str, CrossingsSink], config: RunConfig) -> None:
    """One line for each stream, and for what was counted there; on stderr where stdout carries the results."""
    if config.quiet:
        return
    width = max(12, *(len(name) for name in outcomes)) + 2
    lines = [f"{'stream':<{width}}{'frames':>8}{'tracks':>8}{'FPS':>8}{'dropped':>9}{'latency p50':>13}{'p99 ms':>9}"]
    for name, outcome in sorted(outcomes.items()):
        if outcome.report is None:
            lines.append(f"{name:<{width}}failed: {outcome.error}")
            continue
        report = outcome.report
        latency = report.stages.get("age", report.stages["end_to_end"])
        lines.append(
            f"{name:<{width}}{report.frames:>8}{report.tracks:>8}{report.fps:>8.1f}{report.dropped:>9}"
            f"{latency.p50:>13.2f}{latency.p99:>9.2f}"
        )
    lines.append("latency: age of a live stream's results, of a file's frames from reading to writing")
    for name, counted in sorted(counts.items()):
        lines += totals(config.places, counted.counts, name)
    print("\n".join(lines), file=sys.stderr if config.output == "-" else sys.stdout)
