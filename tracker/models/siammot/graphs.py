"""SiamMOT's graphs as a model: what one picture shows, and the steps with which a stream follows its tracks.

Four files, made by `python -m exporters siammot`: `trunk` makes feature maps and proposals of a picture, `boxes` scores
and refines boxes, `template` describes tracks, `motion` finds them again. Feature maps and templates stay on the device
between the graphs. Nothing here knows a stream: that is `tracker.models.siammot.SiamMot`.

Boxes are xyxy network pixels in the legacy convention, the last pixel included, but for what `decode` gives.
Source: SiamMOT, arXiv:2105.11595, and the authors' code (`spec/siammot.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ModelError, ModelNotFoundError
from tracker.models.card import ModelCard, read_card
from tracker.models.families import FOLDERS
from tracker.models.geometry import Placement, place, to_tensor
from tracker.models.model import Model, ModelConfig, Prepared
from tracker.models.siammot.regions import by_level, choose_proposals, levels_of, search_regions, suppress_inclusive
from tracker.models.siammot.resampling import resize_triangle
from tracker.onnx.session import Session
from tracker.types import Detections

GRAPHS = FOLDERS["siammot"]
"""Files of a set, `trunk.onnx` and so on."""

CHUNK = 64
"""Tracks that the motion graph takes at once: ONNX Runtime's memory grew by some 9 MB for each, from 10 to 100."""

BUCKET = 8
"""On a GPU the motion graph takes a multiple of this, the last track repeated: each new size is one to prepare for."""

MAPS = ("p2", "p3", "p4", "p5")
_PER_SET = ("amodal", "level_counts", "template", "search_scale", "min_score", "detection_nms", "proposals")


