from types import SimpleNamespace

import numpy as np
import pytest

from exporters.quality import Quality, measure
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
    quality = measure(lambda image: perfect(scene), [scene, scene])
    assert quality.figures() == {"miou": 1.0, "thing_quality": 1.0, "recall": 1.0, "precision": 1.0}


def test_nothing_seen(scene):
    quality = measure(lambda image: perfect(scene).select([]), [scene])
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
    assert measure(model, [scene], min_score=0.5).recall < measure(model, [scene], min_score=0).recall
