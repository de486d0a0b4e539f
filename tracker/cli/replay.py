"""Track a recorded run again, without its network.

RECORDING is what `tracker run --record run.trk` wrote. By default the run's own system and options give the run's ids
again, and the last line says so; `--tracker` and `--set` try others. A recording holds no images: `--source` with the
run's video makes `--save video` possible.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.cli.config import add_flags, load, option
from tracker.cli.guidance import GuidanceConfig, guide, refuse_looks
from tracker.cli.outputs import OutputConfig, check_outputs, choose_parts, open_sinks, paths_of, print_summary
from tracker.cli.overwriting import files_of
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.formats.recording import Header, Record, Recording, Result
    from tracker.guide import Guided
    from tracker.types import Detections, Frame, Tracks


@dataclass(frozen=True)
class ReplayConfig(OutputConfig, GuidanceConfig):
    """Everything `tracker replay` can be told; a TOML file uses the same names."""

    recording: str
    tracker: str | None = option(None, "another system, with its defaults (default: the run's, with its options)")
    set: dict[str, Any] = option(
        {}, "change a parameter of the system (`tracker systems NAME` lists them)", metavar="NAME=VALUE"
    )
    explain: str | None = option(
        None,
        "print why track ID took its detection, or none, in frame FRAME; writes files only with -o or --save",
        metavar="ID@FRAME",
    )
    source: str | None = option(None, "the video of the run, for outputs that need its images", metavar="VIDEO")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("recording", help="file that `tracker run --record` wrote")
    parser.add_argument("--config", metavar="TOML", help="file with the same names as these flags")
    add_flags(parser, ReplayConfig)


def execute(arguments: argparse.Namespace) -> int:
    """Track, then print what was done."""
    config = load(ReplayConfig, arguments, arguments.config, recording=arguments.recording)
    return replay(config)


def replay(config: ReplayConfig) -> int:
    """Run a config to its end; returns the exit code. Outputs are opened last, as in `run`."""
    from tracker import pipeline
    from tracker.cli.interruption import Interruption
    from tracker.cli.progress import Progress
    from tracker.cli.rehearsal import rehearse
    from tracker.formats.recording import Recording
    from tracker.sinks import SINKS, RunInfo

    recording = Recording.open(config.recording)
    header = recording.header
    asked, explanations = _asked(config.explain), list[str]()
    parts = choose_parts(config, has_masks=header.masks, has_images=config.source is not None)
    if asked is not None and not config.save and config.output == ReplayConfig.output:
        parts = []  # a question overwrites no results
    progress = Progress(quiet=config.quiet)
    with contextlib.ExitStack() as stack:
        stack.callback(progress.close)
        associator, system, options = _open_tracker(config, header)
        info = RunInfo(header.source, header.fps, header.size, header.class_names, header.model, system)
        own = (system, options) == (header.system, dict(header.options))
        check = _Check(recording, _images(config, stack), found_again=own and config.motion is None)
        associator.tracker.keep_explanations(asked is not None)
        rehearse(associator, [SINKS[name][0] for name, _ in parts], info)
        images = [] if config.source is None else files_of(config.source)
        check_outputs(paths_of(parts, config), [Path(config.recording), *images], info, config)
        sinks, counts = open_sinks(parts, info, config, associator.plan)
        progress.start(min(len(recording), config.max_frames or sys.maxsize))

        def on_frame(frame: Frame, tracks: Tracks) -> None:
            progress(frame, tracks)
            check(frame, tracks)
            if asked is not None and frame.index == asked[1]:
                explanations.append(str(associator.tracker.explain(asked[0])))

        with Interruption() as interruption:
            report = pipeline.replay(
                check, associator, sinks, max_frames=config.max_frames, on_frame=on_frame, stop=interruption
            )
        if interruption.code:
            progress.close()
            print(f"tracker: interrupted after {report.frames} frames; the outputs are complete", file=sys.stderr)
            return interruption.code
    print_summary(report, config.recording, paths_of(parts, config), config, counts)
    _print_verdict(config, recording, check.first_other if own else None, own=own)
    if asked is not None:
        if not explanations:
            raise ConfigError(f"expected a frame of the recording for --explain, got {asked[1]}")
        print(explanations[0], file=sys.stderr if config.output == "-" else sys.stdout)
    return 0


class _Check:
    """Recorded frames on their way to the tracker, and where its tracks are no longer the recorded ones.

    Args:
        recording: of the run.
        images: the run's frames again, or None.
        found_again: keep the rows in which learned motion found the run's tracks; to other tracks they mean nothing.

    Attributes:
        first_other: index of the first frame whose tracks differ in any bit; None if all are the same.
    """

    def __init__(self, recording: Recording, images: Iterator[Frame] | None, *, found_again: bool) -> None:
        self._found_again = found_again
        self._records: Iterator[Record] = recording.records(images)
        self._expected: dict[int, Result] = {}  # of the few frames that are on their way
        self.first_other: int | None = None

    def __iter__(self) -> Iterator[tuple[Frame, Detections]]:
        for frame, detections, result in self._records:
            self._expected[frame.index] = result
            ids = detections.track_ids
            yield frame, detections if ids is None or self._found_again else detections.select(ids < 0)

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """Compare one frame's tracks with the recorded ones."""
        from tracker.formats.recording import Result

        if not self._expected.pop(frame.index).same_as(Result.of(tracks)) and self.first_other is None:
            self.first_other = frame.index


