"""What `run` and `replay` share about trackers that look at images, and at more than boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracker.cli.config import option
from tracker.cli.side_networks import SideNetworks
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.association import Plan, Tracker
    from tracker.cli.run import RunConfig
    from tracker.guide import Guided, MotionSource
    from tracker.models import Model
    from tracker.models.pooling import Pooled
    from tracker.models.siammot_graphs import SiamMotGraphs
    from tracker.models.siammot_loop import Ahead


_WAYS = {"embeddings": "--reid", "masks": "a segmenter", "offsets": "a Motion-DeepLab", "track_ids": "--motion"}
"""What gives a part of `Detections` that a system needs."""

_HEADS = ("emm", "imm")
"""What `System.motion` may say of SiamMOT's track head."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidanceConfig:
    """Flags about what else the pictures show: how they move, who is who."""

    preset: str | None = option(
        None,
        "the system's numbers for a data set, as kitti, mots-challenge, bdd, or another set of its own that `tracker "
        "systems NAME` lists",
        metavar="NAME",
    )
    flow: str = option(
        "dis",
        "optical flow for systems that carry masks along it: dis (OpenCV), or a RAFT network (ONNX file or name)",
        metavar="dis|FILE.onnx|NAME",
    )
    camera: bool = option(False, "move tracks with the camera, as the picture's corners show it")
    reid: str | None = option(
        None,
        "identity vectors for systems that compare embeddings: a re-identification network for crops (ONNX file or "
        "name), or mask-pooling or box-pooling of the model's own features",
        metavar="FILE.onnx|NAME",
    )
    motion: str | None = option(
        None,
        "learned motion for any detector: a siamese network that finds each track again (NanoTrack's backbone with its "
        "head beside it, VitTrack; ONNX file or name)",
        metavar="FILE.onnx|NAME",
    )
    reid_masked: bool = option(False, "--reid's crops show the object alone where it has a mask, not what is around it")

    @property
    def given(self) -> frozenset[str]:
        """Parts of `Detections` that these flags provide, whatever the model gives."""
        flags = {"embeddings": self.reid, "track_ids": self.motion}
        return frozenset(part for part, flag in flags.items() if flag is not None)

    def options(self, system: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Options of a system: what these flags ask of it, and what the user chose over that."""
        from tracker.systems import SYSTEMS, plan

        if self.preset is not None:
            if system in SYSTEMS and not SYSTEMS[system].presets:
                having = ", ".join(name for name, row in SYSTEMS.items() if row.presets)
                raise ConfigError(f"tracker {system!r} has no presets, leave --preset out; {having} have some")
            chosen = {**chosen, "preset": self.preset}
        if self.motion is None:
            return dict(chosen)
        from tracker.models.siamese import motion_options

        return {**motion_options(plan(system)), **chosen}


def guide(
    associator: Tracker,
    config: GuidanceConfig,
    networks: SideNetworks | None = None,
    motion: MotionSource | None = None,
) -> Guided:
    """The tracker with the flow that its plan needs, and with camera motion and identity vectors if asked for.

    Args:
        associator: tracker of one stream.
        config: flags.
        networks: those of the flags, where several streams share them.
        motion: the detector's own; where there is none, --motion opens one.
    """
    from tracker.camera import CameraMotion
    from tracker.guide import Guided

    networks = SideNetworks(config) if networks is None else networks
    flow = None
    if associator.plan.flow != "none":
        flow = networks.flow()
    elif motion is None:
        _refuse_flow(config.flow)
    motion = motion or networks.motion(associator.plan)
    return Guided(associator, flow, CameraMotion() if config.camera else None, motion, networks.looks())


def loop_network(model: Model, config: GuidanceConfig, plan: Plan) -> Model | Pooled | Ahead:
    """What the loop runs: the model, one that pools identity vectors if asked for, or a SiamMOT ahead of its tracks.

    Raises:
        ConfigError: it has no features to pool.
    """
    from tracker.models.pooling import POOLINGS, Pooled
    from tracker.models.siammot_loop import Ahead

    if config.reid in POOLINGS:
        return Pooled(model, config.reid)
    own = _own_siammot(model, config, plan)
    return model if own is None else Ahead(own)


def frames_between(model: Model, config: RunConfig, plan: Plan) -> int:
    """Every so many frames the network runs; a SiamMOT that follows its tracks on every one, see `own_motion`."""
    return config.detect_every if _own_siammot(model, config, plan) is None else 1


def own_motion(model: Model, config: RunConfig, plan: Plan, networks: SideNetworks) -> MotionSource | None:
    """How a SiamMOT follows the tracks of one stream; None where it is a mere detector, or the model is another one.

    With --detect-every its trunk still runs on every frame, and tracks are searched for on every one.

    Raises:
        ConfigError: flags that only such a model has, or a system that is named after another track head.
    """
    from tracker import pipeline
    from tracker.formats.mot import read_mot
    from tracker.models.siammot import SiamMot
    from tracker.models.siammot_loop import SiamMotMotion
    from tracker.systems import SYSTEMS

    motion = SYSTEMS[config.tracker].motion
    own = _own_siammot(model, config, plan)
    if own is None:
        flags = {"--public-detections": config.public_detections, "--search-predicted": config.search_predicted}
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
        flow = networks.flow()
    else:
        _refuse_flow(config.flow)
    stream = SiamMot(own, learned=motion in ("", *_HEADS), search_predicted=config.search_predicted)
    public = None if config.public_detections is None else read_mot(config.public_detections)
    return SiamMotMotion(stream, plan.search_frames, public, flow, pipeline.every(config.detect_every))


def _own_siammot(model: Model, config: GuidanceConfig, plan: Plan) -> SiamMotGraphs | None:
    """The model, if it finds the plan's tracks again beside being the detector."""
    from tracker.models.siammot_graphs import SiamMotGraphs

    follows = config.motion is None and (plan.follows or "track_ids" in plan.needs)
    return model if follows and isinstance(model, SiamMotGraphs) else None


def _refuse_flow(name: str) -> None:
    """A tracker that moves nothing along flow has no use for a network of it."""
    from tracker.flow import FLOWS

    if name not in FLOWS:
        raise ConfigError(f"this tracker carries no masks along optical flow, which --flow {name} is for")


def check_needs(plan: Plan, system: str, given: frozenset[str]) -> None:
    """Whether detections have what a plan compares; `given` is what they have beside boxes.

    Raises:
        ConfigError: they have not.
    """
    optional = {need for stage in plan.stages if stage.combine == "best" for need in stage.needs}
    needs = plan.needs | {"track_ids"} if plan.follows else plan.needs
    missing = sorted(needs - optional - given)
    if missing:
        ways = " and ".join(_WAYS[need] for need in missing)
        raise ConfigError(
            f"tracker {system!r} compares {', '.join(missing)}, which this model does not give; {ways} can"
        )
