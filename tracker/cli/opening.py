"""What a run is made of, opened as its flags say: networks, and for each stream its tracker and its outputs."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.cli.guidance import check_needs, guide, refuse_looks
from tracker.cli.models import pull_named
from tracker.cli.outputs import Outputs, Parts, check_outputs, choose_parts, open_sinks, paths_of
from tracker.cli.overwriting import files_of
from tracker.cli.siammot import frames_between, own_graphs, own_motion
from tracker.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from tracker import pipeline
    from tracker.association import Plan
    from tracker.cli.run_config import RunConfig
    from tracker.cli.side_networks import SideNetworks
    from tracker.guide import Guided
    from tracker.models import Model
    from tracker.models.decoding.pooling import Pooled
    from tracker.models.siammot.loop import Ahead
    from tracker.sinks import RunInfo
    from tracker.sources import Source
    from tracker.types import Frame


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
        ConfigError: it compares what this model does not give, or flags give what it does not use.
    """
    from tracker.systems import create

    names = model.card.class_names or ("",)
    options = config.options(config.tracker, config.set)
    associator = create(config.tracker, frame_rate=fps or 30.0, class_names=names, **options)
    if config.record is None:  # a recording keeps identity vectors for other trackers
        refuse_looks(config.reid, associator.plan, config.tracker)
    motion = own_motion(model, config, associator.plan, networks)
    check_needs(associator.plan, config.tracker, model.gives | config.given)
    return guide(associator, config, networks, motion)


def choose_looks(config: RunConfig, associator: Guided, model: Model, source: Source) -> Callable[[Frame], bool]:
    """Which frames of a stream the network runs on; a deadline decides in the tracker too."""
    from tracker import pipeline
    from tracker.deadline import Deadline

    look = pipeline.every(frames_between(model, config, associator.plan))
    if "masks" in associator.plan.needs or associator.plan.flow != "none" or config.camera:
        look = _at_one_size(look, source, config.tracker)
    if config.deadline_ms is None:
        return look
    associator.deadline = Deadline(config.deadline_ms / 1e3, associator.sheddable)
    return associator.deadline.after(look)


def _at_one_size(look: Callable[[Frame], bool], source: Source, system: str) -> Callable[[Frame], bool]:
    """A `look` that first refuses a frame of another size than the first one; SourceError names its file."""
    from tracker.sources.images import ImagesSource, list_images

    first: tuple[int, int] | None = None

    def check(frame: Frame) -> bool:
        nonlocal first
        size = (frame.width, frame.height)
        first = first or size
        if size != first:
            pictures = isinstance(source, ImagesSource)
            name = list_images(source.name)[frame.index] if pictures else f"frame {frame.index} of {source.name}"
            raise SourceError(
                f"{name} is {size[0]} x {size[1]} px, the first picture {first[0]} x {first[1]}: tracker {system!r} "
                "follows pixels here; bring all to one size, or take bytetrack without --camera"
            )
        return look(frame)

    return check


def describe(config: RunConfig, source: Source, model: Model, stream: str = "") -> RunInfo:
    """Facts about the run for headers and labels."""
    from tracker.sinks import RunInfo

    return RunInfo(
        source=source.name, fps=source.fps, size=source.size, class_names=model.card.class_names,
        model=Path(str(config.model)).name, system=config.tracker, stream=stream,
    )  # fmt: skip


def choose_fed(config: RunConfig, model: Model) -> Parts:
    """Every output that a config asks for, and that the model can feed.

    Raises:
        ConfigError: it cannot.
    """
    task = model.card.task
    return choose_parts(config, has_masks=task != "detect", has_classes=task not in ("detect", "segment"))


def written(config: RunConfig, parts: Parts) -> list[str]:
    """Files and folders that `open_outputs` makes."""
    return paths_of(parts, config) + ([config.record] if config.record else [])


def open_outputs(
    config: RunConfig, info: RunInfo, model: Model, associator: Guided, parts: Parts, sources: Iterable[str],
    *, resumed: bool,
) -> Outputs:  # fmt: skip
    """Every output of a stream, the recording first; what an earlier run left is kept where this one goes on.

    Raises:
        ConfigError: an output is a file of one of the run's `sources`; nothing was touched.
    """
    from tracker.cli.state import set_aside

    paths = written(config, parts)
    check_outputs(paths, (file for source in sources for file in files_of(source)), info, config)
    if resumed:
        set_aside(path for path in paths if path != "-")
    with contextlib.ExitStack() as stack:
        recorders = _open_recorder(config, info, model, stack)
        sinks, counts = open_sinks(parts, info, config, associator.plan)
        stack.pop_all()  # the run closes them
    return Outputs([*recorders, *sinks], counts)


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


def loop_network(model: Model, config: RunConfig, plan: Plan) -> Model | Pooled | Ahead:
    """What the loop runs: the model, one that pools identity vectors if asked for, or a SiamMOT ahead of its tracks.

    Raises:
        ConfigError: it has no features to pool.
    """
    from tracker.models.decoding.pooling import POOLINGS, Pooled
    from tracker.models.siammot.loop import Ahead

    if config.reid in POOLINGS:
        return Pooled(model, config.reid)
    own = own_graphs(model, config, plan)
    return model if own is None else Ahead(own)