class SiamMotGraphs(Model):
    """The four graphs of one network; holds nothing between frames. Any of the files opens all.

    Alone it is a detector: every place that the box head finds good, in the order of classes and proposals. Of the
    user's settings `min_score` holds where it is above the network's own, and `classes`; suppression and the greatest
    number of proposals are the network's.

    Attributes:
        sessions: graph -> session.
        head: track head, "emm" or "imm".

    Raises:
        ModelNotFoundError: a file of the set is missing.
        ModelError: a file of another family or graph, or graphs of different checkpoints, sizes or settings.
    """

    family = "siammot"
    tasks = ("trunk",)

    def __init__(self, session: Session, card: ModelCard, config: ModelConfig) -> None:
        self.sessions = _open_set(session, card.task)
        trunk = self.sessions["trunk"]
        super().__init__(trunk, _card_of(trunk, "trunk"), config)
        self.card = replace(self.card, task="detect")
        self.head = str(_card_of(self.sessions["motion"], "motion").facts["motion"])
        one_device = len({session.device for session in self.sessions.values()}) == 1
        self._held = frozenset((*MAPS, "templates")) if one_device else frozenset()
        self._min_score = max(float(self.card.facts["min_score"]), config.min_score)
        self._bucket = 1 if self.session.device == "cpu" else BUCKET

    @property
    def gives(self) -> frozenset[str]:
        """Rows in which tracks were found again, from a `SiamMot` on this model."""
        return frozenset({"track_ids"})

    @property
    def no_templates(self) -> NDArray[np.float32]:
        """Memory of no track: (0, C, side, side)."""
        _, channels, height, width = (n or 0 for n in self.sessions["motion"].inputs["templates"].shape)
        return np.zeros((0, channels, height, width), np.float32)

    def warmup(self) -> float:
        """See `Model.warmup`; the graphs of tracks run once too."""
        seconds = super().warmup()
        maps: dict[str, Any] = {}
        for name in MAPS:
            shape = [n or 1 for n in self.sessions["motion"].inputs[name].shape]
            maps[name] = np.zeros(shape, np.float32)
        box = np.array([[0, 0, 31, 31]], np.float32)
        self.move(maps, box, self.remember(maps, box, self.no_templates, np.zeros(0, np.int64)))
        return seconds

    # ------------------------------------------------------------------ the steps of a model
    def preprocess(self, image: NDArray[np.uint8]) -> Prepared:
        """Frame image (H, W, 3) uint8 BGR to the input tensor, resized as Pillow does it."""
        placement = place((image.shape[1], image.shape[0]), self.size, "stretch")
        resized = resize_triangle(image, self.size)
        tensor = to_tensor(resized, place(self.size, self.size, "stretch"), self.card.image)
        return Prepared({self.image_spec.name: tensor}, placement)

    def infer(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """The trunk: feature maps, on the device, and the places that its proposals come from."""
        return self.session.run_held(tensors, self._held & set(MAPS))

    def decode(self, outputs: Mapping[str, Any], placement: Placement) -> Detections:
        """Detections in source pixels; those of an amodal network may leave the frame."""
        scores, boxes = self.refine(outputs, self.propose(outputs))
        rows, labels = self.detect(scores, boxes)
        return Detections(
            to_half_open(boxes[rows, labels + 1], placement), scores[rows, labels + 1], labels.astype(np.int32)
        )

    # ------------------------------------------------------------------ the steps of a stream
    def propose(self, outputs: Mapping[str, Any]) -> NDArray[np.float32]:
        """Proposals (N, 4) of the trunk, best first."""
        facts = self.card.facts
        proposals, _ = choose_proposals(
            outputs["candidates"], outputs["objectness"], facts["level_counts"], facts["proposal_nms"],
            facts["proposals"],
        )  # fmt: skip
        return proposals

    def refine(
        self, outputs: Mapping[str, Any], boxes: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Box head: class scores (N, 1 + classes), background first, and boxes (N, 1 + classes, 4)."""
        found = self.sessions["boxes"].run_held({**_maps(outputs), **_regions(boxes, levels_of(boxes))}, ())
        return found["scores"], found["boxes"]

    def detect(
        self, scores: NDArray[np.float32], boxes: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows that are detections, and their labels: good enough, and not suppressed within their class."""
        rows, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for label in np.flatnonzero(self.class_filter(scores.shape[1] - 1)):
            good = np.flatnonzero(scores[:, label + 1] > self._min_score)
            limit = np.float32(self.card.facts["detection_nms"])
            corners = np.ascontiguousarray(boxes[good, label + 1])
            kept = good[np.sort(suppress_inclusive(corners, scores[good, label + 1], limit, len(good)))]
            rows.append(kept)
            labels.append(np.full(len(kept), label))
        return np.concatenate(rows), np.concatenate(labels)

    def move(
        self, outputs: Mapping[str, Any], last: NDArray[np.float32], templates: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where tracks are now: boxes (T, 4), visibility (T,).

        Args:
            outputs: of the trunk.
            last: (T, 4) where they are searched for.
            templates: theirs, as `remember` gave them.
        """
        boxes, visibility = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        for begin in range(0, len(last), CHUNK):
            rows = np.arange(begin, min(begin + CHUNK, len(last)))
            count = len(rows)
            rows = np.concatenate([rows, np.repeat(rows[-1:], -count % self._bucket)])
            search = search_regions(last[rows], self.card.facts["search_scale"])
            regions = _regions(search, levels_of(last[rows]))
            found = self.sessions["motion"].run_held(
                {**_maps(outputs), **regions, "templates": templates, "last_boxes": last[rows], "rows": rows}, ()
            )
            boxes.append(found["boxes"][:count])
            visibility.append(found["visibility"][:count])
        return np.concatenate(boxes), np.concatenate(visibility)

    def remember(
        self, outputs: Mapping[str, Any], boxes: NDArray[np.float32], before: Any, kept: NDArray[np.int64]
    ) -> Any:
        """Templates of boxes in this picture, then rows `kept` of `before`, which this method gave; on the device."""
        regions = _regions(boxes, levels_of(boxes))
        given = {**_maps(outputs), **regions, "before": before, "kept": kept}
        return self.sessions["template"].run_held(given, self._held & {"templates"})["templates"]


def to_half_open(boxes: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Network boxes as half-open source boxes; a box without area stays one, none turns inside out by rounding."""
    ends = np.maximum(boxes[:, 2:] + np.float32(1), boxes[:, :2])
    source = np.concatenate([boxes[:, :2], ends], 1) / _scale(placement)
    return source.astype(np.float32, copy=False)


def to_legacy(boxes: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Half-open source boxes as network boxes; the last pixel is taken off first, as in the authors' code."""
    ends = np.maximum(boxes[:, 2:] - np.float32(1), boxes[:, :2])
    out: NDArray[np.float32] = np.concatenate([boxes[:, :2], ends], 1) * _scale(placement)
    return out


def _scale(placement: Placement) -> NDArray[np.float32]:
    return np.array(placement.scale * 2, np.float32)


def _maps(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: outputs[name] for name in MAPS}


def _regions(boxes: NDArray[np.float32], levels: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Inputs of a graph that pools from the pyramid."""
    regions = by_level(boxes, levels)
    return {**{f"rois{i}": rois for i, rois in enumerate(regions.rois, 2)}, "order": regions.order}


# ---------------------------------------------------------------------- the files of a set


def _open_set(session: Session, task: str) -> dict[str, Session]:
    """All graphs of the set that an opened one belongs to."""
    if task not in GRAPHS:
        raise ModelError(f"{session.path}: expected a graph of a siammot set ({', '.join(GRAPHS)}), got {task!r}")
    files = {name: session.path.with_name(f"{name}.onnx") for name in GRAPHS if name != task}
    lost = [file.name for file in files.values() if not file.is_file()]
    if lost:
        raise ModelNotFoundError(
            f"expected {', '.join(GRAPHS)} (.onnx) together in {session.path.parent}, {', '.join(lost)} missing"
        )
    sessions = {name: session if name == task else Session(files[name], session.config) for name in GRAPHS}
    trunk = _card_of(sessions["trunk"], "trunk")
    for name, opened in sessions.items():
        _check_together(opened.path, trunk, _card_of(opened, name))
    heads = [_card_of(sessions[name], name).facts.get("motion") for name in ("template", "motion")]
    if heads[0] != heads[1] or heads[0] is None:
        raise ModelError(
            f"{files.get('motion', session.path)} does not belong to template.onnx beside it: "
            f"track head {heads[1]}, there {heads[0]}; export all again"
        )
    if "kept" not in sessions["template"].inputs or "rows" not in sessions["motion"].inputs:
        raise ModelError(f"{session.path.parent} holds graphs of an earlier exporter; export all again")
    return sessions


def _card_of(session: Session, name: str) -> ModelCard:
    card = read_card(session.metadata)
    if card is None or (card.family, card.task) != ("siammot", name) or card.image.size is None:
        what = "no card" if card is None else f"family {card.family!r}, graph {card.task!r}"
        raise ModelError(f"{session.path}: expected the graph {name!r} of a siammot set, got {what}")
    return card


def _check_together(path: Path, trunk: ModelCard, card: ModelCard) -> None:
    for what, a, b in (
        ("input size", trunk.image.size, card.image.size),
        ("checkpoint", trunk.checkpoint_sha256[:12], card.checkpoint_sha256[:12]),
        *((key, trunk.facts.get(key), card.facts.get(key)) for key in _PER_SET),
    ):
        if a != b or a is None:
            raise ModelError(f"{path} does not belong to trunk.onnx beside it: {what} {b}, there {a}; export all again")
