"""SiamMOT: detections, and where a network finds each track again, in one pass per frame.

    network, tracker = open_siammot("folder"), create("siammot")
    for frame in frames:
        tracks = tracker.update(network(frame))
        network.follow(tracks)

Four graphs, made by `python -m exporters siammot`: the trunk runs once per frame; then motion, on the templates of all
live tracks; then one call of the box head for proposals and tracks together; and after the tracker decided, templates
of the tracks that it saw. Source: SiamMOT, arXiv:2105.11595, and the authors' code (`spec/siammot.md`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DetectionsError, ModelError, ModelNotFoundError
from tracker.models.card import ModelCard, read_card
from tracker.models.geometry import place, to_tensor
from tracker.models.regions import by_level, choose_proposals, levels_of, search_regions, suppress_inclusive
from tracker.models.resampling import resize_triangle
from tracker.models.session import Session, SessionConfig
from tracker.types import Detections, Frame, Tracks

GRAPHS = ("trunk", "boxes", "template", "motion")
"""Files of a set, `trunk.onnx` and so on."""

CHUNK = 64
"""Tracks that the motion graph takes at once: ONNX Runtime's memory grew by some 9 MB for each, from 10 to 100."""

_MAPS = ("p2", "p3", "p4", "p5")
_PER_SET = ("motion", "amodal", "level_counts", "template", "search_scale", "min_score", "detection_nms", "proposals")


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What is known of every live track, coasting ones included; row i of each field is track i.

    Attributes:
        ids: (T,) int64.
        boxes: (T, 4) float32, network pixels, legacy convention: where each was last seen.
        labels: (T,) int64, class index.
        templates: (T, C, side, side) float32: features of that box in that frame.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    templates: NDArray[np.float32]


