"""How well a small SiamMOT sees held-out rendered streets, and finds objects again one picture later.

The streets are fast, see `GAP`. Works without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporters.scenes import SIZE, VALIDATION_SEEDS
from exporters.siammot.triplets import paired_iou
from tracker.models.siammot.graphs import SiamMotGraphs, to_legacy
from tracker.sources.street import STREET_CLASSES
from tracker.types import Detections

SPEED = 4.0
GAP = (
    3  # frames of the street from one picture to the next: half of the objects move by a quarter of their side or more
)
FRAMES = (60, 140, 220)  # of every validation street
MIN_HEIGHT, MIN_VISIBLE = 20, 0.4  # source pixels and share of what is asked for
FAR = 0.5  # IoU of an object with itself a frame later, below which it has moved far
FOUND = 0.5  # IoU with the truth


class Step(NamedTuple):
    """Two rendered `Scene`s that follow each other."""

    before: Any
    now: Any


def validation_steps() -> Iterator[Step]:
    """Some of every validation street."""
    from tracker.sources.street import Street

    for k, seed in enumerate(VALIDATION_SEEDS):
        street = Street(seed=seed, objects=8 + k % 10, size=SIZE, frames=300, speed=SPEED)
        for index in FRAMES:
            yield Step(street.render(index), street.render(index + GAP))


@dataclass
class Quality:
    """Counts over steps; update with each, read the figures at the end.

    Attributes:
        ways: kind of prediction -> IoU with the truth of every object that moved far: "stay" where it was, or
            "stay_refined" by the box head; "track" what the track head says, or "track_refined" by the box head.
        visible: visibility of objects that the search region holds.
        confused: of objects searched for around others.
    """

    ways: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in ("stay", "stay_refined", "track", "track_refined")}
    )
    visible: list[float] = field(default_factory=list)
    confused: list[float] = field(default_factory=list)
    _hits: list[tuple[int, float, bool]] = field(default_factory=list)  # class, score, right
    _asked: dict[int, int] = field(default_factory=dict)
    _recalled: int = 0

    def update(self, model: SiamMotGraphs, step: Step) -> None:
        """One step: detections in its first picture, and where the objects of both are found in the second."""
        tensors, placement = model.preprocess(step.before.image)
        outputs = model.infer(tensors)
        labels = _labels(model, step.before)
        self._detect(step.before, labels, model.decode(outputs, placement))
        rows, then = _in_both(step)
        if not len(rows):
            return
        last = to_legacy(step.before.boxes[rows], placement)
        truth = to_legacy(step.now.boxes[then], placement)
        templates = model.remember(outputs, last, model.no_templates, np.zeros(0, np.int64))
        outputs = model.infer(model.preprocess(step.now.image).tensors)
        moved, seen = model.move(outputs, last, templates)
        stay = paired_iou(last, truth)
        far = stay < FAR
        row, label = np.arange(len(rows)), labels[rows] + 1
        for name, boxes in (
            ("stay", last),
            ("stay_refined", model.refine(outputs, last)[1][row, label]),
            ("track", moved),
            ("track_refined", model.refine(outputs, moved)[1][row, label]),
        ):
            self.ways[name] += paired_iou(boxes, truth)[far].tolist()
        self.visible += seen.tolist()
        if len(rows) > 1:
            others = np.roll(truth, 1, 0)
            apart = paired_iou(others, truth) < 0.1
            _, wrong = model.move(outputs, others, templates)
            self.confused += wrong[apart].tolist()

    def _detect(self, scene: Any, labels: NDArray[np.int64], found: Detections) -> None:
        """Match detections to objects of their class, best first; those on objects not asked for are left out."""
        easy = _is_easy(scene)
        for label in np.unique(labels[easy]).tolist():
            self._asked[label] = self._asked.get(label, 0) + int((easy & (labels == label)).sum())
        taken = np.zeros(len(easy), bool)
        for i in np.argsort(-found.scores, kind="stable").tolist():
            label = int(found.labels[i])
            iou = _iou(found.boxes[i], scene.boxes) * (labels == label) * ~taken
            best = int(iou.argmax()) if len(iou) else -1
            if best >= 0 and iou[best] > FOUND:
                taken[best] = True
                if not easy[best]:
                    continue
                self._recalled += found.scores[i] > 0.5
                self._hits.append((label, float(found.scores[i]), True))
            else:
                self._hits.append((label, float(found.scores[i]), False))

    def figures(self) -> dict[str, float]:
        """For a card: rounded."""
        out = {"ap50": np.mean([self._average_precision(label) for label in self._asked])}
        out["recall"] = self._recalled / max(1, sum(self._asked.values()))
        for name, ious in self.ways.items():
            out[f"{name}_iou"], out[f"{name}_hits"] = np.mean(ious), np.mean(np.array(ious) > FOUND)
        out["far"] = len(self.ways["stay"])
        out["visible_auc"] = _auc(np.array(self.visible), np.array(self.confused))
        return {name: round(float(value), 3) for name, value in out.items()}

    def _average_precision(self, label: int) -> float:
        """Area below precision over recall, precision made to fall."""
        own = sorted((hit for hit in self._hits if hit[0] == label), key=lambda hit: -hit[1])
        right = np.array([hit[2] for hit in own], bool)
        precision = right.cumsum() / np.arange(1, len(right) + 1)
        falling = np.maximum.accumulate(precision[::-1])[::-1]
        return float(falling[right].sum() / max(1, self._asked[label]))


def measure(model: SiamMotGraphs, steps: Iterable[Step]) -> dict[str, float]:
    """Figures of a model, see `Quality`."""
    quality = Quality()
    for step in steps:
        quality.update(model, step)
    return quality.figures()


def _labels(model: SiamMotGraphs, scene: Any) -> NDArray[np.int64]:
    """Class of each object in the model's own numbers."""
    names = [STREET_CLASSES[label] for label in scene.labels.tolist()]
    return np.array([model.card.class_names.index(name) for name in names], np.int64)


def _is_easy(scene: Any) -> NDArray[np.bool_]:
    easy: NDArray[np.bool_] = (scene.boxes[:, 3] - scene.boxes[:, 1] > MIN_HEIGHT) & (scene.visibility > MIN_VISIBLE)
    return easy


def _in_both(step: Step) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the objects that both scenes show well."""
    then = {k: row for row, k in enumerate(step.now.object_ids.tolist())}
    easy, later = _is_easy(step.before), _is_easy(step.now)
    pairs = [(row, then[k]) for row, k in enumerate(step.before.object_ids.tolist()) if easy[row] and k in then]
    pairs = [pair for pair in pairs if later[pair[1]]]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _iou(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of a half-open box (4,) with others (N, 4)."""
    near, far = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(far - near, 0, None).prod(1)
    own, areas = (box[2:] - box[:2]).prod(), (boxes[:, 2:] - boxes[:, :2]).prod(1)
    iou: NDArray[np.float32] = shared / np.maximum(own + areas - shared, 1e-9)
    return iou


def _auc(high: NDArray[np.float64], low: NDArray[np.float64]) -> float:
    """The chance that one of `high` is above one of `low`."""
    return float((high[:, None] > low).mean()) if len(high) and len(low) else float("nan")
