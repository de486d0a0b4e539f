from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from exporters.street.following import Following, Moment
from exporters.street.quality import Quality
from exporters.street.validation import main, measure
from tracker.masks import Masks
from tracker.sources.street import Street
from tracker.types import Detections, Panoptic


def seen(classes, rows, labels, scores=None):
    masks = Masks.from_label_map(np.asarray(rows, np.int32), len(labels))
    scores = np.ones(len(labels)) if scores is None else scores
    picture = Panoptic(np.asarray(classes, np.uint8), np.asarray(rows, np.int32))
    return Detections(masks.boxes, scores, labels, masks, panoptic=picture)


@pytest.fixture(scope="module")
def scene():
    return Street(seed=3, objects=10, size=(480, 270), frames=40).render(20)


def perfect(scene):
    rows = np.searchsorted(scene.object_ids, scene.ids) + 1
    return seen(scene.classes, np.where(scene.ids > 0, rows, 0), scene.labels)


def test_the_truth_is_perfect(scene):
    quality = measure(lambda image: perfect(scene), [Moment(0, scene, scene)] * 2)
    assert quality.figures() == {"miou": 1.0, "thing_quality": 1.0, "recall": 1.0, "precision": 1.0}


def test_nothing_seen(scene):
    quality = measure(lambda image: perfect(scene).select([]), [Moment(0, scene, scene)]).quality
    assert quality.recall == 0
    assert quality.thing_quality == 0
    assert quality.miou == 1  # the picture still says where people are


def small_scene():
    """Two objects of 30 x 10 pixels, the second nearly hidden."""
    ids = np.zeros((40, 60), np.int32)
    ids[5:35, 5:15], ids[5:35, 40:50] = 4, 9
    classes = np.where(ids > 0, 5, 0).astype(np.uint8)
    boxes = np.array([[5, 5, 15, 35], [40, 5, 50, 35]], np.float32)
    return SimpleNamespace(
        image=None, ids=ids, classes=classes, object_ids=np.array([4, 9]), labels=np.array([5, 5]), boxes=boxes,
        visibility=np.array([1, 0.2], np.float32),
    )  # fmt: skip


def test_counts_by_hand():
    scene = small_scene()
    rows = np.zeros((40, 60), np.int32)
    rows[5:25, 5:15] = 1  # 200 of 300 pixels: IoU 2/3
    rows[5:15, 40:50] = 2  # a third of the hidden one: excused
    rows[0:3, 20:30] = 3  # an invention
    quality = Quality(7, (5, 6))
    quality.update(scene, seen(scene.classes, rows, [5, 5, 6]))
    assert quality.recall == 1  # the hidden one is not asked for
    assert quality.precision == 0.5  # one hit, one invention
    person = (2 / 3) / (1 + 0.5 + 0.5)  # one miss, one wrong
    car = 0.0
    assert quality.thing_quality == pytest.approx((person + car) / 2)


def test_the_wrong_class_is_no_hit():
    scene = small_scene()
    quality = Quality(7, (5, 6))
    rows = np.where(scene.ids == 4, 1, 0)
    quality.update(scene, seen(np.where(scene.classes == 5, 6, 0), rows, [6]))
    assert quality.recall == 0
    assert quality.miou == pytest.approx(1 / 3)  # road right, person missed, car invented


def test_void_is_wrong():
    scene = small_scene()
    quality = Quality(7, (5, 6))
    classes = scene.classes.copy()
    classes[:20] = Panoptic.VOID
    quality.update(scene, seen(classes, np.zeros_like(scene.ids), np.zeros(0, np.int32)))
    assert quality.miou == pytest.approx(0.5, abs=0.01)


def test_low_scores_are_left_out(scene):
    truth = perfect(scene)
    scores = np.linspace(0.9, 0.1, len(truth))
    model = lambda image: Detections(truth.boxes, scores, truth.labels, truth.masks, panoptic=truth.panoptic)  # noqa: E731
    moments = [Moment(0, scene, scene)]
    assert measure(model, moments, min_score=0.5).quality.recall < measure(model, moments, min_score=0).quality.recall


def walkers(x):
    """Two people at columns `x`, 20 px high, and what would be seen of them: rows 0 and 1."""
    ids = np.zeros((30, 80), np.int32)
    for k, left in zip((4, 9), x, strict=True):
        ids[5:25, left : left + 10] = k
    scene = SimpleNamespace(
        image=None, ids=ids, classes=np.where(ids > 0, 5, 0).astype(np.uint8), object_ids=np.array([4, 9]),
        labels=np.array([5, 5]),
    )  # fmt: skip
    return scene, seen(scene.classes, np.searchsorted([4, 9], ids, "left") * (ids > 0) + (ids > 0), [5, 5])


def test_ways_are_compared_with_the_truth():
    (before, _), (now, detections) = walkers((5, 40)), walkers((8, 44))
    following = Following()
    following.update(Moment(1, before, now), replace(detections, offsets=np.array([[-3, 0], [-4, 3]], np.float32)))
    assert following.figures() == {"motion_px": 1.5, "still_px": 3.5}


def test_who_is_who_is_asked_within_a_street_and_a_class():
    scene, detections = walkers((5, 40))
    looks = np.array([[1, 0], [0, 1]], np.float32)
    following = Following()
    for street, rows in ((1, looks), (1, looks), (2, looks[::-1]), (2, looks[::-1])):
        following.update(Moment(street, scene, scene), replace(detections, embeddings=rows))
    assert following.figures() == {"recall_at_1": 1.0, "auc": 1.0}, "streets are not compared with each other"
    following.update(Moment(2, scene, scene), replace(detections, embeddings=looks))  # they have changed clothes
    assert following.figures() == {"recall_at_1": 0.5, "auc": pytest.approx(0.5, abs=0.01)}
    apart = replace(detections, labels=np.array([5, 6]), embeddings=looks)
    scene.labels = np.array([5, 6])
    alone = Following()
    for _ in range(2):
        alone.update(Moment(1, scene, scene), apart)
    assert alone.figures() == {}, "nobody else of the class is there"


def test_a_model_for_video_is_shown_the_picture_before(scene):
    class Eye:
        """Each stream counts its pictures."""

        shown: ClassVar = []

        def __init__(self):
            self.pictures = []
            self.shown.append(self.pictures)

        def for_stream(self):
            return Eye()

        def __call__(self, image):
            self.pictures.append(image)
            return perfect(scene)

    before = SimpleNamespace(image="before", ids=scene.ids)
    measure(Eye(), [Moment(0, before, scene)] * 2)
    assert [len(pictures) for pictures in Eye.shown] == [0, 2, 2]
    assert all(pictures[0] == "before" and pictures[1] is scene.image for pictures in Eye.shown[1:])


def test_the_figures_of_a_file_are_printed(monkeypatch, capsys):
    monkeypatch.setattr("exporters.street.validation.VALIDATION_FRAMES", (20,))
    monkeypatch.setattr("exporters.street.validation.VALIDATION_SEEDS", (500,))
    assert main(["missing.onnx"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["street"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"miou", "thing_quality", "recall", "precision", "mb", "network_ms_p50"} <= set(names)
