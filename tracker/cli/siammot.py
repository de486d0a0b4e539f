"""A run whose network is SiamMOT's graphs, which find the tracks again themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.cli.guidance import refuse_flow
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.association import Plan
    from tracker.cli.run_config import RunConfig
    from tracker.cli.side_networks import SideNetworks
    from tracker.guide import MotionSource
    from tracker.models import Model
    from tracker.models.siammot.graphs import SiamMotGraphs

_HEADS = ("emm", "imm")
"""What `System.motion` may say of SiamMOT's track head."""


def frames_between(model: Model, config: RunConfig, plan: Plan) -> int:
    """Every so many frames the network runs; a SiamMOT that follows its tracks on every one, see `own_motion`."""
    return config.detect_every if own_graphs(model, config, plan) is None else 1


def own_motion(model: Model, config: RunConfig, plan: Plan, networks: SideNetworks) -> MotionSource | None:
    """How a SiamMOT follows the tracks of one stream; None where it is a mere detector, or the model is another one.

    With --detect-every its trunk still runs on every frame, and tracks are searched for on every one.

    Raises:
        ConfigError: flags that only such a model has, or a system that is named after another track head.
    """
    from tracker import pipeline
    from tracker.formats.mot import read_mot
    from tracker.models.siammot import SiamMot
    from tracker.models.siammot.loop import SiamMotMotion
    from tracker.systems import SYSTEMS

    motion = SYSTEMS[config.tracker].motion
    own = own_graphs(model, config, plan)
    if own is None:
        flags = {"--public-detections": config.public_detections, "--search": config.search is not None}
        for flag in (flag for flag, given in flags.items() if given):
            raise ConfigError(f"{flag} is for --model of SiamMOT's graphs and --tracker siammot; leave it out")
        if motion:
            raise ConfigError(
                f"tracker {config.tracker!r} needs --model of SiamMOT's graphs; tracker siammot takes --motion too"
            )
        return None
    if motion in _HEADS and motion != own.head:
        raise ConfigError(
            f"tracker {config.tracker!r} needs the track head {motion}, this SiamMOT has {own.head}; "
            "tracker siammot takes both"
        )
    flow = None
    if motion == "flow":
        if config.search == "moving":
            raise ConfigError(f"tracker {config.tracker!r} moves tracks along optical flow, leave --search moving out")
        flow = networks.flow()
    else:
        refuse_flow(config.flow)
    stream = SiamMot(own, learned=motion in ("", *_HEADS), search=config.search or "seen")
    public = None if config.public_detections is None else read_mot(config.public_detections)
    return SiamMotMotion(stream, plan.search_frames, public, flow, pipeline.every(config.detect_every))


def own_graphs(model: Model, config: RunConfig, plan: Plan) -> SiamMotGraphs | None:
    """The model, if it finds the plan's tracks again beside being the detector."""
    from tracker.models.siammot.graphs import SiamMotGraphs

    follows = config.motion is None and (plan.follows or "track_ids" in plan.needs)
    return model if follows and isinstance(model, SiamMotGraphs) else None