def _open_tracker(config: ReplayConfig, header: Header) -> tuple[Guided, str, dict[str, Any]]:
    """The tracker, its system's name and what is changed in it."""
    from tracker.models.decoding.pooling import POOLINGS
    from tracker.systems import create

    system = config.tracker or header.system
    options = config.options(system, {**(header.options if config.tracker is None else {}), **config.set})
    names = header.class_names or ("",)
    associator = create(system, frame_rate=header.fps or 30.0, class_names=names, **options)
    if config.reid in POOLINGS:
        raise ConfigError(f"{config.reid} needs the network's features, which no recording holds; run with it")
    refuse_looks(config.reid, associator.plan, system)
    if config.source is None and (associator.plan.flow != "none" or config.camera or config.reid or config.motion):
        raise ConfigError(f"tracker {system!r} looks at images here; give their source with --source")
    same = (system, options) == (header.system, dict(header.options))
    by_rows = associator.plan.follows or "track_ids" in associator.plan.needs
    if by_rows and config.motion is None and not same:
        raise ConfigError(
            f"tracker {system!r} uses learned motion here, which followed the tracks of the run as it was; give its "
            "network with --motion and the video with --source to try another one"
        )
    return guide(associator, config), system, options


def _asked(explain: str | None) -> tuple[int, int] | None:
    """Track and frame that are to be explained."""
    if explain is None:
        return None
    number, at, frame = explain.partition("@")
    if not (at and number.isdecimal() and frame.isdecimal()):
        raise ConfigError(f"expected --explain as ID@FRAME, such as 5@120, got {explain!r}")
    return int(number), int(frame)


def _images(config: ReplayConfig, stack: contextlib.ExitStack) -> Iterator[Frame] | None:
    from tracker.sources import open_source

    return None if config.source is None else iter(stack.enter_context(open_source(config.source)))


def _print_verdict(config: ReplayConfig, recording: Recording, first_other: int | None, *, own: bool) -> None:
    if config.quiet:
        return
    lines = [] if recording.complete else [f"{config.recording} was not closed: its run was killed or still goes on"]
    if own and first_other is None:
        lines.append("tracks: as recorded, bit for bit")
    elif own:
        lines.append(
            f"tracks: other than recorded (by trackstream {recording.header.version}) from frame {first_other} on"
        )
    print("\n".join(lines), end="\n" if lines else "", file=sys.stderr if config.output == "-" else sys.stdout)
