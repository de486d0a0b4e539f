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
    from tracker.guide import Guided, MotionSource


_WAYS = {"embeddings": "--reid", "masks": "a segmenter", "offsets": "a Motion-DeepLab", "track_ids": "--motion"}
"""What gives a part of `Detections` that a system needs."""


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
        refuse_flow(config.flow)
    motion = motion or networks.motion(associator.plan)
    return Guided(associator, flow, CameraMotion() if config.camera else None, motion, networks.looks())


def refuse_flow(name: str) -> None:
    """A tracker that moves nothing along flow has no use for a network of it."""
    from tracker.flow import FLOWS

    if name not in FLOWS:
        raise ConfigError(f"this tracker carries no masks along optical flow, which --flow {name} is for")


def refuse_looks(reid: str | None, plan: Plan, system: str) -> None:
    """A tracker that compares no identity vectors has no use for a network of them."""
    from tracker.systems import SYSTEMS

    if reid is not None and "embeddings" not in plan.needs:
        using = ", ".join(name for name, row in SYSTEMS.items() if "embeddings" in row.needs)
        raise ConfigError(
            f"tracker {system!r} compares no identity vectors, which --reid is for; leave it out, or take {using}"
        )


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
