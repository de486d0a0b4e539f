"""What `run` and `replay` share: the flags about results, the sinks that they open, and the table that ends a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.cli.config import option
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.association import Plan
    from tracker.pipeline import Report
    from tracker.sinks import RunInfo, Sink
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


def choose_parts(config: OutputConfig, *, has_masks: bool, has_images: bool = True) -> Parts:
    """Every output that a config asks for; by default all sinks that can be fed.

    Raises:
        ConfigError: an unknown output, or a painter without images.
    """
    from tracker.sinks import SINKS

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
        parts.append((name, path if equals else str(Path(config.output) / SINKS[name][1])))
    return parts


def open_sinks(parts: Parts, info: RunInfo, config: OutputConfig, plan: Plan) -> list[Sink]:
    """Create all outputs, or none: an error closes those that were open already."""
    from tracker.sinks import SINKS, EventsSink

    sinks: list[Sink] = []
    try:
        for name, path in parts:
            kind = SINKS[name][0]
            sink = EventsSink(path, info, plan=plan) if kind is EventsSink else kind(path, info)
            sinks.append(limit_length(sink, config, name, live=path == "-"))
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks


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


def print_summary(report: Report, source: str, written: Sequence[str], config: OutputConfig) -> None:
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
    if written:
        lines.append("wrote " + (", ".join(path for path in written if path != "-") or "JSON lines"))
    print("\n".join(lines), file=sys.stderr if config.output == "-" else sys.stdout)