class SiamMot:
    """The four graphs of one network and what it remembers of one stream. Open it with `open_siammot`.

    Attributes:
        sessions: graph -> session.
        card: of the trunk; all four hold the same facts.
        size: (width, height) of the input.
        memory: of the live tracks.
    """

    def __init__(self, sessions: Mapping[str, Session], card: ModelCard) -> None:
        assert card.image.size is not None
        self.sessions, self.card, self.size = dict(sessions), card, card.image.size
        self._facts: Mapping[str, Any] = card.facts
        self._maps: dict[str, NDArray[np.float32]] = {}
        self._last: Detections | None = None
        self._rows = np.zeros((0, 4), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all tracks, as before a new video."""
        side, channels = int(self._facts["template"]), self.sessions["trunk"].outputs["p2"].shape[1] or 0
        none = np.zeros(0, np.int64)
        self.memory = Memory(none, np.zeros((0, 4), np.float32), none, np.zeros((0, channels, side, side), np.float32))
        self._last = None

    def __call__(self, frame: Frame | NDArray[np.uint8], public: NDArray[np.float32] | None = None) -> Detections:
        """One frame, or a bare image (H, W, 3) uint8 BGR.

        Args:
            frame: the next one of the stream.
            public: (N, 4) xyxy source pixels: given boxes instead of the network's own proposals. They are scored and
                refined all the same.

        Returns:
            Fresh detections (`track_ids` -1), by class and proposal, then one row for each remembered track: its
            refined box, and the mean of its class score and its visibility. Source pixels; boxes of an amodal
            network may leave the frame.
        """
        image = frame.image if isinstance(frame, Frame) else Frame(0, 0.0, frame).image
        scale = np.array([image.shape[1] / self.size[0], image.shape[0] / self.size[1]] * 2, np.float32)
        raw = self.sessions["trunk"].run({self.card.image.name: self._tensor(image)})
        self._maps = {name: raw[name] for name in _MAPS}
        if public is None:
            proposals, _ = choose_proposals(
                raw["candidates"], raw["objectness"], self._facts["level_counts"],
                self._facts["proposal_nms"], self._facts["proposals"],
            )  # fmt: skip
        else:
            proposals = _to_legacy(np.asarray(public, np.float32).reshape(-1, 4) / scale)
        moved, visibility = self._move()
        scores, boxes = self._refine(np.concatenate([proposals, moved]))
        n = len(proposals)
        rows, labels = self._detect(scores[:n], boxes[:n])
        known = np.arange(n, n + len(moved))
        own = scores[known, self.memory.labels + 1]
        mean = ((own + 1) + (visibility + 1)) / 2 - 1  # rounded as the authors' code rounds it
        chosen = np.concatenate([rows, known])
        kinds = np.concatenate([labels, self.memory.labels])
        self._rows = boxes[chosen, kinds + 1]
        self._last = Detections(
            _to_half_open(self._rows) * scale,
            np.concatenate([scores[rows, labels + 1], mean]),
            kinds.astype(np.int32),
            track_ids=np.concatenate([np.full(len(rows), -1), self.memory.ids]),
        )
        return self._last

    def follow(self, tracks: Tracks) -> None:
        """Remember what the tracker made of the last detections: new templates of tracks that were seen, others kept.

        Raises:
            DetectionsError: `tracks` are not those of the detections that this network gave last.
        """
        if self._last is None or tracks.detections is not self._last:
            raise DetectionsError("expected the tracks of this network's last detections; update the tracker with them")
        seen, old = tracks.confirmed, self.memory
        boxes = self._rows[seen.source]
        templates = self.sessions["template"].run({**self._maps, **_regions(boxes, levels_of(boxes))})["templates"]
        kept = np.flatnonzero(np.isin(old.ids, tracks.coasting.ids))
        self.memory = Memory(
            np.concatenate([seen.ids, old.ids[kept]]),
            np.concatenate([boxes, old.boxes[kept]]),
            np.concatenate([seen.labels.astype(np.int64), old.labels[kept]]),
            np.concatenate([templates, old.templates[kept]]),
        )

    # ------------------------------------------------------------------ the graphs
    def _tensor(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        resized = resize_triangle(image, self.size)
        return to_tensor(resized, place(self.size, self.size, "stretch"), self.card.image)

    def _move(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where every remembered track is now: boxes (T, 4), visibility (T,)."""
        boxes, visibility = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        for begin in range(0, len(self.memory.ids), CHUNK):
            last = self.memory.boxes[begin : begin + CHUNK]
            search = search_regions(last, self._facts["search_scale"])
            found = self.sessions["motion"].run(
                {
                    **self._maps, **_regions(search, levels_of(last)),
                    "templates": self.memory.templates[begin : begin + CHUNK], "last_boxes": last,
                }
            )  # fmt: skip
            boxes.append(found["boxes"])
            visibility.append(found["visibility"])
        return np.concatenate(boxes), np.concatenate(visibility)

    def _refine(self, boxes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Box head: class scores (N, 1 + classes), background first, and boxes (N, 1 + classes, 4)."""
        found = self.sessions["boxes"].run({**self._maps, **_regions(boxes, levels_of(boxes))})
        return found["scores"], found["boxes"]

    def _detect(
        self, scores: NDArray[np.float32], boxes: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Proposals that are detections, and their labels: good enough, and not suppressed within their class."""
        rows, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for label in range(scores.shape[1] - 1):
            good = np.flatnonzero(scores[:, label + 1] > self._facts["min_score"])
            limit = np.float32(self._facts["detection_nms"])
            corners = np.ascontiguousarray(boxes[good, label + 1])
            kept = good[np.sort(suppress_inclusive(corners, scores[good, label + 1], limit, len(good)))]
            rows.append(kept)
            labels.append(np.full(len(kept), label))
        return np.concatenate(rows), np.concatenate(labels)


def open_siammot(
    folder: str | os.PathLike[str], device: str = "auto", *, allow_cpu: bool = False, threads: int = 0
) -> SiamMot:
    """Open a set of graphs that belong together.

    Args:
        folder: with the files of `GRAPHS`, from one run of `python -m exporters siammot`.
        device: see `SessionConfig`, as for the following ones.
        allow_cpu: likewise.
        threads: likewise.

    Raises:
        ModelNotFoundError: a file of the set is missing.
        ModelError: a file of another family or graph, or graphs of different checkpoints, sizes or settings.
        ProviderError: the device does not run here.
    """
    config = SessionConfig(device, allow_cpu=allow_cpu, threads=threads)
    files = {name: Path(folder, f"{name}.onnx") for name in GRAPHS}
    lost = [file.name for file in files.values() if not file.is_file()]
    if lost:
        raise ModelNotFoundError(f"expected {', '.join(GRAPHS)} (.onnx) in {folder}, {', '.join(lost)} missing")
    sessions = {name: Session(file, config) for name, file in files.items()}
    cards: dict[str, ModelCard] = {}
    for name, session in sessions.items():
        card = read_card(session.metadata)
        if card is None or (card.family, card.task) != ("siammot", name) or card.image.size is None:
            what = "no card" if card is None else f"family {card.family!r}, graph {card.task!r}"
            raise ModelError(f"{session.path}: expected the graph {name!r} of a siammot set, got {what}")
        cards[name] = card
        _check_together(session.path, cards["trunk"], card)
    return SiamMot(sessions, cards["trunk"])


def _check_together(path: Path, trunk: ModelCard, card: ModelCard) -> None:
    for what, a, b in (
        ("input size", trunk.image.size, card.image.size),
        ("checkpoint", trunk.checkpoint_sha256[:12], card.checkpoint_sha256[:12]),
        *((key, trunk.facts.get(key), card.facts.get(key)) for key in _PER_SET),
    ):
        if a != b or a is None:
            raise ModelError(f"{path} does not belong to trunk.onnx beside it: {what} {b}, there {a}; export all again")


def _regions(boxes: NDArray[np.float32], levels: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Inputs of a graph that pools from the pyramid."""
    regions = by_level(boxes, levels)
    return {**{f"rois{i}": rois for i, rois in enumerate(regions.rois, 2)}, "order": regions.order}


def _to_half_open(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """A box whose last pixel belongs to it, as one that ends after it; rounding turns none inside out."""
    return np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:] + np.float32(1), boxes[:, :2])], 1)


def _to_legacy(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return boxes - np.array([0, 0, 1, 1], np.float32)
