"""What `run` and `replay` share about trackers that look at images, and at more than boxes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tracker.cli.config import option
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.association import Plan, Tracker
    from tracker.guide import Guided


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidanceConfig:
    """Flags about how the picture moves."""

    flow: str = option("dis", "optical flow for systems that carry masks along it: dis (OpenCV)", choices=("dis",))
    camera: bool = option(False, "move tracks with the camera, as the picture's corners show it")


def guide(associator: Tracker, config: GuidanceConfig) -> Guided:
    """The tracker with the flow that its plan needs, and with camera motion if asked for."""
    from tracker.camera import CameraMotion
    from tracker.flow import FLOWS
    from tracker.guide import Guided

    flow = FLOWS[config.flow]() if associator.plan.flow != "none" else None
    return Guided(associator, flow, CameraMotion() if config.camera else None)


def check_needs(plan: Plan, system: str, given: str) -> None:
    """Whether detections have what a plan compares; `given` is what they have beside boxes.

    Raises:
        ConfigError: they have not.
    """
    optional = {need for stage in plan.stages if stage.combine == "best" for need in stage.needs}
    missing = sorted(plan.needs - optional - {given})
    if missing:
        raise ConfigError(f"tracker {system!r} compares {', '.join(missing)}, which this model does not give")
