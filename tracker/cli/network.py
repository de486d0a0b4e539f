"""Flags about the network, and the network that they ask for: what `run` and `mine` share."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tracker.cli.config import option
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.models import Model, SessionConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Flags about the network."""

    model: str | None = option(
        None,
        "ONNX file (SiamMOT: its folder), a name of `tracker models list`, or 'street' (built in, knows the synthetic "
        "street only)",
    )
    pull: bool = option(False, "fetch the named model first where it is not on this machine yet")
    family: str | None = option(
        None, "what kind of network it is, where the file does not say: yolo, yolox, rfdetr ..."
    )
    device: str = option("auto", "where the network runs", choices=("auto", "cpu", "cuda", "tensorrt"))
    allow_cpu: bool = option(False, "go on with a CPU when the asked device is missing")
    fp16: bool = option(
        False, "--device tensorrt: compute --model in float16 (for cuda the file itself: python -m exporters half)"
    )
    nhwc: bool = option(False, "--device cuda: run --model's convolutions channels-last")
    cuda_graph: bool = option(
        False, "--device cuda or tensorrt: record --model's launches once and replay them; wants fixed shapes"
    )
    threads: int | None = option(None, "CPU threads of the network", parse=int)
    size: int | None = option(None, "network input size, for networks that take any", parse=int)
    names: str | None = option(None, "class names for a model that carries none: coco, or a comma-separated list")
    min_score: float | None = option(None, "drop detections below this score", parse=float)
    classes: tuple[str, ...] = option((), "keep only these classes (names or numbers)", metavar="LIST")
    detect_every: int = option(
        1, "run the network on every N-th frame; in between tracks are predicted, or found by --motion; a SiamMOT "
        "detects on every N-th and searches for its tracks on all", parse=int, metavar="N",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.detect_every < 1:
            raise ConfigError(f"detect_every must be at least 1, got {self.detect_every}")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, got {self.threads}")

    @property
    def session(self) -> SessionConfig:
        """How --model is opened."""
        from tracker.models import SessionConfig

        return SessionConfig(
            self.device, allow_cpu=self.allow_cpu, threads=self.threads or 0, fp16=self.fp16, nhwc=self.nhwc,
            cuda_graph=self.cuda_graph,
        )  # fmt: skip

    def open(self) -> Model:
        """--model, warmed up; one must be named."""
        from tracker.models import open_model

        names = self.names if self.names in (None, "coco") else str(self.names).split(",")
        return open_model(
            str(self.model), self.family, session=self.session, size=self.size, min_score=self.min_score,
            classes=self.classes or None, names=names,
        )  # fmt: skip
