"""How well a panoptic model sees rendered streets: mIoU, panoptic quality of things, recall and precision.

Of models for video also how well they know where objects were before, and tell them apart (`Following`). Works without
torch; the tests hold the shipped file to the figures in its card with it. `python -m exporters.quality FILE.onnx`
prints all of it, with the file's size, the time of its network and, where torch is there, its parity with torch.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.types import Detections

GOOD_SCORE = 0.3  # detections below are not counted in a file's figures
MIN_HEIGHT = 20  # source pixels; recall asks for objects that are higher ...
MIN_VISIBLE = 0.5  # ... and of which more than this share is visible


@dataclass
class Quality:
    """Counts over frames; update with each frame, read the figures at the end.

    A segment is found where an object and a detection of its class have a mask IoU above 0.5, which leaves no choice,
    as masks of one frame are disjoint. Recall counts objects that are easy enough (`MIN_HEIGHT`, `MIN_VISIBLE`).
    Precision does not count a miss on the others as an error: an unmatched detection whose pixels lie mostly on
    objects that recall does not ask for is left out. Panoptic quality leaves out nothing.
    """

    classes: int
    things: tuple[int, ...]
    confusion: NDArray[np.int64] = field(init=False)
    _iou: dict[int, list[float]] = field(init=False)
    _objects: dict[int, int] = field(init=False)
    _seen: dict[int, int] = field(init=False)
    _asked: int = 0
    _recalled: int = 0
    _wrong: int = 0

    def __post_init__(self) -> None:
        self.confusion = np.zeros((self.classes, self.classes + 1), np.int64)  # last column: void
        self._iou = {c: [] for c in self.things}
        self._objects = dict.fromkeys(self.things, 0)
        self._seen = dict.fromkeys(self.things, 0)

    def update(self, scene: Any, detections: Detections) -> None:
        """One frame: the rendered `Scene`, and what the model made of its image."""
        picture = detections.panoptic
        assert picture is not None
        predicted = np.minimum(picture.classes, self.classes).astype(np.int64)
        cells = scene.classes.astype(np.int64) * (self.classes + 1) + predicted
        self.confusion += np.bincount(cells.ravel(), minlength=self.confusion.size).reshape(self.confusion.shape)

        overlap, area, found = _overlaps(scene, picture.rows, len(detections))
        iou = _ious(overlap, area, found)
        match = _matches(iou, scene, detections)
        heights = scene.boxes[:, 3] - scene.boxes[:, 1]
        easy = (heights > MIN_HEIGHT) & (scene.visibility > MIN_VISIBLE)
        for c in self.things:
            own = np.asarray(scene.labels) == c
            self._iou[c] += iou[own][match[own]].tolist()
            self._objects[c] += int((area[1:][own] > 0).sum())
            self._seen[c] += int((detections.labels == c).sum())
        self._asked += int(easy.sum())
        self._recalled += int(match.any(1)[easy].sum())
        excused = overlap[1:, 1:][~easy].sum(0) > 0.5 * found[1:]
        self._wrong += int((~match.any(0) & ~excused).sum())

    @property
    def miou(self) -> float:
        """Mean over the classes that occur, of pixels; void counts as wrong."""
        hits = np.diag(self.confusion[:, :-1])
        union = self.confusion.sum(1) + self.confusion[:, :-1].sum(0) - hits
        return float(np.mean(hits[union > 0] / union[union > 0]))

    @property
    def thing_quality(self) -> float:
        """Panoptic quality, mean over the thing classes that occur. Source: arXiv:1801.00868, equation 1."""
        values = []
        for c in self.things:
            hits, size = len(self._iou[c]), self._objects[c] + self._seen[c]
            if size:
                values.append(sum(self._iou[c]) / (hits + 0.5 * (size - 2 * hits)))
        return float(np.mean(values))

    @property
    def recall(self) -> float:
        """Share of the objects asked for that were found."""
        return self._recalled / max(1, self._asked)

    @property
    def precision(self) -> float:
        """Share of the detections that are right."""
        hits = sum(len(values) for values in self._iou.values())
        return hits / max(1, hits + self._wrong)

    def figures(self) -> dict[str, float]:
        """All four, rounded to what they are good for."""
        names = ("miou", "thing_quality", "recall", "precision")
        return {name: round(getattr(self, name), 3) for name in names}


class Moment(NamedTuple):
    """A rendered `Scene`, the one before it, and the street that both are of; scenes of a street follow each other."""

    street: int
    before: Any
    scene: Any


VALIDATION_FRAMES = (20, 130, 140, 160, 260)  # of every validation street: gaps of 10, 20 and 30 frames, and long ones


def validation_moments() -> Iterator[Moment]:
    """Some moments of every validation street."""
    from exporters.scenes import SIZE, VALIDATION_SEEDS
    from tracker.sources.street import Street

    for k, seed in enumerate(VALIDATION_SEEDS):
        street = Street(seed=seed, objects=6 + k % 10, size=SIZE, frames=300)
        for index in VALIDATION_FRAMES:
            yield Moment(seed, street.render(index - 1), street.render(index))


@dataclass
class Following:
    """How well objects are followed: by `Detections.offsets` to the picture before, and known again by `embeddings`.

    Only detections that are an object (see `Quality`) count. An object's way is from the mean of its visible pixels to
    that of the picture before. Embeddings of two frames of a street are compared within a class: `recall_at_1` is the
    share of objects whose nearest one in an earlier frame is the same object, of those that are there beside another
    one; `auc` is the chance that two of the same object are nearer than two of different ones.
    """

    errors: list[float] = field(default_factory=list)
    ways: list[float] = field(default_factory=list)
    same: list[float] = field(default_factory=list)
    different: list[float] = field(default_factory=list)
    _asked: int = 0
    _known: int = 0
    _street: int = -1
    _seen: list[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]] = field(default_factory=list)

    def update(self, moment: Moment, detections: Detections) -> None:
        """One moment, and what the model made of its second picture after its first."""
        if moment.street != self._street:
            self._street, self._seen = moment.street, []
        assert detections.panoptic is not None
        overlap, area, found = _overlaps(moment.scene, detections.panoptic.rows, len(detections))
        objects, rows = np.nonzero(_matches(_ious(overlap, area, found), moment.scene, detections))
        ids = np.asarray(moment.scene.object_ids)[objects]
        if detections.offsets is not None:
            now, then = _middles(moment.scene), _middles(moment.before)
            for k, row in zip(ids.tolist(), rows.tolist(), strict=True):
                if k in then:
                    way = then[k] - now[k]
                    self.ways.append(float(np.hypot(*way)))
                    self.errors.append(float(np.hypot(*(detections.offsets[row] - way))))
        if detections.embeddings is not None:
            looks = ids, detections.labels[rows], detections.embeddings[rows]
            for earlier in self._seen:
                self._compare(earlier, looks)
            self._seen.append(looks)

    def _compare(self, earlier: Any, now: Any) -> None:
        (ids_then, labels_then, looks_then), (ids, labels, looks) = earlier, now
        distance = np.linalg.norm(looks[:, None] - looks_then[None], axis=2)
        comparable = labels[:, None] == labels_then[None]
        same = comparable & (ids[:, None] == ids_then[None])
        self.same += distance[same].tolist()
        self.different += distance[comparable & ~same].tolist()
        asked = np.flatnonzero(same.any(1) & (comparable.sum(1) > 1))
        if len(asked):
            nearest = np.where(comparable, distance, np.inf)[asked].argmin(1)
            self._asked += len(asked)
            self._known += int(same[asked, nearest].sum())

    def figures(self) -> dict[str, float]:
        """What there is to say of this model, rounded; errors are means in source pixels, `still_px` is that of 0."""
        out = {}
        if self.errors:
            out |= {"motion_px": round(float(np.mean(self.errors)), 2), "still_px": round(float(np.mean(self.ways)), 2)}
        if self._asked and self.different:
            out |= {
                "recall_at_1": round(self._known / self._asked, 3),
                "auc": round(_auc(self.same, self.different), 3),
            }
        return out


class Findings(NamedTuple):
    """Both together."""

    quality: Quality
    following: Following

    def figures(self) -> dict[str, float]:
        """All that there are."""
        return {**self.quality.figures(), **self.following.figures()}


def measure(model: Any, moments: Iterable[Moment], min_score: float = GOOD_SCORE) -> Findings:
    """Run a model on rendered moments.

    Args:
        model: image BGR -> detections with a panoptic picture; one with `for_stream` is shown the picture before first.
        moments: scenes of a street follow each other.
        min_score: detections below are not counted.
    """
    from tracker.sources.street import STREET_CLASSES

    findings = Findings(Quality(len(STREET_CLASSES), tuple(map(STREET_CLASSES.index, ("person", "car")))), Following())
    for moment in moments:
        fresh: Callable[[NDArray[np.uint8]], Detections] = model
        if hasattr(model, "for_stream"):
            fresh = model.for_stream()
            if fresh is not model:
                fresh(moment.before.image)
        seen = fresh(moment.scene.image)
        seen = seen.select(seen.scores >= min_score)
        findings.quality.update(moment.scene, seen)
        findings.following.update(moment, seen)
    return findings


def _middles(scene: Any) -> dict[int, NDArray[np.float64]]:
    """Object id -> mean x, y of its visible pixels."""
    ids, index = np.unique(scene.ids, return_inverse=True)
    index = index.ravel()
    area = np.bincount(index)
    height, width = scene.ids.shape
    x = np.bincount(index, np.tile(np.arange(width), height)) / area
    y = np.bincount(index, np.repeat(np.arange(height), width)) / area
    return {k: np.array([x[i], y[i]]) for i, k in enumerate(ids.tolist()) if k > 0}


def _auc(near: list[float], far: list[float]) -> float:
    """Chance that one of `near` is below one of `far`; equals count half."""
    ordered = np.sort(far)
    below, upto = (np.searchsorted(ordered, near, side) for side in ("left", "right"))
    return float(1 - (below + upto).mean() / (2 * len(far)))


def _overlaps(scene: Any, rows: NDArray[np.int32], count: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Shared pixels of objects and detections (row and column 0: neither), and the areas of both."""
    objects = len(scene.object_ids)
    index = np.where(scene.ids > 0, np.searchsorted(scene.object_ids, scene.ids) + 1, 0)
    cells = index * (count + 1) + rows
    overlap = np.bincount(cells.ravel(), minlength=(objects + 1) * (count + 1)).reshape(objects + 1, count + 1)
    return overlap, overlap.sum(1), overlap.sum(0)


