"""Networks beside the detector (--flow, --reid, --motion): each is opened once, however many streams it serves."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tracker.association import Plan
    from tracker.cli.guidance import GuidanceConfig
    from tracker.flow import FlowMethod
    from tracker.guide import LookSource, MotionSource
    from tracker.models import SessionConfig

_T = TypeVar("_T")


class SideNetworks:
    """Opens what the flags name when somebody first asks for it, in any thread; nothing for flags that are not given.

    Args:
        config: the flags.
        session: device and threads of each of them; by default the best device and all cores.
    """

    def __init__(self, config: GuidanceConfig, session: SessionConfig | None = None) -> None:
        from tracker.models import SessionConfig

        self._config = config
        self._session = SessionConfig() if session is None else session
        self._opened: dict[str, Any] = {}
        self._lock = threading.Lock()

    def flow(self) -> FlowMethod:
        """Optical flow for one stream."""
        from tracker.flow import FLOWS, NetworkFlow
        from tracker.models.raft import open_raft

        name, session = self._config.flow, self._session
        if name in FLOWS:
            return FLOWS[name]()
        return NetworkFlow(
            self._once(
                "flow",
                lambda: open_raft(name, session.device, allow_cpu=session.allow_cpu, threads=session.threads),
            )
        )

    def looks(self) -> LookSource | None:
        """What describes crops, if a network of crops is asked for; it remembers nothing and serves all streams."""
        from tracker.models import open_model
        from tracker.models.decoding.pooling import POOLINGS
        from tracker.models.reid import Crops, Reid

        name = self._config.reid
        if name is None or name in POOLINGS:
            return None
        network = self._once("reid", lambda: open_model(name, Reid.family, session=self._session))
        assert isinstance(network, Reid)
        return Crops(network, masked=self._config.reid_masked)

    def motion(self, plan: Plan) -> MotionSource | None:
        """Learned motion for one stream of this plan, if asked for."""
        from tracker.models.siamese import Siamese, SiameseConfig, open_siamese
        from tracker.models.siamese.motion import ADOPT_IOU

        name = self._config.motion
        if name is None:
            return None
        rules = SiameseConfig(search_frames=plan.search_frames)
        if plan.suppress_iou < 1:
            rules = dataclasses.replace(rules, adopt_iou=ADOPT_IOU)
        follower = self._once("motion", lambda: open_siamese(name, session=self._session).follower)
        return Siamese(follower, rules)

    def _once(self, name: str, open_network: Callable[[], _T]) -> _T:
        with self._lock:
            if name not in self._opened:
                self._opened[name] = open_network()
            opened: _T = self._opened[name]
        return opened
