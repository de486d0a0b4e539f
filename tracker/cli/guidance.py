"""What `run` and `replay` share about trackers that look at images, and at more than boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracker.cli.config import option
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.association import Plan, Tracker
    from tracker.cli.run import RunConfig
    from tracker.flow import FlowMethod
    from tracker.guide import Guided, LookSource, MotionSource
    from tracker.models import Model
    from tracker.models.pooling import Pooled
    from tracker.models.siammot import Ahead


_HEADS = {"siammot-emm": "emm", "siammot-imm": "imm"}
"""Systems that are named after a track head of SiamMOT."""


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
        from tracker.systems import plan

        if self.preset is not None:
            chosen = {**chosen, "preset": self.preset}
        if self.motion is None:
            return dict(chosen)
        from tracker.models.siamese import motion_options

        return {**motion_options(plan(system)), **chosen}


def guide(
    associator: Tracker,
    config: GuidanceConfig,
    device: str = "auto",
    *,
    allow_cpu: bool = False,
    motion: MotionSource | None = None,
) -> Guided:
    """The tracker with the flow that its plan needs, and with camera motion and identity vectors if asked for.

    `motion` is the detector's own; where there is none, --motion opens one.
    """
    from tracker.camera import CameraMotion
    from tracker.guide import Guided

    flow = _open_flow(associator.plan, config.flow, device, allow_cpu=allow_cpu)
    looks = _open_looks(config, device, allow_cpu=allow_cpu)
    motion = motion or _open_motion(config, associator.plan, device, allow_cpu=allow_cpu)
    return Guided(associator, flow, CameraMotion() if config.camera else None, motion, looks)


def loop_network(model: Model, config: GuidanceConfig, plan: Plan) -> Model | Pooled | Ahead:
    """What the loop runs: the model, one that pools identity vectors if asked for, or a SiamMOT ahead of its tracks.

    Raises:
        ConfigError: it has no features to pool.
    """
    from tracker.models.pooling import POOLINGS, Pooled
    from tracker.models.siammot import Ahead
    from tracker.models.siammot_graphs import SiamMotGraphs

    if config.reid in POOLINGS:
        return Pooled(model, config.reid)
    return Ahead(model) if isinstance(model, SiamMotGraphs) and _follows_itself(config, plan) else model


def own_motion(model: Model, config: RunConfig, plan: Plan) -> MotionSource | None:
    """How a SiamMOT follows the tracks of one stream; None where it is a mere detector, or the model is another one.

    Raises:
        ConfigError: flags that only such a model has, or a system that is named after another track head.
    """
    from tracker.formats.mot import read_mot
    from tracker.models.siammot import SiamMot, SiamMotMotion
    from tracker.models.siammot_graphs import SiamMotGraphs

    if not (isinstance(model, SiamMotGraphs) and _follows_itself(config, plan)):
        flags = {"--public-detections": config.public_detections, "--search-predicted": config.search_predicted}
        for flag in (flag for flag, given in flags.items() if given):
            raise ConfigError(f"{flag} is for --model of SiamMOT's graphs and --tracker siammot; leave it out")
        if config.tracker in _HEADS:
            raise ConfigError(
                f"tracker {config.tracker!r} needs --model of SiamMOT's graphs; tracker siammot takes --motion too"
            )
        return None
    if _HEADS.get(config.tracker, model.head) != model.head:
        raise ConfigError(
            f"tracker {config.tracker!r} needs the track head {_HEADS[config.tracker]}, this SiamMOT has {model.head}; "
            "tracker siammot takes both"
        )
    stream = SiamMot(model, search_predicted=config.search_predicted)
    public = None if config.public_detections is None else read_mot(config.public_detections)
    return SiamMotMotion(stream, plan.search_frames, public)


def _follows_itself(config: GuidanceConfig, plan: Plan) -> bool:
    """The plan's tracks are found again by a network, and by no other than the detector."""
    return config.motion is None and (plan.follows or "track_ids" in plan.needs)


def _open_flow(plan: Plan, name: str, device: str, *, allow_cpu: bool) -> FlowMethod | None:
    """The named flow, or None for a plan that carries no masks along it."""
    from tracker.flow import FLOWS, NetworkFlow
    from tracker.models.raft import open_raft

    if plan.flow == "none":
        if name not in FLOWS:
            raise ConfigError(f"this tracker carries no masks along optical flow, which --flow {name} is for")
        return None
    return FLOWS[name]() if name in FLOWS else NetworkFlow(open_raft(name, device, allow_cpu=allow_cpu))


def _open_looks(config: GuidanceConfig, device: str, *, allow_cpu: bool) -> LookSource | None:
    from tracker.models import open_model
    from tracker.models.pooling import POOLINGS
    from tracker.models.reid import Crops, Reid

    if config.reid is None or config.reid in POOLINGS:
        return None
    network = open_model(config.reid, Reid.family, device, allow_cpu=allow_cpu)
    assert isinstance(network, Reid)
    return Crops(network, masked=config.reid_masked)


def _open_motion(config: GuidanceConfig, plan: Plan, device: str, *, allow_cpu: bool) -> MotionSource | None:
    from tracker.models import SessionConfig
    from tracker.models.siamese import ADOPT_IOU, SiameseConfig, open_siamese

    if config.motion is None:
        return None
    rules = SiameseConfig(search_frames=plan.search_frames)
    if plan.suppress_iou < 1:
        rules = dataclasses.replace(rules, adopt_iou=ADOPT_IOU)
    return open_siamese(config.motion, config=rules, session=SessionConfig(device, allow_cpu=allow_cpu))


def check_needs(plan: Plan, system: str, given: frozenset[str]) -> None:
    """Whether detections have what a plan compares; `given` is what they have beside boxes.

    Raises:
        ConfigError: they have not.
    """
    optional = {need for stage in plan.stages if stage.combine == "best" for need in stage.needs}
    needs = plan.needs | {"track_ids"} if plan.follows else plan.needs
    missing = sorted(needs - optional - given)
    if missing:
        ways = [flag for need, flag in (("embeddings", "--reid"), ("track_ids", "--motion")) if need in missing]
        way = f"; {' and '.join(ways)} can" if ways else ""
        raise ConfigError(f"tracker {system!r} compares {', '.join(missing)}, which this model does not give{way}")