def _ious(overlap: NDArray[Any], area: NDArray[Any], found: NDArray[Any]) -> NDArray[np.float64]:
    """(objects, detections) IoU of `_overlaps`."""
    iou: NDArray[np.float64] = overlap[1:, 1:] / np.maximum(area[1:, None] + found[None, 1:] - overlap[1:, 1:], 1)
    return iou


def _matches(iou: NDArray[np.float64], scene: Any, detections: Detections) -> NDArray[np.bool_]:
    """(objects, detections): which detection is which object, see `Quality`."""
    match: NDArray[np.bool_] = (iou > 0.5) & (np.asarray(scene.labels)[:, None] == detections.labels[None])
    return match


def main(words: list[str]) -> int:
    """Print the figures of a file; returns the exit code."""
    from tracker.models.model import open_model

    if len(words) != 1:
        print("usage: python -m exporters.quality FILE.onnx|NAME", file=sys.stderr)
        return 2
    model = open_model(words[0], device="cpu", threads=2)
    given = model.feed(model.preprocess(np.zeros((540, 960, 3), np.uint8)).tensors)
    times = []
    for _ in range(100):
        since = perf_counter()
        model.session.run(given)
        times.append(1e3 * (perf_counter() - since))
    figures = {**measure(model, validation_moments()).figures()}
    figures["mb"] = round(model.session.path.stat().st_size / 1e6, 3)
    figures["network_ms_p50"], figures["network_ms_min"] = round(float(np.median(times)), 2), round(min(times), 2)
    parity = _parity(model)
    if parity is not None:
        figures["parity"] = parity
    for name, value in figures.items():
        print(f"{name:16} {value}")
    return 0


def _parity(model: Any) -> float | None:
    """Largest relative difference of the file and a torch network with its weights; None without torch, or its like."""
    try:
        from exporters.network import StreetNet
        from exporters.parity import check_parity
        from exporters.street import INPUTS, run
        from exporters.warm_start import load_weights
    except ModuleNotFoundError:
        return None
    if tuple(model.session.inputs) != INPUTS:
        return None
    network = StreetNet(len(model.card.class_names))
    load_weights(network, model.session.path)
    shape = model.image_spec.shape
    pairs = np.random.default_rng(0).uniform(-2, 2, (3, 2, *shape)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:  # a file that fails is removed
        copy = shutil.copy(model.session.path, folder)
        return check_parity(Path(copy), lambda *given: run(network, *given), [tuple(pair) for pair in pairs])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
