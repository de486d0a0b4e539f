"""Opening: a file, a folder, or a name to a warmed-up model of its family."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracker.errors import ModelError, ModelNotFoundError
from tracker.models.card import Size, read_card
from tracker.models.families import FAMILIES, FOLDERS, family_class
from tracker.models.model import Model, ModelConfig
from tracker.models.registry import Entry, locate, lookup
from tracker.onnx.devices import SessionConfig
from tracker.onnx.session import Session

_ASSETS = Path(__file__).resolve().parent.parent / "assets"


def open_model(
    path: str | os.PathLike[str],
    family: str | None = None,
    device: str = "auto",
    *,
    min_score: float | None = None,
    nms_iou: float | None = None,
    max_detections: int | None = None,
    classes: Sequence[str | int] | None = None,
    size: Size | int | None = None,
    names: Sequence[str] | str | None = None,
    multi_label: bool | None = None,
    allow_cpu: bool = False,
    threads: int | None = None,
    spin: bool = False,
    warmup: bool = True,
    session: SessionConfig | None = None,
) -> Model:
    """Open an ONNX file as a model of its family, warmed up.

    Args:
        path: the file, or a folder of `FOLDERS`, the bare name of a model that the wheel carries, such as "street", or
            that of a registered one which `tracker models pull` has fetched; nothing is fetched here.
        family: row of `FAMILIES`; needed only where the file does not say what it is.
        device: "auto", "cpu", "cuda" or "tensorrt".
        min_score: see `ModelConfig`, as for the following ones; None takes the default written there.
        nms_iou: likewise.
        max_detections: likewise.
        classes: likewise.
        size: likewise.
        names: likewise.
        multi_label: likewise.
        allow_cpu: run on the CPU where the asked device does not work.
        threads: CPU threads of ONNX Runtime; None for one per core.
        spin: let idle threads spin, see `SessionConfig`.
        warmup: run one dummy frame now, so that the first real one is not slow.
        session: device, threads and everything else about the session at once, instead of the flags above.

    Raises:
        ModelNotFoundError: no such file, or a registered model that is not on this machine.
        ModelError: not an ONNX model; family unknown, not named, or not the file's; inputs or outputs that do not fit;
            a registered model whose file has not the pinned SHA-256.
        ProviderError: the device does not run here.
        ConfigError: a setting out of range, or one that does not fit the file.
    """
    settings: dict[str, Any] = {
        "min_score": min_score, "nms_iou": nms_iou, "max_detections": max_detections,
        "classes": classes, "size": size, "names": names, "multi_label": multi_label,
    }  # fmt: skip
    config = ModelConfig(**{name: value for name, value in settings.items() if value is not None})
    if family is not None and family not in FAMILIES:
        raise ModelError(f"expected a model family of {', '.join(FAMILIES)}, got {family!r}")
    file, entry = _located(path)
    flags = SessionConfig(device, allow_cpu=allow_cpu, threads=threads or 0, spin=spin)
    model = _build(Session(file, session or flags), family, config, entry)
    if warmup:
        model.warmup()
    return model


def _located(path: str | os.PathLike[str]) -> tuple[Path, Entry | None]:
    """The file of a built-in or registered model's bare name, with its entry; any other path as it is."""
    built_in = {file.stem: file for file in _ASSETS.glob("*.onnx")}
    file = Path(path)
    if str(path) in built_in:
        return built_in[str(path)], None
    entry = lookup(str(path))
    if entry is not None:
        if entry.family not in FAMILIES:
            kind = entry.family or entry.task
            raise ModelError(f"model {entry} cannot be run here: expected one of {', '.join(FAMILIES)}, got {kind}")
        return locate(entry), entry
    if file.is_dir():
        parts = [file / f"{name}.onnx" for names in FOLDERS.values() for name in names]
        file = next((part for part in parts if part.is_file()), file)
    if not file.exists():
        listed = ", ".join(sorted(built_in)) or "none"
        raise ModelNotFoundError(f"no model file {file}; built-in models: {listed}; others: tracker models list")
    return file, None


def _build(session: Session, family: str | None, config: ModelConfig, entry: Entry | None = None) -> Model:
    try:
        card = read_card(session.metadata)
    except ModelError as reason:
        raise ModelError(f"{session.path}: {reason}") from None
    if entry is not None:
        card = entry.describe(card or family_class(entry.family).assumed)
    if card is None:
        if family is None:
            raise ModelError(f"{session.path} does not say what it is; name its family: {', '.join(FAMILIES)}")
        card = family_class(family).assumed
        if card is None:
            raise ModelError(f"{session.path} has no model card, and a {family} model needs one; export it again")
    elif card.family not in FAMILIES:
        raise ModelError(f"{session.path} says it is of the family {card.family!r}; known: {', '.join(FAMILIES)}")
    elif family not in (None, card.family):
        raise ModelError(f"{session.path} says it is of the family {card.family!r}, not {family!r}; leave family out")
    return family_class(card.family)(session, card, config)
