"""What `run` and `replay` share: the flags about results, the sinks that they open, and the table that ends a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tracker.cli.config import option
from tracker.cli.counting import Points, check_places, counts_path, open_counts, parse_places, totals
from tracker.cli.overwriting import refuse_inputs
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker import pipeline
    from tracker.association import Plan
    from tracker.pipeline import Report
    from tracker.sinks import RunInfo, Sink
    from tracker.sinks.crossings import CrossingsSink
    from tracker.sinks.length import LengthEvent, LengthFilter

PAINTERS = ("video",)
"""Sinks that paint on the frame's image, frame by frame; the others can wait and do without it."""
WITNESSES = ("events",)
"""Sinks that tell what the tracker itself did: no minimum length keeps anything from them."""

Parts = list[tuple[str, str]]
"""(row of SINKS, path) of every output."""


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Flags about results."""

    output: str = option("out", "folder for the results, or - for JSON lines on stdout", short="-o")
    save: tuple[str, ...] = option(
        (),
        "what to write: mot, mots, jsonl, events, video (default: all that can be fed), or a benchmark's own files and "
        "more: kitti, mots-challenge, kitti-mots-png, kitti-step, mot-step, youtube-vis, davis, rosbag; NAME=PATH says "
        "where",
        metavar="LIST",
    )
    count: dict[str, Any] = option(
        {},
        "count who crosses a line (two points, source pixels) or enters and leaves a zone (three or more), in "
        "counts.jsonl; a track stands where its box ends below; may be repeated",
        metavar="NAME=X,Y,X,Y[,...]",
    )
    min_length: int = option(1, "leave out tracks of fewer detections than this", parse=int, metavar="N")
    min_length_policy: str = option(
        "retract",
        "when that is decided: retract (exact: files wait, the video and -o - show young tracks as tentative), "
        "suppress (a track appears with its N-th detection), delay (each frame waits), none",
        choices=("none", "suppress", "delay", "retract"),
    )
    min_length_lag: int | None = option(
        None, "frames that delay waits (default: min_length - 1)", parse=int, metavar="FRAMES"
    )
    max_frames: int | None = option(None, "stop after this many frames", parse=int)
    quiet: bool = option(False, "no progress line and no summary")

    def __post_init__(self) -> None:
        if self.max_frames is not None and self.max_frames < 1:
            raise ConfigError(f"max_frames must be at least 1, got {self.max_frames}")
        if self.min_length < 1:
            raise ConfigError(f"min_length must be at least 1, got {self.min_length}")
        if self.min_length_lag is not None and (self.min_length_policy != "delay" or self.min_length_lag < 0):
            raise ConfigError("min_length_lag must be 0 or more, and needs the policy delay")
        parse_places(self.count)

    @property
    def places(self) -> dict[str, Points]:
        """Points of every line and zone of --count."""
        return parse_places(self.count)


class Outputs(NamedTuple):
    """Everything that a run writes.

    Attributes:
        sinks: to be fed with every frame.
        counts: the one among them, perhaps behind a filter, that counts; None where nothing is to be counted.
    """

    sinks: list[pipeline.Sink]
    counts: CrossingsSink | None


def choose_parts(config: OutputConfig, *, has_masks: bool, has_images: bool = True, has_classes: bool = True) -> Parts:
    """Every output that a config asks for; by default all sinks that can be fed.

    Args:
        config: says which.
        has_masks: detections have masks.
        has_images: frames have their images.
        has_classes: a panoptic picture says the class of every pixel.

    Raises:
        ConfigError: an unknown output, or one that asks for what there is not.
    """
    from tracker.sinks import SINKS
    from tracker.sinks.dataset import KittiStepSink

    if config.output == "-":
        return [("jsonl", "-")]
    default = (
        name
        for name, (sink, _) in SINKS.items()
        if sink.by_default and (has_masks or not sink.needs_masks) and (has_images or name not in PAINTERS)
    )
    parts = []
    for entry in config.save or default:
        name, equals, path = entry.partition("=")
        if name not in SINKS:
            raise ConfigError(f"cannot save {name!r}; known outputs are {', '.join(SINKS)}")
        if name in PAINTERS and not has_images:
            raise ConfigError(f"cannot save {name}: a recording holds no images; add --source with the run's video")
        if issubclass(SINKS[name][0], KittiStepSink) and not has_classes:
            raise ConfigError(
                f"cannot save {name}: it needs a class for every pixel, and this model gives only objects; put a "
                "semantic network behind a segmenter's with --stuff, or take a panoptic model"
            )
        if SINKS[name][0].needs_masks and not has_masks:
            raise ConfigError(f"cannot save {name}: it needs masks, and this model gives boxes only; use a segmenter")
        parts.append((name, path if equals else str(Path(config.output) / SINKS[name][1])))
    return parts


def paths_of(parts: Parts, config: OutputConfig) -> list[str]:
    """Files and folders that `open_sinks` makes."""
    return [path for _, path in parts] + ([counts_path(config.output)] if config.count else [])


def check_outputs(paths: Sequence[str], inputs: Iterable[str | Path], info: RunInfo, config: OutputConfig) -> None:
    """What can be said against outputs before the first of them is touched.

    Raises:
        ConfigError: one of them is read too, or there is something to count outside the picture.
    """
    refuse_inputs(paths, inputs)
    check_places(config.places, info.size)


def open_sinks(parts: Parts, info: RunInfo, config: OutputConfig, plan: Plan) -> Outputs:
    """Create all outputs, or none: an error closes those that were open already."""
    from tracker.sinks import SINKS, EventsSink, VideoSink

    sinks: list[pipeline.Sink] = []
    counts: CrossingsSink | None = None
    try:
        if config.count:
            path = counts_path(config.output)
            counts = open_counts(path, info, config.places)
            sinks.append(limit_length(counts, config, "counts", live=path == "-"))  # first: the video shows the counts
        for name, path in parts:
            kind = SINKS[name][0]
            sink: Sink
            if issubclass(kind, EventsSink):
                sink = kind(path, info, plan=plan)
            elif issubclass(kind, VideoSink):
                sink = kind(path, info, counts=counts)
            else:
                sink = kind(path, info)
            sinks.append(limit_length(sink, config, name, live=path == "-"))
    except BaseException:
        for opened in sinks:
            opened.close()
        raise
    return Outputs(sinks, counts)


def limit_length(sink: Sink, config: OutputConfig, name: str, *, live: bool) -> Sink:
    """A sink behind the filter of the config's minimum length; the sink itself where there is none.

    Args:
        sink: a fresh one.
        config: has the length and the policy.
        name: row of SINKS; painters and `live` JSON lines show young tracks at once where the policy is retract.
        live: it writes to standard output.
    """
    from tracker.sinks.length import LengthSink, length_filter

    if config.min_length == 1 or config.min_length_policy == "none" or name in WITNESSES:
        return sink
    paints, lines = name in PAINTERS, name == "jsonl" and live
    gate: LengthFilter = length_filter(
        config.min_length, config.min_length_policy, config.min_length_lag,
        at_once=paints or lines, on_event=_event_writer() if lines else None,
    )  # fmt: skip
    return LengthSink(sink, gate, images=paints)


def _event_writer() -> Callable[[LengthEvent], None]:
    """Decisions about young tracks as JSON lines between those of the frames."""
    from tracker.sinks.textfile import TextFile

    stdout = TextFile("-")

    def write(event: LengthEvent) -> None:
        facts = {"event": event.kind, "id": event.track_id, "frames": event.frames, "frame": event.frame}
        stdout.write(json.dumps({**facts, "time_s": round(event.time_s, 6)}, separators=(",", ":")) + "\n")

    return write


def print_summary(
    report: Report, source: str, written: Sequence[str], config: OutputConfig, counts: CrossingsSink | None = None
) -> None:
    """The short table that ends a run; on stderr where stdout carries the results."""
    if config.quiet:
        return
    whole = "" if config.min_length == 1 or config.min_length_policy == "none" else " before the minimum length"
    dropped = f", {report.dropped} frames dropped" if report.dropped else ""
    lines = [
        f"{source}: {report.frames} frames, {report.tracks} tracks{whole}, {report.fps:.1f} FPS end to end{dropped}",
        f"{'stage':<12}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}",
    ]
    for name, latency in report.stages.items():
        if latency.count or not report.frames:
            row = (latency.p50, latency.p95, latency.p99, latency.max)
            lines.append(f"{name:<12}" + "".join(f"{value:>9.2f}" for value in row))
    if counts is not None:
        lines += totals(config.places, counts.counts)
    if written:
        lines.append("wrote " + (", ".join(path for path in written if path != "-") or "JSON lines"))
    print("\n".join(lines), file=sys.stderr if config.output == "-" else sys.stdout)
