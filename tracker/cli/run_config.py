"""Everything `tracker run` can be told, which is what `demo` and several streams are told too."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tracker.cli.config import option
from tracker.cli.guidance import GuidanceConfig
from tracker.cli.network import NetworkConfig
from tracker.cli.outputs import OutputConfig
from tracker.cli.serving import ServingConfig


def yes_or_no(text: str) -> bool:
    """What a flag with this value means; its name is part of argparse's error."""
    if text.lower() not in ("yes", "no", "true", "false"):
        raise ValueError(text)
    return text.lower() in ("yes", "true")


@dataclasses.dataclass(frozen=True)
class RunConfig(OutputConfig, NetworkConfig, GuidanceConfig, ServingConfig):
    """Everything `tracker run` can be told; a TOML file uses the same names."""

    source: str
    tracker: str = option("bytetrack", "published system that associates, see `tracker systems`")
    set: dict[str, Any] = option(
        {}, "change a parameter of the system (`tracker systems NAME` lists them)", metavar="NAME=VALUE"
    )
    stuff: str | None = option(
        None, "semantic or panoptic network whose stuff lies behind a segmenter's objects: every pixel gets a class",
        metavar="FILE.onnx|NAME",
    )  # fmt: skip
    stuff_family: str | None = option(None, "what kind --stuff is, where the file does not say: semantic")
    public_detections: str | None = option(
        None, "SiamMOT: boxes (MOTChallenge) instead of the network's proposals; it scores and refines them too",
        metavar="det.txt",
    )  # fmt: skip
    search: str | None = option(
        None, "SiamMOT: where to search for a track: where it was seen last (the authors' code, default), if hidden "
        "where it was found last (the paper), or where it is by now at the speed it had: best where frames are few",
        choices=("seen", "found", "moving"),
    )  # fmt: skip
    streams: dict[str, Any] = option({}, "one of several sources, with a name for its folder", metavar="NAME=SOURCE")
    max_batch: int = option(8, "frames of several streams that go through the network at once, if it can", parse=int)
    fps: float = option(
        30.0, "frames per second of image files, which have no clock of their own", parse=float, metavar="FPS"
    )
    reconnect_s: float = option(
        math.inf, "seconds to try to get a lost stream or camera back, 0: not at all", parse=float, metavar="SECONDS"
    )
    state: str | None = option(
        None, "keep the tracker in this file, every second; a run that finds it goes on with its ids", metavar="FILE"
    )
    deadline_ms: float | None = option(
        None, "tracks come this soon after their frame: where it gets late, leave out flow, embeddings, the detector",
        parse=float, metavar="MS",
    )  # fmt: skip
    record: str | None = option(None, "also keep what the network saw, for `tracker replay`", metavar="FILE.trk")
    overlap: bool | None = option(None, "yes or no: run stages in threads (default: for files)", parse=yes_or_no)
    show: bool = option(False, "open a window (needs a display)")

    def __post_init__(self) -> None:
        OutputConfig.__post_init__(self)
        NetworkConfig.__post_init__(self)
